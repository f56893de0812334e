//! What a client has done of what it may: no actix, no clock.

use std::time::Instant;

use super::WebRtcLimits;
use crate::rate::{Meter, Verdict};

/// One client's account.
#[derive(Debug)]
pub(crate) struct Account {
    limits: WebRtcLimits,
    data: Meter,
    candidates: Meter,
    offers: Meter,
}

/// What becomes of a message of a data channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    Drop,
    /// Dropped, for the first time in a while: tell the client.
    TellRate,
    TellLarge,
    /// It goes on and on: close its connection.
    Close,
}

impl Account {
    pub(crate) fn new(limits: WebRtcLimits) -> Self {
        let (data, candidates, offers) = Default::default();
        Self { limits, data, candidates, offers }
    }

    pub(crate) fn limits(&self) -> &WebRtcLimits {
        &self.limits
    }

    pub(crate) fn data(&mut self, now: Instant, bytes: usize) -> Fate {
        match self.data.count(&self.limits.data, now, bytes) {
            Verdict::Pass if bytes > self.limits.message as usize => Fate::TellLarge,
            Verdict::Pass => Fate::Pass,
            Verdict::Tell => Fate::TellRate,
            Verdict::Drop => Fate::Drop,
            Verdict::Close => Fate::Close,
        }
    }

    /// None passes; else whether the connection is to be closed.
    pub(crate) fn candidate(&mut self, now: Instant, bytes: usize) -> Option<bool> {
        over(self.candidates.count(&self.limits.candidates, now, bytes))
    }

    /// None passes; else whether the connection is to be closed.
    pub(crate) fn offer(&mut self, now: Instant, bytes: usize) -> Option<bool> {
        over(self.offers.count(&self.limits.offers, now, bytes))
    }
}

fn over(verdict: Verdict) -> Option<bool> {
    match verdict {
        Verdict::Pass => None,
        Verdict::Tell | Verdict::Drop => Some(false),
        Verdict::Close => Some(true),
    }
}

/// Whose an offer is: the session id of its origin line, which no two connections of a client share (RFC 8866 §5.2).
pub(crate) fn origin(sdp: &str) -> Option<&str> {
    let line = sdp.lines().take(MAX_LINES).find_map(|line| line.strip_prefix("o="))?;
    line.split_ascii_whitespace().nth(1)
}

/// Lines in which an origin is looked for: it is the second.
const MAX_LINES: usize = 8;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rate::Rate;

    #[test]
    fn a_client_is_told_first_and_closed_when_it_goes_on() {
        let now = Instant::now();
        let data = Rate {
            messages_per_second: 1,
            burst_messages: 2,
            bytes_per_second: 100,
            burst_bytes: 1_000,
        };
        let mut account =
            Account::new(WebRtcLimits { data, message: 100, ..WebRtcLimits::default() });

        assert_eq!(account.data(now, 100), Fate::Pass);
        assert_eq!(account.data(now, 101), Fate::TellLarge);
        assert_eq!(account.data(now, 1), Fate::TellRate);
        assert_eq!(account.data(now, 1), Fate::TellRate);
        assert_eq!(account.data(now, 1), Fate::Close);
        assert_eq!(account.data(now + Duration::from_secs(10), 1), Fate::Pass);
    }

    #[test]
    fn candidates_and_offers_have_rates_of_their_own() {
        let now = Instant::now();
        let mut account = Account::new(WebRtcLimits::default());

        assert!((0..150).all(|_| account.candidate(now, 100).is_none()));
        assert_eq!(account.candidate(now, 100), Some(false));
        assert!((0..30).all(|_| account.offer(now, 100).is_none()));
        assert!((0..30).all(|_| account.offer(now, 100) == Some(false)));
        assert_eq!(account.offer(now, 100), Some(true));
    }

    #[test]
    fn an_offer_tells_whose_it_is() {
        assert_eq!(origin("v=0\r\no=- 42 2 IN IP4 127.0.0.1\r\ns=-\r\n"), Some("42"));
        assert_eq!(origin("v=0\r\n"), None);
    }
}
