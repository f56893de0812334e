//! Directory of a cluster of cores.

use crate::core::{Call, Outcome};
use crate::directory::{Change, DirectoryError, Key, Whole};
use crate::record::{Claim, Revision, Session};

/// Directory with all its past.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Store {
    generation: u64,
    /// Changes in order; the revision of each is its place, from 1.
    pub(super) changes: Vec<(Key, Option<Record>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Record {
    Session(Session),
    Claim(Claim),
}

impl Store {
    fn get(&self, key: &Key) -> (Option<&Record>, Option<Revision>) {
        let last = self.changes.iter().rposition(|(of, _)| of == key);
        let record = last.and_then(|at| self.changes[at].1.as_ref());
        (record, last.filter(|_| record.is_some()).map(|at| Revision(at as u64 + 1)))
    }

    fn put(&mut self, key: Key, was: Option<Revision>, record: Option<Record>) -> Outcome {
        if self.get(&key).1 != was {
            return Err(DirectoryError::Conflict);
        }
        self.changes.push((key, record));
        Ok(Revision(self.changes.len() as u64))
    }

    pub(super) fn carry_out(&mut self, call: Call) -> Outcome {
        match call {
            Call::Enter(session, was) | Call::Seal(session, was) => {
                self.put(Key::Node(session.node.clone()), was, Some(Record::Session(session)))
            }
            Call::Renew(session, was) => {
                self.put(Key::Node(session.node.clone()), Some(was), Some(Record::Session(session)))
            }
            Call::Claim(room, claim, was) => {
                self.put(Key::Room(room), was, Some(Record::Claim(claim)))
            }
            Call::Forget(key, was) => self.put(key, Some(was), None),
        }
    }

    pub(super) fn change(&self, at: usize) -> Change {
        let (revision, (key, record)) = (Revision(at as u64 + 1), self.changes[at].clone());
        match (key, record) {
            (key, None) => Change::Forgotten(key, revision),
            (Key::Room(room), Some(Record::Claim(claim))) => Change::Claim(room, claim, revision),
            (_, Some(Record::Session(session))) => Change::Session(session, revision),
            (Key::Node(_), Some(Record::Claim(_))) => unreachable!("claims are of rooms"),
        }
    }

    pub(super) fn whole(&self) -> Whole {
        let mut whole = Whole::new(self.generation, Revision(self.changes.len() as u64));
        for at in 0..self.changes.len() {
            if self.get(&self.changes[at].0).1 != Some(Revision(at as u64 + 1)) {
                continue;
            }
            match self.change(at) {
                Change::Session(session, revision) => whole.sessions.push((session, revision)),
                Change::Claim(room, claim, revision) => whole.claims.push((room, claim, revision)),
                _ => {}
            }
        }
        whole
    }
}
