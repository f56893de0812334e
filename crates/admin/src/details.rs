//! Details of peer connections: requested from each of them, a few at a time, and cached for a moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use callboard_peer_connection::messages::{GetConnectionState, GetCounters, GetStats};
use callboard_peer_connection::{
    DataChannelStats, IceCandidatePairStats, IceCandidateStats, OutboundRtpStreamStats,
    PeerConnectionHandle, PeerConnectionId, PeerConnectionState, PeerConnections,
    RemoteInboundRtpStreamStats, Stats, StatsReport, TransportStats,
};
use callboard_supervision::Status;
use futures_util::StreamExt;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

/// Cached details of all peer connections, by their names.
#[derive(Default)]
pub(crate) struct Details {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    asked: Option<Instant>,
    all: Arc<All>,
}

/// Details of all peer connections.
#[derive(Default)]
pub(crate) struct All {
    pub(crate) by_name: HashMap<String, Connection>,
    /// Traffic of all peer connections that were ever asked.
    pub(crate) traffic: Traffic,
}

/// Traffic of peer connections.
#[derive(Clone, Copy, Default)]
pub(crate) struct Traffic {
    /// Bytes in data channels.
    pub(crate) data_sent: u64,
    pub(crate) data_received: u64,
    /// Packets of media, also those that were sent again.
    pub(crate) packets_sent: u64,
    /// Packets of media that the peers have reported as lost.
    pub(crate) packets_lost: u64,
}

impl Traffic {
    fn of(stats: &StatsReport) -> Self {
        let bytes = |of: fn(&DataChannelStats) -> u64| stats.of().map(of).sum();
        Self {
            data_sent: bytes(|channel| channel.bytes_sent),
            data_received: bytes(|channel| channel.bytes_received),
            packets_sent: stats.of().map(|it: &OutboundRtpStreamStats| it.packets_sent).sum(),
            packets_lost: stats.of().map(|it: &RemoteInboundRtpStreamStats| it.packets_lost).sum(),
        }
    }

    /// Adds the traffic of a connection since it was asked before. A smaller sum than then: a channel or a stream has
    /// ended, and is no longer counted.
    fn add(&mut self, now: &Self, before: &Self) {
        self.data_sent += now.data_sent.saturating_sub(before.data_sent);
        self.data_received += now.data_received.saturating_sub(before.data_received);
        self.packets_sent += now.packets_sent.saturating_sub(before.packets_sent);
        self.packets_lost += now.packets_lost.saturating_sub(before.packets_lost);
    }
}

/// Details of one peer connection.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) shown: Map<String, Value>,
    pub(crate) state: PeerConnectionState,
    traffic: Traffic,
}

impl Details {
    /// Returns the cached details, or new ones if they are too old. Concurrent callers wait for one answer.
    pub(crate) async fn all(&self, connections: &PeerConnections) -> Arc<All> {
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
    let mut all = All { traffic: before.traffic, ..All::default() };
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
        let earlier = before.by_name.get(&name).map(|before| before.traffic).unwrap_or_default();
        all.traffic.add(&connection.traffic, &earlier);
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
    let mut shown = shown(&stats);
    shown.insert("state".to_owned(), state.name().into());
    shown.insert("datagrams_lost".to_owned(), counters.datagrams_lost.into());
    Some(Connection { shown, state, traffic: Traffic::of(&stats) })
}

/// Returns the part of the W3C statistics that is shown.
fn shown(stats: &StatsReport) -> Map<String, Value> {
    let transport = stats.of::<TransportStats>().next();
    let pair = stats.of::<IceCandidatePairStats>().next();
    // Rounded to a thousandth.
    let rtt = pair.and_then(|pair| pair.current_round_trip_time);
    let rtt = rtt.map(|seconds| (seconds * 1_000_000.0).round() / 1_000.0);
    let channels: Vec<Value> = stats.of().map(channel_shown).collect();
    Map::from_iter(
        [
            ("ice_state", json!(transport.map(|transport| transport.ice_state))),
            ("dtls_state", json!(transport.map(|transport| transport.dtls_state))),
            ("dtls", json!(transport.and_then(|it| Some(it.tls_version?.number())))),
            ("srtp", json!(transport.and_then(|transport| transport.srtp_cipher))),
            ("bytes_sent", json!(transport.map(|transport| transport.bytes_sent))),
            ("bytes_received", json!(transport.map(|transport| transport.bytes_received))),
            ("rtt_ms", json!(rtt)),
            ("pair", json!(pair.map(|pair| pair_shown(stats, pair)))),
            ("channels", channels.into()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )
}

fn pair_shown(stats: &StatsReport, pair: &IceCandidatePairStats) -> Value {
    let candidate = |id: &str| match stats.get(id) {
        Some(Stats::LocalCandidate(candidate) | Stats::RemoteCandidate(candidate)) => {
            Some(candidate)
        }
        _ => None,
    };
    let local = candidate(&pair.local_candidate_id);
    let remote = candidate(&pair.remote_candidate_id);
    json!({
        "local": local.map(address),
        "remote": remote.map(address),
        "local_type": local.map(|candidate| candidate.candidate_type),
        "remote_type": remote.map(|candidate| candidate.candidate_type),
        "protocol": remote.map(|candidate| candidate.protocol),
    })
}

fn address(candidate: &IceCandidateStats) -> String {
    let (address, port) = (&candidate.address, candidate.port);
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn channel_shown(channel: &DataChannelStats) -> Value {
    json!({
        "label": channel.label,
        "state": channel.state,
        "bytes_sent": channel.bytes_sent,
        "bytes_received": channel.bytes_received,
    })
}

/// Mark of details that were not answered in time, and are the previous ones.
const UNANSWERED: &str = "unanswered";
/// Maximum age of the cached details.
const KEPT: Duration = Duration::from_millis(250);
/// Time limit for all peer connections together: a reader does not wait for one that is busy.
const PATIENCE: Duration = Duration::from_millis(80);
/// Number of concurrent requests: threads that carry media must not be held up.
const AT_ONCE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_never_falls_when_streams_and_channels_end() {
        let of =
            |sent, lost| Traffic { packets_sent: sent, packets_lost: lost, ..Traffic::default() };
        let mut all = Traffic::default();

        all.add(&of(100, 5), &Traffic::default());
        all.add(&of(160, 6), &of(100, 5));
        all.add(&of(20, 0), &of(160, 6));
        all.add(&of(30, 2), &of(20, 0));

        assert_eq!((all.packets_sent, all.packets_lost), (170, 8));
    }
}
