//! Times by which sessions hold and end.

use std::time::Duration;

/// Times by which sessions hold and end, all from one: for how long a renewal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Timing {
    /// Time from the sending of a renewal for which its session holds.
    pub(crate) hold: Duration,
    /// Time without a new revision after which a session of the same hold is dead.
    ///
    /// The clocks of two machines may run differently: a session must have lapsed by its node's clock before it is dead
    /// by another's. With rates 10 % off each, one too slow and one too fast, that takes 1.1 ÷ 0.9 = 1.22 times the
    /// hold.
    pub(crate) silence: Duration,
    /// Time between two renewals: as many tries as there are in a hold may fail but one.
    pub(crate) renewal: Duration,
    /// Time after which a silent node is no longer told to clients as the place of its rooms, if it has the same hold.
    pub(crate) doubt: Duration,
    /// Time between two looks at whether another node's process listens.
    pub(crate) look: Duration,
    /// Time for which a finding that a node's process is gone stands in the directory before that node is sealed: one
    /// that lives, and reaches the directory, renews its session in that time.
    pub(crate) objection: Duration,
    /// Longest time that a request for a room waits for the directory.
    pub(crate) patience: Duration,
    /// Time after which a record that is of no use is removed: by then its epoch has been left behind by every wall
    /// clock that is not an hour off.
    pub(crate) memory: Duration,
}

impl Timing {
    pub(crate) fn new(hold: Duration) -> Self {
        Self {
            hold,
            silence: hold * 5 / 4,
            renewal: hold / 5,
            doubt: hold * 3 / 5,
            look: (hold / 30).min(LONGEST_LOOK),
            objection: (hold / 50).min(LONGEST_OBJECTION),
            patience: hold * 3 / 10,
            memory: MEMORY,
        }
    }

    /// Returns the time without a new revision after which a session of this hold is dead: by the longer hold, if the
    /// nodes have different ones.
    pub(crate) fn silence_of(&self, hold: Duration) -> Duration {
        self.silence.saturating_add(hold.saturating_sub(self.hold).saturating_mul(5) / 4)
    }

    /// Returns the time after which a silent node of this hold is no longer told to clients.
    pub(crate) fn doubt_of(&self, hold: Duration) -> Duration {
        self.doubt.saturating_add(hold.saturating_sub(self.hold).saturating_mul(3) / 5)
    }
}

const LONGEST_LOOK: Duration = Duration::from_millis(500);
/// A change of the directory is seen after 14 ms (p99 of three servers of NATS), and written in as long.
const LONGEST_OBJECTION: Duration = Duration::from_millis(300);
/// Time after which a record that is of no use is removed.
const MEMORY: Duration = Duration::from_secs(3_600);
