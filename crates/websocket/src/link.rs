//! Socket link: ties a peer to its client's WebSocket, to the next one, or to none for a while.
//!
//! The peer's instances and the client's sockets start and end on their own threads. What they must agree on is decided
//! here under one lock: which socket is the peer's, whether it waits for another one, and which of two new ones gets
//! it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use actix::prelude::*;
use callboard_room_supervisor::{
    CloseFrame, MailWaiting, Outbox, OutboxLimits, PeerId, RoomMessage, SocketNumber, To,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::cable::Cable;
use crate::counters::{Count, Counters};
use crate::limits::{Admission, TooMany};
use crate::socket::ToSocket;
use crate::tokens::{Digest, Tokens};

/// Link between a peer and its client's sockets.
pub(crate) struct Attachment {
    pub(crate) outbox: Arc<Outbox>,
    terms: Terms,
    tokens: Arc<Tokens>,
    counters: Arc<Counters>,
    state: Mutex<State>,
    itself: Weak<Self>,
}

/// Properties that stay the same from one socket to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) peer_id: PeerId,
    /// Address that its first socket came from.
    pub(crate) address: IpAddr,
    pub(crate) outbox: OutboxLimits,
    /// How long the peer waits for another socket; zero: not at all.
    pub(crate) resume_grace: Duration,
    pub(crate) close_grace: Duration,
    pub(crate) max_message: usize,
    /// Time at which its client asked for the first socket.
    pub(crate) requested: Instant,
}

/// A socket that can be attached.
pub(crate) struct Plug {
    pub(crate) mail: Recipient<MailWaiting>,
    pub(crate) control: Recipient<ToSocket>,
    pub(crate) cable: Arc<Cable>,
}

/// Tells a peer where its client is.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub(crate) enum Presence {
    /// Behind this socket, and no earlier one.
    Here(SocketNumber),
    /// The client has lost its socket, and may come back until this time.
    Away(Instant),
    /// The client will not come back.
    Gone,
}

/// The way a socket has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// Without a close: the client may come back.
    #[default]
    Lost,
    /// One side has closed it on purpose.
    Closed,
}

/// Reason why a client cannot resume its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResumeError {
    /// The token is not, or no longer, this peer's; or the peer has ended.
    CannotResume,
    TooMany(TooMany),
}

struct State {
    line: Line,
    /// The peer has ended, or is about to.
    over: bool,
    /// The peer's current instance, or its last one.
    peer: Option<Recipient<Presence>>,
    /// The newest token.
    token: Option<Digest>,
    /// The token by which the client has come back, until it is known to have read the newest: a connection that is
    /// lost right after it was opened must not cost the session.
    used: Option<Digest>,
}

enum Line {
    Here {
        number: SocketNumber,
        control: Recipient<ToSocket>,
        cable: Arc<Cable>,
    },
    /// The connection still counts: otherwise clients that connect and vanish could leave peers without limit.
    Away {
        number: SocketNumber,
        until: Instant,
        admission: Option<Admission>,
    },
    Gone,
}

impl State {
    fn tokens(&self) -> impl Iterator<Item = Digest> + use<> {
        self.token.into_iter().chain(self.used)
    }
}

impl Attachment {
    /// Creates the link of a peer and its first socket; returns it with the socket's number.
    pub(crate) fn new(
        terms: Terms,
        plug: Plug,
        tokens: Arc<Tokens>,
        counters: Arc<Counters>,
    ) -> (Arc<Self>, SocketNumber) {
        let Plug { mail, control, cable } = plug;
        let mut number = SocketNumber::default();
        let attachment = Arc::new_cyclic(|itself: &Weak<Self>| {
            let this = Weak::clone(itself);
            let outbox = Outbox::new(terms.outbox).on_close(move |close| {
                // There is nothing to close when neither the peer nor a socket is left.
                if let Some(this) = this.upgrade() {
                    this.closing(close);
                }
            });
            number = outbox.attach(mail, None);
            let line = Line::Here { number, control, cable };
            let state = State { line, over: false, peer: None, token: None, used: None };
            Self {
                outbox: Arc::new(outbox),
                terms,
                tokens,
                counters,
                state: Mutex::new(state),
                itself: Weak::clone(itself),
            }
        });
        (attachment, number)
    }

    pub(crate) fn peer_id(&self) -> PeerId {
        self.terms.peer_id
    }

    pub(crate) fn address(&self) -> IpAddr {
        self.terms.address
    }

    pub(crate) fn requested(&self) -> Instant {
        self.terms.requested
    }

    pub(crate) fn max_message(&self) -> usize {
        self.terms.max_message
    }

    /// Returns what `authenticated` says about resumption.
    pub(crate) fn welcome(&self) -> Map<String, Value> {
        if self.terms.resume_grace.is_zero() {
            return Map::new();
        }
        Map::from_iter([("resume".to_owned(), self.renew(&mut self.state()))])
    }

    /// Replaces the token; returns the new one as the client gets it.
    fn renew(&self, state: &mut State) -> Value {
        let (token, digest) = self.tokens.issue(Weak::clone(&self.itself));
        if let Some(replaced) = state.token.replace(digest)
            && state.used != Some(replaced)
        {
            self.tokens.revoke(replaced);
        }
        json!({ "token": token, "grace_ms": self.terms.resume_grace.as_millis() as u64 })
    }

    /// Registers a new instance of the peer, which is sent the changes; returns where its client is.
    pub(crate) fn lives(&self, peer: Recipient<Presence>) -> Presence {
        let mut state = self.state();
        (state.peer, state.over) = (Some(peer), false);
        match &state.line {
            Line::Here { number, .. } => Presence::Here(*number),
            Line::Away { until, .. } => Presence::Away(*until),
            Line::Gone => Presence::Gone,
        }
    }

    /// Marks the peer as ended for good: its session can no longer be resumed.
    pub(crate) fn over(&self) {
        let mut state = self.state();
        state.over = true;
        if matches!(state.line, Line::Away { .. }) {
            state.line = Line::Gone;
        }
    }

    /// Returns whether the grace period is over; if so the client can no longer come back.
    pub(crate) fn give_up(&self) -> bool {
        let mut state = self.state();
        match &state.line {
            Line::Here { .. } => return false,
            Line::Away { until, .. } if Instant::now() < *until => return false,
            Line::Away { .. } | Line::Gone => {}
        }
        state.line = Line::Gone;
        true
    }

    /// Resumes the session with this token: the new socket takes the place of the one that is lost, or still believed
    /// to be open. `admit` counts the new connection, in place of the lost one if that still counts.
    pub(crate) fn resume(
        &self,
        token: Digest,
        plug: Plug,
        admit: impl FnOnce(Option<Admission>) -> Result<Admission, (Option<Admission>, TooMany)>,
    ) -> Result<(SocketNumber, Admission), ResumeError> {
        let mut state = self.state();
        // While the socket that it has opened is there, a used token opens no other.
        let unread = state.used == Some(token) && matches!(state.line, Line::Away { .. });
        if state.over || self.outbox.is_closed() || state.token != Some(token) && !unread {
            return Err(ResumeError::CannotResume);
        }
        let old = match &mut state.line {
            Line::Here { .. } => None,
            Line::Away { until, .. } if *until <= Instant::now() => {
                return Err(ResumeError::CannotResume);
            }
            Line::Away { admission, .. } => admission.take(),
            Line::Gone => return Err(ResumeError::CannotResume),
        };
        let admitted = match admit(old) {
            Ok(admitted) => admitted,
            Err((old, too_many)) => {
                if let Line::Away { admission, .. } = &mut state.line {
                    *admission = old;
                }
                return Err(ResumeError::TooMany(too_many));
            }
        };
        if let Line::Here { control, cable, .. } = &state.line {
            // Once for each socket.
            control.do_send(ToSocket::End(RESUMED_ELSEWHERE));
            cable.cut_after(self.terms.close_grace, Arc::clone(&self.counters), || {});
        }
        if let Some(used) = state.used.replace(token)
            && used != token
        {
            self.tokens.revoke(used);
        }
        let resumed = self.resumed(&mut state);
        let number = self.outbox.attach(plug.mail, Some(resumed.encode()));
        self.tell(&state, Presence::Here(number));
        state.line = Line::Here { number, control: plug.control, cable: plug.cable };
        self.counters.add(Count::Resumed);
        Ok((number, admitted))
    }

    /// Returns the first message to a client that has come back.
    fn resumed(&self, state: &mut State) -> RoomMessage {
        #[derive(Serialize)]
        struct Data {
            peer_id: PeerId,
            resume: Value,
        }
        let peer_id = self.terms.peer_id;
        let data = Data { peer_id, resume: self.renew(state) };
        RoomMessage::new("resumed", &data)
            .expect("ids and values can always be written as JSON")
            .to(To::Peers(vec![peer_id]))
    }

    /// Handles the first input of this socket: its client has read the newest token, so no earlier one is valid.
    pub(crate) fn heard(&self, socket: SocketNumber) {
        let mut state = self.state();
        if let Line::Here { number, .. } = state.line
            && number == socket
            && let Some(used) = state.used.take()
        {
            self.tokens.revoke(used);
        }
    }

    /// Sends to the client's socket, if it is still this one.
    pub(crate) fn tell_socket(&self, socket: SocketNumber, told: ToSocket) {
        if let Line::Here { number, control, .. } = &self.state().line
            && *number == socket
        {
            // A few for each socket, and a ping in each heartbeat.
            control.do_send(told);
        }
    }

    /// Closes the socket of a client that does not answer, and waits for another one. Returns false if that is not
    /// possible.
    pub(crate) fn unplug(&self, socket: SocketNumber, close: CloseFrame) -> bool {
        let mut state = self.state();
        match &state.line {
            Line::Here { number, control, .. } if *number == socket && self.may_come_back() => {
                // Once for each socket.
                control.do_send(ToSocket::End(close));
            }
            _ => return false,
        }
        self.lost(&mut state);
        true
    }

    /// Handles the end of a socket, or its approaching end; `admission` is its place among the connections when it has
    /// really ended. Called more than once.
    pub(crate) fn ended(&self, socket: SocketNumber, end: End, admission: Option<Admission>) {
        let mut state = self.state();
        match &mut state.line {
            Line::Here { number, .. } if *number == socket => {
                if end == End::Lost && self.may_come_back() {
                    self.lost(&mut state);
                    if let Line::Away { admission: place, .. } = &mut state.line {
                        *place = admission;
                    }
                } else {
                    self.outbox.detach(socket);
                    self.cut(&state);
                    state.line = Line::Gone;
                    self.tell(&state, Presence::Gone);
                }
            }
            Line::Away { number, admission: place, .. }
                if *number == socket && admission.is_some() =>
            {
                *place = admission;
            }
            _ => {}
        }
    }

    fn may_come_back(&self) -> bool {
        !self.terms.resume_grace.is_zero() && !self.outbox.is_closed()
    }

    /// Changes from here to away.
    fn lost(&self, state: &mut State) {
        let Line::Here { number, .. } = state.line else { return };
        self.cut(state);
        self.outbox.detach(number);
        let until = Instant::now() + self.terms.resume_grace;
        state.line = Line::Away { number, until, admission: None };
        self.counters.add(Count::Lost);
        self.tell(state, Presence::Away(until));
    }

    /// Handles the close of the outbox: ends the socket, or the peer if there is no socket.
    fn closing(&self, close: CloseFrame) {
        if close == CloseFrame::TOO_SLOW {
            self.counters.add(Count::TooSlow);
        }
        let mut state = self.state();
        // The client may be away, or gone without the server noticing: it is told when it comes back.
        for token in state.tokens().filter(|_| is_for_good(close)) {
            self.tokens.close(token, close, Instant::now() + self.terms.resume_grace);
        }
        match state.line {
            Line::Here { .. } => self.cut(&state),
            Line::Away { .. } => {
                state.line = Line::Gone;
                self.tell(&state, Presence::Gone);
            }
            Line::Gone => {}
        }
    }

    /// Cuts the socket's connection if it does not end in time. On a server that cannot cut, the peer does not wait for
    /// it.
    fn cut(&self, state: &State) {
        let Line::Here { number, cable, .. } = &state.line else { return };
        let (this, number) = (Weak::clone(&self.itself), *number);
        cable.cut_after(self.terms.close_grace, Arc::clone(&self.counters), move || {
            if let Some(this) = this.upgrade() {
                this.ended(number, End::Lost, None);
            }
        });
    }

    fn tell(&self, state: &State, presence: Presence) {
        if let Some(peer) = &state.peer {
            // A few for each socket.
            peer.do_send(presence);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is completed before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        for token in self.state().tokens() {
            self.tokens.revoke(token);
        }
    }
}

/// Returns whether a client with this close must not come back.
fn is_for_good(close: CloseFrame) -> bool {
    matches!(close.code, 1000 | 4000..=4999)
}

/// Close 1000: the client has come back with another socket before this one had ended.
const RESUMED_ELSEWHERE: CloseFrame = CloseFrame { code: 1000, reason: "resumed elsewhere" };

#[cfg(test)]
mod tests;
