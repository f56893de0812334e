//! Attacker that sends datagrams in the name of another host, a thousand a second.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part of it")]

use std::fs::File;
use std::io::{Read, Seek};
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use integration_tests::{Moment, Namespace, PATIENCE, until};
use socket2::{Domain, Protocol, Socket, Type};

/// Attacker that sends datagrams until it is dropped.
pub struct Attacker {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Attacker {
    /// Sends a thousand datagrams a second, by the sender that `make` creates in this network.
    pub fn start<S: FnMut(&[u8]) + Send + 'static>(
        namespace: &Namespace,
        mut datagrams: impl Iterator<Item = Bytes> + Send + 'static,
        make: impl FnOnce() -> S + Send + 'static,
    ) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted, namespace) =
            (Arc::clone(&stop), Arc::clone(&sent), namespace.clone());
        let thread = thread::spawn(move || {
            namespace.enter();
            let mut send = make();
            while !stopped.load(Ordering::Relaxed)
                && let Some(datagram) = datagrams.next()
            {
                send(&datagram);
                counted.fetch_add(1, Ordering::Relaxed);
                thread::park_timeout(Duration::from_millis(1));
            }
        });
        Self { stop, sent, thread: Some(thread) }
    }

    /// Returns how many it has sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until it sends.
    pub async fn has_begun(&self) {
        until("something forged", PATIENCE, async || match self.sent() {
            0 => Moment::NotYet("nothing".to_owned()),
            _ => Moment::Now(()),
        })
        .await;
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().expect("the attacker ends");
        }
    }
}

/// Builds a UDP datagram in an IPv4 packet, from any address.
fn packet(source: SocketAddrV4, destination: SocketAddrV4, contents: &[u8]) -> Vec<u8> {
    let udp_length = (8 + contents.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp_length).to_be_bytes());
    // No identification, no fragments, 64 hops, UDP; the kernel fills in the checksum.
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(source.ip().octets());
    packet.extend(destination.ip().octets());
    packet.extend(source.port().to_be_bytes());
    packet.extend(destination.port().to_be_bytes());
    packet.extend(udp_length.to_be_bytes());
    // No checksum (RFC 768).
    packet.extend([0, 0]);
    packet.extend(contents);
    packet
}

/// Creates a sender of datagrams with the source address of another host.
pub fn in_the_name(of: SocketAddrV4, target: SocketAddrV4) -> impl FnOnce() -> Sender + Send {
    move || {
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).expect("root");
        Box::new(move |contents| {
            _ = raw.send_to(&packet(of, target, contents), &SocketAddr::V4(target).into());
        })
    }
}

/// Sends like this sender, but no more than is read where it goes: what a target does that is sent more than it has
/// time for is another question.
pub fn as_it_is_read(
    make: impl FnOnce() -> Sender + Send,
    mut queue: ReceiveQueue,
) -> impl FnOnce() -> Sender + Send {
    move || {
        let mut send = make();
        Box::new(move |contents| {
            while queue.bytes().is_some_and(|bytes| bytes > MOST_UNREAD) {
                thread::park_timeout(Duration::from_millis(1));
            }
            send(contents);
        })
    }
}

/// Receive queue of a UDP socket.
pub struct ReceiveQueue {
    /// The kernel's table of the sockets in its network, which it writes anew for each reader.
    table: File,
    /// Its port as it stands in the table, behind its address.
    port: String,
}

impl ReceiveQueue {
    pub fn of(socket: SocketAddrV4, namespace: &Namespace) -> Self {
        let table = namespace.run(|| File::open("/proc/thread-self/net/udp").expect("a table"));
        let mut queue = Self { table, port: format!(":{:04X}", socket.port()) };
        assert!(queue.bytes().is_some(), "{socket} is not in the table");
        queue
    }

    /// Returns how much waits, in bytes as the kernel counts them; none if the socket is closed.
    fn bytes(&mut self) -> Option<u64> {
        let mut table = String::new();
        self.table.rewind().ok()?;
        self.table.read_to_string(&mut table).ok()?;
        let mut sockets = table.lines().map(|line| line.split_whitespace());
        sockets.find_map(|mut fields| {
            // Number, local and remote address, state; then the lengths of the queues to send and to receive.
            let is_it = fields.nth(1)?.ends_with(&self.port);
            let (_, received) = fields.nth(2)?.split_once(':')?;
            is_it.then(|| u64::from_str_radix(received, 16).ok()).flatten()
        })
    }
}

/// Function that sends one datagram.
pub type Sender = Box<dyn FnMut(&[u8]) + Send>;

/// Parses an IPv4 address.
fn v4(text: &str) -> SocketAddrV4 {
    match text.parse().unwrap() {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(address) => panic!("{address} is not of IPv4"),
    }
}

/// Parses the address of a candidate.
pub fn address_in(candidate: &str) -> SocketAddrV4 {
    let words: Vec<&str> = candidate.split(' ').collect();
    v4(&format!("{}:{}", words[4], words[5]))
}

/// Bytes that may wait to be read before more is sent: some ten datagrams, as the kernel counts them.
const MOST_UNREAD: u64 = 16 << 10;
