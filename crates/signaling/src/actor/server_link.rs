//! The way from a peer to the WebRTC peer of its client: start, offers, candidates, and the end of either.
//!
//! A server peer may end at any time: its client closes it, its connection is over, it is killed. What a client says right behind
//! that may reach a mailbox that is about to go. An offer that no server peer has dealt with is therefore handed to another
//! one, and the candidates that came behind it follow.

use std::time::Duration;

use actix::prelude::*;
use callboard_peer_connection::{
    CloseReason, IceCandidate, PeerConnectionState, SessionDescription,
};
use callboard_supervision::{ChildSpec, Down, MonitorId, Placement, Restart, monitor};
use tokio::time::timeout;

use super::PeerActor;
use crate::control::{ANSWER, ICE, OFFER};
use crate::peer::Peer;
use crate::server_peer::*;

/// The way to a server peer, and to the one before it while that ends.
#[derive(Default)]
pub(super) struct Link {
    server: Option<Addr<ServerPeer>>,
    watched: Option<MonitorId>,
    /// Has been told to close, and may not have ended.
    closing: Option<Addr<ServerPeer>>,
    /// How often the client has closed its connection.
    closed: u32,
    /// Of one that has ended, of whose end this peer has not heard yet.
    before: Option<MonitorId>,
    /// Offers that were handed over and are neither answered nor refused.
    offers: usize,
    /// Candidates behind such an offer that have met a server peer that has ended. Bounded by [`MOST_LATE`].
    late: Vec<Option<IceCandidate>>,
}

impl<P: Peer> PeerActor<P> {
    fn link(&mut self) -> &mut Link {
        self.link.get_or_insert_default()
    }

    fn server(&self) -> Option<Addr<ServerPeer>> {
        self.link.as_ref()?.server.clone().filter(Addr::connected)
    }

    pub(super) fn offer(&mut self, offer: SessionDescription, ctx: &mut actix::Context<Self>) {
        if self.policy.webrtc.is_none() {
            return self.refuse(OFFER, "webrtc_disabled", None);
        }
        match self.server() {
            Some(server) => self.hand_over(&server, offer, Attempt::First, ctx),
            None => self.start_server(offer, Attempt::First, ctx),
        }
    }

    /// Starts a server peer for an offer. What the client says meanwhile waits.
    fn start_server(
        &mut self,
        offer: SessionDescription,
        attempt: Attempt,
        ctx: &mut actix::Context<Self>,
    ) {
        let Some(webrtc) = self.policy.webrtc.clone() else { return };
        let id = self.server_id();
        let spec = {
            let client = self.context.client.clone();
            let data_rate = self.policy.data_rate;
            let (peer, controller) = (self.context.peer_id, ctx.address().recipient());
            let spec = ChildSpec::new(id.clone(), move || {
                let entry = webrtc.enter(peer, client.channels.clone());
                ServerPeer::new(webrtc.peer_options(peer, data_rate), controller.clone())
                    .behind(&client, entry)
            });
            spec.restart(Restart::Temporary).arbiter(Placement::On(Arbiter::current()))
        };
        let room = self.context.room.clone();
        let closing = self.link().closing.take();
        let starting = async move {
            let supervisor = room.supervisor().ok_or("the room is being restarted, or closed")?;
            if let Some(closing) = closing {
                // It says itself that it is closed. One that is busy for longer is stopped.
                _ = timeout(CLOSE_TIMEOUT, closing.send(Close)).await;
            }
            // The one before may not have ended yet.
            _ = supervisor.terminate_child(&id).await;
            let started = supervisor.start_child(spec).await;
            started.map_err(|_| "the WebRTC peer could not be started")?;
            let child = supervisor.child::<ServerPeer>(&id).ok();
            child.and_then(|child| child.addr()).ok_or("the WebRTC peer has ended at once")
        };
        let starting = async move {
            let late = Err("the WebRTC peer could not be started in time");
            timeout(START_TIMEOUT, starting).await.unwrap_or(late)
        };
        ctx.wait(starting.into_actor(self).map(move |started, this, ctx| {
            match started {
                Ok(server) => {
                    this.watch(server.clone(), ctx);
                    this.hand_over(&server, offer, attempt, ctx);
                }
                Err(detail) => this.refuse(OFFER, "unavailable", Some(detail.to_owned())),
            }
            this.give_late(ctx);
        }));
    }

    fn server_id(&self) -> String {
        server_peer_id(&self.context.peer_id)
    }

    fn watch(&mut self, server: Addr<ServerPeer>, ctx: &mut actix::Context<Self>) {
        let watched = monitor(&server, ctx.address().recipient()).id;
        let link = self.link();
        link.before = link.watched.replace(watched);
        link.server = Some(server);
    }

    /// After a crash: the connection of the client's is still there.
    pub(super) fn find_server(&mut self, ctx: &mut actix::Context<Self>) {
        let supervisor = self.context.room.supervisor();
        let child = supervisor.and_then(|node| node.child::<ServerPeer>(&self.server_id()).ok());
        if let Some(server) = child.and_then(|child| child.addr()) {
            // Once in a life.
            server.do_send(Control(ctx.address().recipient()));
            self.watch(server, ctx);
        }
    }

    /// The client has done with its connection, or the peer goes, and its connection with it.
    pub(super) fn close_server(&mut self) {
        let Some(link) = &mut self.link else { return };
        link.closed = link.closed.wrapping_add(1);
        if let Some(server) = link.server.take() {
            // Once for each.
            server.do_send(Close);
            link.closing = Some(server);
        }
    }

    fn hand_over(
        &mut self,
        server: &Addr<ServerPeer>,
        offer: SessionDescription,
        attempt: Attempt,
        ctx: &mut actix::Context<Self>,
    ) {
        let link = self.link();
        link.offers += 1;
        let closed = link.closed;
        let answering = server.send(HandleOffer(offer.clone()));
        let to = server.clone();
        ctx.spawn(answering.into_actor(self).map(move |answered, this, ctx| {
            let link = this.link();
            link.offers -= 1;
            let is_closed = link.closed != closed;
            match (answered, attempt) {
                (Ok(Ok(())), _) => {}
                (Ok(Err(error)), _) => {
                    let detail = error.detail();
                    this.refuse(OFFER, &error.to_string(), detail);
                }
                // What comes behind the client's close is another connection's.
                (Err(_), _) if is_closed => {
                    let detail = "closed by the client before it was answered";
                    this.refuse(OFFER, "unavailable", Some(detail.to_owned()));
                }
                // It has ended before it had dealt with it.
                (Err(_), Attempt::First) => match this.server().filter(|server| *server != to) {
                    Some(server) => this.hand_over(&server, offer, Attempt::Last, ctx),
                    None => return this.start_server(offer, Attempt::Last, ctx),
                },
                (Err(_), Attempt::Last) => {
                    let detail = "the WebRTC peer has ended before it answered";
                    this.refuse(OFFER, "unavailable", Some(detail.to_owned()));
                }
            }
            this.give_late(ctx);
        }));
    }

    /// The answer to an offer of the server's.
    pub(super) fn answer(&mut self, answer: SessionDescription, ctx: &mut actix::Context<Self>) {
        if self.policy.webrtc.is_none() {
            return self.refuse(ANSWER, "webrtc_disabled", None);
        }
        let unexpected = |this: &Self, error: HandleAnswerError| {
            this.refuse(ANSWER, &error.to_string(), error.detail());
        };
        let Some(server) = self.server() else {
            return unexpected(self, HandleAnswerError::Unexpected);
        };
        let taking = server.send(HandleAnswer(answer));
        ctx.spawn(taking.into_actor(self).map(move |taken, this, _| {
            if let Err(error) = taken.unwrap_or(Err(HandleAnswerError::Unexpected)) {
                unexpected(this, error);
            }
        }));
    }

    pub(super) fn candidate(
        &mut self,
        candidate: Option<IceCandidate>,
        ctx: &mut actix::Context<Self>,
    ) {
        let Some(server) = self.server() else { return self.candidate_is_late(candidate) };
        let adding = server.send(AddCandidate(candidate.clone()));
        ctx.spawn(adding.into_actor(self).map(move |added, this, ctx| match added {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let detail = match &error {
                    AddCandidateError::Candidate(why) => Some(why.to_string()),
                    _ => None,
                };
                this.refuse(ICE, &error.to_string(), detail);
            }
            Err(_) => match this.server().filter(|now| *now != server) {
                // Each has been started for an offer, so there are no more of them.
                Some(_) => this.candidate(candidate, ctx),
                None => this.candidate_is_late(candidate),
            },
        }));
    }

    /// There is no server peer for it: it waits if the offer before it gets another one.
    fn candidate_is_late(&mut self, candidate: Option<IceCandidate>) {
        match &mut self.link {
            Some(link) if link.offers > 0 && link.late.len() < MOST_LATE => {
                link.late.push(candidate);
            }
            _ => self.refuse(ICE, "no_webrtc_session", None),
        }
    }

    fn give_late(&mut self, ctx: &mut actix::Context<Self>) {
        for candidate in std::mem::take(&mut self.link().late) {
            self.candidate(candidate, ctx);
        }
    }
}

impl<P: Peer> Handler<Down> for PeerActor<P> {
    type Result = ();

    fn handle(&mut self, down: Down, _: &mut Self::Context) {
        let Some(link) = &mut self.link else { return };
        let is_current = link.watched == Some(down.monitor);
        if is_current {
            (link.server, link.closing, link.watched) = (None, None, None);
        } else if link.before == Some(down.monitor) {
            link.before = None;
        } else {
            return;
        }
        // One that ends by itself has said so.
        if down.reason.is_abnormal() {
            // One that was killed has told of none; where there is another one, that does.
            let channels = &self.context.client.channels;
            let closed = if is_current { channels.connected(None) } else { Vec::new() };
            for (_, label) in closed {
                self.channel_closed(&label);
            }
            let (state, reason) = (PeerConnectionState::Failed, CloseReason::Stopped);
            self.say_state(state, &reason);
            self.ended(state, &reason.into());
        }
    }
}

/// How often an offer has been handed over: one that met the end of a server peer is so once more.
#[derive(Clone, Copy)]
enum Attempt {
    First,
    Last,
}

/// How long the room's supervisor may take to start a WebRTC peer, in which another one may have to end first.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a WebRTC peer may take to hear that its client has closed it: it may be answering an offer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// As many candidates as a client may send at once.
const MOST_LATE: usize = 150;
