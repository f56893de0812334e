//! Answers of the echo example to offers that none of our browsers writes.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use callboard_peer_connection::sdp::Sdp;
use integration_tests::program;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

fn read(name: &str) -> String {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crates/peer-connection/tests/sdp");
    std::fs::read_to_string(folder.join(name)).expect("a description")
}

async fn serve() -> (Child, String) {
    let mut server = Command::new(program::of_the_workspace("echo"))
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(server.stdout.take().expect("a pipe")).lines();
    let first = timeout(PATIENCE, lines.next_line()).await;
    let first = first.expect("in time").expect("text").expect("a line");
    let address = first.strip_prefix("listening on http://").expect("an address").to_owned();
    (server, address)
}

/// Returns status and body of the reply to an offer.
async fn offer(address: &str, body: Value) -> (u16, String) {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!(
        "POST /offer HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut reply = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut reply)).await.expect("in time").expect("text");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

#[tokio::test]
async fn offers_of_many_makers_are_answered_and_what_is_refused_is_refused_at_once() {
    let (_server, address) = serve().await;
    let mut fastest = Duration::MAX;
    for (name, sections) in [
        ("hand-plain.sdp", 2),
        ("hand-one-call-no-mid.sdp", 1),
        ("hand-mids-with-hyphen.sdp", 2),
        ("hand-profile-rtp-savpf.sdp", 1),
        ("hand-profile-tcp-dtls-sctp.sdp", 1),
        ("hand-session-name-is-a-space.sdp", 1),
        ("hand-mid-extension-differs-by-section.sdp", 2),
        ("hand-camera-and-screen.sdp", 3),
    ] {
        let began = Instant::now();
        let (status, body) = offer(&address, json!({ "type": "offer", "sdp": read(name) })).await;
        fastest = fastest.min(began.elapsed());
        assert_eq!(status, 200, "{name}: {body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        let answer = Sdp::parse(answer["sdp"].as_str().expect("a description"));
        assert_eq!(answer.media().len(), sections, "{name}");
        for section in answer.media() {
            assert_ne!(section.port(), Some(0), "{name}: {section}");
            // Media that comes is sent back.
            assert!(!section.is_rtp() || section.has("sendrecv"), "{name}: {section}");
        }
    }

    let offered = |sdp: String| json!({ "type": "offer", "sdp": sdp });
    let no_mux = read("hand-plain.sdp").replace("a=rtcp-mux\r\n", "");
    let section = read("hand-one-call-no-mid.sdp");
    let many = section.clone() + &section[section.find("m=").expect("a section")..].repeat(64);
    for (body, reason) in [
        (offered(read("hand-nothing-usable.sdp")), "none of its codecs is known: ISAC/16000"),
        (offered(read("hand-session-only.sdp")), "nothing in the offer can be used"),
        (offered(no_mux), "does not multiplex RTCP"),
        (offered(many), "65 sections, of 64"),
        (offered("x".to_owned()), "v=0"),
        (json!({ "type": "answer", "sdp": read("hand-plain.sdp") }), "no remote answer"),
        (json!({ "sdp": "" }), "type"),
    ] {
        // It used to wait 5 s each time for candidates, and there are none.
        let soon = fastest + Duration::from_secs(1);
        let mut times = Vec::new();
        while times.iter().all(|time| *time > soon) {
            assert!(times.len() < 5, "{reason}: refused after {times:?}, not within {soon:?}");
            let began = Instant::now();
            let (status, told) = offer(&address, body.clone()).await;
            times.push(began.elapsed());
            assert_eq!(status, 400, "{told}");
            assert!(told.contains(reason), "{told:?} does not say {reason:?}");
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
