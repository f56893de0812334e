//! Actors of a media room: the room itself, the publisher and subscriber of each participant, and relays between
//! threads.

mod publisher;
mod relay;
mod room;
mod start;
mod subscriber;

pub(crate) use room::RoomActor;
pub(crate) use start::start;
