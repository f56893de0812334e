//! Packets of an `Rtc` that go to the network without passing through it.
//!
//! Each time that str0m is asked for its next datagram, it goes through all that its SCTP has under way, which takes
//! longer the more that is. So one packet leads: it passes through the `Rtc`, which says where it goes. The connection
//! takes those that were sealed after it from here, and sends them to the same place.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Followers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether someone takes them.
    wanted: bool,
    /// Whether a packet is on its way through the `Rtc`.
    led: bool,
    packets: Vec<Vec<u8>>,
}

impl Followers {
    pub(super) fn want(&self) {
        self.lock().wanted = true;
    }

    /// Keeps a packet, if it follows another one. Returns whether it was kept; any other passes through the `Rtc`.
    pub(super) fn keep(&self, packet: &[u8]) -> bool {
        let mut state = self.lock();
        let led = std::mem::replace(&mut state.led, true);
        let kept = state.wanted && led && state.packets.len() < MOST;
        if kept {
            state.packets.push(packet.to_vec());
        }
        kept
    }

    /// Takes the packets that follow the one that has come out of the `Rtc`. The next packet leads again.
    pub(super) fn take(&self) -> Vec<Vec<u8>> {
        let mut state = self.lock();
        state.led = false;
        std::mem::take(&mut state.packets)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Most packets that wait for their leader. Those beyond pass through the `Rtc`.
const MOST: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_follow_one_that_is_on_its_way() {
        let followers = Followers::default();
        assert!(!followers.keep(&[1]) && !followers.keep(&[2]), "no one takes them");
        followers.take();
        followers.want();

        assert!(!followers.keep(&[3]), "it leads");
        assert!(followers.keep(&[4]) && followers.keep(&[5]));
        assert_eq!(followers.take(), [[4], [5]]);
        assert!(!followers.keep(&[6]), "the next one leads");
        assert!(followers.take().is_empty());
    }

    #[test]
    fn no_more_than_a_number_wait() {
        let followers = Followers::default();
        followers.want();
        for _ in 0..=MOST {
            followers.keep(&[0]);
        }
        assert!(!followers.keep(&[1]));
        assert_eq!(followers.take().len(), MOST);
    }
}
