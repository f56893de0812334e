//! Benchmark of handshakes: handshakes per CPU-second in memory, ours against bare dimpl on both ends (the baseline);
//! and the delay of an echo on the media thread during a storm of handshakes, run there and run in actors on other
//! threads.
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use bytes::Bytes;
use callboard_ice_handshake::handshake::*;
use callboard_supervision::{ArbiterPool, Down, Flags, Placement, SupervisorSpec};

const ROUNDS: usize = 5;
const HANDSHAKES: usize = 100;
const STORM: usize = 200;

fn main() {
    let certificates: Vec<Certificate> = (0..2).map(|_| Certificate::generate().unwrap()).collect();
    println!(
        "handshakes per CPU-second, median of {ROUNDS} rounds of {HANDSHAKES}; both ends on one thread"
    );
    for version in [Version::Dtls12, Version::Dtls13] {
        let (mut bare, mut ours, mut without_cookie) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.push(rate(|| bare_handshake(version, &certificates)));
            ours.push(rate(|| our_handshake(version, &certificates, true)));
            without_cookie.push(rate(|| our_handshake(version, &certificates, false)));
        }
        let (bare, ours, without) = (median(bare), median(ours), median(without_cookie));
        println!(
            "  {version:?}: bare dimpl {bare:.0}, ours {ours:.0} (CPU {:.2}), without cookie {without:.0} (CPU {:.2})",
            bare / ours,
            bare / without
        );
    }
    let built = Instant::now();
    for _ in 0..1_000 {
        dimpl::Config::builder().build().unwrap();
    }
    println!(
        "  part of that is a dimpl configuration, made for each engine: {:?}",
        built.elapsed() / 1_000
    );

    actix::System::new().block_on(async {
        println!("echo between two actors of one thread, p99 of a round trip, while {STORM} handshakes run");
        let (quiet, inline, elsewhere) =
            (storm(Storm::None, &certificates).await, storm(Storm::Inline, &certificates).await, storm(Storm::Actors, &certificates).await);
        println!("  none {quiet:?}, on the same thread {inline:?}, in actors on another thread {elsewhere:?}");
    });
}

fn rate(mut handshake: impl FnMut()) -> f64 {
    let began = cpu_time();
    (0..HANDSHAKES).for_each(|_| handshake());
    HANDSHAKES as f64 / (cpu_time() - began).as_secs_f64()
}

/// Returns the CPU time of this process, as the scheduler counts it.
fn cpu_time() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/self/schedstat").expect("Linux counts it");
    Duration::from_nanos(
        schedstat.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number"),
    )
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn bare_handshake(version: Version, certificates: &[Certificate]) {
    let now = Instant::now();
    let make = |at: usize| {
        let config = Arc::new(dimpl::Config::builder().use_server_cookie(false).build().unwrap());
        match version {
            Version::Dtls12 => dimpl::Dtls::new_12(config, certificates[at].to_dtls_cert(), now),
            Version::Dtls13 => dimpl::Dtls::new_13(config, certificates[at].to_dtls_cert(), now),
        }
    };
    let (mut client, mut server) = (make(0), make(1));
    client.set_active(true);
    client.handle_timeout(now).unwrap();
    server.handle_timeout(now).unwrap();
    let mut buffer = vec![0; 2_048];
    let mut connected = 0;
    while connected < 2 {
        for to_server in [true, false] {
            let (one, other) =
                if to_server { (&mut client, &mut server) } else { (&mut server, &mut client) };
            loop {
                match one.poll_output(&mut buffer) {
                    dimpl::Output::Packet(packet) => other.handle_packet(packet).unwrap(),
                    dimpl::Output::Connected => connected += 1,
                    dimpl::Output::Timeout(_) => break,
                    _ => {}
                }
            }
        }
    }
}

fn our_handshake(version: Version, certificates: &[Certificate], cookie: bool) {
    let mut now = Instant::now();
    let dtls = |at: usize| {
        Dtls::new(certificates[at].clone()).version(version).any_certificate().cookie(cookie)
    };
    let mut sides = [Some(dtls(0).start(Role::Client)), Some(dtls(1).start(Role::Server))];
    let mut inbox: [Vec<Bytes>; 2] = [Vec::new(), Vec::new()];
    let first = sides[0].as_mut().unwrap();
    first.set_round_trip_time(Duration::ZERO);
    let step = first.connection_ready(now);
    take(step, &mut inbox[1]);
    while sides.iter().any(Option::is_some) {
        now += Duration::from_millis(1);
        for at in [1, 0] {
            let mut sent = Vec::new();
            for packet in std::mem::take(&mut inbox[at]) {
                let Some(side) = &mut sides[at] else { break };
                let step = side.recv_from_peer(now, &packet);
                if take(step, &mut sent) {
                    sides[at] = None;
                }
            }
            if let Some(side) =
                sides[at].as_mut().filter(|side| side.poll_timeout().is_some_and(|due| due <= now))
            {
                let step = side.handle_timeout(now);
                if take(step, &mut sent) {
                    sides[at] = None;
                }
            }
            inbox[1 - at].extend(sent);
        }
    }
}

/// Collects what a step sends; returns whether it was the last.
fn take(step: Step, sent: &mut Vec<Bytes>) -> bool {
    match step {
        Step::Packets(packets) => sent.extend(packets),
        Step::FinishedWithPackets(_, packets) => {
            sent.extend(packets);
            return true;
        }
        Step::Finished(_) => return true,
        Step::Ok => {}
        step => panic!("{step:?}"),
    }
    false
}

enum Storm {
    None,
    Inline,
    Actors,
}

struct Echo;

impl Actor for Echo {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Ping;

impl Handler<Ping> for Echo {
    type Result = ();
    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}

/// Actor that collects the messages between two handshakes.
struct Between {
    handles: Vec<HandshakeHandle>,
    left: Arc<std::sync::atomic::AtomicUsize>,
}

impl Actor for Between {
    type Context = Context<Self>;
}

impl Handler<HandshakeEvent> for Between {
    type Result = ();
    fn handle(&mut self, event: HandshakeEvent, _: &mut Context<Self>) {
        let other = 2 - usize::from(event.component.0);
        match event.output {
            HandshakeOutput::Transmit { packets, .. } => {
                if let Some(handle) = self.handles.get_mut(other) {
                    packets.into_iter().for_each(|packet| handle.datagram(packet));
                }
            }
            HandshakeOutput::Finished(_) => {
                _ = self.left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed)
            }
            HandshakeOutput::Failed(error) => {
                println!("  a handshake failed: {error}");
                self.left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl Handler<Down> for Between {
    type Result = ();
    fn handle(&mut self, _: Down, _: &mut Context<Self>) {}
}

#[derive(Message)]
#[rtype(result = "()")]
struct Go(Vec<HandshakeHandle>);

impl Handler<Go> for Between {
    type Result = ();
    fn handle(&mut self, Go(handles): Go, _: &mut Context<Self>) {
        handles.iter().for_each(|handle| handle.connection_ready(Some(Duration::from_millis(1))));
        self.handles = handles;
    }
}

/// Returns the p99 of an echo during a storm of handshakes.
async fn storm(kind: Storm, certificates: &[Certificate]) -> Duration {
    let echo = Echo.start();
    let left = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let pool = ArbiterPool::new(1);
    let supervisor = SupervisorSpec::dynamic(Flags::one_for_one()).start().await.unwrap();
    let mut between = Vec::new();
    match kind {
        Storm::None => {}
        Storm::Inline => {
            left.store(STORM, std::sync::atomic::Ordering::Relaxed);
            let (left, certificates) = (Arc::clone(&left), certificates.to_vec());
            for _ in 0..STORM {
                let (left, certificates) = (Arc::clone(&left), certificates.clone());
                actix::spawn(async move {
                    our_handshake(Version::Dtls12, &certificates, true);
                    left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                });
            }
        }
        Storm::Actors => {
            left.store(2 * STORM, std::sync::atomic::Ordering::Relaxed);
            for number in 0..STORM {
                let owner = Between { handles: Vec::new(), left: Arc::clone(&left) }.start();
                let mut handles = Vec::new();
                for side in 0..2_u16 {
                    let dtls = Dtls::new(certificates[usize::from(side)].clone())
                        .version(Version::Dtls12)
                        .any_certificate();
                    let component = ComponentInfo::new(ComponentId(side + 1), side == 0);
                    let mut spec = HandshakeSpec::new(component, Arc::new(dtls));
                    spec.deadline = Duration::from_secs(60);
                    spec.placement = Placement::Pool(pool.clone());
                    let id = format!("{number} {side}");
                    handles.push(start_handshake(&supervisor, &id, spec, &owner).await.unwrap());
                }
                between.push((owner, handles));
            }
            between = between
                .into_iter()
                .map(|(owner, handles)| {
                    owner.do_send(Go(handles));
                    (owner, Vec::new())
                })
                .collect();
        }
    }
    let mut times = Vec::new();
    let began = Instant::now();
    while left.load(std::sync::atomic::Ordering::Relaxed) > 0
        || times.len() < 10_000 && matches!(kind, Storm::None)
    {
        let sent = Instant::now();
        echo.send(Ping).await.unwrap();
        times.push(sent.elapsed());
        tokio::task::yield_now().await;
        let left = left.load(std::sync::atomic::Ordering::Relaxed);
        assert!(began.elapsed() < Duration::from_secs(60), "{left} are not complete");
    }
    drop(between);
    supervisor.stop().await;
    times.sort_unstable();
    times[times.len() * 99 / 100]
}
