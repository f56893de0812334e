//! An actix program without WebRTC: its tree over HTTP and WebSocket, a fault, and the recovery from it.

use futures_util::StreamExt;
use integration_tests::{Moment, PATIENCE, Readme, in_network_namespace, until};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};

#[test]
fn a_program_without_webrtc_shows_its_tree_and_recovers_from_a_fault() {
    in_network_namespace(async || {
        let readme = Readme::in_folder("examples/plain-tree");
        let server = readme.serve("plain-tree", &[]).await;
        let host = server.address().trim_start_matches("http://");
        let stream = readme.address("ws://127.0.0.1:8082/");
        assert!(stream.starts_with(&format!("ws://{host}/")), "{stream} is not at {host}");

        let tree = get(host, "/admin/tree").await;
        let children = tree["children"].as_array().expect("children");
        let ids: Vec<&Value> = children.iter().map(|child| &child["id"]).collect();
        assert_eq!(ids, ["mail", "bills"]);
        assert!(children.iter().all(|child| child["status"] == "running"), "{tree}");

        let (mut stream, _) = tokio_tungstenite::connect_async(stream).await.expect("open");
        assert_eq!(next(&mut stream).await["kind"], "tree");
        let fault = r#"{"path":"server/mail","fault":"panic"}"#;
        assert!(readme.says(fault));
        let (head, body) = ask(host, "POST", "/admin/tree/fault", fault).await;
        assert!(head.starts_with("HTTP/1.1 204 "), "{head} {body}");
        let recovery = until("the actor runs again", PATIENCE, async || {
            let all = get(host, "/admin/tree/recoveries").await;
            let recovery = &all["recoveries"][0];
            match recovery["whole_ms"].is_f64() {
                true => Moment::Now(recovery.clone()),
                false => Moment::NotYet(all.to_string()),
            }
        });
        let recovery = recovery.await;
        assert_eq!(
            (&recovery["path"], &recovery["fault"]),
            (&"server/mail".into(), &"panic".into())
        );
        while next(&mut stream).await["kind"] != "recovery" {}
        until("a line of its log", PATIENCE, async || {
            let written = server.written();
            match written.iter().any(|line| line.contains("server/mail") && line.contains("down")) {
                true => Moment::Now(()),
                false => Moment::NotYet(format!("{written:?}")),
            }
        })
        .await;

        let (head, body) =
            ask(host, "POST", "/admin/tree/fault", &fault.replace("panic", "lose")).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "it has no peer connections: {head} {body}");
        let (_, metrics) = ask(host, "GET", "/admin/metrics", "").await;
        assert!(metrics.contains("callboard_actor_restarts_total 1\n"), "{metrics}");
        assert!(!metrics.contains("handshake"), "{metrics}");
    });
}

async fn next(stream: &mut (impl StreamExt<Item = Result<Message, Error>> + Unpin)) -> Value {
    loop {
        let message = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time");
        if let Message::Text(text) = message.expect("open").expect("a message") {
            return serde_json::from_str(&text).expect("JSON");
        }
    }
}

async fn get(host: &str, path: &str) -> Value {
    let (head, body) = ask(host, "GET", path, "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    serde_json::from_str(&body).expect("JSON")
}

/// Returns head and body of the answer.
async fn ask(host: &str, method: &str, path: &str, body: &str) -> (String, String) {
    let mut connection = TcpStream::connect(host).await.expect("it listens");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    connection.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("an answer in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}
