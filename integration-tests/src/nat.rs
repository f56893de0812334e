//! Two hosts, each behind its own NAT router, and the public network between them.
//!
//! ```text
//! left.client ── left.router ── public ── right.router ── right.client
//! 192.168.1.2     203.0.113.2  192.0.2.1   198.51.100.2    192.168.2.2
//! ```
//!
//! Only its router has a route to a client's address; packets that are sent there from elsewhere vanish. A router drops
//! packets for which it has no mapping: it filters by address and port, as Linux's connection tracking does.

use std::net::Ipv4Addr;

use crate::namespace::Namespace;

/// Test bed of two NATs. The kernel removes it with this value and the programs inside.
#[derive(Debug)]
pub struct NatBed {
    /// The network between the routers, with [`PUBLIC_ADDRESS`]: the place for STUN and TURN servers.
    pub public: Namespace,
    /// One host and its router.
    pub left: NatSide,
    /// The other host and its router.
    pub right: NatSide,
}

impl NatBed {
    /// Creates the networks.
    ///
    /// # Panics
    ///
    /// Without root (or a user namespace that stands for it), and where iproute2 or nftables is missing.
    pub fn new(left: NatOptions, right: NatOptions) -> Self {
        let public = Namespace::new();
        public.ip(&format!("address add {PUBLIC_ADDRESS}/32 dev lo"));
        // Packets for unknown addresses vanish, as they do in the Internet. Without a route there would be errors
        // instead, and coturn gives up an allocation that cannot send to a peer's private address.
        for step in [
            "link add elsewhere type veth peer name nowhere",
            "link set elsewhere arp off up",
            "link set nowhere up",
            "route add default dev elsewhere",
        ] {
            public.ip(step);
        }
        public.forward();
        let left = NatSide::new(&public, "left", 1, Ipv4Addr::new(203, 0, 113, 2), left);
        let right = NatSide::new(&public, "right", 2, Ipv4Addr::new(198, 51, 100, 2), right);
        Self { public, left, right }
    }
}

/// Host and its router.
#[derive(Debug)]
pub struct NatSide {
    /// The host's network.
    pub client: Namespace,
    /// The host's address, which is unknown outside.
    pub client_address: Ipv4Addr,
    /// The router's network.
    pub router: Namespace,
    /// The address that everyone outside sees instead.
    pub router_address: Ipv4Addr,
}

/// Options of a router: how it maps ports, and how many packets it loses.
#[derive(Debug, Clone, Copy, Default)]
pub struct NatOptions {
    /// How it chooses the external port. Default: [`Mapping::SamePort`].
    pub mapping: Mapping,
    /// Percentage of packets that are lost, in each direction. Default: 0.
    pub loss: u8,
}

/// How a router chooses the external port (RFC 4787 §4.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mapping {
    /// The host's own port for every destination: endpoint-independent mapping.
    #[default]
    SamePort,
    /// A random port for each destination, as symmetric NATs do: the port that a STUN server
    /// sees is of no use to others.
    RandomPort,
}

impl NatSide {
    /// Sets the percentage of packets that are lost from now on, in each direction; 100 is an outage. Mappings stay.
    ///
    /// # Panics
    ///
    /// When `nft` refuses.
    pub fn lose(&self, percent: u8) {
        // `nft` rejects comparisons that can never hold.
        let rule = match percent {
            0 => "",
            1..100 => &format!("numgen random mod 100 < {percent} drop"),
            100.. => "drop",
        };
        self.router.nft(&format!(
            "table ip loss
             delete table ip loss
             table ip loss {{
                 chain forward {{
                     type filter hook forward priority -10; policy accept;
                     {rule}
                 }}
             }}"
        ));
    }

    fn new(
        public: &Namespace,
        name: &str,
        number: u8,
        router_address: Ipv4Addr,
        options: NatOptions,
    ) -> Self {
        let [a, b, c, _] = router_address.octets();
        let gateway = Ipv4Addr::new(a, b, c, 1);
        let router = Namespace::new();
        public.connect(
            (name, &format!("{gateway}/24")),
            &router,
            ("outside", &format!("{router_address}/24")),
        );
        router.ip(&format!("route add default via {gateway}"));

        let client = Namespace::new();
        let client_address = Ipv4Addr::new(192, 168, number, 2);
        let router_inside = Ipv4Addr::new(192, 168, number, 1);
        router.connect(
            ("inside", &format!("{router_inside}/24")),
            &client,
            ("eth0", &format!("{client_address}/24")),
        );
        client.ip(&format!("route add default via {router_inside}"));

        let random = match options.mapping {
            Mapping::SamePort => "",
            Mapping::RandomPort => "fully-random",
        };
        // Packets without a mapping must be dropped, not answered: an answered packet would take the port away from the
        // mapping that the host is about to make.
        router.nft(&format!(
            "table ip nat {{
                 chain postrouting {{
                     type nat hook postrouting priority srcnat; policy accept;
                     oifname outside masquerade {random}
                 }}
                 chain input {{
                     type filter hook input priority filter; policy accept;
                     iifname outside ct state new meta l4proto {{ tcp, udp }} drop
                 }}
                 chain forward {{
                     type filter hook forward priority filter; policy accept;
                     iifname outside ct state new drop
                 }}
             }}"
        ));
        router.forward();
        let side = Self { client, client_address, router, router_address };
        if options.loss > 0 {
            side.lose(options.loss);
        }
        side
    }
}

/// Address of the public network, which both hosts reach.
pub const PUBLIC_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
