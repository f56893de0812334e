//! Injected faults and their targets.

use std::io;
use std::time::Duration;

use callboard_admin::{FaultKind, FaultOrder, Tree};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::admin::Admin;
use super::member::Member;

/// Kind of fault, and the names of its figures.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) target: Target,
    pub(super) name: &'static str,
    /// Figure of the time until the tree is whole again, as the server measures it.
    pub(super) whole: &'static str,
    /// Figure of the time until the affected members are answered again, or know that they have lost their connection.
    pub(super) back: &'static str,
}

#[derive(Clone, Copy)]
pub(super) enum Target {
    Peer(FaultKind),
    /// The room alone.
    Room(FaultKind),
    /// The room and the peers in it.
    RoomWithPeers,
    Connection(FaultKind),
    /// A handshake that is under way.
    Handshake,
}

macro_rules! kind {
    ($target:expr, $name:literal, $back:literal) => {
        Kind {
            target: $target,
            name: $name,
            whole: concat!($name, ": whole p99, ms"),
            back: concat!($name, ": ", $back, " p99, ms"),
        }
    };
}

/// One of each kind.
pub(super) const KINDS: [Kind; 8] = [
    kind!(Target::Peer(FaultKind::Panic), "peer panics", "answers"),
    kind!(Target::Connection(FaultKind::Panic), "connection panics", "told"),
    kind!(Target::Room(FaultKind::Panic), "room panics", "answers"),
    kind!(Target::Handshake, "handshake killed", "told"),
    kind!(Target::Peer(FaultKind::Kill), "peer killed", "answers"),
    kind!(Target::Connection(FaultKind::Kill), "connection killed", "told"),
    kind!(Target::Room(FaultKind::Kill), "room killed", "answers"),
    kind!(Target::RoomWithPeers, "room with peers", "answers"),
];

/// Effect of a fault, as the affected members saw it.
pub(super) struct Hit {
    pub(super) kind: Kind,
    /// Path of the actor that was hit.
    pub(super) path: String,
    pub(super) at: Instant,
    /// Time until the last of them was answered again, or was told that its connection is over.
    pub(super) back: Duration,
    /// Receives the time at which messages come back over the next connection.
    pub(super) relinking: Option<oneshot::Receiver<Instant>>,
    pub(super) relinked: Option<Duration>,
}

impl Target {
    /// Returns whether this fault can be injected into an actor of this member.
    pub(super) fn fits(self, member: &Member) -> bool {
        let linked = matches!(self, Self::Connection(_) | Self::Handshake);
        member.is_up() && (!linked || member.linked)
    }
}

impl Kind {
    /// Injects the fault, and waits until the affected members are answered again, or know that they
    /// have lost their connection.
    pub(super) async fn inject(
        self,
        admin: Admin,
        members: &[Member],
        victim: &Member,
    ) -> io::Result<Hit> {
        let id = victim.seen().id.clone().ok_or(io::ErrorKind::NotFound)?;
        let room = format!("server/rooms/{}", victim.room);
        let (path, at, back, relinking) = match self.target {
            Target::Peer(fault) => {
                let order = FaultOrder::new(format!("{room}/{id}"), fault);
                let (path, at, back) = answers(admin, order, [victim]).await?;
                (path, at, back, None)
            }
            Target::Room(fault) => {
                let order = FaultOrder::new(format!("{room}/room"), fault);
                let (path, at, back) = answers(admin, order, roommates(members, victim)).await?;
                (path, at, back, None)
            }
            Target::RoomWithPeers => {
                let order = FaultOrder::new(room, FaultKind::Kill);
                let (path, at, back) = answers(admin, order, roommates(members, victim)).await?;
                (path, at, back, None)
            }
            Target::Connection(fault) => {
                let tree = admin.tree().await?;
                let connection = connection(&tree, &id).ok_or(io::ErrorKind::NotFound)?;
                links(admin, FaultOrder::new(&connection.path, fault), victim).await?
            }
            Target::Handshake => {
                victim.hold(Instant::now());
                let path = handshake(admin, &id).await?;
                links(admin, FaultOrder::new(path, FaultKind::Kill), victim).await?
            }
        };
        Ok(Hit { kind: self, path, at, back, relinking, relinked: None })
    }
}

fn roommates<'a>(
    members: &'a [Member],
    victim: &'a Member,
) -> impl Iterator<Item = &'a Member> + use<'a> {
    members.iter().filter(|member| member.room == victim.room)
}

async fn answers<'a>(
    admin: Admin,
    order: FaultOrder,
    victims: impl IntoIterator<Item = &'a Member>,
) -> io::Result<(String, Instant, Duration)> {
    let since = Instant::now();
    let waiting: Vec<_> = victims.into_iter().map(|victim| victim.answers_again(since)).collect();
    let at = admin.inject(&order).await?;
    let mut back = Duration::ZERO;
    for waiting in waiting {
        back = back.max(told(waiting).await? - at);
    }
    Ok((order.path, at, back))
}

async fn links(admin: Admin, order: FaultOrder, victim: &Member) -> io::Result<Linked> {
    let (over, again) = victim.links_again(Instant::now());
    let at = admin.inject(&order).await?;
    let back = told(over).await? - at;
    Ok((order.path, at, back, Some(again)))
}

type Linked = (String, Instant, Duration, Option<oneshot::Receiver<Instant>>);

/// Returns the connection of this peer.
pub(super) fn connection<'a>(tree: &'a Tree, peer: &str) -> Option<&'a Tree> {
    tree.find(&|node| node.id.strip_prefix("webrtc:") == Some(peer))?.children.first()
}

/// Returns the path of the handshake of this peer's connection, as soon as there is one.
async fn handshake(admin: Admin, peer: &str) -> io::Result<String> {
    let looking = async {
        loop {
            let tree = admin.tree().await?;
            let found = connection(&tree, peer).and_then(|connection| connection.children.first());
            if let Some(handshake) = found.filter(|it| it.status == "running") {
                return Ok(handshake.path.clone());
            }
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, looking).await?
}

/// Returns the time that a member has reported.
pub(super) async fn told(waiting: oneshot::Receiver<Instant>) -> io::Result<Instant> {
    timeout(PATIENCE, waiting).await?.map_err(io::Error::other)
}

/// Time after which an operation has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Interval of the search for a handshake.
const LOOK: Duration = Duration::from_millis(10);
