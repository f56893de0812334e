//! Tests of names, snapshots and events: the view of a tree from outside.

mod common;

use std::sync::Arc;

use actix::prelude::*;
use callboard_supervision::*;
use common::{Do, Events, Fragile, Where};

struct Other;

impl Actor for Other {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        report_depth(7);
    }
}

#[actix::test]
async fn a_name_leads_to_the_current_instance_and_only_to_its_own_kind() {
    let alive = Arc::default();
    let supervisor = SupervisorSpec::new(Flags::one_for_one())
        .child(Fragile::spec("a", Where::Nowhere, &alive))
        .child(ChildSpec::supervisor("below", || {
            SupervisorSpec::new(Flags::one_for_one()).child(ChildSpec::new("other", || Other))
        }))
        .start()
        .await
        .unwrap();
    let mut events = Events::of(&supervisor);
    let a = supervisor.child::<Fragile>("a").unwrap();
    let old = a.addr().unwrap();

    supervisor.inject("a", Fault::Kill).await.unwrap();
    events.expect(&["a down killed", "a started"]).await;

    assert!(!old.connected());
    assert_eq!(a.send(Do::Nothing).await, Ok(()));
    let LookupError::OtherType { found, .. } = supervisor.child::<Other>("a").unwrap_err() else {
        panic!("found")
    };
    assert!(found.ends_with("Fragile"), "{found}");
    assert_eq!(supervisor.child::<Fragile>("b").unwrap_err(), LookupError::NotFound("b".into()));
    assert!(supervisor.supervisor("a").is_err());
    let below = supervisor.supervisor("below").unwrap();
    assert!(below.child::<Other>("other").unwrap().is_running());
    assert_eq!(below.path().to_string(), "root/below");
    let policy = supervisor.child_policy("below").await.unwrap().unwrap();
    assert_eq!((policy.kind, policy.shutdown), (ChildKind::Supervisor, Shutdown::Infinity));
    assert_eq!(supervisor.child_policy("?").await, Ok(None));
}

#[actix::test]
async fn a_forgotten_child_leads_nowhere_and_its_name_is_free() {
    let alive = Arc::default();
    let supervisor = SupervisorSpec::dynamic(Flags::one_for_one()).start().await.unwrap();
    supervisor.start_child(Fragile::spec("a", Where::Nowhere, &alive)).await.unwrap();
    let first = supervisor.child::<Fragile>("a").unwrap();

    supervisor.terminate_child("a").await.unwrap();

    assert!(!first.is_running());
    assert!(supervisor.child::<Fragile>("a").is_err());
    supervisor.start_child(Fragile::spec("a", Where::Nowhere, &alive)).await.unwrap();
    assert!(!first.is_running(), "another child of the same name");
    assert!(supervisor.child::<Fragile>("a").unwrap().is_running());
}

#[actix::test]
async fn a_snapshot_tells_the_state_of_every_actor() {
    tokio::time::pause();
    let alive = Arc::default();
    let supervisor = SupervisorSpec::new(Flags::one_for_one())
        .child(Fragile::spec("a", Where::Nowhere, &alive).restart(Restart::Transient))
        .child(ChildSpec::supervisor("below", || {
            SupervisorSpec::new(Flags::one_for_all()).child(ChildSpec::new("other", || Other))
        }))
        .start_as("server")
        .await
        .unwrap();
    let mut events = Events::of(&supervisor);
    supervisor.inject("a", Fault::Panic("what happened".into())).await.unwrap();
    events.expect(&["a down panic(what happened)", "a started"]).await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;

    let tree = supervisor.snapshot();

    assert_eq!(
        (&*tree.id, tree.kind, tree.status, tree.running()),
        ("server", ChildKind::Supervisor, Status::Running, 4)
    );
    let a = tree.find(&["a"]).unwrap();
    assert_eq!((a.status, a.restarts), (Status::Running, 1));
    assert_eq!(a.last_exit, Some(ExitReason::Panic("what happened".into())));
    assert_eq!(a.uptime.unwrap().as_secs(), 5);
    let other = tree.find(&["below", "other"]).unwrap();
    assert_eq!((other.depth, other.path.to_string().as_str()), (7, "server/below/other"));
    assert_eq!(tree.find(&["below"]).unwrap().flags, Some(Flags::one_for_all()));

    supervisor.child::<Fragile>("a").unwrap().send(Do::Stop).await.unwrap();
    events.expect(&["a down normal"]).await;
    let a = supervisor.snapshot();
    let a = a.find(&["a"]).unwrap();
    assert_eq!(
        (a.status, a.uptime, a.last_exit.clone()),
        (Status::Stopped, None, Some(ExitReason::Normal))
    );
    assert!(supervisor.snapshot().to_string().contains("a stopped, 1 restarts, last exit normal"));
}

/// Actor that reports itself when its start is complete.
struct Slow(Option<StartReport>, &'static str);

impl Actor for Slow {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.0 = Some(defer_start());
        ctx.notify(Finish);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Finish;

impl Handler<Finish> for Slow {
    type Result = ();
    fn handle(&mut self, _: Finish, _: &mut Self::Context) {
        let starting = self.0.take().expect("once");
        match self.1 {
            "ready" => starting.ready(),
            "info" => starting.ready_with(42_u32),
            "fail" => starting.fail(StartError::failed("not today")),
            "ignore" => starting.fail(StartError::Ignore),
            _ => drop(starting),
        }
    }
}

#[actix::test]
async fn a_start_is_complete_when_the_actor_says_so() {
    let supervisor = SupervisorSpec::new(Flags::one_for_one()).start().await.unwrap();
    let start = async |how: &'static str| {
        supervisor.start_child(ChildSpec::new(how, move || Slow(None, how))).await
    };

    assert!(start("ready").await.unwrap().running);
    assert_eq!(start("info").await.unwrap().info.unwrap().downcast_ref(), Some(&42_u32));
    assert!(!start("ignore").await.unwrap().running);
    let failed = |error: StartError| StartChildError::Start(error);
    assert_eq!(start("fail").await.unwrap_err(), failed(StartError::failed("not today")));
    assert_eq!(
        start("drop").await.unwrap_err(),
        failed(StartError::failed("the start was abandoned"))
    );
    assert_eq!(supervisor.count_children().await.unwrap().active, 2);
    assert_eq!(
        supervisor.child::<Slow>("ready").unwrap().addr().map(|addr| addr.connected()),
        Some(true)
    );
}
