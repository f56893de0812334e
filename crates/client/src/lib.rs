//! A client of Callboard's signaling for programs: bots, tests, load.
//!
//! A [`Client`] is a member of a room: it joins over a WebSocket, exchanges messages with the other members, and calls
//! functions in both directions. A connection that is lost is reopened: the session is resumed where the server allows
//! it, else the client joins the room as a new peer. It runs on any tokio runtime, actix's among them, and knows
//! nothing of the server's crates.
//!
//! ```no_run
//! use callboard_client::{Client, ClientEvent, ClientOptions, Recipients};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut client = Client::connect("ws://127.0.0.1:8080/socket/lobby", ClientOptions::new()).await?;
//! client.register("local_time", async |_args| Ok::<_, String>("12:34"));
//! client.send(Recipients::All, "chat", "Hello, everyone")?;
//! println!("{}", client.call("chess", "move", ("e2", "e4")).await?);
//!
//! while let Some(event) = client.next_event().await {
//!     match event {
//!         ClientEvent::Joined(member) => println!("{} came", member.peer_id),
//!         ClientEvent::Message(message) if message.event == "chat" => {
//!             if let Some(from) = message.from {
//!                 client.send(from, "chat", "Hello, you")?;
//!             }
//!         }
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! * Each message and each call is sent once at most, in the order in which they were given.
//! * Nothing that a server sends makes the client panic, or makes anything grow without bound.
//! * Nothing that fails by itself is repeated for ever; the crate's README says what is repeated, and how often.

mod address;
mod calls;
mod client;
mod connector;
mod core;
mod driver;
mod error;
mod event;
mod failure_counter;
mod options;
mod roster;
mod send_queue;
mod session;
mod shared;
mod socket;
#[cfg(feature = "webrtc")]
mod webrtc;
mod wire;

pub use client::{Client, ClientHandle};
pub use error::{
    CallFunctionError, ConnectError, GaveUpError, MoveFailure, SendMessageError, ServerError,
    UpgradeRefusal,
};
pub use event::{
    ChannelData, ClientEvent, ClientMessage, ClientState, Recipients, RoomMember, StateChange,
};
pub use options::ClientOptions;
#[cfg(feature = "webrtc")]
pub use webrtc::{OpenPeerConnectionError, WebRtcOptions};
