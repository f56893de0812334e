//! Messages between the home of a room and the edges that have peers in it.

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::frame::FrameError;
use crate::auth::{AuthData, PublicMetadata};
use crate::error::JoinError;
use crate::message::{RoomMessage, To};
use crate::peer_id::PeerId;
use crate::rejection::Rejection;

/// Number of a guest of a link: of two with the same peer id, each has its own.
pub(crate) type Seat = u64;

/// Message of an edge to the home.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToHome {
    /// Opens the link: the first message of it.
    Open { room: String },
    /// Asks the room to admit a peer; the payload is what is known of it ([`Joining`]).
    Join { seat: Seat, peer: PeerId, texts: Vec<usize>, messages: usize, bytes: usize },
    /// A peer has left.
    Leave { seat: Seat },
    /// A peer is about to go on at another node. The next batch says that it has no seat here any more.
    Detach { seat: Seat },
    /// A peer has come from another node, where its seat was detached.
    Adopt { seat: Seat, peer: PeerId },
    /// Asks for the peer of a resume token, whose client has come to the asking node: the only message of its link.
    Take { keeper: usize, token: String },
    /// A peer says something; the payload is the data.
    Forward { seat: Seat, event: String, to: Option<Addressees> },
    /// The edge's server sends something to members; the payload is the data.
    Send { event: String, to: Option<Addressees> },
    /// The edge's server closes the connection of a member.
    Kick { peer: PeerId, code: u16, reason: String },
    /// The edge's server closes the room; the payload is the details.
    Stop,
    /// The edge has handled a batch.
    Took,
    /// Closes the link: no peer of it is left.
    Close,
}

/// Message of the home to an edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToEdge {
    /// The room is here, and the link is open.
    Opened,
    /// The room is not here, or the link is closed: nothing follows.
    Ended,
    /// What has happened since the last batch; the payload is its texts.
    Batch(Batch),
    /// A peer that goes on at the asking node; the payload is the rest of it.
    Taken(Taken),
}

/// Peer that goes on at another node. The payload has what is known of it ([`Joining`]), what its keeper keeps, and the
/// texts that wait for its client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) room: String,
    pub(crate) peer: PeerId,
    pub(crate) grace_ms: u64,
    /// Limits of its outbox.
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// Lengths in the payload, in bytes.
    pub(crate) known: Vec<usize>,
    pub(crate) kept: usize,
    pub(crate) waiting: Vec<usize>,
}

impl Taken {
    /// Reads the payload: what is known of the peer, what its keeper has kept, and what waits for its client.
    pub(crate) fn read(&self, mut payload: Bytes) -> Option<(AuthData, Value, Vec<ByteString>)> {
        let known = take(&mut payload, self.known.iter().sum()).ok()?;
        let (auth, _) = Joining::read(self.peer, &self.known, known)?;
        let kept = serde_json::from_slice(&take(&mut payload, self.kept).ok()?).ok()?;
        let waiting = self
            .waiting
            .iter()
            .map(|&length| ByteString::try_from(take(&mut payload, length).ok()?).ok());
        Some((auth, kept, waiting.collect::<Option<_>>()?))
    }
}

/// What has happened at the home since the last batch, in the order in which an edge handles it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Batch {
    /// Members that have come, and the lengths of their public metadata at the start of the payload; and the others
    /// that have gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) came: Vec<(PeerId, usize)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) gone: Vec<PeerId>,
    /// Lengths of the texts in the payload, after the metadata, in bytes. Each is there once, for however many guests
    /// it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) texts: Vec<usize>,
    /// Guests that get the same texts, and these by their places in the list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) frames: Vec<(Vec<Seat>, Vec<usize>)>,
    /// Guests whose connections are closed, after their texts, with code and reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) closed: Vec<(Seat, u16, String)>,
    /// Guests that the room has decided on, after their texts; with the error if it has rejected them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) joined: Vec<(Seat, Option<Refusal>)>,
    /// Messages of guests that the room has handled: their numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) handled: Vec<(Seat, usize)>,
    /// Guests that have no seat here any more, because they go on at another node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) detached: Vec<Seat>,
}

impl Batch {
    /// Returns whether nothing has happened.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the public metadata of those who have come, and the texts.
    pub(crate) fn read_payload(
        &self,
        mut payload: Bytes,
    ) -> Result<(Vec<PublicMetadata>, Vec<ByteString>), FrameError> {
        let came = self.came.iter().map(|(_, length)| take(&mut payload, *length));
        let public = came.map(|text| Ok(PublicMetadata::from_text(&text?))).collect();
        let texts = self.texts.iter().map(|&length| {
            ByteString::try_from(take(&mut payload, length)?).map_err(|_| FrameError::Payload)
        });
        let public: Result<_, FrameError> = public;
        Ok((public?, texts.collect::<Result<_, _>>()?))
    }
}

fn take(payload: &mut Bytes, length: usize) -> Result<Bytes, FrameError> {
    if payload.len() < length {
        return Err(FrameError::Payload);
    }
    Ok(payload.split_to(length))
}

/// What the home is told of a peer that asks to join: JSON, each part by itself, because clients have written some of
/// it. Parts that the home cannot read cost that peer its join, and no other.
pub(crate) struct Joining {
    texts: [Vec<u8>; 4],
}

impl Joining {
    pub(crate) fn new(auth: &AuthData, welcome: &Map<String, Value>) -> Self {
        Self {
            texts: [
                json(&auth.credentials),
                json(&auth.metadata),
                json(&auth.public),
                json(welcome),
            ],
        }
    }

    pub(crate) fn lengths(&self) -> Vec<usize> {
        self.texts.iter().map(Vec::len).collect()
    }

    pub(crate) fn payload(&self) -> [&[u8]; 4] {
        [&self.texts[0], &self.texts[1], &self.texts[2], &self.texts[3]]
    }

    /// Reads the payload; none if a part of it cannot be read.
    pub(crate) fn read(
        peer: PeerId,
        lengths: &[usize],
        mut payload: Bytes,
    ) -> Option<(AuthData, Map<String, Value>)> {
        let &[credentials, metadata, public, welcome] = lengths else { return None };
        let mut next = |length| take(&mut payload, length).ok();
        let credentials = serde_json::from_slice(&next(credentials)?).ok()?;
        let metadata = serde_json::from_slice(&next(metadata)?).ok()?;
        let public = PublicMetadata::from_text(&next(public)?);
        let welcome = serde_json::from_slice(&next(welcome)?).ok()?;
        Some((AuthData { peer_id: peer, credentials, metadata, public }, welcome))
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Values that have been read, and texts: all of them can be written.
    serde_json::to_vec(value).unwrap_or_default()
}

/// Addressees of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Addressees {
    All,
    Peers(Vec<PeerId>),
}

impl From<To> for Addressees {
    fn from(to: To) -> Self {
        match to {
            To::All => Self::All,
            To::Peers(peers) => Self::Peers(peers),
        }
    }
}

impl From<Addressees> for To {
    fn from(to: Addressees) -> Self {
        match to {
            Addressees::All => Self::All,
            Addressees::Peers(peers) => Self::Peers(peers),
        }
    }
}

/// Reads the message whose data is this payload.
pub(crate) fn message(
    event: String,
    to: Option<Addressees>,
    payload: &Bytes,
) -> Result<RoomMessage, FrameError> {
    let data: &RawValue = serde_json::from_slice(payload).map_err(|_| FrameError::Payload)?;
    Ok(RoomMessage { event, data: data.to_owned(), from: None, to: to.map(To::from) })
}

/// Error of a join.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refusal {
    /// The details are JSON in a text, so that they may nest as deeply as the home's.
    Rejected {
        code: String,
        details: String,
    },
    TimedOut,
    RoomCrashed,
    RoomUnavailable,
    PeerIdTaken,
    DoorShut {
        retry_after_ms: u64,
    },
}

impl From<JoinError> for Refusal {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Rejected(Rejection { code, details }) => {
                Self::Rejected { code, details: details.to_string() }
            }
            JoinError::TimedOut => Self::TimedOut,
            JoinError::RoomCrashed => Self::RoomCrashed,
            JoinError::RoomUnavailable => Self::RoomUnavailable,
            JoinError::PeerIdTaken => Self::PeerIdTaken,
            JoinError::DoorShut { retry_after } => Self::DoorShut {
                retry_after_ms: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
            },
        }
    }
}

impl From<Refusal> for JoinError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rejected { code, details } => {
                let details = serde_json::from_str(&details).unwrap_or_default();
                Self::Rejected(Rejection { code, details })
            }
            Refusal::TimedOut => Self::TimedOut,
            Refusal::RoomCrashed => Self::RoomCrashed,
            Refusal::RoomUnavailable => Self::RoomUnavailable,
            Refusal::PeerIdTaken => Self::PeerIdTaken,
            Refusal::DoorShut { retry_after_ms } => {
                Self::DoorShut { retry_after: std::time::Duration::from_millis(retry_after_ms) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    /// As the first version wrote them: later ones must read them, and write the same.
    #[test]
    fn messages_are_as_they_were_in_the_first_version() {
        let peer: PeerId = "6f1e2b0a-3c7d-4f10-9b51-0a4de8f1c001".parse().unwrap();
        let to_home = [
            (ToHome::Open { room: "demo".into() }, json!({ "open": { "room": "demo" } })),
            (
                ToHome::Join { seat: 1, peer, texts: vec![2, 4], messages: 8, bytes: 9 },
                json!({ "join": { "seat": 1, "peer": peer, "texts": [2, 4], "messages": 8, "bytes": 9 } }),
            ),
            (ToHome::Leave { seat: 1 }, json!({ "leave": { "seat": 1 } })),
            (ToHome::Detach { seat: 1 }, json!({ "detach": { "seat": 1 } })),
            (ToHome::Adopt { seat: 1, peer }, json!({ "adopt": { "seat": 1, "peer": peer } })),
            (
                ToHome::Take { keeper: 0, token: "digest".into() },
                json!({ "take": { "keeper": 0, "token": "digest" } }),
            ),
            (
                ToHome::Forward { seat: 1, event: "offer".into(), to: Some(Addressees::All) },
                json!({ "forward": { "seat": 1, "event": "offer", "to": "all" } }),
            ),
            (
                ToHome::Send { event: "news".into(), to: Some(Addressees::Peers(vec![peer])) },
                json!({ "send": { "event": "news", "to": { "peers": [peer] } } }),
            ),
            (
                ToHome::Kick { peer, code: 4000, reason: "no shouting".into() },
                json!({ "kick": { "peer": peer, "code": 4000, "reason": "no shouting" } }),
            ),
            (ToHome::Stop, json!("stop")),
            (ToHome::Took, json!("took")),
            (ToHome::Close, json!("close")),
        ];
        for (message, golden) in to_home {
            assert_eq!(to_value(&message).unwrap(), golden);
            assert_eq!(from_value::<ToHome>(golden).unwrap(), message);
        }
        let batch = Batch {
            came: vec![(peer, 14)],
            gone: vec![peer],
            texts: vec![5],
            frames: vec![(vec![1, 2], vec![0])],
            closed: vec![(1, 1000, String::new())],
            joined: vec![
                (1, None),
                (2, Some(Refusal::RoomCrashed)),
                (3, Some(Refusal::DoorShut { retry_after_ms: 5 })),
            ],
            handled: vec![(1, 2)],
            detached: vec![4],
        };
        let golden = json!({ "batch": {
            "came": [[peer, 14]], "gone": [peer], "texts": [5], "frames": [[[1, 2], [0]]],
            "closed": [[1, 1000, ""]],
            "joined": [[1, null], [2, "room_crashed"], [3, { "door_shut": { "retry_after_ms": 5 } }]],
            "handled": [[1, 2]],
            "detached": [4],
        } });
        let (known, kept, waiting) = (vec![2, 4, 2, 2], 2, vec![1]);
        let taken = Taken {
            room: "demo".into(),
            peer,
            grace_ms: 5,
            messages: 8,
            bytes: 9,
            known,
            kept,
            waiting,
        };
        let golden_taken = json!({ "taken": {
            "room": "demo", "peer": peer, "grace_ms": 5, "messages": 8, "bytes": 9, "known": [2, 4, 2, 2], "kept": 2,
            "waiting": [1],
        } });
        let payload = Bytes::from_static(b"{}null{}{}[]x");
        let (auth, data, texts) = taken.read(payload.clone()).unwrap();
        assert_eq!((auth.peer_id, data, texts), (peer, json!([]), vec!["x".into()]));
        assert!(taken.read(payload.slice(1..)).is_none());
        let to_edge = [
            (ToEdge::Taken(taken), golden_taken),
            (ToEdge::Opened, json!("opened")),
            (ToEdge::Ended, json!("ended")),
            (ToEdge::Batch(batch), golden),
            (ToEdge::Batch(Batch::default()), json!({ "batch": {} })),
        ];
        for (message, golden) in to_edge {
            assert_eq!(to_value(&message).unwrap(), golden);
            assert_eq!(from_value::<ToEdge>(golden).unwrap(), message);
        }
    }

    #[test]
    fn errors_of_a_join_cross() {
        let rejection = Rejection::with_details("banned", json!({ "days": 3 }));
        let retry_after = std::time::Duration::from_secs(3);
        for error in [
            JoinError::Rejected(rejection),
            JoinError::TimedOut,
            JoinError::RoomCrashed,
            JoinError::RoomUnavailable,
            JoinError::PeerIdTaken,
            JoinError::DoorShut { retry_after },
        ] {
            assert_eq!(JoinError::from(Refusal::from(error.clone())), error);
        }
    }

    #[test]
    fn texts_that_are_not_in_the_payload_are_refused() {
        let batch = |texts: &[usize]| Batch { texts: texts.to_vec(), ..Batch::default() };
        let payload = Bytes::from_static("aü".as_bytes());
        assert_eq!(batch(&[1, 2]).read_payload(payload.clone()).unwrap().1, ["a", "ü"]);
        assert!(batch(&[1, 3]).read_payload(payload.clone()).is_err());
        assert!(batch(&[2, 1]).read_payload(payload).is_err(), "no UTF-8");
    }

    /// As deep as a client's JSON can be where it is read.
    #[test]
    fn what_is_known_of_a_peer_crosses_however_deep_it_is() {
        let deep: Value =
            serde_json::from_str(&format!("{}{}", "[".repeat(127), "]".repeat(127))).unwrap();
        let fields = Map::from_iter([("name".to_owned(), json!("Ann"))]);
        let nested = Map::from_iter([("deep".to_owned(), deep[0].clone())]);
        let auth = AuthData {
            credentials: nested.clone(),
            metadata: deep,
            public: nested.into(),
            ..AuthData::new(PeerId::random())
        };
        let joining = Joining::new(&auth, &fields);
        let payload = Bytes::from(joining.payload().concat());

        let read = Joining::read(auth.peer_id, &joining.lengths(), payload.clone());

        let (read, welcome) = read.unwrap();
        assert_eq!((&read.credentials, &read.metadata), (&auth.credentials, &auth.metadata));
        assert_eq!(json(&read.public), json(&auth.public));
        assert_eq!(welcome, fields);
        assert!(Joining::read(auth.peer_id, &[1, 1, 1, 1], payload.clone()).is_none());
        assert!(Joining::read(auth.peer_id, &[1], payload).is_none());
    }
}
