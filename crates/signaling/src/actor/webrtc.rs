//! Events of a client to its WebRTC peer on the server, and of that peer.

use std::collections::BTreeMap;

use actix::prelude::*;
use callboard_media_rooms::{Flow, FlowState, MediaEvent, TrackInfo};
use callboard_peer_connection::TrackKind;
use callboard_peer_connection::{DataChannelMessage, PeerConnectionState};
use callboard_room_supervisor::Description;
use serde_json::json;

use super::PeerActor;
use super::refusals::{LONGEST_DETAIL, Path};
use crate::control::Control as Said;
use crate::control_event::{ANSWER, ICE, OFFER, SEND};
use crate::error_text::{LONGEST_NAME, shorten};
use crate::media_event::describe;
use crate::peer::{ChannelEvent, Peer, TrackEvent};
#[cfg(feature = "rpc")]
use crate::rpc::Frame;
use crate::server_peer::*;

impl<P: Peer> PeerActor<P> {
    /// Handles an event for the client's WebRTC peer.
    pub(super) fn control(&mut self, control: Said, ctx: &mut actix::Context<Self>) {
        match control {
            Said::Offer(offer) => self.offer(offer, ctx),
            Said::Answer(answer) => self.answer(answer, ctx),
            Said::Ice(candidate) => self.candidate(candidate, ctx),
            Said::Close => self.close_server(),
            Said::Wish(wishes) => self.wish(wishes),
            Said::Send { channel, data } if data.len() > self.max_data() => {
                self.too_large(SEND, &channel, &data, Path::WebSocket);
            }
            Said::Send { channel, data } => {
                self.data(&channel, DataChannelMessage::Text(data), Path::WebSocket);
            }
            Said::Publish(described) => self.describe_tracks(described),
            Said::Mute { mid, muted } => self.mute_track(mid, muted, ctx),
            Said::Unread { event, error, detail } => self.refuse(event, error, Some(detail)),
        }
    }

    /// Sends the client to the home of its room, where it has its media, as long as it is here.
    pub(super) fn follow_home(&self, ctx: &mut actix::Context<Self>) {
        let Some(homes) = self.policy.homes.clone() else { return };
        let (room, client) = (self.context.room.clone(), self.context.client.clone());
        ctx.spawn(homes.follow(room, client).into_actor(self));
    }

    /// Returns the largest message of a data channel, or in place of one, in bytes.
    fn max_data(&self) -> usize {
        let webrtc = self.policy.webrtc.as_ref();
        webrtc.map_or(self.policy.max_message, WebRtc::max_message)
    }

    /// Rejects a message of a data channel that is too large; nothing of it is read except the id of a call.
    fn too_large(&self, event: &str, channel: &str, text: &str, path: Path) {
        #[cfg(feature = "rpc")]
        if channel == EVENTS {
            self.context
                .client
                .call_table()
                .refuse_large(Frame::read(text).ok(), &self.reply_by(path));
        }
        #[cfg(not(feature = "rpc"))]
        let _ = (text, path);
        let (error, max_bytes) = ("too_large", self.max_data());
        let channel = shorten(channel, LONGEST_NAME);
        self.log_refusal(event, error, Some(channel));
        let details =
            json!({ "event": event, "error": error, "channel": channel, "max_bytes": max_bytes });
        self.tell(Description::WebRtcFailed, &details);
    }

    /// Handles a message on a data channel, or in place of one.
    fn data(&mut self, channel: &str, message: DataChannelMessage, path: Path) {
        #[cfg(feature = "rpc")]
        if channel == EVENTS && self.rpc_of_channel(&message, path) {
            return;
        }
        #[cfg(not(feature = "rpc"))]
        let _ = path;
        self.call(|peer, context| peer.on_data(channel, message, context));
    }

    /// Tells the client the state of its peer connection, and the reason.
    pub(super) fn say_state(&self, state: PeerConnectionState, reason: &impl ToString) {
        let reason = reason.to_string();
        let reason = shorten(&reason, LONGEST_DETAIL);
        self.say("webrtc:state", &json!({ "state": state, "reason": reason }));
    }

    /// Closes the client's peer connection, which no other process can go on with, and lets the client make another.
    pub(super) fn leave_server(&mut self) {
        let Some((is_open, offers)) = self.server_state() else { return };
        if offers > 0 {
            self.refuse(OFFER, "unavailable", Some(RESTARTED.to_owned()));
        }
        if is_open {
            self.say_state(PeerConnectionState::Closed, &RESTARTED);
        }
        self.close_server();
    }

    fn say_closed(&self, reason: &EndReason) {
        let state = PeerConnectionState::Closed;
        if reason.is_plain() {
            self.say("webrtc:state", &json!({ "state": state }));
        } else if !self.goes_down() {
            // Otherwise its client is told about the room.
            log::info!("peer {}: WebRTC is closed: {reason}", self.context.peer_id);
            self.say_state(state, reason);
        }
    }

    /// Tells the application that the peer connection has failed or is over, and why.
    pub(super) fn ended(&mut self, state: PeerConnectionState, reason: &EndReason) {
        self.call(|peer, context| peer.on_webrtc_state(state, Some(reason), context));
    }

    pub(super) fn channel_closed(&mut self, label: &str) {
        if !self.goes_down() {
            self.say("webrtc:channel_closed", &json!({ "channel": label }));
        }
        self.call(|peer, context| peer.on_channel(ChannelEvent::Closed(label), context));
    }

    pub(super) fn track_removed(&mut self, track: &ClientTrack) {
        self.call(|peer, context| peer.on_track(TrackEvent::Removed(track), context));
    }

    /// Returns whether the peer is about to end, and its WebRTC peer with it.
    fn goes_down(&self) -> bool {
        self.leaving || !self.context.room.is_running()
    }

    /// Tells the client what happens in the media of its room.
    fn say_media(&self, event: MediaEvent) {
        let track = |track: &TrackInfo| {
            let (id, peer, kind) = (track.id.to_string(), &*track.name, track.kind);
            let mut told = json!({ "track": id, "peer": peer, "kind": kind, "muted": track.muted });
            describe(&mut told, track.source, track.metadata.as_ref());
            told
        };
        match event {
            MediaEvent::TrackAdded(added) => {
                self.say("media:tracks", &json!({ "added": [track(&added)] }));
            }
            MediaEvent::TrackChanged(changed) => {
                self.say("media:tracks", &json!({ "changed": [track(&changed)] }));
            }
            MediaEvent::TrackMuted(id, muted) => {
                let changed = json!({ "track": id.to_string(), "muted": muted });
                self.say("media:tracks", &json!({ "changed": [changed] }));
            }
            MediaEvent::OwnTrackMuted { track, mid, muted } => {
                let told = json!({ "track": track.to_string(), "mid": mid, "muted": muted });
                self.say("media:muted", &told);
            }
            MediaEvent::Tracks(all) => {
                let all: Vec<_> = all.iter().map(track).collect();
                self.say("media:tracks", &json!({ "all": all }));
            }
            MediaEvent::TrackRemoved(id) => {
                self.say("media:tracks", &json!({ "removed": [id.to_string()] }));
            }
            MediaEvent::SlotBound { mid, track: bound } => {
                let mut slot = track(&bound);
                if bound.kind == TrackKind::Video {
                    slot["state"] = "waiting".into();
                }
                self.say("media:slots", &json!({ "slots": { mid: slot } }));
            }
            MediaEvent::SlotFlow { mid, track: bound, flow } => {
                let (mut slot, Flow { state, rid, height, .. }) = (track(&bound), flow);
                slot["state"] = word(state).into();
                slot["layer"] = json!(rid.map(|rid| rid.to_string()));
                slot["height"] = height.into();
                self.say("media:slots", &json!({ "slots": { mid: slot } }));
            }
            MediaEvent::LayersWanted { track, mid, rids } => {
                let rids = rids.into_iter().map(|(rid, wanted)| (rid.to_string(), wanted));
                let rids: BTreeMap<_, _> = rids.collect();
                let layers = json!({ "track": track.to_string(), "mid": mid, "rids": rids });
                self.say("media:layers", &layers);
            }
            MediaEvent::SlotUnbound { mid } => {
                self.say("media:slots", &json!({ "slots": { mid: null } }));
            }
            MediaEvent::Speakers { dominant, loudest } => {
                let dominant = dominant.map(|speaker| speaker.name.to_string());
                let levels =
                    loudest.iter().map(|(speaker, level)| (speaker.name.to_string(), *level));
                let levels: BTreeMap<_, _> = levels.collect();
                self.say("media:speaker", &json!({ "peer": dominant, "levels": levels }));
            }
            MediaEvent::Refused { mid, kind } => {
                self.say("media:refused", &json!({ "mid": mid, "kind": kind }));
            }
            MediaEvent::Failed => self.say("media:failed", &json!({})),
            _ => {}
        }
    }

    fn say(&self, event: &str, data: &impl serde::Serialize) {
        // A client that is being closed is told no more.
        _ = self.context.client.push(event, data);
    }
}

impl<P: Peer> Handler<ServerPeerEvent> for PeerActor<P> {
    type Result = ();

    fn handle(&mut self, event: ServerPeerEvent, _: &mut Self::Context) {
        if self.is_kept {
            return;
        }
        match event {
            ServerPeerEvent::Answer(answer) => self.say(ANSWER, &answer),
            ServerPeerEvent::Offer(offer) => self.say(OFFER, &offer),
            ServerPeerEvent::Unanswered => {
                self.refuse(ANSWER, "timeout", Some("the offer is taken back".to_owned()));
            }
            ServerPeerEvent::Ice(candidate) => self.say(ICE, &candidate),
            ServerPeerEvent::Media(event) => self.say_media(event),
            ServerPeerEvent::ChannelOpen { label, .. } => {
                self.say("webrtc:channel_open", &json!({ "channel": label }));
                self.call(|peer, context| peer.on_channel(ChannelEvent::Opened(&label), context));
            }
            ServerPeerEvent::ChannelClosed { label, .. } => self.channel_closed(&label),
            ServerPeerEvent::Data { label, message } => {
                self.data(&label, message, Path::Channel);
            }
            ServerPeerEvent::TrackAdded(track) => {
                self.call(|peer, context| peer.on_track(TrackEvent::Added(&track), context));
            }
            ServerPeerEvent::TrackRemoved(track) => self.track_removed(&track),
            ServerPeerEvent::Samples(samples) => {
                for (track, sample) in samples.take() {
                    self.call(|peer, context| peer.on_sample(&track, &sample, context));
                }
            }
            ServerPeerEvent::KeyframeRequested(request) => {
                self.call(|peer, context| peer.on_keyframe_request(request.track(), context));
            }
            // These come with their reason.
            ServerPeerEvent::ConnectionState(
                PeerConnectionState::Failed | PeerConnectionState::Closed,
            ) => {}
            ServerPeerEvent::ConnectionState(state) => {
                self.say("webrtc:state", &json!({ "state": state }));
                self.call(|peer, context| peer.on_webrtc_state(state, None, context));
            }
            ServerPeerEvent::Failed(reason) => {
                log::info!("peer {}: WebRTC has failed: {reason}", self.context.peer_id);
                self.say_state(PeerConnectionState::Failed, &reason);
                self.ended(PeerConnectionState::Failed, &reason.into());
            }
            ServerPeerEvent::Closed(reason) => {
                self.say_closed(&reason);
                self.ended(PeerConnectionState::Closed, &reason);
            }
            ServerPeerEvent::Refused(LimitExceededError::RateLimited) => {
                self.say("webrtc:state", &json!({ "state": "rate_limited" }));
            }
            ServerPeerEvent::TooLarge { label, message } => {
                let text = std::str::from_utf8(message.as_bytes()).unwrap_or_default();
                self.too_large("data", &label, text, Path::Channel);
            }
            ServerPeerEvent::Refused(refusal) => self.refuse("data", &refusal.to_string(), None),
        }
    }
}

/// Reason for which a peer connection ends whose server is replaced.
const RESTARTED: &str = "the server was restarted";

/// Returns the word for the state of a slot in `media:slots`.
fn word(state: FlowState) -> &'static str {
    match state {
        FlowState::Flowing => "flowing",
        FlowState::Muted => "muted",
        FlowState::Paused => "paused",
        _ => "waiting",
    }
}
