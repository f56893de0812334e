//! Participants of calls that come and go, for long: what the server keeps of them.

use std::io;
use std::time::Duration;

use callboard_admin::Tree;
use futures_util::future::try_join_all;
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::participant::Participant;
use super::recovery::Admin;
use super::track::Flow;
use crate::protocol::Endpoint;
use crate::report::Measured;
use crate::servers::Process;
use crate::webrtc::Wish;

pub(super) async fn measure(
    server: &Process,
    participants: usize,
    time: Duration,
) -> io::Result<Measured> {
    let empty = State::of(server).await?;
    // What is needed once: all come and go before.
    let first = time.min(STAY);
    come_and_go(server.endpoint(), participants, Instant::now() + first).await?;
    let at_rest = State::at_rest(server, |now| now.actors <= empty.actors);
    let start = at_rest.await?;
    let end = Instant::now() + time;
    let coming = tokio::spawn(come_and_go(server.endpoint(), participants, end));
    sleep_until(end - time * 2 / 3).await;
    let early = server.usage()?;
    sleep_until(end).await;
    let late = server.usage()?;
    let Seen { came, lost, packets } = coming.await.map_err(io::Error::other)??;
    let at_rest = State::at_rest(server, |now| {
        now.actors <= start.actors && now.descriptors <= start.descriptors
    });
    let rest = at_rest.await?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok(Measured::default()
        .with("participants", came as f64)
        .with("memory at first, MiB", mib(start.memory))
        .with("memory in the call, after a third of the time, MiB", mib(early.rss))
        .with("memory in the call, at the end, MiB", mib(late.rss))
        .with("memory kept, MiB", mib(rest.memory) - mib(start.memory))
        .with("actors kept", rest.actors as f64 - start.actors as f64)
        .with("descriptors kept", rest.descriptors as f64 - start.descriptors as f64)
        .with("packets received", packets as f64)
        .with("packets lost, of a million", lost as f64 / packets.max(1) as f64 * 1e6))
}

/// What a server has while no one is there.
#[derive(Clone, Copy, Debug)]
struct State {
    memory: u64,
    actors: usize,
    descriptors: usize,
}

impl State {
    async fn of(server: &Process) -> io::Result<Self> {
        Ok(Self {
            memory: server.usage()?.rss,
            actors: count(&Admin(server.address).tree().await?),
            descriptors: server.descriptors()?,
        })
    }

    /// Waits until the server is as it was, or else for a while.
    async fn at_rest(server: &Process, is_back: impl Fn(&Self) -> bool) -> io::Result<Self> {
        let (began, mut looks) = (Instant::now(), interval(LOOK));
        loop {
            looks.tick().await;
            let state = Self::of(server).await?;
            if is_back(&state) || began.elapsed() >= GONE {
                return Ok(state);
            }
        }
    }
}

fn count(tree: &Tree) -> usize {
    1 + tree.children.iter().map(count).sum::<usize>()
}

/// What participants have noted, together.
#[derive(Debug, Default)]
struct Seen {
    came: u64,
    lost: u64,
    packets: u64,
}

/// Lets so many participants come to a call, stay for a while each, and come anew, until `end`.
async fn come_and_go(server: Endpoint, participants: usize, end: Instant) -> io::Result<Seen> {
    let coming = (0..participants).map(|number| {
        tokio::spawn(async move {
            let mut seen = Seen::default();
            // Not all at the same time.
            let mut leaves = Instant::now() + STAY * (number as u32 + 1) / participants as u32;
            while Instant::now() < end {
                let room = format!("soak-{}", number / ROOM);
                let wish = Wish::Join { pictures: PICTURES, sounds: SOUNDS };
                let flow = Flow::small(RATE);
                let one = Participant::join(server, &room, number as u16, wish, flow).await?;
                sleep_until(leaves.min(end)).await;
                {
                    let noted = one.noted();
                    if let Some(why) = &noted.failed {
                        return Err(io::Error::other(format!("participant {number}: {why}")));
                    }
                    seen.lost += noted.lost(|_| true) as u64;
                    seen.packets += noted.arrivals.len() as u64;
                }
                seen.came += 1;
                // One in four without a goodbye.
                if !seen.came.is_multiple_of(4) {
                    one.leave().await;
                }
                leaves += STAY;
            }
            io::Result::Ok(seen)
        })
    });
    let mut all = Seen::default();
    for seen in try_join_all(coming).await.map_err(io::Error::other)? {
        let Seen { came, lost, packets } = seen?;
        all.came += came;
        all.lost += lost;
        all.packets += packets;
    }
    sleep(LAST).await;
    Ok(all)
}

/// Time that a participant stays.
const STAY: Duration = Duration::from_secs(10);
/// Participants of a call.
const ROOM: usize = 5;
/// Pictures and sounds that each participant has room for, as the page of `callboard.js` asks for.
const PICTURES: usize = 9;
const SOUNDS: usize = 3;
/// Pictures in a second.
const RATE: u32 = 15;
/// Time in which the server notices that a connection without a goodbye has ended.
const GONE: Duration = Duration::from_secs(60);
const LAST: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(500);
