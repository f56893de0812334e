//! JSON of the protocol: writes messages, and reads the fields of the server's.

use serde::Serialize;
use serde_json::{Value, json};

use crate::error::SendMessageError;
use crate::event::{Recipients, RoomMember};

/// Writes a message to others, or to the server.
pub(crate) fn encode<T: Serialize>(
    event: &str,
    data: &T,
    to: Option<&Recipients>,
) -> Result<String, SendMessageError> {
    #[derive(Serialize)]
    struct Sent<'a, T> {
        event: &'a str,
        data: &'a T,
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<Value>,
    }
    let to = to.map(|to| match to {
        Recipients::All => json!("all"),
        Recipients::Peers(peers) => json!(peers),
    });
    let sent = serde_json::to_string(&Sent { event, data, to });
    sent.map_err(|error| SendMessageError::Json(error.to_string()))
}

/// Returns whether an event is the server's own, and no message of the application.
pub(crate) fn is_of_server(event: &str) -> bool {
    matches!(
        event,
        "authenticated"
            | "resumed"
            | "joined"
            | "left"
            | "moved"
            | "room_restarted"
            | "room_members"
            | "error"
    ) || event.starts_with("webrtc:")
}

/// Returns the members that a message of the server lists.
pub(crate) fn members(data: &mut Value) -> Option<Vec<RoomMember>> {
    let Value::Array(peers) = take(data, "peers") else { return None };
    let mut metadata = take(data, "metadata");
    let peers = peers.into_iter().filter_map(id);
    let member = |peer_id: String| {
        let metadata = metadata.get_mut(&peer_id).map(Value::take).unwrap_or_default();
        RoomMember { peer_id, metadata }
    };
    Some(peers.map(member).collect())
}

pub(crate) fn member(data: &mut Value) -> Option<RoomMember> {
    let peer_id = id(take(data, "peer_id"))?;
    Some(RoomMember { peer_id, metadata: take(data, "metadata") })
}

/// Takes a field; null if there is none, or no object.
pub(crate) fn take(data: &mut Value, field: &str) -> Value {
    data.get_mut(field).map(Value::take).unwrap_or_default()
}

/// Returns a peer's id.
pub(crate) fn id(value: Value) -> Option<String> {
    text(value).filter(|id| !id.is_empty() && id.len() <= MAX_ID)
}

pub(crate) fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Length limit of a peer's id, in bytes. Callboard's have 36.
const MAX_ID: usize = 256;
