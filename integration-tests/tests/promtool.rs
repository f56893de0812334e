//! The metrics of a running server, as Prometheus's own checker sees them.

use std::process::{Output, Stdio};

use futures_util::StreamExt;
use integration_tests::{Server, program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

#[tokio::test]
async fn promtool_is_content_with_the_metrics() {
    let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
    let address = server.listen();
    let (mut guest, _) = tokio_tungstenite::connect_async(format!("ws://{address}/socket/demo"))
        .await
        .expect("anybody is let in");
    guest.next().await.expect("the guest is told of it").expect("by a message");

    let mut connection = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("it reads");
    let mut response = String::new();
    connection.read_to_string(&mut response).await.expect("it answers");
    let (head, metrics) = response.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(metrics.contains("\ncallboard_peers 1\n"), "{metrics}");

    let said = check(metrics).await;
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}\n{metrics}");
    // It does look.
    assert!(!check("# TYPE callboard_things counter\ncallboard_things 1\n").await.status.success());
}

/// `promtool check metrics` of this.
async fn check(metrics: &str) -> Output {
    let mut promtool = Command::new(program::of_the_machine("promtool", "prometheus"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut input = promtool.stdin.take().expect("a pipe");
    input.write_all(metrics.as_bytes()).await.expect("it reads");
    drop(input);
    promtool.wait_with_output().await.expect("it ends")
}
