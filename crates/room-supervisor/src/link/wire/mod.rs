//! Messages between the home of a room and the edges that have peers in it.

use bytes::Bytes;
use bytestring::ByteString;
use callboard_cluster::{Epoch, Given, NodeId};
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
    Join {
        seat: Seat,
        peer: PeerId,
        texts: Vec<usize>,
        messages: usize,
        bytes: usize,
        /// An earlier home was asked as well, and may have admitted it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// A peer has left.
    Leave { seat: Seat },
    /// A peer is about to go on at another node. The next batch says that it has no seat here any more.
    Detach { seat: Seat },
    /// A peer has come from another node, where its seat was detached.
    Adopt { seat: Seat, peer: PeerId },
    /// Asks for the peer of a resume token, whose client has come to the asking node: the only message of its link.
    Take { keeper: usize, token: String },
    /// Offers a member that an earlier home of the room has admitted, with the same payload: what its client has been
    /// told ([`Offer`]). It comes with others before [`Offered`](Self::Offered).
    Offer(Offer),
    /// All members of this node were offered.
    Offered {
        /// Messages of guests of earlier homes that this node has had.
        tags: Vec<Tag>,
        /// Nodes that had links to the last home, as far as this one knows; none if it does not.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        edges: Vec<NodeId>,
        /// Peers that have left, as clients of this node were told lately: none of them comes again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<PeerId>,
    },
    /// A peer says something; the payload is the data. Its messages are numbered from 1, with all homes of the room.
    Forward {
        seat: Seat,
        number: u64,
        event: String,
        to: Option<Addressees>,
        /// Number of batches that the edge has handled since it has said so.
        #[serde(default, skip_serializing_if = "is_zero")]
        took: usize,
    },
    /// The edge's server sends something to members; the payload is the data.
    Send { event: String, to: Option<Addressees> },
    /// The edge's server closes the connection of a member.
    Kick { peer: PeerId, code: u16, reason: String },
    /// The edge's server closes the room; the payload is the details.
    Stop,
    /// The edge has handled so many batches more.
    Took {
        batches: usize,
        /// Guests whose clients are to be told who is a member.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lists: Vec<Seat>,
    },
    /// Prepares the other node to get a room from its home: the first message of the link.
    Prepare {
        room: String,
        /// Number of the home's hold.
        epoch: Epoch,
        /// Version of the room's snapshots.
        version: u32,
    },
    /// The room has stopped at its home; the payload is its snapshot, if it has one.
    HandOver {
        /// Peers that the snapshot knows to be members.
        members: Vec<PeerId>,
        /// Nodes that have peers in the room, or may have.
        nodes: Vec<NodeId>,
    },
    /// The other node has the room, and this one is an edge of it: the link is one as after `Open` from now on.
    Given(Given),
    /// Closes the link: no peer of it is left.
    Close,
}

impl ToHome {
    /// Returns whether it is about guests, and so for the present home.
    pub(crate) fn is_of_guests(&self) -> bool {
        matches!(
            self,
            Self::Join { .. }
                | Self::Leave { .. }
                | Self::Detach { .. }
                | Self::Adopt { .. }
                | Self::Offer(_)
                | Self::Offered { .. }
                | Self::Forward { .. }
        )
    }
}

/// Message of the home to an edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToEdge {
    /// The room is here, and the link is open.
    Opened {
        /// Number of the home's hold.
        epoch: Epoch,
    },
    /// The room was closed for good: nothing follows.
    Ended,
    /// The room is not here, or not any more: nothing follows. Another node may have it.
    Gone,
    /// What has happened since the last batch; the payload is its texts.
    Batch(Batch),
    /// The node is ready to get a room, or has what goes with it.
    Ready,
    /// The node does not get a room, for this reason.
    Unwilling(String),
    /// A peer that goes on at the asking node; the payload is the rest of it.
    Taken(Taken),
}

/// How far a member is with what goes to it and what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Place of the last tag that its client was sent.
    pub(crate) seen: u64,
    /// Number of its last message.
    pub(crate) number: u64,
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
    /// What its client has, and how far its messages are numbered.
    #[serde(default)]
    pub(crate) progress: Progress,
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
    /// Messages of guests that the room has handled: the number of the last one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) handled: Vec<(Seat, u64)>,
    /// Guests that have no seat here any more, because they go on at another node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) detached: Vec<Seat>,
    /// Texts by their places that came of messages of guests whose nodes may not know that they were handled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<(usize, Tag)>,
    /// Place in the order of tags up to which all are known to be handled.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) settled: u64,
    /// Nodes that have links to the home, if that has changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) edges: Vec<NodeId>,
    /// Number of the home's hold, if it has claimed the room again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<Epoch>,
    /// Node to which the room has gone from here. The link ends now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) moved: Option<NodeId>,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// Message of a guest, and its place in the order in which a room has delivered such messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub(crate) place: u64,
    pub(crate) peer: PeerId,
    pub(crate) number: u64,
}

/// Member that an earlier home of a room has admitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) seat: Seat,
    pub(crate) peer: PeerId,
    pub(crate) texts: Vec<usize>,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// Place of the last tag that its client has been sent.
    pub(crate) seen: u64,
    /// Peers that the client knows of, and itself; none if they are those of the offer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) view: Option<Vec<PeerId>>,
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
mod tests;
