//! Frames of RPC that a client sends, over its WebSocket or its data channel.

use std::rc::Rc;

#[cfg(feature = "webrtc")]
use callboard_peer_connection::DataChannelMessage;

use super::PeerActor;
use super::refusals::Path;
use crate::client_text::RpcText;
use crate::peer::Peer;
#[cfg(feature = "webrtc")]
use crate::rpc::Unread;
use crate::rpc::{Answer, CallTable, Frame, HookContext};

impl<P: Peer> PeerActor<P> {
    /// Handles a text on the WebSocket that is, or was meant as, a frame.
    pub(super) fn rpc_of_websocket(&self, text: RpcText<'_>) {
        let answer = self.reply_by(Path::WebSocket);
        match text {
            RpcText::Frame(frame, bytes) => self.rpc(frame, bytes, &answer),
            RpcText::Large(frame) => {
                self.context.client.call_table().refuse_large(Some(frame), &answer)
            }
            RpcText::Malformed => CallTable::refuse_malformed(&answer),
        }
    }

    /// Handles a message on the data channel for frames; returns false if it is JSON about something else.
    #[cfg(feature = "webrtc")]
    pub(super) fn rpc_of_channel(&self, message: &DataChannelMessage, path: Path) -> bool {
        let answer = self.reply_by(path);
        let read = match message {
            DataChannelMessage::Text(text) => Frame::read(text).map(|frame| (frame, text.len())),
            DataChannelMessage::Binary(_) => Err(Unread::Malformed),
        };
        match read {
            Ok((frame, bytes)) => self.rpc(frame, bytes, &answer),
            Err(Unread::Malformed) => CallTable::refuse_malformed(&answer),
            Err(Unread::SomethingElse) => return false,
        }
        true
    }

    /// Handles a frame whose text has this many bytes.
    fn rpc(&self, frame: Frame<'_>, bytes: usize, answer: &Answer) {
        let context = || HookContext {
            peer_id: self.context.peer_id,
            room: self.context.room.clone(),
            client: self.context.client.clone(),
        };
        self.context.client.call_table().handle(frame, bytes, context, answer);
    }

    /// Returns a function that replies on this path. A client that is being closed needs no reply.
    pub(super) fn reply_by(&self, path: Path) -> Answer {
        let client = self.context.client.clone();
        match path {
            Path::WebSocket => Rc::new(move |text| _ = client.outbox().push(text.into())),
            #[cfg(feature = "webrtc")]
            Path::Channel => Rc::new(move |text| client.answer(text)),
        }
    }
}
