//! Changes of a client's presence: the peer follows its client from one socket to the next.

use actix::prelude::*;
use callboard_room_supervisor::CloseFrame;
use callboard_websocket::{Presence, ToSocket};
use tokio::time::Instant;

use super::PeerActor;
use crate::peer::Peer;

impl<P: Peer> PeerActor<P> {
    /// Handles a change of where the client is.
    pub(super) fn see(&mut self, ctx: &mut actix::Context<Self>, presence: Presence) {
        if let Some(alarm) = self.alarm.take() {
            ctx.cancel_future(alarm);
        }
        match presence {
            Presence::Here(socket) => {
                self.socket = Some(socket);
                self.send_to_socket(ToSocket::Attach(ctx.address().recipient()));
                if self.joined {
                    self.send_to_socket(ToSocket::Flow);
                }
                self.session.handle_return(Instant::now().into_std());
                self.wake_in_time(ctx);
            }
            Presence::Away(until) => {
                self.socket = None;
                self.give_up_in_time(ctx, until);
            }
            Presence::Gone => {
                self.leaving = true;
                ctx.stop();
            }
        }
    }

    fn give_up_in_time(&mut self, ctx: &mut actix::Context<Self>, until: Instant) {
        let wait = until.saturating_duration_since(Instant::now());
        let alarm = ctx.run_later(wait, move |this, ctx| {
            if this.socket_link.give_up() {
                this.see(ctx, Presence::Gone);
            }
            // Otherwise the message about the new socket is in the mailbox.
        });
        self.alarm = Some(alarm);
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
