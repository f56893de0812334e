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

/// Faults that are looked for besides those of the network and of processes that stand still.
#[derive(Clone, Copy, Default)]
struct Kinds {
    /// Whether the directory may lose its last changes.
    forgets: bool,
    /// Whether the room is given from one node to another.
    gives: bool,
    /// Whether processes are killed, which listen as long as they live.
    dies: bool,
    /// Whether connections to processes that listen, and that live, are refused.
    refuses: bool,
}

/// Search through all schedules with at most some faults.
struct Search {
    seen: HashSet<u64>,
    states: usize,
    kinds: Kinds,
    /// Most sessions that were sealed in one schedule because their processes were gone.
    refusals: usize,
}

/// Schedule that breaches what must hold.
type Found = (Breach, Vec<Option<Fault>>);

impl Search {
    /// Goes through all that can follow. Returns a schedule that breaches what must hold, if there is one.
    fn go(&mut self, world: &World, steps: u32, faults: u32) -> Result<(), Found> {
        let Kinds { forgets, gives, dies, refuses } = self.kinds;
        self.refusals = self.refusals.max(world.refusals_proven);
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
            choices.extend(losses.into_iter().filter(|_| forgets));
            let gifts = [(true, true), (true, false), (false, false)]
                .map(|(expects, hears)| Fault::Give { to: 1, expects, hears })
                .into_iter()
                .chain([Fault::ExpectNoMore(1)]);
            // A claim that the directory has lost before any other node saw it is known to one node alone: no other may
            // take the room when it is given back.
            let may = |gift: &Fault| !forgets || matches!(gift, Fault::Give { expects: true, .. });
            choices.extend(gifts.filter(|_| gives).filter(may).map(Some));
            let kills = (0..3).map(Fault::Kill).filter(|_| dies);
            let starts = (0..3).flat_map(|node| [true, false].map(|by| Fault::Restart(node, by)));
            choices.extend(kills.chain(starts.filter(|_| dies)).map(Some));
            choices.extend((0..3).map(Fault::Refuse).filter(|_| refuses).map(Some));
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
    /// The process of a node is killed.
    Kill(usize),
    /// Another process of a node takes the place of the one that there is; whether a lock proves that this has ended.
    Restart(usize, bool),
    /// Connections to the process of a node are refused though it lives.
    Refuse(usize),
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
            Self::Kill(node) => world.kill(node),
            Self::Restart(node, by_lock) => world.restart(node, timing(HOLD), by_lock),
            Self::Refuse(node) => world.refuse(node),
        }
        Ok(())
    }
}

fn search(kinds: Kinds, steps: u32, faults: u32) -> usize {
    match try_search(kinds, steps, faults) {
        Ok(search) => search.states,
        Err((rates, (breach, faults))) => {
            panic!("{breach:?} with rates {rates:?} after {faults:?}")
        }
    }
}

fn try_search(kinds: Kinds, steps: u32, faults: u32) -> Result<Search, ([u64; 3], Found)> {
    let mut search = Search { seen: HashSet::new(), states: 0, kinds, refusals: 0 };
    for rates in RATES {
        let nodes = rates.map(|rate| (timing(HOLD), rate));
        let mut world = World::with(&nodes, kinds.dies || kinds.refuses);
        world.step().unwrap();
        search.go(&world, steps, faults).map_err(|(breach, mut faults)| {
            faults.reverse();
            (rates, (breach, faults))
        })?;
    }
    Ok(search)
}

#[test]
fn no_schedule_with_two_faults_gives_a_room_to_two_nodes_or_an_epoch_twice() {
    let states = search(Kinds::default(), 10, 2);

    println!("{states} states");
    assert!(states > 5_000, "{states}");
}

#[test]
fn nor_does_one_in_which_the_directory_forgets() {
    let states = search(Kinds { forgets: true, ..Kinds::default() }, 8, 2);

    println!("{states} states");
    assert!(states > 5_000, "{states}");
}

/// The gift is one of the two faults.
#[test]
fn nor_does_one_in_which_the_room_is_given_from_one_node_to_another() {
    let gives = Kinds { gives: true, ..Kinds::default() };
    let states = search(gives, 8, 2) + search(Kinds { forgets: true, ..gives }, 6, 2);

    println!("{states} states");
    assert!(states > 5_000, "{states}");
}

/// The rooms of one that is killed are taken before its session is over.
#[test]
fn nor_does_one_in_which_processes_are_killed_and_prove_that_by_refusing_connections() {
    let dies = Kinds { dies: true, ..Kinds::default() };
    let found = try_search(dies, 7, 2).unwrap_or_else(|breach| panic!("{breach:?}"));

    println!("{} states", found.states);
    assert!(found.states > 5_000, "{}", found.states);
    assert!(found.refusals >= 1, "{}", found.refusals);
}

/// Who reaches the directory says that it lives.
#[test]
fn nor_does_one_in_which_a_process_refuses_connections_that_lives_and_reaches_the_directory() {
    let refuses = Kinds { refuses: true, ..Kinds::default() };
    let found = try_search(refuses, 12, 1).unwrap_or_else(|breach| panic!("{breach:?}"));

    assert_eq!(found.refusals, 0);
}

/// So a process must listen as long as it may hold a room, and nothing else may refuse connections in its place.
#[test]
fn a_process_that_lives_and_refuses_connections_breaches_it_when_it_is_cut_off() {
    let refuses = Kinds { refuses: true, ..Kinds::default() };
    let Err((_, (breach, faults))) = try_search(refuses, 8, 2) else { panic!("none is found") };

    assert_eq!(breach, Breach::HeldTwice);
    let lies = faults.iter().flatten().any(|fault| matches!(fault, Fault::Refuse(_)));
    assert!(lies, "{faults:?}");
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
        1 => (0..3_usize).prop_map(|node| Some(Fault::Kill(node))),
        1 => (0..3_usize, any::<bool>()).prop_map(|(node, by)| Some(Fault::Restart(node, by))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn random_schedules_with_many_faults_keep_it_too(
        rates in proptest::sample::select(&RATES[..]),
        holds in proptest::sample::select(&HOLDS[..]),
        listen in any::<bool>(),
        faults in proptest::collection::vec(fault(), 1..80),
    ) {
        let nodes = [0, 1, 2].map(|node| (timing(holds[node]), rates[node]));
        let mut world = World::with(&nodes, listen);
        for fault in faults {
            if let Some(fault) = fault {
                prop_assert_eq!(fault.happen(&mut world), Ok(()));
            }
            prop_assert_eq!(world.step(), Ok(()));
        }

        // Once all is well, the room is held again, and stays where it is.
        (0..3).for_each(|node| world.set_mode(node, Mode::Well));
        for (node, hold) in holds.into_iter().enumerate() {
            if world.is_killed(node) {
                world.restart(node, timing(hold), true);
            }
        }
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
