//! Socket link: ties an actor, its owner, to its client's WebSocket, to the next one, or to none for a while.
//!
//! The owner's instances and the client's sockets start and end on their own threads. What they must agree on is
//! decided here under one lock: which socket is the owner's, whether it waits for another one, and which of two new
//! ones gets it: the state decides, the link owns the lock, the handles and the clock.

mod resumption;
mod state;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use actix::prelude::*;
use bytestring::ByteString;
use callboard_outbox::{CloseFrame, Outbox, OutboxLimits, SocketNumber};
use serde::{Serialize, Serializer};
use tokio::time::Instant;

pub use self::resumption::Resumption;

use self::state::{Effect, LinkState, Place};
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
    address: IpAddr,
    requested: Instant,
    close_grace: Duration,
    max_frame: usize,
    texts: Box<dyn EdgeTexts>,
    tokens: Arc<ResumeTokens>,
    counters: Arc<SocketCounters>,
    shared: Mutex<Shared>,
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
#[derive(Clone, Debug, PartialEq, Eq, actix::Message)]
#[rtype(result = "()")]
#[expect(clippy::exhaustive_enums, reason = "an owner must handle each")]
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
#[non_exhaustive]
pub enum ResumeError {
    /// The token is not, or no longer, this owner's; or the owner has ended.
    #[error("no session can be resumed with this token")]
    CannotResume,
    /// Its connection would be one too many.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// Everything that changes, with the handles that the [state](LinkState) only has numbers of.
struct Shared {
    link: LinkState,
    /// The owner's current instance, or its last one.
    owner: Option<Recipient<Presence>>,
    /// The client's socket, while it has one.
    socket: Option<Handles>,
    /// Place among the connections of a client that is away. It still counts: otherwise clients that connect and vanish
    /// could leave owners without limit. Boxed, as most clients are here.
    admission: Option<Box<Admission>>,
}

/// Handles of a socket.
struct Handles {
    control: Recipient<ToSocket>,
    tcp: Arc<TcpConnection>,
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
        let NewSocket { outbox_ready, control, tcp } = socket;
        let LinkOptions { address, outbox, resume_grace, close_grace, max_frame, requested } =
            options;
        let (limits, texts) = (outbox, Box::new(texts));
        let mut number = SocketNumber::default();
        let link = Arc::new_cyclic(|itself: &Weak<Self>| {
            let this = Weak::clone(itself);
            let outbox = Outbox::new(limits).on_close(move |close| {
                // There is nothing to close when neither the owner nor a socket is left.
                if let Some(this) = this.upgrade() {
                    this.outbox_closed(close);
                }
            });
            number = outbox.attach(outbox_ready, None);
            let shared = Shared {
                link: LinkState::new(number, resume_grace),
                owner: None,
                socket: Some(Handles { control, tcp }),
                admission: None,
            };
            Self {
                outbox: Arc::new(outbox),
                address,
                requested,
                close_grace,
                max_frame,
                texts,
                tokens,
                counters,
                shared: Mutex::new(shared),
                itself: Weak::clone(itself),
            }
        });
        (link, number)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Every change is completed before anything that could panic.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the outbox, whose messages the client's sockets take out.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Returns the address that its first socket came from.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns when the client asked for its first socket.
    pub fn requested(&self) -> Instant {
        self.requested
    }

    /// Returns the largest message and frame of each socket, in bytes.
    pub fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// Returns the text for a client that has sent something too large.
    pub(crate) fn too_large(&self) -> Option<ByteString> {
        self.texts.too_large(self.max_frame)
    }

    /// Replaces the client's token, if it may come back at all; returns what it needs for that.
    pub fn offer_resumption(&self) -> Option<ResumeOffer> {
        let mut shared = self.lock();
        (!shared.link.grace().is_zero()).then(|| self.renew(&mut shared))
    }

    fn renew(&self, shared: &mut Shared) -> ResumeOffer {
        let (token, digest) = self.tokens.issue(Weak::clone(&self.itself));
        let effects = shared.link.issued(digest);
        self.apply(shared, effects);
        ResumeOffer { token, grace: shared.link.grace() }
    }

    /// Registers a new instance of the owner, which is sent the changes; returns where its client is.
    pub fn register(&self, owner: Recipient<Presence>) -> Presence {
        let mut shared = self.lock();
        shared.owner = Some(owner);
        shared.link.owner_started()
    }

    /// Marks the owner as ended for good: its session can no longer be resumed.
    pub fn owner_ended(&self) {
        let mut shared = self.lock();
        shared.link.owner_ended();
        shared.tidy();
    }

    /// Returns whether the grace period is over; if so the client can no longer come back.
    pub fn give_up(&self) -> bool {
        let mut shared = self.lock();
        let over = shared.link.give_up(Instant::now());
        shared.tidy();
        over
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
        let mut shared = self.lock();
        if !shared.link.may_resume(Instant::now(), token, self.outbox.is_closed()) {
            return Err(ResumeError::CannotResume);
        }
        let admitted = match admit(shared.admission.take().map(|old| *old)) {
            Ok(admitted) => admitted,
            Err((old, too_many)) => {
                shared.admission = old.map(Box::new);
                return Err(ResumeError::TooMany(too_many));
            }
        };
        let effects = shared.link.resume(token);
        self.apply(&mut shared, effects);
        let resumed = self.texts.resumed(&self.renew(&mut shared));
        let number = self.outbox.attach(socket.outbox_ready, Some(resumed));
        shared.socket = Some(Handles { control: socket.control, tcp: socket.tcp });
        let effects = shared.link.attached(number);
        self.apply(&mut shared, effects);
        self.counters.add(SocketCount::Resumed);
        Ok((number, admitted))
    }

    /// Handles the first input of this socket: its client has read the newest token, so no earlier one is valid.
    pub(crate) fn heard(&self, socket: SocketNumber) {
        let mut shared = self.lock();
        let effects = shared.link.heard(socket);
        self.apply(&mut shared, effects);
    }

    /// Sends to the client's socket, if it is still this one.
    pub fn send_to_socket(&self, socket: SocketNumber, command: ToSocket) {
        let shared = self.lock();
        if shared.link.place() == Place::Here(socket)
            && let Some(Handles { control, .. }) = &shared.socket
        {
            // A few for each socket, and a ping in each heartbeat.
            control.do_send(command);
        }
    }

    /// Closes the socket of a client that does not answer, and waits for another one. Returns false if that is not
    /// possible.
    pub fn detach(&self, socket: SocketNumber, close: CloseFrame) -> bool {
        let mut shared = self.lock();
        let closed = self.outbox.is_closed();
        let effects = shared.link.detach(Instant::now(), socket, (close, closed));
        let detached = effects.is_some();
        self.apply(&mut shared, effects.unwrap_or_default());
        detached
    }

    /// Handles the end of a socket, or its approaching end; `admission` is its place among the connections when it has
    /// really ended. Called more than once.
    pub(crate) fn socket_ended(
        &self,
        socket: SocketNumber,
        end: SocketEnd,
        admission: Option<Admission>,
    ) {
        let mut shared = self.lock();
        let closed = self.outbox.is_closed();
        let effects = shared.link.socket_ended(Instant::now(), socket, (end, closed));
        self.apply(&mut shared, effects);
        let place = shared.link.place();
        if matches!(place, Place::Away { lost, .. } if lost == socket) && admission.is_some() {
            shared.admission = admission.map(Box::new);
        }
    }

    /// Handles the close of the outbox.
    fn outbox_closed(&self, close: CloseFrame) {
        if close == CloseFrame::TOO_SLOW {
            self.counters.add(SocketCount::TooSlow);
        }
        let mut shared = self.lock();
        let effects = shared.link.outbox_closed(Instant::now(), close);
        self.apply(&mut shared, effects);
    }

    /// Carries out the effects of a change, in its order and under its lock: the owner must not learn of two changes in
    /// another order than they were made.
    fn apply(&self, shared: &mut Shared, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Close(close) => {
                    if let Some(Handles { control, .. }) = &shared.socket {
                        // Once for each socket.
                        control.do_send(ToSocket::Close(close));
                    }
                }
                Effect::Cut(socket) => self.cut(shared, socket),
                Effect::Detach(socket) => self.outbox.detach(socket),
                Effect::Revoke(token) => self.tokens.revoke(token),
                Effect::Remember(token, close, until) => self.tokens.close(token, close, until),
                Effect::Tell(presence) => {
                    if matches!(presence, Presence::Away(_)) {
                        self.counters.add(SocketCount::Lost);
                    }
                    if let Some(owner) = &shared.owner {
                        // A few for each socket.
                        owner.do_send(presence);
                    }
                }
            }
        }
        shared.tidy();
    }

    /// Cuts the socket's connection if it does not end in time. On a server that cannot cut, the owner does not wait
    /// for it.
    fn cut(&self, shared: &Shared, socket: SocketNumber) {
        let Some(Handles { tcp, .. }) = &shared.socket else { return };
        let this = Weak::clone(&self.itself);
        tcp.cut_after(self.close_grace, Arc::clone(&self.counters), move || {
            if let Some(this) = this.upgrade() {
                this.socket_ended(socket, SocketEnd::Lost, None);
            }
        });
    }
}

impl Shared {
    /// Drops what only a client that is here, or one that is away, has.
    fn tidy(&mut self) {
        let place = self.link.place();
        if !matches!(place, Place::Here(_)) {
            self.socket = None;
        }
        if !matches!(place, Place::Away { .. }) {
            self.admission = None;
        }
    }
}

impl Drop for SocketLink {
    fn drop(&mut self) {
        for token in self.lock().link.tokens() {
            self.tokens.revoke(token);
        }
    }
}

#[cfg(test)]
mod tests;
