//! Bounded send queue of one client, between the room that fills it and the socket that empties it.
//!
//! A crate of its own, so that rooms need no HTTP and a WebSocket needs no rooms.
//!
//! ```
//! use callboard_outbox::{CloseFrame, Outbox, OutboxLimits};
//!
//! let outbox = Outbox::new(OutboxLimits { messages: 1, bytes: 1024 });
//! assert!(outbox.push("hello".into()).is_ok());
//! assert!(outbox.push("one too many".into()).is_err());
//! assert_eq!(outbox.closing(), Some(&CloseFrame::TOO_SLOW));
//! ```

mod outbox;

pub use outbox::{
    CloseError, CloseFrame, Deliver, Outbox, OutboxClosed, OutboxClosedError, OutboxLimits,
    OutboxReady, PutError, SharedSocket, SocketNumber,
};
