//! What counts as a recovery, and when a tree is whole again.

use std::time::Duration;

use actix::prelude::*;
use callboard_admin::*;
use callboard_supervision::*;

struct Idle;

impl Actor for Idle {
    type Context = Context<Self>;
}

/// A child that starts slowly, except for the first time.
struct Slow(bool);

impl Actor for Slow {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.0 {
            let starting = defer_start();
            ctx.run_later(Duration::from_millis(50), |_, _| starting.ready());
        }
    }
}

fn slow(id: &str) -> ChildSpec {
    let mut again = false;
    ChildSpec::new(id, move || Slow(std::mem::replace(&mut again, true)))
}

fn flags(flags: Flags) -> Flags {
    flags.intensity(1_000, Duration::from_secs(1))
}

fn idle(id: &str, restart: Restart) -> ChildSpec {
    ChildSpec::new(id, || Idle).restart(restart)
}

async fn admin(spec: SupervisorSpec) -> (SupervisorRef, Admin) {
    let root = spec.start().await.unwrap();
    (root.clone(), Admin::builder(root).build())
}

/// Waits until this holds for the recoveries, and returns them.
async fn recoveries(admin: &Admin, holds: impl Fn(&[Recovery]) -> bool) -> Vec<Recovery> {
    let wait = async {
        loop {
            let told = admin.recoveries();
            if holds(&told) {
                return told;
            }
            // Interval of checks. Paused time passes only here.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(60), wait).await;
    told.unwrap_or_else(|_| panic!("not within a minute: {:#?}", admin.recoveries()))
}

/// Waits until there are this many recoveries and all of them are whole, and returns them.
async fn whole(admin: &Admin, count: usize) -> Vec<Recovery> {
    let all = |told: &[Recovery]| told.iter().all(|it| it.whole_ms.is_some());
    recoveries(admin, |told| told.len() >= count && all(told)).await
}

async fn inject(admin: &Admin, path: &str, fault: FaultKind) {
    admin.inject(&FaultOrder::new(path, fault)).await.unwrap();
}

#[actix::test]
async fn it_is_whole_when_the_same_child_runs_again() {
    let (_, admin) = admin(SupervisorSpec::new(flags(Flags::one_for_one())).child(slow("a"))).await;

    inject(&admin, "root/a", FaultKind::Kill).await;
    let [recovery] = whole(&admin, 1).await.try_into().unwrap();

    assert_eq!((&*recovery.path, recovery.type_name.as_deref()), ("root/a", Some("Slow")));
    assert_eq!((recovery.fault, &*recovery.reason.kind), (Some(FaultKind::Kill), "killed"));
    assert!(recovery.whole_ms >= Some(50.0), "{recovery:?}");
}

#[actix::test]
async fn one_that_is_gone_for_good_was_gone_when_it_was_forgotten_not_when_somebody_looked() {
    let spec = SupervisorSpec::new(flags(Flags::one_for_one()));
    let (_, admin) = admin(spec.child(idle("a", Restart::Temporary))).await;
    // Time passes only while a task waits for it: for the next check.
    tokio::time::pause();

    inject(&admin, "root/a", FaultKind::Kill).await;

    assert_eq!(whole(&admin, 1).await[0].whole_ms, Some(0.0));
}

#[actix::test]
async fn it_is_whole_when_those_that_were_stopped_with_it_run_again() {
    let spec = SupervisorSpec::new(flags(Flags::one_for_all()));
    let spec = spec.child(idle("a", Restart::Permanent)).child(slow("b"));
    let (root, admin) = admin(spec).await;

    inject(&admin, "root/a", FaultKind::Panic).await;
    let told = whole(&admin, 1).await;

    // `b` was stopped on the way, which is not a failure.
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].whole_ms >= Some(50.0), "{told:#?}");
    assert_eq!(root.snapshot().running(), 3);
}

#[actix::test]
async fn one_that_is_not_to_come_back_is_gone() {
    let below = || {
        ChildSpec::supervisor("dynamic", || SupervisorSpec::dynamic(flags(Flags::one_for_one())))
    };
    let spec = SupervisorSpec::new(flags(Flags::one_for_one()));
    let (root, admin) = admin(spec.child(below()).child(idle("t", Restart::Transient))).await;
    let dynamic = root.supervisor("dynamic").unwrap();
    // Even on a slow machine, only the awaited time passes.
    tokio::time::pause();
    dynamic.start_child(idle("one", Restart::Temporary)).await.unwrap();
    dynamic.start_child(idle("other", Restart::Temporary)).await.unwrap();

    inject(&admin, "root/dynamic/one", FaultKind::Panic).await;
    inject(&admin, "root/t", FaultKind::Stop).await;
    // A child that is terminated is not a failure.
    dynamic.terminate_child("other").await.unwrap();
    let told = whole(&admin, 2).await;

    assert_eq!(told.len(), 2, "{told:#?}");
    // It takes a second to be sure that it stays stopped; that is not counted.
    assert!(told.iter().all(|it| it.whole_ms < Some(900.0)), "{told:#?}");
}

#[actix::test]
async fn what_falls_with_its_supervisor_is_no_recovery_of_its_own() {
    let below = || {
        ChildSpec::supervisor("below", || {
            (0..20).fold(SupervisorSpec::new(flags(Flags::one_for_one())), |spec, number| {
                spec.child(idle(&number.to_string(), Restart::Permanent))
            })
        })
    };
    let (root, admin) =
        admin(SupervisorSpec::new(flags(Flags::one_for_one())).child(below())).await;

    inject(&admin, "root/below", FaultKind::Kill).await;
    assert_eq!(whole(&admin, 1).await.len(), 1);
    // The same without an announced fault.
    root.inject("below", Fault::Panic("by itself".into())).await.unwrap();
    let told = whole(&admin, 2).await;

    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told.iter().all(|it| it.path == "root/below"), "{told:#?}");
    assert_eq!((told[1].fault, &*told[1].reason.text), (None, "by itself"));
    assert_eq!(root.snapshot().running(), 22);
}

#[actix::test]
async fn a_tree_that_gives_up_is_not_whole_again() {
    let spec = SupervisorSpec::new(Flags::one_for_one().intensity(0, Duration::from_secs(1)));
    let (root, admin) = admin(spec.child(idle("a", Restart::Permanent))).await;

    inject(&admin, "root/a", FaultKind::Panic).await;
    root.ended().await;
    let told = recoveries(&admin, |told| !told.is_empty()).await;

    assert_eq!((told[0].path.as_str(), told[0].whole_ms), ("root/a", None));
    assert_eq!(admin.recovery_summaries()[0].whole, None);
    assert_eq!(admin.not_ready().await.len(), 1);
}

#[actix::test]
async fn no_more_than_256_are_remembered() {
    let (_, admin) = admin(
        SupervisorSpec::new(flags(Flags::one_for_one())).child(idle("a", Restart::Permanent)),
    )
    .await;

    for next in 0..300 {
        inject(&admin, "root/a", FaultKind::Kill).await;
        let is_whole = |it: &Recovery| it.id == next && it.whole_ms.is_some();
        recoveries(&admin, |told| told.last().is_some_and(is_whole)).await;
    }

    let told = admin.recoveries();
    assert_eq!((told.len(), told[0].id, told[255].id), (256, 44, 299));
    let [summary] = admin.recovery_summaries().try_into().unwrap();
    assert_eq!((summary.count, &*summary.reason), (256, "killed"));
    let times = summary.whole.unwrap();
    assert!(times.p50_ms <= times.p99_ms);
}
