//! Sockets of a mux: one for each address family, on one port.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use quinn_udp::{UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use super::{BindError, IpFamilies, PortChoice, UdpMuxOptions};

/// Bound socket, with the system's capabilities for it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) socket: UdpSocket,
    pub(super) state: UdpSocketState,
}

/// Sockets by address family.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) v4: Option<Bound>,
    pub(super) v6: Option<Bound>,
    pub(super) port: u16,
}

impl Sockets {
    pub(super) fn bind(options: &UdpMuxOptions) -> Result<Self, BindError> {
        match &options.port {
            PortChoice::Fixed(port) => Self::bind_port(*port, options),
            PortChoice::Range(range) => {
                for port in range.clone() {
                    match Self::bind_port(port, options) {
                        Err(BindError::Bind { source, .. })
                            if source.kind() == ErrorKind::AddrInUse => {}
                        other => return other,
                    }
                }
                Err(BindError::NoFreePort(range.clone()))
            }
            PortChoice::Ephemeral => {
                // A port that is free for one family may be taken for the other: then another one is drawn.
                for _ in 0..EPHEMERAL_ATTEMPTS {
                    match Self::bind_port(0, options) {
                        Err(BindError::Bind { port, source })
                            if port != 0 && source.kind() == ErrorKind::AddrInUse => {}
                        other => return other,
                    }
                }
                Self::bind_port(0, options)
            }
        }
    }

    fn bind_port(port: u16, options: &UdpMuxOptions) -> Result<Self, BindError> {
        let families = options.ip_families;
        let v4 = match families {
            IpFamilies::V6 => None,
            _ => Some(Bound::new(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), options)?),
        };
        let port = match &v4 {
            Some(bound) => bound.socket.local_addr()?.port(),
            None => port,
        };
        let v6 = match families {
            IpFamilies::V4 => None,
            _ => match Bound::new(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), options) {
                Ok(bound) => Some(bound),
                Err(error) if families == IpFamilies::Both && is_without_ipv6(&error) => None,
                Err(error) => return Err(error),
            },
        };
        let port = match &v6 {
            Some(bound) => bound.socket.local_addr()?.port(),
            None => port,
        };
        Ok(Self { v4, v6, port })
    }

    /// Returns the socket that can send to this address.
    pub(super) fn to(&self, destination: SocketAddr) -> Option<&Bound> {
        match destination.ip() {
            IpAddr::V4(_) => self.v4.as_ref(),
            IpAddr::V6(_) => self.v6.as_ref(),
        }
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.v4.is_some(),
            IpAddr::V6(_) => self.v6.is_some(),
        }
    }
}

impl Bound {
    fn new(address: SocketAddr, options: &UdpMuxOptions) -> Result<Self, BindError> {
        let failed = |source| BindError::Bind { port: address.port(), source };
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))
            .map_err(failed)?;
        if address.is_ipv6() {
            socket.set_only_v6(true).map_err(failed)?;
        }
        socket.bind(&address.into()).map_err(failed)?;
        size_buffers(&socket, options);
        let socket = UdpSocket::from(socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { socket, state })
    }

    pub(super) fn send(&self, transmit: &quinn_udp::Transmit<'_>) -> io::Result<()> {
        self.state.try_send(UdpSockRef::from(&self.socket), transmit)
    }
}

/// Requests the buffer sizes, and logs a warning if the system grants less.
fn size_buffers(socket: &Socket, options: &UdpMuxOptions) {
    _ = socket.set_recv_buffer_size(options.receive_buffer);
    _ = socket.set_send_buffer_size(options.send_buffer);
    let granted = |size: io::Result<usize>| size.unwrap_or(0);
    for (what, wanted, granted, limit) in [
        (
            "receive",
            options.receive_buffer,
            granted(socket.recv_buffer_size()),
            "net.core.rmem_max",
        ),
        ("send", options.send_buffer, granted(socket.send_buffer_size()), "net.core.wmem_max"),
    ] {
        // Linux reports twice the size that was requested.
        if granted < wanted {
            log::warn!(
                "the system grants a UDP {what} buffer of {granted} of {wanted} bytes; raise {limit} for more"
            );
        }
    }
}

fn is_without_ipv6(error: &BindError) -> bool {
    let BindError::Bind { source, .. } = error else { return false };
    matches!(source.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported)
        || source.raw_os_error() == Some(ADDRESS_FAMILY_NOT_SUPPORTED)
}

const EPHEMERAL_ATTEMPTS: usize = 20;
/// `EAFNOSUPPORT` on Linux; its kind has no name in std.
const ADDRESS_FAMILY_NOT_SUPPORTED: i32 = 97;
