//! The sockets and the routing table, as everybody holds them.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use crate::gather::ReflexiveCache;

use super::counters::Counting;
use super::inbox::Ring;
use super::socket::{Bound, Sockets};
use super::{
    BindError, Datagram, Demux, DropReason, Inbox, MuxCounters, PacketClass, RouteId, Stun,
    UdpMuxOptions, UfragTaken,
};

/// The sockets and the routing table. Cheap to clone, usable from any thread; it outlives a restart of the
/// [`UdpMux`](super::UdpMux) that reads the sockets, so port and routes stay.
#[derive(Clone, Debug)]
pub struct MuxHandle {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) sockets: Sockets,
    options: UdpMuxOptions,
    demux: Mutex<Demux<Arc<Ring>>>,
    pub(super) counting: Counting,
    /// What STUN servers said of these sockets, for all connections that share them.
    pub(crate) reflexive: ReflexiveCache,
}

/// How much may wait for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteOptions {
    /// Datagrams. Default: 1,024, half a second of a video of 20 Mbit/s.
    pub datagrams: usize,
    /// Bytes. Default: 1 MiB.
    pub bytes: usize,
}

impl Default for RouteOptions {
    fn default() -> Self {
        Self { datagrams: 1_024, bytes: 1 << 20 }
    }
}

/// What to send, and from which of our addresses.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// One of the [advertised addresses](MuxHandle::host_addresses).
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// One datagram, or several of `segment_size` bytes each (the last may be shorter).
    pub contents: &'a [u8],
    /// Send `contents` as datagrams of this size, in one call where the system can.
    pub segment_size: Option<usize>,
}

/// What became of a [`Transmit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The system has it.
    Sent,
    /// It is lost, as it could have been on the network.
    Dropped(DropReason),
}

impl MuxHandle {
    /// Bind the sockets. They are read once a [`UdpMux`](super::UdpMux) runs.
    ///
    /// # Errors
    /// [`BindError`]
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
            (Mutex::default(), Counting::default(), ReflexiveCache::default());
        Ok(Self { shared: Arc::new(Shared { sockets, options, demux, counting, reflexive }) })
    }

    /// The addresses to advertise as host candidates: those announced, and for a family of which none is announced
    /// those of the interfaces, as they are now.
    pub fn host_addresses(&self) -> Vec<SocketAddr> {
        let Shared { sockets, options, .. } = &*self.shared;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
            match options.announced.iter().find(|address| family(address)) {
                Some(announced) => addresses.push(*announced),
                None => addresses.extend(self.local_addresses().into_iter().filter(family)),
            }
        }
        addresses.retain(|address| sockets.has(*address));
        addresses.dedup();
        addresses.into_iter().map(|address| SocketAddr::new(address, sockets.port)).collect()
    }

    fn local_addresses(&self) -> Vec<IpAddr> {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
            log::warn!("cannot list the network interfaces: {error}");
            Vec::new()
        });
        let filter = &self.shared.options.interfaces;
        let allowed = interfaces
            .into_iter()
            .filter(|interface| filter.allows(&interface.name, interface.ip()));
        allowed.map(|interface| interface.ip()).collect()
    }

    /// The port of all sockets.
    pub fn port(&self) -> u16 {
        self.shared.sockets.port
    }

    /// A place for a connection, and what will wait for it there.
    pub fn open_route(&self, options: RouteOptions) -> (Route, Inbox) {
        let ring = Ring::new(options.datagrams, options.bytes);
        let id = self.shared.demux().open(Arc::clone(&ring));
        (Route { id, mux: self.clone(), ring: Arc::clone(&ring) }, Inbox { ring })
    }

    /// What was done and dropped so far.
    pub fn counters(&self) -> MuxCounters {
        self.shared.counting.read()
    }

    /// How many connections have a place.
    pub fn routes(&self) -> usize {
        self.shared.demux().len()
    }

    /// Hand on what one read of a socket gave: `contents` are datagrams of `stride` bytes each from `source`.
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
        // One piece of memory for all that came together, made when the first of them is somebody's.
        let mut piece: Option<Bytes> = None;
        let mut woken: Option<Arc<Ring>> = None;
        let received = now();
        let demux = self.shared.demux();
        for start in (0..contents.len()).step_by(stride) {
            let end = (start + stride).min(contents.len());
            match demux.find(source, &contents[start..end]) {
                Ok((_, class, ring)) => {
                    let piece = piece.get_or_insert_with(|| Bytes::copy_from_slice(contents));
                    let contents = piece.slice(start..end);
                    let dropped =
                        ring.push(Datagram { source, destination, contents, class, received });
                    (0..dropped).for_each(|_| counting.dropped(DropReason::InboxFull));
                    if let Some(other) =
                        woken.replace(Arc::clone(ring)).filter(|other| !Arc::ptr_eq(other, ring))
                    {
                        other.wake();
                    }
                }
                Err(reason) => counting.dropped(reason),
            }
        }
        drop(demux);
        if let Some(ring) = woken {
            ring.wake();
        }
    }

    /// The advertised form of the local address to which something was sent.
    fn advertised(&self, source: SocketAddr, local: Option<IpAddr>) -> SocketAddr {
        let Shared { sockets, options, .. } = &*self.shared;
        let announced =
            options.announced.iter().copied().find(|address| address.is_ipv4() == source.is_ipv4());
        let address = announced.or(local).unwrap_or_else(|| match source {
            SocketAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        });
        SocketAddr::new(address, sockets.port)
    }

    fn send(&self, transmit: Transmit<'_>) -> SendOutcome {
        let Shared { sockets, counting, options, .. } = &*self.shared;
        let Some(bound) = sockets.to(transmit.destination) else {
            counting.dropped(DropReason::NoSocket);
            return SendOutcome::Dropped(DropReason::NoSocket);
        };
        // An announced address is the router's; ours is whichever the system takes.
        let own = !options.announced.contains(&transmit.source.ip())
            && !transmit.source.ip().is_unspecified();
        let src_ip = own.then(|| transmit.source.ip());
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let most = segment
            .saturating_mul(bound.state.max_gso_segments().max(1))
            .min(LONGEST_BATCH.max(segment));
        let batch = (most / segment).max(1) * segment;
        for contents in transmit.contents.chunks(batch.max(1)) {
            let segment_size = (contents.len() > segment).then_some(segment);
            let datagrams = contents.len().div_ceil(segment) as u64;
            let outcome = send(bound, transmit.destination, src_ip, contents, segment_size);
            match outcome {
                Ok(()) => counting.sent(datagrams, contents.len() as u64),
                Err(reason) => {
                    (0..datagrams).for_each(|_| counting.dropped(reason));
                    return SendOutcome::Dropped(reason);
                }
            }
        }
        SendOutcome::Sent
    }
}

fn send(
    bound: &Bound,
    destination: SocketAddr,
    src_ip: Option<IpAddr>,
    contents: &[u8],
    segment_size: Option<usize>,
) -> Result<(), DropReason> {
    let mut transmit =
        quinn_udp::Transmit { destination, ecn: None, contents, segment_size, src_ip };
    let mut tried_again = false;
    loop {
        match bound.send(&transmit) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(DropReason::SendBufferFull);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // An error that an earlier datagram has left on the socket (a port that nobody listens on, say), or an
            // offload that the device does not have after all: quinn-udp has noted that by now.
            Err(error) if !tried_again && error.raw_os_error() != Some(MESSAGE_TOO_LONG) => {
                tried_again = true;
                if let Some(size) = segment_size.filter(|_| bound.state.max_gso_segments() <= 1) {
                    for contents in contents.chunks(size) {
                        transmit = quinn_udp::Transmit {
                            destination,
                            ecn: None,
                            contents,
                            segment_size: None,
                            src_ip,
                        };
                        bound.send(&transmit).map_err(|_| DropReason::SystemError)?;
                    }
                    return Ok(());
                }
            }
            Err(error) if error.raw_os_error() == Some(MESSAGE_TOO_LONG) => {
                return Err(DropReason::TooLong);
            }
            Err(error) => {
                log::debug!("cannot send to {destination}: {error}");
                return Err(DropReason::SystemError);
            }
        }
    }
}

impl Shared {
    fn demux(&self) -> MutexGuard<'_, Demux<Arc<Ring>>> {
        self.demux.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place in a mux. Dropping it removes all that it has put there.
#[derive(Debug)]
pub struct Route {
    id: RouteId,
    mux: MuxHandle,
    ring: Arc<Ring>,
}

impl Route {
    /// Its number.
    pub fn id(&self) -> RouteId {
        self.id
    }

    /// The mux in which it is.
    pub fn mux(&self) -> &MuxHandle {
        &self.mux
    }

    /// Have STUN requests for this local `ufrag`. Several at once are fine: during an ICE restart there are two.
    ///
    /// # Errors
    /// [`UfragTaken`]
    pub fn add_ufrag(&self, ufrag: &str) -> Result<(), UfragTaken> {
        self.mux.shared.demux().add_ufrag(self.id, ufrag)
    }

    /// No longer have them.
    pub fn remove_ufrag(&self, ufrag: &str) {
        self.mux.shared.demux().remove_ufrag(self.id, ufrag);
    }

    /// Have everything that comes from this address, up to 32 addresses; to be called when ICE has authenticated it.
    /// The latest route to do so has it.
    pub fn validate(&self, remote: SocketAddr) {
        self.mux.shared.demux().validate(self.id, remote);
    }

    /// No longer have it.
    pub fn forget(&self, remote: SocketAddr) {
        self.mux.shared.demux().forget(self.id, remote);
    }

    /// Send. It never waits: what the system does not take at once is lost.
    ///
    /// Of a STUN request the transaction is noted, so that the response comes here.
    pub fn send(&self, transmit: Transmit<'_>) -> SendOutcome {
        if PacketClass::of(transmit.contents) == PacketClass::Stun
            && let Some(Stun::Request { transaction, .. }) = Stun::parse(transmit.contents)
        {
            self.mux.shared.demux().expect_response(self.id, transaction);
        }
        self.mux.send(transmit)
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.mux.shared.demux().close(self.id);
        self.ring.close();
    }
}

#[allow(clippy::disallowed_methods, reason = "the time of reception is read where it is received")]
fn now() -> Instant {
    Instant::now()
}

/// What one UDP datagram can carry, and so one batch of them in one call.
const LONGEST_BATCH: usize = 65_507;
/// `EMSGSIZE` on Linux; its kind has no name in stable std.
const MESSAGE_TOO_LONG: i32 = 90;
