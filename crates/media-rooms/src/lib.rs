//! Media rooms: forwarding of audio and video between many peer connections (a selective forwarding unit, RFC 7667
//! §3.7), as supervised actors.
//!
//! A [`MediaRoom`] is a supervision tree on one media thread: the room itself, and for each [`Participant`] a
//! publisher, which takes the packets of its peer connection, and a subscriber, which decides what of the others' flows
//! to it. Packets go from publishers to connections; the room's own actor is not on their way, and may be restarted
//! while they flow.
//!
//! Clients offer, the server answers ([`Participant::accept_offer`]): what a client sends is published, and sections in
//! which it only receives are *slots*, to which the tracks of others are bound without any further offer.

mod actor;
mod bot;
mod bot_seat;
mod core;
mod error;
mod event;
mod facts;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod keyframe_wishes;
mod lane;
mod messages;
mod participant;
mod policy;
mod recorder;
mod room;
mod shared;
mod stage;
mod tap;
mod tap_seat;
mod way;
mod wishes;

pub use bot::{Bot, BotTrack, Frames};
pub use core::allocate::{Allocator, Bitrate, Demand, Grant, Layer, SpeakerFirst, Wish};
pub use error::{
    AcceptMediaOfferError, JoinMediaRoomError, PublishError, StartTapError, WishError,
    WriteFrameError,
};
pub use event::{
    Flow, FlowState, MediaEvent, ParticipantEvent, ParticipantId, Speaker, TrackDescription,
    TrackId, TrackInfo, TrackSource,
};
pub use facts::{EncodingFacts, Reception, SlotFacts, SubscriberFacts};
pub use participant::Participant;
pub use policy::{MediaPolicy, ParticipantInfo, ParticipantOptions};
pub use recorder::{Recorder, RecorderOptions};
pub use room::MediaRoom;
pub use tap::{Frame, MediaTap, TapHandle, TapOptions};
pub use wishes::Wishes;

/// Programs of the README, compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
