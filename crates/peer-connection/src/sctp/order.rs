//! Account of what stays in the engine's streams after it was acknowledged: parts of messages, and messages out of
//! order.
//!
//! Without interleaving (RFC 8260), the fragments of a message have consecutive TSNs (RFC 9260 §6.9), and a stream's
//! ordered messages come in the order of their TSNs. So of an honest peer at most one message is incomplete, and
//! complete messages are read. What deviates from that counts as stuck, until the window shows that it was read after
//! all.

use std::collections::{HashMap, VecDeque};

use super::packet::{Content, Data};
use super::{CHUNK, Held, after};

#[derive(Debug, Default)]
pub(super) struct Reassembly {
    /// Last TSN that was accounted for.
    last: u32,
    /// Message that has no end yet.
    partial: Option<Partial>,
    streams: HashMap<u16, Stream>,
    /// Messages on streams without a data channel, and messages that DCEP does not know.
    strays: usize,
    /// Bytes that the engine keeps for ever, as far as is known.
    stuck: usize,
    /// Bytes of messages without order that are kept until the next FORWARD-TSN.
    stuck_unordered: usize,
    /// TSN up to which a FORWARD-TSN skips, and streams with the numbers that it skips.
    forwarded: Option<u32>,
    skipped: Vec<(u16, u16)>,
    /// Resets of streams, each after a TSN; an empty list means all streams.
    resets: VecDeque<(u32, Vec<u16>)>,
}

#[derive(Debug)]
struct Partial {
    stream: u16,
    number: u16,
    unordered: bool,
    cost: usize,
    /// Bytes of payload.
    bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    next: Next,
    /// Whether either side has opened a data channel on it.
    open: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self { next: Next::Number(0), open: false }
    }
}

/// Number of a stream's next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Number(u16),
    /// A message was skipped for good, and no ordered message is read any more. The latest number that came.
    Never(u16),
}

impl Reassembly {
    pub(super) fn begin(&mut self, last: u32) {
        self.last = last;
    }

    /// Returns how many streams are in use.
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Returns how many of these streams are in use; an empty list means all.
    pub(super) fn known(&self, streams: &[u16]) -> usize {
        match streams.len() {
            0 => self.streams.len(),
            _ => streams.iter().filter(|stream| self.streams.contains_key(stream)).count(),
        }
    }

    /// Returns how many bytes have come of the message that this chunk continues, if it does.
    pub(super) fn partial(&self, data: &Data) -> usize {
        let same = |partial: &&Partial| {
            !data.begins
                && (partial.stream, partial.unordered) == (data.stream, data.unordered)
                && (data.unordered || partial.number == data.ssn)
        };
        self.partial.as_ref().filter(same).map_or(0, |partial| partial.bytes)
    }

    pub(super) fn see(&mut self, stream: u16) {
        self.streams.entry(stream).or_default();
    }

    /// Notes that a data channel is opened on a stream.
    pub(super) fn open(&mut self, stream: u16) {
        self.streams.entry(stream).or_default().open = true;
    }

    pub(super) fn strays(&self) -> usize {
        self.strays
    }

    /// Accounts for a FORWARD-TSN, which skips all up to `cumulative`, and these messages, of 4 bytes each (RFC 3758
    /// §3.2).
    pub(super) fn forward(&mut self, cumulative: u32, streams: &[u8]) {
        if self.forwarded.is_none_or(|forwarded| after(cumulative, forwarded)) {
            self.forwarded = Some(cumulative);
        }
        self.stuck_unordered = 0;
        for entry in streams.chunks_exact(4) {
            let stream = u16::from_be_bytes([entry[0], entry[1]]);
            let number = u16::from_be_bytes([entry[2], entry[3]]);
            match self.streams.get_mut(&stream).map(|stream| &mut stream.next) {
                None => {}
                // The engine puts it off until the stream has been read, which never happens.
                Some(Next::Never(_)) => self.stuck += SKIP,
                Some(Next::Number(wanted)) => {
                    if number.wrapping_sub(*wanted) < HALF {
                        *wanted = number.wrapping_add(1);
                    }
                    if self.skipped.len() < MOST_SKIPPED {
                        self.skipped.push((stream, number));
                    }
                }
            }
        }
    }

    /// Returns whether a reset still waits for missing chunks.
    pub(super) fn waits_for(&self, missing: u32) -> bool {
        self.resets.len() >= MOST_RESETS
            || self.resets.iter().any(|(behind, _)| !after(missing, *behind))
    }

    /// Notes that the peer resets streams after this TSN.
    pub(super) fn reset(&mut self, behind: u32, streams: Vec<u16>) {
        self.resets.push_back((behind, streams));
        self.apply_resets(self.last);
    }

    /// Accounts for the next chunk in the order of TSNs.
    pub(super) fn push(&mut self, held: &Held) {
        let data = held.data;
        self.reach(data.tsn.wrapping_sub(1));
        self.last = data.tsn;
        self.see(data.stream);
        let cost = CHUNK + usize::from(held.packet);
        let goes_on = self.partial.as_ref().is_some_and(|partial| {
            !data.begins && partial.stream == data.stream && partial.unordered == data.unordered
        });
        if !goes_on {
            self.tear();
            if !data.begins {
                let skipped = self.is_skipped(data.tsn, data.stream, data.ssn, data.unordered);
                match (skipped, data.unordered) {
                    (true, _) => {}
                    (false, true) => self.stuck_unordered += cost,
                    (false, false) => self.stuck += cost,
                }
                return;
            }
        }
        let partial = self.partial.get_or_insert(Partial {
            stream: data.stream,
            number: data.ssn,
            unordered: data.unordered,
            cost: 0,
            bytes: 0,
        });
        partial.cost += cost;
        partial.bytes += usize::from(data.length);
        if data.ends {
            self.look(data.stream, data.content);
        }
        if data.ends
            && let Some(message) = self.partial.take()
            && !message.unordered
            && !self.is_in_order(data.stream, data.ssn)
        {
            self.stuck += message.cost;
        }
    }

    /// Counts messages that str0m writes into the log.
    fn look(&mut self, stream: u16, content: Content) {
        let stream = self.streams.entry(stream).or_default();
        let fits = match content {
            Content::Message | Content::Ack => stream.open,
            Content::Open => !std::mem::replace(&mut stream.open, true),
            Content::Other => false,
        };
        // An honest peer has no invalid openings; messages may come when a channel is declared late.
        let weight = if content == Content::Message { 1 } else { BROKEN };
        self.strays += if fits { 0 } else { weight };
    }

    fn is_in_order(&mut self, stream: u16, number: u16) -> bool {
        let next = &mut self.streams.entry(stream).or_default().next;
        match *next {
            Next::Number(wanted) if wanted == number => {
                *next = Next::Number(number.wrapping_add(1));
                true
            }
            // It is read at once, or dropped.
            Next::Number(wanted) if wanted.wrapping_sub(number) < HALF => true,
            Next::Number(_) => {
                *next = Next::Never(number);
                false
            }
            Next::Never(latest) => {
                if number.wrapping_sub(latest) < HALF {
                    *next = Next::Never(number);
                }
                false
            }
        }
    }

    /// Returns whether the engine drops this, if it is part of an incomplete message.
    fn is_skipped(&self, tsn: u32, stream: u16, number: u16, unordered: bool) -> bool {
        let covered = self.forwarded.is_some_and(|forwarded| !after(tsn, forwarded));
        let named = |(one, last): &(u16, u16)| *one == stream && last.wrapping_sub(number) < HALF;
        covered && (unordered || self.skipped.iter().any(named))
    }

    /// Notes that everything up to this TSN has come, or was skipped.
    pub(super) fn reach(&mut self, tsn: u32) {
        if self.last != tsn {
            self.tear();
            self.last = tsn;
        }
        self.apply_resets(tsn);
    }

    fn apply_resets(&mut self, tsn: u32) {
        while let Some((behind, _)) = self.resets.front()
            && !after(*behind, tsn)
            && let Some((_, streams)) = self.resets.pop_front()
        {
            self.apply_reset(&streams);
        }
    }

    /// Notes that the rest of the partial message does not come.
    fn tear(&mut self) {
        if let Some(partial) = self.partial.take()
            && !self.is_skipped(self.last, partial.stream, partial.number, partial.unordered)
        {
            if partial.unordered {
                self.stuck_unordered += partial.cost;
            } else {
                self.stuck += partial.cost;
                self.streams.entry(partial.stream).or_default().next = Next::Never(partial.number);
            }
        }
    }

    /// Resets streams. A stream in which something is stuck stays stuck.
    fn apply_reset(&mut self, streams: &[u16]) {
        let hit = |stream: &u16| streams.is_empty() || streams.contains(stream);
        if self.partial.as_ref().is_some_and(|partial| hit(&partial.stream)) {
            self.tear();
        }
        let stuck = &mut self.stuck;
        self.streams.retain(|id, stream| {
            let stays = matches!(stream.next, Next::Never(_));
            if stays && hit(id) {
                *stuck += SKIP;
                stream.open = false;
            }
            stays || !hit(id)
        });
    }

    /// Compares the account with the used part of the window. Returns what is stuck, in bytes.
    pub(super) fn settle(&mut self, unread: usize) -> usize {
        if self.forwarded.is_some_and(|forwarded| !after(forwarded, self.last)) {
            self.forwarded = None;
            self.skipped = Vec::new();
        }
        // Everything has been read, also what this account counts as kept.
        if unread == 0 && self.stuck + self.stuck_unordered > 0 {
            (self.stuck, self.stuck_unordered) = (0, 0);
            for stream in self.streams.values_mut() {
                if let Next::Never(latest) = stream.next {
                    stream.next = Next::Number(latest.wrapping_add(1));
                }
            }
        }
        let partial = self.partial.as_ref().map_or(0, |partial| partial.cost);
        self.stuck + self.stuck_unordered + partial
    }
}

/// Memory that the engine needs to remember a skip or reset of a stream, in bytes.
const SKIP: usize = 64;
/// Messages as which an unreadable message of DCEP counts.
const BROKEN: usize = 16;
/// Most skipped streams: they fit into one packet.
const MOST_SKIPPED: usize = 512;
/// Most resets that can be performed between two acknowledgements.
const MOST_RESETS: usize = 64;
/// Serial number arithmetic (RFC 1982) of 16 bits.
const HALF: u16 = 1 << 15;
