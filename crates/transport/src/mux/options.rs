//! Options of a mux: port, address families, interfaces, buffers.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Options with which a mux binds its sockets, and the addresses that it advertises.
#[derive(Clone, Debug)]
pub struct UdpMuxOptions {
    /// Port shared by all connections. Default: [`PortChoice::Ephemeral`].
    pub port: PortChoice,
    /// Address families to bind. Default: [`IpFamilies::Both`]; a system without IPv6 is then no error.
    pub ip_families: IpFamilies,
    /// Interfaces whose addresses are advertised. Default: those that lead to other machines.
    pub interfaces: InterfaceFilter,
    /// Addresses that are advertised instead of the interfaces' addresses, at most one of each family: the public
    /// addresses of a machine behind a NAT that maps one to one. Default: none.
    pub announced: Vec<IpAddr>,
    /// Size in bytes of the receive buffer that is requested of the system (`SO_RCVBUF`). The system doubles it for its
    /// own needs, and may grant less, which is logged as a warning. Default: 2 MiB, 0.2 s of a full gigabit. Raise
    /// `net.core.rmem_max` to have more.
    pub receive_buffer: usize,
    /// Size in bytes of the send buffer (`SO_SNDBUF`), likewise. Default: 2 MiB.
    pub send_buffer: usize,
}

impl Default for UdpMuxOptions {
    fn default() -> Self {
        Self {
            port: PortChoice::Ephemeral,
            ip_families: IpFamilies::Both,
            interfaces: InterfaceFilter::default(),
            announced: Vec::new(),
            receive_buffer: 2 << 20,
            send_buffer: 2 << 20,
        }
    }
}

/// Port to bind. The sockets of both families have the same port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PortChoice {
    /// Any free port.
    #[default]
    Ephemeral,
    /// Exactly this port.
    Fixed(u16),
    /// First free port of this range.
    Range(RangeInclusive<u16>),
}

/// Address families to bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "IP has two versions")]
pub enum IpFamilies {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both, if the system has both.
    #[default]
    Both,
}

/// Filter for the interfaces whose addresses are advertised as host candidates.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct InterfaceFilter {
    /// Whether to advertise 127.0.0.1 and ::1. Default: no; only a peer on the same machine could use them.
    pub loopback: bool,
    /// Whether to advertise 169.254.0.0/16 and fe80::/10. Default: no.
    pub link_local: bool,
    /// Whether to advertise bridges of containers and virtual machines, known by name (`docker0`, `br-…`, `virbr…`, …).
    /// Default: no; they lead to no other machine.
    pub virtual_interfaces: bool,
    allow: Option<Arc<Allow>>,
}

/// Predicate on the name and address of an interface.
type Allow = dyn Fn(&str, IpAddr) -> bool + Send + Sync;

impl InterfaceFilter {
    /// Returns a filter that allows loopback as well: for peers on the same machine, and for tests.
    pub fn with_loopback() -> Self {
        Self { loopback: true, ..Self::default() }
    }

    /// Allows only the interfaces for which `allow` returns true, by name and address; the other rules still apply.
    pub fn only(mut self, allow: impl Fn(&str, IpAddr) -> bool + Send + Sync + 'static) -> Self {
        self.allow = Some(Arc::new(allow));
        self
    }

    /// Returns whether this address is advertised.
    pub fn allows(&self, name: &str, address: IpAddr) -> bool {
        let link_local = match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        let is_virtual = VIRTUAL.iter().any(|prefix| name.starts_with(prefix));
        !address.is_unspecified()
            && !address.is_multicast()
            && (self.loopback || !address.is_loopback())
            && (self.link_local || !link_local)
            && (self.virtual_interfaces || !is_virtual)
            && self.allow.as_ref().is_none_or(|allow| allow(name, address))
    }
}

impl fmt::Debug for InterfaceFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterfaceFilter")
            .field("loopback", &self.loopback)
            .field("link_local", &self.link_local)
            .field("virtual_interfaces", &self.virtual_interfaces)
            .field("allow", &self.allow.is_some())
            .finish()
    }
}

/// Error of binding the sockets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The system refused to bind the port.
    #[error("cannot bind UDP port {port}: {source}")]
    Bind {
        /// Port that was requested; 0 for any.
        port: u16,
        /// Error of the system.
        source: io::Error,
    },
    /// All ports of the range are taken.
    #[error("no UDP port from {} to {} is free", .0.start(), .0.end())]
    NoFreePort(RangeInclusive<u16>),
    /// The sockets could not be set up.
    #[error("cannot set up a UDP socket: {0}")]
    Socket(#[from] io::Error),
    /// An announced address is one that no peer could reach.
    #[error("{0} cannot be announced")]
    BadAnnounced(IpAddr),
}

/// Prefixes of the names that container engines and hypervisors give their bridges.
const VIRTUAL: [&str; 10] =
    ["docker", "br-", "virbr", "vboxnet", "vmnet", "lxcbr", "lxdbr", "cni", "flannel", "podman"];
