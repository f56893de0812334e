//! Tests of handles that outlive restarts of supervisors, of look-ups by path, and of supervisors that give up.

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use callboard_supervision::*;
use common::{Do, Events, Fragile, Where, block};

const PERIOD: Duration = Duration::from_secs(3600);

/// Starts `root/outer/inner/leaf`, where `outer` allows no restart and `inner` has this restart type.
async fn nested(alive: &Arc<AtomicUsize>, restart: Restart) -> SupervisorRef {
    let alive = Arc::clone(alive);
    let inner = move || {
        let leaf = Fragile::spec("leaf", Where::Nowhere, &alive);
        SupervisorSpec::new(Flags::one_for_one().intensity(0, PERIOD)).child(leaf)
    };
    let outer = move || {
        let inner = ChildSpec::supervisor("inner", inner.clone()).restart(restart);
        SupervisorSpec::new(Flags::one_for_one().intensity(0, PERIOD)).child(inner)
    };
    SupervisorSpec::new(Flags::one_for_one().intensity(3, PERIOD))
        .child(ChildSpec::supervisor("outer", outer))
        .start()
        .await
        .unwrap()
}

#[actix::test]
async fn a_handle_leads_to_the_current_actor_after_its_supervisors_were_restarted() {
    let alive = Arc::default();
    let root = nested(&alive, Restart::Permanent).await;
    let inner = root.supervisor("outer").unwrap().supervisor("inner").unwrap();
    let leaf = root.find::<Fragile>("outer/inner/leaf").unwrap();
    let old = leaf.addr().unwrap();
    let mut events = Events::of(&root);

    // Neither `inner` nor `outer` allows a restart.
    leaf.do_send(Do::Panic).unwrap();

    let gave_up = "down reached_max_restart_intensity";
    events.expect(&["leaf down panic(in a handler)", &format!("inner {gave_up}")]).await;
    events.expect(&[&format!("outer {gave_up}"), "leaf started", "inner started"]).await;
    events.expect(&["outer started"]).await;
    assert!(!old.connected());
    assert_eq!(leaf.send(Do::Nothing).await, Ok(()));
    let entries = inner.which_children().await.unwrap();
    assert_eq!((&*entries[0].id, entries[0].status), ("leaf", Status::Running));
    assert_eq!(inner.child::<Fragile>("leaf").unwrap().addr(), leaf.addr());
}

#[actix::test]
async fn a_handle_waits_until_its_supervisor_runs_again() {
    let alive = Arc::default();
    let root = nested(&alive, Restart::Temporary).await;
    let outer = root.supervisor("outer").unwrap();
    outer.running().await;
    root.terminate_child("outer").await.unwrap();
    assert!(!outer.is_running());
    let waiting = |supervisor: &SupervisorRef| {
        let supervisor = supervisor.clone();
        actix::spawn(async move { supervisor.running().await })
    };
    let (first, second) = (waiting(&outer), waiting(&outer));
    let gone = waiting(&outer.supervisor("inner").unwrap());
    tokio::task::yield_now().await;
    assert!(!first.is_finished() && !second.is_finished());

    root.restart_child("outer").await.unwrap();

    for waiting in [first, second, gone] {
        tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap();
    }
    assert!(outer.is_running());
    root.stop().await;
    let late = waiting(&root);
    tokio::task::yield_now().await;
    assert!(!late.is_finished());
}

#[actix::test]
async fn a_removed_child_is_reported_and_its_id_is_free_then() {
    let alive: Arc<AtomicUsize> = Arc::default();
    let held = Arc::new(());
    let spec = || {
        let (alive, held) = (Arc::clone(&alive), Arc::clone(&held));
        let make = move || {
            _ = &held;
            Fragile::new(Where::Nowhere, &alive)
        };
        ChildSpec::new("a", make).restart(Restart::Temporary)
    };
    let supervisor = SupervisorSpec::dynamic(Flags::one_for_one()).start().await.unwrap();
    supervisor.start_child(spec()).await.unwrap();
    let mut events = Events::of(&supervisor);
    let instance = supervisor.snapshot().find(&["a"]).unwrap().instance;
    supervisor.removed("b").await;
    let waiting = {
        let supervisor = supervisor.clone();
        actix::spawn(async move { supervisor.removed("a").await })
    };
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());

    supervisor.inject("a", Fault::Kill).await.unwrap();

    tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap();
    assert_eq!(supervisor.snapshot().children.len(), 0);
    assert_eq!(Arc::strong_count(&held), 1, "its spec has been dropped");
    supervisor.start_child(spec()).await.unwrap();
    let event = events.removed().await;
    assert_eq!((event.path.to_string(), Some(event.instance)), ("root/a".to_owned(), instance));
    supervisor.stop().await;
}

#[actix::test]
async fn a_handle_also_survives_a_supervisor_that_is_killed_and_a_temporary_child_that_was_forgotten()
 {
    let alive: Arc<AtomicUsize> = Arc::default();
    let counted = Arc::clone(&alive);
    let below = move || {
        let guest = Fragile::spec("guest", Where::Nowhere, &counted).restart(Restart::Temporary);
        SupervisorSpec::new(Flags::one_for_one()).child(guest).child(Fragile::spec(
            "host",
            Where::Nowhere,
            &counted,
        ))
    };
    let root = SupervisorSpec::new(Flags::one_for_one())
        .child(ChildSpec::supervisor("below", below))
        .start()
        .await
        .unwrap();
    let (guest, host) = (root.find::<Fragile>("below/guest"), root.find::<Fragile>("below/host"));
    let (guest, host) = (guest.unwrap(), host.unwrap());
    let mut events = Events::of(&root);
    guest.send(Do::Stop).await.unwrap();
    events.expect(&["guest down normal"]).await;
    let below = root.supervisor("below").unwrap();
    // Wait until it has been forgotten.
    while below.which_children().await.unwrap().len() > 1 {}
    below.start_child(Fragile::spec("late", Where::Nowhere, &alive)).await.unwrap();
    let late = root.find::<Fragile>("below/late").unwrap();

    root.inject("below", Fault::Kill).await.unwrap();
    while events.next().await != "below started" {}

    for child in [&guest, &host] {
        assert_eq!(child.send(Do::Nothing).await, Ok(()));
    }
    assert_eq!(
        root.find::<Fragile>("below/late").unwrap_err().to_string(),
        "no child `below/late`"
    );
    assert_eq!(late.send(Do::Nothing).await, Err(CallError::NotRunning), "it is gone for good");
}

#[actix::test]
async fn the_children_of_a_killed_supervisor_that_end_late_change_nothing_of_the_next_ones() {
    let alive: Arc<AtomicUsize> = Arc::default();
    let (counted, pool) = (Arc::clone(&alive), ArbiterPool::new(4));
    let inner = move || {
        let on_a_thread = |id| {
            let spec = Fragile::spec(id, Where::Nowhere, &counted);
            spec.placement(Placement::Pool(pool.clone())).shutdown(Shutdown::Infinity)
        };
        SupervisorSpec::new(Flags::one_for_one())
            .child(on_a_thread("guest").restart(Restart::Temporary))
            .child(on_a_thread("host"))
    };
    let outer = move || {
        SupervisorSpec::new(Flags::one_for_one())
            .child(ChildSpec::supervisor("inner", inner.clone()))
    };
    let root = SupervisorSpec::new(Flags::one_for_one())
        .child(ChildSpec::supervisor("outer", outer))
        .start()
        .await
        .unwrap();
    let inner = root.supervisor("outer").unwrap().supervisor("inner").unwrap();
    let [guest, host] = ["guest", "host"].map(|id| inner.child::<Fragile>(id).unwrap());
    let (release_guest, release_host) = (block(&guest).await, block(&host).await);
    let mut events = Events::of(&root);

    root.inject("outer", Fault::Kill).await.unwrap();
    while events.next().await != "outer started" {}
    // The old `inner` stops its `guest` after its `host`, and ends after both.
    drop((release_guest, release_host));
    while events.next().await != "inner down shutdown" {}

    for id in ["guest", "host"] {
        assert_eq!(inner.child::<Fragile>(id).unwrap().send(Do::Nothing).await, Ok(()), "{id}");
        let snapshot = root.snapshot();
        let found = snapshot.find(&["outer", "inner", id]).map(|child| child.status);
        assert_eq!(found, Some(Status::Running), "{id}");
    }
    root.stop().await;
}

#[actix::test]
async fn a_path_that_leads_nowhere_says_where_it_ends() {
    let alive = Arc::default();
    let root = nested(&alive, Restart::Permanent).await;
    let error = |path: &str| root.find::<Fragile>(path).unwrap_err().to_string();

    assert_eq!(error("outer/nobody/leaf"), "no child `outer/nobody`");
    assert_eq!(error("outer/inner/nobody"), "no child `outer/inner/nobody`");
    assert_eq!(error("outer/inner/leaf/deeper"), "child `outer/inner/leaf` is no supervisor");
    assert_eq!(error(""), "no child ``");
    assert_eq!(error("/outer"), "no child ``");
    let LookupError::OtherType { id, found } = root.find::<Fragile>("outer/inner").unwrap_err()
    else {
        panic!("found")
    };
    assert_eq!(id, "outer/inner");
    assert!(found.ends_with("Supervisor"), "{found}");
}

#[actix::test]
async fn a_supervisor_that_gives_up_says_so_and_is_not_restarted_where_it_is_transient() {
    let alive = Arc::default();
    let root = nested(&alive, Restart::Transient).await;
    let outer = root.supervisor("outer").unwrap();
    let inner = outer.supervisor("inner").unwrap();
    let mut events = Events::of(&root);
    let ended = actix::spawn(async move { inner.ended().await });
    tokio::task::yield_now().await;

    root.find::<Fragile>("outer/inner/leaf").unwrap().do_send(Do::Panic).unwrap();

    assert_eq!(ended.await.unwrap(), ExitReason::ReachedMaxRestartIntensity);
    events.expect(&["leaf down panic(in a handler)"]).await;
    events.expect(&["inner down reached_max_restart_intensity"]).await;
    assert_eq!(outer.which_children().await.unwrap()[0].status, Status::Stopped);
    let snapshot = root.snapshot();
    let inner = snapshot.find(&["outer", "inner"]).unwrap();
    assert_eq!(inner.last_exit, Some(ExitReason::ReachedMaxRestartIntensity));
    let leaf = root.find::<Fragile>("outer/inner/leaf").unwrap();
    assert_eq!(leaf.send(Do::Nothing).await, Err(CallError::NotRunning), "found, not running");

    // A supervisor that is asked to stop has not given up.
    assert_eq!(outer.restart_child("inner").await.map(|it| it.running), Ok(true));
    assert_eq!(root.stop().await, ExitReason::SHUTDOWN);
}

#[actix::test]
async fn an_instance_is_terminated_and_not_the_one_that_has_taken_its_place() {
    let alive = Arc::default();
    let dynamic = SupervisorSpec::dynamic(Flags::one_for_one().intensity(3, PERIOD));
    let dynamic = dynamic.start().await.unwrap();
    dynamic.start_child(Fragile::spec("a", Where::Nowhere, &alive)).await.unwrap();
    let list = SupervisorSpec::new(Flags::one_for_one())
        .child(Fragile::spec("b", Where::Nowhere, &alive))
        .start()
        .await
        .unwrap();
    let instance = |tree: &SupervisorRef, id: &str| tree.snapshot().find(&[id])?.instance;
    let first = instance(&dynamic, "a").unwrap();
    let mut events = Events::of(&dynamic);
    dynamic.inject("a", Fault::Kill).await.unwrap();
    events.expect(&["a down killed", "a started"]).await;

    assert_eq!(dynamic.terminate_instance(first).await, Ok(()), "it has ended");
    assert!(dynamic.child::<Fragile>("a").unwrap().is_running());
    let foreign = instance(&list, "b").unwrap();
    let not_found = Err(TerminateChildError::NotFound);
    assert_eq!(dynamic.terminate_instance(foreign).await, not_found);
    assert_eq!(list.terminate_instance(foreign).await, not_found, "not dynamic");

    let second = instance(&dynamic, "a").unwrap();
    assert_eq!(dynamic.terminate_instance(second).await, Ok(()));
    events.expect(&["a down shutdown"]).await;
    assert_eq!(dynamic.terminate_instance(second).await, Ok(()));
    assert_eq!(dynamic.count_children().await.unwrap().active, 0);
}
