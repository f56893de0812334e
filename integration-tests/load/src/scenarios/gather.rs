//! Many participants that join one call, one after the other, while those who are in see and hear each other.

use std::io;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::participant::{Participant, waits};
use super::track::Flow;
use crate::report::Measured;
use crate::servers::Process;
use crate::webrtc::Wish;

pub(super) async fn measure(
    server: &Process,
    participants: usize,
    time: Duration,
) -> io::Result<Measured> {
    let (before, began) = (server.usage()?, Instant::now());
    let joining = (0..participants).map(|at| {
        let (endpoint, turn) = (server.endpoint(), began + time * at as u32 / participants as u32);
        let joining = async move {
            sleep_until(turn).await;
            let wish = Wish::Join { pictures: PICTURES, sounds: SOUNDS };
            let number = at as u16;
            Participant::join(endpoint, "call", number, wish, Flow::small(RATE)).await
        };
        async move {
            let joined = tokio::spawn(joining).await.map_err(io::Error::other)??;
            io::Result::Ok((turn, joined))
        }
    });
    let joined = try_join_all(joining).await?;
    let first_packets = timeout(PATIENCE, async {
        while joined.iter().any(|(_, one)| one.noted().arrivals.is_empty()) {
            sleep(LOOK).await;
        }
    });
    first_packets.await?;
    // A measured period, not a wait for an event.
    sleep(AFTER).await;
    let after = server.usage()?;

    let (mut times, mut lost, mut offers, mut asked) = (Vec::new(), 0, 0, 0);
    for (at, (turn, one)) in joined.iter().enumerate() {
        let noted = one.noted();
        if let Some(why) = &noted.failed {
            return Err(io::Error::other(format!("participant {at}: {why}")));
        }
        // The first one has to wait for the second.
        if at > 0 {
            times.extend(noted.arrivals.first().map(|first| first.at - *turn));
        }
        lost += noted.lost(|_| true);
        offers = offers.max(noted.offers);
        asked = asked.max(most_in_a_second(&noted.asked));
    }
    let times = waits(times);
    Ok(Measured::default()
        .with("join to first packet p50, ms", times.percentile(50.0))
        .with("join to first packet p95, ms", times.percentile(95.0))
        .with("offers of a client, most", offers.into())
        .with("key frame requests of a track in a second, most", asked as f64)
        .with("packets lost", lost as f64)
        .with(
            "CPU ms per participant",
            after.cpu_since(&before).as_secs_f64() * 1e3 / participants as f64,
        ))
}

/// Returns the largest number of these times within a second.
fn most_in_a_second(times: &[Instant]) -> usize {
    let within = |begin: &Instant| {
        times.iter().filter(|time| **time >= *begin && **time - *begin < SECOND).count()
    };
    times.iter().map(within).max().unwrap_or_default()
}

/// Pictures and sounds that each participant has room for, as the page of `callboard.js` asks for.
const PICTURES: usize = 9;
const SOUNDS: usize = 3;
/// Pictures in a second: so few that the clients can take those of 50 on one machine.
const RATE: u32 = 10;
/// A second, less what requests may be late on their way.
const SECOND: Duration = Duration::from_millis(950);
/// Time after which someone who gets nothing never will.
const PATIENCE: Duration = Duration::from_secs(30);
const AFTER: Duration = Duration::from_secs(1);
/// Interval of checks of the participants.
const LOOK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_counted_in_any_second() {
        let start = Instant::now();
        let times = |of: &[u64]| {
            most_in_a_second(
                &of.iter().map(|ms| start + Duration::from_millis(*ms)).collect::<Vec<_>>(),
            )
        };

        assert_eq!(times(&[]), 0);
        assert_eq!(times(&[0, 500, 1_000, 1_500]), 2);
        assert_eq!(times(&[0, 900, 1_000, 1_100, 3_000]), 3);
    }
}
