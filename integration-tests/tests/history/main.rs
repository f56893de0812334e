//! The check of histories: it finds nothing in those of a model that does everything right, and each violation that is
//! put into one.

mod model;
mod mutations;
mod places;

use integration_tests::history::{Event, Invariant, Line, ReadError, Recorder, check, read};
use model::{MILLISECOND, Step, all_steps, history, steps};
use mutations::{MUTATIONS, Mutation};
use proptest::prelude::*;

/// Returns the violations, each with its lines.
fn shown(lines: &[Line]) -> String {
    let violations = check(lines).into_iter().map(|violation| {
        let shows = violation.lines.iter().map(|at| format!("\n  {:?}", lines[*at]));
        format!("{violation}{}\n", shows.collect::<String>())
    });
    violations.collect()
}

/// Returns whether the mutation applies and, then, was caught: as a violation that names a line.
fn is_caught(mutation: &Mutation, lines: &[Line], seed: usize) -> Option<bool> {
    let mutated = (mutation.mutate)(lines, seed)?;
    let found = check(&mutated);
    Some(found.iter().any(|one| one.invariant == mutation.violates && !one.lines.is_empty()))
}

#[test]
fn each_invariant_has_mutated_histories_and_all_are_caught() {
    let lines = history(&all_steps());
    assert_eq!(shown(&lines), "");

    for mutation in MUTATIONS {
        for seed in 0..6 {
            let caught = is_caught(mutation, &lines, seed);
            assert_eq!(caught, Some(true), "{}, {seed}", mutation.name);
        }
    }
    for invariant in Invariant::ALL {
        assert!(MUTATIONS.iter().any(|one| one.violates == invariant), "{invariant}");
    }
}

#[test]
fn a_hold_is_known_that_was_heard_of_right_after_a_pause_alone() {
    let lines = history(&[Step::Pause(0, 0), Step::Kill(0, 0), Step::Calm]);

    for mutation in MUTATIONS {
        assert_ne!(is_caught(mutation, &lines, 0), Some(false), "{}", mutation.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_right_is_not_found_wrong(steps in steps()) {
        let lines = history(&steps);
        prop_assert_eq!(shown(&lines), "");
    }

    #[test]
    fn mutations_of_any_history_are_caught(steps in steps(), seed in any::<usize>()) {
        let lines = history(&steps);
        for mutation in MUTATIONS {
            prop_assert_ne!(is_caught(mutation, &lines, seed), Some(false), "{}", mutation.name);
        }
    }

    /// Any lines, in any order.
    #[test]
    fn no_history_makes_the_check_fail(steps in steps(), seed in any::<u64>()) {
        let mut lines = history(&steps);
        let mut random = fastrand::Rng::with_seed(seed);
        random.shuffle(&mut lines);
        lines.truncate(random.usize(..=lines.len()));
        check(&lines);
    }
}

#[test]
fn rooms_beside_a_fault_must_not_be_slower() {
    let mut steps: Vec<Step> = (0..8).map(|client| Step::Join(client, 0)).collect();
    let talk = || (0..8).cycle().take(120).map(Step::ToAll);
    steps.extend(talk());
    steps.extend(std::iter::repeat_n(Step::Directory, 20));
    let lines = history(&steps);
    assert_eq!(shown(&lines), "");

    let mut fault = false;
    let slower = lines.into_iter().map(|line| {
        match line.event {
            Event::Fault { .. } => fault = true,
            Event::Healed { .. } => fault = false,
            _ => {}
        }
        // The last of a message's receivers.
        let late = fault && line.by == "client 6" && matches!(line.event, Event::Got { .. });
        Line { t: line.t + if late { 100 * MILLISECOND } else { 0 }, ..line }
    });
    let mut slower: Vec<Line> = slower.collect();
    slower.sort_by_key(|line| line.t);

    let found = check(&slower);
    assert!(
        found.iter().any(|one| one.invariant == Invariant::BystandersNoticeNothing),
        "{found:?}"
    );
}

#[test]
fn what_is_written_is_read_also_when_the_end_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other, cut] = ["one", "other", "cut"].map(|name| folder.path().join(name));
    let lines = history(&all_steps());
    let writer = Recorder::create(&one, "a1").unwrap();
    let second = Recorder::create(&other, "b2").unwrap().named("run");
    for (at, line) in lines.iter().enumerate() {
        match at % 2 {
            0 => writer.named(&line.by).record_at(line.t, line.event.clone()),
            _ => second.named(&line.by).record_at(line.t, line.event.clone()),
        }
    }

    let mut known = read(&[&one, &other]).unwrap();
    // The first lines of the two files.
    known.retain(|line| line.t >= lines[0].t);
    assert_eq!(known, lines);
    assert!(Recorder::create(&one, "a1").is_err(), "it is there");

    let text = std::fs::read_to_string(&one).unwrap();
    let half = text.len() - 5;
    std::fs::write(&cut, &text[..half]).unwrap();
    let whole = read(&[&one]).unwrap();
    assert_eq!(read(&[&cut]).unwrap(), whole[..whole.len() - 1]);

    std::fs::write(&cut, text.replacen("\"version\":1", "\"version\":2", 1)).unwrap();
    assert!(matches!(read(&[&cut]), Err(ReadError::Version { .. })));
    std::fs::write(&cut, text.lines().last().unwrap()).unwrap();
    assert!(matches!(read(&[&cut]), Err(ReadError::Version { .. })));
    std::fs::write(&cut, text.replacen("{\"t\"", "{\"x\"", 2)).unwrap();
    assert!(matches!(read(&[&cut]), Err(ReadError::Line { number: 1, .. })));
    assert!(matches!(read(&[folder.path().join("none")]), Err(ReadError::File { .. })));
}
