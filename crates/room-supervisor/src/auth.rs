//! Authentication data of a peer.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
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
    pub public: PublicMetadata,
}

impl AuthData {
    /// Creates the data of a peer that has sent none.
    pub fn new(peer_id: PeerId) -> Self {
        let (credentials, public) = Default::default();
        Self { peer_id, credentials, metadata: Value::Null, public }
    }
}

/// Public metadata of a peer: a JSON object, kept as text. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct PublicMetadata(Option<Arc<RawValue>>);

impl PublicMetadata {
    /// Reads the text of another node; what is no JSON object counts as none.
    pub(crate) fn from_text(text: &[u8]) -> Self {
        let read = serde_json::from_slice::<Box<RawValue>>(text).ok();
        let read = read.filter(|raw| raw.get().starts_with('{') && raw.get() != "{}");
        Self(read.map(Arc::from))
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the value of one field. Reads the text.
    pub fn get(&self, field: &str) -> Option<Value> {
        self.to_map().remove(field)
    }

    /// Returns all fields. Reads the text.
    pub fn to_map(&self) -> Map<String, Value> {
        let text = self.0.as_deref().map_or("{}", RawValue::get);
        serde_json::from_str(text).unwrap_or_default()
    }
}

impl From<Map<String, Value>> for PublicMetadata {
    fn from(fields: Map<String, Value>) -> Self {
        let text = (!fields.is_empty()).then(|| to_raw_value(&fields).ok()).flatten();
        Self(text.map(Arc::from))
    }
}

impl PartialEq for PublicMetadata {
    fn eq(&self, other: &Self) -> bool {
        self.to_map() == other.to_map()
    }
}

impl Serialize for PublicMetadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(text) => RawValue::serialize(text, serializer),
            None => Map::new().serialize(serializer),
        }
    }
}
