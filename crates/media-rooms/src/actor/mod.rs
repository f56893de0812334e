//! Actors of a media room: the room itself, and the publisher and subscriber of each participant.

mod publisher;
mod room;
mod start;
mod subscriber;

pub(crate) use room::RoomActor;
pub(crate) use start::start;
