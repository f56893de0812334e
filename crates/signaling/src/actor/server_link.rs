//! Link from a peer to its client's WebRTC peer on the server: start, offers, candidates, and the end of either.
//!
//! A server peer may end at any time: its client closes it, its peer connection is over, it is killed. The client's
//! next messages may then reach a mailbox that is about to close. An offer that no server peer has handled is therefore
//! handed to another one, and the candidates after it follow.

use std::time::Duration;

use actix::prelude::*;
use callboard_media_rooms::{TrackDescription, Wishes};
use callboard_peer_connection::{
    CloseReason, IceCandidate, PeerConnectionState, SessionDescription,
};
use callboard_supervision::{ChildSpec, Down, MonitorId, Placement, Restart, monitor};
use tokio::time::timeout;

use super::PeerActor;
use crate::control_event::{ANSWER, ICE, MUTE, OFFER, PUBLISH, WISH};
use crate::peer::Peer;
use crate::server_peer::*;

/// Link to a server peer, and to the previous one while that ends.
#[derive(Default)]
pub(super) struct ServerLink {
    server: Option<Addr<ServerPeer>>,
    watched: Option<MonitorId>,
    /// The server peer that was told to close, and may not have ended.
    closing: Option<Addr<ServerPeer>>,
    /// Number of times that the client has closed its peer connection.
    closed: u32,
    /// Monitor of a server peer that has ended, whose end this peer has not been told yet.
    before: Option<MonitorId>,
    /// Number of offers that were handed over and are neither answered nor refused.
    offers: usize,
    /// What the client wishes to receive, if it has said that.
    wishes: Option<Wishes>,
    /// What the client says of the tracks of its next offers, if it has said anything.
    described: Option<Vec<TrackDescription>>,
    /// Candidates after such an offer that reached a server peer that has ended. Bounded by [`MOST_LATE`].
    late: Vec<Option<IceCandidate>>,
}

impl<P: Peer> PeerActor<P> {
    fn server_link(&mut self) -> &mut ServerLink {
        self.server_link.get_or_insert_default()
    }

    fn server(&self) -> Option<Addr<ServerPeer>> {
        self.server_link.as_ref()?.server.clone().filter(Addr::connected)
    }

    /// Tells the client once more of the media in its room, if it has a peer connection.
    pub(super) fn restate_media(&self) {
        if let Some(server) = self.server() {
            // Once for each connection of the client.
            server.do_send(RestateMedia);
        }
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

    /// Starts a server peer for an offer. The client's other messages wait meanwhile.
    fn start_server(
        &mut self,
        offer: SessionDescription,
        attempt: Attempt,
        ctx: &mut actix::Context<Self>,
    ) {
        let Some(webrtc) = self.policy.webrtc.clone() else { return };
        let id = self.server_id();
        let base = webrtc.base_configuration();
        let configuration = self.call(|peer, context| peer.configuration(base, context));
        let Some(configuration) = configuration else { return };
        let spec = {
            let client = self.context.client.clone();
            let data_rate = self.policy.data_rate;
            let (peer, controller) = (self.context.peer_id, Controller::monitored(ctx.address()));
            let seat = webrtc.seat(self.context.room.clone(), peer);
            let spec = ChildSpec::new(id.clone(), move || {
                let entry = webrtc.enter(peer, client.channels().clone());
                let options = webrtc.peer_options(peer, configuration.clone(), data_rate);
                ServerPeer::controlled_by(options, controller.clone())
                    .behind(&client, entry)
                    .in_media(seat.clone())
            });
            spec.restart(Restart::Temporary).placement(Placement::On(Arbiter::current()))
        };
        let room = self.context.room.clone();
        let closing = self.server_link().closing.take();
        let starting = async move {
            let supervisor = room.supervisor().ok_or("the room is being restarted, or closed")?;
            if let Some(closing) = closing {
                // It reports itself that it is closed. One that is busy for longer is stopped.
                _ = timeout(CLOSE_TIMEOUT, closing.send(CloseServerPeer)).await;
            }
            // The previous one, if there was one, may not have ended yet.
            if supervisor.child::<ServerPeer>(&id).is_ok() {
                _ = supervisor.terminate_child(&id).await;
            }
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
                    if let Some(wishes) = this.server_link().wishes.clone() {
                        // Once for each.
                        server.do_send(HandleWishes(wishes));
                    }
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
        let link = self.server_link();
        link.before = link.watched.replace(watched);
        link.server = Some(server);
    }

    /// Finds the server peer again after a crash: the client's peer connection is still there.
    pub(super) fn find_server(&mut self, ctx: &mut actix::Context<Self>) {
        let supervisor = self.context.room.supervisor();
        let child = supervisor.and_then(|node| node.child::<ServerPeer>(&self.server_id()).ok());
        if let Some(server) = child.and_then(|child| child.addr()) {
            // Once per instance.
            server.do_send(Control(Controller::monitored(ctx.address())));
            self.watch(server, ctx);
        }
    }

    /// Returns whether the client has a server peer, and how many of its offers are neither answered nor refused; none
    /// if it never had one.
    pub(super) fn server_state(&self) -> Option<(bool, usize)> {
        let link = self.server_link.as_ref()?;
        Some((link.server.is_some(), link.offers))
    }

    /// Returns whether the client has a server peer.
    pub(super) fn has_server(&self) -> bool {
        self.server().is_some()
    }

    /// Closes the server peer, because the client has closed its peer connection or the peer ends.
    pub(super) fn close_server(&mut self) {
        let Some(link) = &mut self.server_link else { return };
        link.closed = link.closed.wrapping_add(1);
        if let Some(server) = link.server.take() {
            // Once for each.
            server.do_send(CloseServerPeer);
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
        let link = self.server_link();
        link.offers += 1;
        let closed = link.closed;
        if let Some(described) = link.described.clone() {
            // Once for each offer.
            server.do_send(DescribeTracks(described));
        }
        let answering = server.send(HandleOffer(offer.clone()));
        let to = server.clone();
        ctx.spawn(answering.into_actor(self).map(move |answered, this, ctx| {
            let link = this.server_link();
            link.offers -= 1;
            let is_closed = link.closed != closed;
            match (answered, attempt) {
                (Ok(Ok(())), _) => {}
                (Ok(Err(error)), _) => {
                    let detail = error.detail();
                    this.refuse(OFFER, &error.to_string(), detail);
                }
                // What the client sends after its close belongs to another peer connection.
                (Err(_), _) if is_closed => {
                    let detail = "closed by the client before it was answered";
                    this.refuse(OFFER, "unavailable", Some(detail.to_owned()));
                }
                // It has ended before it had handled the offer.
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

    /// Notes what the client says of the tracks of its next offers.
    pub(super) fn describe_tracks(&mut self, described: Vec<TrackDescription>) {
        match self.has_media() {
            Ok(()) => self.server_link().described = Some(described),
            Err(error) => self.refuse(PUBLISH, error, None),
        }
    }

    /// Mutes a track of the client's, or ends that.
    pub(super) fn mute_track(&mut self, mid: String, muted: bool, ctx: &mut actix::Context<Self>) {
        if let Err(error) = self.has_media() {
            return self.refuse(MUTE, error, None);
        }
        let link = self.server_link();
        let mut described = link.described.iter_mut().flatten();
        let known = described.find(|track| track.mid == mid).map(|track| track.muted = muted);
        let Some(server) = self.server() else {
            if known.is_none() {
                self.refuse(MUTE, &MuteTrackError::NoSuchTrack.to_string(), None);
            }
            return;
        };
        let muting = server.send(MuteTrack { mid, muted });
        ctx.spawn(muting.into_actor(self).map(move |muted, this, _| {
            // One that is to be published is muted with the next offer, also of another server peer.
            let refused = match muted {
                Ok(Ok(())) => None,
                Ok(Err(MuteTrackError::RateLimited)) => Some(MuteTrackError::RateLimited),
                Ok(Err(error)) => Some(error).filter(|_| known.is_none()),
                Err(_) => Some(MuteTrackError::NoSuchTrack).filter(|_| known.is_none()),
            };
            if let Some(error) = refused {
                this.refuse(MUTE, &error.to_string(), None);
            }
        }));
    }

    /// Returns whether clients send media through the server, or why not.
    fn has_media(&self) -> Result<(), &'static str> {
        match &self.policy.webrtc {
            None => Err("webrtc_disabled"),
            Some(webrtc) if webrtc.has_media() => Ok(()),
            Some(_) => Err("media_disabled"),
        }
    }

    /// Passes on the client's answer to an offer of the server.
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

    /// Passes on what the client wishes to receive of its room's media, also to later server peers.
    pub(super) fn wish(&mut self, wishes: Wishes) {
        let error = match &self.policy.webrtc {
            None => return self.refuse(WISH, "webrtc_disabled", None),
            Some(webrtc) if !webrtc.has_media() => HandleWishesError::Disabled,
            Some(_) if !wishes.is_within_limits() => HandleWishesError::TooMany,
            Some(_) => {
                if let Some(server) = self.server() {
                    // Bounded by the client's rate.
                    server.do_send(HandleWishes(wishes.clone()));
                }
                self.server_link().wishes = Some(wishes);
                return;
            }
        };
        self.refuse(WISH, &error.to_string(), error.detail());
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
                // Each server peer was started for an offer, so this does not go on for ever.
                Some(_) => this.candidate(candidate, ctx),
                None => this.candidate_is_late(candidate),
            },
        }));
    }

    /// Handles a candidate without a server peer: it waits while an offer before it is neither answered nor refused.
    fn candidate_is_late(&mut self, candidate: Option<IceCandidate>) {
        match &mut self.server_link {
            Some(link) if link.offers > 0 && link.late.len() < MOST_LATE => {
                link.late.push(candidate);
            }
            _ => self.refuse(ICE, "no_webrtc_session", None),
        }
    }

    fn give_late(&mut self, ctx: &mut actix::Context<Self>) {
        for candidate in std::mem::take(&mut self.server_link().late) {
            self.candidate(candidate, ctx);
        }
    }
}

impl<P: Peer> Handler<Down> for PeerActor<P> {
    type Result = ();

    fn handle(&mut self, down: Down, ctx: &mut Self::Context) {
        let Some(link) = &mut self.server_link else { return };
        if self.is_kept {
            if self.is_given && link.watched == Some(down.monitor) {
                (link.server, link.watched) = (None, None);
                if self.leaving {
                    self.given(ctx);
                }
            }
            return;
        }
        let is_current = link.watched == Some(down.monitor);
        if is_current {
            (link.server, link.closing, link.watched) = (None, None, None);
        } else if link.before == Some(down.monitor) {
            link.before = None;
        } else {
            return;
        }
        // A server peer that ends by itself has said so.
        if down.reason.is_abnormal() {
            // One that was killed has reported no closed channels; if there is a newer one, that reports them.
            let channels = self.context.client.channels();
            let closed = if is_current { channels.connected(None) } else { Vec::new() };
            let tracks = channels.tracks();
            let removed = if is_current { tracks.connected(None) } else { Vec::new() };
            for (_, label) in closed {
                self.channel_closed(&label);
            }
            removed.iter().for_each(|track| self.track_removed(track));
            let (state, reason) = (PeerConnectionState::Failed, CloseReason::Stopped);
            self.say_state(state, &reason);
            self.ended(state, &reason.into());
        }
    }
}

/// Attempts to hand over an offer: an offer that met the end of a server peer is handed over once more.
#[derive(Clone, Copy)]
enum Attempt {
    First,
    Last,
}

/// Time limit for the room's supervisor to start a WebRTC peer, including the end of the previous one.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for a WebRTC peer to handle a close by its client: it may be answering an offer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The number of candidates that a client may send at once.
const MOST_LATE: usize = 150;
