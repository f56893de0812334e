//! Rooms that are watched for the next claim.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::node_id::NodeId;
use crate::record::Epoch;

/// Claim that was waited for: who has made it, and its epoch.
pub(crate) type Claimed = (NodeId, Epoch);

/// Someone who waits for a claim after an epoch.
type Watch = (Epoch, oneshot::Sender<Claimed>);

/// Rooms that are watched for a claim after an epoch.
#[derive(Default)]
pub(crate) struct Watches {
    by_room: HashMap<Arc<str>, Vec<Watch>>,
    /// Number of rooms at which those that are watched no more are looked for.
    sweep_at: usize,
}

impl Watches {
    pub(crate) fn add(&mut self, room: Arc<str>, after: Epoch, answer: oneshot::Sender<Claimed>) {
        if self.by_room.len() >= self.sweep_at {
            self.by_room.retain(|_, watches| {
                watches.retain(|(_, answer)| !answer.is_closed());
                !watches.is_empty()
            });
            self.sweep_at = 2 * self.by_room.len() + FEW;
        }
        self.by_room.entry(room).or_default().push((after, answer));
    }

    /// Answers those that watch this room, or any if it is none, and for which this returns a claim.
    pub(crate) fn answer(
        &mut self,
        room: Option<&Arc<str>>,
        claimed_by: &dyn Fn(&str, Epoch) -> Option<Claimed>,
    ) {
        let Some(room) = room else {
            for room in self.by_room.keys().cloned().collect::<Vec<_>>() {
                self.answer(Some(&room), claimed_by);
            }
            return;
        };
        let Some(watches) = self.by_room.get_mut(room) else { return };
        for (after, answer) in std::mem::take(watches) {
            match claimed_by(room, after) {
                Some(claim) => _ = answer.send(claim),
                None if answer.is_closed() => {}
                None => watches.push((after, answer)),
            }
        }
        if watches.is_empty() {
            self.by_room.remove(room);
        }
    }
}

/// Number of rooms among which none is looked for.
const FEW: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_watches_a_room_is_told_once_and_who_does_no_more_is_forgotten() {
        let mut watches = Watches::default();
        let by = || (NodeId::new("a1").unwrap(), Epoch(9));
        let room = |number: usize| -> Arc<str> { format!("room {number}").into() };
        let (answer, mut early) = oneshot::channel();
        watches.add(room(0), Epoch(1), answer);
        let (answer, mut late) = oneshot::channel();
        watches.add(room(0), Epoch(2), answer);

        watches.answer(Some(&room(0)), &|_, after| (after < Epoch(2)).then(by));
        assert!(early.try_recv().is_ok() && late.try_recv().is_err());
        watches.answer(None, &|_, after| (after < Epoch(3)).then(by));
        assert!(late.try_recv().is_ok());
        for number in 0..1_000 {
            watches.add(room(number), Epoch(1), oneshot::channel().0);
        }

        assert!(watches.by_room.len() <= FEW);
    }
}
