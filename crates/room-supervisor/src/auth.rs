//! Who asks to join.

use serde_json::{Map, Value};

use crate::peer_id::PeerId;

/// What is known of a peer when it is authenticated, and again when it joins its room.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthData {
    /// The peer.
    pub peer_id: PeerId,
    /// Such as a user name and a password; the application's.
    pub credentials: Map<String, Value>,
    /// Anything else that helps to decide; the application's.
    pub metadata: Value,
}
