//! Metrics of a running server, checked by Prometheus's own tool.

use std::process::{Output, Stdio};

use callboard_client::{Client, ClientOptions};
use integration_tests::{Server, program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

#[tokio::test]
async fn promtool_is_content_with_the_metrics_in_both_forms() {
    let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
    let address = server.listen();
    let url = format!("ws://{address}/socket/demo");
    let _guest = Client::connect(&url, ClientOptions::new()).await.expect("it is admitted");

    let (head, metrics) = get(address, "*/*").await;
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(metrics.contains("\ncallboard_peers 1\n"), "{metrics}");

    let said = check(&metrics).await;
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}\n{metrics}");
    // The checker does find errors.
    assert!(!check("# TYPE callboard_things counter\ncallboard_things 1\n").await.status.success());

    let (head, metrics) = get(address, "application/openmetrics-text;version=1.0.0").await;
    assert!(head.contains("application/openmetrics-text"), "{head}");
    let said = import(&metrics).await;
    assert!(said.status.success(), "{said:?}\n{metrics}");
    let samples = metrics.lines().filter(|line| !line.starts_with('#')).count();
    let said = String::from_utf8_lossy(&said.stdout);
    let counts = |line: &str| line.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    let counted: Vec<Vec<usize>> = said.lines().map(counts).collect();
    assert!(counted.iter().any(|line| line.contains(&samples)), "{samples}, but {said}");
    assert!(!import(metrics.strip_suffix("# EOF\n").expect("an end")).await.status.success());
    assert!(!import("# UNIT callboard_things seconds\n# EOF\n").await.status.success());
}

/// Returns head and body of the answer of `/metrics` to a request that accepts this.
async fn get(address: &str, accept: &str) -> (String, String) {
    let mut connection = TcpStream::connect(address).await.expect("it listens");
    let request = format!(
        "GET /metrics HTTP/1.1\r\nhost: {address}\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await.expect("it reads");
    let mut response = String::new();
    connection.read_to_string(&mut response).await.expect("it answers");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// Runs `promtool tsdb create-blocks-from openmetrics` on these metrics: `check metrics` reads only the other format.
/// It requires the time of each sample.
async fn import(metrics: &str) -> Output {
    let dated: String = metrics
        .lines()
        .map(
            |line| {
                if line.starts_with('#') { line.to_owned() } else { format!("{line} 1700000000") }
            },
        )
        .map(|line| line + "\n")
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("metrics");
    std::fs::write(&file, dated).expect("there is room");
    Command::new(program::of_the_machine("promtool", "prometheus"))
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&file, &folder.path().join("blocks")])
        .kill_on_drop(true)
        .output()
        .await
        .expect("it starts")
}

/// Runs `promtool check metrics` on these metrics.
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
