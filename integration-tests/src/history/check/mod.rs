//! Check of a history. It does no I/O.

mod messages;
mod other;
mod peers;
mod rooms;
mod world;

use std::fmt;

use self::world::World;
use super::line::Line;

/// What must be true of every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Invariant {
    /// No two holds of a room are good at once, and no room that is closed with its hold does anything beside another.
    OneHome = 1,
    /// The numbers of a room's holds only grow.
    EpochsGrow,
    /// A client is told of a peer that it has joined, then perhaps, once, that it has left.
    JoinedThenLeft,
    /// All who were there before and after are told of a peer's end.
    EachEndIsTold,
    /// From one peer to another messages arrive once and in order; one that is missing has a cause that one side was
    /// told, or a node that has died.
    Order,
    /// While a node hands over its rooms and clients, a room goes to another node on purpose, or a wall clock is set,
    /// no message is lost.
    NoGapInMoves,
    /// A message to a list reaches all of it or none, and it is of the client that the server names.
    AllOrNothing,
    /// After the last fault all clients of a room know the same members: those who are connected.
    OneRoster,
    /// No client waits for long without being told something.
    NobodyWaits,
    /// One token admits one socket.
    TokenOnce,
    /// `on_join` is called once for each member, and `on_leave` once for each that was one.
    JoinsAndLeaves,
    /// Descriptors, actors, consumers and subscriptions do not become more.
    NothingLeaks,
    /// Rooms that a fault does not concern lose nothing in it, and are as fast as before.
    BystandersNoticeNothing,
    /// A node lives also while its directory does not.
    LivesWithoutDirectory,
    /// Of a drain, a move and a clock that is set no client is told anything but where to go: none loses its
    /// connection, no other leaves or comes back, and no room restarts.
    MovesAreUntold,
    /// Meanwhile no node's session ends; and since a clock is set, no room is opened anew.
    SessionsLast,
}

/// Violation of an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What is wrong.
    pub says: String,
    /// Indexes of the lines that show it.
    pub lines: Vec<usize>,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::OneHome,
        Self::EpochsGrow,
        Self::JoinedThenLeft,
        Self::EachEndIsTold,
        Self::Order,
        Self::NoGapInMoves,
        Self::AllOrNothing,
        Self::OneRoster,
        Self::NobodyWaits,
        Self::TokenOnce,
        Self::JoinsAndLeaves,
        Self::NothingLeaks,
        Self::BystandersNoticeNothing,
        Self::LivesWithoutDirectory,
        Self::MovesAreUntold,
        Self::SessionsLast,
    ];
}

/// Its number and name: `5 Order`.
impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self:?}", *self as u8)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.says)
    }
}

/// Checks a history: lines in the order of their times. Returns what is violated, in that order.
///
/// A line that should come is missed only if the history goes on for long enough after it.
pub fn check(lines: &[Line]) -> Vec<Violation> {
    let mut world = World::new(lines);
    let mut found = Found::default();
    let mut rules: [&mut dyn Rule; 4] = [
        &mut rooms::Rooms::default(),
        &mut peers::Peers::default(),
        &mut messages::Messages::default(),
        &mut other::Other::default(),
    ];
    for (at, line) in lines.iter().enumerate() {
        for rule in &mut rules {
            rule.see(at, line, &world, &mut found);
        }
        world.apply(at, line);
    }
    for rule in &mut rules {
        rule.end(&mut found);
    }
    found.0
}

/// Some of the invariants.
trait Rule<'a> {
    /// Sees the next line, in the world as it was before it.
    fn see(&mut self, at: usize, line: &'a Line, world: &World<'a>, found: &mut Found);

    /// Sees the end.
    fn end(&mut self, found: &mut Found) {
        _ = found;
    }
}

/// What was found.
#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, invariant: Invariant, lines: impl Into<Vec<usize>>, says: String) {
        self.0.push(Violation { invariant, says, lines: lines.into() });
    }
}
