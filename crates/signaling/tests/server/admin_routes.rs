//! Admin routes: authorization, the stream, health, and metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callboard_admin::*;
use callboard_peer_connection::Configuration;
use callboard_peer_connection::messages::*;
use serde_json::{Value, json};

use crate::common::raw::{RawClient, frame};
use crate::inside::*;
use crate::peers::{Peer, message};

#[actix::test]
async fn the_stream_tells_at_once_what_happens_and_the_tree_only_when_it_has_changed() {
    let server = Server::start().await;
    let mut stream = server.look().await;
    let first = stream.message().await;
    assert_eq!(first["kind"], "tree");
    check_shape(&first["tree"], None);
    // On a busy machine a thread may be reported as blocked.
    let told = |it: &Value| it["what"] != "blocked";
    let silence = tokio::time::timeout(Duration::from_secs(1), until(&mut stream, told)).await;
    assert!(silence.is_err(), "nothing has changed: {silence:?}");

    let (ada, peer) = server.join().await;
    let path = format!("server/rooms/demo/{peer}");
    // A tree from the time when the peer was being started may come before.
    let event = until(&mut stream, |it| it["kind"] == "event" && told(it)).await;
    assert_eq!(event["what"], "started", "{event}");
    assert_eq!(event["path"], path);
    assert!(event.get("reason").is_none(), "{event}");
    until(&mut stream, |it| {
        it["kind"] == "tree" && node(it, &path).is_some_and(|peer| peer.status == "running")
    })
    .await;

    drop(ada);
    let event = until(&mut stream, |it| it["what"] == "down").await;
    assert_eq!(event["path"], path);
    assert!(event["reason"]["kind"].is_string(), "{event}");
    until(&mut stream, |it| it["kind"] == "tree" && node(it, &path).is_none()).await;
}

#[actix::test]
async fn one_who_does_not_read_is_closed_and_no_other() {
    let change = Arc::new(AtomicUsize::new(0));
    let shown = Arc::clone(&change);
    let server = Server::start_with(move |admin| {
        // More than the system buffers for a client that does not read.
        admin.annotate(move |node| {
            let change = shown.load(Ordering::Relaxed);
            (&*node.id == "rooms")
                .then(|| json!({ "change": change, "much": "x".repeat(6_000_000) }))
        })
    })
    .await;
    let streams = async || {
        let metrics = server.get("/admin/metrics").await.body;
        let line =
            metrics.lines().find(|line| line.starts_with("callboard_admin_streams ")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    };
    let slow = server.look().await;
    let mut quick = server.look().await;
    assert_eq!(streams().await, 2);

    // The fast client reads each change before the next is made, however fast this machine is.
    let closed = async {
        while streams().await > 1 {
            let next = json!(change.fetch_add(1, Ordering::Relaxed) + 1);
            until(&mut quick, |it| {
                node(it, "server/rooms").is_some_and(|it| it.details.get("change") == Some(&next))
            })
            .await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), closed).await.expect("the slow one is closed");
    change.fetch_add(1, Ordering::Relaxed);
    until(&mut quick, |it| it["kind"] == "tree").await;
    drop((slow, quick));
    let gone = async {
        while streams().await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("nobody looks");
}

#[actix::test]
async fn one_who_sends_too_much_is_closed_and_no_other() {
    let server = Server::start().await;
    let mut other = server.look().await;
    let address = server.address.to_string();
    for (name, first, payload) in [
        ("pings", 0x89, &b""[..]),
        ("pongs", 0x8a, b""),
        ("empty messages", 0x81, b""),
        ("empty binary messages", 0x82, b""),
        ("empty fragments", 0x00, b""),
        ("texts", 0x81, &[b'x'; 1_000]),
    ] {
        let mut viewer = RawClient::open(&address, "/admin/tree/stream", "", b"").await;
        assert!(viewer.text().await.contains(r#""kind":"tree""#));
        let start = if first == 0 { frame(0x01, b"") } else { Vec::new() };

        // The server need not read all of it.
        viewer.write(&[start, frame(first, payload).repeat(20_000)].concat()).await;

        let (code, reason) = viewer.closed().await;
        assert_eq!((code, &*reason), (1008, "too many messages"), "{name}");
    }
    // A client that sends little stays, and gets the events.
    other.text("ping").await;
    let (_ada, peer) = server.join().await;
    let path = format!("server/rooms/demo/{peer}");
    until(&mut other, |it| it["kind"] == "event" && it["path"] == path).await;
}

#[actix::test]
async fn without_a_token_pages_of_other_sites_are_refused() {
    let server = Server::start().await;
    let evil = [("origin", "http://evil.example")];
    let rebound = [("host", "evil.example")];
    let fault = order("server/rooms/demo/room", "kill").to_string();
    for (method, path, body) in [
        ("GET", "/admin/tree", ""),
        ("GET", "/admin/tree/stream", ""),
        ("GET", "/admin/tree/recoveries", ""),
        ("GET", "/admin/metrics", ""),
        ("POST", "/admin/tree/fault", fault.as_str()),
        ("POST", "/admin/tree/recoveries/0", r#"{"messages_ms":1}"#),
    ] {
        let answer = server.ask(method, path, &rebound, body).await;
        assert_eq!(answer.error(), (403, "forbidden_host".to_owned()), "{path}");
        let answer = server.ask(method, path, &[("x-forwarded-for", "192.0.2.1")], body).await;
        assert_eq!(answer.error(), (403, "loopback_only".to_owned()), "{path}");
        let answer = server.ask(method, path, &evil, body).await;
        if method == "POST" || path.ends_with("stream") {
            assert_eq!(answer.error(), (403, "forbidden_origin".to_owned()), "{path}");
        } else {
            // Its page cannot read the answer: no header allows it to.
            assert_eq!(answer.status, 200, "{path}");
            assert!(!answer.head.contains("access-control"), "{}", answer.head);
        }
    }
    assert_eq!(server.open("/admin/tree/stream", &evil).await.unwrap_err(), 403);
    assert!(server.admin.recoveries().is_empty());
    let own = format!("http://{}", server.address);
    assert!(server.open("/admin/tree/stream", &[("origin", &own)]).await.is_ok());
    assert_eq!(server.get("/admin/tree/stream").await.error().0, 426);
    assert_eq!(server.ask("GET", "/admin/healthz", &rebound, "").await.status, 200);
}

#[actix::test]
async fn with_a_token_only_those_who_know_it_are_answered() {
    let server = Server::start_with(|admin| admin.token("a secret")).await;
    let fault = order("server/rooms/demo/room", "kill").to_string();
    for (method, path) in [
        ("GET", "/admin/tree"),
        ("GET", "/admin/tree/stream"),
        ("GET", "/admin/tree/recoveries"),
        ("GET", "/admin/metrics"),
        ("POST", "/admin/tree/fault"),
        ("POST", "/admin/tree/recoveries/0"),
        ("POST", "/admin/cluster/drainx"),
    ] {
        for headers in [&[][..], &[("authorization", "Bearer wrong")]] {
            let answer = server.ask(method, path, headers, &fault).await;
            assert_eq!(answer.error(), (401, "unauthorized".to_owned()), "{path}");
            assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
        }
    }
    assert_eq!(server.open("/admin/tree/stream", &[]).await.unwrap_err(), 401);
    assert!(server.admin.recoveries().is_empty());

    // Then any host is allowed: the token counts.
    let known = [("authorization", "Bearer a secret"), ("host", "example.org")];
    assert_eq!(server.ask("GET", "/admin/tree", &known, "").await.status, 200);
    assert_eq!(server.get("/admin/tree?token=a+secret").await.status, 200);
    assert_eq!(server.ask("POST", "/admin/tree/fault", &known, &fault).await.status, 204);
    assert!(server.open("/admin/tree/stream?token=a%20secret", &[]).await.is_ok());
    assert_eq!(server.get("/admin/healthz").await.status, 200);
}

#[actix::test]
async fn with_the_token_for_reading_a_client_looks_and_changes_nothing() {
    let server = Server::start_with(|admin| admin.token("a secret").read_token("a look")).await;
    let fault = order("server/rooms/demo/room", "kill").to_string();
    // Any host is allowed, and a token in the query where no header can be sent.
    let (bearer, host) = (("authorization", "Bearer a look"), ("host", "example.org"));
    for path in ["/admin/metrics", "/admin/tree", "/admin/tree/recoveries"] {
        assert_eq!(server.ask("GET", path, &[bearer, host], "").await.status, 200, "{path}");
        let asked = format!("{path}?token=a+look");
        assert_eq!(server.ask("GET", &asked, &[host], "").await.status, 200, "{path}");
        let wrong = [("authorization", "Bearer a glance"), host];
        let answer = server.ask("GET", path, &wrong, "").await;
        assert_eq!(answer.error(), (401, "unauthorized".to_owned()), "{path}");
        let answer = server.ask("GET", path, &[host], "").await;
        assert_eq!(answer.error(), (401, "unauthorized".to_owned()), "{path}");
    }
    let mut stream = server.open("/admin/tree/stream?token=a%20look", &[]).await.unwrap();
    until(&mut stream, |it| it["kind"] == "tree").await;

    for (path, body) in [
        ("/admin/tree/fault", fault.as_str()),
        ("/admin/tree/recoveries/0", r#"{"messages_ms":1}"#),
    ] {
        let answer = server.ask("POST", path, &[bearer], body).await;
        assert_eq!(answer.error(), (403, "read_only".to_owned()), "{path}");
        let answer = server.ask("POST", &format!("{path}?token=a+look"), &[], body).await;
        assert_eq!(answer.error(), (403, "read_only".to_owned()), "{path}");
    }
    assert!(server.admin.recoveries().is_empty());
    let full = [("authorization", "Bearer a secret")];
    assert_eq!(server.ask("POST", "/admin/tree/fault", &full, &fault).await.status, 204);
}

#[actix::test]
async fn a_path_that_is_none_of_the_routes_is_said_to_be_none() {
    let server = Server::start().await;
    for (method, path) in [
        ("POST", "/admin/cluster/drainx"),
        ("GET", "/admin/cluster/"),
        ("GET", "/admin/tree/none/of/them"),
    ] {
        let answer = server.ask(method, path, &[], "").await;
        assert_eq!(answer.error(), (404, "not_found".to_owned()), "{method} {path}");
        assert_eq!(answer.json()["detail"], format!("there is no route {path}"));
    }
}

#[actix::test]
async fn the_server_is_ready_while_the_roots_children_run() {
    let server = Server::start().await;
    assert_eq!(server.get("/admin/healthz").await.json(), json!({ "alive": true }));
    let ready = server.get("/admin/readyz").await;
    assert_eq!((ready.status, ready.json()), (200, json!({ "ready": true })));

    server.root.terminate_child("rooms").await.unwrap();
    let down = server.get("/admin/readyz").await;
    assert_eq!(down.status, 503);
    let named = json!([{ "path": "server/rooms", "status": "stopped" }]);
    assert_eq!(down.json(), json!({ "ready": false, "down": named }));
    // A client without authorization learns that it is not ready, and no more.
    let stranger = server.ask("GET", "/admin/readyz", &[("host", "example.org")], "").await;
    assert_eq!((stranger.status, stranger.json()), (503, json!({ "ready": false })));
    let answer = server.post("/admin/tree/fault", order("server/rooms", "kill")).await;
    assert_eq!(answer.error(), (409, "not_running".to_owned()));

    server.root.restart_child("rooms").await.unwrap();
    assert_eq!(server.get("/admin/readyz").await.status, 200);
    server.root.stop().await;
    assert_eq!(server.get("/admin/readyz").await.status, 503);
    assert_eq!(server.get("/admin/healthz").await.status, 200);
    assert_eq!(server.tree().await.status, "stopped");
}

/// Name, labels and value of a sample.
type Sample = (String, BTreeMap<String, String>, f64);

/// Parses metrics; each line must be one that Prometheus reads, in a family that was declared.
fn parse_metrics(text: &str) -> Vec<Sample> {
    let is_name = |name: &str| {
        name.starts_with(|it: char| it.is_ascii_lowercase())
            && name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_')
    };
    let (mut kinds, mut helped, mut samples) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            assert!(lines.peek().is_none(), "something follows the end");
            assert!(text.ends_with("# EOF\n"));
            return samples;
        }
        if let Some(declared) = line.strip_prefix("# ") {
            let words: Vec<&str> = declared.splitn(3, ' ').collect();
            let [what, name, value] = words.as_slice() else { panic!("{line}") };
            assert!(is_name(name), "{line}");
            match *what {
                "HELP" => {
                    assert!(helped.insert((*name).to_owned()) && value.ends_with('.'), "{line}")
                }
                "TYPE" => {
                    assert!(["gauge", "counter", "histogram"].contains(value), "{line}");
                    assert!(
                        kinds.insert((*name).to_owned(), (*value).to_owned()).is_none(),
                        "{line}"
                    );
                }
                "UNIT" => assert!(name.ends_with(value), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(value.is_finite() && value >= 0.0, "{line}");
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("a brace")),
            None => (series, ""),
        };
        assert!(is_name(name), "{line}");
        let labels: BTreeMap<String, String> = labels
            .split(',')
            .filter(|label| !label.is_empty())
            .map(|label| {
                let (key, value) = label.split_once('=').expect("a value");
                let value = value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap();
                assert!(is_name(key) && (key == "le" || is_name(value)), "{line}");
                (key.to_owned(), value.to_owned())
            })
            .collect();
        let histogram = ["_bucket", "_count", "_sum"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|family| kinds.get(*family).is_some_and(|kind| kind == "histogram"));
        let family = match (histogram, name.strip_suffix("_total")) {
            (Some(family), _) => (family, "histogram"),
            (None, Some(family)) => (family, "counter"),
            (None, None) => (name, "gauge"),
        };
        assert_eq!(kinds.get(family.0).map(String::as_str), Some(family.1), "{line}");
        assert!(helped.contains(family.0), "{line}");
        let new = !samples.iter().any(|(other, others, _)| *other == name && *others == labels);
        assert!(new, "twice: {line}");
        samples.push((name.to_owned(), labels, value));
    }
    panic!("no end");
}

#[actix::test]
async fn the_metrics_are_what_prometheus_reads() {
    let server = Server::start().await;
    let (mut ada, _) = server.join().await;
    let (one, mut other, channel) = call(&server).await;
    one.send(SendData::text(channel, "x".repeat(1_000))).await.unwrap();
    other.until(message).await;
    // Each call that has run counts, also without success; a call of a missing hook does not.
    for (function, args, outcome) in [
        ("add", json!([1, 2]), "hook_reply"),
        ("refuse", json!([]), "hook_error"),
        ("missing", json!([]), "hook_error"),
    ] {
        let call = json!({ "type": "call_hook", "plugin": "test", "fn": function, "args": args });
        ada.send(call).await;
        let answer = ada.message().await;
        assert_eq!((&answer["type"], &answer["fn"]), (&json!(outcome), &json!(function)));
    }
    let mut stream = server.look().await;
    let room = "server/rooms/demo/room";
    assert_eq!(server.post("/admin/tree/fault", order(room, "panic")).await.status, 204);
    whole(&mut stream, room).await;
    ada.expect("room_restarted").await;

    let text = server.get("/admin/metrics").await;
    assert!(text.head.contains("content-type: text/plain; version=0.0.4"), "{}", text.head);
    assert!(text.body.contains("# TYPE callboard_actor_exits_total counter\n"), "{}", text.body);
    // On a busy machine connections may not answer in time, and handshakes end a moment after they are complete.
    let told = async {
        loop {
            let answer = server.ask("GET", "/admin/metrics", &[OPEN_METRICS], "").await;
            assert_eq!(answer.status, 200);
            let samples = parse_metrics(&answer.body);
            let is = |name: &str, label: &str, value: f64| {
                let mut named = samples.iter().filter(|(it, ..)| it == name);
                named.any(|(_, labels, it)| labels.values().any(|it| it == label) && *it == value)
            };
            if is("callboard_peer_connections", "connected", 2.0)
                && is("callboard_handshakes_ended_total", "normal", 2.0)
            {
                return (answer, samples);
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(60), told).await;
    let (answer, samples) = told.expect("two connections, and the end of two handshakes");
    assert!(answer.head.contains("content-type: application/openmetrics-text"), "{}", answer.head);
    let value = |name: &str, label: &str| {
        let named = samples.iter().filter(|(it, _, _)| it == name);
        let mut labelled = named.filter(|(_, labels, _)| {
            label.is_empty() || labels.values().any(|value| value == label)
        });
        labelled.next().unwrap_or_else(|| panic!("no {name} {label}:\n{}", answer.body)).2
    };
    assert_eq!(value("callboard_peer_connections", "connected"), 2.0);
    assert_eq!(value("callboard_peer_connections", "failed"), 0.0);
    assert_eq!(value("callboard_actor_exits_total", "panic"), 1.0);
    assert_eq!(value("callboard_actor_restarts_total", ""), 1.0);
    assert_eq!(value("callboard_handshakes_started_total", ""), 2.0);
    assert_eq!(value("callboard_handshakes_ended_total", "normal"), 2.0);
    assert_eq!(value("callboard_handshakes", ""), 0.0);
    assert_eq!((value("callboard_rooms", ""), value("callboard_peers", "")), (1.0, 1.0));
    for (name, count) in [("join", 1.0), ("recovery", 1.0), ("handshake", 2.0), ("hook", 2.0)] {
        assert_eq!(value(&format!("callboard_{name}_duration_seconds_count"), ""), count, "{name}");
        let bucket = value(&format!("callboard_{name}_duration_seconds_bucket"), "+Inf");
        assert_eq!(bucket, count, "{name}");
        let sum = value(&format!("callboard_{name}_duration_seconds_sum"), "");
        assert!(sum > 0.0, "{name}");
    }
    assert_eq!(value("callboard_signaling_events_total", "opened"), 1.0);
    assert_eq!(value("callboard_websockets", ""), 1.0);
    assert_eq!(value("callboard_data_channel_bytes_total", "sent"), 1_000.0);
    assert_eq!(value("callboard_data_channel_bytes_total", "received"), 1_000.0);
    assert_eq!(value("callboard_rtp_packets_sent_total", ""), 0.0);
    assert_eq!(value("callboard_rtp_packets_reported_lost_total", ""), 0.0);
    assert!(value("callboard_udp_bytes_total", "received") > 1_000.0);
    assert!(value("callboard_udp_datagrams_total", "sent") > 5.0);
    assert!(value("callboard_uptime_seconds", "") > 0.0);
    let running = samples
        .iter()
        .filter(|(name, labels, _)| name == "callboard_actors" && labels["status"] == "running");
    assert_eq!(
        running.map(|(_, _, value)| value).sum::<f64>(),
        server.root.snapshot().running() as f64
    );
}

#[actix::test]
async fn two_hundred_peers_and_their_connections_are_shown() {
    let server = Server::start().await;
    let mut clients = Vec::new();
    let mut connections = Vec::new();
    for _ in 0..200 {
        let (client, id) = server.join().await;
        let connection =
            Peer::open_on(&server.connections, connections.len() % 2, Configuration::default())
                .await;
        server.own(&id, connection.connection.id());
        clients.push((client, id));
        connections.push(connection);
    }

    // On a busy machine not all answer in time; in the end each is asked successfully.
    let heard = async {
        loop {
            let tree = server.tree().await;
            let room = tree.find(&|node| node.id == "demo").unwrap();
            let peers = clients.iter().map(|(_, id)| {
                let peer = room.children.iter().find(|child| child.id == *id).expect("it is shown");
                assert_eq!(peer.children.len(), 1);
                peer.children[0].details.get("state")
            });
            let states: Vec<_> = peers.flatten().collect();
            if states.len() == clients.len() {
                assert!(states.iter().all(|state| *state == "new"), "{states:?}");
                return tree;
            }
        }
    };
    let tree = tokio::time::timeout(Duration::from_secs(60), heard).await.expect("all are heard");
    let room = tree.find(&|node| node.id == "demo").unwrap();
    assert_eq!(room.children.len(), 201);
    assert_eq!(draw(&tree).lines().count(), tree.count());
    let metrics = server.ask("GET", "/admin/metrics", &[OPEN_METRICS], "").await;
    let samples = parse_metrics(&metrics.body);
    let new = |(name, labels, value): &Sample| {
        (name == "callboard_peer_connections" && labels["state"] == "new").then_some(*value)
    };
    assert_eq!(samples.iter().find_map(new), Some(200.0));
    // No name of a peer is a label.
    assert!(samples.len() < clients.len(), "{}", samples.len());
}

/// The `Accept` header of Prometheus.
const OPEN_METRICS: (&str, &str) = (
    "accept",
    "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
);
