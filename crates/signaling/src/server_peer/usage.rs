//! Usage of one client against its limits, without actix and without a clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use callboard_websocket::{RateMeter, RateVerdict};

use super::{DescriptionBudget, WebRtcLimits};

/// Usage of one client at one server peer.
#[derive(Debug)]
pub(crate) struct Usage {
    limits: WebRtcLimits,
    data: RateMeter,
    candidates: RateMeter,
    mutes: RateMeter,
    lasting: LastingUsage,
}

/// Usage that a new server peer does not reset: offers, and the cost of descriptions. Kept as long as the client's
/// peer; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastingUsage(Arc<Mutex<NegotiationUsage>>);

#[derive(Debug, Default)]
struct NegotiationUsage {
    offers: RateMeter,
    descriptions: BudgetUsage,
}

impl LastingUsage {
    fn lock(&self) -> MutexGuard<'_, NegotiationUsage> {
        // Each change is complete in itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Usage of a budget (a token bucket, kept as the time at which it is full again).
#[derive(Debug, Default)]
struct BudgetUsage(Option<Instant>);

impl BudgetUsage {
    /// Returns the time at which the budget is full again after this use, or how long it takes until the use is
    /// possible.
    fn after(
        &self,
        budget: &DescriptionBudget,
        now: Instant,
        cost: u32,
    ) -> Result<Instant, Duration> {
        let every = budget.every();
        let full_at = self.0.map_or(now, |at| at.max(now)) + every.saturating_mul(cost);
        let owed = full_at.duration_since(now);
        match owed.checked_sub(every.saturating_mul(budget.burst)).filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(wait),
            None => Ok(full_at),
        }
    }
}

/// Decision about a message of a data channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataVerdict {
    Pass,
    Drop,
    /// Dropped, for the first time in a while: the client is told.
    TellRate,
    TellLarge,
    /// Over the limit for too long: the peer connection is closed.
    Close,
}

impl Usage {
    pub(crate) fn new(limits: WebRtcLimits) -> Self {
        Self::going_on(limits, LastingUsage::default())
    }

    /// Returns the usage at the next server peer of a client.
    pub(crate) fn going_on(limits: WebRtcLimits, lasting: LastingUsage) -> Self {
        let (data, candidates, mutes) = Default::default();
        Self { limits, data, candidates, mutes, lasting }
    }

    pub(crate) fn limits(&self) -> &WebRtcLimits {
        &self.limits
    }

    pub(crate) fn data(&mut self, now: Instant, bytes: usize) -> DataVerdict {
        match self.data.count(&self.limits.data, now, bytes) {
            RateVerdict::Pass if bytes > self.limits.message as usize => DataVerdict::TellLarge,
            RateVerdict::Pass => DataVerdict::Pass,
            RateVerdict::Tell => DataVerdict::TellRate,
            RateVerdict::Drop => DataVerdict::Drop,
            RateVerdict::Close => DataVerdict::Close,
        }
    }

    /// Counts a candidate. None lets it pass; otherwise returns whether the peer connection must be closed.
    pub(crate) fn candidate(&mut self, now: Instant, bytes: usize) -> Option<bool> {
        over(self.candidates.count(&self.limits.candidates, now, bytes))
    }

    /// Counts a track that is muted, or no longer, which all in the room are told: as often as candidates. Returns
    /// whether it passes.
    pub(crate) fn mute(&mut self, now: Instant) -> bool {
        over(self.mutes.count(&self.limits.candidates, now, 0)).is_none()
    }

    /// Spends the cost of a description, if `others` can be spent as well.
    ///
    /// # Errors
    /// The time until the client can spend it; nothing is spent.
    pub(crate) fn describe(
        &self,
        now: Instant,
        cost: u32,
        others: impl FnOnce() -> Result<(), Duration>,
    ) -> Result<(), Duration> {
        let mut lasting = self.lasting.lock();
        let after = lasting.descriptions.after(&self.limits.descriptions, now, cost)?;
        others()?;
        lasting.descriptions = BudgetUsage(Some(after));
        Ok(())
    }

    /// Counts an offer or answer. None lets it pass; otherwise returns whether the peer connection must be closed.
    pub(crate) fn offer(&self, now: Instant, bytes: usize) -> Option<bool> {
        over(self.lasting.lock().offers.count(&self.limits.offers, now, bytes))
    }
}

fn over(verdict: RateVerdict) -> Option<bool> {
    match verdict {
        RateVerdict::Pass => None,
        RateVerdict::Tell | RateVerdict::Drop => Some(false),
        RateVerdict::Close => Some(true),
    }
}

/// Returns the number of media sections in a description, without parsing the rest.
pub(crate) fn sections(sdp: &str) -> usize {
    sdp.lines().filter(|line| line.starts_with("m=")).count()
}

/// Returns the cost of a description, in sections: one with few sections may have many lines.
pub(crate) fn cost(sdp: &str, sections: usize) -> u32 {
    u32::try_from(sections.max(sdp.len() / SECTION).max(1)).unwrap_or(u32::MAX)
}

/// Size of a browser's section with all its codecs, in bytes.
const SECTION: usize = 6 << 10;

/// Returns the session id of an offer's origin line, which no two peer connections of a client share (RFC 8866 §5.2).
pub(crate) fn origin(sdp: &str) -> Option<&str> {
    let line = sdp.lines().take(MAX_LINES).find_map(|line| line.strip_prefix("o="))?;
    line.split_ascii_whitespace().nth(1)
}

/// Number of lines that are searched for the origin: it is the second.
const MAX_LINES: usize = 8;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from")]
mod tests {
    use std::time::Duration;

    use super::*;
    use callboard_websocket::Rate;

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
            Usage::new(WebRtcLimits { data, message: 100, ..WebRtcLimits::default() });

        assert_eq!(account.data(now, 100), DataVerdict::Pass);
        assert_eq!(account.data(now, 101), DataVerdict::TellLarge);
        assert_eq!(account.data(now, 1), DataVerdict::TellRate);
        assert_eq!(account.data(now, 1), DataVerdict::TellRate);
        assert_eq!(account.data(now, 1), DataVerdict::Close);
        assert_eq!(account.data(now + Duration::from_secs(10), 1), DataVerdict::Pass);
    }

    #[test]
    fn candidates_and_offers_have_rates_of_their_own() {
        let now = Instant::now();
        let mut account = Usage::new(WebRtcLimits::default());

        assert!((0..150).all(|_| account.candidate(now, 100).is_none()));
        assert_eq!(account.candidate(now, 100), Some(false));
        assert!((0..30).all(|_| account.offer(now, 100).is_none()));
        assert!((0..30).all(|_| account.offer(now, 100) == Some(false)));
        assert_eq!(account.offer(now, 100), Some(true));
    }

    #[test]
    fn descriptions_have_a_budget() {
        let now = Instant::now();
        let descriptions = DescriptionBudget { burst: 100, per_second: 10 };
        let limits = WebRtcLimits { descriptions, ..WebRtcLimits::default() };
        let account = Usage::new(limits);
        let describe =
            |seconds, cost| account.describe(now + Duration::from_secs(seconds), cost, || Ok(()));

        assert_eq!(describe(0, 64), Ok(()));
        assert_eq!(describe(0, 64), Err(Duration::from_millis(2_800)));
        assert_eq!(describe(0, 36), Ok(()), "what was refused cost nothing");
        assert_eq!(describe(1, 10), Ok(()));
        assert!(describe(1, 1).is_err());
        let refused = Duration::from_secs(7);
        assert_eq!(
            account.describe(now + Duration::from_secs(60), 100, || Err(refused)),
            Err(refused)
        );
        assert_eq!(describe(60, 100), Ok(()), "what others refuse costs nothing");
        // The next server peer of the same client.
        let next = Usage::going_on(limits, account.lasting.clone());
        assert!(next.describe(now + Duration::from_secs(60), 1, || Ok(())).is_err());
    }

    #[test]
    fn a_description_costs_by_its_sections_or_by_its_length() {
        let section = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n";
        assert_eq!(sections(&section.repeat(3)), 3);
        assert_eq!(cost("", 0), 1);
        assert_eq!(cost(section, 64), 64);
        assert_eq!(cost(&"a".repeat(600 << 10), 1), 100);
    }

    #[test]
    fn an_offer_tells_whose_it_is() {
        assert_eq!(origin("v=0\r\no=- 42 2 IN IP4 127.0.0.1\r\ns=-\r\n"), Some("42"));
        assert_eq!(origin("v=0\r\n"), None);
    }
}
