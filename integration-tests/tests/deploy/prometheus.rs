//! Scrape configuration, alerts and dashboard, with a real Prometheus that scrapes a real server.

use std::process::{Output, Stdio};

use callboard_client::{Client, ClientOptions};
use integration_tests::{Moment, PATIENCE, Server, in_network_namespace, program, until};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::join::join;
use super::{get, got, path, replaced, text};

#[test]
fn the_alerts_fire_when_they_should() {
    let folder = path("prometheus");
    let promtool = |arguments: &[&str]| -> Output {
        let tool = program::of_the_machine("promtool", "prometheus");
        let run = std::process::Command::new(tool).args(arguments).current_dir(&folder).output();
        run.expect("it starts")
    };
    let said = promtool(&["check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"]);
    assert!(said.status.success(), "{said:?}");
    let said = promtool(&["test", "rules", "alerts.test.yml"]);
    assert!(said.status.success(), "{said:?}");
    // Each alert is among the tests.
    let tests = text("prometheus/alerts.test.yml");
    let alerts = text("prometheus/alerts.yml");
    let names: Vec<&str> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(names.len(), alerts.matches("expr: ").count());
    for name in names {
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "no test of {name}");
    }
}

#[test]
fn every_query_of_alerts_and_dashboard_finds_what_a_server_exposes() {
    in_network_namespace(async || {
        let arguments = ["--listen", "127.0.0.1:8080", "--admin-token", TOKEN];
        let server = Server::of("supervisor-tree", &arguments).await;
        let url = format!("ws://{}/socket/demo", server.listen());
        let _guest = Client::connect(&url, ClientOptions::new()).await.expect("it is admitted");
        // A node too, with a room, and a line to another node.
        let _nodes = Server::of("cluster-example", &[]).await;
        let (_here, _there) = (join(8101).await, join(8102).await);
        let _prometheus = Prometheus::start();
        got(PROMETHEUS, "/-/ready").await;

        // The alerts are loaded, and each of their selectors finds something.
        let rules: Value = serde_json::from_str(&got(PROMETHEUS, "/api/v1/rules").await).unwrap();
        let rules = rules["data"]["groups"][0]["rules"].as_array().expect("rules");
        let alerts = text("prometheus/alerts.yml");
        assert_eq!(rules.len(), alerts.matches("- alert: ").count());
        let mut queries: Vec<String> = Vec::new();
        for rule in rules {
            let selectors = selectors(rule["query"].as_str().expect("a query"));
            assert!(!selectors.is_empty(), "{rule}");
            queries.extend(selectors);
        }

        // So does each query of the dashboard, and each of its selectors.
        let dashboard: Value = serde_json::from_str(&text("grafana/callboard.json")).expect("JSON");
        let panels = dashboard["panels"].as_array().expect("panels");
        for panel in panels {
            for target in panel["targets"].as_array().expect("queries") {
                let query = target["expr"].as_str().expect("a query");
                let query = query.replace("$instance", ".+").replace("$__rate_interval", "1m");
                assert!(!query.contains('$'), "{query}");
                queries.extend(selectors(&query));
                queries.push(query);
            }
        }
        assert!(panels.len() > 25 && queries.len() > 75);
        queries.sort_unstable();
        queries.dedup();
        for query in &queries {
            finds(query).await;
        }
        // What no server exposes is not found.
        assert_eq!(result(&ask("callboard_things").await), Some(0));
        assert_eq!(result(&ask("callboard_rooms{").await), None);
    });
}

/// Waits until a query finds something: rates need two scrapes.
async fn finds(query: &str) {
    until(query, PATIENCE, async || {
        let answer = ask(query).await;
        match result(&answer) {
            Some(0) => Moment::NotYet(answer),
            Some(_) => Moment::Now(()),
            None => panic!("{query}: {answer}"),
        }
    })
    .await;
}

/// Returns Prometheus' answer to a query.
async fn ask(query: &str) -> String {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let answer = get(PROMETHEUS, &format!("/api/v1/query?query={encoded}"), "").await;
    answer.expect("an answer").1
}

/// Returns the number of series that a query has found; nothing if it is wrong.
fn result(answer: &str) -> Option<usize> {
    let answer: Value = serde_json::from_str(answer).ok()?;
    let found = answer["data"]["result"].as_array()?.len();
    (answer["status"] == "success").then_some(found)
}

/// Returns the selectors in a query: a metric's name, and braces if there are some.
fn selectors(query: &str) -> Vec<String> {
    let begins = query.match_indices("callboard_").chain(query.match_indices("up{"));
    let selector = |(at, _): (usize, &str)| {
        let rest = &query[at..];
        let of_name = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
        let name = rest.find(|byte| !of_name(byte)).unwrap_or(rest.len());
        match rest[name..].starts_with('{') {
            true => rest[..=rest.find('}').expect("a brace")].to_owned(),
            false => rest[..name].to_owned(),
        }
    };
    begins.map(selector).collect()
}

/// Running Prometheus with the files of `examples/deploy`.
struct Prometheus {
    _child: Child,
    _folder: TempDir,
}

impl Prometheus {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let often = replaced(&text("prometheus/prometheus.yml"), "interval: 15s", "interval: 1s");
        let (server, with_node) =
            (r#"["127.0.0.1:8080"]"#, r#"["127.0.0.1:8080", "127.0.0.1:8101"]"#);
        let often = replaced(&often, server, with_node);
        std::fs::write(folder.path().join("prometheus.yml"), often).expect("there is room");
        std::fs::write(folder.path().join("token"), TOKEN).expect("there is room");
        std::fs::copy(path("prometheus/alerts.yml"), folder.path().join("alerts.yml"))
            .expect("there is room");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program::of_the_machine("prometheus", "prometheus"))
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={PROMETHEUS}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        Self { _child: child, _folder: folder }
    }
}

const TOKEN: &str = "a long secret";
const PROMETHEUS: &str = "127.0.0.1:9090";
