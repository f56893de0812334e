//! Benchmark of datagrams per CPU-second over loopback: through the mux, through quinn-udp alone, and by plain calls.
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use callboard_transport::mux::*;
use futures_util::StreamExt;
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};

const ROUNDS: usize = 5;
/// Datagrams sent in one go: as many as the buffer of any socket holds.
const BURST: usize = 64;
const BURSTS: usize = 300;
const SIZE: usize = 1_200;

fn main() {
    let mut sending = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let mut receiving = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        sending[0].push(send_plain());
        sending[1].push(send_quinn());
        sending[2].push(send_mux(1));
        sending[3].push(send_mux(32));
        receiving[0].push(receive_plain());
        receiving[1].push(receive_quinn());
        receiving[2].push(receive_mux());
    }
    let [plain, quinn, mux, batched] = sending.map(median);
    println!("CPU for a datagram of {SIZE} bytes, median of {ROUNDS}");
    println!(
        "  send: sendto {plain:?}, quinn-udp {quinn:?}, mux {mux:?} ({:.2} of sendto), mux in batches {batched:?} ({:.2})",
        ratio(mux, plain),
        ratio(batched, plain)
    );
    let [plain, quinn, mux] = receiving.map(median);
    println!(
        "  receive: recvfrom {plain:?}, quinn-udp {quinn:?}, mux to its connection {mux:?} ({:.2} of recvfrom, {:.2} of quinn-udp)",
        ratio(mux, plain),
        ratio(mux, quinn)
    );
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Returns the CPU time of this thread, as the scheduler counts it.
fn cpu_time() -> Duration {
    let schedstat =
        std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    Duration::from_nanos(
        schedstat.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number"),
    )
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn each(total: Duration) -> Duration {
    total / (BURST * BURSTS) as u32
}

/// Measures sending without a reader: the system drops what the socket has no room for, after all the work of sending
/// it.
fn send_plain() -> Duration {
    let (from, to) = (socket(), socket());
    let to = to.local_addr().unwrap();
    let began = cpu_time();
    for _ in 0..BURST * BURSTS {
        _ = from.send_to(&[7; SIZE], to);
    }
    each(cpu_time() - began)
}

fn send_quinn() -> Duration {
    let (from, to) = (socket(), socket());
    let state = UdpSocketState::new(UdpSockRef::from(&from)).unwrap();
    let destination = to.local_addr().unwrap();
    let began = cpu_time();
    for _ in 0..BURST * BURSTS {
        let transmit = quinn_udp::Transmit {
            destination,
            ecn: None,
            contents: &[7; SIZE],
            segment_size: None,
            src_ip: None,
        };
        _ = state.try_send(UdpSockRef::from(&from), &transmit);
    }
    each(cpu_time() - began)
}

fn bound() -> MuxHandle {
    MuxHandle::bind(UdpMuxOptions {
        interfaces: InterfaceFilter::with_loopback(),
        ..UdpMuxOptions::default()
    })
    .unwrap()
}

/// Measures the work of sending this many datagrams in one call.
fn send_mux(together: usize) -> Duration {
    let (mux, to) = (bound(), socket());
    let (route, _inbox) = mux.open_route(RouteOptions::default());
    let source = SocketAddr::from((Ipv4Addr::LOCALHOST, mux.port()));
    let destination = to.local_addr().unwrap();
    let contents = vec![7; SIZE * together];
    let began = cpu_time();
    for _ in 0..BURST * BURSTS / together {
        let transmit = Transmit { source, destination, contents: &contents[..] };
        route.send_segments(transmit, SIZE);
    }
    each(cpu_time() - began)
}

/// Measures the work of reading only; sending is not counted.
fn receive_plain() -> Duration {
    let (from, to) = (socket(), socket());
    let address = to.local_addr().unwrap();
    let mut total = Duration::ZERO;
    let mut buffer = [0; 2_048];
    for _ in 0..BURSTS {
        (0..BURST).for_each(|_| _ = from.send_to(&[7; SIZE], address));
        let began = cpu_time();
        for _ in 0..BURST {
            _ = to.recv_from(&mut buffer);
        }
        total += cpu_time() - began;
    }
    each(total)
}

fn receive_quinn() -> Duration {
    let (from, to) = (socket(), socket());
    let state = UdpSocketState::new(UdpSockRef::from(&to)).unwrap();
    let address = to.local_addr().unwrap();
    let mut memory = vec![0; 16 * 65_536];
    let mut meta = [RecvMeta::default(); 16];
    let mut total = Duration::ZERO;
    for _ in 0..BURSTS {
        (0..BURST).for_each(|_| _ = from.send_to(&[7; SIZE], address));
        let began = cpu_time();
        let mut received = 0;
        while received < BURST {
            let mut chunks = memory.chunks_exact_mut(65_536);
            let mut slices: [IoSliceMut<'_>; 16] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().expect("there is room")));
            match state.recv(UdpSockRef::from(&to), &mut slices, &mut meta) {
                Ok(count) => {
                    received += meta[..count]
                        .iter()
                        .map(|meta| meta.len.div_ceil(meta.stride.max(1)))
                        .sum::<usize>()
                }
                Err(_) => break,
            }
        }
        total += cpu_time() - began;
    }
    each(total)
}

fn receive_mux() -> Duration {
    actix::System::new().block_on(async {
        let mux = bound();
        let reader = actix::Actor::start(UdpMux::new(mux.clone()));
        let (route, mut inbox) = mux.open_route(RouteOptions::default());
        let from = socket();
        route.validate(from.local_addr().unwrap());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, mux.port()));
        let mut total = Duration::ZERO;
        for _ in 0..BURSTS {
            (0..BURST).for_each(|_| _ = from.send_to(&[144; SIZE], address));
            let began = cpu_time();
            for _ in 0..BURST {
                inbox.next().await.expect("the route lives");
            }
            total += cpu_time() - began;
        }
        drop(reader);
        each(total)
    })
}
