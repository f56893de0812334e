//! Guard in front of the engine's SCTP: bounds what a peer can make it keep, and drops packets that it would only log.
//!
//! sctp-proto counts against the window that it advertises what its streams cannot read yet, but neither what lies
//! behind a missing TSN (RFC 9260 §6.2), nor the memory of a chunk beside its payload. The guard sees packets between
//! DTLS and the engine, in both directions: it derives what the engine holds from what the engine has acknowledged.

mod order;
mod packet;

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use callboard_ice_handshake::handshake::{DataFilter, Filtered};

use self::order::Reassembly;
use self::packet::{Chunk, Content, Data, Init, Kind, ResetRequest};

/// Violation by a peer's SCTP: no honest peer does it, and it cannot be survived in bounded memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SctpViolation {
    /// Messages, or parts of them, that can never be completed or put in order fill the receive buffer.
    #[error("the peer sends messages that can never be completed")]
    UnfinishedMessages,
    /// The peer uses more streams than twice the data channels that may be open.
    #[error("the peer uses too many streams")]
    TooManyStreams,
    /// The peer resets streams, and does not answer that this side has reset them too (RFC 6525 §5.2.2).
    #[error("the peer does not answer resets of streams")]
    UnansweredResets,
    /// The peer sends hundreds of messages on streams without a data channel (RFC 8832).
    #[error("the peer sends messages without a data channel")]
    NoDataChannel,
    /// The peer sends a message larger than `a=max-message-size` of this side (RFC 8841 §6).
    #[error("the peer sends a message larger than is taken")]
    MessageTooLarge,
    /// The engine has given the association up, and the peer has not: messages that can never be completed have filled
    /// the receive window, or the peer broke the protocol in another way.
    #[error("the association with the peer was lost")]
    AssociationLost,
}

/// Report of the guard, for the session.
#[derive(Debug, Default)]
pub(crate) struct SctpReport {
    violation: OnceLock<SctpViolation>,
    dropped: AtomicU64,
    /// Whether the peer has ended the association, or DTLS.
    goodbye: AtomicBool,
    /// Streams of data channels that this side has declared without DCEP.
    declared: Mutex<HashSet<u16>>,
}

impl SctpReport {
    pub(crate) fn violation(&self) -> Option<SctpViolation> {
        self.violation.get().copied()
    }

    /// Notes that the engine has ended the association: by itself, if the peer has not closed it.
    pub(crate) fn engine_ended(&self) {
        if !self.goodbye.load(Ordering::Relaxed) {
            _ = self.violation.set(SctpViolation::AssociationLost);
        }
    }

    /// Notes that a data channel is declared on this stream.
    pub(crate) fn declare(&self, stream: u16) {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner).insert(stream);
    }

    fn take_declared(&self) -> HashSet<u16> {
        std::mem::take(&mut *self.declared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns how many packets, or chunks of them, were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Guard of one association.
#[derive(Debug)]
pub(crate) struct SctpGuard {
    report: Arc<SctpReport>,
    most_streams: usize,
    /// Largest message that is accepted, in bytes.
    largest_message: usize,
    /// Whether this side has sent an INIT.
    client: bool,
    /// The peer's INIT, or its INIT ACK.
    peer: Option<Init>,
    /// Number of INITs that were let through.
    inits: u8,
    /// Whether this side has answered a cookie, or taken data.
    established: bool,
    /// Receive window that this side has advertised at first, in bytes.
    window: u32,
    /// Last TSN that this side has acknowledged together with all before it.
    cumulative: u32,
    /// First TSN that is missing, as far as is known before the next acknowledgement.
    missing: u32,
    /// Chunks after `cumulative` that were let through, in order.
    held: VecDeque<Held>,
    /// Memory that they take, in bytes.
    held_cost: usize,
    /// Bytes of payload in them.
    held_bytes: usize,
    /// Number of runs of consecutive chunks: a SACK names each.
    runs: usize,
    reassembly: Reassembly,
    /// Resets of this side that the peer has not answered, with their numbers of streams.
    unanswered: HashMap<u32, usize>,
    /// Number of streams that the peer has reset, without those for which it has answered this side's reset.
    owed: usize,
    /// Number of the peer's next reset.
    next_reset: u32,
}

/// Chunk that the engine keeps.
#[derive(Debug, Clone, Copy)]
struct Held {
    data: Data,
    /// Bytes of the packet that it came in, which is kept with it.
    packet: u16,
    cost: u16,
}

impl SctpGuard {
    /// Creates the guard of an association with at most this many data channels, and messages of at most this many
    /// bytes.
    pub(crate) fn new(most_channels: usize, largest_message: usize) -> (Self, Arc<SctpReport>) {
        let report: Arc<SctpReport> = Arc::default();
        let guard = Self {
            report: Arc::clone(&report),
            most_streams: 2 * most_channels + 256,
            largest_message,
            client: false,
            peer: None,
            inits: 0,
            established: false,
            window: SMALLEST_WINDOW,
            cumulative: 0,
            missing: 0,
            held: VecDeque::new(),
            held_cost: 0,
            held_bytes: 0,
            runs: 0,
            reassembly: Reassembly::default(),
            unanswered: HashMap::new(),
            owed: 0,
            next_reset: 0,
        };
        (guard, report)
    }

    fn inspect(&mut self, packet: &[u8]) -> Filtered {
        let (mut count, mut last) = (0, 0);
        for chunk in packet::chunks(packet) {
            match chunk {
                Ok(chunk) if self.may_come(&chunk.kind, packet) => {
                    count += 1;
                    if matches!(chunk.kind, Kind::Data(_)) {
                        last = chunk.range.start;
                    }
                }
                _ => return Filtered::Drop,
            }
        }
        let mut kept: Vec<Range<usize>> = Vec::with_capacity(count);
        for chunk in packet::chunks(packet).flatten() {
            if self.take(&chunk, packet.len(), last) {
                kept.push(chunk.range);
            }
        }
        if self.reassembly.streams() > self.most_streams {
            self.end(SctpViolation::TooManyStreams);
        }
        match kept.len() {
            _ if self.report.violation().is_some() => Filtered::Drop,
            0 => Filtered::Drop,
            all if all == count => Filtered::Pass,
            _ => Filtered::Replace(packet::rebuild(packet, &kept)),
        }
    }

    /// Returns whether the engine can use a packet with this chunk.
    fn may_come(&mut self, kind: &Kind<'_>, packet: &[u8]) -> bool {
        match kind {
            // The engine would create a new association for each tag, and end the old one (RFC 9260 §5.2). As a client
            // it does not answer INITs.
            Kind::Init(init) => {
                let known = self.peer.is_none_or(|peer| peer == *init);
                let taken = known
                    && !self.client
                    && !self.established
                    && packet::tag(packet) == 0
                    && self.inits < MOST_INITS;
                if taken {
                    self.inits += 1;
                    self.meet(*init);
                }
                taken
            }
            Kind::InitAck(init) => {
                let taken = self.client && self.peer.is_none();
                if taken {
                    self.meet(*init);
                }
                taken
            }
            Kind::Data(_) | Kind::Reconfig(_) => self.peer.is_some(),
            Kind::ForwardTsn { .. } => self.peer.is_some_and(|peer| peer.forward_tsn),
            Kind::Sack { .. } | Kind::CookieAck | Kind::Goodbye | Kind::Other => true,
        }
    }

    fn meet(&mut self, peer: Init) {
        if self.peer.is_none() {
            self.peer = Some(peer);
            self.cumulative = peer.tsn.wrapping_sub(1);
            self.missing = peer.tsn;
            self.next_reset = peer.tsn;
            self.reassembly.begin(self.cumulative);
        }
    }

    /// Accounts for a chunk. Returns whether it goes on to the engine.
    fn take(&mut self, chunk: &Chunk<'_>, packet: usize, last: usize) -> bool {
        match &chunk.kind {
            Kind::Data(data) => return self.take_data(*data, packet, last == chunk.range.start),
            // An outdated one skips nothing (RFC 3758 §3.6).
            Kind::ForwardTsn { cumulative, streams } if !after(self.missing, *cumulative) => {
                self.reassembly.forward(*cumulative, streams);
            }
            Kind::Reconfig(reconfig) => {
                for request in reconfig.requests.iter().flatten() {
                    self.answered(request.answers);
                    self.reset(request);
                }
                for (number, result) in reconfig.responses.iter().flatten() {
                    if *result != IN_PROGRESS {
                        self.answered(*number);
                    }
                }
            }
            Kind::CookieAck => self.established = true,
            Kind::Goodbye => self.report.goodbye.store(true, Ordering::Relaxed),
            _ => {}
        }
        true
    }

    fn answered(&mut self, number: u32) {
        if let Some(streams) = self.unanswered.remove(&number) {
            self.owed = self.owed.saturating_sub(streams);
        }
    }

    /// Accounts for a reset. The engine performs one reset after the other, each once it has all data before it (RFC
    /// 6525 §5.2.2).
    fn reset(&mut self, request: &ResetRequest<'_>) {
        if request.number == self.next_reset && !self.reassembly.waits_for(self.missing) {
            self.next_reset = self.next_reset.wrapping_add(1);
            let streams = request.streams.chunks_exact(2);
            let streams: Vec<_> = streams.map(|id| u16::from_be_bytes([id[0], id[1]])).collect();
            // The engine resets them as well, one request after the other: the next waits for the answer to the one
            // before.
            self.owed += self.reassembly.known(&streams);
            if self.owed > self.most_streams {
                self.end(SctpViolation::UnansweredResets);
            }
            self.reassembly.reset(request.last_tsn, streams);
        }
    }

    fn take_data(&mut self, data: Data, packet: usize, last: bool) -> bool {
        self.established = true;
        if !after(data.tsn, self.cumulative) {
            return true;
        }
        let at = self.held.partition_point(|held| after(data.tsn, held.data.tsn));
        if self.held.get(at).is_some_and(|held| held.data.tsn == data.tsn) {
            return true;
        }
        // The packet is kept for as long as any chunk of it is kept.
        let whole = last || !(data.begins && data.ends);
        let cost = CHUNK + usize::from(data.length) + if whole { packet } else { 0 };
        let fills = data.tsn == self.missing;
        let beside = |held: Option<&Held>, distance: u32| {
            held.is_some_and(|held| held.data.tsn.wrapping_add(distance) == data.tsn)
        };
        let before = beside(at.checked_sub(1).and_then(|at| self.held.get(at)), 1);
        let behind = beside(self.held.get(at), u32::MAX);
        let runs = self.runs + 1 - usize::from(before) - usize::from(behind);
        let room = self.held_cost + cost <= self.window as usize
            && runs <= MOST_RUNS
            && data.tsn.wrapping_sub(self.cumulative) <= FARTHEST;
        if !fills && !room {
            return false;
        }
        if self.completes_too_much(&data, at) {
            self.end(SctpViolation::MessageTooLarge);
            return false;
        }
        let saturated = |size: usize| u16::try_from(size).unwrap_or(u16::MAX);
        self.held.insert(at, Held { data, packet: saturated(packet), cost: saturated(cost) });
        self.held_cost += usize::from(saturated(cost));
        self.held_bytes += usize::from(data.length);
        self.runs = runs;
        self.reassembly.see(data.stream);
        if fills {
            let behind = self.held.range(at..);
            let run = behind
                .zip(0_u32..)
                .take_while(|(held, number)| held.data.tsn == data.tsn.wrapping_add(*number));
            self.missing = data.tsn.wrapping_add(run.count() as u32);
        }
        true
    }

    /// Returns whether this chunk, at this place among the held ones, makes a message larger than is accepted.
    fn completes_too_much(&self, data: &Data, at: usize) -> bool {
        let partial = self.reassembly.partial(data);
        let length = usize::from(data.length);
        if partial + self.held_bytes + length <= self.largest_message {
            return false;
        }
        let (mut size, mut first, mut begun) = (length, data.tsn, data.begins);
        for Held { data: before, .. } in self.held.range(..at).rev() {
            if begun
                || before.tsn.wrapping_add(1) != first
                || before.ends
                || !before.is_beside(data)
            {
                break;
            }
            (size, first, begun) = (size + usize::from(before.length), before.tsn, before.begins);
        }
        if !begun && first == self.cumulative.wrapping_add(1) {
            size += partial;
        }
        let (mut last, mut ended) = (data.tsn, data.ends);
        for Held { data: behind, .. } in self.held.range(at..) {
            if ended
                || last.wrapping_add(1) != behind.tsn
                || behind.begins
                || !behind.is_beside(data)
            {
                break;
            }
            (size, last, ended) = (size + usize::from(behind.length), behind.tsn, behind.ends);
        }
        size > self.largest_message
    }

    /// Accounts for an acknowledgement of this side, with the room that it advertises.
    fn acknowledged(&mut self, cumulative: u32, window: u32) {
        if after(cumulative, self.cumulative) {
            for stream in self.report.take_declared() {
                self.reassembly.open(stream);
            }
            while let Some(held) = self.held.front()
                && !after(held.data.tsn, cumulative)
            {
                self.held_cost -= usize::from(held.cost);
                self.held_bytes -= usize::from(held.data.length);
                self.reassembly.push(held);
                self.held.pop_front();
            }
            self.reassembly.reach(cumulative);
            let followed =
                |(one, next): (&Held, &Held)| one.data.tsn.wrapping_add(1) == next.data.tsn;
            let pairs = self.held.iter().zip(self.held.iter().skip(1));
            self.runs = self.held.len() - pairs.filter(|pair| followed(*pair)).count();
            self.cumulative = cumulative;
            if self.held.is_empty() && self.held.capacity() > KEPT {
                self.held = VecDeque::new();
            }
        }
        let run = self
            .held
            .iter()
            .zip(1_u32..)
            .take_while(|(held, number)| held.data.tsn == cumulative.wrapping_add(*number));
        self.missing = self.cumulative.wrapping_add(1 + run.count() as u32);
        let unread = self.window.saturating_sub(window) as usize;
        let stuck = self.reassembly.settle(unread);
        if stuck > STUCK * self.window as usize {
            self.end(SctpViolation::UnfinishedMessages);
        }
        if self.reassembly.strays() > MOST_STRAYS {
            self.end(SctpViolation::NoDataChannel);
        }
    }

    fn end(&self, violation: SctpViolation) {
        _ = self.report.violation.set(violation);
    }
}

impl DataFilter for SctpGuard {
    fn incoming(&mut self, packet: &[u8]) -> Filtered {
        let filtered = match self.report.violation() {
            None => self.inspect(packet),
            Some(_) => Filtered::Drop,
        };
        if !matches!(filtered, Filtered::Pass) {
            self.report.dropped.fetch_add(1, Ordering::Relaxed);
        }
        filtered
    }

    fn closed_by_peer(&mut self) {
        self.report.goodbye.store(true, Ordering::Relaxed);
    }

    fn outgoing(&mut self, packet: &[u8]) {
        for chunk in packet::chunks(packet).flatten() {
            match chunk.kind {
                Kind::Init(init) => {
                    self.window = init.window;
                    // What came before was not answered.
                    (self.client, self.peer) = (true, None);
                }
                Kind::InitAck(init) => self.window = init.window,
                Kind::CookieAck => self.established = true,
                Kind::Data(data) if data.content == Content::Open => {
                    self.reassembly.open(data.stream);
                }
                Kind::Sack { cumulative, window } if self.peer.is_some() => {
                    self.acknowledged(cumulative, window);
                }
                Kind::Reconfig(reconfig) => {
                    for request in reconfig.requests.iter().flatten() {
                        let streams = match request.streams.len() / 2 {
                            0 => self.reassembly.streams(),
                            some => some,
                        };
                        self.unanswered.insert(request.number, streams);
                    }
                    if self.unanswered.len() > self.most_streams {
                        self.end(SctpViolation::UnansweredResets);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Returns whether a number comes after another, in serial number arithmetic (RFC 1982).
fn after(one: u32, other: u32) -> bool {
    one != other && one.wrapping_sub(other) < 1 << 31
}

/// Memory that the engine needs for a chunk beside its payload and packet, in bytes: it is in a map and a stream's
/// queue.
const CHUNK: usize = 256;
/// Smallest window in bytes: the engine's without larger messages.
const SMALLEST_WINDOW: u32 = 1 << 20;
/// Farthest TSN that a SACK can report (RFC 9260 §3.3.4).
const FARTHEST: u32 = 0xffff;
/// Most runs that a SACK names, in 1 KiB: a longer one does not fit into a datagram.
const MOST_RUNS: usize = 250;
/// Limit of what may be stuck in the engine's streams, in windows: twice the largest message of honest peers, in small
/// fragments.
const STUCK: usize = 4;
/// Most messages for a channel that this side declares late, or has closed.
const MOST_STRAYS: usize = 256;
/// Most INITs: one is repeated 8 times (RFC 9260 §16).
const MOST_INITS: u8 = 9;
/// Number of chunks for which memory is kept.
const KEPT: usize = 64;
/// Result "in progress" of RFC 6525 §4.4.
const IN_PROGRESS: u32 = 6;

#[cfg(test)]
mod tests;
