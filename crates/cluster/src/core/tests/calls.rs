//! A single core, whose calls are answered one by one.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::world::timing;
use crate::boot_time::{BootTime, Now};
use crate::core::claim::MOST_ROOMS;
use crate::core::{Call, CallId, Core, Identity, Output, Refused, Ticket, Timing};
use crate::directory::{Change, DirectoryError, Key, Whole};
use crate::node_id::{Incarnation, NodeId};
use crate::record::{Claim, Epoch, Revision, Session, SessionState};

struct Alone {
    core: Core,
    nanos: u64,
}

impl Alone {
    /// Creates a core whose session stands, in a directory with these claims.
    fn new(claims: Vec<(Arc<str>, Claim, Revision)>) -> Self {
        Self::remembering(claims, Duration::from_nanos(10))
    }

    /// Creates such a core, which removes records of no use after this time.
    fn remembering(claims: Vec<(Arc<str>, Claim, Revision)>, memory: Duration) -> Self {
        let me = Identity {
            node: NodeId::new("a1").unwrap(),
            url: None,
            zone: None,
            process: Uuid::from_u128(1),
            term: 1,
            unique: false,
            liveness: None,
        };
        let times = Timing { memory, ..timing(50) };
        let mut alone = Self { core: Core::new(me, times), nanos: 1_000 };
        alone.tell(Core::handle_asked);
        let revision = Revision(claims.len() as u64);
        let mut whole = Whole::new(0, revision);
        whole.claims = claims;
        alone.tell(|core, now| core.handle_change(now, Change::Whole(whole)));
        let (enter, call) = alone.only_call(|call| matches!(call, Call::Enter(..)));
        let Call::Enter(session, None) = call else { panic!("{call:?}") };
        let entered = revision.0 + 1;
        alone.outcome(enter, entered);
        let change = Change::Session(session, Revision(entered));
        alone.tell(|core, now| core.handle_change(now, change));
        assert!(alone.core.stands(alone.now().boot));
        alone.outputs();
        alone
    }

    fn now(&self) -> Now {
        Now { boot: BootTime::from_nanos(self.nanos), unix_ms: self.nanos }
    }

    fn tell(&mut self, input: impl FnOnce(&mut Core, Now)) {
        let now = self.now();
        input(&mut self.core, now);
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.core.poll_output()).collect()
    }

    /// Returns the only call of this kind that is asked for, and its number.
    fn only_call(&mut self, wanted: impl Fn(&Call) -> bool) -> (CallId, Call) {
        let outputs = self.outputs();
        let calls = outputs.iter().filter_map(|output| match output {
            Output::Call(id, call) if wanted(call) => Some((*id, call.clone())),
            _ => None,
        });
        let mut calls: Vec<(CallId, Call)> = calls.collect();
        assert_eq!(calls.len(), 1, "{outputs:?}");
        calls.remove(0)
    }

    fn outcome(&mut self, id: CallId, revision: u64) {
        self.tell(|core, now| core.handle_outcome(now, id, Ok(Revision(revision))));
    }

    fn claim(&mut self, room: &str) {
        self.tell(|core, now| core.handle_claim(now, &room.into(), Ticket(1)));
    }
}

fn is_claim(call: &Call) -> bool {
    matches!(call, Call::Claim(..))
}

fn is_forget(call: &Call) -> bool {
    matches!(call, Call::Forget(..))
}

fn other_session() -> Session {
    let (node, hold) = (NodeId::new("b2").unwrap(), timing(50).hold);
    let incarnation = Incarnation::new(Uuid::from_u128(2), 1);
    let (n, state, gone) = (1, SessionState::Up, Vec::new());
    Session { node, incarnation, n, state, hold, url: None, zone: None, liveness: None, gone }
}

#[test]
fn the_late_word_that_a_record_was_removed_does_not_hide_a_newer_claim() {
    let released = Claim::released(Epoch(1));
    let mut alone = Alone::new(vec![("demo".into(), released, Revision(1))]);
    alone.nanos += 10;
    alone.tell(Core::handle_timeout);
    let (forget, _) = alone.only_call(is_forget);
    let (session, key) = (other_session(), Key::Room("demo".into()));
    let claim = Claim::held(session.node.clone(), session.incarnation, Epoch(9));
    alone.tell(|core, now| core.handle_change(now, Change::Session(session, Revision(3))));
    alone.tell(|core, now| core.handle_change(now, Change::Forgotten(key, Revision(4))));
    let change = Change::Claim("demo".into(), claim, Revision(5));
    alone.tell(|core, now| core.handle_change(now, change));
    alone.outputs();

    alone.outcome(forget, 1);

    alone.claim("demo");
    let outputs = alone.outputs();
    let Some(Output::Answer(_, Err(Refused::Elsewhere { node, .. }))) = outputs.last() else {
        panic!("{outputs:?}")
    };
    assert_eq!(node.as_str(), "b2");
}

#[test]
fn of_a_room_that_was_claimed_for_no_request_nothing_is_left() {
    let mut alone = Alone::new(Vec::new());
    alone.claim("demo");
    let (hold, _) = alone.only_call(is_claim);
    // Longer than a request waits.
    alone.nanos += 15;
    alone.tell(Core::handle_timeout);
    assert!(alone.outputs().iter().any(|output| matches!(output, Output::Answer(_, Err(_)))));

    alone.outcome(hold, 2);
    let (release, call) = alone.only_call(is_claim);
    let Call::Claim(_, Claim { holder: None, .. }, was) = call else { panic!("{call:?}") };
    assert_eq!(was, Some(Revision(2)));
    alone.outcome(release, 3);

    let (_, forget) = alone.only_call(is_forget);
    assert_eq!(forget, Call::Forget(Key::Room("demo".into()), Revision(3)));
}

/// Claims of this process whose answers are lost give no hold: they do not come between two that do.
#[test]
fn a_claim_whose_answer_was_lost_counts_as_no_hold_of_another() {
    let (node, process) = (NodeId::new("a1").unwrap(), Uuid::from_u128(1));
    let earlier = Claim::held(node.clone(), Incarnation::new(process, 0), Epoch(5));
    let claims = vec![("demo".into(), earlier, Revision(1))];
    let mut alone = Alone::remembering(claims, Duration::from_secs(1));
    let (room, mut revision) = (Arc::<str>::from("demo"), 2);
    for seen_late in [false, true] {
        alone.claim("demo");
        let (hold, call) = alone.only_call(is_claim);
        let Call::Claim(_, claim, _) = call else { panic!("{call:?}") };
        alone.nanos += 15;
        let lost = Err(DirectoryError::Unknown("lost".into()));
        alone.tell(|core, now| core.handle_outcome(now, hold, lost));
        revision += 1;
        let written = Change::Claim(Arc::clone(&room), claim, Revision(revision));
        alone.tell(|core, now| core.handle_change(now, written));
        // No request waits for it any more, and it is given back.
        alone.nanos += 4;
        alone.tell(Core::handle_timeout);
        let (release, call) = alone.only_call(is_claim);
        let Call::Claim(_, released @ Claim { holder: None, .. }, _) = call else {
            panic!("{call:?}")
        };
        revision += 1;
        if seen_late {
            alone.outcome(release, revision);
        } else {
            let change = Change::Claim(Arc::clone(&room), released, Revision(revision));
            alone.tell(|core, now| core.handle_change(now, change));
            alone.outcome(release, revision);
        }
        alone.outputs();
    }

    alone.claim("demo");
    let (hold, _) = alone.only_call(is_claim);
    alone.outcome(hold, revision + 1);

    let outputs = alone.outputs();
    let granted = outputs.iter().find_map(|output| match output {
        Output::Answer(_, Ok(granted)) => Some(granted.after),
        _ => None,
    });
    assert_eq!(granted, Some(Some(Epoch(5))), "{outputs:?}");
}

#[test]
fn records_of_rooms_are_bounded_and_the_more_there_are_the_more_are_removed_at_once() {
    let room = |number: usize| {
        let revision = Revision(number as u64 + 1);
        (format!("room {number}").into(), Claim::released(Epoch(1)), revision)
    };
    let mut alone = Alone::new((0..MOST_ROOMS).map(room).collect());

    alone.claim("fresh");
    let outputs = alone.outputs();
    let refused =
        |output: &Output| matches!(output, Output::Answer(_, Err(Refused::Unavailable(_))));
    assert!(outputs.iter().any(refused), "{outputs:?}");
    alone.claim("room 7");
    alone.only_call(is_claim);

    for _ in 0..2 {
        alone.nanos += 10;
        alone.tell(Core::handle_timeout);
        let forgets = |output: &Output| matches!(output, Output::Call(_, call) if is_forget(call));
        assert_eq!(alone.outputs().iter().filter(|output| forgets(output)).count(), 1_024);
    }
}
