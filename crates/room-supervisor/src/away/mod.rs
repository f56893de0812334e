//! Rooms that another node runs. Here such a room is *away*: its peers on this node, the *edge*, are guests of the room
//! at its *home*.
//!
//! At home a guest is a member like any other, whose outbox is emptied by the actor of the edge's guests in place of a
//! socket. So the room decides on joins, forwards messages, and tells of departures as it does for its own peers, and
//! each receiver gets its messages in their order, once. A text for many guests of one edge crosses once.
//!
//! If the home dies, an edge claims the room and becomes its home, and the others follow it: each offers its peers,
//! with what they know, and sends again what the dead home has not said to be handled. A home that gives the room to
//! another node becomes an edge of it, and tells the others before that all that they have not heard.

mod arriving;
mod edge;
mod given;
mod giving;
mod guests;
mod hub;
mod later;
mod returning;
mod texts;
mod view;

pub(crate) use self::arriving::FindRoom;
pub(crate) use self::edge::{Edge, Listening, Next, SharedEdge};
pub(crate) use self::hub::Hub;
pub(crate) use self::returning::{Returning, Unhandled};

/// Number of batches that an edge may have to handle: a bound on what waits there.
const WINDOW: usize = 16;
