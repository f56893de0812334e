//! Details of peer connections: requested from each of them, a few at a time, and cached for a moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use callboard_peer_connection::messages::{GetConnectionState, GetCounters, GetStats};
use callboard_peer_connection::{
    PeerConnectionHandle, PeerConnectionId, PeerConnectionState, PeerConnections, StatsReport,
};
use callboard_supervision::Status;
use futures_util::StreamExt;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

/// Cached details of all peer connections, by their names.
pub(super) struct Details {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    asked: Option<Instant>,
    all: Arc<All>,
}

/// Details of all peer connections.
#[derive(Default)]
pub(super) struct All {
    pub(super) by_name: HashMap<String, Connection>,
    /// Bytes in the data channels of all peer connections that were ever asked.
    pub(super) data_sent: u64,
    pub(super) data_received: u64,
}

/// Details of one peer connection.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) shown: Map<String, Value>,
    pub(super) state: PeerConnectionState,
    data_sent: u64,
    data_received: u64,
}

impl Details {
    pub(super) fn new() -> Self {
        Self { known: Mutex::default() }
    }

    /// Returns the cached details, or new ones if they are too old. Concurrent callers wait for one answer.
    pub(super) async fn all(&self, connections: &PeerConnections) -> Arc<All> {
        let mut known = self.known.lock().await;
        let now = Instant::now();
        if known.asked.is_none_or(|asked| now.duration_since(asked) >= KEPT) {
            known.all = Arc::new(ask_all(connections, &known.all, now + PATIENCE).await);
            known.asked = Some(now);
        }
        Arc::clone(&known.all)
    }
}

async fn ask_all(connections: &PeerConnections, before: &All, deadline: Instant) -> All {
    let snapshot = connections.connections().snapshot();
    let running = snapshot.children.iter().filter(|child| child.status == Status::Running);
    let mut handles: Vec<(String, PeerConnectionHandle)> = running
        .filter_map(|child| {
            let id = PeerConnectionId(child.id.parse().ok()?);
            Some((child.id.to_string(), connections.get(id)?))
        })
        .collect();
    // Those first that have not answered yet, or not in time: if many are slow, all of them get their turn.
    handles.sort_by_key(|(name, _)| {
        before.by_name.get(name).is_some_and(|it| !it.shown.contains_key(UNANSWERED))
    });
    let mut all =
        All { data_sent: before.data_sent, data_received: before.data_received, ..All::default() };
    // For one that does not answer in time, the previous details are shown.
    for (name, _) in &handles {
        if let Some(connection) = before.by_name.get(name) {
            let mut connection = connection.clone();
            connection.shown.insert(UNANSWERED.to_owned(), true.into());
            all.by_name.insert(name.clone(), connection);
        }
    }
    let asked = handles.into_iter().map(|(name, handle)| async move { (name, ask(&handle).await) });
    let mut answers = futures_util::stream::iter(asked).buffer_unordered(AT_ONCE);
    while let Ok(Some((name, answer))) = timeout_at(deadline, answers.next()).await {
        let Some(connection) = answer else { continue };
        let (sent, received) = before
            .by_name
            .get(&name)
            .map_or((0, 0), |before| (before.data_sent, before.data_received));
        // A smaller sum than before: a channel was closed, and is no longer counted.
        all.data_sent += connection.data_sent.saturating_sub(sent);
        all.data_received += connection.data_received.saturating_sub(received);
        all.by_name.insert(name, connection);
    }
    all
}

async fn ask(handle: &PeerConnectionHandle) -> Option<Connection> {
    let (stats, state, counters) = tokio::join!(
        handle.send(GetStats),
        handle.send(GetConnectionState),
        handle.send(GetCounters)
    );
    let (stats, state, counters) = (stats.ok()?, state.ok()?, counters.ok()?);
    let sum = |member: &str| {
        let channels = stats.of_type("data-channel");
        channels.filter_map(|channel| channel.get(member)?.as_u64()).sum::<u64>()
    };
    let mut shown = shown(&stats);
    shown.insert("state".to_owned(), state.name().into());
    shown.insert("datagrams_lost".to_owned(), counters.datagrams_lost.into());
    Some(Connection {
        shown,
        state,
        data_sent: sum("bytesSent"),
        data_received: sum("bytesReceived"),
    })
}

/// Returns the part of the W3C statistics that is shown.
fn shown(stats: &StatsReport) -> Map<String, Value> {
    let member = |of: Option<&Map<String, Value>>, name: &str| {
        of.and_then(|of| of.get(name)).cloned().unwrap_or(Value::Null)
    };
    let transport = stats.of_type("transport").next();
    let dtls = match member(transport, "tlsVersion").as_str() {
        Some("FEFD") => Value::from("1.2"),
        Some("FEFC") => Value::from("1.3"),
        _ => Value::Null,
    };
    let mut shown = Map::from_iter([
        ("ice_state".to_owned(), member(transport, "iceState")),
        ("dtls_state".to_owned(), member(transport, "dtlsState")),
        ("dtls".to_owned(), dtls),
        ("srtp".to_owned(), member(transport, "srtpCipher")),
        ("bytes_sent".to_owned(), member(transport, "bytesSent")),
        ("bytes_received".to_owned(), member(transport, "bytesReceived")),
    ]);
    let named = |id: Value| stats.0.get(id.as_str()?)?.as_object();
    let address =
        |of: Option<&Map<String, Value>>| match (member(of, "address"), member(of, "port")) {
            (Value::String(address), Value::Number(port)) if address.contains(':') => {
                Value::from(format!("[{address}]:{port}"))
            }
            (Value::String(address), Value::Number(port)) => {
                Value::from(format!("{address}:{port}"))
            }
            _ => Value::Null,
        };
    let pair = stats.of_type("candidate-pair").next();
    let (local, remote) =
        (named(member(pair, "localCandidateId")), named(member(pair, "remoteCandidateId")));
    let rtt = member(pair, "currentRoundTripTime").as_f64();
    // Rounded to a thousandth.
    let rtt = rtt.map(|seconds| (seconds * 1_000_000.0).round() / 1_000.0);
    shown.insert("rtt_ms".to_owned(), json!(rtt));
    let pair = pair.map(|_| {
        json!({
            "local": address(local),
            "remote": address(remote),
            "local_type": member(local, "candidateType"),
            "remote_type": member(remote, "candidateType"),
            "protocol": member(remote, "protocol"),
        })
    });
    shown.insert("pair".to_owned(), json!(pair));
    let channels: Vec<Value> = stats
        .of_type("data-channel")
        .map(|channel| {
            let channel = Some(channel);
            json!({
                "label": member(channel, "label"),
                "state": member(channel, "state"),
                "bytes_sent": member(channel, "bytesSent"),
                "bytes_received": member(channel, "bytesReceived"),
            })
        })
        .collect();
    shown.insert("channels".to_owned(), channels.into());
    shown
}

/// Mark of details that were not answered in time, and are the previous ones.
const UNANSWERED: &str = "unanswered";
/// Maximum age of the cached details.
const KEPT: Duration = Duration::from_millis(250);
/// Time limit for all peer connections together: a reader does not wait for one that is busy.
const PATIENCE: Duration = Duration::from_millis(80);
/// Number of concurrent requests: threads that carry media must not be held up.
const AT_ONCE: usize = 32;
