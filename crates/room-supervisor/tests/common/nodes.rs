//! Nodes of one cluster in one process, each with its rooms.

use std::sync::Arc;
use std::time::Duration;

use callboard_cluster::{
    Change, Claim, Cluster, ClusterBuilder, Directory, DirectoryError, Embedded, Epoch, Key,
    MemoryWire, Revision, Session, SessionState,
};
use callboard_room_supervisor::*;
use callboard_supervision::SupervisorRef;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{BoxStream, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Directory that a test can cut off from its node: calls and changes then wait.
#[derive(Clone)]
pub(crate) struct Cable {
    directory: Embedded,
    cut: Arc<watch::Sender<bool>>,
    /// The answers to claims are lost.
    deaf: Arc<watch::Sender<bool>>,
    /// Number of claims that the node has begun to write.
    claims: Arc<watch::Sender<usize>>,
}

impl Cable {
    pub(crate) fn new(directory: &Embedded) -> Self {
        let [cut, deaf] = [false; 2].map(|it| Arc::new(watch::Sender::new(it)));
        Self { directory: directory.clone(), cut, deaf, claims: Arc::default() }
    }

    /// Returns how many claims the node has begun to write.
    pub(crate) fn claims(&self) -> usize {
        *self.claims.borrow()
    }

    /// Waits until the node has begun to write more claims than this.
    pub(crate) async fn claims_more_than(&self, claims: usize) {
        _ = self.claims.subscribe().wait_for(|now| *now > claims).await;
    }

    /// Lets the answers to claims be lost.
    pub(crate) fn deafen(&self, deaf: bool) {
        self.deaf.send_replace(deaf);
    }

    pub(crate) fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    /// Waits until a node holds a room by a claim after this one, as the directory has it.
    pub(crate) async fn claimed_after(&self, room: &str, epoch: Epoch) {
        let newer = |name: &str, claim: &Claim| {
            name == room && claim.holder.is_some() && claim.epoch > epoch
        };
        let mut changes = self.directory.changes();
        while let Some(change) = changes.next().await {
            match change {
                Change::Claim(name, claim, _) if newer(&name, &claim) => return,
                Change::Whole(whole)
                    if whole.claims.iter().any(|(it, claim, _)| newer(it, claim)) =>
                {
                    return;
                }
                _ => {}
            }
        }
    }

    async fn whole(cut: &watch::Sender<bool>) {
        _ = cut.subscribe().wait_for(|cut| !cut).await;
    }

    fn pass<'a, T: 'a>(
        &'a self,
        call: impl Future<Output = Result<T, DirectoryError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, DirectoryError>> {
        async {
            Self::whole(&self.cut).await;
            call.await
        }
        .boxed()
    }
}

type Outcome<'a, T = Revision> = BoxFuture<'a, Result<T, DirectoryError>>;

impl Directory for Cable {
    fn enter(&self, session: Session, was: Option<Revision>) -> Outcome<'_> {
        self.pass(async move { self.directory.enter(session, was).await })
    }

    fn renew(&self, session: Session, was: Revision) -> Outcome<'_> {
        self.pass(async move { self.directory.renew(session, was).await })
    }

    fn seal(&self, session: Session, was: Option<Revision>) -> Outcome<'_> {
        self.pass(async move { self.directory.seal(session, was).await })
    }

    fn claim(&self, room: Arc<str>, claim: Claim, was: Option<Revision>) -> Outcome<'_> {
        self.claims.send_modify(|claims| *claims += 1);
        self.pass(async move {
            let claimed = self.directory.claim(room, claim, was).await;
            Self::whole(&self.deaf).await;
            claimed
        })
    }

    fn forget(&self, key: Key, was: Revision) -> Outcome<'_, ()> {
        self.pass(async move { self.directory.forget(key, was).await })
    }

    fn changes(&self) -> BoxStream<'static, Change> {
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

/// Node of a cluster, and the server on it.
pub(crate) struct Node {
    pub(crate) cluster: Cluster,
    pub(crate) rooms: Rooms,
    pub(crate) cable: Cable,
    trees: Vec<SupervisorRef>,
}

impl Node {
    /// Starts a node, and the rooms on it that `build` describes.
    pub(crate) async fn start(
        directory: &Embedded,
        name: &str,
        build: impl FnOnce(RoomsBuilder) -> RoomsBuilder,
    ) -> Self {
        let url = format!("wss://{name}.example.org");
        let cluster = |cluster: ClusterBuilder| cluster.url(url).hold(HOLD);
        Self::start_with(Cable::new(directory), name, cluster, build).await
    }

    /// Starts a node with lines over this wire.
    pub(crate) async fn on_wire(
        directory: &Embedded,
        wire: &MemoryWire,
        name: &str,
        build: impl FnOnce(RoomsBuilder) -> RoomsBuilder,
    ) -> Self {
        // No hold ends, however busy the machine is.
        Self::on_wire_holding(60 * HOLD, (directory, wire), name, build).await
    }

    /// Starts a node with lines, whose session lasts so long.
    pub(crate) async fn on_wire_holding(
        hold: Duration,
        (directory, wire): (&Embedded, &MemoryWire),
        name: &str,
        build: impl FnOnce(RoomsBuilder) -> RoomsBuilder,
    ) -> Self {
        let cluster = |cluster: ClusterBuilder| cluster.wire(wire.clone()).hold(hold);
        Self::start_with(Cable::new(directory), name, cluster, build).await
    }

    async fn start_with(
        cable: Cable,
        name: &str,
        cluster: impl FnOnce(ClusterBuilder) -> ClusterBuilder,
        build: impl FnOnce(RoomsBuilder) -> RoomsBuilder,
    ) -> Self {
        let builder = cluster(Cluster::builder(cable.clone()).node(name));
        let cluster = builder.build().expect("a good name");
        let rooms = build(Rooms::builder().cluster(&cluster)).build();
        let node = cluster.start().await.expect("it runs nowhere else");
        let server = rooms.start().await.expect("the rooms start");
        Self { cluster, rooms, cable, trees: vec![server, node] }
    }

    /// Opens a room as soon as it can be had.
    pub(crate) async fn open(&self, name: &str) -> RoomHandle {
        within(async {
            loop {
                match self.rooms.find_or_open(name).await {
                    Ok(room) => return room,
                    Err(StartRoomError::Elsewhere { .. } | StartRoomError::Unavailable { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                sleep(PAUSE).await;
            }
        })
        .await
    }

    /// Ends the node without a word, as if its machine were gone: nothing of it reaches these others or the directory
    /// any more, which is told that it is dead.
    pub(crate) async fn kill(&self, wire: &MemoryWire, others: &[&Self]) {
        self.cable.cut(true);
        let here = self.cluster.node();
        for other in others.iter().map(|other| other.cluster.node()) {
            wire.cut(here, other, true);
            wire.cut(other, here, true);
        }
        loop {
            let Some(Change::Whole(whole)) = self.cable.directory.changes().next().await else {
                panic!("all that there is comes first")
            };
            let mut sessions = whole.sessions.into_iter();
            let (mut session, at) = sessions.find(|(session, _)| session.node == *here).unwrap();
            session.state = SessionState::Sealed;
            // A renewal may have been under way.
            if self.cable.directory.seal(session, Some(at)).await.is_ok() {
                return;
            }
        }
    }

    pub(crate) async fn stop(self) {
        for tree in self.trees {
            tree.stop().await;
        }
    }
}

/// Waits until this holds.
pub(crate) async fn until(holds: impl FnMut() -> bool) {
    until_or(holds, || "it does not hold".to_owned()).await;
}

/// Waits until this holds; `what` says what there is instead.
pub(crate) async fn until_or(mut holds: impl FnMut() -> bool, what: impl Fn() -> String) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "after {PATIENCE:?}: {}", what());
        sleep(PAUSE).await;
    }
}

/// Waits for something that must come.
pub(crate) async fn within<T>(something: impl Future<Output = T>) -> T {
    timeout(PATIENCE, something).await.expect("it comes in time")
}

/// Short, so that the tests are; yet not so short that a busy machine ends it.
pub(crate) const HOLD: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(60);
