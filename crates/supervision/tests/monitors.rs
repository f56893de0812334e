//! Tests of monitors and links.

mod common;

use std::sync::Arc;

use actix::prelude::*;
use callboard_supervision::*;
use common::{Do, Fragile, Where};
use tokio::sync::mpsc;

/// Actor that passes on the reports of its monitors.
struct Watch(mpsc::UnboundedSender<Down>);

impl Actor for Watch {
    type Context = Context<Self>;
}

impl Handler<Down> for Watch {
    type Result = ();
    fn handle(&mut self, down: Down, _: &mut Self::Context) {
        _ = self.0.send(down);
    }
}

fn watch() -> (Recipient<Down>, mpsc::UnboundedReceiver<Down>) {
    let (sender, downs) = mpsc::unbounded_channel();
    (Watch(sender).start().recipient(), downs)
}

fn plain() -> Addr<Fragile> {
    spawn(Fragile::new(Where::Nowhere, &Arc::default()))
}

#[actix::test]
async fn each_monitor_is_told_once_and_with_the_reason() {
    let (to, mut downs) = watch();
    for (what, reason) in [
        (Do::Panic, ExitReason::Panic("in a handler".into())),
        (Do::Stop, ExitReason::Normal),
        (Do::Exit(ExitReason::Error("oh".into())), ExitReason::Error("oh".into())),
    ] {
        let actor = plain();
        let (first, second) = (monitor(&actor, to.clone()), monitor(&actor, to.clone()));
        let third = monitor(&actor, to.clone());
        third.demonitor();

        actor.do_send(what);

        for expected in [first.id, second.id] {
            let down = downs.recv().await.unwrap();
            assert_eq!((down.monitor, down.reason), (expected, reason.clone()));
        }
        assert!(downs.try_recv().is_err());
    }
}

#[actix::test]
async fn one_who_is_dead_or_unknown_is_answered_at_once() {
    let (to, mut downs) = watch();
    let dead = plain();
    _ = dead.send(Do::Panic).await;
    let unknown = Fragile::new(Where::Nowhere, &Arc::default()).start();

    for actor in [&dead, &unknown] {
        let asked = monitor(actor, to.clone());
        let down = downs.recv().await.unwrap();
        assert_eq!(
            (down.monitor, down.reason, down.instance),
            (asked.id, ExitReason::NoProcess, None)
        );
    }
}

#[actix::test]
async fn a_supervised_actor_is_monitored_through_one_instance() {
    let alive = Arc::default();
    let spec = Fragile::spec("a", Where::Nowhere, &alive);
    let supervisor = SupervisorSpec::new(Flags::one_for_one()).child(spec).start().await.unwrap();
    let (to, mut downs) = watch();
    monitor(&supervisor.child::<Fragile>("a").unwrap().addr().unwrap(), to.clone());
    supervisor.monitor(to);

    supervisor.inject("a", Fault::Kill).await.unwrap();

    let down = downs.recv().await.unwrap();
    assert_eq!((&*down.name, down.reason), ("root/a", ExitReason::Killed));
    supervisor.stop().await;
    let down = downs.recv().await.unwrap();
    assert_eq!((&*down.name, down.reason), ("root", ExitReason::SHUTDOWN));
}

#[actix::test]
async fn a_supervisor_is_monitored_and_linked_through_its_handle() {
    let inner = || SupervisorSpec::new(Flags::one_for_one());
    let root = SupervisorSpec::new(Flags::one_for_one())
        .child(ChildSpec::supervisor("inner", inner))
        .start()
        .await
        .unwrap();
    let inner = root.supervisor("inner").unwrap();
    let (to, mut downs) = watch();
    let actor = plain();
    inner.monitor(to.clone());
    monitor(&actor, to.clone());
    inner.link(&actor);

    root.inject("inner", Fault::Kill).await.unwrap();

    let down = downs.recv().await.unwrap();
    assert_eq!((&*down.name, down.reason), ("root/inner", ExitReason::Killed));
    let ExitReason::Error(why) = downs.recv().await.unwrap().reason else { panic!("no error") };
    assert_eq!(why, "linked root/inner ended: killed");

    root.stop().await;
    let asked = inner.monitor(to);
    let down = downs.recv().await.unwrap();
    assert_eq!((down.monitor, &*down.name), (asked.id, "root/inner"));
    assert_eq!((down.reason, down.instance), (ExitReason::NoProcess, None));
}

#[actix::test]
async fn an_actor_outside_any_tree_ends_when_its_last_address_is_dropped() {
    let (to, mut downs) = watch();
    let actor = plain();
    monitor(&actor, to);
    let second = actor.clone();
    drop(actor);
    assert_eq!(second.send(Do::Nothing).await, Ok(()));

    drop(second);

    assert_eq!(downs.recv().await.unwrap().reason, ExitReason::Normal);
}

#[actix::test]
async fn a_link_passes_an_abnormal_end_on_in_both_directions() {
    for first_fails in [true, false] {
        let (to, mut downs) = watch();
        let (a, b) = (plain(), plain());
        link(&a, &b);
        let (failing, other) = if first_fails { (&a, &b) } else { (&b, &a) };
        monitor(other, to);

        failing.do_send(Do::Panic);

        let ExitReason::Error(why) = downs.recv().await.unwrap().reason else { panic!("no error") };
        assert!(why.ends_with("ended: panic(in a handler)"), "{why}");
    }
}

#[actix::test]
async fn a_link_leaves_the_other_alone_after_a_normal_end() {
    let (a, b) = (plain(), plain());
    link(&a, &b);
    let (to, mut downs) = watch();
    monitor(&a, to);

    a.do_send(Do::Stop);

    assert_eq!(downs.recv().await.unwrap().reason, ExitReason::Normal);
    assert_eq!(b.send(Do::Nothing).await, Ok(()));
}

#[actix::test]
async fn a_link_with_a_dead_actor_ends_the_other() {
    let (dead, b) = (plain(), plain());
    _ = dead.send(Do::Panic).await;
    let (to, mut downs) = watch();
    monitor(&b, to);

    link(&dead, &b);

    assert!(downs.recv().await.unwrap().reason.is_abnormal());
}
