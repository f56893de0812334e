//! Frames of RPC that a client sends, over its WebSocket or its data channel.

use std::rc::Rc;

#[cfg(feature = "webrtc")]
use callboard_peer_connection::DataChannelMessage;

use super::PeerActor;
use super::inspect::Path;
use crate::peer::Peer;
use crate::rpc::{Answer, Desk, Frame, Handled, HookContext, may_be_rpc};

impl<P: Peer> PeerActor<P> {
    /// Handles a text on the WebSocket that is too large for a message, if it is a frame; returns whether it is.
    pub(super) fn refuse_large_frame(&self, text: &str) -> bool {
        let is_frame = may_be_rpc(text) && Frame::read(text).is_ok();
        if is_frame {
            self.context.client.desk().refuse_large(text, &self.reply_by(Path::WebSocket));
        }
        is_frame
    }

    /// Handles a text on the WebSocket that is no message, if it is, or was meant as, a frame; returns whether it is.
    pub(super) fn rpc_of_websocket(&self, text: &str) -> bool {
        let answer = self.reply_by(Path::WebSocket);
        match may_be_rpc(text).then(|| self.rpc(text, &answer)) {
            Some(Handled::Rpc) => true,
            Some(Handled::Malformed) if text.contains("\"type\"") => {
                Desk::refuse_malformed(&answer);
                true
            }
            _ => false,
        }
    }

    /// Handles a message on the data channel for frames; returns false if it is JSON about something else.
    #[cfg(feature = "webrtc")]
    pub(super) fn rpc_of_channel(&self, message: &DataChannelMessage, path: Path) -> bool {
        let answer = self.reply_by(path);
        let handled = match message {
            DataChannelMessage::Text(text) => self.rpc(text, &answer),
            DataChannelMessage::Binary(_) => Handled::Malformed,
        };
        if handled == Handled::Malformed {
            Desk::refuse_malformed(&answer);
        }
        handled != Handled::SomethingElse
    }

    fn rpc(&self, text: &str, answer: &Answer) -> Handled {
        let context = || HookContext {
            peer_id: self.context.peer_id,
            room: self.context.room.clone(),
            client: self.context.client.clone(),
        };
        self.context.client.desk().handle(text, context, answer)
    }

    /// Returns a function that replies on this path. A client that is being closed needs no reply.
    pub(super) fn reply_by(&self, path: Path) -> Answer {
        let client = self.context.client.clone();
        match path {
            Path::WebSocket => Rc::new(move |text| _ = client.outbox().push(text.into())),
            #[cfg(feature = "webrtc")]
            Path::Channel => Rc::new(move |text: String| _ = client.say(text)),
        }
    }
}
