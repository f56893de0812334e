//! Changes of a client's presence: the peer follows its client from one socket to the next.

use actix::prelude::*;
use callboard_room_supervisor::{CloseFrame, SocketNumber};
use callboard_supervision::Drive;
use callboard_websocket::{Presence, ToSocket};

use super::{Instance, PeerActor};
use crate::peer::Peer;
use crate::session::Session;

impl<P: Peer> PeerActor<P> {
    /// Handles a change of where the client is.
    pub(super) fn see(&mut self, ctx: &mut actix::Context<Self>, presence: Presence) {
        match presence {
            Presence::Here(socket) => {
                self.socket = Some(socket);
                self.send_to_socket(ToSocket::Attach(ctx.address().recipient()));
                if self.joined {
                    self.send_to_socket(ToSocket::Flow);
                    self.restate();
                }
                self.drive(ctx, Session::handle_return);
            }
            Presence::Away(until) => {
                self.disconnecting = None;
                self.socket = None;
                self.drive(ctx, |session, _| session.handle_away(until.into_std()));
            }
            Presence::Gone => {
                self.disconnecting = None;
                self.leaving = true;
                ctx.stop();
            }
        }
    }

    /// Sends the client the list of members, and what flows in the media of its room: what was written into a
    /// connection that it has lost may have said what has changed.
    fn restate(&self) {
        if !self.is_kept {
            self.membership.list_members();
            #[cfg(feature = "webrtc")]
            self.restate_media();
        }
    }

    /// Does so if the client may have lost a connection before this instance heard of the present
    /// one.
    pub(super) fn restate_after_loss(&self) {
        let is_first =
            self.instance == Instance::First && self.socket == Some(SocketNumber::default().next());
        if self.socket.is_some() && !is_first && !self.policy.resume_grace.is_zero() {
            self.restate();
        }
    }

    /// Gives up the client, which has not come back in its grace period.
    pub(super) fn give_up(&mut self, ctx: &mut actix::Context<Self>) {
        if self.socket_link.give_up() {
            self.see(ctx, Presence::Gone);
        }
        // Otherwise the message about the new socket is in the mailbox.
    }

    /// Gives up the socket of a client that does not answer, and goes on without it if the client may come back.
    /// Returns whether it may.
    pub(super) fn detach_socket(&self, close: CloseFrame) -> bool {
        self.socket.is_some_and(|socket| self.socket_link.detach(socket, close))
    }

    pub(super) fn send_to_socket(&self, command: ToSocket) {
        if let Some(socket) = self.socket {
            self.socket_link.send_to_socket(socket, command);
        }
    }
}

impl<P: Peer> Handler<Presence> for PeerActor<P> {
    type Result = ();

    fn handle(&mut self, presence: Presence, ctx: &mut Self::Context) {
        self.see(ctx, presence);
    }
}
