//! Entry point of the fuzz target: packets that a client makes up, read and forwarded as a slot does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::core::packet::{self, Coding, Contents, ContentsError};
use crate::core::rewrite::{Incoming, Rewriter, Rewritten};
use crate::core::switch::{Seen, Switch, Verdict};

/// Forwards packets that the bytes describe: codec, number, time and payload of each, losses and late ones among them;
/// now and then another encoding is wanted, or the subscriber is restarted. Panics unless what comes out is one stream:
/// its numbers begin low, grow as those that came in do, and none is used twice.
pub fn forward(bytes: &[u8]) {
    let mut viewer = Viewer::default();
    let mut rest = bytes;
    while let Some((&header, after)) = rest.split_first_chunk::<HEADER>() {
        let (payload, after) = after.split_at(after.len().min(header[5].into()));
        viewer.handle(header, payload);
        rest = after;
    }
}

/// A slot with its source, and what its receiver must see.
struct Viewer {
    switch: Switch,
    rewriter: Rewriter,
    now: Instant,
    number: u64,
    timestamp: u32,
    /// What the numbers of the source that flows have become.
    numbers: BTreeMap<u64, u64>,
    /// Highest number that was sent.
    last: Option<u64>,
}

impl Default for Viewer {
    fn default() -> Self {
        let mut switch = Switch::default();
        switch.aim(0, u8::MAX);
        Self {
            switch,
            rewriter: Rewriter::new(u16::MAX),
            now: tokio::time::Instant::now().into_std(),
            number: 1 << 16,
            timestamp: 0,
            numbers: BTreeMap::new(),
            last: None,
        }
    }
}

impl Viewer {
    fn handle(&mut self, header: [u8; HEADER], payload: &[u8]) {
        let [what, high, low, time, later, _] = header;
        let step = i16::from_be_bytes([high, low]);
        self.number = self.number.saturating_add_signed(step.into());
        self.timestamp = self.timestamp.wrapping_add(u32::from(time) * 1_500);
        self.now += Duration::from_millis(later.into());
        let encoding = what >> 4 & 3;
        match what >> 6 {
            0 => self.switch.aim(encoding, time & 3),
            1 => self.restart(),
            _ => {}
        }
        let contents = packet::read(CODINGS[usize::from(what & 7) % CODINGS.len()], payload);
        assert_eq!(contents == Err(ContentsError::Padding), payload.is_empty());
        let read = contents.unwrap_or_default();
        let incoming = Incoming {
            number: self.number,
            timestamp: self.timestamp,
            marker: what & 8 != 0 || read.whole,
            picture_id: read.picture_id,
            tl0: read.tl0,
            at: self.now,
            // A clock that jumps, or none.
            captured: (what & 8 != 0)
                .then(|| self.now + Duration::from_millis(u64::from(high) * 100)),
        };
        let flows = self.switch.current() == Some(encoding);
        let goes_on = self.rewriter.continues(&incoming);
        match contents {
            Ok(contents) => self.forward(encoding, &contents, &incoming, goes_on),
            Err(_) if flows && goes_on => self.rewriter.leave_out(&incoming, true),
            Err(_) => {}
        }
    }

    /// Goes on in a new subscriber from the position of the last one.
    fn restart(&mut self) {
        if let Some(position) = self.rewriter.position() {
            (self.rewriter, self.switch) = (Rewriter::resume(position), Switch::default());
            self.switch.aim(0, u8::MAX);
        }
    }

    fn forward(&mut self, encoding: u8, read: &Contents, packet: &Incoming, goes_on: bool) {
        let seen = Seen {
            encoding,
            entry: read.entry,
            temporal: read.temporal,
            layer_sync: read.layer_sync,
            timestamp: packet.timestamp,
        };
        match self.switch.decide(seen) {
            Verdict::Ignore => {}
            Verdict::LeaveOut => self.rewriter.leave_out(packet, true),
            Verdict::Forward if goes_on => {
                if let Some(rewritten) = self.rewriter.forward(packet) {
                    self.sent(packet, rewritten);
                }
            }
            verdict @ (Verdict::Begin | Verdict::Forward) => {
                assert!(verdict == Verdict::Forward || read.entry, "nothing to begin with");
                self.numbers.clear();
                let rewritten = self.rewriter.begin(packet, 90_000);
                match self.last {
                    Some(last) => assert!((1..=2).contains(&(rewritten.number - last))),
                    None => assert!(rewritten.number < 1 << 15),
                }
                self.sent(packet, rewritten);
            }
        }
    }

    fn sent(&mut self, packet: &Incoming, rewritten: Rewritten) {
        let Rewritten { number, picture_id, tl0, .. } = rewritten;
        let before = self.numbers.range(..packet.number).next_back();
        assert!(before.is_none_or(|(_, before)| *before < number), "order");
        let after = self.numbers.range(packet.number + 1..).next();
        assert!(after.is_none_or(|(_, after)| number < *after), "order");
        assert_eq!(*self.numbers.entry(packet.number).or_insert(number), number, "one number");
        assert_eq!(picture_id.is_some(), packet.picture_id.is_some());
        assert_eq!(tl0.is_some(), packet.tl0.is_some());
        for (out, id) in picture_id.into_iter().zip(packet.picture_id) {
            assert!(out < 1 << id.bits && id.value < 1 << id.bits, "the width stays");
        }
        self.last = self.last.max(Some(number));
    }
}

/// Bytes in front of each payload: codec, end of frame, encoding and what is done before; steps of number and time;
/// milliseconds; length of the payload.
const HEADER: usize = 6;
const CODINGS: [Coding; 8] = [
    Coding::Vp8,
    Coding::H264,
    Coding::Opus,
    Coding::OtherAudio,
    Coding::OtherVideo,
    Coding::Vp9,
    Coding::Av1,
    Coding::Red,
];

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A packet that is likely to go on with the stream, and any payload, often of VP8 with all its fields.
    fn packet() -> impl Strategy<Value = Vec<u8>> {
        let start = prop_oneof![
            Just(vec![0x90, 0xf0, 0x92]),
            Just(vec![0x90, 0x80, 0x11]),
            Just(vec![0x10]),
            Just(vec![]),
        ];
        let what = prop_oneof![4 => Just(0x80u8), 1 => any::<u8>()];
        (what, -3i16..40, any::<[u8; 2]>(), start, vec(any::<u8>(), 0..12)).prop_map(
            |(what, step, [time, later], start, rest)| {
                let payload = [start, rest].concat();
                let [high, low] = step.to_be_bytes();
                let header = [what, high, low, time, later, payload.len() as u8];
                [&header[..], &payload].concat()
            },
        )
    }

    proptest! {
        /// The check of the fuzz target, without the fuzzer.
        #[test]
        fn what_is_made_up_comes_out_as_one_stream(packets in vec(packet(), 1..300)) {
            super::forward(&packets.concat());
        }

        #[test]
        fn any_bytes_come_out_as_one_stream(bytes in vec(any::<u8>(), 0..600)) {
            super::forward(&bytes);
        }
    }
}
