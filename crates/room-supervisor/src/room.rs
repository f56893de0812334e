//! Behaviour of a room, which an application writes.

use std::any::Any;
use std::future::Future;

use futures_util::future::LocalBoxFuture;

use crate::auth::AuthData;
use crate::context::RoomContext;
use crate::member::Member;
use crate::message::RoomMessage;
use crate::peer_id::PeerId;
use crate::rejection::Rejection;
use crate::snapshot::Snapshot;

/// Behaviour of a room; the value is its state.
///
/// All callbacks of a room run on the room's own actor, one after another. A slow callback delays its own room and no
/// other. A callback that blocks its thread, as blocking I/O and long computations do, also delays the rooms that share
/// the thread ([`RoomsBuilder::threads`](crate::RoomsBuilder::threads)), and the log names the room.
///
/// # When a callback panics
///
/// The room's actor ends and is restarted ([`OnCrash`](crate::OnCrash)). **What survives**: the members with their
/// [metadata](Member) and connections, the messages in their outboxes, the room's name and
/// [handles](crate::RoomHandle), and the departures that were not announced yet. **What is lost**: the state (`self`),
/// which [`on_init`](Self::on_init) creates anew, the [ticks](RoomContext::every), and the messages that waited for the
/// room. Then [`on_readopt`](Self::on_readopt) gets the members. State that must survive belongs into
/// [`Options`](Self::Options), in an `Arc<Mutex<…>>` for example.
pub trait Room: Sized + 'static {
    /// Argument of [`on_init`](Self::on_init): set in [`RoomOptions`](crate::RoomOptions).
    type Options: Clone + Send + Sync + 'static;

    /// Whether the messages of peers go straight into the outboxes of their addressees, from the thread of the sender,
    /// without the room's actor. Then [`on_forward`](Self::on_forward) is **never called**, for the room's own `joined`
    /// and `left` neither. Default: false, the room gets each message first.
    ///
    /// Set it to true in a room that leaves `on_forward` as it is: a message costs less, and arrives also while the
    /// room is busy, blocks its thread, decides on a peer, or is restarted after a crash. Nothing else changes: a
    /// message reaches all of its addressees or none, those from one peer to another arrive in their order, and none
    /// comes before the sender's `joined` or after its `left`. A message still goes through the room's actor, and waits
    /// for it, while that announces joins and departures, behind another message of its sender that waits there, or if
    /// it has more than 64 addressees or an unknown one.
    ///
    /// A room that wraps another one has a constant of its own, so its `on_forward` is called if it says nothing here.
    const FORWARDS_DIRECTLY: bool = false;

    /// Creates the state of a room that is opened, or opened again after a crash. It has no members yet.
    ///
    /// # Errors
    /// A reason not to open the room; the caller of [`Rooms::start_supervised`](crate::Rooms::start_supervised) gets
    /// it.
    fn on_init(options: &Self::Options, room: &RoomContext) -> Result<Self, Rejection>;

    /// Decides whether a peer may join. May take up to [`RoomOptions::join_timeout`](crate::RoomOptions::join_timeout);
    /// the room does nothing else meanwhile. Not called when the room is
    /// [full](crate::RoomOptions::max_peers). The other members know nothing of the peer yet, and its client has
    /// been sent nothing. Default: admit the peer.
    ///
    /// # Errors
    /// A reason to reject the peer: the client gets it in the details of "Could not join room", and is disconnected.
    fn on_join(
        &mut self,
        auth: &AuthData,
        room: &RoomContext,
    ) -> impl Future<Output = Result<(), Rejection>> {
        _ = (auth, room);
        std::future::ready(Ok(()))
    }

    /// Handles the admission of a peer: it is a member, the others have been sent `joined`, and its client
    /// `authenticated`; what this callback sends comes after both. Not called for members that are readopted, nor for a
    /// peer that leaves before that.
    fn on_joined(&mut self, peer: PeerId, room: &RoomContext) {
        _ = (peer, room);
    }

    /// Readopts the members of a room that has crashed, in the new instance. May take up to
    /// [`RoomOptions::join_timeout`](crate::RoomOptions::join_timeout), after which all are rejected. Default:
    /// [`on_join`](Self::on_join) is asked about each member, one after the other; a large room, or one whose `on_join`
    /// is slow, readopts all at once:
    ///
    /// ```
    /// # use callboard_room_supervisor::*;
    /// # struct Hall;
    /// # impl Room for Hall {
    /// #     type Options = ();
    /// #     fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> { Ok(Self) }
    /// async fn on_readopt(&mut self, _: &[Member], _: &RoomContext) -> Readopt {
    ///     Readopt::ALL
    /// }
    /// # }
    /// ```
    fn on_readopt(
        &mut self,
        members: &[Member],
        room: &RoomContext,
    ) -> impl Future<Output = Readopt> {
        _ = (members, room);
        std::future::ready(Readopt::OneByOne)
    }

    /// Handles the departure of a peer that [`on_join`](Self::on_join) had admitted. Called once for each such peer,
    /// however it left. It is no member any more, and the others are sent `left` after this callback: what it sends
    /// comes before that.
    fn on_leave(&mut self, peer: PeerId, room: &RoomContext) {
        _ = (peer, room);
    }

    /// Changes a message before it is forwarded, or drops it by returning none; the room's own `joined` and `left` are
    /// included. Not called if the room [forwards directly](Self::FORWARDS_DIRECTLY). Default: no change.
    fn on_forward(&mut self, message: RoomMessage, room: &RoomContext) -> Option<RoomMessage> {
        _ = room;
        Some(message)
    }

    /// Handles a tick, for which the room has asked ([`RoomContext::every`]).
    fn on_tick(&mut self, room: &RoomContext) {
        _ = room;
    }

    /// Returns the state, with which [another process](crate::RoomsBuilder::hand_over_file) goes on when this one is
    /// replaced; none if there is nothing to keep. Called while the room is frozen: no other callback follows, unless
    /// the room is thawed. After a panic here the room goes on, and has no snapshot. Default: none; what becomes of the
    /// room then is what becomes of one that has crashed.
    ///
    /// ```
    /// # use callboard_room_supervisor::*;
    /// struct Game {
    ///     moves: Vec<String>,
    /// }
    ///
    /// impl Room for Game {
    ///     type Options = ();
    ///
    ///     fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
    ///         Ok(Self { moves: Vec::new() })
    ///     }
    ///
    ///     fn snapshot(&self) -> Option<Snapshot> {
    ///         Snapshot::of(&self.moves).inspect_err(|error| eprintln!("no snapshot: {error}")).ok()
    ///     }
    ///
    ///     fn restore((): &(), snapshot: &Snapshot, _: &RoomContext) -> Result<Self, String> {
    ///         let moves = snapshot.read().map_err(|error| error.to_string())?;
    ///         Ok(Self { moves })
    ///     }
    /// }
    /// ```
    fn snapshot(&self) -> Option<Snapshot> {
        None
    }

    /// Creates the state of a room from the [snapshot](Self::snapshot) of an earlier process, in place of
    /// [`on_init`](Self::on_init). The members are those that the snapshot knows: [`on_join`](Self::on_join) is not
    /// called again for them, and [`on_leave`](Self::on_leave) is for each that does not come back. Ticks must be asked
    /// for again. The snapshot's [version](Snapshot::version) is not newer than the room's
    /// ([`RoomOptions::snapshot_version`](crate::RoomOptions::snapshot_version)).
    ///
    /// # Errors
    /// A reason, which is logged. As after a panic, the room begins with `on_init` instead, and readopts the members
    /// ([`on_readopt`](Self::on_readopt)). Default: there is always one.
    fn restore(
        options: &Self::Options,
        snapshot: &Snapshot,
        room: &RoomContext,
    ) -> Result<Self, String> {
        _ = (options, snapshot, room);
        Err("it has no `restore`".to_owned())
    }

    /// Cleans up when the room is closed in good order. It has no members any more. Not called after a crash, nor when
    /// another process goes on with the room.
    fn on_terminate(&mut self, room: &RoomContext) {
        _ = room;
    }
}

/// Answer of [`Room::on_readopt`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readopt {
    /// [`Room::on_join`] is asked about each member.
    OneByOne,
    /// All are members again but these, which are told why and disconnected.
    AllBut(Vec<(PeerId, Rejection)>),
}

impl Readopt {
    /// All are members again.
    pub const ALL: Self = Self::AllBut(Vec::new());
}

/// [`Room`] of any type.
/// Function that opens a room, with the snapshot with which it begins.
pub(crate) type Open =
    dyn Fn(&RoomContext, Option<&Snapshot>) -> Result<OpenedRoom, Rejection> + Send + Sync;

/// A new instance of a room.
pub(crate) struct OpenedRoom {
    pub(crate) room: Box<dyn ErasedRoom>,
    /// It goes on where its snapshot was taken.
    pub(crate) is_restored: bool,
}

pub(crate) trait ErasedRoom {
    fn on_join<'a>(
        &'a mut self,
        auth: &'a AuthData,
        room: &'a RoomContext,
    ) -> LocalBoxFuture<'a, Result<(), Rejection>>;
    fn on_readopt<'a>(
        &'a mut self,
        members: &'a [Member],
        room: &'a RoomContext,
    ) -> LocalBoxFuture<'a, Readopt>;
    fn on_joined(&mut self, peer: PeerId, room: &RoomContext);
    fn on_leave(&mut self, peer: PeerId, room: &RoomContext);
    fn on_forward(&mut self, message: RoomMessage, room: &RoomContext) -> Option<RoomMessage>;
    fn on_tick(&mut self, room: &RoomContext);
    fn on_terminate(&mut self, room: &RoomContext);
    fn snapshot(&self) -> Option<Snapshot>;
    /// Returns the room itself, for messages of the application.
    fn as_any(&mut self) -> &mut dyn Any;
}

impl<R: Room> ErasedRoom for R {
    fn on_join<'a>(
        &'a mut self,
        auth: &'a AuthData,
        room: &'a RoomContext,
    ) -> LocalBoxFuture<'a, Result<(), Rejection>> {
        Box::pin(Room::on_join(self, auth, room))
    }

    fn on_readopt<'a>(
        &'a mut self,
        members: &'a [Member],
        room: &'a RoomContext,
    ) -> LocalBoxFuture<'a, Readopt> {
        Box::pin(Room::on_readopt(self, members, room))
    }

    fn on_joined(&mut self, peer: PeerId, room: &RoomContext) {
        Room::on_joined(self, peer, room);
    }

    fn on_leave(&mut self, peer: PeerId, room: &RoomContext) {
        Room::on_leave(self, peer, room);
    }

    fn on_forward(&mut self, message: RoomMessage, room: &RoomContext) -> Option<RoomMessage> {
        Room::on_forward(self, message, room)
    }

    fn on_tick(&mut self, room: &RoomContext) {
        Room::on_tick(self, room);
    }

    fn on_terminate(&mut self, room: &RoomContext) {
        Room::on_terminate(self, room);
    }

    fn snapshot(&self) -> Option<Snapshot> {
        Room::snapshot(self)
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
