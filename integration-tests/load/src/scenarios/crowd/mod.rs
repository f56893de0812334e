//! Many peers and connections at once: each says something every second.

mod channels;
mod line;
mod tally;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::OptionFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, interval, interval_at};

use self::channels::Channels;
pub(crate) use self::channels::talk_on_channels;
use self::line::Line;
use self::tally::{Summary, Tally};
use super::joining;
use crate::report::Measured;
use crate::servers::Process;

pub(super) async fn measure(
    server: &Process,
    peers: usize,
    connections: usize,
    time: Duration,
) -> io::Result<Measured> {
    let channels: OptionFuture<_> =
        (connections > 0).then(|| Channels::connect(server.address, connections, time)).into();
    let channels = channels.await.transpose()?;
    let mut crowd = Crowd::new();
    let mut joining = pin!(joining(server, peers, ROOM));
    while let Some(client) = joining.try_next().await? {
        crowd.add(Line::Peer(Box::new(client)));
    }
    let (before, began) = (server.usage()?, Instant::now());
    let channels: OptionFuture<_> = channels.map(Channels::talk).into();
    let (peers, channels) = tokio::join!(crowd.talk(time), channels);
    let (took, after) = (began.elapsed(), server.usage()?);
    let mut measured = Measured::default().with_part("peers", peers?.measured());
    if let Some(channels) = channels {
        measured = measured.with_part("connections", channels?.measured());
    }
    Ok(measured
        .with("CPU s per second", after.cpu_since(&before).as_secs_f64() / took.as_secs_f64())
        .with("MiB of memory", after.rss as f64 / f64::from(1 << 20)))
}

/// Clients that are silent at first, and then talk all at once.
struct Crowd {
    tally: Arc<Tally>,
    phase: watch::Sender<Option<Talk>>,
    clients: JoinSet<()>,
}

/// Time in which all talk.
#[derive(Clone, Copy, Debug)]
struct Talk {
    began: Instant,
    until: Instant,
    /// Clients that share each second.
    clients: usize,
}

impl Crowd {
    fn new() -> Self {
        let (tally, phase) = (Arc::new(Tally::new()), watch::Sender::new(None));
        Self { tally, phase, clients: JoinSet::new() }
    }

    fn add(&mut self, line: Line) {
        let client = Client {
            line,
            number: self.clients.len(),
            tally: Arc::clone(&self.tally),
            beat: None,
            until: Instant::now(),
        };
        let phase = self.phase.subscribe();
        self.clients.spawn(async move {
            let tally = Arc::clone(&client.tally);
            if client.run(phase).await.is_err() {
                tally.close();
            }
        });
    }

    /// Lets all of them talk for this time; resolves when what they have said has been delivered, or after a while.
    async fn talk(self, time: Duration) -> io::Result<Summary> {
        let (began, clients) = (Instant::now(), self.clients.len());
        let until = began + WARM_UP + time;
        self.tally.count_from(began + WARM_UP);
        self.phase.send_replace(Some(Talk { began, until, clients }));
        // A measured period, not a wait for an event.
        tokio::time::sleep_until(until).await;
        let mut looks = interval(LOOK);
        while !self.tally.is_all_delivered() && until.elapsed() < PATIENCE {
            looks.tick().await;
        }
        self.tally.summary()
    }
}

struct Client {
    line: Line,
    number: usize,
    tally: Arc<Tally>,
    beat: Option<Interval>,
    until: Instant,
}

impl Client {
    /// Listens and talks, until the crowd is dropped; fails when its connection is closed.
    async fn run(mut self, mut phase: watch::Receiver<Option<Talk>>) -> io::Result<()> {
        loop {
            let due: OptionFuture<_> = self.beat.as_mut().map(Interval::tick).into();
            tokio::select! {
                heard = self.line.next() => match heard {
                    Ok(stamp) => stamp.into_iter().for_each(|said| self.tally.heard(said)),
                    // All have been silent for long.
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                    Err(error) => return Err(error),
                },
                Some(due) = due => {
                    if due >= self.until {
                        self.beat = None;
                        continue;
                    }
                    let now = Instant::now();
                    self.line.say(self.tally.said(due, now)).await?;
                }
                changed = phase.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    if let Some(Talk { began, until, clients }) = *phase.borrow_and_update() {
                        // One after the other, within the second.
                        let offset = EVERY.mul_f64(self.number as f64 / clients as f64);
                        self.beat = Some(interval_at(began + offset, EVERY));
                        self.until = until;
                    }
                }
            }
        }
    }
}

/// Peers in a room, as in a call.
const ROOM: usize = 2;
/// Interval in which each client says something.
const EVERY: Duration = Duration::from_secs(1);
/// Time in which each client says something that is not counted.
const WARM_UP: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);
/// Time after which a message counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);
