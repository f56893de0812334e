//! Settings of a room that its actor needs.

use std::time::Duration;

/// Treatment of the peers of a room that crashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnCrash {
    /// The room is restarted and readopts its peers ([`Room::on_readopt`](crate::Room::on_readopt)); their connections
    /// stay open, and their clients get `room_restarted`.
    #[default]
    Readopt,
    /// The room is restarted empty; its clients get "Room closed", `crashed`, and are disconnected. (As in the
    /// original.)
    Close,
}

/// What becomes of a room of a [cluster](crate::RoomsBuilder::cluster) when this node can no longer be sure that the
/// room is its own: the directory does not answer for longer than a hold, or this process stood still that long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnLapse {
    /// The room goes on for the peers that are in it, and takes no join ([`JoinError::DoorShut`]). Once the node holds
    /// the room again, and no other node had it meanwhile, peers may join as before. If another node has it or had it,
    /// the room here is closed: its clients get "Room closed", `elsewhere`. Two nodes may run a room of one name for as
    /// long as that is not known, each for its own peers; their [epochs](crate::RoomContext::epoch) differ.
    ///
    /// [`JoinError::DoorShut`]: crate::JoinError::DoorShut
    #[default]
    ShutDoor,
    /// The room is closed at once: its clients get "Room closed", `lapsed`. No two nodes ever run it at once.
    Close,
}

#[derive(Clone, Copy)]
pub(crate) struct RoomSettings {
    pub(crate) on_crash: OnCrash,
    pub(crate) join_timeout: Duration,
    pub(crate) max_peers: Option<usize>,
    pub(crate) close_when_empty: bool,
    /// Whether the room is opened again when it is asked for.
    pub(crate) reopens: bool,
    pub(crate) snapshot_version: u32,
}
