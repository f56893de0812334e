//! UDP sockets: one port for all connections of a thread.
//!
//! [`MuxHandle::bind`] opens the sockets; a [`UdpMux`] actor reads them, one for each media thread. Each connection has
//! a [`Route`], through which it sends, and an [`Inbox`], from which it reads the datagrams that are routed to it:
//!
//! * STUN requests are routed by the left part of their user name, the local `ufrag` (RFC 8445 §7.2.2);
//! * STUN responses by the transaction that they answer;
//! * everything else by the remote address, once the route has [validated](Route::validate) it.
//!
//! A datagram that matches no route is dropped and counted. It costs no memory and is not answered.

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
pub use demux::{AddUfragError, Demux, Found, RouteId};
pub use handle::{MuxHandle, Route, RouteOptions, SendOutcome, Transmit};
pub(crate) use inbox::note_reader;
pub use inbox::{Datagram, Inbox};
pub use options::{BindError, InterfaceFilter, IpFamilies, PortChoice, UdpMuxOptions};
pub use packet::{PacketClass, Stun, StunClass};
pub(crate) use reflexive::{CachedAnswer, ReflexiveCache};
