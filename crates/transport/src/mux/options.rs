//! How a mux binds its sockets.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// How a mux binds its sockets, and what it advertises.
#[derive(Clone, Debug)]
pub struct UdpMuxOptions {
    /// The one port for all connections. Default: [`PortChoice::Ephemeral`].
    pub port: PortChoice,
    /// Default: [`IpFamilies::Both`]; a system without IPv6 is no error then.
    pub ip_families: IpFamilies,
    /// Which interfaces are advertised. Default: those that lead to other machines.
    pub interfaces: InterfaceFilter,
    /// Advertised instead of the interfaces' addresses, at most one of each family: the public addresses of a machine
    /// behind a NAT that maps one to one. Default: none.
    pub announced: Vec<IpAddr>,
    /// Bytes for which the system is asked (`SO_RCVBUF`); it doubles them for its own needs, and may grant less, which
    /// is warned of. Default: 2 MiB, 0.2 s of a full gigabit. Raise `net.core.rmem_max` to have more.
    pub receive_buffer: usize,
    /// The same for what is sent (`SO_SNDBUF`). Default: 2 MiB.
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

/// Which port to bind. The sockets of both families have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PortChoice {
    /// Any that is free.
    #[default]
    Ephemeral,
    /// This one.
    Fixed(u16),
    /// The first of these that is free.
    Range(RangeInclusive<u16>),
}

/// Which address families to bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpFamilies {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both, if the system has both.
    #[default]
    Both,
}

/// Which interfaces' addresses are advertised as host candidates.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct InterfaceFilter {
    /// 127.0.0.1 and ::1. Default: no; only a peer on the same machine could use them.
    pub loopback: bool,
    /// 169.254.0.0/16 and fe80::/10. Default: no.
    pub link_local: bool,
    /// Bridges of containers and virtual machines, known by name (`docker0`, `br-…`, `virbr…`, …).
    /// Default: no; they lead to nobody else.
    pub virtual_interfaces: bool,
    allow: Option<Arc<Allow>>,
}

/// By an interface's name and address.
type Allow = dyn Fn(&str, IpAddr) -> bool + Send + Sync;

impl InterfaceFilter {
    /// With loopback as well: for peers on the same machine, and for tests.
    pub fn with_loopback() -> Self {
        Self { loopback: true, ..Self::default() }
    }

    /// Only those of which `allow` (by name and address) says so, besides the other rules.
    pub fn only(mut self, allow: impl Fn(&str, IpAddr) -> bool + Send + Sync + 'static) -> Self {
        self.allow = Some(Arc::new(allow));
        self
    }

    /// Whether this address is advertised.
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

/// Why the sockets could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The system refused.
    #[error("cannot bind UDP port {port}: {source}")]
    Bind {
        /// Which port; 0 for any.
        port: u16,
        /// What it said.
        source: io::Error,
    },
    /// All are taken.
    #[error("no UDP port from {} to {} is free", .0.start(), .0.end())]
    NoFreePort(RangeInclusive<u16>),
    /// The sockets could not be set up.
    #[error("cannot set up a UDP socket: {0}")]
    Socket(#[from] io::Error),
    /// An announced address that no peer could reach.
    #[error("{0} cannot be announced")]
    BadAnnounced(IpAddr),
}

/// What container engines and hypervisors call their bridges.
const VIRTUAL: [&str; 10] =
    ["docker", "br-", "virbr", "vboxnet", "vmnet", "lxcbr", "lxdbr", "cni", "flannel", "podman"];
