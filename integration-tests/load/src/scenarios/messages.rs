//! Messages between actors, within one process.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::report::Measured;
use crate::servers::Process;

pub(super) async fn measure(server: &Process, time: Duration) -> io::Result<Measured> {
    let tcp = TcpStream::connect(server.address).await?;
    tcp.set_nodelay(true)?;
    let mut process = Sender { server, lines: BufReader::new(tcp), count: 0 };
    // In turn, so that other load on the machine affects both.
    let (mut round_trips, mut one_way) = (Spent::default(), Spent::default());
    process.run("send", Duration::ZERO, &mut Spent::default()).await?;
    process.run("do_send", Duration::ZERO, &mut Spent::default()).await?;
    for _ in 0..TURNS {
        process.run("send", time / TURNS / 2, &mut round_trips).await?;
        process.run("do_send", time / TURNS / 2, &mut one_way).await?;
    }
    Ok(Measured::default()
        .with("CPU ns per `send`", round_trips.nanoseconds())
        .with("CPU ns per `do_send`", one_way.nanoseconds()))
}

/// Process that sends messages to an actor of its own.
struct Sender<'a> {
    server: &'a Process,
    lines: BufReader<TcpStream>,
    count: u64,
}

#[derive(Default)]
struct Spent {
    cpu: Duration,
    messages: u64,
}

impl Spent {
    fn nanoseconds(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e9 / self.messages as f64
    }
}

impl Sender<'_> {
    /// Runs at least one batch.
    async fn run(&mut self, how: &str, time: Duration, spent: &mut Spent) -> io::Result<()> {
        let (before, began, mut line) = (self.server.usage()?, Instant::now(), String::new());
        loop {
            self.lines.write_all(format!("{how} {BATCH}\n").as_bytes()).await?;
            line.clear();
            let answer = tokio::time::timeout(PATIENCE, self.lines.read_line(&mut line)).await;
            answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            self.count += BATCH;
            if line.trim().parse() != Ok(self.count) {
                return Err(io::Error::other(format!("{line:?} in place of {}", self.count)));
            }
            spent.messages += BATCH;
            if began.elapsed() >= time {
                break;
            }
        }
        spent.cpu += self.server.usage()?.cpu_since(&before);
        Ok(())
    }
}

/// Messages of one batch: few enough to end in time, and so many that the command to send them
/// costs nothing in comparison.
const BATCH: u64 = 100_000;
const TURNS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(60);
