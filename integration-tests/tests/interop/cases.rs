//! Cases that are run with each peer.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use callboard_peer_connection::error::SendDataError;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use integration_tests::PeerKind;
use serde_json::json;

use crate::estimate::estimate;
use crate::extensions::extensions;
use crate::redundant::redundant;
use crate::table::{Outcome, Table, text};

/// Function that runs a case; returns a remark on its result.
type Case =
    for<'a, 'b> fn(&'a mut Table<'b>) -> Pin<Box<dyn Future<Output = Outcome<String>> + 'a>>;

macro_rules! cases {
    ($($name:literal $case:ident)*) => {
        [$(($name, (|table| Box::pin($case(table))) as Case),)*]
    };
}

pub(crate) const ALL: [(&str, Case); 18] = cases! {
    "connect" connect
    "echo" echo
    "10,000-in-order" ten_thousand
    "their-channel" their_channel
    "media" media
    "renegotiate-ours" renegotiate_ours
    "media-theirs-later" media_theirs_later
    "estimate" estimate
    "redundant" redundant
    "extensions" extensions
    "renegotiate-theirs" renegotiate_theirs
    "stop-first-theirs" stop_first_theirs
    "restart-ours" restart_ours
    "restart-theirs" restart_theirs
    "glare-polite" glare_polite
    "glare-impolite" glare_impolite
    "close-ours" close_ours
    "close-theirs" close_theirs
};

/// Returns why a peer cannot run a case.
pub(crate) fn not_applicable(kind: PeerKind, name: &str, _: bool) -> Option<&'static str> {
    match (kind, name) {
        (PeerKind::Aiortc, "restart-ours" | "restart-theirs") => Some(
            "aiortc has no ICE restart: it takes the credentials of the first description for good",
        ),
        (PeerKind::Aiortc | PeerKind::WebrtcRs, "stop-first-theirs") => {
            Some("its offers keep what is stopped")
        }
        (PeerKind::Aiortc, "glare-polite" | "glare-impolite") => Some("aiortc has no rollback"),
        (PeerKind::Firefox | PeerKind::Aiortc | PeerKind::WebrtcRs, "redundant") => {
            Some("it has no redundant audio")
        }
        (PeerKind::Firefox | PeerKind::Aiortc | PeerKind::WebrtcRs, "extensions") => {
            Some("it has no choice of header extensions")
        }
        (PeerKind::Aiortc, "estimate") => Some("aiortc does not say when packets arrive"),
        _ => None,
    }
}

/// Connects with a data channel of the side that offers, open on both sides.
async fn with_channel(table: &mut Table<'_>) -> Outcome<DataChannelId> {
    if table.we_offer {
        table.tell(CreateDataChannel::new("data")).await?.map_err(text)?;
    } else {
        table.command(json!({ "do": "channel", "label": "data" })).await?;
    }
    table.negotiate().await?;
    table.connect().await?;
    table
        .until("open channel", |table| table.our_channel().is_some() && table.they_say("open") > 0)
        .await?;
    table.our_channel().ok_or_else(|| "no channel".to_owned())
}

async fn connect(table: &mut Table<'_>) -> Outcome<String> {
    with_channel(table).await?;
    let negotiated = table.we_told.iter().find_map(|event| match event {
        ConnectionEvent::HandshakeFinished { version, role, srtp_profile } => {
            Some((*version, *role, *srtp_profile))
        }
        _ => None,
    });
    let (version, role, profile) = negotiated.ok_or("no handshake was told of")?;
    let profile = profile.ok_or("no SRTP profile was negotiated")?;
    let gcm = format!("{profile:?}").contains("Gcm");
    if !gcm {
        return Err(format!("{profile:?} instead of AES-GCM"));
    }
    let theirs = table.command(json!({ "do": "transport" })).await?;
    Ok(format!(
        "{version:?}, {profile:?}, we are the {role:?}; they say {} {}",
        theirs["dtlsVersion"], theirs["srtpCipher"]
    ))
}

async fn echo(table: &mut Table<'_>) -> Outcome<String> {
    let channel = with_channel(table).await?;
    table.command(json!({ "do": "echo" })).await?;
    let mut sent: Vec<DataChannelMessage> = vec![
        DataChannelMessage::Text("x".to_owned()),
        DataChannelMessage::Text("Grüße, 世界 🎭".to_owned()),
    ];
    for size in [1, 2, 1_000, 1_200, 16_384, 65_535, 65_536, 100_000, 262_144] {
        let bytes: Vec<u8> = (0..size).map(|at: usize| (at * 13 % 251) as u8).collect();
        sent.push(DataChannelMessage::Binary(bytes.into()));
    }
    let mut skipped = Vec::new();
    let mut expected = Vec::new();
    for message in sent {
        match table.tell(SendData { channel, message: message.clone() }).await? {
            Ok(()) => expected.push(message),
            // Messages that are too large for the peer, by its own description, are not sent.
            Err(SendDataError::TooLarge { size, limit }) => {
                skipped.push(format!("{size} B > its limit of {limit} B"))
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    let count = expected.len();
    table.until("echo of everything", |table| table.messages().count() >= count).await?;
    if !table.messages().eq(&expected) {
        return Err("what came back is not what was sent".to_owned());
    }
    Ok(skipped.join(", "))
}

async fn ten_thousand(table: &mut Table<'_>) -> Outcome<String> {
    let channel = with_channel(table).await?;
    let count = 10_000_u32;
    let mut at = 0;
    while at < count {
        let mut bytes = vec![7_u8; 200];
        bytes[..4].copy_from_slice(&at.to_be_bytes());
        match table.tell(SendData::binary(channel, bytes)).await? {
            Ok(()) => at += 1,
            Err(SendDataError::BufferFull) => {
                let before = table.we_told.len();
                table
                    .until("room in the buffer", |table| {
                        table.we_told[before..]
                            .iter()
                            .any(|event| matches!(event, ConnectionEvent::BufferedAmountLow(_)))
                    })
                    .await?;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    let theirs =
        table.command(json!({ "do": "expect", "label": "data", "messages": count })).await?;
    if theirs["inOrder"] != true {
        return Err(format!("not in order: {theirs}"));
    }
    // And in the other direction.
    table.command(json!({ "do": "send", "label": "data", "bytes": 200, "count": count })).await?;
    table.until("10,000 messages", |table| table.messages().count() >= count as usize).await?;
    let in_order = table.messages().enumerate().all(|(at, message)| {
        message
            .as_bytes()
            .first_chunk()
            .is_some_and(|number| u32::from_be_bytes(*number) == at as u32)
    });
    if in_order { Ok(String::new()) } else { Err("not in order".to_owned()) }
}

/// Opens a channel of the peer on a connection that is up: partially reliable, and with a protocol.
async fn their_channel(table: &mut Table<'_>) -> Outcome<String> {
    with_channel(table).await?;
    let options = json!({ "ordered": false, "maxRetransmits": 3, "protocol": "chess" });
    table.command(json!({ "do": "channel", "label": "second", "options": options })).await?;
    let found = |table: &Table<'_>| {
        table.we_told.iter().find_map(|event| match event {
            ConnectionEvent::DataChannelAdded(info) if info.label == "second" => Some(info.clone()),
            _ => None,
        })
    };
    table.until("second channel", |table| found(table).is_some()).await?;
    let info = found(table).ok_or("no channel")?;
    if (info.ordered, info.max_retransmits, info.protocol.as_str()) != (false, Some(3), "chess") {
        return Err(format!("{info:?}"));
    }
    table.until("their open channel", |table| table.they_say("open") > 1).await?;
    table.command(json!({ "do": "send", "label": "second", "text": "" })).await?;
    table.command(json!({ "do": "send", "label": "second", "text": "not empty" })).await?;
    table.until("two messages", |table| table.messages().count() == 2).await?;
    Ok(String::new())
}

pub(crate) async fn media(table: &mut Table<'_>) -> Outcome<String> {
    let kinds = [TrackKind::Audio, TrackKind::Video];
    exchange(table, &kinds).await?;
    decoded(table, &kinds).await
}

/// Connects; each side sends a track of each of these kinds.
pub(crate) async fn exchange(table: &mut Table<'_>, kinds: &[TrackKind]) -> Outcome<()> {
    for &kind in kinds {
        if table.we_offer {
            table.add_track(kind).await?;
        } else {
            table.command(json!({ "do": "media", "kind": kind })).await?;
        }
    }
    if table.we_offer {
        let offer = table.tell(CreateOffer::default()).await?.map_err(text)?;
        table.tell(SetLocalDescription(Some(offer.clone()))).await?.map_err(text)?;
        table.command(json!({ "do": "remote", "description": offer })).await?;
        for kind in kinds {
            table.command(json!({ "do": "media", "kind": kind })).await?;
        }
        let answer = table.command(json!({ "do": "answer" })).await?;
        let answer = serde_json::from_value(answer).map_err(text)?;
        table.tell(SetRemoteDescription(answer)).await?.map_err(text)?;
    } else {
        let offer = table.command(json!({ "do": "offer" })).await?;
        let offer = serde_json::from_value(offer).map_err(text)?;
        table.tell(SetRemoteDescription(offer)).await?.map_err(text)?;
        for &kind in kinds {
            table.add_track(kind).await?;
        }
        table.answer().await?;
    }
    table.connect().await
}

/// Waits until frames have come, and the peer has decoded those that were sent back.
pub(crate) async fn decoded(table: &mut Table<'_>, kinds: &[TrackKind]) -> Outcome<String> {
    let before = table.frames.clone();
    let had = |kind: &TrackKind| before.get(kind).copied().unwrap_or_default();
    table
        .until("frames", |table| {
            kinds
                .iter()
                .all(|kind| table.frames.get(kind).copied().unwrap_or_default() >= had(kind) + 10)
        })
        .await?;
    let mut theirs = Vec::new();
    for kind in kinds {
        let before = table
            .command(json!({ "do": "decoded", "kind": kind }))
            .await?
            .as_u64()
            .unwrap_or_default();
        let mut now = before;
        while now < before + 10 {
            let frames = table.frames.get(kind).copied().unwrap_or_default();
            table
                .until("more frames", |table| {
                    table.frames.get(kind).copied().unwrap_or_default() >= frames + 5
                })
                .await?;
            now = table
                .command(json!({ "do": "decoded", "kind": kind }))
                .await?
                .as_u64()
                .unwrap_or_default();
        }
        theirs.push(format!("{now} {kind}"));
    }
    Ok(format!("decoded there: {}", theirs.join(", ")))
}

/// Adds a track of ours to a connection that is up, and removes it.
async fn renegotiate_ours(table: &mut Table<'_>) -> Outcome<String> {
    with_channel(table).await?;
    table.add_track(TrackKind::Video).await?;
    table.negotiate_by(true, false).await?;
    table.at_rest_with(1).await?;
    let sender = table.senders[&TrackKind::Video];
    table.tell(RemoveTrack(sender)).await?.map_err(text)?;
    table.negotiate_by(true, false).await?;
    let transceivers = table.tell(GetTransceivers).await?;
    if transceivers.iter().any(|one| one.current_direction.is_some_and(Direction::sends)) {
        return Err(format!("it is still sent: {transceivers:?}"));
    }
    // The same section is used again.
    table.add_track(TrackKind::Audio).await?;
    table.negotiate_by(true, false).await?;
    still_talks(table).await
}

/// Has the peer add a track to a connection that is up, and remove it.
async fn renegotiate_theirs(table: &mut Table<'_>) -> Outcome<String> {
    with_channel(table).await?;
    let sender = table.command(json!({ "do": "media", "kind": "video" })).await?["sender"].take();
    table.negotiate_by(false, false).await?;
    table
        .until("frames", |table| {
            table.frames.get(&TrackKind::Video).copied().unwrap_or_default() >= 5
        })
        .await?;
    table.command(json!({ "do": "unmedia", "sender": sender })).await?;
    table.negotiate_by(false, false).await?;
    table
        .until("end of the track", |table| {
            table.we_told.iter().any(|event| {
                matches!(
                    event,
                    ConnectionEvent::TrackRemoved { .. }
                        | ConnectionEvent::TransceiverStopped { .. }
                )
            })
        })
        .await?;
    still_talks(table).await
}

/// The peer adds a track, and offers, when media flows already: the media goes on with any
/// payload types that the offer names.
async fn media_theirs_later(table: &mut Table<'_>) -> Outcome<String> {
    media(table).await?;
    table.command(json!({ "do": "media", "kind": "video" })).await?;
    table.negotiate_by(false, false).await?;
    decoded(table, &[TrackKind::Audio, TrackKind::Video]).await
}

/// Has the peer stop the transceiver whose section carries the transport of all (the BUNDLE tag): the others go on.
async fn stop_first_theirs(table: &mut Table<'_>) -> Outcome<String> {
    if table.we_offer {
        table.tell(CreateDataChannel::new("data")).await?.map_err(text)?;
    } else {
        table.command(json!({ "do": "channel", "label": "data" })).await?;
    }
    media(table).await?;
    table
        .until("open channel", |table| table.our_channel().is_some() && table.they_say("open") > 0)
        .await?;
    table.command(json!({ "do": "stop", "at": 0 })).await?;
    let goes_on = async {
        table.negotiate_by(false, false).await?;
        decoded(table, &[TrackKind::Video]).await?;
        still_talks(table).await
    };
    let Err(error) = goes_on.await else { return Ok("it goes on".to_owned()) };
    match &table.closed_by().await[..] {
        // The peer has begun another transport, with another handshake: that requires another connection.
        [CloseReason::TransportReplaced] => Ok("closed once, as replaced".to_owned()),
        reasons => Err(format!("{error}; closed by {reasons:?}")),
    }
}

async fn still_talks(table: &mut Table<'_>) -> Outcome<String> {
    let channel = table.our_channel().ok_or("no channel")?;
    let before = table.command(json!({ "do": "received", "label": "data" })).await?["messages"]
        .as_u64()
        .unwrap_or_default();
    table.tell(SendData::text(channel, "still there?")).await?.map_err(text)?;
    table.command(json!({ "do": "expect", "label": "data", "messages": before + 1 })).await?;
    let before = table.messages().count();
    table.command(json!({ "do": "send", "label": "data", "text": "yes" })).await?;
    table.until("answer", |table| table.messages().count() > before).await?;
    Ok(String::new())
}

async fn restart_ours(table: &mut Table<'_>) -> Outcome<String> {
    restart(table, true).await
}

async fn restart_theirs(table: &mut Table<'_>) -> Outcome<String> {
    restart(table, false).await
}

async fn restart(table: &mut Table<'_>, by_us: bool) -> Outcome<String> {
    with_channel(table).await?;
    let ufrag = |description: Option<SessionDescription>| {
        let sdp = sdp::Sdp::parse(&description.unwrap().sdp);
        let found = sdp
            .media()
            .iter()
            .find_map(|section| sdp.attribute(section, "ice-ufrag").map(str::to_owned));
        found.unwrap_or_default()
    };
    let before =
        (ufrag(table.tell(LocalDescription).await?), ufrag(table.tell(RemoteDescription).await?));
    table.negotiate_by(by_us, true).await?;
    let after =
        (ufrag(table.tell(LocalDescription).await?), ufrag(table.tell(RemoteDescription).await?));
    if before.0 == after.0 || before.1 == after.1 {
        return Err(format!("the user fragments are the same: {before:?} {after:?}"));
    }
    let complete = |event: &ConnectionEvent| {
        matches!(event, ConnectionEvent::IceGatheringStateChange(IceGatheringState::Complete))
    };
    table
        .until("new candidates", |table| {
            table.we_told.iter().filter(|event| complete(event)).count() >= 2
        })
        .await?;
    // Checks with the new credentials; without them consent would expire after 15 s, and the connection with it.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(6);
    while tokio::time::Instant::now() < deadline {
        still_talks(table).await?;
        table.carry_for(Duration::from_millis(500)).await?;
    }
    // A connection that was lost on a busy machine may just be recovering.
    table.connect().await?;
    Ok(String::new())
}

async fn glare_polite(table: &mut Table<'_>) -> Outcome<String> {
    glare(table, true).await
}

async fn glare_impolite(table: &mut Table<'_>) -> Outcome<String> {
    glare(table, false).await
}

/// Runs 20 rounds in which both sides offer at once.
async fn glare(table: &mut Table<'_>, polite: bool) -> Outcome<String> {
    with_channel(table).await?;
    table.polite = Some(polite);
    table.command(json!({ "do": "perfect", "polite": !polite })).await?;
    let mut collisions = 0;
    for round in 0..20 {
        let kind = if round % 2 == 0 { "audio" } else { "video" };
        let codec = if round % 2 == 0 { "audio/opus" } else { "video/VP8" };
        let track =
            LocalTrack::new(RtpCodecCapability::new(codec), format!("ours {round}"), "ours");
        table.command(json!({ "do": "media", "kind": kind })).await?;
        table.tell(AddTrack(track)).await?.map_err(text)?;
        let wanted = round + 1;
        table
            .until(&format!("{wanted} tracks of theirs"), |table| {
                let ours = table.we_told.iter();
                ours.filter(|event| matches!(event, ConnectionEvent::TrackAdded { .. })).count()
                    >= wanted
            })
            .await?;
        table.at_rest_with(wanted).await?;
        collisions = table
            .we_told
            .iter()
            .filter(|event| {
                matches!(
                    event,
                    ConnectionEvent::SignalingStateChange(SignalingState::HaveRemoteOffer)
                )
            })
            .count();
    }
    if table.they_say("trouble") > 0 {
        return Err(table.told());
    }
    table.connect().await?;
    still_talks(table).await?;
    Ok(format!("{collisions} offers of theirs taken"))
}

async fn close_ours(table: &mut Table<'_>) -> Outcome<String> {
    with_channel(table).await?;
    table.tell(Close).await?;
    table
        .until("goodbye", |table| {
            let over = |event: &serde_json::Value| {
                event["event"] == "closed"
                    || (event["event"] == "connection"
                        && matches!(
                            event["state"].as_str(),
                            Some("closed" | "failed" | "disconnected")
                        ))
            };
            table.they_told.iter().any(over)
        })
        .await?;
    Ok(String::new())
}

async fn close_theirs(table: &mut Table<'_>) -> Outcome<String> {
    with_channel(table).await?;
    table.command(json!({ "do": "close" })).await?;
    table
        .until("goodbye", |table| {
            table
                .we_told
                .iter()
                .any(|event| matches!(event, ConnectionEvent::Closed(CloseReason::ClosedByPeer)))
        })
        .await?;
    Ok(String::new())
}

/// Longest time of a case.
pub(crate) const LONGEST: Duration = Duration::from_secs(600);
