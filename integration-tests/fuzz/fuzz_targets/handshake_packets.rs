//! Handshake of two sides through an attacker that changes, drops, repeats and invents datagrams. Neither side
//! panics, and after the attack they connect, or fail because the certificates do not match: they never
//! connect to another side.

#![no_main]

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use callboard_ice_handshake::handshake::*;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    version: Option<bool>,
    meddling: Vec<Meddling>,
}

/// Attack on the next datagram.
#[derive(Arbitrary, Debug)]
enum Meddling {
    Pass,
    Drop,
    Repeat,
    Delay,
    Flip { at: u16, mask: u8 },
    Cut { at: u16 },
    Invent { to_client: bool, content: Vec<u8> },
}

/// Returns the certificates of both sides. Keys take long to make, and are not what is tested.
fn certificates() -> &'static (Certificate, Certificate) {
    static MADE: OnceLock<(Certificate, Certificate)> = OnceLock::new();
    MADE.get_or_init(|| (Certificate::generate().unwrap(), Certificate::generate().unwrap()))
}

struct Side {
    handshake: Option<Box<dyn Handshake>>,
    peer: Fingerprint,
    inbox: VecDeque<Vec<u8>>,
}

impl Side {
    fn take(&mut self, step: Step) -> Vec<Vec<u8>> {
        let packets = match step {
            Step::Packets(packets) => packets,
            Step::FinishedWithPackets(HandshakeData::Dtls(data), packets) => {
                assert_eq!(
                    data.peer_fingerprint.as_ref(),
                    Some(&self.peer),
                    "connected with a third party"
                );
                self.handshake = None;
                packets
            }
            Step::Failed(_) | Step::FailedWithPackets(..) | Step::Closed => {
                self.handshake = None;
                Vec::new()
            }
            _ => Vec::new(),
        };
        packets.iter().map(|packet| packet.to_vec()).collect()
    }
}

fuzz_target!(|input: Input| {
    let (of_client, of_server) = certificates();
    let version = input.version.map(|old| if old { Version::Dtls12 } else { Version::Dtls13 });
    let dtls = |own: &Certificate, peer: &Certificate| {
        version
            .into_iter()
            .fold(Dtls::new(own.clone()).fingerprints([peer.fingerprint()]), Dtls::version)
    };
    let side = |role, own: &Certificate, peer: &Certificate| Side {
        handshake: Some(dtls(own, peer).start(role)),
        peer: peer.fingerprint(),
        inbox: VecDeque::new(),
    };
    let mut client = side(Role::Client, of_client, of_server);
    let mut server = side(Role::Server, of_server, of_client);
    let mut now = Instant::now();
    if let Some(handshake) = &mut client.handshake {
        let step = handshake.connection_ready(now);
        let packets = client.take(step);
        server.inbox.extend(packets);
    }
    let mut meddling = input.meddling.into_iter().take(64);
    for _ in 0..256 {
        now += Duration::from_millis(20);
        for to_client in [false, true] {
            let (one, other) =
                if to_client { (&mut client, &mut server) } else { (&mut server, &mut client) };
            let mut sent = Vec::new();
            if let Some(handshake) = &mut one.handshake
                && handshake.poll_timeout().is_some_and(|due| due <= now)
            {
                let step = handshake.handle_timeout(now);
                sent.extend(one.take(step));
            }
            if let Some(mut datagram) = one.inbox.pop_front() {
                let mut times = 1;
                match meddling.next() {
                    None | Some(Meddling::Pass) => {}
                    Some(Meddling::Drop) => times = 0,
                    Some(Meddling::Repeat) => times = 2,
                    Some(Meddling::Delay) => {
                        one.inbox.push_back(datagram.clone());
                        times = 0;
                    }
                    Some(Meddling::Flip { at, mask }) => {
                        let at = usize::from(at) % datagram.len().max(1);
                        if let Some(byte) = datagram.get_mut(at) {
                            *byte ^= mask;
                        }
                    }
                    Some(Meddling::Cut { at }) => {
                        datagram.truncate(usize::from(at) % (datagram.len() + 1))
                    }
                    Some(Meddling::Invent { to_client, content }) => {
                        let target = if to_client == (one.peer == other.peer) {
                            &mut one.inbox
                        } else {
                            &mut other.inbox
                        };
                        target.push_front(content);
                    }
                }
                for _ in 0..times {
                    if let Some(handshake) = &mut one.handshake {
                        let step = handshake.recv_from_peer(now, &datagram);
                        sent.extend(one.take(step));
                    }
                }
            }
            other.inbox.extend(sent);
        }
        if client.handshake.is_none() && server.handshake.is_none() {
            break;
        }
    }
});
