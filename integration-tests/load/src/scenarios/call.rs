//! A call: each participant sends a picture and a sound to all others, on one connection.

use std::io;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use uuid::Uuid;

use super::track::{Flow, LAST, sent};
use crate::measure::Waits;
use crate::protocol::Protocol;
use crate::report::Measured;
use crate::servers::Process;
use crate::webrtc::{Heard, Peer, VideoRoom, Wish};

pub(super) async fn measure(
    server: &Process,
    participants: usize,
    time: Duration,
) -> io::Result<Measured> {
    let others = participants - 1;
    let video_room = VideoRoom::of(server.endpoint()).await?;
    let room = match server.protocol {
        // It goes on running, and has another call each time.
        Protocol::Forwards => Uuid::new_v4().to_string(),
        _ => String::new(),
    };
    let join = |number| {
        let (video_room, room) = (video_room.as_ref(), room.as_str());
        async move {
            let sends = match video_room {
                Some(room) => room.publish(number, Wish::Join { pictures: 0, sounds: 0 }).await?,
                None => {
                    let wish = Wish::Join { pictures: others, sounds: others };
                    Peer::connect_in(server.endpoint(), room, wish).await?
                }
            };
            io::Result::Ok(Participant { sends: Box::new(sends), receives: None })
        }
    };
    let mut peers = vec![join(0).await?];
    // What is needed once counts for no participant, nor does the first one's connection at rest.
    let alone = server.usage()?;
    peers.extend(try_join_all((1..participants).map(join)).await?);
    if let Some(room) = &video_room {
        let subscribing = peers.iter_mut().enumerate().map(|(number, peer)| async move {
            let others = (0..participants).filter(|other| *other != number);
            peer.receives = Some(Box::new(room.subscribe(others).await?));
            io::Result::Ok(())
        });
        try_join_all(subscribing).await?;
    }

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

/// Participant with its connection to the server, or two.
struct Participant {
    sends: Box<Peer>,
    /// Connection for what it receives, where the server has another for that.
    receives: Option<Box<Peer>>,
}

impl Participant {
    /// Returns the next packet or message. Cancelling loses nothing.
    async fn next(&mut self) -> io::Result<Heard> {
        match &mut self.receives {
            Some(receives) => tokio::select! {
                heard = self.sends.next() => heard,
                heard = receives.next() => heard,
            },
            None => self.sends.next().await,
        }
    }
}

/// Sends both tracks for this time; returns how long each packet of the others was under way, once no more come.
async fn talk(
    mut peer: Participant,
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
                    peer.sends.send_packet(track, packet, flow.timestamp(number), at == size)?;
                }
            }
            None => sending[track] = false,
        }
    }
}

const TRACKS: [Flow; 2] = [Flow::VIDEO, Flow::SOUND];
