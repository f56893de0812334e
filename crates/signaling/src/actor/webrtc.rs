//! Messages of a client to the server itself, and events of its WebRTC peer: events, data and hooks.

use std::rc::Rc;

use actix::prelude::*;
use callboard_peer_connection::{DataChannelMessage, PeerConnectionState};
use callboard_room_supervisor::Description;
use serde_json::json;

use super::PeerActor;
use crate::control::{
    ANSWER, Control as Said, ICE, LONGEST_NAME, OFFER, SEND, may_be_control, shorten,
};
use crate::peer::{ChannelEvent, Peer};
use crate::rpc::{Answer, Desk, Frame, Handled, HookContext, may_be_rpc};
use crate::server_peer::*;

impl<P: Peer> PeerActor<P> {
    /// Handles a text that may be for the server itself.
    pub(super) fn inspect(&mut self, text: &str, ctx: &mut actix::Context<Self>) {
        if may_be_control(text)
            && let Some(control) = Said::read(text)
        {
            return self.control(control, ctx);
        }
        if self.session.is_large(text) && self.is_hook_frame(text) {
            let answer = self.by_websocket();
            return self.context.client.desk().refuse_large(text, &answer);
        }
        let act = self.session.read(text);
        if may_be_rpc(text) && matches!(act, super::Act::Tell(..)) {
            let answer = self.by_websocket();
            match self.rpc(text, &answer) {
                Handled::Rpc => return,
                // It was meant as a frame of RPC, not as a message.
                Handled::Malformed if text.contains("\"type\"") => {
                    return Desk::refuse_malformed(&answer);
                }
                _ => {}
            }
        }
        self.act(ctx, act);
    }

    /// Returns whether this is a frame of RPC.
    fn is_hook_frame(&self, text: &str) -> bool {
        may_be_rpc(text) && Frame::read(text).is_ok()
    }

    fn control(&mut self, control: Said, ctx: &mut actix::Context<Self>) {
        match control {
            Said::Offer(offer) => self.offer(offer, ctx),
            Said::Answer(answer) => self.answer(answer, ctx),
            Said::Ice(candidate) => self.candidate(candidate, ctx),
            Said::Close => self.close_server(),
            Said::Send { channel, data } if data.len() > self.max_data() => {
                self.too_large(SEND, &channel, &data, &self.by_websocket());
            }
            Said::Send { channel, data } => {
                let answer = self.by_websocket();
                self.data(&channel, DataChannelMessage::Text(data), &answer);
            }
            Said::Unread { event, error, detail } => self.refuse(event, error, Some(detail)),
        }
    }

    /// Returns the largest message of a data channel, or in place of one, in bytes.
    fn max_data(&self) -> usize {
        let webrtc = self.policy.webrtc.as_ref();
        webrtc.map_or(self.policy.max_message, WebRtc::max_message)
    }

    /// Rejects a message of a data channel that is too large; nothing of it is read except the id of a call.
    fn too_large(&self, event: &str, channel: &str, text: &str, answer: &Answer) {
        if channel == EVENTS {
            self.context.client.desk().refuse_large(text, answer);
        }
        let (error, max_bytes) = ("too_large", self.max_data());
        let channel = shorten(channel, LONGEST_NAME);
        self.log_refusal(event, error, Some(channel));
        let details =
            json!({ "event": event, "error": error, "channel": channel, "max_bytes": max_bytes });
        self.tell(Description::WebRtcFailed, &details);
    }

    /// Handles a message on a data channel, or in place of one.
    fn data(&mut self, channel: &str, message: DataChannelMessage, answer: &Answer) {
        if channel == EVENTS {
            let handled = match &message {
                DataChannelMessage::Text(text) => self.rpc(text, answer),
                DataChannelMessage::Binary(_) => Handled::Malformed,
            };
            match handled {
                Handled::Rpc => return,
                Handled::Malformed => return Desk::refuse_malformed(answer),
                Handled::SomethingElse => {}
            }
        }
        self.call(|peer, context| peer.on_data(channel, message, context));
    }

    fn rpc(&self, text: &str, answer: &Answer) -> Handled {
        let context = || HookContext {
            peer_id: self.context.peer_id,
            room: self.context.room.clone(),
            client: self.context.client.clone(),
        };
        self.context.client.desk().handle(text, context, answer)
    }

    /// Returns an answer function that replies over the WebSocket.
    fn by_websocket(&self) -> Answer {
        let client = self.context.client.clone();
        // A client that is being closed needs no reply.
        Rc::new(move |text| _ = client.outbox().push(text.into()))
    }

    /// Returns an answer function that replies over the data channel, as long as there is one.
    fn by_channel(&self) -> Answer {
        let client = self.context.client.clone();
        Rc::new(move |text: String| {
            // A client that is being closed needs no reply.
            _ = client.say(text);
        })
    }

    /// Logs a refusal; the caller tells the client.
    fn log_refusal(&self, event: &str, error: &str, reason: Option<&str>) {
        let (address, peer) = (self.socket_link.address(), self.context.peer_id);
        let what = format!("{event} of peer {peer}");
        self.policy.refusals.refused(log::Level::Info, address, &what, error, reason);
    }

    pub(super) fn refuse(&self, event: &str, error: &str, detail: Option<String>) {
        self.log_refusal(event, error, detail.as_deref());
        let mut details = json!({ "event": event, "error": error });
        if let Some(detail) = detail {
            // It may hold text of the client's.
            details["detail"] = shorten(&detail, LONGEST_DETAIL).into();
        }
        self.tell(Description::WebRtcFailed, &details);
    }

    /// Tells the client the state of its peer connection, and the reason.
    pub(super) fn say_state(&self, state: PeerConnectionState, reason: &impl ToString) {
        let reason = reason.to_string();
        let reason = shorten(&reason, LONGEST_DETAIL);
        self.say("webrtc:state", &json!({ "state": state, "reason": reason }));
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

    /// Returns whether the peer is about to end, and its WebRTC peer with it.
    fn goes_down(&self) -> bool {
        self.leaving || !self.context.room.is_running()
    }

    fn say(&self, event: &str, data: &impl serde::Serialize) {
        // A client that is being closed is told no more.
        _ = self.context.client.push(event, data);
    }
}

impl<P: Peer> Handler<ServerPeerEvent> for PeerActor<P> {
    type Result = ();

    fn handle(&mut self, event: ServerPeerEvent, _: &mut Self::Context) {
        match event {
            ServerPeerEvent::Answer(answer) => self.say(ANSWER, &answer),
            ServerPeerEvent::Offer(offer) => self.say(OFFER, &offer),
            ServerPeerEvent::Unanswered => {
                self.refuse(ANSWER, "timeout", Some("the offer is taken back".to_owned()));
            }
            ServerPeerEvent::Ice(candidate) => self.say(ICE, &candidate),
            ServerPeerEvent::ChannelOpen { label, .. } => {
                self.say("webrtc:channel_open", &json!({ "channel": label }));
                self.call(|peer, context| peer.on_channel(ChannelEvent::Opened(&label), context));
            }
            ServerPeerEvent::ChannelClosed { label, .. } => self.channel_closed(&label),
            ServerPeerEvent::Data { label, message } => {
                let answer = self.by_channel();
                self.data(&label, message, &answer);
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
                self.too_large("data", &label, text, &self.by_channel());
            }
            ServerPeerEvent::Refused(refusal) => self.refuse("data", &refusal.to_string(), None),
        }
    }
}

/// Length limit of the detail in an error, in bytes.
const LONGEST_DETAIL: usize = 500;
