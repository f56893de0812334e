//! Socket link: ties an actor, its owner, to its client's WebSocket, to the next one, or to none for a while.
//!
//! The owner's instances and the client's sockets start and end on their own threads. What they must agree on is
//! decided here under one lock: which socket is the owner's, whether it waits for another one, and which of two new
//! ones gets it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use actix::prelude::*;
use bytestring::ByteString;
use callboard_outbox::{CloseFrame, Outbox, OutboxLimits, SocketNumber};
use serde::{Serialize, Serializer};
use tokio::time::Instant;

use crate::admission::{Admission, TooMany};
use crate::counters::{SocketCount, SocketCounters};
use crate::messages::{NewSocket, SocketEnd, ToSocket};
use crate::resume_tokens::{TokenDigest, TokenTable};
use crate::tcp_connection::TcpConnection;

/// Resume tokens of one route, with the links that they belong to.
pub type ResumeTokens = TokenTable<SocketLink>;

/// Link between an owner and its client's sockets.
pub struct SocketLink {
    outbox: Arc<Outbox>,
    options: LinkOptions,
    texts: Box<dyn EdgeTexts>,
    tokens: Arc<ResumeTokens>,
    counters: Arc<SocketCounters>,
    state: Mutex<State>,
    itself: Weak<Self>,
}

/// Properties that stay the same from one socket to the next.
#[derive(Clone, Copy, Debug)]
pub struct LinkOptions {
    /// Address that its first socket came from.
    pub address: IpAddr,
    /// Limits of what waits for the client.
    pub outbox: OutboxLimits,
    /// How long the owner waits for another socket; zero: not at all.
    pub resume_grace: Duration,
    /// How long a client has to take the close frame before its connection is cut.
    pub close_grace: Duration,
    /// Largest message and frame of each socket, in bytes.
    pub max_frame: usize,
    /// Time at which its client asked for the first socket.
    pub requested: Instant,
}

/// Texts of an application's protocol that the edge sends by itself: when they are due, the actor behind the link may
/// be on another thread, or not there yet.
pub trait EdgeTexts: Send + Sync + 'static {
    /// Returns the first text to a client that has come back. It must hold the offer, or the client cannot come back
    /// again.
    fn resumed(&self, offer: &ResumeOffer) -> ByteString;

    /// Returns the text to a client that has sent a message or frame of more than `max_bytes`, before it is closed with
    /// 1009; none sends no text.
    fn too_large(&self, max_bytes: usize) -> Option<ByteString>;
}

/// Sends no text of its own. The first text to a client that has come back is the offer as JSON.
impl EdgeTexts for () {
    fn resumed(&self, offer: &ResumeOffer) -> ByteString {
        serde_json::to_string(offer).expect("a text and a number can be written as JSON").into()
    }

    fn too_large(&self, _: usize) -> Option<ByteString> {
        None
    }
}

/// What a client needs to resume its session: `{"token": …, "grace_ms": …}` in JSON.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct ResumeOffer {
    /// Token that admits one socket.
    pub token: String,
    /// How long the session waits for another socket once it has lost one.
    #[serde(rename = "grace_ms", serialize_with = "as_milliseconds")]
    pub grace: Duration,
}

fn as_milliseconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Tells an owner where its client is.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub enum Presence {
    /// Behind this socket, and no earlier one.
    Here(SocketNumber),
    /// The client has lost its socket, and may come back until this time.
    Away(Instant),
    /// The client will not come back.
    Gone,
}

/// Error: a client cannot resume its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// The token is not, or no longer, this owner's; or the owner has ended.
    #[error("no session can be resumed with this token")]
    CannotResume,
    /// Its connection would be one too many.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

struct State {
    socket: LinkState,
    /// The owner has ended, or is about to.
    over: bool,
    /// The owner's current instance, or its last one.
    owner: Option<Recipient<Presence>>,
    /// The newest token.
    token: Option<TokenDigest>,
    /// The token by which the client has come back, until it is known to have read the newest: a connection that is
    /// lost right after it was opened must not cost the session.
    used: Option<TokenDigest>,
}

enum LinkState {
    Here {
        number: SocketNumber,
        control: Recipient<ToSocket>,
        tcp: Arc<TcpConnection>,
    },
    /// The connection still counts: otherwise clients that connect and vanish could leave owners without limit.
    Away {
        number: SocketNumber,
        until: Instant,
        admission: Option<Admission>,
    },
    Gone,
}

impl State {
    fn tokens(&self) -> impl Iterator<Item = TokenDigest> + use<> {
        self.token.into_iter().chain(self.used)
    }
}

impl SocketLink {
    /// Creates the link of an owner and its first socket; returns it with the socket's number.
    pub fn new(
        options: LinkOptions,
        texts: impl EdgeTexts,
        socket: NewSocket,
        tokens: Arc<ResumeTokens>,
        counters: Arc<SocketCounters>,
    ) -> (Arc<Self>, SocketNumber) {
        let NewSocket { mail, control, tcp } = socket;
        let texts = Box::new(texts);
        let mut number = SocketNumber::default();
        let link = Arc::new_cyclic(|itself: &Weak<Self>| {
            let this = Weak::clone(itself);
            let outbox = Outbox::new(options.outbox).on_close(move |close| {
                // There is nothing to close when neither the owner nor a socket is left.
                if let Some(this) = this.upgrade() {
                    this.outbox_closed(close);
                }
            });
            number = outbox.attach(mail, None);
            let socket = LinkState::Here { number, control, tcp };
            let state = State { socket, over: false, owner: None, token: None, used: None };
            Self {
                outbox: Arc::new(outbox),
                options,
                texts,
                tokens,
                counters,
                state: Mutex::new(state),
                itself: Weak::clone(itself),
            }
        });
        (link, number)
    }

    /// Returns the outbox, whose messages the client's sockets take out.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Returns the address that its first socket came from.
    pub fn address(&self) -> IpAddr {
        self.options.address
    }

    /// Returns when the client asked for its first socket.
    pub fn requested(&self) -> Instant {
        self.options.requested
    }

    /// Returns the largest message and frame of each socket, in bytes.
    pub fn max_frame(&self) -> usize {
        self.options.max_frame
    }

    /// Returns the text for a client that has sent something too large.
    pub(crate) fn too_large(&self) -> Option<ByteString> {
        self.texts.too_large(self.options.max_frame)
    }

    /// Replaces the client's token, if it may come back at all; returns what it needs for that.
    pub fn offer_resumption(&self) -> Option<ResumeOffer> {
        (!self.options.resume_grace.is_zero()).then(|| self.renew(&mut self.state()))
    }

    fn renew(&self, state: &mut State) -> ResumeOffer {
        let (token, digest) = self.tokens.issue(Weak::clone(&self.itself));
        if let Some(replaced) = state.token.replace(digest)
            && state.used != Some(replaced)
        {
            self.tokens.revoke(replaced);
        }
        ResumeOffer { token, grace: self.options.resume_grace }
    }

    /// Registers a new instance of the owner, which is sent the changes; returns where its client is.
    pub fn register(&self, owner: Recipient<Presence>) -> Presence {
        let mut state = self.state();
        (state.owner, state.over) = (Some(owner), false);
        match &state.socket {
            LinkState::Here { number, .. } => Presence::Here(*number),
            LinkState::Away { until, .. } => Presence::Away(*until),
            LinkState::Gone => Presence::Gone,
        }
    }

    /// Marks the owner as ended for good: its session can no longer be resumed.
    pub fn owner_ended(&self) {
        let mut state = self.state();
        state.over = true;
        if matches!(state.socket, LinkState::Away { .. }) {
            state.socket = LinkState::Gone;
        }
    }

    /// Returns whether the grace period is over; if so the client can no longer come back.
    pub fn give_up(&self) -> bool {
        let mut state = self.state();
        match &state.socket {
            LinkState::Here { .. } => return false,
            LinkState::Away { until, .. } if Instant::now() < *until => return false,
            LinkState::Away { .. } | LinkState::Gone => {}
        }
        state.socket = LinkState::Gone;
        true
    }

    /// Resumes the session with this token: the new socket takes the place of the one that is lost, or still believed
    /// to be open. `admit` counts the new connection, in place of the lost one if that still counts.
    ///
    /// # Errors
    /// [`ResumeError`]; nothing has changed then.
    pub fn resume(
        &self,
        token: TokenDigest,
        socket: NewSocket,
        admit: impl FnOnce(Option<Admission>) -> Result<Admission, (Option<Admission>, TooMany)>,
    ) -> Result<(SocketNumber, Admission), ResumeError> {
        let mut state = self.state();
        // While the socket that it has opened is there, a used token opens no other.
        let unread = state.used == Some(token) && matches!(state.socket, LinkState::Away { .. });
        if state.over || self.outbox.is_closed() || state.token != Some(token) && !unread {
            return Err(ResumeError::CannotResume);
        }
        let old = match &mut state.socket {
            LinkState::Here { .. } => None,
            LinkState::Away { until, .. } if *until <= Instant::now() => {
                return Err(ResumeError::CannotResume);
            }
            LinkState::Away { admission, .. } => admission.take(),
            LinkState::Gone => return Err(ResumeError::CannotResume),
        };
        let admitted = match admit(old) {
            Ok(admitted) => admitted,
            Err((old, too_many)) => {
                if let LinkState::Away { admission, .. } = &mut state.socket {
                    *admission = old;
                }
                return Err(ResumeError::TooMany(too_many));
            }
        };
        if let LinkState::Here { control, tcp, .. } = &state.socket {
            // Once for each socket.
            control.do_send(ToSocket::Close(RESUMED_ELSEWHERE));
            tcp.cut_after(self.options.close_grace, Arc::clone(&self.counters), || {});
        }
        if let Some(used) = state.used.replace(token)
            && used != token
        {
            self.tokens.revoke(used);
        }
        let resumed = self.texts.resumed(&self.renew(&mut state));
        let number = self.outbox.attach(socket.mail, Some(resumed));
        self.tell(&state, Presence::Here(number));
        state.socket = LinkState::Here { number, control: socket.control, tcp: socket.tcp };
        self.counters.add(SocketCount::Resumed);
        Ok((number, admitted))
    }

    /// Handles the first input of this socket: its client has read the newest token, so no earlier one is valid.
    pub(crate) fn heard(&self, socket: SocketNumber) {
        let mut state = self.state();
        if let LinkState::Here { number, .. } = state.socket
            && number == socket
            && let Some(used) = state.used.take()
        {
            self.tokens.revoke(used);
        }
    }

    /// Sends to the client's socket, if it is still this one.
    pub fn send_to_socket(&self, socket: SocketNumber, command: ToSocket) {
        if let LinkState::Here { number, control, .. } = &self.state().socket
            && *number == socket
        {
            // A few for each socket, and a ping in each heartbeat.
            control.do_send(command);
        }
    }

    /// Closes the socket of a client that does not answer, and waits for another one. Returns false if that is not
    /// possible.
    pub fn detach(&self, socket: SocketNumber, close: CloseFrame) -> bool {
        let mut state = self.state();
        match &state.socket {
            LinkState::Here { number, control, .. }
                if *number == socket && self.may_come_back() =>
            {
                // Once for each socket.
                control.do_send(ToSocket::Close(close));
            }
            _ => return false,
        }
        self.lost(&mut state);
        true
    }

    /// Handles the end of a socket, or its approaching end; `admission` is its place among the connections when it has
    /// really ended. Called more than once.
    pub(crate) fn socket_ended(
        &self,
        socket: SocketNumber,
        end: SocketEnd,
        admission: Option<Admission>,
    ) {
        let mut state = self.state();
        match &mut state.socket {
            LinkState::Here { number, .. } if *number == socket => {
                if end == SocketEnd::Lost && self.may_come_back() {
                    self.lost(&mut state);
                    if let LinkState::Away { admission: place, .. } = &mut state.socket {
                        *place = admission;
                    }
                } else {
                    self.outbox.detach(socket);
                    self.cut(&state);
                    state.socket = LinkState::Gone;
                    self.tell(&state, Presence::Gone);
                }
            }
            LinkState::Away { number, admission: place, .. }
                if *number == socket && admission.is_some() =>
            {
                *place = admission;
            }
            _ => {}
        }
    }

    fn may_come_back(&self) -> bool {
        !self.options.resume_grace.is_zero() && !self.outbox.is_closed()
    }

    /// Changes from here to away.
    fn lost(&self, state: &mut State) {
        let LinkState::Here { number, .. } = state.socket else { return };
        self.cut(state);
        self.outbox.detach(number);
        let until = Instant::now() + self.options.resume_grace;
        state.socket = LinkState::Away { number, until, admission: None };
        self.counters.add(SocketCount::Lost);
        self.tell(state, Presence::Away(until));
    }

    /// Handles the close of the outbox: ends the socket, or the owner if there is no socket.
    fn outbox_closed(&self, close: CloseFrame) {
        if close == CloseFrame::TOO_SLOW {
            self.counters.add(SocketCount::TooSlow);
        }
        let mut state = self.state();
        // The client may be away, or gone without the server noticing: it is told when it comes back.
        for token in state.tokens().filter(|_| is_for_good(close)) {
            self.tokens.close(token, close, Instant::now() + self.options.resume_grace);
        }
        match state.socket {
            LinkState::Here { .. } => self.cut(&state),
            LinkState::Away { .. } => {
                state.socket = LinkState::Gone;
                self.tell(&state, Presence::Gone);
            }
            LinkState::Gone => {}
        }
    }

    /// Cuts the socket's connection if it does not end in time. On a server that cannot cut, the owner does not wait
    /// for it.
    fn cut(&self, state: &State) {
        let LinkState::Here { number, tcp, .. } = &state.socket else { return };
        let (this, number) = (Weak::clone(&self.itself), *number);
        tcp.cut_after(self.options.close_grace, Arc::clone(&self.counters), move || {
            if let Some(this) = this.upgrade() {
                this.socket_ended(number, SocketEnd::Lost, None);
            }
        });
    }

    fn tell(&self, state: &State, presence: Presence) {
        if let Some(owner) = &state.owner {
            // A few for each socket.
            owner.do_send(presence);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is completed before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SocketLink {
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
