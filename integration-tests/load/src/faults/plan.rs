//! Which faults there are, and which come next, from a seed.

use std::fmt;

use integration_tests::history::FaultKind;

/// Fault, with the number of the node or of the server that it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A node is killed, and started again at once.
    Kill(usize),
    /// A node is killed, and started again when its session is over.
    KillForLong(usize),
    /// A node stands still for this many milliseconds.
    Pause(usize, u64),
    /// A node has no network for this many milliseconds.
    Unplug(usize, u64),
    /// A node cannot reach NATS for this many milliseconds, nor the other way round.
    CutFromNats(usize, u64),
    /// What a node sends to NATS is lost for this many milliseconds; what NATS sends is not.
    Mute(usize, u64),
    /// What NATS sends to a node is lost for this many milliseconds; what the node sends is not.
    Deafen(usize, u64),
    /// The server that leads the bucket is killed, and started again after this many milliseconds.
    KillLeader(u64),
    /// The server that leads the bucket stands still for this many milliseconds.
    PauseLeader(u64),
    /// The server that leads the bucket is cut off from the others for this many milliseconds; nodes reach all.
    CutLeader(u64),
    /// One server sends nothing to another for this many milliseconds.
    OneWay(usize, usize, u64),
    /// All servers are killed, and started again after this many milliseconds.
    KillNats(u64),
    /// The bucket is deleted.
    DeleteBucket,
    /// A node is drained, and started again when its process has ended.
    Drain(usize),
    /// A room that all nodes share goes to the next node so many times.
    Move(usize, usize),
    /// The wall clock of a node is so many seconds before that of the machine, for this many milliseconds.
    SetClock(usize, i64, u64),
}

impl Fault {
    /// Names of all.
    pub(super) const NAMES: [&str; 16] = [
        "Kill",
        "KillLeader",
        "Pause",
        "Unplug",
        "CutFromNats",
        "KillNats",
        "Mute",
        "PauseLeader",
        "DeleteBucket",
        "KillForLong",
        "Deafen",
        "CutLeader",
        "Drain",
        "Move",
        "SetClock",
        "OneWay",
    ];

    /// Returns its name.
    pub(super) fn name(&self) -> String {
        let shown = self.to_string();
        shown.split('(').next().unwrap_or_default().to_owned()
    }

    /// Returns a fault of this kind.
    fn of(kind: usize, hold: u64, random: &mut fastrand::Rng) -> Self {
        let node = random.usize(0..3);
        let other = (node + random.usize(1..3)) % 3;
        let short = random.u64(500..4_000);
        // Some holds end in that time, and some do not.
        let long = random.u64(1_000 * hold / 3..1_000 * hold);
        match kind {
            0 => Self::Kill(node),
            1 => Self::KillLeader(short),
            2 => Self::Pause(node, random.u64(1_000..14_000)),
            3 => Self::Unplug(node, long),
            4 => Self::CutFromNats(node, long),
            5 => Self::KillNats(short),
            6 => Self::Mute(node, long),
            7 => Self::PauseLeader(long),
            8 => Self::DeleteBucket,
            9 => Self::KillForLong(node),
            10 => Self::Deafen(node, long),
            11 => Self::CutLeader(long),
            12 => Self::Drain(node),
            13 => Self::Move(random.usize(0..3), random.usize(2..6)),
            14 => {
                let hour = random.i64(1_800..7_200);
                Self::SetClock(node, if random.bool() { hour } else { -hour }, long)
            }
            _ => Self::OneWay(node, other, long),
        }
    }

    pub(super) fn kind(self) -> FaultKind {
        match self {
            Self::Kill(_) | Self::KillForLong(_) => FaultKind::Kill,
            Self::Pause(..) => FaultKind::Pause,
            Self::Unplug(..) | Self::CutFromNats(..) | Self::Mute(..) | Self::Deafen(..) => {
                FaultKind::Network
            }
            Self::Drain(_) => FaultKind::Drain,
            Self::Move(..) => FaultKind::Move,
            Self::SetClock(..) => FaultKind::Clock,
            _ => FaultKind::Directory,
        }
    }

    /// Returns the number of the node that it hits.
    pub(super) fn node(self) -> Option<usize> {
        match self {
            Self::Kill(node)
            | Self::KillForLong(node)
            | Self::Pause(node, _)
            | Self::Unplug(node, _)
            | Self::CutFromNats(node, _)
            | Self::Mute(node, _)
            | Self::Deafen(node, _)
            | Self::Drain(node)
            | Self::SetClock(node, ..) => Some(node),
            _ => None,
        }
    }

    /// Returns whether clients of the node that it hits do not reach it, or must go to others.
    pub(super) fn hits_clients(self) -> bool {
        matches!(
            self,
            Self::Kill(_)
                | Self::KillForLong(_)
                | Self::Pause(..)
                | Self::Unplug(..)
                | Self::Drain(_)
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Endless sequence of faults. All kinds come before one comes again.
pub(super) struct Plan {
    random: fastrand::Rng,
    kinds: Vec<usize>,
    /// For how many seconds a node's session holds.
    hold: u64,
}

impl Plan {
    pub(super) fn new(seed: u64, hold: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), kinds: Vec::new(), hold }
    }
}

impl Iterator for Plan {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        if self.kinds.is_empty() {
            self.kinds = (0..Fault::NAMES.len()).collect();
            self.random.shuffle(&mut self.kinds);
        }
        let kind = self.kinds.pop()?;
        Some(Fault::of(kind, self.hold, &mut self.random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_plan_with_all_kinds() {
        let plan = |seed| Plan::new(seed, 12).take(32).collect::<Vec<_>>();

        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
        for (kind, name) in Fault::NAMES.into_iter().enumerate() {
            assert_eq!(plan(1).iter().filter(|fault| fault.name() == name).count(), 2, "{name}");
            assert_eq!(Fault::of(kind, 12, &mut fastrand::Rng::with_seed(1)).name(), name);
        }
    }
}
