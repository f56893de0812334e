//! Tests of children on other threads: threads that end, and threads that are blocked.

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::time::Duration;

use actix::prelude::*;
use callboard_supervision::*;
use common::{Do, Events, Fragile, Where, block, gone};

async fn one(spec: ChildSpec) -> (SupervisorRef, Events, ChildRef<Fragile>) {
    let flags = Flags::one_for_one().intensity(5, Duration::from_secs(5));
    let supervisor = SupervisorSpec::new(flags).child(spec).start().await.unwrap();
    let events = Events::of(&supervisor);
    let child = supervisor.child::<Fragile>("a").unwrap();
    (supervisor, events, child)
}

#[actix::test]
async fn a_child_lives_on_the_thread_it_is_placed_on() {
    let alive = Arc::default();
    let arbiter = Arbiter::new();
    let spec =
        Fragile::spec("a", Where::Nowhere, &alive).placement(Placement::On(arbiter.handle()));
    let (supervisor, mut events, child) = one(spec).await;
    let thread =
        |supervisor: &SupervisorRef| supervisor.snapshot().find(&["a"]).unwrap().thread.clone();
    let there = thread(&supervisor);

    child.do_send(Do::Panic).unwrap();

    events.expect(&["a down panic(in a handler)", "a started"]).await;
    assert_eq!(thread(&supervisor), there);
    assert!(there.is_some_and(|name| name.starts_with("actix-rt")));
    supervisor.stop().await;
    gone(&alive).await;
}

#[actix::test]
async fn a_thread_that_ends_is_noticed_and_its_child_lives_on_on_another_one() {
    let alive: Arc<AtomicUsize> = Arc::default();
    let pool = ArbiterPool::new(1);
    let spec = Fragile::spec("a", Where::Nowhere, &alive).placement(Placement::Pool(pool.clone()));
    let (supervisor, mut events, child) = one(spec).await;

    pool.arbiters()[0].stop();

    events.expect(&["a down killed"]).await;
    // The thread may still be ending when the first restart is made.
    while events.next().await != "a started" {}
    assert_eq!(child.send(Do::Nothing).await, Ok(()));
    assert_eq!(pool.replaced(), 1);
    supervisor.stop().await;
    gone(&alive).await;
}

#[actix::test]
async fn a_start_on_a_thread_that_has_ended_fails() {
    let arbiter = Arbiter::new();
    let handle = arbiter.handle();
    arbiter.stop();
    arbiter.join().unwrap();
    let supervisor = SupervisorSpec::new(Flags::one_for_one()).start().await.unwrap();
    let alive = Arc::default();

    let spec = Fragile::spec("a", Where::Nowhere, &alive).placement(Placement::On(handle));
    let started = supervisor.start_child(spec).await;

    assert_eq!(started.unwrap_err(), StartChildError::Start(StartError::ArbiterGone));
    assert!(supervisor.snapshot().children.is_empty());
}

#[actix::test]
async fn a_child_that_blocks_its_thread_is_left_behind_and_the_thread_replaced() {
    let alive = Arc::default();
    let pool = ArbiterPool::new(1);
    let spec = Fragile::spec("a", Where::Nowhere, &alive)
        .placement(Placement::Pool(pool.clone()))
        .shutdown(Shutdown::Timeout(Duration::from_millis(10)));
    let (supervisor, mut events, child) = one(spec).await;
    let release = block(&child).await;

    supervisor.terminate_child("a").await.unwrap();

    events.expect(&["a abandoned"]).await;
    assert_eq!((supervisor.abandoned(), pool.replaced()), (1, 1));
    assert!(child.addr().is_none());
    supervisor.restart_child("a").await.unwrap();
    while events.next().await != "a started" {}
    assert_eq!(child.send(Do::Nothing).await, Ok(()), "on the new thread");

    drop(release);
    supervisor.stop().await;
    gone(&alive).await;
}

#[actix::test]
async fn an_actor_that_blocks_its_thread_is_told_of_while_it_does() {
    let alive = Arc::default();
    let pool = ArbiterPool::new(1);
    let spec = Fragile::spec("a", Where::Nowhere, &alive).placement(Placement::Pool(pool));
    let (supervisor, mut events, child) = one(spec).await;

    let release = block(&child).await;

    events.blocked("a").await;
    assert_eq!(supervisor.blocked(), 1);
    assert_eq!(supervisor.snapshot().find(&["a"]).unwrap().status, Status::Running);
    drop(release);
    assert_eq!(child.send(Do::Nothing).await, Ok(()), "it goes on");
    assert_eq!(supervisor.blocked(), 1, "told once");
    supervisor.stop().await;
}

#[actix::test]
async fn an_actor_that_blocks_its_thread_while_it_is_made_is_told_of_too() {
    let pool = ArbiterPool::new(1);
    let supervisor = SupervisorSpec::new(Flags::one_for_one()).start().await.unwrap();
    let mut events = Events::of(&supervisor);
    let (release, blocked) = mpsc::channel::<()>();
    let alive = Arc::default();
    let spec = ChildSpec::new("slow", move || {
        _ = blocked.recv();
        Fragile::new(Where::Nowhere, &alive)
    });
    let (starting, spec) = (supervisor.clone(), spec.placement(Placement::Pool(pool)));
    let started = actix::spawn(async move { starting.start_child(spec).await.map(|_| ()) });

    events.blocked("slow").await;

    release.send(()).unwrap();
    assert_eq!(started.await.unwrap(), Ok(()));
    supervisor.stop().await;
}

#[actix::test]
async fn a_pool_that_grows_gives_each_child_a_thread_and_then_the_idlest() {
    let alive = Arc::default();
    let pool = ArbiterPool::growing(3);
    let supervisor = SupervisorSpec::dynamic(Flags::one_for_one()).start().await.unwrap();
    let thread = |id: &str| supervisor.snapshot().find(&[id]).unwrap().thread.clone().unwrap();
    let start = async |id: &str| {
        let spec = Fragile::spec(id, Where::Nowhere, &alive);
        supervisor.start_child(spec.placement(Placement::Pool(pool.clone()))).await.unwrap();
        thread(id)
    };
    assert!(pool.arbiters().is_empty());

    let a = start("a").await;
    let (b, c) = (start("b").await, start("c").await);
    assert!(a != b && b != c && a != c);

    // A child that ends frees its thread.
    supervisor.terminate_child("b").await.unwrap();
    idle(&pool.arbiters()).await;
    assert_eq!(start("d").await, b);
    assert_eq!(pool.arbiters().len(), 3);

    // A blocked thread gets no child, although the others have more.
    let busy = supervisor.child::<Fragile>("c").unwrap();
    let release = block(&busy).await;
    let [others @ .., _] = &pool.arbiters()[..] else { panic!("three") };
    for id in ["e", "f", "g", "h"] {
        idle(others).await;
        assert_ne!(start(id).await, c);
    }
    drop(release);
    assert_eq!(busy.send(Do::Nothing).await, Ok(()));
    idle(&pool.arbiters()).await;
    assert_eq!(start("i").await, c);
    supervisor.stop().await;
}

/// Waits until none of these threads polls an actor: an answer arrives while the poll that gives it still runs.
async fn idle(threads: &[ArbiterHandle]) {
    for thread in threads {
        let (done, ran) = tokio::sync::oneshot::channel();
        assert!(thread.spawn_fn(|| _ = done.send(())));
        ran.await.unwrap();
    }
}
