//! Schedules of faults: all with a few of them, and random ones with many.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use proptest::prelude::*;

use super::world::{Breach, MODES, Mode, World, timing};

/// Rates of the nodes' clocks, in tenths of the true one: the first holds the room, the second takes it.
const RATES: [[u64; 3]; 3] = [[10, 10, 10], [9, 11, 10], [11, 9, 10]];
/// Hold, in tenths of a step.
const HOLD: u64 = 50;

/// Holds of random schedules, in tenths of a step.
const HOLDS: [[u64; 3]; 4] = [[50, 50, 50], [100, 100, 100], [100, 50, 50], [50, 100, 50]];

/// Search through all schedules with at most some faults.
struct Search {
    seen: HashSet<u64>,
    states: usize,
    /// Whether the directory may lose its last changes.
    forgets: bool,
    /// Whether the room is given from one node to another.
    gives: bool,
}

impl Search {
    /// Goes through all that can follow. Returns a schedule that breaches what must hold, if there is one.
    fn go(
        &mut self,
        world: &World,
        steps: u32,
        faults: u32,
    ) -> Result<(), (Breach, Vec<Option<Fault>>)> {
        let mut hasher = DefaultHasher::new();
        (world, steps, faults).hash(&mut hasher);
        if steps == 0 || !self.seen.insert(hasher.finish()) {
            return Ok(());
        }
        self.states += 1;
        let mut choices = vec![None];
        if faults > 0 {
            let modes = (0..3).flat_map(|node| MODES.map(|mode| Fault::Mode(node, mode)));
            choices.extend(modes.filter(|fault| fault.changes(world)).map(Some));
            let losses = [1, 2, 3, 5, 100].map(|changes| Some(Fault::Lose(changes)));
            choices.extend(losses.into_iter().filter(|_| self.forgets));
            let gifts = [(true, true), (true, false), (false, false)]
                .map(|(expects, hears)| Fault::Give { to: 1, expects, hears })
                .into_iter()
                .chain([Fault::ExpectNoMore(1)]);
            // A claim that the directory has lost before any other node saw it is known to one node alone: no other may
            // take the room when it is given back.
            let may =
                |gift: &Fault| !self.forgets || matches!(gift, Fault::Give { expects: true, .. });
            choices.extend(gifts.filter(|_| self.gives).filter(may).map(Some));
        }
        for fault in choices {
            let mut next = world.clone();
            let left = faults - u32::from(fault.is_some());
            let went = fault.map_or(Ok(()), |fault| fault.happen(&mut next));
            let went = went.and_then(|()| next.step()).map_err(|breach| (breach, Vec::new()));
            went.and_then(|()| self.go(&next, steps - 1, left)).map_err(|(breach, mut rest)| {
                rest.push(fault);
                (breach, rest)
            })?;
        }
        Ok(())
    }
}

/// What happens between two steps.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Mode(usize, Mode),
    Lose(usize),
    /// The node that has the room gives it to another one.
    Give {
        to: usize,
        expects: bool,
        hears: bool,
    },
    /// A node expects the room no more.
    ExpectNoMore(usize),
}

impl Fault {
    fn changes(self, world: &World) -> bool {
        !matches!(self, Self::Mode(node, mode) if world.mode(node) == mode)
    }

    fn happen(self, world: &mut World) -> Result<(), Breach> {
        match self {
            Self::Mode(node, mode) => world.set_mode(node, mode),
            Self::Lose(changes) => world.lose(changes)?,
            Self::Give { to, expects, hears } => world.give(to, expects, hears)?,
            Self::ExpectNoMore(node) => world.expect_no_more(node)?,
        }
        Ok(())
    }
}

fn search((forgets, gives): (bool, bool), steps: u32, faults: u32) -> usize {
    let mut search = Search { seen: HashSet::new(), states: 0, forgets, gives };
    for rates in RATES {
        let mut world = World::new(timing(HOLD), &rates);
        world.step().unwrap();
        if let Err((breach, mut faults)) = search.go(&world, steps, faults) {
            faults.reverse();
            panic!("{breach:?} with rates {rates:?} after {faults:?}");
        }
    }
    search.states
}

#[test]
fn no_schedule_with_two_faults_gives_a_room_to_two_nodes_or_an_epoch_twice() {
    let states = search((false, false), 10, 2);

    println!("{states} states");
    assert!(states > 5_000, "{states}");
}

#[test]
fn nor_does_one_in_which_the_directory_forgets() {
    let states = search((true, false), 8, 2);

    println!("{states} states");
    assert!(states > 5_000, "{states}");
}

/// The gift is one of the two faults.
#[test]
fn nor_does_one_in_which_the_room_is_given_from_one_node_to_another() {
    let states = search((false, true), 8, 2) + search((true, true), 6, 2);

    println!("{states} states");
    assert!(states > 5_000, "{states}");
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    let mode = (0..3_usize, proptest::sample::select(&MODES[..]));
    prop_oneof![
        6 => Just(None),
        1 => (0..3_usize).prop_map(|node| Some(Fault::Mode(node, Mode::Well))),
        3 => mode.prop_map(|(node, mode)| Some(Fault::Mode(node, mode))),
        2 => (0..3_usize, any::<(bool, bool)>()).prop_map(|(to, (expects, hears))| {
            Some(Fault::Give { to, expects, hears })
        }),
        1 => (0..3_usize).prop_map(|node| Some(Fault::ExpectNoMore(node))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn random_schedules_with_many_faults_keep_it_too(
        rates in proptest::sample::select(&RATES[..]),
        holds in proptest::sample::select(&HOLDS[..]),
        faults in proptest::collection::vec(fault(), 1..80),
    ) {
        let nodes = [0, 1, 2].map(|node| (timing(holds[node]), rates[node]));
        let mut world = World::with(&nodes);
        for fault in faults {
            if let Some(fault) = fault {
                prop_assert_eq!(fault.happen(&mut world), Ok(()));
            }
            prop_assert_eq!(world.step(), Ok(()));
        }

        // Once all is well, the room is held again, and stays where it is.
        (0..3).for_each(|node| world.set_mode(node, Mode::Well));
        for _ in 0..40 {
            prop_assert_eq!(world.step(), Ok(()));
        }
        let holder = world.holder();
        prop_assert!(holder.is_some(), "{:#?}", world);
        for _ in 0..20 {
            prop_assert_eq!(world.step(), Ok(()));
            prop_assert_eq!(world.holder(), holder);
        }
    }
}
