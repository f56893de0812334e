//! Benchmark of the actors' overhead: peer connections against the baseline, bare str0m `Rtc`s with a socket and a
//! thread each, created and negotiated alike. Messages and packets per CPU-second, the time to connect, the memory of
//! an idle connection.
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;

#[path = "connections/actors.rs"]
mod actors;
#[path = "connections/bare.rs"]
mod bare;

const ROUNDS: usize = 5;
const MESSAGE: &[u8] = &[7; 1_024];
const PACKET: &[u8] = &[7; 1_200];
/// Messages or packets under way at a time: fewer than any socket's buffer holds, so that none is lost.
const WINDOW: usize = 64;
/// Packets that are asked for at a time.
const CREDIT: usize = 16;
/// Messages or packets that are not counted, until windows and buffers have grown.
const WARM_UP: usize = 2_000;
const MESSAGES: usize = 12_000;
const PACKETS: usize = 40_000;
const CONNECTS: usize = 200;
const PAIRS: usize = 400;
/// Connections that connect at a time, each between two ports of its own: datagrams from one address to one port belong
/// to one connection.
const AT_ONCE: usize = 10;
/// Idle time before memory is measured: long enough for statistics, reports and checks of the path.
const REST: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    // Each measurement of memory runs in a process of its own.
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "--memory") {
        Some(at) => {
            let grown = match arguments.get(at + 1).map(String::as_str) {
                Some("actors") => system(actors::memory()),
                _ => bare::memory(),
            };
            println!("{grown}");
        }
        None => system(measure()),
    }
}

fn system<R>(future: impl Future<Output = R>) -> R {
    actix::System::new().block_on(future)
}

async fn measure() {
    let actors = actors::Pool::start(1).await;
    for job in [Job::Messages, Job::Packets] {
        let (mut bare, mut near, mut far) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.push(bare::rate(job).await);
            near.push(actors.rate(job, actors::Owners::Near).await);
            far.push(actors.rate(job, actors::Owners::Far).await);
        }
        let (bare, near, far) = (median(bare), median(near), median(far));
        let what = match job {
            Job::Messages => "messages of 1 KiB, echoed",
            Job::Packets => "RTP packets of 1,200 bytes",
        };
        println!("{what}, per CPU-second, median of {ROUNDS}");
        println!("  bare {bare:.0}");
        for (rate, owners) in [(near, "on their media threads"), (far, "on another thread")] {
            let extra = (bare / rate - 1.0) * 100.0;
            println!("  actors, their owners {owners}, {rate:.0} (CPU {extra:+.0} %)");
        }
    }

    let (mut bare, mut ours) = (Connects::default(), Connects::default());
    for _ in 0..CONNECTS {
        bare.add(bare::connect_time()).await;
        ours.add(actors.connect_time()).await;
    }
    println!("from the offer to an open channel on both sides, of {CONNECTS}");
    for (whose, Connects { times, cpu }) in [("bare", bare), ("actors", ours)] {
        let longest = times.iter().copied().fold(0.0, f64::max) * 1e3;
        let cpu = cpu.as_secs_f64() / CONNECTS as f64 * 1e3;
        let median = median(times) * 1e3;
        println!("  {whose} CPU {cpu:.1} ms, median {median:.1} ms, longest {longest:.1} ms");
    }
    actors.stop().await;

    let of = |whose: &str| {
        let program = std::env::current_exe().expect("it runs");
        let output = std::process::Command::new(program).args(["--memory", whose]).output();
        let output = output.expect("it runs again");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse::<f64>().unwrap_or_else(|_| panic!("{output:?}")) / 1_024.0
    };
    let (bare, ours) = (of("bare"), of("actors"));
    println!("memory of a connection at rest, of {PAIRS} pairs");
    println!("  bare {bare:.0} KiB, actors {ours:.0} KiB ({:.2})", ours / bare);
}

/// Times that connections took, and their CPU time on both sides.
#[derive(Default)]
struct Connects {
    times: Vec<f64>,
    cpu: Duration,
}

impl Connects {
    async fn add(&mut self, connect: impl Future<Output = f64>) {
        let before = cpu_time();
        self.times.push(connect.await);
        self.cpu += cpu_time() - before;
    }
}

/// Subject of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    /// One side sends messages, the other sends them back.
    Messages,
    /// One side sends packets; the other asks for more of them by messages.
    Packets,
}

/// Work of one side of a connection, whichever implementation carries it.
enum Work {
    Nothing,
    Echo,
    Ask(Meter),
    Pour,
    Drink(Meter, usize),
}

/// Sending half of one side.
trait Line {
    type Message;
    fn send(&mut self, message: Self::Message);
    fn send_fixed(&mut self, message: &'static [u8]);
    fn send_packets(&mut self, count: usize);
}

impl Work {
    /// Creates the work of both sides; the first begins.
    fn pair(job: Job, meter: Meter) -> [Self; 2] {
        match job {
            Job::Messages => [Self::Ask(meter), Self::Echo],
            Job::Packets => [Self::Pour, Self::Drink(meter, 0)],
        }
    }

    fn begin(&mut self, line: &mut impl Line) {
        match self {
            Self::Ask(_) => (0..WINDOW).for_each(|_| line.send_fixed(MESSAGE)),
            Self::Pour => line.send_packets(WINDOW),
            Self::Nothing | Self::Echo | Self::Drink(..) => {}
        }
    }

    fn hear_message<L: Line>(&mut self, message: L::Message, line: &mut L) {
        match self {
            Self::Echo => line.send(message),
            Self::Ask(meter) => {
                if meter.goes_on() {
                    line.send_fixed(MESSAGE);
                }
            }
            Self::Pour => line.send_packets(CREDIT),
            Self::Nothing | Self::Drink(..) => {}
        }
    }

    fn hear_packet(&mut self, line: &mut impl Line) {
        if let Self::Drink(meter, received) = self {
            *received += 1;
            if meter.goes_on() && received.is_multiple_of(CREDIT) {
                line.send_fixed(b"more");
            }
        }
    }
}

/// Counter, which reports the CPU time that the counted work took.
struct Meter {
    seen: usize,
    wanted: usize,
    began: Duration,
    done: tokio::sync::mpsc::UnboundedSender<f64>,
}

impl Meter {
    fn new(job: Job) -> (Self, tokio::sync::mpsc::UnboundedReceiver<f64>) {
        let (done, told) = tokio::sync::mpsc::unbounded_channel();
        let wanted = if job == Job::Messages { MESSAGES } else { PACKETS };
        (Self { seen: 0, wanted, began: Duration::ZERO, done }, told)
    }

    /// Counts one, and returns whether more is wanted.
    fn goes_on(&mut self) -> bool {
        self.seen += 1;
        if self.seen == WARM_UP {
            self.began = cpu_time();
        } else if self.seen == WARM_UP + self.wanted {
            let took = cpu_time() - self.began;
            _ = self.done.send(self.wanted as f64 / took.as_secs_f64());
        }
        self.seen < WARM_UP + self.wanted
    }
}

/// Waits for a result, and panics if it does not come in time.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it does not take so long")
}

/// Returns the CPU time of all threads of this process, including those that have ended.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux counts it");
    let (_, fields) = stat.rsplit_once(") ").expect("the name comes first");
    let of_user_and_system = fields.split(' ').skip(11).take(2);
    let ticks: u64 = of_user_and_system.map(|ticks| ticks.parse().unwrap_or(0)).sum();
    // Hundredths of a second, on every Linux.
    Duration::from_millis(ticks * 10)
}

/// Returns the resident memory of this process, in bytes.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux counts it");
    let pages: f64 =
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4_096.0
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
