//! Assemblers of all streams of one tap, which hold no more together than a tap may take.

use std::collections::HashMap;
use std::hash::Hash;

use super::{Assembled, Assembler, Part};
use crate::core::packet::Coding;

/// Assemblers of many streams.
#[derive(Debug)]
pub(crate) struct Assemblers<K> {
    of: HashMap<K, Assembler>,
    /// Bytes that all of them hold, and may hold.
    held: usize,
    most: usize,
}

impl<K: Eq + Hash> Assemblers<K> {
    /// Creates assemblers that hold so many bytes together.
    pub(crate) fn new(most: usize) -> Self {
        Self { of: HashMap::new(), held: 0, most }
    }

    /// Begins a stream, anew if it is there.
    pub(crate) fn begin(&mut self, stream: K, coding: Coding) {
        let before = self.of.insert(stream, Assembler::new(coding));
        self.held -= before.map_or(0, |it| it.held());
    }

    /// Returns the assembler of a stream that has begun.
    pub(crate) fn get(&self, stream: &K) -> Option<&Assembler> {
        self.of.get(stream)
    }

    /// Adds a packet to a stream that has begun. Returns the frames that are complete with it. Where all hold too much
    /// together, what holds most is given up.
    pub(crate) fn push(&mut self, stream: &K, part: Part) -> Vec<Assembled> {
        let Some(assembler) = self.of.get_mut(stream) else { return Vec::new() };
        let before = assembler.held();
        let frames = assembler.push(part);
        self.held = self.held - before + assembler.held();
        while self.held > self.most
            && let Some(largest) = self.of.values_mut().max_by_key(|it| it.held())
        {
            self.held -= largest.held();
            largest.give_up();
        }
        frames
    }

    /// Keeps some of the streams.
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(&K) -> bool) {
        self.of.retain(|stream, _| is_kept(stream));
        self.held = self.of.values().map(Assembler::held).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    const MOST: usize = 16_000;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Returns a packet of a key frame of VP8.
    fn part(number: u64, is_first: bool, marker: bool) -> Part {
        let descriptor = if is_first { 0x10 } else { 0 };
        let mut payload = vec![descriptor, 0, 0, 0, 0x9d, 1, 0x2a, 64, 1, 180, 0];
        payload.resize(1_000, 5);
        Part { number, timestamp: 9, marker, payload: payload.into(), at: now() }
    }

    /// Returns what the streams hold, each counted anew.
    fn held(assemblers: &Assemblers<u8>) -> usize {
        assemblers.of.values().map(Assembler::held).sum()
    }

    #[test]
    fn frames_without_an_end_hold_no_more_than_a_tap_may_and_spare_the_others() {
        let mut assemblers = Assemblers::new(MOST);
        (0..=10).for_each(|stream| assemblers.begin(stream, Coding::Vp8));

        for number in 0..1_000 {
            for stream in 1..=10 {
                assemblers.push(&stream, part(number, number == 0, false));
                assert!(held(&assemblers) <= MOST && assemblers.held == held(&assemblers));
            }
            // One frame of three packets after the other.
            let frames = assemblers.push(&0, part(number, number % 3 == 0, number % 3 == 2));
            assert_eq!(frames.len(), usize::from(number % 3 == 2), "{number}");
        }
    }

    #[test]
    fn packets_that_wait_for_another_count() {
        let mut assemblers = Assemblers::new(MOST);
        assemblers.begin(1, Coding::Opus);
        let sound = |number| Part { payload: Arc::from([7; 1_000]), ..part(number, true, true) };
        assert_eq!(assemblers.push(&1, sound(0)).len(), 1);

        (2..18).for_each(|number| _ = assemblers.push(&1, sound(number)));
        assert_eq!((assemblers.held, held(&assemblers)), (16_000, 16_000));
        assemblers.push(&1, sound(18));

        assert_eq!(assemblers.held, 0, "given up");
        let frames = assemblers.push(&1, sound(19));
        assert!(frames[0].after_loss);
    }

    #[test]
    fn what_ends_or_begins_anew_holds_nothing() {
        let mut assemblers = Assemblers::new(MOST);
        for stream in [1, 2] {
            assemblers.begin(stream, Coding::Vp8);
            assemblers.push(&stream, part(0, true, false));
        }
        let both = assemblers.held;

        assemblers.begin(1, Coding::Vp8);
        assert_eq!((assemblers.held * 2, held(&assemblers) * 2), (both, both));
        assemblers.retain(|&stream| stream == 1);

        assert_eq!((assemblers.held, held(&assemblers)), (0, 0));
    }
}
