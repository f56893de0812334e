//! A call: each participant sends a picture and a sound to all others, on one connection.

use std::io;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::track::{Flow, LAST, sent};
use crate::measure::Waits;
use crate::report::Measured;
use crate::servers::Process;
use crate::webrtc::{Heard, Peer, Wish};

pub(super) async fn measure(
    server: &Process,
    participants: usize,
    time: Duration,
) -> io::Result<Measured> {
    let others = participants - 1;
    let join = || async move {
        let wish = Wish::Join { pictures: others, sounds: others };
        io::Result::Ok(Box::new(Peer::connect(server.endpoint(), wish).await?))
    };
    let mut peers = vec![join().await?];
    // What is needed once counts for no participant, nor does the first one's connection at rest.
    let alone = server.usage()?;
    peers.extend(try_join_all((0..others).map(|_| join())).await?);

    let (before, epoch) = (server.usage()?, Instant::now());
    let packets: u64 = TRACKS.iter().map(|flow| flow.packets(time)).sum();
    let talking = peers.into_iter().enumerate().map(|(number, peer)| {
        // Cameras and microphones are not in step.
        let begin = epoch + Flow::VIDEO.interval() * number as u32 / participants as u32;
        tokio::spawn(talk(peer, epoch, begin, time))
    });
    let talked = try_join_all(talking).await.map_err(io::Error::other)?;
    let after = server.usage()?;
    let mut waits = Waits::new();
    for one in talked {
        waits.join(&one?);
    }
    let delivered = waits.count() as f64;
    let expected = (packets * (participants * others) as u64) as f64;
    let measured = Measured::default()
        .with(
            "CPU s per million forwarded",
            after.cpu_since(&before).as_secs_f64() * 1e6 / delivered,
        )
        .with("delivered", delivered)
        .with("lost, %", (expected - delivered) / expected * 1e2)
        .with("latency p50, ms", waits.percentile(50.0))
        .with("latency p99, ms", waits.percentile(99.0));
    if !server.is_new() {
        return Ok(measured);
    }
    let memory = after.rss.saturating_sub(alone.rss) as f64 / 1_024.0;
    Ok(measured.with("KiB of memory per participant", memory / participants as f64))
}

/// Sends both tracks for this time; returns how long each packet of the others was under way, once no more come.
async fn talk(
    mut peer: Box<Peer>,
    epoch: Instant,
    begin: Instant,
    time: Duration,
) -> io::Result<Waits> {
    let mut frames = TRACKS.map(|flow| flow.frames(time).enumerate());
    let [mut picture, mut sound] = TRACKS.map(|flow| {
        let mut beat = interval_at(begin, flow.interval());
        beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
        beat
    });
    let (mut waits, mut sending) = (Waits::new(), [true; 2]);
    loop {
        let track = tokio::select! {
            biased;
            _ = picture.tick(), if sending[0] => 0,
            _ = sound.tick(), if sending[1] => 1,
            heard = timeout(LAST, peer.next()) => {
                match heard {
                    Ok(heard) => if let Heard::Packet(packet) = heard? {
                        waits.add(sent(epoch, &packet)?.elapsed());
                    },
                    // Until then, what others have lost is sent again.
                    Err(_) => return Ok(waits),
                }
                continue;
            }
        };
        match frames[track].next() {
            Some((number, size)) => {
                let flow = TRACKS[track];
                for at in 1..=size {
                    let packet = flow.packet(epoch, at == 1)?;
                    peer.send_packet(track, packet, flow.timestamp(number), at == size)?;
                }
            }
            None => sending[track] = false,
        }
    }
}

const TRACKS: [Flow; 2] = [Flow::VIDEO, Flow::SOUND];
