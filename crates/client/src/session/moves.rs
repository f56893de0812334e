//! Moves of a client: a second connection to another address, opened while the first one lasts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Loss, Resume, Session, SessionOutput, UNANSWERED, is_for_good, is_plain};
use crate::address::Address;
use crate::error::MoveFailure;
use crate::event::ClientState;
use crate::failure_counter::FailureCounter;

/// Addresses of a client, and the move that goes on.
pub(super) struct Moves {
    /// Address that the application has given.
    first: Arc<Address>,
    /// Address of this connection and of the next.
    present: Arc<Address>,
    /// Address at which the client has joined last.
    joined_at: Option<Arc<Address>>,
    next: Option<Next>,
    /// Moves since the last loss.
    counter: FailureCounter,
    /// Attempts in a row that were led around in a circle.
    circled: u32,
}

/// A second connection.
struct Next {
    to: Arc<Address>,
    resume: Option<String>,
    stage: Stage,
    until: Instant,
    /// The way in which the first connection has ended.
    ended: Option<Loss>,
    /// Whether the peer connection is to be opened anew there.
    replaces: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The server reads what was sent over the first connection.
    Draining,
    Opening,
    /// The client has joined; what is left comes over the first connection.
    Joined,
}

/// What the application is to know of where a client has joined.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The address before, and this one, if they differ.
    pub(crate) moved: Option<(String, String)>,
    /// The client was a member all the time.
    pub(crate) is_seamless: bool,
    /// Its peer connection is to be opened anew.
    pub(crate) replaces: bool,
}

impl Moves {
    pub(super) fn new(first: Arc<Address>) -> Self {
        Self {
            present: Arc::clone(&first),
            first,
            joined_at: None,
            next: None,
            counter: FailureCounter::new(MAX_MOVES, MOVE_TIME),
            circled: 0,
        }
    }

    pub(super) fn present(&self) -> Arc<Address> {
        Arc::clone(&self.present)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next.as_ref().map(|next| next.until)
    }

    /// Handles the loss of the connection, or of an attempt to open one; returns whether too many attempts were led
    /// around in a circle.
    pub(super) fn handle_loss(&mut self, loss: &Loss, open: bool, most: u32) -> bool {
        self.counter.clear();
        if !open {
            // The server to which it was moved may be gone: the application's address leads to another.
            self.present = Arc::clone(&self.first);
        }
        self.circled = if matches!(loss, Loss::Moved(_)) { self.circled + 1 } else { 0 };
        self.circled > 0 && self.circled >= most
    }
}

impl Session {
    /// Returns whether nothing may be sent, because the session is about to leave the first connection.
    pub(crate) fn is_holding(&self) -> bool {
        self.moves.next.as_ref().is_some_and(|next| next.resume.is_some())
    }

    /// Returns whether a new peer of this client may have joined, whose id is not known yet.
    pub(crate) fn awaits_new_peer(&self) -> bool {
        let next = self.moves.next.as_ref();
        next.is_some_and(|next| next.stage == Stage::Opening && next.resume.is_none())
    }

    /// Returns whether the client is a member over the second connection: then it is not read before the switch.
    pub(crate) fn has_joined_next(&self) -> bool {
        self.moves.next.as_ref().is_some_and(|next| next.stage == Stage::Joined)
    }

    /// Notes where the client has joined.
    pub(crate) fn arrive(&mut self, is_seamless: bool, replaces: bool) -> Arrival {
        self.moves.circled = 0;
        let to = self.moves.present();
        let from = self.moves.joined_at.replace(Arc::clone(&to));
        let moved = from.filter(|from| from.url() != to.url());
        let moved = moved.map(|from| (from.url().to_owned(), to.url().to_owned()));
        Arrival { moved, is_seamless, replaces }
    }

    /// Handles the server's order to go on at another address.
    pub(crate) fn handle_order(&mut self, data: &Value, now: Instant) {
        let to = match &data["url"] {
            Value::Null => Some(Arc::clone(&self.moves.first)),
            Value::String(url) => self.moves.present.moved_to(url).map(Arc::new),
            _ => None,
        };
        let Some(to) = to else { return self.stay(MoveFailure::Address, now) };
        if self.moves.counter.add(now) {
            return self.stay(MoveFailure::TooOften, now);
        }
        let token = data["resume"]["token"].as_str().filter(|token| is_plain(token));
        let resume = token.map(str::to_owned);
        let grace = Duration::from_millis(data["resume"]["grace_ms"].as_u64().unwrap_or_default());
        let newest = resume.clone().map(|token| Resume { token, grace });
        if self.state != ClientState::Open {
            // Nothing is lost with this connection.
            self.forget_connection(Some(UNANSWERED));
            self.moves.present = to;
            self.resume = newest;
            return self.open(now);
        }
        self.drop_next();
        // The newest token is the one that counts, wherever the client goes.
        self.resume = newest.or(self.resume.take());
        let replaces = data["webrtc"] == "replace";
        let (stage, until) = (Stage::Draining, now + DRAIN_TIME);
        let drains = resume.is_some();
        self.moves.next = Some(Next { to, resume, stage, until, ended: None, replaces });
        if drains {
            self.outputs.push_back(SessionOutput::Drain);
        } else {
            self.open_next(now);
        }
    }

    /// Handles that the server has read all that was sent over the first connection.
    pub(crate) fn handle_drained(&mut self, now: Instant) {
        if self.moves.next.as_ref().is_some_and(|next| next.stage == Stage::Draining) {
            self.open_next(now);
        }
    }

    /// Handles that the client has joined over the second connection.
    pub(crate) fn joined_next(&mut self, now: Instant) {
        let Some(next) = &mut self.moves.next else { return };
        next.stage = Stage::Joined;
        next.until = now + if next.resume.is_some() { TAKEN_WITHIN } else { OVERLAP };
        if next.ended.is_some() {
            self.switch(now);
        }
    }

    /// Handles the end of the second connection, or of the attempt to open it.
    pub(crate) fn handle_next_loss(&mut self, loss: &Loss, now: Instant) {
        let Some(next) = self.moves.next.take() else { return };
        self.outputs.push_back(SessionOutput::DropNext { code: Some(UNANSWERED) });
        let failure = MoveFailure::Lost(loss.said().1);
        self.outputs.push_back(SessionOutput::MoveFailed(failure));
        if let Some(ended) = next.ended {
            self.handle_loss(ended, now);
        }
    }

    /// Goes on with the second connection alone; [`arrived`](Self::arrived) follows.
    pub(crate) fn switch(&mut self, now: Instant) {
        self.outputs.push_back(SessionOutput::Switch(now));
    }

    /// Handles that the second connection is the only one; returns whether the peer connection is to be opened anew.
    pub(crate) fn arrived(&mut self) -> bool {
        let Some(next) = self.moves.next.take() else { return false };
        self.closing_error = None;
        self.asked = false;
        self.probe_until = None;
        self.moves.present = next.to;
        next.replaces
    }

    /// Returns whether the move goes on though the first connection has ended.
    pub(super) fn outlives(&mut self, loss: &Loss, now: Instant) -> bool {
        let Some(next) = &mut self.moves.next else { return false };
        if next.stage == Stage::Joined {
            self.switch(now);
            return true;
        }
        let ended = match loss {
            Loss::Ended { code: 1000, reason } if reason == TAKEN => {
                Loss::Ended { code: super::ABNORMAL, reason: reason.clone() }
            }
            Loss::Ended { code, .. } if is_for_good(*code) => return false,
            Loss::Ended { code, reason } => Loss::Ended { code: *code, reason: reason.clone() },
            Loss::Unanswered(what) => Loss::Unanswered(what),
            _ => return false,
        };
        next.ended = Some(ended);
        let drains = next.stage == Stage::Draining;
        (self.ping_at, self.probe_until) = (None, None);
        self.outputs.push_back(SessionOutput::Drop { code: None });
        if drains {
            self.open_next(now);
        }
        true
    }

    pub(super) fn handle_move_timeout(&mut self, now: Instant) {
        match self.moves.next.as_ref().map(|next| next.stage) {
            Some(Stage::Draining) => self.open_next(now),
            Some(Stage::Opening) => {
                self.handle_next_loss(&Loss::Unanswered("the server does not let us in"), now);
            }
            Some(Stage::Joined) => self.switch(now),
            None => {}
        }
    }

    /// Forgets the second connection.
    pub(super) fn drop_next(&mut self) {
        if let Some(next) = self.moves.next.take() {
            // A member over the second connection leaves.
            let code = if next.stage == Stage::Joined { 1000 } else { UNANSWERED };
            self.outputs.push_back(SessionOutput::DropNext { code: Some(code) });
        }
    }

    /// Does not move: a member stays where it is, another client tries again later.
    fn stay(&mut self, failure: MoveFailure, now: Instant) {
        if self.state == ClientState::Open {
            self.outputs.push_back(SessionOutput::MoveFailed(failure));
        } else {
            self.handle_loss(Loss::Moved(failure), now);
        }
    }

    fn open_next(&mut self, now: Instant) {
        let limit = self.options.join_timeout;
        let Some(next) = &mut self.moves.next else { return };
        next.stage = Stage::Opening;
        next.until = now + limit;
        let (to, resume) = (Arc::clone(&next.to), next.resume.clone());
        self.outputs.push_back(SessionOutput::OpenNext { to, resume });
    }
}

/// Moves that a client follows within [`MOVE_TIME`]: nodes that point at each other must not keep it busy.
const MAX_MOVES: usize = 8;
const MOVE_TIME: Duration = Duration::from_secs(60);
/// How long a server may take to say that it has read everything.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// Time that the server has to close the first connection, from which the session was taken.
const TAKEN_WITHIN: Duration = Duration::from_secs(2);
/// Time in which the first connection may say that the new peer has joined: in another room it never does.
const OVERLAP: Duration = Duration::from_millis(500);
/// Reason with which a server closes the connection of a session that has gone on over another one.
const TAKEN: &str = "resumed elsewhere";
