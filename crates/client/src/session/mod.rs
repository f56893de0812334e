//! Core of a client's connection: when it is opened, resumed, moved, and given up. It takes times, and does no I/O.

mod moves;
mod output;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) use self::moves::Arrival;
use self::moves::Moves;
pub(crate) use self::output::{Loss, SessionOutput};
use crate::ClientOptions;
use crate::address::Address;
use crate::error::{ConnectError, GaveUpError, ServerError};
use crate::event::{ClientState, StateChange};
use crate::failure_counter::FailureCounter;

/// State of the connection, and what it remembers of earlier ones.
pub(crate) struct Session {
    state: ClientState,
    /// Whether the client has never joined: then nothing is tried again.
    joining: bool,
    resume: Option<Resume>,
    /// Time at which the open connection was opened, or the one to be resumed was lost.
    since: Instant,
    /// Failed attempts in a row.
    failed: u32,
    /// Attempts in a row that the server has refused.
    refused: u32,
    /// Number of times in a row that the room has not admitted the client again.
    rejected: usize,
    /// Causes for which connections have ended, by close code.
    deaths: BTreeMap<u16, FailureCounter>,
    /// Size in bytes of the largest message that the server takes, known once a connection has ended over a larger one,
    /// and when that is forgotten.
    largest: Option<(usize, Instant)>,
    /// The server's error before it closed the connection.
    closing_error: Option<ServerError>,
    /// Whether nothing has come since the last ping.
    asked: bool,
    ping_at: Option<Instant>,
    /// Time by which the server must have proved that it is reachable.
    probe_until: Option<Instant>,
    join_until: Option<Instant>,
    open_at: Option<Instant>,
    moves: Moves,
    options: Terms,
    random: fastrand::Rng,
    outputs: VecDeque<SessionOutput>,
}

/// Options that the session needs.
struct Terms {
    first_delay: Duration,
    longest_delay: Duration,
    attempts: Option<u32>,
    refusals: u32,
    join_timeout: Duration,
    heartbeat: Duration,
}

struct Resume {
    token: String,
    grace: Duration,
}

impl Session {
    pub(crate) fn new(
        address: Arc<Address>,
        options: &ClientOptions,
        random: fastrand::Rng,
        now: Instant,
    ) -> Self {
        let terms = Terms {
            first_delay: options.first_delay,
            longest_delay: options.longest_delay,
            attempts: options.attempts,
            refusals: options.refusals,
            join_timeout: options.join_timeout,
            heartbeat: options.heartbeat,
        };
        let mut session = Self {
            state: ClientState::Connecting,
            joining: true,
            resume: None,
            since: now,
            failed: 0,
            refused: 0,
            rejected: 0,
            deaths: BTreeMap::new(),
            largest: None,
            closing_error: None,
            asked: false,
            ping_at: None,
            probe_until: None,
            join_until: None,
            open_at: None,
            moves: Moves::new(address),
            options: terms,
            random,
            outputs: VecDeque::new(),
        };
        session.open(now);
        session
    }

    pub(crate) fn state(&self) -> ClientState {
        self.state
    }

    /// Returns whether the lost connection can be resumed: then nothing is lost yet.
    pub(crate) fn is_resumable(&self) -> bool {
        self.resume.is_some()
    }

    /// Returns the size in bytes of the largest message that the server takes, if that is known.
    pub(crate) fn largest(&self, now: Instant) -> Option<usize> {
        self.largest.filter(|(_, until)| now < *until).map(|(bytes, _)| bytes)
    }

    pub(crate) fn poll_output(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let times = [self.ping_at, self.probe_until, self.join_until, self.open_at];
        times.into_iter().chain([self.moves.poll_timeout()]).flatten().min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let due = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        if due(self.moves.poll_timeout()) {
            self.handle_move_timeout(now);
        } else if due(self.open_at) {
            self.open(now);
        } else if due(self.join_until) {
            self.handle_loss(Loss::Unanswered("the server does not let us in"), now);
        } else if due(self.probe_until) || (due(self.ping_at) && self.asked) {
            self.handle_loss(Loss::Unanswered("the server does not answer"), now);
        } else if due(self.ping_at) {
            self.asked = true;
            self.ping_at = Some(now + self.options.heartbeat);
            self.outputs.push_back(SessionOutput::Ping);
        }
    }

    /// Reacts to a possible change of the network: reconnects at once, or checks whether the server is still reachable.
    pub(crate) fn wake(&mut self, now: Instant) {
        match self.state {
            ClientState::Waiting => self.open(now),
            ClientState::Open if self.probe_until.is_none() => {
                self.outputs.push_back(SessionOutput::Ping);
                self.probe_until = Some(now + PROBE_TIME);
            }
            _ => {}
        }
    }

    /// Notes that something has come from the server.
    pub(crate) fn heard(&mut self) {
        self.asked = false;
        self.probe_until = None;
    }

    /// Notes an error of the server, after which it may close the connection.
    pub(crate) fn note_closing_error(&mut self, error: &ServerError) {
        if CLOSING_ERRORS.contains(&error.description.as_str()) {
            self.closing_error = Some(error.clone());
        }
    }

    /// Handles that the room has admitted the client. The change of the state is reported by
    /// [`Session::announce_open`], after everything that it brings.
    pub(crate) fn joined(&mut self, resume: Option<&Value>, now: Instant) {
        self.join_until = None;
        self.resume = resume.and_then(|resume| {
            let token = resume["token"].as_str().filter(|token| is_plain(token))?.to_owned();
            Some(Resume { token, grace: Duration::from_millis(resume["grace_ms"].as_u64()?) })
        });
        self.since = now;
        (self.refused, self.rejected) = (0, 0);
        self.state = ClientState::Open;
        self.ping_at = Some(now + self.options.heartbeat);
        if self.joining {
            self.outputs.push_back(SessionOutput::Admitted);
        }
    }

    /// Reports that the client is a member, unless the application knows because it waits for that.
    pub(crate) fn announce_open(&mut self) {
        if std::mem::take(&mut self.joining) {
            return;
        }
        self.change(ClientState::Open, String::new(), None, None);
    }

    /// Handles the end of the connection, or of an attempt to open one.
    pub(crate) fn handle_loss(&mut self, loss: Loss, now: Instant) {
        if matches!(self.state, ClientState::Waiting | ClientState::Closed) {
            return;
        }
        if self.outlives(&loss, now) {
            return;
        }
        let open = self.state == ClientState::Open;
        let (code, reason) = loss.said();
        // A room that cannot admit anyone at present has not rejected this client.
        let rejected = !TRANSIENT.contains(&code)
            && self.closing_error.as_ref().is_some_and(|error| error.code == REJECTED);
        self.forget_connection(match loss {
            Loss::Violation { code, .. } => Some(code),
            Loss::Cut => None,
            _ => open.then_some(UNANSWERED),
        });
        if self.joining {
            return self.fail(loss);
        }
        let by_server = matches!(loss, Loss::Ended { .. });
        if by_server && !rejected && is_for_good(code) {
            let said = self.closing_error.as_ref().map(|error| error.description.clone());
            let reason = said.or((!reason.is_empty()).then_some(reason));
            return self.end(reason.unwrap_or_else(|| "closed by the server".into()), Some(code));
        }
        self.note_limit(now);
        if !matches!(loss, Loss::Unanswered(_)) && FAULTS.contains(&code) && self.died(code, now) {
            return self.give_up("the connection died of the same again and again", code, reason);
        }
        if rejected {
            self.rejected += 1;
            if self.rejected > REPEATS {
                return self.give_up("the room does not let us in again", code, reason);
            }
        }
        let resuming = !open && self.resume.is_some();
        self.keep_session(&loss, open, now);
        if self.moves.handle_loss(&loss, open, self.options.refusals) {
            return self.give_up("servers send us from one to the other", code, reason);
        }
        if self.is_refused(&loss, resuming) {
            return self.give_up("the server refuses us again and again", code, reason);
        }
        if self.options.attempts.is_some_and(|attempts| self.failed >= attempts) {
            return self.end("too many attempts".into(), Some(code));
        }
        self.wait(&loss, rejected, (code, reason), now);
    }

    /// Leaves for good.
    pub(crate) fn close(&mut self) {
        if self.state == ClientState::Closed {
            return;
        }
        self.forget_connection(Some(1000));
        self.end("closed by this client".into(), None);
    }

    fn open(&mut self, now: Instant) {
        self.open_at = None;
        self.closing_error = None;
        self.asked = false;
        self.join_until = Some(now + self.options.join_timeout);
        let resume = self.resume.as_ref().map(|resume| resume.token.clone());
        self.outputs.push_back(SessionOutput::Open { to: self.moves.present(), resume });
        if self.state != ClientState::Connecting {
            self.change(ClientState::Connecting, String::new(), None, None);
        }
    }

    fn fail(&mut self, loss: Loss) {
        let error = match (self.closing_error.take(), loss) {
            (Some(error), _) if error.code == REJECTED => ConnectError::Rejected(error.details),
            (_, Loss::Unreachable(why)) => ConnectError::Unreachable(why),
            (_, Loss::Refused(refusal)) => ConnectError::Refused(refusal),
            (_, Loss::Moved(failure)) => ConnectError::Moved(failure),
            (_, Loss::Unanswered(_) | Loss::Cut) => ConnectError::Timeout,
            (_, Loss::Ended { code, reason } | Loss::Violation { code, reason }) => {
                ConnectError::Closed { code, reason }
            }
        };
        self.state = ClientState::Closed;
        self.outputs.push_back(SessionOutput::Failed(error));
    }

    /// Remembers the size limit over which the server has closed the connection.
    fn note_limit(&mut self, now: Instant) {
        let Some(error) = self.closing_error.as_ref().filter(|error| error.code == TOO_LARGE)
        else {
            return;
        };
        let Some(bytes) = error.details["max_bytes"].as_u64().filter(|bytes| *bytes > 0) else {
            return;
        };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let least = self.largest(now).map_or(bytes, |known| known.min(bytes));
        self.largest = Some((least, now + MEMORY));
    }

    /// Forgets the resume token if the session has ended with the connection, or cannot be resumed any more.
    fn keep_session(&mut self, loss: &Loss, open: bool, now: Instant) {
        let over = match loss {
            Loss::Ended { code, .. } => self.closing_error.is_some() || !RESUMABLE.contains(code),
            // An overloaded server, or a proxy without a server, has not looked at the token.
            Loss::Refused(refusal) => is_final(refusal.status),
            Loss::Unreachable(_) | Loss::Violation { .. } => false,
            Loss::Unanswered(_) | Loss::Moved(_) | Loss::Cut => false,
        };
        if open {
            if now.duration_since(self.since) >= STABLE {
                self.failed = 0;
            }
            self.since = now;
        }
        let lost_for = now.duration_since(self.since);
        if over || self.resume.as_ref().is_some_and(|resume| lost_for > resume.grace) {
            self.resume = None;
        }
    }

    /// Returns whether the server has refused too many attempts in a row.
    fn is_refused(&mut self, loss: &Loss, resuming: bool) -> bool {
        match loss {
            // That the session is over is no refusal of the client.
            Loss::Refused(refusal) if is_final(refusal.status) && !resuming => self.refused += 1,
            _ => self.refused = 0,
        }
        self.refused > 0 && self.refused >= self.options.refusals
    }

    fn wait(&mut self, loss: &Loss, rejected: bool, (code, reason): (u16, String), now: Instant) {
        let longest = self.options.longest_delay;
        let delay = if rejected {
            // The member that keeps the client out may be its own earlier peer, from before the connection was lost.
            longest.mul_f64(REJECTED_DELAYS[self.rejected - 1])
        } else {
            let least = match loss {
                Loss::Refused(refusal) => refusal.retry_after.unwrap_or_default().min(MEMORY),
                _ => Duration::ZERO,
            };
            self.backoff().max(least)
        };
        self.failed = self.failed.saturating_add(1);
        self.open_at = Some(now + delay);
        let said = self.closing_error.as_ref().map_or(reason, |error| error.description.clone());
        self.change(ClientState::Waiting, said, Some(code), Some(delay));
    }

    /// Computes a delay with full jitter, so that clients do not all reconnect at the same moment after a restart of
    /// the server.
    fn backoff(&mut self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failed);
        let most = self.options.first_delay.saturating_mul(doubled).min(self.options.longest_delay);
        most.mul_f64(self.random.f64())
    }

    /// Counts an end for this cause; returns whether there were too many.
    fn died(&mut self, code: u16, now: Instant) -> bool {
        self.deaths.entry(code).or_insert_with(|| FailureCounter::new(REPEATS, MEMORY)).add(now)
    }

    fn give_up(&mut self, why: &str, code: u16, reason: String) {
        let error = self.closing_error.take();
        let gave_up = GaveUpError { why: why.to_owned(), code, reason, error };
        self.outputs.push_back(SessionOutput::GaveUp(gave_up));
        self.end(why.to_owned(), Some(code));
    }

    fn end(&mut self, reason: String, code: Option<u16>) {
        self.resume = None;
        if std::mem::take(&mut self.joining) {
            let closed = ConnectError::Closed { code: 1000, reason: reason.clone() };
            self.outputs.push_back(SessionOutput::Failed(closed));
        }
        self.change(ClientState::Closed, reason, code, None);
    }

    /// Closes and forgets the connection; `code` is for a WebSocket that is still open.
    fn forget_connection(&mut self, code: Option<u16>) {
        self.drop_next();
        self.ping_at = None;
        self.probe_until = None;
        self.join_until = None;
        self.open_at = None;
        self.outputs.push_back(SessionOutput::Drop { code });
    }

    fn change(
        &mut self,
        state: ClientState,
        reason: String,
        code: Option<u16>,
        delay: Option<Duration>,
    ) {
        self.state = state;
        if !self.joining {
            let change = StateChange { state, reason, code, delay };
            self.outputs.push_back(SessionOutput::Changed(change));
        }
    }
}

/// Returns whether the client must not come back: the peer was stopped, the room closed, or the application has said
/// so.
fn is_for_good(code: u16) -> bool {
    code == 1000 || (4000..=4999).contains(&code)
}

/// Returns whether a refusal with this HTTP status is about the client, and not about the server's load.
fn is_final(status: u16) -> bool {
    (400..500).contains(&status) && status != 408 && status != 429
}

/// Returns whether a token can be written in a query as it is.
fn is_plain(token: &str) -> bool {
    token.len() <= MAX_TOKEN
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
}

/// Close code of a connection that has ended without a close frame.
pub(crate) const ABNORMAL: u16 = 1006;
/// This client's close code for a server that does not answer ("Timeout"); the server does not take it for leaving.
const UNANSWERED: u16 = 3008;
/// Close codes of a connection that can be resumed: none, or those of a side that received nothing from the other.
const RESUMABLE: [u16; 3] = [ABNORMAL, 1001, UNANSWERED];
/// Close codes for an error of one side, over something that may come again.
const FAULTS: [u16; 8] = [1002, 1003, 1007, 1008, 1009, 1010, 1011, 1013];
/// Errors after which the server closes the connection, so that they say more than its close code.
const CLOSING_ERRORS: [&str; 3] = ["Could not join room", "Room closed", "Message too large"];
/// Close codes of a server that can admit no one at present.
const TRANSIENT: [u16; 2] = [1012, 1013];
const REJECTED: &str = "could_not_join_room";
const TOO_LARGE: &str = "message_too_large";
/// Number of retries of something that fails in the same way.
const REPEATS: usize = 2;
/// How long a failure is remembered.
const MEMORY: Duration = Duration::from_secs(600);
/// Delays before joining a room again that has not admitted the client, in longest delays: its old peer there may have
/// to time out.
const REJECTED_DELAYS: [f64; REPEATS] = [1.5, 6.0];
/// How long the server may take to answer after a possible change of the network.
const PROBE_TIME: Duration = Duration::from_secs(3);
/// Time after which a connection does not count as failed.
const STABLE: Duration = Duration::from_secs(5);
/// Length limit of a resume token, in bytes.
const MAX_TOKEN: usize = 1_024;

#[cfg(test)]
mod move_tests;
#[cfg(test)]
mod tests;
