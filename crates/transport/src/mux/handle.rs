//! Shared handle of the sockets and the routing table.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::Label;

use super::counters::AtomicCounters;
use super::inbox::ReceiveQueue;
use super::reflexive::ReflexiveCache;
use super::socket::{Bound, Sockets};
use super::{
    AddUfragError, BindError, Datagram, Demux, DropReason, Found, Inbox, MuxCounters, RouteId,
    Stun, StunClass, UdpMuxOptions,
};

/// Handle of the sockets and the routing table. Cheap to clone, usable from any thread; it outlives a restart of the
/// [`UdpMux`](super::UdpMux) that reads the sockets, so port and routes stay.
#[derive(Clone, Debug)]
pub struct MuxHandle {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) sockets: Sockets,
    options: UdpMuxOptions,
    demux: Mutex<Demux<Arc<ReceiveQueue>>>,
    pub(super) counting: AtomicCounters,
    /// Answers of STUN servers about these sockets, for all connections that share them.
    pub(crate) reflexive: ReflexiveCache,
    /// Interfaces of this machine with their addresses, and the time of the lookup.
    interfaces: RwLock<(Interfaces, Option<Instant>)>,
}

type Interfaces = Arc<[(String, IpAddr)]>;

/// Limits of the receive queue of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteOptions {
    /// Largest number of datagrams. Default: 1,024, half a second of a video of 20 Mbit/s.
    pub datagrams: usize,
    /// Largest number of bytes. Default: 1 MiB.
    pub bytes: usize,
}

impl Default for RouteOptions {
    fn default() -> Self {
        Self { datagrams: 1_024, bytes: 1 << 20 }
    }
}

/// Data to send, with its destination and the local address that it leaves from. The contents are anything that can be
/// read as bytes: owned where they wait, borrowed where they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit<C> {
    /// Local address: one of the [advertised addresses](MuxHandle::host_addresses).
    pub source: SocketAddr,
    /// Address to send to.
    pub destination: SocketAddr,
    /// One datagram; or several, where that is said.
    pub contents: C,
}

impl<C: AsRef<[u8]>> Transmit<C> {
    /// Returns the same with borrowed contents, as it is sent.
    pub fn borrow(&self) -> Transmit<&[u8]> {
        let Self { source, destination, ref contents } = *self;
        Transmit { source, destination, contents: contents.as_ref() }
    }
}

/// Result of sending a [`Transmit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "sent or not; reasons are added to `DropReason`")]
pub enum SendOutcome {
    /// The system has accepted it.
    Sent,
    /// It is lost, as it could have been on the network.
    Dropped(DropReason),
}

impl MuxHandle {
    /// Binds the sockets. They are read once a [`UdpMux`](super::UdpMux) runs.
    ///
    /// # Errors
    /// [`BindError`] if no socket could be bound or set up, or if an announced address cannot be announced.
    pub fn bind(options: UdpMuxOptions) -> Result<Self, BindError> {
        if let Some(bad) = options
            .announced
            .iter()
            .find(|address| address.is_unspecified() || address.is_multicast())
        {
            return Err(BindError::BadAnnounced(*bad));
        }
        let sockets = Sockets::bind(&options)?;
        let (demux, counting, reflexive) =
            (Mutex::default(), AtomicCounters::default(), ReflexiveCache::default());
        Ok(Self {
            shared: Arc::new(Shared {
                sockets,
                options,
                demux,
                counting,
                reflexive,
                interfaces: RwLock::new((Arc::default(), None)),
            }),
        })
    }

    /// Returns the addresses to advertise as host candidates: the announced ones, and for an address family without
    /// any, those of the interfaces as they are now.
    pub fn host_addresses(&self) -> Vec<SocketAddr> {
        self.addresses(|| self.look_at_interfaces())
    }

    /// Returns the same addresses, at most a tenth of a second old.
    pub(crate) fn recent_host_addresses(&self) -> Vec<SocketAddr> {
        self.addresses(|| self.interfaces())
    }

    fn addresses(&self, interfaces: impl Fn() -> Interfaces) -> Vec<SocketAddr> {
        let Shared { sockets, options, .. } = &*self.shared;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
            match options.announced.iter().find(|address| family(address)) {
                Some(announced) => addresses.push(*announced),
                None => {
                    let filter = &options.interfaces;
                    let found = interfaces();
                    let allowed = found.iter().filter(|(name, ip)| filter.allows(name, *ip));
                    addresses.extend(allowed.map(|(_, ip)| *ip).filter(family));
                }
            }
        }
        addresses.retain(|address| sockets.has(*address));
        addresses.dedup();
        addresses.into_iter().map(|address| SocketAddr::new(address, sockets.port)).collect()
    }

    /// Returns the interfaces and their addresses, at most a tenth of a second old: asking the system costs more than
    /// everything else that a new connection needs of it.
    fn interfaces(&self) -> Interfaces {
        let (known, at) = self.known_interfaces();
        let fresh = at.is_some_and(|at| now().saturating_duration_since(at) < INTERFACES_FOR);
        if fresh { known } else { self.look_at_interfaces() }
    }

    fn known_interfaces(&self) -> (Interfaces, Option<Instant>) {
        let known = self.shared.interfaces.read().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&known.0), known.1)
    }

    fn look_at_interfaces(&self) -> Interfaces {
        let found = if_addrs::get_if_addrs().unwrap_or_else(|error| {
            log::warn!("cannot list the network interfaces: {error}");
            Vec::new()
        });
        let found: Interfaces =
            found.into_iter().map(|found| (found.name.clone(), found.ip())).collect();
        *self.shared.interfaces.write().unwrap_or_else(PoisonError::into_inner) =
            (Arc::clone(&found), Some(now()));
        found
    }

    /// Returns the port of all sockets.
    pub fn port(&self) -> u16 {
        self.shared.sockets.port
    }

    /// Opens a route for a connection, with its receive queue.
    pub fn open_route(&self, options: RouteOptions) -> (Route, Inbox) {
        let ring = ReceiveQueue::new(options.datagrams, options.bytes);
        let id = self.shared.demux().open(Arc::clone(&ring));
        let (mux, label) = (self.clone(), Label::default());
        (Route { id, mux, ring: Arc::clone(&ring), label }, Inbox { ring })
    }

    /// Returns what was sent, received and dropped so far.
    pub fn counters(&self) -> MuxCounters {
        self.shared.counting.read()
    }

    /// Returns the number of open routes.
    pub fn routes(&self) -> usize {
        self.shared.demux().len()
    }

    /// Routes the result of one read of a socket: `contents` holds datagrams of `stride` bytes each from `source`.
    pub(super) fn deliver(
        &self,
        source: SocketAddr,
        destination: Option<IpAddr>,
        contents: &[u8],
        stride: usize,
    ) {
        let Shared { counting, .. } = &*self.shared;
        let stride = stride.max(1);
        let datagrams = contents.len().div_ceil(stride).max(1);
        counting.received(datagrams as u64, contents.len() as u64);
        if contents.is_empty() {
            return counting.dropped(DropReason::Unclassified);
        }
        let destination = self.advertised(source, destination);
        let received = now();
        let segments = || contents.chunks(stride);
        let mut queues: Vec<Arc<ReceiveQueue>> = Vec::new();
        let mut answered: Vec<(RouteId, [u8; 12])> = Vec::new();
        let mut demux = self.shared.demux();
        let found: Vec<_> = segments().map(|segment| demux.find(source, segment)).collect();
        let route = |found: &Result<Found<'_, _>, _>| found.as_ref().ok().map(|found| found.route);
        // One allocation for all datagrams of the read that belong to one connection. If datagrams of several
        // connections shared it, one connection would keep the others' memory.
        let first = found.first().and_then(route);
        let together = found.iter().all(|found| route(found) == first);
        let piece = (together && first.is_some()).then(|| Bytes::copy_from_slice(contents));
        for (at, (segment, found)) in segments().zip(found).enumerate() {
            let Found { route, class, stun, target: queue } = match found {
                Ok(found) => found,
                Err(reason) => {
                    counting.dropped(reason);
                    continue;
                }
            };
            if let Some(Stun { class: StunClass::Response, transaction, .. }) = stun {
                answered.push((route, transaction));
            }
            let contents = match &piece {
                Some(piece) => piece.slice(at * stride..at * stride + segment.len()),
                None => Bytes::copy_from_slice(segment),
            };
            let dropped = queue.push(Datagram { source, destination, contents, class, received });
            (0..dropped).for_each(|_| counting.dropped(DropReason::InboxFull));
            if !queues.iter().any(|known| Arc::ptr_eq(known, queue)) {
                queues.push(Arc::clone(queue));
            }
        }
        answered.iter().for_each(|(id, transaction)| demux.answered(*id, transaction));
        // The woken task may want to lock the table.
        drop(demux);
        queues.iter().for_each(|queue| queue.wake());
    }

    /// Returns the advertised form of the local address to which something was sent.
    fn advertised(&self, source: SocketAddr, local: Option<IpAddr>) -> SocketAddr {
        let Shared { sockets, options, .. } = &*self.shared;
        let announced =
            options.announced.iter().copied().find(|address| address.is_ipv4() == source.is_ipv4());
        let address = announced.or(local).unwrap_or(match source {
            SocketAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        });
        SocketAddr::new(address, sockets.port)
    }

    /// Sends datagrams of `segment` bytes each; the last may be shorter.
    fn send(&self, transmit: Transmit<&[u8]>, segment: usize, label: &Label) -> SendOutcome {
        let Shared { sockets, counting, options, .. } = &*self.shared;
        let Transmit { source, destination, contents } = transmit;
        let segment = segment.max(1);
        let drop_all = |reason: DropReason, bytes: usize| {
            (0..bytes.div_ceil(segment).max(1)).for_each(|_| counting.dropped(reason));
            SendOutcome::Dropped(reason)
        };
        // An announced address is the router's; the local one is left to the system.
        let own = !options.announced.contains(&source.ip()) && !source.ip().is_unspecified();
        // Do not try what the system would refuse with EINVAL: quinn-udp takes that for a device without offload, and
        // stops using offload from then on.
        if destination.port() == 0 || source.is_ipv4() != destination.is_ipv4() {
            return drop_all(DropReason::NoSocket, contents.len());
        }
        let (Some(bound), false) = (sockets.to(destination), own && !self.is_local(source.ip()))
        else {
            return drop_all(DropReason::NoSocket, contents.len());
        };
        let src_ip = own.then(|| source.ip());
        let most = segment
            .saturating_mul(bound.state.max_gso_segments().max(1))
            .min(LONGEST_BATCH.max(segment));
        let batch = (most / segment).max(1) * segment;
        let mut rest = contents;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch.min(rest.len()));
            match send(bound, destination, src_ip, batch, segment, label) {
                Ok(()) => counting.sent(batch.len().div_ceil(segment) as u64, batch.len() as u64),
                Err((sent, reason)) => {
                    counting.sent((sent / segment) as u64, sent as u64);
                    return drop_all(reason, rest.len() - sent);
                }
            }
            rest = after;
        }
        SendOutcome::Sent
    }

    /// Returns whether this was an address of this machine at most a tenth of a second ago.
    fn is_local(&self, address: IpAddr) -> bool {
        if address.is_loopback() {
            return true;
        }
        let among =
            |interfaces: &[(String, IpAddr)]| interfaces.iter().any(|(_, ip)| *ip == address);
        among(&self.known_interfaces().0) || among(&self.interfaces())
    }
}

/// Sends a batch of segments. If that fails, returns how many bytes were sent before, and the reason.
fn send(
    bound: &Bound,
    destination: SocketAddr,
    src_ip: Option<IpAddr>,
    contents: &[u8],
    segment: usize,
    label: &Label,
) -> Result<(), (usize, DropReason)> {
    let transmit = |contents, segment_size| quinn_udp::Transmit {
        destination,
        ecn: None,
        contents,
        segment_size,
        src_ip,
    };
    let segments = (contents.len() > segment).then_some(segment);
    match try_twice(bound, &transmit(contents, segments), label) {
        Ok(()) => Ok(()),
        // The device has no offload after all; quinn-udp has noted that by now.
        Err(DropReason::SystemError)
            if segments.is_some() && bound.state.max_gso_segments() <= 1 =>
        {
            let mut sent = 0;
            for contents in contents.chunks(segment) {
                try_twice(bound, &transmit(contents, None), label)
                    .map_err(|reason| (sent, reason))?;
                sent += contents.len();
            }
            Ok(())
        }
        Err(reason) => Err((0, reason)),
    }
}

/// Sends, and tries once more after an error: the error may stem from an earlier datagram on the socket (sent to a
/// closed port, for example).
fn try_twice(
    bound: &Bound,
    transmit: &quinn_udp::Transmit<'_>,
    label: &Label,
) -> Result<(), DropReason> {
    let once = || match bound.send(transmit) {
        Err(error) if error.kind() == ErrorKind::Interrupted => bound.send(transmit),
        other => other,
    };
    let reason = |error: &std::io::Error| match error.raw_os_error() {
        _ if error.kind() == ErrorKind::WouldBlock => DropReason::SendBufferFull,
        Some(MESSAGE_TOO_LONG) => DropReason::TooLong,
        _ => DropReason::SystemError,
    };
    match once() {
        Ok(()) => Ok(()),
        Err(error) if reason(&error) != DropReason::SystemError => Err(reason(&error)),
        Err(_) => once().map_err(|error| {
            log::debug!("{label}cannot send to {}: {error}", transmit.destination);
            reason(&error)
        }),
    }
}

impl Shared {
    fn demux(&self) -> MutexGuard<'_, Demux<Arc<ReceiveQueue>>> {
        self.demux.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's entry in a mux. Dropping it removes everything that the connection has registered there.
#[derive(Debug)]
pub struct Route {
    id: RouteId,
    mux: MuxHandle,
    ring: Arc<ReceiveQueue>,
    label: Label,
}

impl Route {
    /// Names the connection in the log. Default: no prefix.
    pub fn with_label(mut self, label: Label) -> Self {
        self.label = label;
        self
    }

    /// Returns the number of this route.
    pub fn id(&self) -> RouteId {
        self.id
    }

    /// Returns the mux to which this route belongs.
    pub fn mux(&self) -> &MuxHandle {
        &self.mux
    }

    /// Receives STUN requests for this local `ufrag`. Several at once are fine: during an ICE restart there are two.
    ///
    /// # Errors
    /// [`AddUfragError`] if it belongs to another route.
    pub fn add_ufrag(&self, ufrag: &str) -> Result<(), AddUfragError> {
        self.mux.shared.demux().add_ufrag(self.id, ufrag)
    }

    /// Stops receiving STUN requests for this `ufrag`.
    pub fn remove_ufrag(&self, ufrag: &str) {
        self.mux.shared.demux().remove_ufrag(self.id, ufrag);
    }

    /// Receives everything that comes from this address, up to 32 addresses; call it when ICE has authenticated the
    /// address. If several routes validate the same address, the latest has it.
    pub fn validate(&self, remote: SocketAddr) {
        self.mux.shared.demux().validate(self.id, remote);
    }

    /// Stops receiving what comes from this address.
    pub fn forget(&self, remote: SocketAddr) {
        self.mux.shared.demux().forget(self.id, remote);
    }

    /// Sends a datagram, and never waits: what the system does not take at once is lost.
    ///
    /// The transaction of a STUN request is noted, so that its response is routed to this connection.
    pub fn send(&self, transmit: Transmit<&[u8]>) -> SendOutcome {
        self.send_segments(transmit, transmit.contents.len())
    }

    /// Sends several datagrams as [`send`](Self::send) does, in one call where the system can: the contents are split
    /// into datagrams of `segment_size` bytes; the last may be shorter.
    pub fn send_segments(&self, transmit: Transmit<&[u8]>, segment_size: usize) -> SendOutcome {
        for datagram in transmit.contents.chunks(segment_size.max(1)) {
            if let Some(Stun { class: StunClass::Request, transaction, .. }) = Stun::parse(datagram)
            {
                self.mux.shared.demux().expect_response(self.id, transaction);
            }
        }
        self.mux.send(transmit, segment_size, &self.label)
    }
}

impl Route {
    /// Removes the route as dropping it does, for a caller that still holds it.
    pub(crate) fn close(&self) {
        self.mux.shared.demux().close(self.id);
        self.ring.close();
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.close();
    }
}

#[allow(clippy::disallowed_methods, reason = "the time of reception is read where it is received")]
fn now() -> Instant {
    Instant::now()
}

/// Time for which a lookup of the interfaces is valid.
const INTERFACES_FOR: Duration = Duration::from_millis(100);
/// Largest number of bytes in one UDP datagram, and so in one batch of datagrams in one call.
const LONGEST_BATCH: usize = 65_507;
/// `EMSGSIZE` on Linux; its kind has no name in stable std.
const MESSAGE_TOO_LONG: i32 = 90;
