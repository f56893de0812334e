//! Authentication data of a peer.

use serde_json::{Map, Value};

use crate::peer_id::PeerId;

/// Data about a peer, for its authentication and again when it joins its room.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthData {
    /// Id of the peer.
    pub peer_id: PeerId,
    /// Credentials, such as a user name and a password; defined by the application.
    pub credentials: Map<String, Value>,
    /// Other data that helps to decide; defined by the application.
    pub metadata: Value,
    /// Public metadata, such as a name: the clients of the other members get it. Empty unless the application sets it.
    pub public: Map<String, Value>,
}

impl AuthData {
    /// Creates the data of a peer that has sent none.
    pub fn new(peer_id: PeerId) -> Self {
        Self { peer_id, credentials: Map::new(), metadata: Value::Null, public: Map::new() }
    }
}
