//! Log of refusals: address, path, reason, and no secret; one line, even if it happens often.

mod common;

use std::sync::Mutex;
use std::time::Duration;

use actix_web::{App, HttpServer};
use callboard_admin::Admin;
use callboard_room_supervisor::Rooms;
use common::{Server, eventually};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Log lines of this process.
struct Lines(Mutex<Vec<(Level, String)>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("callboard_websocket")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push((record.level(), record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

impl Lines {
    /// Returns the lines that contain all of these parts.
    fn with(&self, parts: &[&str]) -> Vec<(Level, String)> {
        let lines = self.0.lock().unwrap();
        lines
            .iter()
            .filter(|(_, line)| parts.iter().all(|part| line.contains(part)))
            .cloned()
            .collect()
    }

    /// Returns how many refusals of this kind by 192.0.2.1 the log reports: in lines of their own and in counts.
    fn told(&self, error: &str) -> usize {
        let of = |(_, line): &(Level, String)| {
            let told = line.strip_prefix("192.0.2.1: ").expect("its address");
            told.split_once(" more refused").map_or(1, |(count, _)| count.parse().expect("a count"))
        };
        self.with(&["192.0.2.1: ", &format!("refused: {error}")]).iter().map(of).sum()
    }
}

/// Asserts that there is a line, and at most one for each ten seconds since then.
fn assert_few(lines: &[(Level, String)], began: Instant) {
    let most = 1 + began.elapsed().as_secs() / 10;
    assert!((1..=most).contains(&(lines.len() as u64)), "{lines:?} of {:?}", LINES.with(&[]));
}

/// One test, because the log belongs to the process.
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

    let began = Instant::now();
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
        assert_few(&lines, began);
        assert!(lines.iter().all(|(level, _)| *level == Level::Info), "{lines:?}");
    }

    // Refusals of a client that has joined.
    let began = Instant::now();
    let mut client = server.connect(&[("x-forwarded-for", "192.0.2.7")]).await.unwrap();
    client.expect("authenticated").await;
    for _ in 0..20 {
        client
            .send(json!({ "event": "webrtc:offer", "data": { "type": "offer", "sdp": "v=0" } }))
            .await;
        client.expect_error("WebRTC failed").await;
    }
    assert_few(
        &LINES.with(&["192.0.2.7: webrtc:offer of peer ", "refused: webrtc_disabled"]),
        began,
    );

    // Refusals of clients of the admin routes.
    let rooms = Rooms::new();
    let root = rooms.start().await.unwrap();
    let admin = Admin::builder(root).token("a long secret").build();
    let app = move || App::new().configure(admin.at("/admin"));
    let http = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
    let address = http.addrs()[0];
    actix_web::rt::spawn(http.run());
    let began = Instant::now();
    for _ in 0..20 {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET /admin/tree?token=hush HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        tcp.read_to_end(&mut Vec::new()).await.unwrap();
    }
    for error in ["unauthorized: a token is needed", "too_many_attempts: "] {
        assert_few(&LINES.with(&["127.0.0.1: /admin/tree refused: ", error]), began);
    }
    // There are no more refusals, and the rest is still reported.
    for error in ["unauthorized", "cannot_resume", "no_such_room", "forbidden_origin"] {
        eventually(error, || LINES.told(error) == 20).await;
    }
    assert_eq!(LINES.with(&["hush"]), []);
    assert!(LINES.with(&["\u{1b}"]).is_empty() && LINES.with(&["\n"]).is_empty());
}
