//! Packets of a track over time, and what is in them: when they were sent, and whether a decoder can begin with them.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

/// Packets of a track over time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// Frames in a second.
    pub(super) rate: u32,
    /// Packets of each frame, which are sent at once; then from the beginning.
    sizes: &'static [u32],
    /// Clock of its times in Hz.
    clock: u32,
    /// Size of a packet in bytes.
    pub(super) size: usize,
}

impl Flow {
    /// Video of 30 frames a second, on a clock of 90 kHz (RFC 7741 §4.1).
    pub(super) const VIDEO: Self =
        Self { rate: 30, sizes: &[8, 10, 9], clock: 90_000, size: PACKET };
    /// Sound of 20 ms a packet, on a clock of 48 kHz (RFC 7587 §4.1).
    pub(super) const SOUND: Self = Self { rate: 50, sizes: &[1], clock: 48_000, size: 120 };

    /// Small pictures of a packet each, this many in a second.
    pub(super) const fn small(rate: u32) -> Self {
        Self { rate, sizes: &[1], size: 200, ..Self::VIDEO }
    }

    /// A packet of video at a time, this many in a second.
    pub(super) fn evenly(rate: u32) -> Self {
        Self { rate, sizes: &[1], ..Self::VIDEO }
    }

    /// Frames of ten packets each, this many in a second.
    pub(super) const fn frames_of_ten(rate: u32) -> Self {
        Self { rate, sizes: &[10], ..Self::VIDEO }
    }

    /// Returns the numbers of packets of all frames in this time.
    pub(super) fn frames(self, time: Duration) -> impl Iterator<Item = u32> {
        let count = u64::from(self.rate) * time.as_secs();
        self.sizes.iter().copied().cycle().take(count as usize)
    }

    /// Returns the number of packets in this time.
    pub(super) fn packets(self, time: Duration) -> u64 {
        self.frames(time).map(u64::from).sum()
    }

    /// Returns the time from one frame to the next.
    pub(super) fn interval(self) -> Duration {
        Duration::from_secs(1) / self.rate
    }

    /// Returns the time of a frame, in units of the track's clock.
    pub(super) fn timestamp(self, frame: usize) -> u32 {
        (frame as u32).wrapping_mul(self.clock / self.rate)
    }

    /// Returns a packet of a frame that says when it was sent. Decoders can begin with each frame.
    pub(super) fn packet(self, epoch: Instant, is_first: bool) -> io::Result<Vec<u8>> {
        let mut packet = vec![0; self.size];
        let now = u64::try_from(epoch.elapsed().as_nanos()).map_err(io::Error::other)?;
        packet[1..9].copy_from_slice(&now.to_be_bytes());
        // VP8 (RFC 7741 §4.2): a frame begins with its first packet. The time behind it, which is far from filling
        // eight bytes, says that it is a key frame.
        packet[0] = if is_first { 0x10 } else { 0 };
        Ok(packet)
    }
}

/// Returns when a packet was sent.
pub(super) fn sent(epoch: Instant, packet: &[u8]) -> io::Result<Instant> {
    let time = packet.get(1..9).and_then(|bytes| bytes.try_into().ok());
    let time: [u8; 8] = time.ok_or(io::ErrorKind::InvalidData)?;
    Ok(epoch + Duration::from_nanos(u64::from_be_bytes(time)))
}

/// Size of a packet of video in bytes.
pub(super) const PACKET: usize = 1_200;
/// Time after the last packet was sent when the missing ones count as lost.
pub(super) const LAST: Duration = Duration::from_millis(500);
