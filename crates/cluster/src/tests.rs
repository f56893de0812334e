//! Nodes around one directory in memory, by a clock that the tests pause.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use callboard_supervision::{Fault, SupervisorRef};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{BoxStream, StreamExt, pending};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use crate::clock::Clock;
use crate::*;

/// Directory that a test can cut off from its node: calls and changes then wait.
#[derive(Clone)]
struct Cable {
    directory: Embedded,
    cut: Arc<watch::Sender<bool>>,
    /// Whether streams of changes that are asked for now will hang.
    hang: Arc<AtomicBool>,
}

impl Cable {
    fn new(directory: &Embedded) -> Self {
        let (cut, hang) = (Arc::new(watch::Sender::new(false)), Arc::default());
        Self { directory: directory.clone(), cut, hang }
    }

    fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    async fn whole(cut: &watch::Sender<bool>) {
        _ = cut.subscribe().wait_for(|cut| !cut).await;
    }

    fn pass<'a, T: 'a>(
        &'a self,
        call: BoxFuture<'a, Result<T, DirectoryError>>,
    ) -> BoxFuture<'a, Result<T, DirectoryError>> {
        async {
            Self::whole(&self.cut).await;
            call.await
        }
        .boxed()
    }
}

impl Directory for Cable {
    fn enter(
        &self,
        session: Session,
        was: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        self.pass(async move { self.directory.enter(session, was).await }.boxed())
    }

    fn renew(
        &self,
        session: Session,
        was: Revision,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        self.pass(async move { self.directory.renew(session, was).await }.boxed())
    }

    fn seal(
        &self,
        session: Session,
        was: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        self.pass(async move { self.directory.seal(session, was).await }.boxed())
    }

    fn claim(
        &self,
        room: Arc<str>,
        claim: Claim,
        was: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        self.pass(async move { self.directory.claim(room, claim, was).await }.boxed())
    }

    fn forget(&self, key: Key, was: Revision) -> BoxFuture<'_, Result<(), DirectoryError>> {
        self.pass(async move { self.directory.forget(key, was).await }.boxed())
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        if self.hang.load(Ordering::Relaxed) {
            return pending().boxed();
        }
        let cut = Arc::clone(&self.cut);
        let held_back = move |change| {
            let cut = Arc::clone(&cut);
            async move {
                Self::whole(&cut).await;
                change
            }
        };
        self.directory.changes().then(held_back).boxed()
    }
}

struct Node {
    cluster: Cluster,
    tree: SupervisorRef,
    cable: Cable,
}

async fn start(directory: &Embedded, name: &str) -> Node {
    start_with(Cable::new(directory), name).await
}

async fn start_with(cable: Cable, name: &str) -> Node {
    let cluster = Cluster::builder(cable.clone())
        .node(name)
        .url(format!("wss://{name}"))
        .hold(HOLD)
        .clock(Clock::Tokio(Instant::now()))
        .build()
        .unwrap();
    let tree = cluster.start().await.unwrap();
    Node { cluster, tree, cable }
}

/// Pauses the clock, and starts two nodes.
async fn two() -> (Node, Node) {
    tokio::time::pause();
    let directory = Embedded::new();
    (start(&directory, "a1").await, start(&directory, "b2").await)
}

/// Claims a room as soon as it can be had, within this time.
async fn claim_within(node: &Node, time: Duration) -> Hold {
    let claiming = async {
        loop {
            match node.cluster.claim("demo").await {
                Ok(hold) => return hold,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    timeout(time, claiming).await.expect("the room can be had in time")
}

fn unavailable(claimed: Result<Hold, ClaimError>) -> bool {
    matches!(claimed, Err(ClaimError::Unavailable { .. }))
}

const HOLD: Duration = Duration::from_secs(15);

#[actix::test]
async fn a_room_is_held_by_one_node_and_the_others_are_told_where_it_is() {
    let (a1, b2) = two().await;
    let hold = a1.cluster.claim("demo").await.unwrap();

    let refused = b2.cluster.claim("demo").await.unwrap_err();

    let ClaimError::Elsewhere(there) = refused else { panic!("{refused}") };
    assert_eq!((there.node.as_str(), there.url.as_deref()), ("a1", Some("wss://a1")));
    assert_eq!(there.epoch, hold.epoch());
    assert!(b2.cluster.claim("other").await.is_ok());
    // For a long time.
    tokio::time::sleep(100 * HOLD).await;
    assert!(hold.is_good());
}

#[actix::test]
async fn handles_of_one_node_are_one_hold_and_the_last_gives_the_room_back() {
    let (a1, b2) = two().await;
    let first = a1.cluster.claim("demo").await.unwrap();
    let second = a1.cluster.claim("demo").await.unwrap();
    assert_eq!(first.epoch(), second.epoch());

    drop(first);
    tokio::time::sleep(HOLD).await;
    assert!(second.is_good());
    assert!(b2.cluster.claim("demo").await.is_err());

    let before = second.epoch();
    drop(second);
    assert!(claim_within(&b2, Duration::from_secs(1)).await.epoch() > before);
}

#[actix::test]
async fn a_room_that_is_given_back_and_claimed_at_once_is_a_new_hold() {
    let (a1, _b2) = two().await;
    let mut last = Epoch::default();
    for _ in 0..10 {
        let hold = claim_within(&a1, Duration::from_secs(1)).await;
        assert!(hold.is_good());
        assert!(hold.epoch() > last);
        last = hold.epoch();
    }
}

#[actix::test]
async fn a_claim_that_overtakes_the_word_that_the_hold_was_dropped_is_a_new_hold() {
    let (a1, b2) = two().await;
    let hold = a1.cluster.claim("demo").await.unwrap();
    let before = hold.epoch();

    let mut claiming = pin!(a1.cluster.claim("demo"));
    assert!(claiming.as_mut().now_or_never().is_none());
    drop(hold);
    let again = claiming.await.unwrap();

    assert!(again.epoch() > before);
    tokio::time::sleep(HOLD).await;
    assert!(again.is_good());
    assert!(matches!(b2.cluster.claim("demo").await, Err(ClaimError::Elsewhere(_))));
}

#[actix::test]
async fn a_stream_of_changes_that_hangs_is_replaced_until_one_does_not() {
    tokio::time::pause();
    let cable = Cable::new(&Embedded::new());
    cable.hang.store(true, Ordering::Relaxed);
    let node = start_with(cable, "a1").await;
    tokio::time::sleep(4 * HOLD).await;
    assert!(unavailable(node.cluster.claim("demo").await));

    node.cable.hang.store(false, Ordering::Relaxed);

    claim_within(&node, 3 * HOLD).await;
}

#[actix::test]
async fn a_node_runs_once_at_a_time() {
    let (a1, _b2) = two().await;
    let hold = a1.cluster.claim("demo").await.unwrap();

    assert!(a1.cluster.start().await.is_err());

    tokio::time::sleep(2 * HOLD).await;
    assert!(hold.is_good());
    a1.tree.stop().await;
    let _tree = a1.cluster.start().await.unwrap();
    assert!(claim_within(&a1, HOLD).await.epoch() > hold.epoch());
    assert!(!hold.is_good());
}

#[actix::test]
async fn a_claim_is_refused_in_time_also_if_the_thread_of_the_node_is_blocked() {
    let cluster = Cluster::builder(Embedded::new()).hold(Duration::from_secs(1)).build().unwrap();
    let (blocks, blocked) = oneshot::channel();
    let (go_on, stands) = std::sync::mpsc::channel();
    let node = cluster.clone();
    let thread = thread::spawn(move || {
        actix::System::new().block_on(async move {
            let _tree = node.start().await.unwrap();
            blocks.send(()).unwrap();
            stands.recv().unwrap();
        });
    });
    blocked.await.unwrap();

    let claimed = timeout(Duration::from_secs(30), cluster.claim("demo")).await;

    assert!(unavailable(claimed.expect("it is answered in time")));
    go_on.send(()).unwrap();
    thread.join().unwrap();
}

#[actix::test]
async fn a_node_that_is_stopped_gives_its_rooms_away_at_once() {
    let (a1, b2) = two().await;
    let hold = a1.cluster.claim("demo").await.unwrap();

    a1.tree.stop().await;

    assert!(!hold.is_good());
    hold.over().await;
    claim_within(&b2, Duration::from_secs(1)).await;
    assert!(unavailable(a1.cluster.claim("demo").await));
}

#[actix::test]
async fn a_node_that_is_cut_off_holds_its_rooms_no_longer_than_its_lease() {
    let (a1, b2) = two().await;
    let hold = a1.cluster.claim("demo").await.unwrap();
    a1.cable.cut(true);
    let began = Instant::now();

    timeout(2 * HOLD, hold.over()).await.unwrap();
    let lapsed = began.elapsed();
    assert!(!hold.is_good());
    let taken = claim_within(&b2, HOLD).await;

    // The last renewal was at most a fifth of a hold old, and perhaps one was under way.
    assert!(lapsed <= HOLD + Duration::from_millis(100), "{lapsed:?}");
    assert!(began.elapsed() >= lapsed, "{:?}", began.elapsed());
    assert!(began.elapsed() <= HOLD * 3 / 2, "{:?}", began.elapsed());
    assert!(taken.epoch() > hold.epoch());

    // Back again, it finds its room elsewhere, and the hold of before stays over.
    a1.cable.cut(false);
    tokio::time::sleep(2 * HOLD).await;
    assert!(matches!(a1.cluster.claim("demo").await, Err(ClaimError::Elsewhere(_))));
    assert!(!hold.is_good());
    assert!(a1.cluster.claim("other").await.is_ok());
}

#[actix::test]
async fn while_the_directory_is_away_nothing_new_is_held() {
    let (a1, b2) = two().await;
    let hold = a1.cluster.claim("demo").await.unwrap();
    [&a1, &b2].iter().for_each(|node| node.cable.cut(true));

    assert!(unavailable(a1.cluster.claim("other").await));
    assert!(hold.is_good());
    tokio::time::sleep(4 * HOLD).await;
    assert!(!hold.is_good());
    assert!(a1.cluster.lease().is_none());
    assert!(unavailable(a1.cluster.claim("demo").await));
    assert!(unavailable(b2.cluster.claim("demo").await));

    [&a1, &b2].iter().for_each(|node| node.cable.cut(false));
    let again = claim_within(&a1, HOLD).await;
    assert!(again.epoch() > hold.epoch());
    assert_eq!(again.follows(), Some(hold.epoch()), "no other node had it");
    assert!(a1.cluster.lease().is_some());
}

#[actix::test]
async fn what_happens_at_a_node_is_counted() {
    let (a1, b2) = two().await;
    let hold = a1.cluster.claim("demo").await.unwrap();
    assert!(a1.cluster.claim("demo").await.is_ok());
    assert!(b2.cluster.claim("demo").await.is_err());
    a1.cable.cut(true);
    assert!(a1.cluster.claim("other").await.is_err());
    hold.over().await;
    claim_within(&b2, HOLD).await;

    let (on_a1, on_b2) = (a1.cluster.facts(), b2.cluster.facts());
    assert!(!on_a1.engine_up && on_b2.engine_up);
    assert!(on_b2.renewal.is_some_and(|took| took < HOLD));
    let claims = (on_a1.claims_granted, on_a1.claims_elsewhere, on_a1.claims_unavailable);
    assert_eq!((claims, on_a1.lapses, on_a1.seals), ((2, 0, 1), 1, 0));
    assert_eq!(on_a1.lease_remaining, None);
    assert_eq!((on_b2.claims_granted, on_b2.lapses, on_b2.seals), (1, 0, 1));
    assert!(on_b2.claims_elsewhere >= 1 && on_b2.lease_remaining.is_some());
}

#[actix::test]
async fn a_hold_says_which_one_it_follows() {
    let (a1, b2) = two().await;
    let first = a1.cluster.claim("demo").await.unwrap();
    assert_eq!(first.follows(), None);
    a1.cable.cut(true);
    timeout(2 * HOLD, first.over()).await.unwrap();
    let second = claim_within(&b2, HOLD).await;
    assert_eq!(second.follows(), Some(first.epoch()));
    drop(second.clone());

    a1.cable.cut(false);
    let theirs = second.epoch();
    drop(second);
    let third = claim_within(&a1, 2 * HOLD).await;

    assert_eq!(third.follows(), Some(theirs), "and not the one of this node that was over");
    assert_eq!(a1.cluster.claim("demo").await.unwrap().follows(), Some(theirs));
}

#[actix::test]
async fn a_short_outage_is_not_noticed() {
    let (a1, b2) = two().await;
    let hold = a1.cluster.claim("demo").await.unwrap();

    for _ in 0..5 {
        [&a1, &b2].iter().for_each(|node| node.cable.cut(true));
        tokio::time::sleep(HOLD * 3 / 5).await;
        assert!(hold.is_good());
        [&a1, &b2].iter().for_each(|node| node.cable.cut(false));
        tokio::time::sleep(HOLD * 2 / 5).await;
        assert!(hold.is_good());
    }
    assert!(b2.cluster.claim("demo").await.is_err());
}

#[actix::test]
async fn a_node_whose_actor_fails_enters_again_and_what_it_held_is_over() {
    let (a1, b2) = two().await;
    let hold = a1.cluster.claim("demo").await.unwrap();

    a1.tree.inject("cluster", Fault::Panic("a fault".into())).await.unwrap();

    timeout(HOLD, hold.over()).await.unwrap();
    assert!(!hold.is_good());
    let again = claim_within(&b2, Duration::from_secs(5)).await;
    assert!(again.epoch() > hold.epoch());
    assert!(a1.cluster.claim("other").await.is_ok());
}

#[actix::test]
async fn a_second_process_of_a_name_waits_until_the_first_is_silent() {
    tokio::time::pause();
    let directory = Embedded::new();
    let first = start(&directory, "a1").await;
    let hold = first.cluster.claim("demo").await.unwrap();

    let second = start(&directory, "a1").await;
    tokio::time::sleep(4 * HOLD).await;
    assert!(unavailable(second.cluster.claim("other").await));
    assert!(unavailable(second.cluster.claim("demo").await), "not elsewhere: at this very name");
    assert!(hold.is_good());

    first.cable.cut(true);
    timeout(2 * HOLD, hold.over()).await.unwrap();
    claim_within(&second, HOLD).await;
}

#[actix::test]
async fn a_claim_that_no_one_waits_for_is_given_back() {
    let (a1, b2) = two().await;
    a1.cable.cut(true);
    {
        let claim = a1.cluster.claim("demo");
        assert!(timeout(Duration::from_secs(1), claim).await.is_err());
    }
    a1.cable.cut(false);

    claim_within(&b2, HOLD).await;
}

#[test]
fn names_and_files_that_do_not_do_are_refused() {
    let builder = || Cluster::builder(Embedded::new());
    assert!(matches!(builder().node("A 1").build(), Err(BuildError::Node(_))));
    let missing = builder().lock_file("/nonexistent/folder/lock").build();
    assert!(matches!(missing, Err(BuildError::Lock { .. })), "{missing:?}");

    let file = tempfile::NamedTempFile::new().unwrap();
    let first = builder().node("a1").lock_file(file.path()).build().unwrap();
    let second = builder().node("a1").lock_file(file.path()).build();
    assert!(matches!(second, Err(BuildError::Locked(_))), "{second:?}");
    drop(first);
    assert!(builder().node("a1").lock_file(file.path()).build().is_ok());
}

#[actix::test]
async fn rooms_without_a_name_are_refused() {
    let (a1, _b2) = two().await;
    for name in ["", &"x".repeat(257)] {
        assert!(matches!(a1.cluster.claim(name).await, Err(ClaimError::BadName(_))));
    }
    assert!(a1.cluster.claim(&"x".repeat(256)).await.is_ok());
}

#[actix::test]
async fn a_node_that_is_drained_says_so_and_takes_no_more_rooms() {
    let (a1, b2) = two().await;
    let hold = a1.cluster.claim("kept").await.unwrap();
    let own = b2.cluster.claim("demo").await.unwrap();
    let seen = |node: &Node| -> Vec<_> {
        let nodes = node.cluster.nodes().into_iter();
        nodes.map(|node| (node.node.to_string(), node.url, node.state)).collect()
    };
    let b2_is = |state| [("b2".to_owned(), Some("wss://b2".to_owned()), state)];
    assert_eq!(seen(&a1), b2_is(SessionState::Up));

    b2.cluster.drain();
    while seen(&a1) != b2_is(SessionState::Draining) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    assert!(b2.cluster.is_draining() && !a1.cluster.is_draining());
    assert!(
        unavailable(b2.cluster.claim("other").await),
        "of no one, and not for a node that leaves"
    );
    let other = a1.cluster.claim("other").await.unwrap();
    while !matches!(b2.cluster.claim("other").await, Err(ClaimError::Elsewhere(_))) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(other);
    // What it has when its session ends it takes again.
    b2.cable.cut(true);
    timeout(2 * HOLD, own.over()).await.unwrap();
    b2.cable.cut(false);
    assert_eq!(claim_within(&b2, HOLD).await.follows(), Some(own.epoch()));
    // Its session is renewed as before.
    tokio::time::sleep(10 * HOLD).await;
    assert!(b2.cluster.lease().is_some() && hold.is_good());
    assert_eq!(seen(&a1), b2_is(SessionState::Draining));
    b2.tree.stop().await;
    while !seen(&a1).is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
