//! Fake peers, in-process clients and virtual time, for tests of rooms and peers in a plain `#[actix::test]`.
//!
//! A [`FakePeer`] is a member of a room without a WebSocket. A [`TestServer`] serves an actix-web app within the test's
//! thread; its clients are real ones ([`callboard_client`]) and need no sockets. With
//! [rooms on the same thread](single_threaded_rooms) time can be virtual: after `tokio::time::pause()` time passes only
//! when nothing else is left to do, and then at once. So a test of a timer takes no time, and does not depend on how
//! busy the machine is.
//!
//! ```
//! use std::time::Duration;
//!
//! use callboard_room_supervisor::*;
//! use callboard_test_kit::{FakePeer, single_threaded_rooms};
//!
//! /// A room that sends its members their number each minute.
//! struct Headcount;
//!
//! impl Room for Headcount {
//!     type Options = ();
//!
//!     fn on_init((): &(), room: &RoomContext) -> Result<Self, Rejection> {
//!         room.every(Duration::from_secs(60));
//!         Ok(Self)
//!     }
//!
//!     fn on_tick(&mut self, room: &RoomContext) {
//!         _ = room.broadcast("members", &room.len());
//!     }
//! }
//!
//! # /*
//! #[actix::test]
//! # */
//! # #[actix::main]
//! # async fn main() {
//! #     the_members_are_counted_each_minute().await;
//! # }
//! async fn the_members_are_counted_each_minute() {
//!     tokio::time::pause();
//!     let rooms = single_threaded_rooms().build();
//!     rooms.start().await.unwrap();
//!     let room = rooms.start_supervised(RoomOptions::<Headcount>::new("hall", ())).await.unwrap();
//!     let mut ann = FakePeer::join(&room).await.unwrap();
//!     let bob = FakePeer::join(&room).await.unwrap();
//!     assert_eq!(ann.expect("joined").await["peer_id"], bob.id().to_string());
//!
//!     // A minute passes at once.
//!     assert_eq!(ann.expect("members").await, 2);
//!     drop(bob);
//!     ann.expect("left").await;
//!     assert_eq!(ann.expect("members").await, 1);
//! }
//! ```

mod fake_peer;
mod test_server;

use callboard_room_supervisor::{Rooms, RoomsBuilder};

pub use fake_peer::FakePeer;
pub use test_server::TestServer;

/// Returns a builder of rooms that run on the thread of the test, as virtual time needs.
pub fn single_threaded_rooms() -> RoomsBuilder {
    Rooms::builder().threads(0)
}
