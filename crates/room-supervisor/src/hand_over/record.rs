//! Format of the file of handed-over rooms: JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytestring::ByteString;
use callboard_outbox::{Outbox, OutboxLimits};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::error::ReadHandOverError;
use crate::auth::AuthData;
use crate::member::{Member, NewMember};
use crate::peer_id::PeerId;
use crate::snapshot::Snapshot;

#[derive(Serialize, Deserialize)]
pub(crate) struct Document {
    format: Format,
    version: u32,
    /// Time of writing, in milliseconds since 1970.
    written_ms: u64,
    /// How long the file counts, in milliseconds.
    lasts_ms: u64,
    pub(crate) rooms: Vec<RoomRecord>,
}

/// First field of the file: nothing else is one.
#[derive(Serialize, Deserialize)]
enum Format {
    #[serde(rename = "callboard hand-over")]
    HandOver,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RoomRecord {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) members: Vec<MemberRecord>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct MemberRecord {
    pub(crate) peer_id: PeerId,
    // What may be nested is text here: it is read by itself, and costs no other member if that fails.
    credentials: Box<RawValue>,
    metadata: Box<RawValue>,
    public: Box<RawValue>,
    /// None if the peer leaves: it is not behind a client that can come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<KeptRecord>,
    max_messages: usize,
    max_bytes: usize,
    /// What its client has not been sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    waiting: Vec<String>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct KeptRecord {
    /// Number of its keeper.
    pub(crate) keeper: usize,
    pub(crate) grace_ms: u64,
    pub(crate) data: Box<RawValue>,
}

/// The part of a document that is read before the rest, which a newer version may write otherwise.
#[derive(Deserialize)]
struct Head {
    #[expect(dead_code, reason = "checked as it is read")]
    format: Format,
    version: u32,
}

impl Document {
    pub(crate) fn new(rooms: Vec<RoomRecord>, now: SystemTime) -> Self {
        let graces = rooms.iter().flat_map(|room| &room.members).filter_map(|it| it.kept.as_ref());
        let longest = graces.map(|kept| kept.grace_ms).max().unwrap_or(0);
        let (written_ms, lasts_ms) = (since_1970(now), longest.max(SHORTEST_MS));
        Self { format: Format::HandOver, version: VERSION, written_ms, lasts_ms, rooms }
    }

    pub(crate) fn read(text: &[u8]) -> Result<Self, ReadHandOverError> {
        let head: Head = serde_json::from_slice(text).map_err(ReadHandOverError::Malformed)?;
        if head.version > VERSION {
            return Err(ReadHandOverError::Newer(head.version));
        }
        serde_json::from_slice(text).map_err(ReadHandOverError::Malformed)
    }

    pub(crate) fn check_age(&self, now: SystemTime) -> Result<(), ReadHandOverError> {
        let age = self.age(now);
        if age > self.lasts() { Err(ReadHandOverError::Expired(age)) } else { Ok(()) }
    }

    /// Returns how long ago it was written; zero if the clock was set back since.
    pub(crate) fn age(&self, now: SystemTime) -> Duration {
        Duration::from_millis(since_1970(now).saturating_sub(self.written_ms))
    }

    pub(crate) fn lasts(&self) -> Duration {
        Duration::from_millis(self.lasts_ms).min(LONGEST)
    }
}

impl RoomRecord {
    pub(crate) fn count_kept(&self) -> usize {
        self.members.iter().filter(|member| member.kept.is_some()).count()
    }
}

impl MemberRecord {
    /// # Errors
    /// Something of it cannot be written as JSON.
    pub(crate) fn new(member: &Member, kept: Option<KeptRecord>) -> serde_json::Result<Self> {
        let (auth, OutboxLimits { messages, bytes }) = (member.auth(), member.outbox().limits());
        let waiting = if kept.is_some() { member.outbox().waiting() } else { Vec::new() };
        Ok(Self {
            peer_id: member.peer_id(),
            credentials: to_raw_value(&auth.credentials)?,
            metadata: to_raw_value(&auth.metadata)?,
            public: to_raw_value(&auth.public)?,
            kept,
            max_messages: messages,
            max_bytes: bytes,
            waiting: waiting.into_iter().map(|text| text.to_string()).collect(),
        })
    }

    /// Returns the member, and how it is kept if its client may come back, with the keeper's data. One that cannot be
    /// read leaves.
    pub(crate) fn into_member(self) -> (Member, Option<(KeptRecord, Value)>) {
        let peer_id = self.peer_id;
        let (auth, kept) = self.read().unwrap_or_else(|error| {
            log::error!("peer {peer_id} is not restored: {error}");
            (AuthData::new(peer_id), None)
        });
        let limits = OutboxLimits { messages: self.max_messages, bytes: self.max_bytes };
        let outbox = Outbox::holding(limits, self.waiting.into_iter().map(ByteString::from));
        let (member, _) = Member::new(NewMember::new(auth, outbox.into()));
        (member, kept)
    }
}

impl MemberRecord {
    fn read(&self) -> serde_json::Result<(AuthData, Option<(KeptRecord, Value)>)> {
        let public: Map<String, Value> = serde_json::from_str(self.public.get())?;
        let auth = AuthData {
            peer_id: self.peer_id,
            credentials: serde_json::from_str(self.credentials.get())?,
            metadata: serde_json::from_str(self.metadata.get())?,
            public: public.into(),
        };
        let kept = self.kept.clone().map(|kept| {
            let data = serde_json::from_str(kept.data.get())?;
            Ok((kept, data))
        });
        Ok((auth, kept.transpose()?))
    }
}

fn since_1970(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Version of the format.
const VERSION: u32 = 1;
/// Time for which a file without any clients counts, in milliseconds: a restart takes less.
const SHORTEST_MS: u64 = 60_000;
/// Longest time for which a file counts.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
