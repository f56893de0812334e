//! Actors of a media room: the room itself, the publisher and subscriber of each participant, relays between threads,
//! and taps.

mod forwarder;
mod published;
mod publisher;
mod relay;
mod room;
mod slot;
mod start;
mod subscriber;
pub(crate) mod tap;

pub(crate) use room::RoomActor;
pub(crate) use start::start;
