//! Tests of how children are stopped: the order, and the time limits. In virtual time.

mod common;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::prelude::*;
use callboard_supervision::*;
use common::{Do, Events, Fragile, Where, gone};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[actix::test]
async fn children_stop_in_reverse_order_each_within_its_time() {
    tokio::time::pause();
    let alive = Arc::default();
    let supervisor = SupervisorSpec::new(Flags::one_for_one())
        .child(Fragile::spec("obedient", Where::Nowhere, &alive))
        .child(Fragile::stubborn("stubborn", &alive).shutdown(Shutdown::Timeout(2 * SECOND)))
        .child(Fragile::stubborn("brutal", &alive).shutdown(Shutdown::BrutalKill))
        .start()
        .await
        .unwrap();
    let mut events = Events::of(&supervisor);
    let from = Instant::now();

    assert_eq!(supervisor.stop().await, ExitReason::SHUTDOWN);

    assert_eq!(from.elapsed().as_secs(), 2);
    events
        .expect(&[
            "brutal down killed",
            "stubborn down killed",
            "obedient down shutdown",
            "root down shutdown",
        ])
        .await;
    gone(&alive).await;
}

#[actix::test]
async fn a_child_in_ctx_wait_hears_of_the_stop_afterwards_or_is_dropped_in_time() {
    tokio::time::pause();
    for (wait, reason) in [(SECOND, "a down shutdown"), (10 * SECOND, "a down killed")] {
        let alive = Arc::default();
        let spec = Fragile::spec("a", Where::Nowhere, &alive);
        let supervisor =
            SupervisorSpec::new(Flags::one_for_one()).child(spec).start().await.unwrap();
        let mut events = Events::of(&supervisor);
        supervisor.child::<Fragile>("a").unwrap().send(Do::Wait(wait)).await.unwrap();

        supervisor.stop().await;

        events.expect(&[reason, "root down shutdown"]).await;
    }
}

/// Waits for something that does not come, unless it is asked to stop.
struct Waiting(Arc<AtomicBool>);

impl Actor for Waiting {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let waiting = async {
            tokio::select! {
                () = pending() => unreachable!("it does not come"),
                () = asked_to_stop() => {}
            }
        };
        ctx.wait(waiting.into_actor(self).map(|(), this, ctx| {
            this.0.store(true, Ordering::SeqCst);
            ctx.stop();
        }));
    }
}

#[actix::test]
async fn a_child_in_ctx_wait_can_hear_of_the_stop_meanwhile() {
    tokio::time::pause();
    let has_heard = Arc::<AtomicBool>::default();
    let heard = Arc::clone(&has_heard);
    let spec = ChildSpec::new("a", move || Waiting(Arc::clone(&heard)));
    let supervisor = SupervisorSpec::new(Flags::one_for_one()).child(spec).start().await.unwrap();
    let mut events = Events::of(&supervisor);
    let from = Instant::now();
    tokio::time::sleep(SECOND).await;
    assert!(!has_heard.load(Ordering::SeqCst));

    supervisor.stop().await;

    events.expect(&["a down shutdown", "root down shutdown"]).await;
    assert_eq!(from.elapsed().as_secs(), 1);
    assert!(has_heard.load(Ordering::SeqCst));
}

#[actix::test]
async fn a_supervisor_that_stops_does_not_wait_for_a_start_that_hangs() {
    tokio::time::pause();
    let supervisor = SupervisorSpec::new(Flags::one_for_one()).start().await.unwrap();
    let hanging =
        ChildSpec::try_new("hanging", std::future::pending::<Result<Fragile, StartError>>);
    let asking = supervisor.clone();
    let asked = actix::spawn(async move { asking.start_child(hanging).await.map(|_| ()) });
    while supervisor.snapshot().children.is_empty() {
        tokio::task::yield_now().await;
    }
    let from = Instant::now();

    supervisor.stop().await;

    assert!(from.elapsed() < SECOND);
    assert_eq!(asked.await.unwrap(), Err(StartChildError::Start(StartError::ShuttingDown)));
}

#[actix::test]
async fn a_start_that_takes_too_long_is_given_up() {
    tokio::time::pause();
    let supervisor = SupervisorSpec::new(Flags::one_for_one()).start().await.unwrap();
    let hanging =
        ChildSpec::try_new("hanging", std::future::pending::<Result<Fragile, StartError>>);

    let started = supervisor.start_child(hanging.start_timeout(SECOND)).await;

    assert_eq!(started.unwrap_err(), StartChildError::Start(StartError::TimedOut(SECOND)));
    assert_eq!(supervisor.count_children().await.unwrap().specs, 0);
}

#[actix::test]
async fn stopping_twice_is_stopping_once_and_no_caller_hangs_afterwards() {
    let alive = Arc::default();
    let spec = Fragile::spec("a", Where::Nowhere, &alive);
    let supervisor = SupervisorSpec::new(Flags::one_for_one()).child(spec).start().await.unwrap();
    let other = supervisor.clone();
    let second =
        actix::spawn(async move { other.stop_with(ExitReason::Error("second".into())).await });

    assert_eq!(supervisor.stop().await, second.await.unwrap());

    assert_eq!(supervisor.stop().await, supervisor.ended().await);
    assert_eq!(supervisor.which_children().await, Err(NoSupervisorError));
    assert_eq!(supervisor.terminate_child("a").await, Err(NoSupervisorError.into()));
    let again = supervisor.start_child(Fragile::spec("b", Where::Nowhere, &alive)).await;
    assert_eq!(again.unwrap_err(), NoSupervisorError.into());
    assert!(supervisor.inject("a", Fault::Kill).await.is_err());
}

#[actix::test]
async fn a_child_that_is_being_restarted_with_a_pause_does_not_hold_up_the_end() {
    tokio::time::pause();
    let alive = Arc::default();
    let spec = Fragile::spec("a", Where::Nowhere, &alive)
        .backoff(Backoff::default().first(100 * SECOND).max(100 * SECOND));
    let supervisor = SupervisorSpec::new(Flags::one_for_one()).child(spec).start().await.unwrap();
    let mut events = Events::of(&supervisor);
    supervisor.inject("a", Fault::Kill).await.unwrap();
    events.expect(&["a down killed"]).await;
    let from = Instant::now();

    supervisor.stop().await;

    assert!(from.elapsed() < SECOND);
    events.expect(&["root down shutdown"]).await;
}

#[actix::test]
async fn a_pause_before_each_restart_grows_and_may_be_ended_by_termination() {
    tokio::time::pause();
    let alive = Arc::default();
    let backoff =
        Backoff::default().first(SECOND).max(3 * SECOND).jitter(0.0).reset_after(60 * SECOND);
    let spec = Fragile::spec("a", Where::Nowhere, &alive).backoff(backoff);
    let flags = Flags::one_for_one().intensity(10, 100 * SECOND);
    let supervisor = SupervisorSpec::new(flags).child(spec).start().await.unwrap();
    let mut events = Events::of(&supervisor);

    for pause in [1, 2, 3, 3] {
        let from = Instant::now();
        supervisor.inject("a", Fault::Kill).await.unwrap();
        events.expect(&["a down killed", "a started"]).await;
        assert_eq!(from.elapsed().as_secs(), pause);
    }
    tokio::time::sleep(backoff.reset_after).await;
    let from = Instant::now();
    supervisor.inject("a", Fault::Kill).await.unwrap();
    events.expect(&["a down killed", "a started"]).await;
    assert_eq!(from.elapsed().as_secs(), 1, "it had been well for long enough");

    supervisor.inject("a", Fault::Kill).await.unwrap();
    events.expect(&["a down killed"]).await;
    assert_eq!(supervisor.which_children().await.unwrap()[0].status, Status::Restarting);
    supervisor.terminate_child("a").await.unwrap();
    tokio::time::sleep(100 * SECOND).await;
    assert!(events.none());
    supervisor.restart_child("a").await.unwrap();
    events.expect(&["a started"]).await;
}

#[actix::test]
async fn a_child_with_retries_is_restarted_alone_and_then_given_up() {
    let alive = Arc::default();
    let kept = Arc::new(());
    let (held, counted) = (Arc::clone(&kept), Arc::clone(&alive));
    let spec = ChildSpec::new("guest", move || {
        _ = &held;
        Fragile::new(Where::Nowhere, &counted)
    });
    // The supervisor itself allows no restart.
    let supervisor = SupervisorSpec::new(Flags::one_for_one().intensity(0, SECOND))
        .child(Fragile::spec("host", Where::Nowhere, &alive))
        .start()
        .await
        .unwrap();
    supervisor.start_child(spec.restart(Restart::Temporary).retries(2)).await.unwrap();
    let mut events = Events::of(&supervisor);

    for _ in 0..2 {
        supervisor.inject("guest", Fault::Panic("oh".into())).await.unwrap();
        events.expect(&["guest down panic(oh)", "guest started"]).await;
        assert_eq!(Arc::strong_count(&kept), 2, "its spec is kept");
    }
    supervisor.inject("guest", Fault::Panic("oh".into())).await.unwrap();
    events.expect(&["guest down panic(oh)"]).await;

    while supervisor.count_children().await.unwrap().specs > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(Arc::strong_count(&kept), 1, "its spec is dropped");
    assert_eq!(supervisor.child::<Fragile>("host").unwrap().send(Do::Nothing).await, Ok(()));
    assert!(events.none());
}
