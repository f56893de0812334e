//! Records that nodes keep in the directory: sessions and claims.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::node_id::{Incarnation, NodeId};

/// Number of a change in the directory. Each change of any record has a greater one than all before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// Number of one node's hold of a room: of two holds of a room, the later has the greater one. Applications give it to
/// what they write to as a fencing token: that refuses every number smaller than the greatest that it
/// has seen.
///
/// It is at least the wall clock in milliseconds since 1970, so that it also grows if the directory has lost what it
/// knew.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Returns the epoch that follows this one, at a time of the wall clock in milliseconds since 1970.
    pub(crate) fn next(self, unix_ms: u64) -> Self {
        Self(self.0.saturating_add(1).max(unix_ms))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Session of a node: its word that it lives. It renews it again and again; another node seals it when it is dead.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    /// Node whose session it is.
    pub node: NodeId,
    /// Run of the node.
    pub incarnation: Incarnation,
    /// Number of the renewal, from 1.
    pub n: u64,
    /// Whether the session runs.
    pub state: SessionState,
    /// Time for which a renewal holds: the node is dead no sooner, also for nodes that have a shorter one.
    pub hold: Duration,
    /// URL at which clients reach the node, if they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Place where the node runs, such as a data centre.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Address at which the node's process answers as long as it lives
    /// ([`ClusterBuilder::liveness`](crate::ClusterBuilder::liveness)); none if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<SocketAddr>,
    /// Sessions of other nodes whose processes this node has found gone at their [addresses](Self::liveness).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Gone>,
}

/// Finding of a node: the process of another one, which has answered at its [address](Session::liveness) before, does
/// not listen there any more. If the other node renews its session after that, the finding counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Gone {
    /// Other node.
    pub node: NodeId,
    /// Run of the other node.
    pub incarnation: Incarnation,
    /// Number of the renewal that was its last then.
    pub n: u64,
}

/// Whether a session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SessionState {
    /// The node renews it.
    Up,
    /// The node renews it, and is about to leave: it takes no more rooms and clients.
    Draining,
    /// It is over for good: the node has left, or was found dead. Its claims are free.
    Sealed,
}

impl Gone {
    /// Creates the finding about a session as it is.
    pub fn new(session: &Session) -> Self {
        Self { node: session.node.clone(), incarnation: session.incarnation, n: session.n }
    }
}

impl SessionState {
    /// Returns whether the session is not over.
    pub fn runs(self) -> bool {
        self != Self::Sealed
    }
}

/// Claim of a room: which node runs it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Claim {
    /// Run of a node that holds the room; none if it was released.
    pub holder: Option<Holder>,
    /// Number of the hold.
    pub epoch: Epoch,
}

/// Run of a node that holds a room.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holder {
    /// Node.
    pub node: NodeId,
    /// Run of the node.
    pub incarnation: Incarnation,
}

impl Claim {
    /// Creates the claim of this node's run.
    pub fn held(node: NodeId, incarnation: Incarnation, epoch: Epoch) -> Self {
        Self { holder: Some(Holder { node, incarnation }), epoch }
    }

    /// Creates the record of a room that was released after this epoch.
    pub fn released(epoch: Epoch) -> Self {
        Self { holder: None, epoch }
    }
}

/// Word of a node that it has [given a room](crate::Cluster::give) to another one, for that
/// ([`Expected::given`](crate::Expected::given)): it has the room by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Given {
    /// Number of the other node's hold.
    pub epoch: Epoch,
    /// Revision of its claim.
    pub revision: u64,
    /// Run of the other node that has the room.
    pub incarnation: Incarnation,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_grow_by_the_wall_clock_and_without_it() {
        assert_eq!(Epoch(5).next(1_000), Epoch(1_000));
        assert_eq!(Epoch(2_000).next(1_000), Epoch(2_001));
        assert_eq!(Epoch::default().next(0), Epoch(1));
        assert_eq!(Epoch(u64::MAX).next(0), Epoch(u64::MAX));
    }

    /// Of a later version: what this one does not know is ignored.
    #[test]
    fn a_session_with_more_fields_can_be_read() {
        let json = r#"{"v":1,"node":"a1","incarnation":{"process":"6f1e2b0a-3c7d-4f10-9b51-0a4de8f1c001","term":1,
            "boot":7},"n":3,"state":"up","hold":{"secs":15,"nanos":0},"load":{"rooms":1}}"#;
        let session: Session = serde_json::from_str(json).unwrap();

        assert_eq!((session.n, session.state, session.url), (3, SessionState::Up, None));
        assert_eq!((session.liveness, session.gone), (None, vec![]));
    }
}
