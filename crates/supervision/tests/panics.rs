//! Tests of panics: wherever they happen, they end one actor and nothing else.

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use actix::prelude::*;
use callboard_supervision::*;
use common::{Do, Events, Fragile, Where, gone};

/// Starts a supervisor of `a`, `b` and `c`; the first instance of `b` panics at this place.
async fn three(panics: Where) -> (SupervisorRef, Events, Arc<AtomicUsize>) {
    let alive = Arc::default();
    let supervisor = SupervisorSpec::new(Flags::one_for_one().intensity(5, Duration::from_secs(5)))
        .child(Fragile::spec("a", Where::Nowhere, &alive))
        .child(Fragile::spec("b", panics, &alive))
        .child(Fragile::spec("c", Where::Nowhere, &alive))
        .start()
        .await
        .unwrap();
    let events = Events::of(&supervisor);
    (supervisor, events, alive)
}

#[actix::test]
async fn a_panic_anywhere_in_an_actor_ends_it_alone_and_it_is_restarted() {
    let (supervisor, mut events, _) = three(Where::Nowhere).await;
    let b = supervisor.child::<Fragile>("b").unwrap();
    for (what, message) in [
        (Do::Panic, "in a handler"),
        (Do::PanicFormatted(7), "number 7"),
        (Do::PanicInFuture, "in a future"),
        (Do::PanicInStream, "in a stream"),
    ] {
        b.do_send(what).unwrap();

        events.expect(&[&format!("b down panic({message})"), "b started"]).await;
    }
    assert!(events.none());
    for sibling in ["a", "c"] {
        assert_eq!(supervisor.child::<Fragile>(sibling).unwrap().send(Do::Nothing).await, Ok(()));
    }
    assert_eq!(supervisor.snapshot().find(&["b"]).unwrap().restarts, 4);
}

#[actix::test]
async fn a_panic_while_it_ends_is_its_reason() {
    for (panics, message) in [(Where::Stopping, "in stopping"), (Where::Stopped, "in stopped")] {
        let (supervisor, mut events, _) = three(panics).await;

        supervisor.child::<Fragile>("b").unwrap().do_send(Do::Stop).unwrap();

        let down = events.next().await;
        assert!(down.starts_with("b down panic(") && down.contains(message), "{down}");
        events.expect(&["b started"]).await;
    }
}

#[actix::test]
async fn a_second_panic_during_the_clean_up_of_the_first_leaves_the_process_alive() {
    for panics in [Where::Stopping, Where::Stopped, Where::Drop] {
        let (supervisor, mut events, _) = three(panics).await;

        supervisor.child::<Fragile>("b").unwrap().do_send(Do::Panic).unwrap();

        events.expect(&["b down panic(in a handler)", "b started"]).await;
        supervisor.stop().await;
    }
}

#[actix::test]
async fn a_panic_in_the_factory_or_in_started_is_a_failed_start() {
    for (panics, message) in [(Where::Factory, "in the factory"), (Where::Started, "in started")] {
        let alive = Arc::default();
        let spec = SupervisorSpec::new(Flags::one_for_one())
            .child(Fragile::spec("a", Where::Nowhere, &alive))
            .child(Fragile::spec("b", panics, &alive));

        let Err(StartSupervisorError::Child { id, error: StartError::Panicked(text) }) =
            spec.start().await
        else {
            panic!("it did start");
        };

        assert_eq!(id, "b");
        assert!(text.contains(message), "{text}");
        gone(&alive).await;
    }
}

#[actix::test]
async fn a_call_in_flight_fails_and_so_does_one_while_the_actor_is_down() {
    let alive = Arc::default();
    let spec = Fragile::spec("a", Where::Nowhere, &alive).restart(Restart::Transient);
    let supervisor = SupervisorSpec::new(Flags::one_for_one()).child(spec).start().await.unwrap();
    let a = supervisor.child::<Fragile>("a").unwrap();
    let mut events = Events::of(&supervisor);

    assert_eq!(a.send(Do::Panic).await, Err(CallError::Ended));
    events.expect(&["a down panic(in a handler)", "a started"]).await;
    a.send(Do::Stop).await.unwrap();
    events.expect(&["a down normal"]).await;

    assert_eq!(a.send(Do::Nothing).await, Err(CallError::NotRunning));
    assert_eq!(a.do_send(Do::Nothing), Err(CallError::NotRunning));
    assert_eq!(a.try_send(Do::Nothing), Err(CallError::NotRunning));
    assert!(a.addr().is_none());
}

#[actix::test]
async fn an_actor_can_end_with_an_error_on_purpose() {
    let (supervisor, mut events, _) = three(Where::Nowhere).await;
    let b = supervisor.child::<Fragile>("b").unwrap();
    for (reason, text) in [
        (ExitReason::Error("no more".into()), "b down error(no more)"),
        (ExitReason::Shutdown(Some("enough".into())), "b down shutdown(enough)"),
        (ExitReason::Normal, "b down normal"),
    ] {
        b.do_send(Do::Exit(reason)).unwrap();

        events.expect(&[text, "b started"]).await;
    }
}

#[actix::test]
async fn a_child_that_always_panics_in_started_is_tried_as_often_as_it_may_and_no_more() {
    let mut starts = 0;
    let spec = ChildSpec::new("doomed", move || {
        starts += 1;
        let panics = if starts == 1 { Where::Nowhere } else { Where::Started };
        Fragile::new(panics, &Arc::default())
    });
    let flags = Flags::one_for_one().intensity(3, Duration::from_secs(60));
    let supervisor = SupervisorSpec::new(flags).child(spec).start().await.unwrap();
    let mut events = Events::of(&supervisor);

    supervisor.inject("doomed", Fault::Panic("oh".into())).await.unwrap();

    events.expect(&["doomed down panic(oh)"]).await;
    for _ in 0..3 {
        assert!(events.next().await.starts_with("doomed not started: panicked:"));
    }
    events.expect(&["root down reached_max_restart_intensity"]).await;
}

/// Starts a tree with children of every kind, two supervisors deep, and on other threads.
async fn tree(alive: &Arc<AtomicUsize>) -> SupervisorRef {
    let pool = ArbiterPool::new(2);
    let inner_alive = Arc::clone(alive);
    let inner = ChildSpec::supervisor("inner", move || {
        let alive = &inner_alive;
        SupervisorSpec::new(Flags::one_for_one())
            .child(Fragile::spec("plain", Where::Nowhere, alive))
            .child(
                Fragile::spec("elsewhere", Where::Nowhere, alive)
                    .placement(Placement::Pool(pool.clone())),
            )
            .child(
                Fragile::stubborn("stubborn", alive)
                    .shutdown(Shutdown::Timeout(Duration::from_millis(20))),
            )
            .child(Fragile::spec("patient", Where::Nowhere, alive).shutdown(Shutdown::Infinity))
    });
    SupervisorSpec::new(Flags::one_for_one())
        .child(Fragile::spec("outer", Where::Nowhere, alive))
        .child(inner.restart(Restart::Temporary))
        .start()
        .await
        .unwrap()
}

#[actix::test]
async fn no_child_outlives_a_supervisor_that_panics_or_is_killed() {
    for fault in [
        Fault::Panic("supervisor".into()),
        Fault::Kill,
        Fault::Exit(ExitReason::Error("oh".into())),
    ] {
        let alive = Arc::default();
        let root = tree(&alive).await;
        root.inject_root(fault.clone());
        root.ended().await;
        gone(&alive).await;

        let root = tree(&alive).await;
        let mut events = Events::of(&root);
        root.inject("inner", fault).await.unwrap();
        while !events.next().await.starts_with("inner down") {}
        // Only `outer` is left.
        while alive.load(std::sync::atomic::Ordering::SeqCst) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(root.child::<Fragile>("outer").unwrap().send(Do::Nothing).await, Ok(()));
        root.stop().await;
        gone(&alive).await;
    }
}

#[actix::test]
async fn the_strategy_says_which_siblings_a_panic_reaches() {
    for (flags, expected) in [
        (
            Flags::one_for_all(),
            &[
                "b down panic(in a handler)",
                "c down shutdown",
                "a down shutdown",
                "a started",
                "b started",
                "c started",
            ][..],
        ),
        (
            Flags::rest_for_one(),
            &["b down panic(in a handler)", "c down shutdown", "b started", "c started"][..],
        ),
    ] {
        let alive = Arc::default();
        let supervisor =
            ["a", "b", "c"].into_iter().fold(SupervisorSpec::new(flags), |spec, id| {
                spec.child(Fragile::spec(id, Where::Nowhere, &alive))
            });
        let supervisor = supervisor.start().await.unwrap();
        let mut events = Events::of(&supervisor);

        supervisor.child::<Fragile>("b").unwrap().do_send(Do::Panic).unwrap();

        events.expect(expected).await;
        assert!(events.none());
    }
}

#[test]
fn an_arbiter_that_ends_takes_its_tree_down_without_a_panic() {
    let alive: Arc<AtomicUsize> = Arc::default();
    let counted = Arc::clone(&alive);
    System::new().block_on(async move {
        tree(&counted).await;
    });
    // The system is gone with its threads; all remaining actors were dropped.
    System::new().block_on(gone(&alive));
}

/// Actor that records in `stopped` whether it has panicked.
struct Noting(Arc<std::sync::Mutex<Vec<bool>>>);

impl Actor for Noting {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.0.lock().unwrap().push(has_panicked());
    }
}

impl Handler<Do> for Noting {
    type Result = ();

    fn handle(&mut self, _: Do, _: &mut Self::Context) {
        panic!("in a handler");
    }
}

#[actix::test]
async fn an_actor_that_is_cleaned_up_knows_whether_it_has_panicked() {
    let noted: Arc<std::sync::Mutex<Vec<bool>>> = Arc::default();
    let notes = Arc::clone(&noted);
    let supervisor = SupervisorSpec::new(Flags::one_for_one().intensity(5, Duration::from_secs(5)))
        .child(ChildSpec::new("noting", move || Noting(Arc::clone(&notes))))
        .start()
        .await
        .unwrap();
    let mut events = Events::of(&supervisor);

    supervisor.inject("noting", Fault::Exit(ExitReason::Normal)).await.unwrap();
    events.expect(&["noting down normal", "noting started"]).await;
    supervisor.inject("noting", Fault::Panic("on purpose".into())).await.unwrap();
    events.expect(&["noting down panic(on purpose)", "noting started"]).await;
    supervisor.child::<Noting>("noting").unwrap().do_send(Do::Panic).unwrap();
    events.expect(&["noting down panic(in a handler)", "noting started"]).await;
    supervisor.stop().await;

    assert_eq!(*noted.lock().unwrap(), [false, true, true, false]);
    assert!(!has_panicked());
}
