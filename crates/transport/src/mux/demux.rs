//! Routing table: finds the connection to which a datagram belongs. No I/O, no clock, no cryptography; the cost of a
//! lookup does not depend on the number of connections.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use super::{DropReason, PacketClass, Stun, StunClass};

/// Number of a route; unique in its mux, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(u64);

/// Error: the local `ufrag` belongs to another route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the user fragment is in use by another connection")]
pub struct AddUfragError;

/// Route of a datagram, and what was parsed to find it.
#[derive(Debug)]
pub struct Found<'a, T> {
    /// Number of the route.
    pub route: RouteId,
    /// Class of the datagram; [`PacketClass::Stun`] only if it is a STUN message.
    pub class: PacketClass,
    /// STUN message, if it is one.
    pub stun: Option<Stun<'a>>,
    /// Target of the route.
    pub target: &'a T,
}

/// Routing table: maps datagrams to routes, each with its target `T`.
///
/// Each route holds a bounded number of addresses and transactions; unknown senders hold none.
#[derive(Debug)]
pub struct Demux<T> {
    routes: HashMap<RouteId, Entries<T>>,
    ufrags: HashMap<String, RouteId>,
    remotes: HashMap<SocketAddr, RouteId>,
    transactions: HashMap<[u8; 12], RouteId>,
    next: u64,
}

#[derive(Debug)]
struct Entries<T> {
    target: T,
    ufrags: Vec<String>,
    /// Validated remote addresses, the oldest first.
    remotes: VecDeque<SocketAddr>,
    /// Transactions under way, the oldest first.
    transactions: VecDeque<[u8; 12]>,
}

impl<T> Default for Demux<T> {
    fn default() -> Self {
        Self {
            routes: HashMap::new(),
            ufrags: HashMap::new(),
            remotes: HashMap::new(),
            transactions: HashMap::new(),
            next: 0,
        }
    }
}

impl<T> Demux<T> {
    /// Opens a new route, to which nothing is routed yet.
    pub fn open(&mut self, target: T) -> RouteId {
        let id = RouteId(self.next);
        self.next += 1;
        let entries = Entries {
            target,
            ufrags: Vec::new(),
            remotes: VecDeque::new(),
            transactions: VecDeque::new(),
        };
        self.routes.insert(id, entries);
        id
    }

    /// Removes a route and all its entries.
    pub fn close(&mut self, id: RouteId) {
        let Some(entries) = self.routes.remove(&id) else { return };
        for ufrag in entries.ufrags {
            self.ufrags.remove(&ufrag);
        }
        for remote in entries.remotes {
            remove_if(&mut self.remotes, &remote, id);
        }
        for transaction in entries.transactions {
            remove_if(&mut self.transactions, &transaction, id);
        }
    }

    /// Routes STUN requests for this `ufrag` to this route.
    ///
    /// # Errors
    /// [`AddUfragError`] if it belongs to another route.
    pub fn add_ufrag(&mut self, id: RouteId, ufrag: &str) -> Result<(), AddUfragError> {
        let Some(entries) = self.routes.get_mut(&id) else { return Ok(()) };
        match self.ufrags.entry(ufrag.to_owned()) {
            Entry::Occupied(taken) if *taken.get() == id => Ok(()),
            Entry::Occupied(_) => Err(AddUfragError),
            Entry::Vacant(free) => {
                entries.ufrags.push(ufrag.to_owned());
                free.insert(id);
                Ok(())
            }
        }
    }

    /// Stops routing requests for this `ufrag` to this route.
    pub fn remove_ufrag(&mut self, id: RouteId, ufrag: &str) {
        if let Some(entries) = self.routes.get_mut(&id) {
            entries.ufrags.retain(|known| known != ufrag);
            if self.ufrags.get(ufrag) == Some(&id) {
                self.ufrags.remove(ufrag);
            }
        }
    }

    /// Routes what comes from this address to this route, even if another route had it: the latest that has proved to
    /// own it wins.
    pub fn validate(&mut self, id: RouteId, remote: SocketAddr) {
        let Some(entries) = self.routes.get_mut(&id) else { return };
        self.remotes.insert(remote, id);
        entries.remotes.retain(|known| *known != remote);
        entries.remotes.push_back(remote);
        if entries.remotes.len() > REMOTES {
            let oldest = entries.remotes.pop_front();
            oldest.inspect(|oldest| remove_if(&mut self.remotes, oldest, id));
        }
    }

    /// Stops routing what comes from this address to this route.
    pub fn forget(&mut self, id: RouteId, remote: SocketAddr) {
        if let Some(entries) = self.routes.get_mut(&id) {
            entries.remotes.retain(|known| *known != remote);
            remove_if(&mut self.remotes, &remote, id);
        }
    }

    /// Notes a request that this route has sent, so that the response is routed to it.
    pub fn expect_response(&mut self, id: RouteId, transaction: [u8; 12]) {
        let Some(entries) = self.routes.get_mut(&id) else { return };
        if self.transactions.insert(transaction, id) == Some(id) {
            return;
        }
        entries.transactions.push_back(transaction);
        if entries.transactions.len() > TRANSACTIONS {
            let oldest = entries.transactions.pop_front();
            oldest.inspect(|oldest| remove_if(&mut self.transactions, oldest, id));
        }
    }

    /// Forgets a transaction after its response. A route that sends the request again notes it again.
    pub fn answered(&mut self, id: RouteId, transaction: &[u8; 12]) {
        if let Some(entries) = self.routes.get_mut(&id) {
            entries.transactions.retain(|known| known != transaction);
            remove_if(&mut self.transactions, transaction, id);
        }
    }

    /// Finds the route of a datagram. A STUN message is parsed here, once.
    ///
    /// # Errors
    /// The reason for which it belongs to no route.
    pub fn find<'a>(
        &'a self,
        source: SocketAddr,
        datagram: &'a [u8],
    ) -> Result<Found<'a, T>, DropReason> {
        let by_source = |reason: DropReason| self.remotes.get(&source).ok_or(reason);
        let class = PacketClass::of(datagram);
        let stun = if class == PacketClass::Stun { Stun::parse(datagram) } else { None };
        let id = match (class, stun.map(|stun| (stun.class, stun))) {
            (_, Some((StunClass::Request, stun))) => {
                let known = stun.ufrag().and_then(|ufrag| self.ufrags.get(ufrag));
                known.ok_or(DropReason::UnknownUfrag)?
            }
            (_, Some((StunClass::Response, stun))) => {
                let known = self.transactions.get(&stun.transaction);
                known.ok_or(DropReason::UnknownTransaction)?
            }
            (PacketClass::Stun, None) => by_source(DropReason::MalformedStun)?,
            (PacketClass::Other, None) => by_source(DropReason::Unclassified)?,
            _ => by_source(DropReason::UnknownSource)?,
        };
        let class = match (class, stun) {
            // An application's payload may begin with any byte.
            (PacketClass::Stun, None) => PacketClass::Other,
            _ => class,
        };
        let entries = self.routes.get(id).ok_or(DropReason::UnknownSource)?;
        Ok(Found { route: *id, class, stun, target: &entries.target })
    }

    /// Returns the number of routes.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Returns whether there are no routes.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Returns the numbers of entries: user fragments, addresses, transactions.
    pub fn entries(&self) -> (usize, usize, usize) {
        (self.ufrags.len(), self.remotes.len(), self.transactions.len())
    }
}

/// Removes an entry unless it has become another route's.
fn remove_if<K: std::hash::Hash + Eq>(map: &mut HashMap<K, RouteId>, key: &K, id: RouteId) {
    if map.get(key) == Some(&id) {
        map.remove(key);
    }
}

/// Remote addresses per route: the candidates of a peer with many interfaces, and some that it had before.
const REMOTES: usize = 32;
/// Requests under way per route: each of 100 pairs has one at a time, and few pairs are checked at once.
const TRANSACTIONS: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    /// RFC 5769 §2.1: a request by `evtj:h6vY`.
    const REQUEST: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\
        \x00\x06\x00\x09evtj:h6vY\x20\x20\x20\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
        \x80\x28\x00\x04\xe5\x7a\x3b\xcf";
    /// RFC 5769 §2.2: the response to it, over IPv4.
    const RESPONSE_V4: &[u8] = b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x0btest vector\x20\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
        \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\
        \x80\x28\x00\x04\xc0\x7d\x4c\x96";
    /// RFC 5769 §2.3: the response to it, over IPv6.
    const RESPONSE_V6: &[u8] = b"\x01\x01\x00\x48\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x0btest vector\x20\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9\
        \x00\x08\x00\x14\xa3\x82\x95\x4e\x4b\xe6\x7b\xf1\x17\x84\xc9\x7c\x82\x92\xc2\x75\xbf\xe3\xed\x41\
        \x80\x28\x00\x04\xc8\xfb\x0b\x4c";
    const TRANSACTION: [u8; 12] =
        [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    fn found(
        demux: &Demux<&'static str>,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Result<&'static str, DropReason> {
        demux.find(source, datagram).map(|found| *found.target)
    }

    #[test]
    fn the_vectors_of_rfc_5769_find_their_way() {
        let mut demux = Demux::default();
        let (one, other) = (demux.open("one"), demux.open("other"));
        demux.add_ufrag(one, "evtj").unwrap();
        demux.add_ufrag(other, "h6vY").unwrap();

        let request = Stun::parse(REQUEST).unwrap();
        assert_eq!((request.class, request.transaction), (StunClass::Request, TRANSACTION));
        assert_eq!(request.ufrag(), Some("evtj"));
        assert_eq!(found(&demux, address(1), REQUEST), Ok("one"));
        for response in [RESPONSE_V4, RESPONSE_V6] {
            assert_eq!(found(&demux, address(1), response), Err(DropReason::UnknownTransaction));
        }
        demux.expect_response(other, TRANSACTION);
        for response in [RESPONSE_V4, RESPONSE_V6] {
            assert_eq!(found(&demux, address(1), response), Ok("other"));
        }
    }

    #[test]
    fn a_response_comes_once_unless_its_request_is_sent_again() {
        let mut demux = Demux::default();
        let route = demux.open("route");
        demux.expect_response(route, TRANSACTION);
        let response = demux.find(address(1), RESPONSE_V4).unwrap();
        assert_eq!((response.route, response.class), (route, PacketClass::Stun));
        assert_eq!(response.stun.map(|stun| stun.transaction), Some(TRANSACTION));

        demux.answered(route, &TRANSACTION);
        let again = found(&demux, address(1), RESPONSE_V4);
        assert_eq!(again, Err(DropReason::UnknownTransaction));
        assert_eq!(demux.entries(), (0, 0, 0));

        demux.expect_response(route, TRANSACTION);
        assert_eq!(found(&demux, address(1), RESPONSE_V4), Ok("route"));
    }

    #[test]
    fn what_fits_nowhere_says_why() {
        let mut demux = Demux::default();
        let route = demux.open("route");
        demux.add_ufrag(route, "abcd").unwrap();
        let indication =
            [0, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

        assert_eq!(found(&demux, address(1), b""), Err(DropReason::Unclassified));
        assert_eq!(found(&demux, address(1), &[100, 1, 2]), Err(DropReason::Unclassified));
        assert_eq!(found(&demux, address(1), &[0, 1, 2]), Err(DropReason::MalformedStun));
        assert_eq!(found(&demux, address(1), REQUEST), Err(DropReason::UnknownUfrag));
        assert_eq!(found(&demux, address(1), &indication), Err(DropReason::UnknownSource));
        for first in [16, 22, 64, 128] {
            assert_eq!(found(&demux, address(1), &[first, 0, 0]), Err(DropReason::UnknownSource));
        }
        demux.validate(route, address(1));
        let payload = demux.find(address(1), &[0, 1, 2]).unwrap();
        assert_eq!((payload.class, payload.stun), (PacketClass::Other, None));
        assert_eq!(found(&demux, address(1), &indication), Ok("route"));
        for first in [0, 16, 22, 64, 100, 128] {
            assert_eq!(found(&demux, address(1), &[first, 0, 0]), Ok("route"));
        }
    }

    #[test]
    fn two_fragments_at_once_lead_to_one_route_and_none_to_two() {
        let mut demux = Demux::default();
        let (one, other) = (demux.open("one"), demux.open("other"));
        demux.add_ufrag(one, "old").unwrap();
        demux.add_ufrag(one, "evtj").unwrap();

        assert_eq!(demux.add_ufrag(other, "evtj"), Err(AddUfragError));
        assert_eq!(demux.add_ufrag(one, "evtj"), Ok(()));
        demux.remove_ufrag(one, "old");
        assert_eq!(demux.add_ufrag(other, "old"), Ok(()));
        assert_eq!(found(&demux, address(1), REQUEST), Ok("one"));
        demux.remove_ufrag(other, "evtj");
        assert_eq!(
            found(&demux, address(1), REQUEST),
            Ok("one"),
            "it is not the other's to remove"
        );
    }

    #[test]
    fn an_address_is_the_latest_routes_that_has_validated_it() {
        let mut demux = Demux::default();
        let (one, other) = (demux.open("one"), demux.open("other"));
        demux.validate(one, address(1));
        demux.validate(other, address(1));
        assert_eq!(found(&demux, address(1), &[128]), Ok("other"));

        demux.forget(one, address(1));
        demux.close(one);

        assert_eq!(found(&demux, address(1), &[128]), Ok("other"));
    }

    #[test]
    fn a_route_holds_no_more_than_its_share_and_leaves_nothing_behind() {
        let mut demux = Demux::default();
        let route = demux.open("route");
        demux.add_ufrag(route, "a").unwrap();
        for port in 1..1_000_u16 {
            demux.validate(route, address(port));
            demux.expect_response(
                route,
                [port.to_be_bytes(), [0; 2], [0; 2], [0; 2], [0; 2], [0; 2]]
                    .concat()
                    .try_into()
                    .unwrap(),
            );
        }
        assert_eq!(demux.entries(), (1, REMOTES, TRANSACTIONS));
        assert_eq!(found(&demux, address(999), &[128]), Ok("route"));
        assert_eq!(found(&demux, address(1), &[128]), Err(DropReason::UnknownSource));

        demux.close(route);

        assert!(demux.is_empty());
        assert_eq!(demux.entries(), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn nothing_that_anyone_sends_is_a_panic(mut datagram: Vec<u8>, as_stun: bool) {
            if as_stun && datagram.len() >= 20 {
                datagram[0] &= 1;
                datagram[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
                let length = (datagram.len() - 20) as u16;
                datagram[2..4].copy_from_slice(&length.to_be_bytes());
            }
            let mut demux = Demux::default();
            let route = demux.open("route");
            demux.validate(route, address(1));
            _ = demux.find(address(1), &datagram);
            _ = demux.find(address(2), &datagram);
        }
    }
}
