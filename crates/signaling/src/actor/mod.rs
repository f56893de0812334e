//! A peer as an actor: the application's [`Peer`] between its client's socket and its room.

mod hand_over;
mod presence;
mod refusals;
#[cfg(feature = "rpc")]
mod rpc;
#[cfg(feature = "webrtc")]
mod server_link;
#[cfg(feature = "webrtc")]
mod webrtc;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use callboard_room_supervisor::{
    CloseFrame, Description, ForwardError, JoinError, Membership, RoomMessage, SocketNumber,
};
use callboard_supervision::{Drive, Driver, catch_panic, has_panicked};
use callboard_websocket::{FromSocket, SocketEvent, SocketLink, ToSocket};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

#[cfg(feature = "webrtc")]
use crate::control::Control;
use crate::counters::{Count, Counters};
use crate::kept::RunningPeers;
use crate::options::Policy;
use crate::peer::{Peer, PeerContext};
use crate::session::{Act, Due, Session};
#[cfg(feature = "webrtc")]
use server_link::ServerLink;

/// One instance of a peer.
pub(crate) struct PeerActor<P: Peer> {
    /// Taken out while one of its callbacks runs: an actor without it has crashed.
    peer: Option<P>,
    context: PeerContext,
    membership: Arc<Membership>,
    driver: Driver<Session>,
    socket_link: Arc<SocketLink>,
    /// None while the client has no socket.
    socket: Option<SocketNumber>,
    counters: Arc<Counters>,
    /// The room has admitted the peer.
    joined: bool,
    instance: Instance,
    /// Peers of the route, among which this one is while it runs.
    peers: Arc<RunningPeers>,
    /// Dropped when the client has gone that was asked to come back to another process.
    disconnecting: Option<oneshot::Sender<()>>,
    /// Another process goes on with this peer: no callback is called any more.
    is_kept: bool,
    /// It goes on at another node, and this process stays.
    is_given: bool,
    /// The peer ends by itself, rather than with its room.
    leaving: bool,
    policy: Arc<Policy>,
    /// Link to the client's WebRTC peer on the server; most clients have none.
    #[cfg(feature = "webrtc")]
    server_link: Option<Box<ServerLink>>,
}

/// What an instance of a peer follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instance {
    /// Nothing: its client has just come.
    First,
    /// One that has crashed; then the client is told.
    Again,
    /// One of an earlier process, with its state.
    Restored,
    /// One of an earlier process, without its state.
    Anew,
}

impl<P: Peer> PeerActor<P> {
    pub(crate) fn new(
        peer: P,
        context: PeerContext,
        membership: Arc<Membership>,
        session: Session,
        socket_link: Arc<SocketLink>,
        counters: Arc<Counters>,
        policy: Arc<Policy>,
    ) -> Self {
        Self {
            peer: Some(peer),
            context,
            membership,
            driver: Driver::new(session),
            socket_link,
            socket: None,
            counters,
            joined: false,
            instance: Instance::First,
            peers: Arc::default(),
            disconnecting: None,
            is_kept: false,
            is_given: false,
            leaving: false,
            policy,
            #[cfg(feature = "webrtc")]
            server_link: None,
        }
    }

    /// Sets what this instance follows, and among which peers it is.
    pub(crate) fn instance(self, instance: Instance, peers: Arc<RunningPeers>) -> Self {
        Self { instance, peers, ..self }
    }

    /// Runs one of the peer's callbacks.
    fn call<T>(&mut self, callback: impl FnOnce(&mut P, &PeerContext) -> T) -> Option<T> {
        let mut peer = self.peer.take()?;
        let result = callback(&mut peer, &self.context);
        self.peer = Some(peer);
        Some(result)
    }

    fn tell(&self, description: Description, details: &Value) {
        let error = RoomMessage::error(self.context.peer_id, description, details);
        // A client that is being closed is told no more.
        _ = self.membership.outbox().push(error.encode());
    }

    fn part(&mut self, ctx: &mut actix::Context<Self>, close: CloseFrame) {
        self.leaving = true;
        self.membership.outbox().close(close);
        ctx.stop();
    }

    fn act(&mut self, ctx: &mut actix::Context<Self>, act: Act<'_>) {
        match act {
            Act::Nothing => {}
            Act::Forward(message) => self.forward(message),
            #[cfg(feature = "webrtc")]
            Act::Control(event) => self.control(Control::read(event), ctx),
            #[cfg(not(feature = "webrtc"))]
            Act::Control(event) => self.refuse(event.name, "webrtc_disabled", None),
            #[cfg(feature = "rpc")]
            Act::Rpc(text) => self.rpc_of_websocket(text),
            Act::Dropped => self.counters.add(Count::TooMany),
            Act::Tell(description, details) => {
                self.counters.add(match description {
                    Description::TooManyMessages => Count::TooMany,
                    _ => Count::Invalid,
                });
                self.tell(description, &details);
            }
            Act::Part(description, details, close) => {
                self.counters.add(match description {
                    Description::MessageTooLarge => Count::Invalid,
                    _ => Count::TooMany,
                });
                self.tell(description, &details);
                self.part(ctx, close);
            }
        }
    }

    fn forward(&mut self, message: RoomMessage) {
        let message = RoomMessage { from: Some(self.context.peer_id), ..message };
        let Some(message) = self.call(|peer, context| peer.on_receive(message, context)).flatten()
        else {
            return;
        };
        match self.membership.forward(message) {
            Ok(()) => {}
            Err(ForwardError::TooManyInFlight) => {
                self.counters.add(Count::TooMany);
                if self.driver.core_mut().tells_busy(Instant::now().into_std()) {
                    self.tell(Description::TooManyMessages, &"the room is busy".into());
                }
            }
            Err(_) => {
                self.tell(Description::RoomUnavailable, &"the message was not delivered".into())
            }
        }
    }

    fn joined(&mut self, ctx: &mut actix::Context<Self>, joined: Result<(), JoinError>) {
        match joined {
            Ok(()) => {
                self.joined = true;
                if self.instance != Instance::Restored {
                    self.call(|peer, context| peer.on_joined(context));
                }
                match self.instance {
                    Instance::First => {
                        self.counters.joins.add(self.socket_link.requested().elapsed());
                    }
                    Instance::Again => {
                        self.tell(Description::PeerRestarted, &"messages may be lost".into());
                    }
                    Instance::Restored | Instance::Anew => {}
                }
                #[cfg(feature = "webrtc")]
                self.follow_home(ctx);
                self.send_to_socket(ToSocket::Flow);
                self.restate_after_loss();
            }
            Err(error) => {
                self.tell(Description::CouldNotJoinRoom, &error.details());
                // What passes: its client comes back.
                let away = self.context.room.home().is_some();
                let passes = match error {
                    JoinError::DoorShut { .. } => true,
                    JoinError::RoomUnavailable | JoinError::RoomCrashed => away,
                    _ => false,
                };
                self.part(ctx, if passes { TRY_AGAIN } else { CloseFrame::NORMAL });
            }
        }
    }
}

impl<P: Peer> Drive<Session> for PeerActor<P> {
    fn driver(&mut self) -> &mut Driver<Session> {
        &mut self.driver
    }

    fn carry_out(&mut self, due: Due, ctx: &mut actix::Context<Self>) {
        if self.is_kept {
            return;
        }
        match due {
            // One at a time: the next only after a heartbeat.
            Due::Ping => self.send_to_socket(ToSocket::Ping),
            Due::GiveUpSocket => {
                self.counters.add(Count::Silent);
                if !self.detach_socket(CloseFrame::SILENT) {
                    self.part(ctx, CloseFrame::SILENT);
                }
            }
            Due::GiveUpClient => self.give_up(ctx),
        }
    }
}

impl<P: Peer> Actor for PeerActor<P> {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let presence = self.socket_link.register(ctx.address().recipient());
        self.see(ctx, presence);
        if self.leaving {
            return;
        }
        #[cfg(feature = "rpc")]
        self.context.client.call_table().reopen();
        #[cfg(feature = "webrtc")]
        if self.instance == Instance::Again {
            self.find_server(ctx);
        }
        if !self.policy.resume_grace.is_zero() {
            self.peers.add(&self.socket_link, ctx.address().recipient());
        }
        let membership = Arc::clone(&self.membership);
        let joining = async move {
            timeout(JOIN_TIMEOUT, membership.join()).await.unwrap_or(Err(JoinError::TimedOut))
        };
        ctx.spawn(joining.into_actor(self).map(|joined, this, ctx| this.joined(ctx, joined)));
    }

    /// Runs also after a panic, when the peer is taken out.
    fn stopped(&mut self, _: &mut Self::Context) {
        #[cfg(feature = "rpc")]
        self.context.client.call_table().close();
        self.peers.remove(&self.socket_link);
        if self.is_kept {
            #[cfg(feature = "webrtc")]
            if self.is_given {
                self.close_server();
            }
            return;
        }
        let Some(mut peer) = self.peer.take() else { return self.counters.add(Count::Panicked) };
        if has_panicked() {
            return; // the panic was in none of its callbacks: it is about to be restarted
        }
        #[cfg(feature = "webrtc")]
        self.close_server();
        self.socket_link.owner_ended();
        if !self.leaving && !self.context.room.is_running() {
            // It ends with its room, which can no longer say so.
            self.tell(Description::RoomClosed, &"crashed".into());
            self.membership.outbox().close(CloseFrame::ROOM_FAILED);
        }
        let context = &self.context;
        if catch_panic("on_terminate", || peer.on_terminate(context)).is_err() {
            self.counters.add(Count::Panicked);
            log::debug!("peer {}: on_terminate panicked", self.context.peer_id);
        }
    }
}

impl<P: Peer> Handler<FromSocket> for PeerActor<P> {
    type Result = ();

    fn handle(&mut self, message: FromSocket, ctx: &mut Self::Context) {
        if self.socket != Some(message.socket) || self.is_kept {
            return; // late input of the previous socket
        }
        let act = match message.event {
            SocketEvent::Text { text, counted } => {
                let act = self.drive(ctx, |session, now| session.handle_text(now, &text, counted));
                return self.act(ctx, act);
            }
            SocketEvent::Frame { bytes, binary } => {
                if binary {
                    self.counters.add(Count::Binary);
                }
                self.drive(ctx, |session, now| session.handle_frame(now, bytes))
            }
        };
        self.act(ctx, act);
    }
}

/// Time limit for joining, including the time until the room handles it.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// 1013: the client comes back later.
const TRY_AGAIN: CloseFrame =
    CloseFrame { code: 1013, reason: Cow::Borrowed("room is not available") };
