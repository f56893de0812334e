//! Metrics of a running server, checked by Prometheus's own tool.

#[path = "deploy/join.rs"]
mod join;

use std::collections::BTreeSet;
use std::process::{Output, Stdio};

use callboard_client::{Client, ClientOptions};
use integration_tests::{Moment, PATIENCE, Server, in_network_namespace, program, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::join::join;

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

/// What a node of a cluster has beside the others.
#[test]
fn promtool_is_content_with_the_metrics_of_a_node() {
    in_network_namespace(async || {
        let server = Server::of("cluster-example", &[]).await;
        // The room is at the first node, and the second has a line to it.
        let (_here, _there) = (join(8101).await, join(8102).await);
        let up = "\ncallboard_cluster_line_up{node=\"b2\"} 1\n";
        let metrics = until(up, PATIENCE, async || {
            let (_, metrics) = get(server.listen(), "*/*").await;
            if metrics.contains(up) { Moment::Now(metrics) } else { Moment::NotYet(metrics) }
        })
        .await;

        let said = check(&metrics).await;
        assert!(said.status.success() && said.stderr.is_empty(), "{said:?}\n{metrics}");
        let (_, open) = get(server.listen(), "application/openmetrics-text;version=1.0.0").await;
        let said = import(&open).await;
        assert!(said.status.success(), "{said:?}\n{open}");
        // The README names each of them, and no others.
        let readme = include_str!("../../crates/admin/README.md");
        let named: BTreeSet<&str> = readme
            .split('`')
            .filter(|word| word.starts_with("cluster_"))
            .map(|word| word.split('{').next().unwrap_or(word))
            .collect();
        let families = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE callboard_"));
        let families = families.filter_map(|line| line.split(' ').next());
        let there: BTreeSet<&str> = families.filter(|name| name.starts_with("cluster_")).collect();
        // The time there and back is measured after some seconds.
        let measured_later = "cluster_line_round_trip_seconds";
        let later = named.iter().copied().filter(|name| *name != measured_later);
        assert!(later.clone().count() > 10, "{named:?}");
        let missing: Vec<_> = later.filter(|name| !there.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?} in {there:?}");
        let unnamed: Vec<_> = there.difference(&named).collect();
        assert!(unnamed.is_empty(), "{unnamed:?}");
        for (name, label, value) in [
            ("claims_total", "result=\"granted\"", 1),
            ("rooms", "state=\"home\"", 1),
            ("rooms", "state=\"away\"", 0),
            ("rooms", "state=\"shut\"", 0),
            ("moves_total", "result=\"moved\"", 0),
            ("moves_total", "result=\"refused\"", 0),
            ("nodes", "state=\"draining\"", 0),
        ] {
            let sample = format!("\ncallboard_cluster_{name}{{{label}}} {value}\n");
            assert!(metrics.contains(&sample), "{sample}");
        }
        assert!(metrics.contains("\ncallboard_cluster_engine_up 1\n"));
        let there = get("127.0.0.1:8102", "*/*").await.1;
        assert!(there.contains("\ncallboard_cluster_rooms{state=\"away\"} 1\n"), "{there}");
        // All three nodes are seen once their sessions are.
        let all = "\ncallboard_cluster_nodes{state=\"up\"} 3\n";
        until(all, PATIENCE, async || {
            let (_, metrics) = get(server.listen(), "*/*").await;
            if metrics.contains(all) { Moment::Now(()) } else { Moment::NotYet(metrics) }
        })
        .await;
        // On a busy machine a move may be refused.
        until("a move", PATIENCE, async || {
            let order = r#"{"path":"server/rooms/demo","fault":"move"}"#;
            let (head, body) = post(server.listen(), "/tree/fault", order).await;
            let moved = head.starts_with("HTTP/1.1 204 ");
            if moved { Moment::Now(()) } else { Moment::NotYet(format!("{head}\n{body}")) }
        })
        .await;
        let metrics = get(server.listen(), "*/*").await.1;
        let moved = "\ncallboard_cluster_moves_total{result=\"moved\"} 1\n";
        assert!(metrics.contains(moved), "{metrics}");
    });
}

/// Returns head and body of the answer of `/metrics` to a request that accepts this.
async fn get(address: &str, accept: &str) -> (String, String) {
    let head = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\naccept: {accept}");
    ask(address, &format!("{head}\r\nconnection: close\r\n\r\n")).await
}

/// Returns head and body of the answer to this JSON.
async fn post(address: &str, path: &str, body: &str) -> (String, String) {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}");
    ask(address, &format!("{head}\r\nconnection: close\r\n\r\n{body}")).await
}

/// Returns head and body of the answer to a request.
async fn ask(address: &str, request: &str) -> (String, String) {
    let mut connection = TcpStream::connect(address).await.expect("it listens");
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
