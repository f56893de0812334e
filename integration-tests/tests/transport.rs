//! Transport of one ICE component, with a real STUN and TURN server.
#![allow(clippy::field_reassign_with_default, reason = "options can be made in no other way")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::{Actor, Addr};
use callboard_transport::gather::*;
use callboard_transport::mux::*;
use futures_util::StreamExt;
use integration_tests::coturn::{Access, CoturnOptions, PASSWORD, USER};
use integration_tests::nat::{NatOptions, PUBLIC_ADDRESS};
use integration_tests::{Coturn, Moment, NatBed, PATIENCE, in_network_namespace, until};
use is::{Candidate, CandidateKind};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::net::UdpSocket;
use tokio::task::LocalSet;
use tokio::time::{sleep_until, timeout};

#[test]
fn behind_a_nat_the_address_of_the_router_is_found() {
    with_actors(async || {
        let bed = NatBed::new(NatOptions::default(), NatOptions::default());
        let options = CoturnOptions {
            namespace: bed.public.clone(),
            address: PUBLIC_ADDRESS,
            ..CoturnOptions::default()
        };
        let coturn = Coturn::start(options).await;
        bed.left.client.enter();
        let mux = Mux::start();
        let mut side = Side::open(&mux, vec![IceServer::new(&coturn.stun_url()).unwrap()], None);

        side.gather().await;

        let expected = SocketAddr::new(bed.left.router_address.into(), mux.handle.port());
        assert_eq!(side.of_kind(CandidateKind::ServerReflexive), [expected]);
        let host = SocketAddr::new(bed.left.client_address.into(), mux.handle.port());
        assert_eq!(side.of_kind(CandidateKind::Host), [host]);
        assert!(side.errors.is_empty(), "{:?}", side.errors);
    });
}

#[test]
fn those_who_share_a_mux_ask_a_server_once() {
    with_actors(async || {
        let coturn = Coturn::start(CoturnOptions::default()).await;
        let proxy = Proxy::start(coturn.address()).await;
        let mux = Mux::start();
        let servers = vec![IceServer::new(&format!("stun:{}", proxy.address)).unwrap()];
        let mut sides: Vec<_> = (0..3).map(|_| Side::open(&mux, servers.clone(), None)).collect();
        sides.iter().for_each(|side| side.transport.as_ref().unwrap().gather());
        for side in &mut sides {
            side.until("the end of gathering", |side| side.done > 0).await;
        }
        // And one that comes later.
        let mut late = Side::open(&mux, servers, None);
        late.gather().await;
        sides.push(late);

        let seen = sides[0].of_kind(CandidateKind::ServerReflexive);
        assert_eq!(seen.len(), 1);
        for side in &sides {
            assert_eq!(side.of_kind(CandidateKind::ServerReflexive), seen);
        }
        assert_eq!(proxy.asked.get(), 1);
    });
}

#[test]
fn data_flows_from_relay_to_relay() {
    with_actors(async || {
        let coturn = Coturn::start(CoturnOptions::default()).await;
        let mux = Mux::start();
        for url in [coturn.turn_url("udp"), coturn.turn_url("tcp"), coturn.turns_url()] {
            let open = || Side::open(&mux, vec![turn(&url)], Some(trusting(&coturn)));
            let (mut left, mut right) = (open(), open());
            left.gather().await;
            right.gather().await;
            let (from, to) = (left.relayed(), right.relayed());

            // Until both servers have installed both permissions.
            until("the permissions", PATIENCE, async || {
                left.send(from, to, b"hello");
                right.send(to, from, b"hello");
                left.read_on().await;
                right.read_on().await;
                match left.received.is_empty() || right.received.is_empty() {
                    true => Moment::NotYet(format!("{:?} {:?}", left.received, right.received)),
                    false => Moment::Now(()),
                }
            })
            .await;
            for length in 1..60_usize {
                let payload = vec![200 + (length % 50) as u8; length];
                left.send(from, to, &payload);
                let expected = Some((from, to, payload.clone()));
                let what = format!("{length} bytes by {url}");
                right.until(&what, |it| it.received.last() == expected.as_ref()).await;
                right.send(to, from, &payload);
                let expected = Some((to, from, payload));
                left.until(&what, |it| it.received.last() == expected.as_ref()).await;
            }
            assert!(left.errors.is_empty() && right.errors.is_empty());
        }
    });
}

#[test]
fn wrong_credentials_are_told_at_once() {
    with_actors(async || {
        let coturn = Coturn::start(CoturnOptions::default()).await;
        let mux = Mux::start();
        for (name, password) in [(USER, "wrong"), ("mallory", PASSWORD)] {
            for url in [coturn.turn_url("udp"), coturn.turn_url("tcp")] {
                let server = IceServer::turn(&url, name, password).unwrap();
                let mut side = Side::open(&mux, vec![server], None);
                side.gather().await;
                let codes: Vec<_> = side.errors.iter().map(|error| error.code).collect();
                assert_eq!(codes, [401], "{url} {:?}", side.errors);
                assert!(side.of_kind(CandidateKind::Relayed).is_empty());
            }
        }
    });
}

#[test]
fn a_certificate_without_a_trusted_issuer_is_refused() {
    with_actors(async || {
        let coturn = Coturn::start(CoturnOptions::default()).await;
        let other = Coturn::start(CoturnOptions::default()).await;
        let mux = Mux::start();
        let mut side = Side::open(&mux, vec![turn(&coturn.turns_url())], Some(trusting(&other)));
        side.gather().await;
        let codes: Vec<_> = side.errors.iter().map(|error| error.code).collect();
        assert_eq!(codes, [701], "{:?}", side.errors);
    });
}

#[test]
fn ephemeral_credentials_are_good_until_they_expire() {
    with_actors(async || {
        let access = Access::Secret("a secret".to_owned());
        let coturn = Coturn::start(CoturnOptions { access, ..CoturnOptions::default() }).await;
        let mux = Mux::start();
        let now = wall_clock();
        let hour = Duration::from_secs(3600);
        for (secret, expires, relays) in [
            ("a secret", now + hour, true),
            ("a secret", now - hour, false),
            ("another", now + hour, false),
        ] {
            let TurnCredentials { username, credential, .. } =
                ephemeral_turn_credentials(secret.as_bytes(), "ada", expires);
            let server = IceServer::turn(&coturn.turn_url("udp"), username, credential).unwrap();
            let mut side = Side::open(&mux, vec![server], None);
            side.gather().await;
            assert_eq!(side.of_kind(CandidateKind::Relayed).len(), usize::from(relays));
            assert_eq!(side.errors.len(), usize::from(!relays), "{:?}", side.errors);
        }
    });
}

#[test]
fn a_killed_server_is_noticed_and_used_again_when_it_is_back() {
    with_actors(async || {
        for transport in ["udp", "tcp"] {
            let mut coturn = Coturn::start(CoturnOptions::default()).await;
            let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let mux = Mux::start();
            let mut side = Side::open(&mux, vec![turn(&coturn.turn_url(transport))], None);
            side.gather().await;
            let first = side.relayed();
            side.assert_reaches(&peer).await;

            coturn.kill().await;
            side.send_until("the loss of the relay", &peer, |side| !side.lost.is_empty()).await;
            assert_eq!(side.lost[0].addr(), first);

            coturn.restart().await;
            let relays = |side: &Side| side.of_kind(CandidateKind::Relayed).len();
            side.until_within("a new relay", PATIENCE, |side| relays(side) == 2).await;
            side.assert_reaches(&peer).await;
        }
    });
}

#[test]
fn a_server_that_has_forgotten_an_allocation_is_asked_for_another() {
    with_actors(async || {
        let mut coturn = Coturn::start(CoturnOptions::default()).await;
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mux = Mux::start();
        let mut side = Side::open(&mux, vec![turn(&coturn.turn_url("udp"))], None);
        side.gather().await;
        side.assert_reaches(&peer).await;

        // Nothing is sent meanwhile, so no ICMP message reports that the port is closed.
        coturn.restart().await;
        side.send_until("the loss of the relay", &peer, |side| !side.lost.is_empty()).await;

        let relays = |side: &Side| side.of_kind(CandidateKind::Relayed).len();
        side.until_within("a new relay", PATIENCE, |side| relays(side) == 2).await;
        side.assert_reaches(&peer).await;
    });
}

#[test]
fn dropping_a_transport_closes_its_sockets_and_gives_its_allocation_back() {
    with_actors(async || {
        let coturn = Coturn::start(CoturnOptions::default()).await;
        let mux = Mux::start();
        for url in [coturn.turn_url("udp"), coturn.turn_url("tcp"), coturn.turns_url()] {
            let before = coturn.written().matches("lifetime=0").count();
            let mut side = Side::open(&mux, vec![turn(&url)], Some(trusting(&coturn)));
            side.gather().await;
            side.relayed();
            assert_eq!((ways(&coturn), mux.handle.routes()), (1, 1), "{url}");

            side.transport = None;

            until("the end of its socket", PATIENCE, async || match ways(&coturn) {
                0 => Moment::Now(()),
                ways => Moment::NotYet(format!("{ways} ways to {url}")),
            })
            .await;
            until("the end of its allocation", PATIENCE, async || {
                let written = coturn.written();
                match written.matches("lifetime=0").count() > before {
                    true => Moment::Now(()),
                    false => Moment::NotYet(written),
                }
            })
            .await;
            drop(side);
            assert_eq!(mux.handle.routes(), 0);
        }
    });
}

#[allow(clippy::disallowed_methods, reason = "the server reads it as well")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Returns the number of sockets that are connected to the server, in the network of this thread.
fn ways(coturn: &Coturn) -> usize {
    let ports = [coturn.address().port(), coturn.tls_address().port()];
    ["udp", "tcp"]
        .map(|protocol| {
            let table = fs::read_to_string(format!("/proc/thread-self/net/{protocol}")).unwrap();
            let connected = |line: &&str| {
                let fields: Vec<_> = line.split_whitespace().collect();
                let remote = fields[2].rsplit(':').next().unwrap();
                let port = u16::from_str_radix(remote, 16).unwrap_or_default();
                ports.contains(&port) && fields[3] == "01"
            };
            table.lines().skip(1).filter(connected).count()
        })
        .iter()
        .sum()
}

/// Runs a test on a thread that can run actors.
fn with_actors<Test: AsyncFnOnce() + Send>(test: Test) {
    _ = env_logger::builder().is_test(true).try_init();
    in_network_namespace(async || LocalSet::new().run_until(test()).await);
}

struct Mux {
    handle: MuxHandle,
    _reader: Addr<UdpMux>,
}

impl Mux {
    /// Starts it on IPv4 addresses of this thread's network: on a host of a bed on its outside
    /// address, else on loopback.
    fn start() -> Self {
        let outside = on_a_host_of_a_bed();
        let mut options = UdpMuxOptions::default();
        options.ip_families = IpFamilies::V4;
        options.interfaces = InterfaceFilter::with_loopback()
            .only(move |_, address| address.is_loopback() != outside);
        let handle = MuxHandle::bind(options).unwrap();
        let reader = UdpMux::new(handle.clone()).start();
        Self { handle, _reader: reader }
    }
}

/// Returns whether this thread is on a host of a bed, not in a network of [`in_network_namespace`].
fn on_a_host_of_a_bed() -> bool {
    let routes = fs::read_to_string("/proc/thread-self/net/route").unwrap();
    routes.contains("eth0")
}

/// Transport and its events.
struct Side {
    transport: Option<Transport>,
    events: TransportEvents,
    candidates: Vec<Candidate>,
    errors: Vec<CandidateError>,
    lost: Vec<Candidate>,
    done: u32,
    received: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
}

impl Side {
    fn open(mux: &Mux, servers: Vec<IceServer>, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        let mut options = TransportOptions::default();
        (options.servers, options.tls) = (servers, tls);
        let (transport, events) = Transport::open(&mux.handle, options);
        let (candidates, errors, lost) = (Vec::new(), Vec::new(), Vec::new());
        let transport = Some(transport);
        Self { transport, events, candidates, errors, lost, done: 0, received: Vec::new() }
    }

    async fn gather(&mut self) {
        self.transport.as_ref().unwrap().gather();
        self.until("the end of gathering", |side| side.done > 0).await;
    }

    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        self.until_within(what, PATIENCE, done).await;
    }

    async fn until_within(&mut self, what: &str, within: Duration, done: impl Fn(&Self) -> bool) {
        let waited = timeout(within, async {
            while !done(self) {
                let event = self.events.next().await.expect("a stream without end");
                self.take(event);
            }
        });
        if waited.await.is_err() {
            let Self { candidates, errors, lost, received, .. } = self;
            panic!("waited in vain for {what}: {candidates:?} {errors:?} {lost:?} {received:?}");
        }
    }

    /// Sends to a peer again and again until this is so.
    async fn send_until(&mut self, what: &str, peer: &UdpSocket, done: impl Fn(&Self) -> bool) {
        let (relayed, peer) = (self.relayed(), peer.local_addr().unwrap());
        until(what, PATIENCE, async || {
            self.send(relayed, peer, b"hello");
            self.read_on().await;
            match done(self) {
                true => Moment::Now(()),
                false => Moment::NotYet(format!("{:?}", self.errors)),
            }
        })
        .await;
    }

    /// Checks that datagrams reach the peer from the relay, and come back.
    async fn assert_reaches(&mut self, peer: &UdpSocket) {
        let (relayed, address) = (self.relayed(), peer.local_addr().unwrap());
        self.send(relayed, address, b"to the peer");
        let mut buffer = [0; 100];
        let arrived = async {
            loop {
                let (length, from) = peer.recv_from(&mut buffer).await.unwrap();
                // An earlier relay may have left a datagram.
                if from == relayed && &buffer[..length] == b"to the peer" {
                    return;
                }
            }
        };
        tokio::select! {
            arrived = timeout(PATIENCE, arrived) => arrived.expect("what was sent arrives"),
            () = async { loop { self.events.next().await.map_or((), |event| self.take(event)) } } => {}
        }
        peer.send_to(b"from the peer", relayed).await.unwrap();
        let expected = (address, relayed, b"from the peer".to_vec());
        self.until("the peer's answer", |side| side.received.last() == Some(&expected)).await;
    }

    /// Handles the events that have come already.
    async fn read_on(&mut self) {
        let soon = tokio::time::Instant::now() + Duration::from_millis(1);
        loop {
            tokio::select! {
                biased;
                Some(event) = self.events.next() => self.take(event),
                () = sleep_until(soon) => return,
            }
        }
    }

    fn take(&mut self, event: TransportEvent) {
        match event {
            TransportEvent::Datagram(Datagram { source, destination, contents, .. }) => {
                self.received.push((source, destination, contents.to_vec()));
            }
            TransportEvent::Candidate(found) => self.candidates.push(found.candidate),
            TransportEvent::CandidateError(error) => self.errors.push(error),
            TransportEvent::GatheringDone => self.done += 1,
            TransportEvent::CandidateLost(candidate) => self.lost.push(candidate),
        }
    }

    fn send(&self, source: SocketAddr, destination: SocketAddr, contents: &[u8]) {
        let transmit = Transmit { source, destination, contents };
        self.transport.as_ref().unwrap().send(transmit);
    }

    fn of_kind(&self, kind: CandidateKind) -> Vec<SocketAddr> {
        let of_kind = self.candidates.iter().filter(|candidate| candidate.kind() == kind);
        of_kind.map(Candidate::addr).collect()
    }

    fn relayed(&self) -> SocketAddr {
        *self
            .of_kind(CandidateKind::Relayed)
            .last()
            .unwrap_or_else(|| panic!("there is no relay: {:?} {:?}", self.candidates, self.errors))
    }
}

/// Proxy that counts the datagrams to a server.
struct Proxy {
    address: SocketAddr,
    asked: std::rc::Rc<std::cell::Cell<u32>>,
}

impl Proxy {
    async fn start(server: SocketAddr) -> Self {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = front.local_addr().unwrap();
        let asked = std::rc::Rc::<std::cell::Cell<u32>>::default();
        let counter = std::rc::Rc::clone(&asked);
        tokio::task::spawn_local(async move {
            let (mut there, mut here) = ([0; 1500], [0; 1500]);
            let mut client = None;
            loop {
                tokio::select! {
                    Ok((length, from)) = front.recv_from(&mut there) => {
                        counter.set(counter.get() + 1);
                        client = Some(from);
                        back.send_to(&there[..length], server).await.unwrap();
                    }
                    Ok((length, _)) = back.recv_from(&mut here) => {
                        if let Some(client) = client {
                            front.send_to(&here[..length], client).await.unwrap();
                        }
                    }
                }
            }
        });
        Self { address, asked }
    }
}

fn turn(url: &str) -> IceServer {
    IceServer::turn(url, USER, PASSWORD).unwrap()
}

fn trusting(coturn: &Coturn) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(coturn.certificate()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth())
}
