//! Viewers that come while a publisher sends: the time until each gets its first packet.

use std::io;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::connect::Kept;
use super::track::Flow;
use crate::measure::Waits;
use crate::report::Measured;
use crate::servers::Process;
use crate::webrtc::{Heard, Peer, Wish};

pub(super) async fn measure(server: &Process, viewers: usize) -> io::Result<Measured> {
    let publisher = Peer::connect(server.endpoint(), Wish::Publish).await?;
    let (stop, stopped) = oneshot::channel();
    let publishing = tokio::spawn(publish(Box::new(publisher), stopped));
    let (mut from_offer, mut from_path) = (Waits::new(), Waits::new());
    let mut came = Vec::new();
    for _ in 0..viewers {
        let began = Instant::now();
        let mut viewer = Peer::connect(server.endpoint(), Wish::Subscribe(1)).await?;
        let connected = Instant::now();
        while !matches!(viewer.next().await?, Heard::Packet(_)) {}
        from_offer.add(began.elapsed());
        from_path.add(connected.elapsed());
        came.push(Kept::new(viewer));
        // A publisher is asked for a key frame at most so often: this is about one who comes alone.
        sleep_until(began + APART).await;
    }
    _ = stop.send(());
    publishing.await.map_err(io::Error::other)??;
    Ok(Measured::default()
        .with("offer to first packet p50, ms", from_offer.percentile(50.0))
        .with("offer to first packet, worst, ms", from_offer.percentile(100.0))
        .with("connected to first packet p50, ms", from_path.percentile(50.0))
        .with("connected to first packet, worst, ms", from_path.percentile(100.0)))
}

/// Sends video, with a key frame when one is asked for.
async fn publish(mut peer: Box<Peer>, mut stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let (flow, epoch) = (Flow::VIDEO, Instant::now());
    let mut beat = interval(flow.interval());
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut wanted = false;
    for (number, size) in flow.frames(LONGEST).enumerate() {
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => return Ok(()),
                _ = beat.tick() => break,
                heard = peer.next() => wanted |= matches!(heard?, Heard::KeyframeWanted),
            }
        }
        for at in 1..=size {
            let mut packet = flow.packet(epoch, at == 1)?;
            // The P bit of a frame's header (RFC 6386 §9.1).
            packet[1] = u8::from(!wanted);
            peer.send_packet(0, packet, flow.timestamp(number), at == size)?;
        }
        wanted = false;
    }
    Ok(())
}

/// Time from one viewer to the next: no whole number of frames, so viewers come at all times within one.
const APART: Duration = Duration::from_millis(621);
/// Longest time in which viewers come.
const LONGEST: Duration = Duration::from_secs(3_600);
