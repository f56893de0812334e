//! Sockets: one UDP port for all connections of a thread.
//!
//! [`MuxHandle::bind`] opens the sockets; a [`UdpMux`] actor reads them, one for each media thread. Each connection has
//! a [`Route`], through which it sends, and an [`Inbox`], in which it finds what is for it:
//!
//! * STUN requests go by their user name's left part, the local `ufrag` (RFC 8445 §7.2.2);
//! * STUN responses by the transaction for which they come;
//! * everything else by the remote address, once the route has [validated](Route::validate) it.
//!
//! What fits nowhere is dropped and counted. It costs no memory and is not answered.

mod actor;
mod counters;
mod demux;
mod handle;
mod inbox;
mod options;
mod packet;
mod reflexive;
mod socket;

pub use actor::UdpMux;
pub use counters::{DropReason, MuxCounters};
pub use demux::{Demux, RouteId, UfragTaken};
pub use handle::{MuxHandle, Route, RouteOptions, SendOutcome, Transmit};
pub use inbox::{Datagram, Inbox};
pub use options::{BindError, InterfaceFilter, IpFamilies, PortChoice, UdpMuxOptions};
pub use packet::{PacketClass, Stun};
pub(crate) use reflexive::{Known, ReflexiveCache};
