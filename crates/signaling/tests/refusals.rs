//! What is logged of those who are refused: who, what, why, and no secret; once, however often it happens.

mod common;

use std::sync::Mutex;
use std::time::Duration;

use actix_web::{App, HttpServer};
use callboard_room_supervisor::Rooms;
use callboard_signaling::admin::Admin;
use common::Server;
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What has been logged in this process.
struct Lines(Mutex<Vec<(Level, String)>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("callboard_signaling")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push((record.level(), record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

impl Lines {
    /// The lines in which all of this occurs.
    fn with(&self, parts: &[&str]) -> Vec<(Level, String)> {
        let lines = self.0.lock().unwrap();
        lines
            .iter()
            .filter(|(_, line)| parts.iter().all(|part| line.contains(part)))
            .cloned()
            .collect()
    }
}

/// One test, for the log is the process's.
#[actix::test]
async fn a_refusal_is_one_line_with_address_path_and_reason_and_without_secrets() {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(LevelFilter::Debug);
    let server = Server::start(|options| {
        let proxies = "127.0.0.1".parse().unwrap();
        options.trusted_proxies(proxies).resume_grace(Duration::from_secs(60))
    })
    .await;
    let from = ("x-forwarded-for", "192.0.2.1");

    for _ in 0..20 {
        server.refusal("/socket/demo?token=hush", &[from, ("name", "impostor")]).await;
        server.refusal("/socket/demo?resume=hush", &[from]).await;
        server.refusal("/socket/nowhere?token=hush", &[from]).await;
        server.refusal("/socket/%0A%1b[31m?token=hush", &[from]).await;
        server.refusal("/socket/demo", &[from, ("origin", "https://evil.com")]).await;
    }
    for (path, error) in [
        ("/socket/demo refused", "unauthorized"),
        ("/socket/demo refused", "cannot_resume"),
        ("/socket/nowhere refused", "no_such_room"),
        ("/socket/%0A", "bad_request"),
        (
            "/socket/demo refused",
            "forbidden_origin: the page's origin is https://evil.com; expected http",
        ),
    ] {
        let lines = LINES.with(&["192.0.2.1: ", path, error]);
        assert_eq!(lines.len(), 1, "{error}: {lines:?} of {:?}", LINES.with(&[]));
        assert_eq!(lines[0].0, Level::Info, "{lines:?}");
    }

    // What a client is refused when it is in.
    let mut client = server.connect(&[("x-forwarded-for", "192.0.2.7")]).await.unwrap();
    client.expect("authenticated").await;
    for _ in 0..20 {
        client
            .send(json!({ "event": "webrtc:offer", "data": { "type": "offer", "sdp": "v=0" } }))
            .await;
        client.expect_error("WebRTC failed").await;
    }
    let lines = LINES.with(&["192.0.2.7: webrtc:offer of peer ", "refused: webrtc_disabled"]);
    assert_eq!(lines.len(), 1, "{lines:?}");

    // And those who look inside.
    let rooms = Rooms::new();
    let root = rooms.start().await.unwrap();
    let admin = Admin::builder(root).token("a long secret").build();
    let app = move || App::new().configure(admin.at("/admin"));
    let http = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
    let address = http.addrs()[0];
    actix_web::rt::spawn(http.run());
    for _ in 0..20 {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET /admin/tree?token=hush HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        tcp.read_to_end(&mut Vec::new()).await.unwrap();
    }
    for error in ["unauthorized: a token is needed", "too_many_attempts: "] {
        let lines = LINES.with(&["127.0.0.1: /admin/tree refused: ", error]);
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
    // Nothing more is refused, and the rest is told all the same.
    let told = async {
        for error in ["unauthorized", "cannot_resume", "no_such_room", "forbidden_origin"] {
            while LINES.with(&[&format!("192.0.2.1: 19 more refused: {error}")]).is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("the counts are told");
    assert_eq!(LINES.with(&["hush"]), []);
    assert!(LINES.with(&["\u{1b}"]).is_empty() && LINES.with(&["\n"]).is_empty());
}
