//! Tests of the program as its users run it, from outside, without a browser.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

struct Program {
    child: Child,
    address: String,
    /// Output after its first line.
    output: BufReader<tokio::process::ChildStdout>,
}

impl Program {
    async fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_supervisor-tree"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut first = String::new();
        timeout(PATIENCE, output.read_line(&mut first)).await.expect("in time").expect("a line");
        let address = first.trim().strip_prefix("listening on http://").expect("an address");
        let port = address.trim_end_matches('/').rsplit_once(':').expect("a port").1;
        Self { child, address: format!("127.0.0.1:{port}"), output }
    }

    /// Returns the status of a request, and the whole answer.
    async fn get(&self, path: &str, headers: &str) -> (u16, String) {
        self.get_as(&self.address, path, headers).await
    }

    /// Like `get`, for a client that calls the server by this host name.
    async fn get_as(&self, host: &str, path: &str, headers: &str) -> (u16, String) {
        let mut tcp = TcpStream::connect(&self.address).await.expect("it listens");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
        tcp.write_all(request.as_bytes()).await.expect("open");
        let mut answer = String::new();
        timeout(PATIENCE, tcp.read_to_string(&mut answer)).await.expect("in time").expect("text");
        let status = answer.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        (status, answer)
    }

    async fn terminated(mut self) -> Option<i32> {
        let id = self.child.id().expect("it runs").to_string();
        let status = std::process::Command::new("kill").args(["-TERM", &id]).status();
        assert!(status.expect("kill").success());
        timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("a status").code()
    }
}

#[tokio::test]
async fn on_loopback_the_tree_is_shown_to_this_machine() {
    let program = Program::start(&["--listen", "127.0.0.1:0"]).await;

    let (status, tree) = program.get("/tree", "").await;
    assert_eq!(status, 200, "{tree}");
    for name in ["\"webrtc\"", "\"rooms\"", "\"http\"", "server/webrtc/sockets/udp 0"] {
        assert!(tree.contains(name), "{name}: {tree}");
    }
    assert_eq!(program.get("/metrics", "").await.0, 200);
    assert_eq!(program.get("/healthz", "").await.0, 200);
    assert_eq!(program.get("/readyz", "").await.0, 200);
    assert_eq!(program.get("/tree", "X-Forwarded-For: 192.0.2.1\r\n").await.0, 403);
    assert_eq!(program.terminated().await, Some(0));
}

#[tokio::test]
async fn elsewhere_the_tree_is_not_shown_without_a_token() {
    let program = Program::start(&["--listen", "0.0.0.0:0"]).await;

    for headers in ["", "Authorization: Bearer \r\n"] {
        assert_eq!(program.get("/tree", headers).await.0, 401);
    }
    assert_eq!(program.get("/metrics", "").await.0, 401);
    assert_eq!(program.get("/healthz", "").await.0, 200);
    assert_eq!(program.terminated().await, Some(0));
}

#[tokio::test]
async fn with_the_token_the_tree_is_shown() {
    let program =
        Program::start(&["--listen", "0.0.0.0:0", "--admin-token", "a long secret"]).await;

    assert_eq!(program.get("/tree", "").await.0, 401);
    assert_eq!(program.get("/tree", "Authorization: Bearer another one\r\n").await.0, 401);
    assert_eq!(program.get("/tree", "Authorization: Bearer a long secret\r\n").await.0, 200);
    assert_eq!(program.terminated().await, Some(0));
}

#[tokio::test]
async fn a_password_of_a_turn_server_is_told_to_own_pages_alone() {
    let turn = "turn:turn.example,user,a secret";
    let program = Program::start(&["--listen", "127.0.0.1:0", "--ice-server", turn]).await;
    let asked =
        async |host: &str, headers: &str| program.get_as(host, "/ice-servers", headers).await;

    for host in ["localhost", "127.0.0.1:8080", "[::1]"] {
        let (status, servers) = asked(host, "").await;
        assert!(status == 200 && servers.contains("a secret"), "{host}: {servers}");
    }
    // A name that resolves to this machine by DNS rebinding, and a page of another site.
    for (host, headers) in [
        ("evil.example", ""),
        ("evil.example:8080", ""),
        ("evil.example", "Origin: http://evil.example\r\n"),
        ("localhost", "Origin: http://evil.example\r\n"),
        ("localhost.evil.example", ""),
    ] {
        let (status, servers) = asked(host, headers).await;
        assert!(status == 403 && !servers.contains("a secret"), "{host}, {headers}: {servers}");
    }
    assert_eq!(program.terminated().await, Some(0));
}

#[tokio::test]
async fn behind_a_proxy_pages_of_the_origins_that_were_named_are_let_in() {
    let program = Program::start(&[
        "--listen",
        "127.0.0.1:0",
        "--origin",
        "https://call.example",
        "--trusted-proxy",
        "127.0.0.1",
        "--ice-server",
        "stun:stun.example",
    ])
    .await;
    let upgrade = async |origin: &str| {
        let asks = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let headers = format!("{asks}Origin: {origin}\r\n");
        let mut tcp = TcpStream::connect(&program.address).await.expect("it listens");
        let request = format!("GET /socket/demo HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n");
        tcp.write_all(request.as_bytes()).await.expect("open");
        let mut answer = String::new();
        let mut byte = [0];
        // After a refusal the connection ends, after an upgrade it does not.
        while !answer.ends_with("\r\n\r\n") || !answer.contains(" 101 ") {
            match timeout(PATIENCE, tcp.read(&mut byte)).await.expect("in time").expect("open") {
                0 => break,
                _ => answer.push(byte[0].into()),
            }
        }
        answer
    };

    assert!(upgrade("https://call.example").await.contains(" 101 "));
    let refused = upgrade("http://127.0.0.1").await;
    assert!(
        refused.contains(" 403 ") && refused.contains("expected https://call.example"),
        "{refused}"
    );
    let (status, servers) = program.get("/ice-servers", "").await;
    assert!(
        status == 200 && servers.ends_with(r#"[{"urls":["stun:stun.example:3478"]}]"#),
        "{servers}"
    );
    assert_eq!(program.get_as("call.example", "/ice-servers", "").await.0, 200);
    // The proxy is on this machine; the client behind it is not.
    assert_eq!(program.get("/tree", "X-Forwarded-For: 192.0.2.1\r\n").await.0, 403);
    assert_eq!(program.get("/tree", "X-Forwarded-For: 127.0.0.7\r\n").await.0, 200);
    assert_eq!(program.terminated().await, Some(0));
}

#[tokio::test]
async fn the_page_and_all_of_its_files_are_served() {
    let program = Program::start(&["--listen", "127.0.0.1:0"]).await;

    let (status, answer) = program.get("/", "").await;
    assert!(status == 303 && answer.contains("location: /demo\r\n"), "{answer}");
    let (status, page) = program.get("/demo", "").await;
    assert_eq!(status, 200);
    assert!(
        page.contains("content-security-policy: default-src 'none'; script-src 'self'"),
        "{page}"
    );
    for file in page.split('"').filter(|word| word.starts_with("/static/")) {
        assert_eq!(program.get(file, "").await.0, 200, "{file}");
    }
    assert_eq!(program.get("/callboard.js", "").await.0, 200);
    assert_eq!(program.get("/.hidden", "").await.0, 404);
}

#[tokio::test]
async fn the_tree_is_drawn_in_the_terminal() {
    let mut program = Program::start(&["--listen", "127.0.0.1:0", "--watch"]).await;

    let mut drawn = String::new();
    let drawing = async {
        while !drawn.contains("http  ") {
            program.output.read_line(&mut drawn).await.expect("text");
        }
    };
    timeout(PATIENCE, drawing).await.expect("a tree");
    assert!(drawn.contains("├─ webrtc"), "{drawn}");
    assert_eq!(program.terminated().await, Some(0));
}

const PATIENCE: Duration = Duration::from_secs(120);
