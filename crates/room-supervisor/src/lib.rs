//! Rooms as supervised actors: members, message forwarding, and recovery when a room fails.
//!
//! A [`Room`] is a behaviour that an application writes; its callbacks get a [`RoomContext`]. [`Rooms`] opens rooms
//! under a supervisor, finds them by name, and reaches them from anywhere. A peer [reserves](RoomHandle::reserve) a
//! membership, [joins](Membership::join), and [forwards](Membership::forward) messages; messages from the room go
//! through its [`Outbox`]. This crate knows neither HTTP nor WebSocket.
//!
//! ```
//! use callboard_room_supervisor::*;
//!
//! /// A room that says how many are there.
//! struct Attic;
//!
//! impl Room for Attic {
//!     type Options = ();
//!
//!     fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
//!         Ok(Self)
//!     }
//!
//!     async fn on_join(&mut self, auth: &AuthData, _: &RoomContext) -> Result<(), Rejection> {
//!         if auth.metadata == "ghost" { Err("the_living_only".into()) } else { Ok(()) }
//!     }
//!
//!     fn on_joined(&mut self, _: PeerId, room: &RoomContext) {
//!         _ = room.broadcast("count", &room.len());
//!     }
//! }
//!
//! # #[actix::main]
//! # async fn main() {
//! let rooms = Rooms::new();
//! let server = rooms.start().await.unwrap();
//! let options = RoomOptions::<Attic>::new("attic", ()).max_peers(2);
//! let room = rooms.start_supervised(options).await.unwrap();
//! assert_eq!(rooms.names(), ["attic"]);
//!
//! room.stop("good night").await;
//! assert!(rooms.lookup("attic").is_none());
//! server.stop().await;
//! # }
//! ```
//!
//! # When things fail
//!
//! * A room that panics is restarted, and its peers join again on their open connections ([`OnCrash`]). A room that
//!   panics too often is given up; its clients are told "Room closed".
//! * A peer that joined leaves exactly once, for any cause: when its [`Membership`] is dropped.
//! * A room that is slow, or that blocks its thread, delays no other room: rooms have threads of their own
//!   ([`RoomsBuilder::threads`]), and opening a room waits for no other.
//! * A client that does not read is disconnected ([`Outbox`]); the room never waits for it.

mod actor;
mod arrivals;
mod auth;
mod away;
mod command;
mod context;
mod credit;
mod error;
mod frozen;
mod hand_over;
mod handle;
mod link;
mod linked;
mod listing;
mod member;
mod membership;
mod message;
mod moving;
mod name_registration;
mod options;
mod parked;
mod peer_id;
mod peer_index;
mod registry;
mod rejection;
mod reserved_events;
mod room;
mod room_name;
mod rooms;
mod rooms_hand_over;
mod rooms_take;
mod roster;
mod server_messages;
mod settings;
mod shared;
mod snapshot;
mod tell;
mod tenure;
mod told_left;
mod wake_ups;

pub use auth::{AuthData, PublicMetadata};
pub use callboard_outbox::{
    CloseError, CloseFrame, Deliver, Outbox, OutboxClosed, OutboxClosedError, OutboxLimits,
    OutboxReady, SocketNumber,
};
pub use context::RoomContext;
pub use error::{
    ForwardError, JoinError, KickError, RoomOptionsError, SendToMembersError, StartRoomError,
    StartRoomsError, TellError,
};
pub use frozen::{FreezeError, FrozenRoom};
pub use hand_over::{
    GivenPeer, HandOverError, KeptPeer, PeerKeeper, ReadHandOverError, RestoredPeer,
};
pub use handle::RoomHandle;
pub use linked::start_linked;
pub use member::{Member, NewMember};
pub use membership::Membership;
pub use message::{MessageLimits, ParseMessageError, RawMessage, RoomMessage, To};
pub use options::{AnyRoomOptions, RoomOptions};
pub use peer_id::PeerId;
pub use registry::{LocalRegistry, RegisterError, RoomRegistry};
pub use rejection::Rejection;
pub use reserved_events::is_reserved_event;
pub use room::{Readopt, Room};
pub use room_name::{RoomNameError, is_room_name};
pub use rooms::{
    MoveCounts, MoveRoomError, MovedRooms, OpenOnDemand, RoomCounts, Rooms, RoomsBuilder,
    room_child_spec,
};
pub use rooms_hand_over::HandedOver;
pub use rooms_take::TakePeerError;
pub use server_messages::Description;
pub use settings::{OnCrash, OnLapse};
pub use shared::PeerIndex;
pub use snapshot::{Snapshot, SnapshotError};
pub use tell::Tell;

/// The README, whose code is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
