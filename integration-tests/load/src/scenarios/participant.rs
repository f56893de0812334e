//! Participant of a call behind signaling: it sends a picture and a sound, notes all that it receives, and connects
//! anew when its connection is over.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::track::Flow;
use crate::client::Client;
use crate::protocol::Endpoint;
use crate::webrtc::{Heard, Peer, Wish};

/// Participant, which leaves without a word when this is dropped.
pub(super) struct Participant {
    pub(super) id: String,
    /// What its packets say who has sent them.
    pub(super) number: u16,
    noted: Arc<Mutex<Noted>>,
    leave: Arc<Notify>,
    running: JoinHandle<()>,
}

/// What a participant has noted so far.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) arrivals: Vec<Arrival>,
    /// Offers that it and the server have made.
    pub(super) offers: u32,
    /// When it was asked for key frames.
    pub(super) asked: Vec<Instant>,
    /// Why it has ended.
    pub(super) failed: Option<String>,
}

/// Packet that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Number of the participant that has sent it.
    pub(super) from: u16,
    /// 0 for the picture, 1 for the sound.
    pub(super) track: u8,
    /// How many packets that track had before.
    pub(super) count: u32,
    pub(super) at: Instant,
}

impl Participant {
    /// Joins a room, and its media with one offer; resolves when the connection is up.
    pub(super) async fn join(
        server: Endpoint,
        room: &str,
        number: u16,
        wish: Wish,
        picture: Flow,
    ) -> io::Result<Self> {
        let mut client = Client::join(server, room).await?;
        let id = client.id.clone();
        let peer = Some(Box::new(Peer::connect_behind(&mut client, &wish).await?));
        let noted = Arc::new(Mutex::new(Noted { offers: 1, ..Noted::default() }));
        let leave = Arc::new(Notify::new());
        let run = Run {
            number,
            client,
            peer,
            wish,
            flows: [picture, Flow::SOUND],
            sent: [0; 2],
            wanted: true,
            noted: Arc::clone(&noted),
            leave: Arc::clone(&leave),
        };
        let running = tokio::spawn(async move {
            let noted = Arc::clone(&run.noted);
            if let Err(error) = run.forever().await {
                lock(&noted).failed = Some(error.to_string());
            }
        });
        Ok(Self { id, number, noted, leave, running })
    }

    /// Leaves with a goodbye.
    pub(super) async fn leave(mut self) {
        self.leave.notify_one();
        // One that has failed has noted it.
        _ = (&mut self.running).await;
    }

    pub(super) fn noted(&self) -> MutexGuard<'_, Noted> {
        lock(&self.noted)
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Noted {
    /// Returns how many packets are missing among those that have come of each track.
    pub(super) fn lost(&self, of: impl Fn(&Arrival) -> bool) -> usize {
        let mut tracks = std::collections::BTreeMap::<_, Vec<u32>>::new();
        for arrival in self.arrivals.iter().filter(|arrival| of(arrival)) {
            tracks.entry((arrival.from, arrival.track)).or_default().push(arrival.count);
        }
        let lost = tracks.into_values().map(|mut counts| {
            counts.sort_unstable();
            counts.dedup();
            let (first, last) = (counts.first().copied(), counts.last().copied());
            let all = last.zip(first).map_or(0, |(last, first)| last - first + 1);
            all as usize - counts.len()
        });
        lost.sum()
    }
}

fn lock(noted: &Mutex<Noted>) -> MutexGuard<'_, Noted> {
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Run {
    number: u16,
    client: Client,
    /// None between the end of one connection and the next.
    peer: Option<Box<Peer>>,
    wish: Wish,
    flows: [Flow; 2],
    /// Packets of each track.
    sent: [u32; 2],
    /// A key frame is wanted.
    wanted: bool,
    noted: Arc<Mutex<Noted>>,
    leave: Arc<Notify>,
}

#[derive(Deserialize)]
struct Told {
    event: String,
    #[serde(default)]
    data: Value,
}

impl Run {
    async fn forever(mut self) -> io::Result<()> {
        let [mut picture, mut sound] = self.flows.map(beat);
        loop {
            tokio::select! {
                biased;
                _ = picture.tick() => self.send(0)?,
                _ = sound.tick() => self.send(1)?,
                heard = next(&mut self.peer) => match heard {
                    Ok(Heard::Packet(packet)) => self.note(&packet),
                    Ok(Heard::KeyframeWanted) => {
                        self.wanted = true;
                        lock(&self.noted).asked.push(Instant::now());
                    }
                    Ok(Heard::Message(_)) => {}
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
                    // The server says so as well.
                    Err(_) => self.peer = None,
                },
                told = self.client.next() => self.handle(&told?).await?,
                () = self.leave.notified() => return self.client.close().await,
            }
        }
    }

    async fn handle(&mut self, text: &str) -> io::Result<()> {
        let told: Told = serde_json::from_str(text)?;
        match told.event.as_str() {
            "webrtc:offer" => lock(&self.noted).offers += 1,
            "webrtc:state"
                if ["closed", "failed"].map(Some).contains(&told.data["state"].as_str()) =>
            {
                lock(&self.noted).offers += 1;
                let peer = Peer::connect_behind(&mut self.client, &self.wish).await?;
                (self.peer, self.wanted) = (Some(Box::new(peer)), true);
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends the next frame of a track, of one packet.
    fn send(&mut self, track: u8) -> io::Result<()> {
        let Some(peer) = &mut self.peer else { return Ok(()) };
        let flow = self.flows[usize::from(track)];
        let count = &mut self.sent[usize::from(track)];
        let mut packet = vec![0; flow.size];
        // VP8: the first packet of a frame (RFC 7741 §4.2), whose P bit is not set in key frames (RFC 6386 §9.1).
        packet[0] = 0x10;
        packet[1] = u8::from(track == 0 && !self.wanted);
        packet[2..4].copy_from_slice(&self.number.to_be_bytes());
        packet[4] = track;
        packet[5..9].copy_from_slice(&count.to_be_bytes());
        let timestamp = flow.timestamp(*count as usize);
        *count += 1;
        if track == 0 {
            self.wanted = false;
        }
        // One that is over is noticed elsewhere.
        _ = peer.send_packet(track.into(), packet, timestamp, true);
        Ok(())
    }

    fn note(&self, packet: &[u8]) {
        if let &[_, _, high, low, track, a, b, c, d, ..] = packet {
            let (from, count) = (u16::from_be_bytes([high, low]), u32::from_be_bytes([a, b, c, d]));
            let arrival = Arrival { from, track, count, at: Instant::now() };
            lock(&self.noted).arrivals.push(arrival);
        }
    }
}

async fn next(peer: &mut Option<Box<Peer>>) -> io::Result<Heard> {
    match peer {
        Some(peer) => peer.next().await,
        None => std::future::pending().await,
    }
}

fn beat(flow: Flow) -> Interval {
    let mut beat = interval(flow.interval());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

/// Returns the values in milliseconds of some times.
pub(super) fn waits(times: impl IntoIterator<Item = Duration>) -> crate::measure::Waits {
    let mut waits = crate::measure::Waits::new();
    times.into_iter().for_each(|time| waits.add(time));
    waits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_missing_between_two_packets_of_a_track_is_lost() {
        let at = Instant::now();
        let arrival = |from, track, count| Arrival { from, track, count, at };
        let arrivals = vec![
            arrival(1, 0, 7),
            arrival(1, 0, 5),
            arrival(1, 0, 9),
            arrival(2, 0, 3),
            arrival(1, 1, 1),
        ];
        let noted = Noted { arrivals, ..Noted::default() };

        assert_eq!(noted.lost(|_| true), 2);
        assert_eq!(noted.lost(|arrival| arrival.count < 8), 1);
        assert_eq!(noted.lost(|_| false), 0);
    }
}
