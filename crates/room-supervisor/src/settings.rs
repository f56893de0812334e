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

#[derive(Clone, Copy)]
pub(crate) struct RoomSettings {
    pub(crate) on_crash: OnCrash,
    pub(crate) join_timeout: Duration,
    pub(crate) max_peers: Option<usize>,
    pub(crate) close_when_empty: bool,
}
