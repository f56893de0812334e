//! What is shot at, and how.

use std::io;
use std::time::Duration;

use callboard_signaling::admin::{FaultKind, FaultOrder, Tree};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::admin::Admin;
use super::member::Member;

/// A kind of shot, and the names of its figures.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) shot: Shot,
    pub(super) name: &'static str,
    /// Until the tree is whole again, as the server says.
    pub(super) whole: &'static str,
    /// Until the victims have it back, or know that they have lost it.
    pub(super) back: &'static str,
}

#[derive(Clone, Copy)]
pub(super) enum Shot {
    Peer(FaultKind),
    /// The room alone.
    Room(FaultKind),
    /// The room and the peers in it.
    House,
    Connection(FaultKind),
    /// One that goes on.
    Handshake,
}

macro_rules! kind {
    ($shot:expr, $name:literal, $back:literal) => {
        Kind {
            shot: $shot,
            name: $name,
            whole: concat!($name, ": whole p99, ms"),
            back: concat!($name, ": ", $back, " p99, ms"),
        }
    };
}

/// One of each.
pub(super) const SHOTS: [Kind; 8] = [
    kind!(Shot::Peer(FaultKind::Panic), "peer panics", "answers"),
    kind!(Shot::Connection(FaultKind::Panic), "connection panics", "told"),
    kind!(Shot::Room(FaultKind::Panic), "room panics", "answers"),
    kind!(Shot::Handshake, "handshake killed", "told"),
    kind!(Shot::Peer(FaultKind::Kill), "peer killed", "answers"),
    kind!(Shot::Connection(FaultKind::Kill), "connection killed", "told"),
    kind!(Shot::Room(FaultKind::Kill), "room killed", "answers"),
    kind!(Shot::House, "room with peers", "answers"),
];

/// What a shot has done, as its victims saw it.
pub(super) struct Hit {
    pub(super) kind: Kind,
    /// What was shot.
    pub(super) path: String,
    pub(super) at: Instant,
    /// Until the last of them was answered again, or was told that its connection is over.
    pub(super) back: Duration,
    /// When messages come back over the next connection.
    pub(super) relinking: Option<oneshot::Receiver<Instant>>,
    pub(super) relinked: Option<Duration>,
}

impl Shot {
    /// Whether this can be done to one like this.
    pub(super) fn fits(self, member: &Member) -> bool {
        let linked = matches!(self, Self::Connection(_) | Self::Handshake);
        member.is_up() && (!linked || member.linked)
    }
}

impl Kind {
    /// Shoot, and wait until the victims have what was shot back, or know that they have lost it.
    pub(super) async fn fire(
        self,
        admin: Admin,
        members: &[Member],
        victim: &Member,
    ) -> io::Result<Hit> {
        let id = victim.seen().id.clone().ok_or(io::ErrorKind::NotFound)?;
        let room = format!("server/rooms/{}", victim.room);
        let (path, at, back, relinking) = match self.shot {
            Shot::Peer(fault) => {
                let order = FaultOrder::new(format!("{room}/{id}"), fault);
                let (path, at, back) = answers(admin, order, [victim]).await?;
                (path, at, back, None)
            }
            Shot::Room(fault) => {
                let order = FaultOrder::new(format!("{room}/room"), fault);
                let (path, at, back) = answers(admin, order, housemates(members, victim)).await?;
                (path, at, back, None)
            }
            Shot::House => {
                let order = FaultOrder::new(room, FaultKind::Kill);
                let (path, at, back) = answers(admin, order, housemates(members, victim)).await?;
                (path, at, back, None)
            }
            Shot::Connection(fault) => {
                let tree = admin.tree().await?;
                let connection = connection(&tree, &id).ok_or(io::ErrorKind::NotFound)?;
                links(admin, FaultOrder::new(&connection.path, fault), victim).await?
            }
            Shot::Handshake => {
                victim.hold(Instant::now());
                let path = handshake(admin, &id).await?;
                links(admin, FaultOrder::new(path, FaultKind::Kill), victim).await?
            }
        };
        Ok(Hit { kind: self, path, at, back, relinking, relinked: None })
    }
}

fn housemates<'a>(
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
    let shot = Instant::now();
    let waiting: Vec<_> = victims.into_iter().map(|victim| victim.answers_again(shot)).collect();
    let at = admin.shoot(&order).await?;
    let mut back = Duration::ZERO;
    for waiting in waiting {
        back = back.max(told(waiting).await? - at);
    }
    Ok((order.path, at, back))
}

async fn links(admin: Admin, order: FaultOrder, victim: &Member) -> io::Result<Linked> {
    let (over, again) = victim.links_again(Instant::now());
    let at = admin.shoot(&order).await?;
    let back = told(over).await? - at;
    Ok((order.path, at, back, Some(again)))
}

type Linked = (String, Instant, Duration, Option<oneshot::Receiver<Instant>>);

/// The connection of this peer.
fn connection<'a>(tree: &'a Tree, peer: &str) -> Option<&'a Tree> {
    tree.find(&|node| node.id.strip_prefix("webrtc:") == Some(peer))?.children.first()
}

/// The path of the handshake of this peer's connection, as soon as there is one.
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

/// When it was told.
pub(super) async fn told(waiting: oneshot::Receiver<Instant>) -> io::Result<Instant> {
    timeout(PATIENCE, waiting).await?.map_err(io::Error::other)
}

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a handshake is looked for.
const LOOK: Duration = Duration::from_millis(10);
