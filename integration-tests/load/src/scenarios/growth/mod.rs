//! Cost of a message while the server grows: the same load is spread over more and more peers, rooms or connections.

mod axis;
mod call;
mod picture;
mod unit;

use std::io;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

pub(crate) use self::axis::Axis;
pub(crate) use self::picture::picture;
use self::unit::Unit;
use crate::protocol::Endpoint;
use crate::report::Measured;
use crate::servers::Process;

pub(super) async fn measure(
    server: &Process,
    axis: Axis,
    sizes: &[usize],
    turns: u32,
) -> io::Result<Measured> {
    let mut grown = Grown::default();
    let (mut measured, mut costs) = (Measured::default(), Vec::new());
    for size in sizes.iter().copied() {
        if axis.starts_anew() {
            grown = Grown::default();
        }
        grown.grow(server.endpoint(), axis, size).await?;
        // A period in which the server comes to rest, not a wait for an event.
        sleep(axis.settling()).await;
        let cost = grown.cost(server, turns).await?;
        let rest = cost.rest / size as f64;
        let its =
            Measured::default().with(COST, cost.message).with("at rest, CPU µs/s of one", rest);
        measured = measured.with_part(&part(axis, size), its);
        costs.push(cost.message);
    }
    let ends = costs.first().zip(costs.last()).map_or(f64::NAN, |(first, last)| last / first);
    Ok(measured
        .with("dearest size, to a smaller one", rise(&costs))
        .with("largest size, to smallest", ends))
}

/// Returns the largest ratio of a cost to an earlier one: 1 if it never rises.
fn rise(costs: &[f64]) -> f64 {
    let (mut rise, mut least) = (1.0_f64, f64::INFINITY);
    for cost in costs {
        least = least.min(*cost);
        rise = rise.max(cost / least);
    }
    rise
}

/// Returns the name of the part of the run that was done at this size.
fn part(axis: Axis, size: usize) -> String {
    format!("{axis} {size}")
}

/// Costs at one size, in microseconds of CPU time.
struct Cost {
    /// Of one message, without what the server takes at rest.
    message: f64,
    /// Of the whole server at rest, in a second.
    rest: f64,
}

/// All that the server has to do with, each on a task of its own.
#[derive(Default)]
struct Grown {
    units: Vec<mpsc::Sender<Play>>,
    tasks: JoinSet<()>,
    next: usize,
}

/// Request to say something, and to tell how many messages it was.
type Play = oneshot::Sender<io::Result<u64>>;

impl Grown {
    /// Grows to this size; each unit says something once.
    async fn grow(&mut self, server: Endpoint, axis: Axis, size: usize) -> io::Result<()> {
        let opening = (self.units.len()..axis.units(size)).map(|number| async move {
            tokio::spawn(Unit::open(server, axis, number, size)).await.map_err(io::Error::other)?
        });
        let mut opened = stream::iter(opening).buffer_unordered(AT_ONCE);
        while let Some(unit) = opened.try_next().await? {
            let (play, played) = mpsc::channel(1);
            self.units.push(play);
            self.tasks.spawn(run(unit, played));
        }
        for _ in 0..self.units.len() {
            self.play().await?;
        }
        Ok(())
    }

    async fn cost(&mut self, server: &Process, turns: u32) -> io::Result<Cost> {
        let (mut resting, mut playing) = ((0.0, 0.0), (0.0, 0.0));
        let mut messages = 0;
        // In turn, so that other load on the machine affects both.
        for _ in 0..turns {
            let (before, began) = (server.usage()?, Instant::now());
            // A measured period, not a wait for an event.
            sleep(PERIOD).await;
            let (rested, middle) = (server.usage()?, Instant::now());
            while middle.elapsed() < PERIOD {
                messages += self.play().await?;
            }
            let (after, end) = (server.usage()?, Instant::now());
            resting.0 += rested.cpu_since(&before).as_secs_f64() * 1e6;
            resting.1 += (middle - began).as_secs_f64();
            playing.0 += after.cpu_since(&rested).as_secs_f64() * 1e6;
            playing.1 += (end - middle).as_secs_f64();
        }
        let rest = resting.0 / resting.1;
        Ok(Cost { message: (playing.0 - rest * playing.1) / messages as f64, rest })
    }

    /// Lets the next one say something, while all others are silent; returns the number of messages.
    async fn play(&mut self) -> io::Result<u64> {
        let gone = || io::Error::from(io::ErrorKind::ConnectionReset);
        let (tell, told) = oneshot::channel();
        let unit = self.units.get(self.next % self.units.len().max(1)).ok_or_else(gone)?;
        self.next += 1;
        unit.send(tell).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

async fn run(mut unit: Unit, mut played: mpsc::Receiver<Play>) {
    loop {
        tokio::select! {
            play = played.recv() => {
                let Some(tell) = play else { return };
                _ = tell.send(unit.play().await);
            }
            // The caller that lets it play later learns that it has ended.
            listened = unit.listen() => if listened.is_err() { return },
        }
    }
}

/// Name of the cost that has to stay the same.
const COST: &str = "CPU µs per message";
const PERIOD: Duration = Duration::from_millis(500);
/// Units that are opened at the same time.
const AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_is_to_the_cheapest_of_the_smaller_sizes() {
        assert_eq!(rise(&[4.0, 2.0, 3.0, 2.5]), 1.5);
        assert_eq!(rise(&[2.0, 2.0, 5.0]), 2.5);
    }

    #[test]
    fn a_cost_that_falls_has_no_rise() {
        assert_eq!(rise(&[4.0, 3.0, 2.0]), 1.0);
        assert_eq!(rise(&[4.0]), 1.0);
    }
}
