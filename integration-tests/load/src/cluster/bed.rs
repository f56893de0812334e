//! Networks: one for each host, joined by a router, which can lose what goes from one host to another.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use integration_tests::Namespace;

/// Hosts and the router between them. Clients are on the router.
pub(crate) struct Bed {
    router: Namespace,
    hosts: BTreeMap<String, Host>,
}

/// Host: a network with one address, whose default route is the router.
pub(crate) struct Host {
    pub(crate) network: Namespace,
    pub(crate) address: Ipv4Addr,
    /// Interface of the router that leads to it.
    link: String,
}

impl Bed {
    /// Creates the networks of hosts with these names. The calling thread, and what it starts, is moved to the router.
    pub(crate) fn new(names: &[&str]) -> Self {
        let router = Namespace::new();
        router.forward();
        let mut hosts = BTreeMap::new();
        for (number, name) in names.iter().enumerate() {
            let (network, link) = (Namespace::new(), format!("to-{name}"));
            let (near, far) = (format!("10.98.{number}.254/24"), format!("10.98.{number}.1/24"));
            router.connect((&link, &near), &network, ("eth0", &far));
            network.ip(&format!("route add default via 10.98.{number}.254"));
            let address = Ipv4Addr::new(10, 98, u8::try_from(number).expect("few hosts"), 1);
            hosts.insert((*name).to_owned(), Host { network, address, link });
        }
        router.nft(
            "table ip faults {\n\
             chain forward { type filter hook forward priority 0; policy accept; }\n\
             }\n",
        );
        router.enter();
        Self { router, hosts }
    }

    /// Returns a host.
    pub(crate) fn host(&self, name: &str) -> &Host {
        &self.hosts[name]
    }

    /// Takes the link to a host down, or up again.
    pub(crate) fn link(&self, name: &str, up: bool) {
        let (link, state) = (&self.hosts[name].link, if up { "up" } else { "down" });
        self.router.ip(&format!("link set {link} {state}"));
    }

    /// Loses all that goes from one of these hosts to one of those, until [`heal`](Self::heal). No host is told.
    pub(crate) fn cut(&self, from: &[&str], to: &[&str]) {
        let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (from, to)));
        let rules = pairs.map(|(from, to)| {
            let (from, to) = (self.hosts[*from].address, self.hosts[*to].address);
            format!("add rule ip faults forward ip saddr {from} ip daddr {to} drop\n")
        });
        self.router.nft(&rules.collect::<String>());
    }

    /// Loses nothing any more.
    pub(crate) fn heal(&self) {
        self.router.nft("flush chain ip faults forward\n");
    }
}
