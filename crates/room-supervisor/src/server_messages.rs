//! Messages that the server itself sends.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value};

use crate::auth::PublicMetadata;
use crate::message::{RoomMessage, To};
use crate::peer_id::PeerId;

/// Topic of an [`error`](RoomMessage::error).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Description {
    /// The client's text was no message.
    InvalidMessage,
    /// The room rejected the peer; details are its reason.
    CouldNotJoinRoom,
    /// The room is gone, and the connection with it.
    RoomClosed,
    /// An addressee is not in the room; details are the unknown ids. No peer got the message. (Ours.)
    NoSuchPeer,
    /// The client sends too fast. (Ours.)
    TooManyMessages,
    /// The client's message is larger than allowed. (Ours.)
    MessageTooLarge,
    /// The room is being restarted; the message is lost. (Ours.)
    RoomUnavailable,
    /// The client's own WebRTC connection to the server failed: details say what failed, and why. (Ours.)
    WebRtcFailed,
    /// The client's peer failed and was restarted; messages that it had not handled yet are lost. (Ours.)
    PeerRestarted,
}

impl Description {
    /// Returns the text that the client reads.
    pub fn text(self) -> &'static str {
        match self {
            Self::InvalidMessage => "Invalid message",
            Self::CouldNotJoinRoom => "Could not join room",
            Self::RoomClosed => "Room closed",
            Self::NoSuchPeer => "No such peer",
            Self::TooManyMessages => "Too many messages",
            Self::MessageTooLarge => "Message too large",
            Self::RoomUnavailable => "Room unavailable",
            Self::WebRtcFailed => "WebRTC failed",
            Self::PeerRestarted => "Peer restarted",
        }
    }
}

impl RoomMessage {
    /// Creates the message to a peer that has joined. `peers` are the earlier members with their public metadata (ours;
    /// the original sends only the id), `welcome` are additional fields.
    pub fn authenticated<'a>(
        peer_id: PeerId,
        peers: impl IntoIterator<Item = (PeerId, &'a PublicMetadata)>,
        welcome: Option<&Map<String, Value>>,
    ) -> Self {
        #[derive(Serialize)]
        struct Data<'a> {
            peer_id: PeerId,
            peers: Vec<PeerId>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            metadata: BTreeMap<PeerId, &'a PublicMetadata>,
            #[serde(flatten)]
            welcome: Option<&'a Map<String, Value>>,
        }
        let (peers, metadata) = list(peers);
        let data = Data { peer_id, peers, metadata, welcome };
        Self::of_server("authenticated", &data, To::Peers(vec![peer_id]))
    }

    /// Creates the message to clients that may have missed who came and went: `peers` are the members, also the
    /// receivers, with their public metadata. (Ours.)
    pub fn room_members<'a>(peers: impl IntoIterator<Item = (PeerId, &'a PublicMetadata)>) -> Self {
        #[derive(Serialize)]
        struct Data<'a> {
            peers: Vec<PeerId>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            metadata: BTreeMap<PeerId, &'a PublicMetadata>,
        }
        let (peers, metadata) = list(peers);
        Self::of_server(ROOM_MEMBERS, &Data { peers, metadata }, To::All)
    }

    /// Creates the message to all others that a peer with this public metadata has joined.
    pub fn joined(peer_id: PeerId, public: &PublicMetadata) -> Self {
        #[derive(Serialize)]
        struct Data<'a> {
            peer_id: PeerId,
            #[serde(skip_serializing_if = "PublicMetadata::is_empty")]
            metadata: &'a PublicMetadata,
        }
        Self::of_server("joined", &Data { peer_id, metadata: public }, To::All)
    }

    /// Creates the message to all remaining members that a peer has left.
    pub fn left(peer_id: PeerId) -> Self {
        Self::of_server("left", &Left { peer_id }, To::All)
    }

    /// Creates the message to one client that an error occurred.
    pub fn error(to: PeerId, description: Description, details: &Value) -> Self {
        #[derive(Serialize)]
        struct Data<'a> {
            description: &'static str,
            details: &'a Value,
        }
        let data = Data { description: description.text(), details };
        Self::of_server("error", &data, To::Peers(vec![to]))
    }

    /// Creates the message to all members that the room has failed and was restarted with these peers. (Ours.)
    pub fn room_restarted(peers: &[PeerId]) -> Self {
        #[derive(Serialize)]
        struct Data<'a> {
            peers: &'a [PeerId],
        }
        Self::of_server("room_restarted", &Data { peers }, To::All)
    }

    fn of_server(event: &str, data: &impl Serialize, to: To) -> Self {
        let data = to_raw_value(data).expect("ids, lists and values can always be written as JSON");
        Self { event: event.to_owned(), data, from: None, to: Some(to) }
    }
}

#[derive(Serialize)]
struct Left {
    peer_id: PeerId,
}

/// Returns the ids of these peers, and the public metadata of those that have some.
fn list<'a>(
    peers: impl IntoIterator<Item = (PeerId, &'a PublicMetadata)>,
) -> (Vec<PeerId>, BTreeMap<PeerId, &'a PublicMetadata>) {
    let (mut metadata, mut ids) = (BTreeMap::new(), Vec::new());
    for (peer, public) in peers {
        ids.push(peer);
        if !public.is_empty() {
            metadata.insert(peer, public);
        }
    }
    (ids, metadata)
}

/// Returns whether this text is the [list of members](RoomMessage::room_members).
pub(crate) fn lists_members(text: &str) -> bool {
    let event = text.strip_prefix(r#"{"event":""#).and_then(|text| text.strip_prefix(ROOM_MEMBERS));
    event.is_some_and(|text| text.starts_with('"'))
}

const ROOM_MEMBERS: &str = "room_members";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn server_messages_have_the_fields_of_the_original() {
        let id = PeerId::random();

        assert_eq!(
            RoomMessage::joined(id, &PublicMetadata::default()).encode(),
            format!(r#"{{"event":"joined","data":{{"peer_id":"{id}"}},"from":null,"to":"all"}}"#)
        );
        assert_eq!(
            RoomMessage::authenticated(id, [], None).encode(),
            format!(
                r#"{{"event":"authenticated","data":{{"peer_id":"{id}","peers":[]}},"from":null,"to":["{id}"]}}"#
            )
        );
        assert_eq!(
            RoomMessage::error(id, Description::CouldNotJoinRoom, &"room_is_full".into()).encode(),
            format!(
                r#"{{"event":"error","data":{{"description":"Could not join room","details":"room_is_full"}},"from":null,"to":["{id}"]}}"#
            )
        );
    }

    #[test]
    fn the_list_of_members_is_known_by_its_beginning() {
        let (ann, bob) = (PeerId::random(), PeerId::random());
        let name = PublicMetadata::from(Map::from_iter([("name".to_owned(), "Bob".into())]));
        let members = [(ann, &PublicMetadata::default()), (bob, &name)];

        let list = RoomMessage::room_members(members).encode();

        let data =
            format!(r#"{{"peers":["{ann}","{bob}"],"metadata":{{"{bob}":{{"name":"Bob"}}}}}}"#);
        let event = r#"{"event":"room_members","data":"#;
        assert_eq!(list, format!(r#"{event}{data},"from":null,"to":"all"}}"#));
        assert!(lists_members(&list));
        assert!(!lists_members(&RoomMessage::left(bob).encode()));
        let other = RoomMessage::new("room_members2", &()).unwrap().to(To::All);
        assert!(!lists_members(&other.encode()));
    }

    #[test]
    fn public_metadata_is_an_additional_field_of_those_that_have_some() {
        let (id, named, plain) = (PeerId::random(), PeerId::random(), PeerId::random());
        let fields = Map::from_iter([("name".to_owned(), "Ann".into())]);
        let (none, name) = (PublicMetadata::default(), PublicMetadata::from(fields.clone()));
        let data =
            |message: RoomMessage| -> Value { serde_json::from_str(message.data.get()).unwrap() };

        assert_eq!(
            data(RoomMessage::joined(named, &name)),
            json!({ "peer_id": named, "metadata": { "name": "Ann" } })
        );
        assert_eq!(
            data(RoomMessage::authenticated(id, [(plain, &none), (named, &name)], Some(&fields))),
            json!({
                "peer_id": id,
                "peers": [plain, named],
                "metadata": { named.to_string(): { "name": "Ann" } },
                "name": "Ann",
            })
        );
    }
}
