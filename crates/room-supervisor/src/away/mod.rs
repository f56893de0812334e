//! Rooms that another node runs. Here such a room is *away*: its peers on this node, the *edge*, are guests of the room
//! at its *home*, and its actor stands between them.
//!
//! At home a guest is a member like any other, whose outbox is emptied by the actor of the edge's guests in place of a
//! socket. So the room decides on joins, forwards messages, and tells of departures as it does for its own peers, and
//! each receiver gets its messages in their order, once. A text for many guests of one edge crosses once.

mod actor;
mod giving;
mod guests;
mod hub;

pub(crate) use self::actor::AwayActor;
pub(crate) use self::hub::{Hub, OpenError};
