//! Rest of a connection: checks of ICE that wait for the peer's datagrams.
//!
//! The engine wants to be woken each second, to check its path and for statistics: most of the CPU time that a silent
//! connection takes. It needs no timer while the peer is heard: it gets the time with each datagram, and then sends the
//! checks that are due. Chromium checks every 2.5 s, str0m every 3 s.

use std::time::{Duration, Instant};

use super::Session;
use crate::engine::EngineError;

/// Decision whether a connection is at rest: nothing is under way but checks, and the peer is heard.
#[derive(Debug)]
pub(super) struct Rest {
    /// Earliest time at which it is at rest; none before its first traffic.
    from: Option<Instant>,
    /// Silence of the peer after which checks wait no longer.
    silence: Duration,
}

impl Rest {
    pub(super) fn new(disconnected_timeout: Duration) -> Self {
        let silence = disconnected_timeout.saturating_sub(TIME_FOR_CHECKS).min(LONGEST_SILENCE);
        Self { from: None, silence }
    }

    /// Notes that something other than checks is under way.
    pub(super) fn stir(&mut self, now: Instant) {
        self.from = self.from.max(Some(now + UNDER_WAY));
    }

    /// Notes a datagram that is sent.
    pub(super) fn sent(&mut self, now: Instant, datagram: &[u8]) {
        // RFC 7983 §7.
        let stun = datagram.first().is_some_and(|first| *first < 4);
        if !stun {
            self.stir(now);
        }
    }

    /// Notes that the peer is heard, before that at `last`.
    fn heard(&mut self, now: Instant, last: Option<Instant>) {
        let silence = last.map(|last| now.saturating_duration_since(last));
        if silence.is_some_and(|silence| silence > self.silence + ANSWER) {
            self.from = self.from.max(Some(now + WATCHFUL));
        }
    }

    /// Returns when to give the engine the time, which has only checks and statistics to do, at `due`.
    fn wake_up(&self, now: Instant, due: Instant, last_heard: Instant) -> Instant {
        if self.is_allowed(now) && due > now + PACE {
            due.max(last_heard + self.silence)
        } else {
            due
        }
    }

    fn is_allowed(&self, now: Instant) -> bool {
        self.from.is_some_and(|from| from <= now)
    }
}

impl Session {
    /// Notes that the peer has sent something, a STUN message or something else.
    pub(super) fn heard(&mut self, now: Instant, stun: bool) {
        self.rest.heard(now, self.states.last_received());
        self.states.received(now);
        if !stun {
            self.rest.stir(now);
        }
    }

    /// Gives the engine the time before something is written to it. SCTP counts its time-outs from the time that it
    /// knows, and would repeat at once what is written long after.
    pub(super) fn end_rest(&mut self, now: Instant) -> Result<(), EngineError> {
        if !self.rest.is_allowed(now) {
            return Ok(());
        }
        self.rest.stir(now);
        self.engine.handle_timeout(now)
    }

    /// Returns when to give the engine the time, for which it asks at `due`.
    pub(super) fn engine_wake_up(&self, now: Instant, due: Instant) -> Instant {
        let idle =
            self.engine.only_checks_are_due() && !self.jsep.has_media() && self.channels.are_idle();
        match self.states.heard_on_path() {
            Some(last_heard) if idle => self.rest.wake_up(now, due, last_heard),
            _ => due,
        }
    }
}

/// Longest silence of the peer until a check is sent: longer than the interval of str0m's checks, and shorter than
/// that between a peer's proofs of consent (RFC 7675 §5.1: 4 to 6 s).
const LONGEST_SILENCE: Duration = Duration::from_millis(3_200);
/// Time before a silent connection counts as disconnected in which three checks find out whether the peer is there:
/// the engine sends them after 0, 1 and 1.5 s.
const TIME_FOR_CHECKS: Duration = Duration::from_millis(1_800);
/// Time after traffic, and after commands, in which timers of the engine may wait behind its checks: the longest first
/// one is SCTP's (RFC 9260 §16, RTO.Initial), and when it repeats something, that is traffic.
const UNDER_WAY: Duration = Duration::from_secs(3);
/// Longest wait for the answer of a check. After a longer one, something may have been lost.
const ANSWER: Duration = Duration::from_millis(900);
/// Time after a loss in which checks do not wait, so that a lossy path is not taken for a dead one.
const WATCHFUL: Duration = Duration::from_secs(60);
/// Interval between checks of several pairs (RFC 8445 §14, Ta): those that are due at once follow each other.
const PACE: Duration = Duration::from_millis(51);
