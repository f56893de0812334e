//! State of a socket link: which socket is the client's, whether the client may come back, and by which token. No lock,
//! no clock, no actor.

use std::borrow::Cow;
use std::time::Duration;

use callboard_outbox::{CloseFrame, SocketNumber};
use tokio::time::Instant;

use super::Presence;
use crate::messages::SocketEnd;
use crate::resume_tokens::TokenDigest;

/// State of one link, from its first socket on.
#[derive(Debug)]
pub(super) struct LinkState {
    place: Place,
    /// The owner has ended, or is about to.
    over: bool,
    /// How long the owner waits for another socket; zero: not at all.
    grace: Duration,
    /// The newest token.
    token: Option<TokenDigest>,
    /// The token before the newest, by which the client may have come back, until it is known to have read the newest:
    /// a connection that is lost right after it was opened, or while the newest is on its way, must not cost the
    /// session. Boxed, as most clients never come back.
    used: Option<Box<TokenDigest>>,
}

/// Where the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind this socket.
    Here(SocketNumber),
    /// Behind none, since it has lost this one. It may come back until then.
    Away { lost: SocketNumber, until: Instant },
    /// It cannot come back.
    Gone,
}

/// What a change demands of others, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Orders the socket that the client has had until now to close.
    Close(CloseFrame),
    /// Cuts the connection of that socket if it does not end in time.
    Cut(SocketNumber),
    /// Leaves the outbox's messages to another socket than this one.
    Detach(SocketNumber),
    /// Makes a token invalid.
    Revoke(TokenDigest),
    /// Remembers for a client with this token that it was closed for good, until then.
    Remember(TokenDigest, CloseFrame, Instant),
    /// Tells the owner.
    Tell(Presence),
}

impl LinkState {
    pub(super) fn new(first: SocketNumber, grace: Duration) -> Self {
        Self { place: Place::Here(first), over: false, grace, token: None, used: None }
    }

    /// Creates the state of a link whose client was disconnected by an earlier process, and may come back until then.
    pub(super) fn restored(
        grace: Duration,
        until: Instant,
        token: Option<TokenDigest>,
        used: Option<TokenDigest>,
    ) -> Self {
        let place = Place::Away { lost: SocketNumber::default(), until };
        Self { place, over: false, grace, token, used: used.map(Box::new) }
    }

    /// Returns the newest token, the one that was used last while it is valid, and how long the client may stay away
    /// from now on; none if it cannot come back.
    pub(super) fn resumption(
        &self,
        now: Instant,
    ) -> Option<(Option<TokenDigest>, Option<TokenDigest>, Duration)> {
        let left = match self.place {
            Place::Here(_) => self.grace,
            Place::Away { until, .. } => until.saturating_duration_since(now),
            Place::Gone => return None,
        };
        let can = !self.over && !left.is_zero() && self.tokens().next().is_some();
        can.then(|| (self.token, self.used.as_deref().copied(), left))
    }

    /// Returns how long the owner waits for another socket.
    pub(super) fn grace(&self) -> Duration {
        self.grace
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Returns the tokens that are known to the table of tokens.
    pub(super) fn tokens(&self) -> impl Iterator<Item = TokenDigest> + use<> {
        self.token.into_iter().chain(self.used.as_deref().copied())
    }

    /// Handles the start of an instance of the owner; returns what it needs to know.
    pub(super) fn owner_started(&mut self) -> Presence {
        self.over = false;
        match self.place {
            Place::Here(number) => Presence::Here(number),
            Place::Away { until, .. } => Presence::Away(until),
            Place::Gone => Presence::Gone,
        }
    }

    /// Handles the end of the owner, for good.
    pub(super) fn owner_ended(&mut self) {
        self.over = true;
        if matches!(self.place, Place::Away { .. }) {
            self.place = Place::Gone;
        }
    }

    /// Returns whether the client cannot come back any more, as its grace period is over.
    pub(super) fn give_up(&mut self, now: Instant) -> bool {
        let over = match self.place {
            Place::Here(_) => false,
            Place::Away { until, .. } => until <= now,
            Place::Gone => true,
        };
        if over {
            self.place = Place::Gone;
        }
        over
    }

    /// Handles a new token, which replaces the newest one. That stays valid for a client that is lost before it has
    /// read the new one.
    pub(super) fn issued(&mut self, token: TokenDigest) -> Vec<Effect> {
        let Some(replaced) = self.token.replace(token) else { return Vec::new() };
        let kept = **self.used.get_or_insert_with(|| Box::new(replaced));
        (kept != replaced).then_some(Effect::Revoke(replaced)).into_iter().collect()
    }

    /// Returns whether a client with this token may come back; `closed`: the outbox is.
    pub(super) fn may_resume(&self, now: Instant, token: TokenDigest, closed: bool) -> bool {
        let in_time = match self.place {
            Place::Here(_) => self.token == Some(token),
            // While the socket that it has opened is there, a used token opens no other.
            Place::Away { until, .. } => now < until && self.tokens().any(|valid| valid == token),
            Place::Gone => false,
        };
        in_time && !self.over && !closed
    }

    /// Handles the return of a client that [may](Self::may_resume) come back with this token. A new token and a new
    /// socket follow.
    pub(super) fn resume(&mut self, token: TokenDigest) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Place::Here(number) = self.place {
            effects.extend([Effect::Close(RESUMED_ELSEWHERE), Effect::Cut(number)]);
        }
        let used = self.used.replace(Box::new(token)).filter(|used| **used != token);
        effects.extend(used.map(|used| Effect::Revoke(*used)));
        effects
    }

    /// Handles that another process goes on with the session of a client that [may](Self::may_resume) come back.
    pub(super) fn taken(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Place::Here(number) = self.place {
            let close = Effect::Close(RESUMED_ELSEWHERE);
            effects.extend([close, Effect::Detach(number), Effect::Cut(number)]);
        }
        effects.extend(self.tokens().map(Effect::Revoke));
        (self.place, self.over) = (Place::Gone, true);
        (self.token, self.used) = (None, None);
        effects
    }

    /// Handles the socket of a client that has come back.
    pub(super) fn attached(&mut self, socket: SocketNumber) -> Vec<Effect> {
        self.place = Place::Here(socket);
        vec![Effect::Tell(Presence::Here(socket))]
    }

    /// Handles the first input of this socket: its client has read the newest token, so no earlier one is valid.
    pub(super) fn heard(&mut self, socket: SocketNumber) -> Vec<Effect> {
        let used = (self.place == Place::Here(socket)).then(|| self.used.take()).flatten();
        used.into_iter().map(|used| Effect::Revoke(*used)).collect()
    }

    /// Closes the socket of a client that does not answer, and waits for another one; none if that is not possible.
    pub(super) fn detach(
        &mut self,
        now: Instant,
        socket: SocketNumber,
        (close, closed): (CloseFrame, bool),
    ) -> Option<Vec<Effect>> {
        if self.place != Place::Here(socket) || self.grace.is_zero() || closed {
            return None;
        }
        let mut effects = vec![Effect::Close(close)];
        effects.extend(self.lose(now, socket));
        Some(effects)
    }

    /// Handles the end of a socket, or its approaching end. Called more than once.
    pub(super) fn socket_ended(
        &mut self,
        now: Instant,
        socket: SocketNumber,
        (end, closed): (SocketEnd, bool),
    ) -> Vec<Effect> {
        if self.place != Place::Here(socket) {
            return Vec::new();
        }
        if end == SocketEnd::Lost && !self.grace.is_zero() && !closed {
            return self.lose(now, socket);
        }
        self.place = Place::Gone;
        vec![Effect::Detach(socket), Effect::Cut(socket), Effect::Tell(Presence::Gone)]
    }

    fn lose(&mut self, now: Instant, lost: SocketNumber) -> Vec<Effect> {
        let until = now + self.grace;
        self.place = Place::Away { lost, until };
        vec![Effect::Cut(lost), Effect::Detach(lost), Effect::Tell(Presence::Away(until))]
    }

    /// Handles the close of the outbox: ends the socket, or the owner if there is no socket.
    pub(super) fn outbox_closed(&mut self, now: Instant, close: CloseFrame) -> Vec<Effect> {
        // The client may be away, or gone without the server noticing: it is told when it comes back.
        let tokens = self.tokens().filter(|_| is_for_good(&close));
        let mut effects: Vec<Effect> =
            tokens.map(|token| Effect::Remember(token, close.clone(), now + self.grace)).collect();
        match self.place {
            Place::Here(number) => effects.push(Effect::Cut(number)),
            Place::Away { .. } => {
                self.place = Place::Gone;
                effects.push(Effect::Tell(Presence::Gone));
            }
            Place::Gone => {}
        }
        effects
    }
}

/// Returns whether a client with this close must not come back.
fn is_for_good(close: &CloseFrame) -> bool {
    matches!(close.code, 1000 | 4000..=4999)
}

/// Close 1000: the client has come back with another socket before this one had ended.
pub(super) const RESUMED_ELSEWHERE: CloseFrame =
    CloseFrame { code: 1000, reason: Cow::Borrowed("resumed elsewhere") };

#[cfg(test)]
mod tests;
