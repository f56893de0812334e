//! Rooms as supervised actors: members, message forwarding, and recovery when a room fails.
//!
//! A [`Room`] is a behaviour that an application writes; [`Rooms`] opens rooms under a supervisor and finds them by
//! name. A peer [reserves](RoomHandle::reserve) a place, [joins](Membership::join), and [forwards](Membership::forward)
//! messages; messages from the room go through its [`Outbox`]. This crate knows neither HTTP nor WebSocket.
//!
//! ```
//! use callboard_room_supervisor::*;
//!
//! /// A room for a few.
//! struct SmallRoom {
//!     peers: usize,
//!     max_peers: usize,
//! }
//!
//! impl Room for SmallRoom {
//!     type Options = usize;
//!
//!     fn on_init(max_peers: &usize) -> Result<Self, String> {
//!         Ok(Self { peers: 0, max_peers: *max_peers })
//!     }
//!
//!     async fn on_join(&mut self, _: &AuthData) -> Result<(), JoinRefusal> {
//!         if self.peers == self.max_peers {
//!             return Err("room_is_full".into());
//!         }
//!         self.peers += 1;
//!         Ok(())
//!     }
//!
//!     fn on_leave(&mut self, _: PeerId) {
//!         self.peers -= 1;
//!     }
//! }
//!
//! # #[actix::main]
//! # async fn main() {
//! let rooms = Rooms::new();
//! let server = rooms.start().await.unwrap();
//! let room = rooms.start_supervised(RoomOptions::<SmallRoom>::new("attic", 2)).await.unwrap();
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
//! * A peer that joined leaves exactly once, whatever the cause: when its [`Membership`] is dropped.
//! * A room that is slow, or that blocks its thread, delays no other room: rooms have threads of their own
//!   ([`RoomsBuilder::threads`]), and opening a room waits for no other.
//! * A client that does not read is disconnected ([`Outbox`]); the room never waits for it.

mod actor;
mod auth;
mod error;
mod handle;
mod linked;
mod message;
mod name;
mod options;
mod peer_id;
mod registry;
mod room;
mod rooms;
mod seats;
mod server_messages;
mod wake_ups;

pub use auth::AuthData;
pub use callboard_outbox::{
    CloseFrame, Deliver, MailWaiting, Outbox, OutboxClosedError, OutboxLimits, SocketNumber,
};
pub use error::{ForwardError, JoinError, StartRoomError, StartRoomsError};
pub use handle::{Membership, RoomHandle};
pub use linked::start_linked;
pub use message::{MessageLimits, ParseMessageError, RoomMessage, To};
pub use name::{RoomNameError, is_room_name};
pub use options::{AnyRoomOptions, OnCrash, RoomOptions};
pub use peer_id::PeerId;
pub use registry::{LocalRegistry, RegisterError, RoomRegistry};
pub use room::{JoinRefusal, Room};
pub use rooms::{OpenOnDemand, Rooms, RoomsBuilder, room_child_spec};
pub use server_messages::{Description, is_reserved_event};
