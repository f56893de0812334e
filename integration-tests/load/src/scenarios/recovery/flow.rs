//! Bookkeeping of numbered messages: which came back, which were lost, and whether a fault was injected.

use tokio::time::Instant;

use crate::measure::Waits;

/// Messages that one client sends on one path, and that should all come back.
#[derive(Debug, Default)]
pub(super) struct Flow {
    sent: Vec<Sent>,
    /// Times of faults, each with the time of its recovery.
    down: Vec<(Instant, Option<Instant>)>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    back: Option<Instant>,
}

/// Outcome of the messages of several flows in some period.
pub(super) struct Fate {
    /// Round-trip times of messages that no fault affected.
    pub(super) bystanders: Waits,
    /// Messages that were lost though no fault affected them.
    pub(super) bystanders_lost: u64,
    /// Messages that were under way at a fault, or were sent until it had recovered; and those of them that were lost.
    pub(super) victims: u64,
    pub(super) victims_lost: u64,
}

impl Flow {
    /// Records that a message is sent; returns its number.
    pub(super) fn send(&mut self, at: Instant) -> usize {
        self.sent.push(Sent { at, back: None });
        self.sent.len() - 1
    }

    /// Records that this message has come back; returns when it was sent.
    pub(super) fn back(&mut self, number: usize, at: Instant) -> Option<Instant> {
        let sent = self.sent.get_mut(number)?;
        sent.back = Some(at);
        Some(sent.at)
    }

    /// Records a fault. A flow that is down stays down.
    pub(super) fn fault(&mut self, at: Instant) {
        if !self.is_down() {
            self.down.push((at, None));
        }
    }

    /// Records the recovery, if it was down.
    pub(super) fn recovered(&mut self, at: Instant) {
        if let Some((_, end @ None)) = self.down.last_mut() {
            *end = Some(at);
        }
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.down.last(), Some((_, None)))
    }

    /// Adds the outcome of the messages that were sent in this period.
    pub(super) fn judge(&self, from: Instant, to: Instant, fate: &mut Fate) {
        // When a later message came back: messages stay in order, so by then the missing ones were lost.
        let mut overtaken: Option<Instant> = None;
        for sent in self.sent.iter().rev() {
            if let Some(back) = sent.back {
                overtaken = Some(overtaken.map_or(back, |before| before.min(back)));
            }
            if sent.at < from || sent.at >= to {
                continue;
            }
            let until = sent.back.or(overtaken);
            let hit = |&(fault, end): &(Instant, Option<Instant>)| {
                until.is_none_or(|until| until >= fault) && end.is_none_or(|end| sent.at <= end)
            };
            match (self.down.iter().any(hit), sent.back) {
                (true, back) => {
                    fate.victims += 1;
                    fate.victims_lost += u64::from(back.is_none());
                }
                (false, Some(back)) => fate.bystanders.add(back - sent.at),
                (false, None) => fate.bystanders_lost += 1,
            }
        }
    }
}

impl Default for Fate {
    fn default() -> Self {
        Self { bystanders: Waits::new(), bystanders_lost: 0, victims: 0, victims_lost: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_lost_without_a_fault_counts_as_a_bystander_s() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut flow = Flow::default();
        // Back; lost; back before the fault; under way at the fault; while it was down, lost and not; and after it.
        for sent in [0, 100, 200, 480, 520, 590, 800, 900] {
            flow.send(at(sent));
        }
        flow.fault(at(500));
        flow.recovered(at(600));
        for (number, back) in [(0, 3), (2, 210), (5, 600), (6, 804), (7, 904)] {
            flow.back(number, at(back));
        }

        let mut fate = Fate::default();
        flow.judge(start, at(1_000), &mut fate);

        assert_eq!(fate.bystanders_lost, 1);
        assert_eq!((fate.victims, fate.victims_lost), (3, 2));
        assert_eq!(fate.bystanders.percentile(100.0).round(), 10.0);
    }

    #[tokio::test]
    async fn only_what_was_sent_in_the_time_counts() {
        let start = Instant::now();
        let mut flow = Flow::default();
        flow.send(start);
        flow.send(start + Duration::from_secs(1));

        let mut fate = Fate::default();
        flow.judge(start, start + Duration::from_secs(1), &mut fate);

        assert_eq!((fate.bystanders_lost, fate.victims), (1, 0));
    }
}
