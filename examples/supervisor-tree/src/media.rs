//! Facts on the media of rooms, beside its actors in the tree.

use std::time::Duration;

use callboard_media_rooms::{Bitrate, MediaRoom, ParticipantId, SlotFacts};
use callboard_peer_connection::PeerConnectionId;
use callboard_room_supervisor::{RoomHandle, Rooms};
use callboard_signaling::WebRtc;
use callboard_supervision::TreeSnapshot;
use serde_json::{Value, json};

use crate::guest::NAME;

/// Returns what a publisher measures, or what a subscriber sends, for its node in the tree.
pub(crate) fn media_facts(rooms: &Rooms, webrtc: &WebRtc, node: &TreeSnapshot) -> Option<Value> {
    // server, rooms, the room, its media, the participant by its connection, and the actor
    let mut names = node.path.names().skip(2);
    let (room, child, participant) = (names.next()?, names.next()?, names.next()?);
    let actor = names.next().filter(|_| child == MEDIA)?;
    let participant = ParticipantId(PeerConnectionId(participant.parse().ok()?));
    let room = rooms.lookup(room)?;
    let media = webrtc.media_room(&room)?;
    match actor {
        "publisher" => published(&media, participant),
        "subscriber" => sent(&room, &media, participant),
        _ => None,
    }
}

fn published(media: &MediaRoom, participant: ParticipantId) -> Option<Value> {
    let encodings = media.encodings(participant).into_iter().take(MOST).map(|it| {
        let rid = it.rid.map(|rid| rid.to_string());
        json!({ "rid": rid, "height": it.layer.height, "kbps": kbps(it.layer.bitrate) })
    });
    let encodings: Vec<_> = encodings.collect();
    (!encodings.is_empty()).then(|| json!({ "encodings": encodings }))
}

fn sent(room: &RoomHandle, media: &MediaRoom, participant: ParticipantId) -> Option<Value> {
    let facts = media.subscriber_facts(participant)?;
    let tracks = media.tracks();
    let slot = |slot: &SlotFacts| {
        let track = tracks.iter().find(|track| track.id == slot.track)?;
        let member = track.name.parse().ok().and_then(|peer| room.member(peer));
        let name = member.and_then(|it| Some(it.public().get(NAME)?.as_str()?.to_owned()));
        // Bots are no members.
        let of = name.unwrap_or_else(|| track.name.to_string());
        let flow = slot.flow;
        Some(json!({
            "of": of,
            "kind": track.kind.to_string(),
            "state": flow.map(|flow| format!("{:?}", flow.state).to_lowercase()),
            "rid": flow.and_then(|flow| flow.rid).map(|rid| rid.to_string()),
            "height": flow.and_then(|flow| flow.height),
            "kbps": slot.bitrate.map(kbps),
            "key_frames_wanted": slot.key_frames_wanted,
            "lost": slot.reception.map(|it| (it.fraction_lost * 1_000.0).round() / 1_000.0),
            "jitter_ms": slot.reception.map(|it| milliseconds(it.jitter)),
            "round_trip_ms": slot.reception.and_then(|it| it.round_trip_time).map(milliseconds),
        }))
    };
    let slots: Vec<_> = facts.slots.iter().filter_map(slot).take(MOST).collect();
    Some(json!({
        "estimate_kbps": facts.estimate.map(kbps),
        "undelivered": facts.undelivered,
        "slots": slots,
    }))
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

fn kbps(bitrate: Bitrate) -> u64 {
    bitrate.as_bps() / 1_000
}

/// Name of the supervisor of a room's media, below the room.
pub(crate) const MEDIA: &str = "media";
/// Encodings and slots that are told of one actor at most.
const MOST: usize = 16;
