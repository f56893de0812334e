//! Layers of one published track: which exist, what each costs, and which no viewer wants.
//!
//! A layer is a simulcast encoding (by its place in the publisher's offer; one without simulcast) up to one of its
//! temporal layers.

mod rate;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::allocate::{Layer, Wish};
use rate::Rate;

/// Layers of one track.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    encodings: Vec<Encoding>,
    /// Last packet of any encoding, and since when there was no silence between packets.
    heard: Option<Heard>,
    outputs: VecDeque<Output>,
}

/// Facts on a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Place of its encoding in the publisher's offer.
    pub(crate) encoding: usize,
    /// Its temporal layer; 0 without temporal layers.
    pub(crate) temporal: u8,
    /// Its size on the wire.
    pub(crate) bytes: usize,
    /// Whether it is the last of its frame.
    pub(crate) ends_frame: bool,
    /// Height of its picture in pixels, which key frames tell.
    pub(crate) height: Option<u32>,
}

/// Change of the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// This encoding is heard, for the first time or again.
    Appeared { encoding: usize },
    /// This encoding is silent while the track goes on: its viewers fall to another.
    Gone { encoding: usize },
    /// Tell the publisher which encodings [are wanted](Layers::is_wanted).
    WantedChanged,
}

/// What stays true of an encoding when its measurement begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// In pixels, if it is known.
    pub(crate) height: Option<u32>,
    /// Whether the publisher is to send it.
    pub(crate) is_wanted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    since: Instant,
    last: Instant,
}

/// Simulcast encoding.
#[derive(Clone, Debug)]
struct Encoding {
    /// Since when it exists; none if it does not.
    since: Option<Instant>,
    /// Its last packet.
    last: Option<Instant>,
    rate: Rate,
    /// Latest height; it stays known while the encoding is silent.
    height: Option<u32>,
    is_wanted: bool,
    /// Since when no viewer wants it.
    unwanted_since: Option<Instant>,
}

impl Layers {
    /// Creates the layers of a track with so many encodings. None was heard yet; all are wanted.
    pub(crate) fn new(encodings: usize) -> Self {
        let encoding = Encoding {
            since: None,
            last: None,
            rate: Rate::default(),
            height: None,
            is_wanted: true,
            unwanted_since: None,
        };
        Self { encodings: vec![encoding; encodings], heard: None, outputs: VecDeque::new() }
    }

    /// Creates the layers of a track from what is known of them. None was heard yet.
    pub(crate) fn resume(known: impl Iterator<Item = Known>) -> Self {
        let known: Vec<_> = known.collect();
        let mut layers = Self::new(known.len());
        for (encoding, Known { height, is_wanted }) in layers.encodings.iter_mut().zip(known) {
            (encoding.height, encoding.is_wanted) = (height, is_wanted);
        }
        layers
    }

    /// Returns what is known of each encoding.
    pub(crate) fn known(&self) -> impl Iterator<Item = Known> {
        self.encodings.iter().map(|it| Known { height: it.height, is_wanted: it.is_wanted })
    }

    /// Handles a packet of the publisher. One of an encoding that was not offered is ignored.
    pub(crate) fn handle_packet(&mut self, now: Instant, packet: Packet) {
        let Some(encoding) = self.encodings.get_mut(packet.encoding) else { return };
        encoding.rate.add(now, packet.temporal, packet.bytes, packet.ends_frame);
        encoding.height = packet.height.or(encoding.height);
        encoding.last = Some(now);
        if encoding.since.is_none() {
            encoding.since = Some(now);
            self.outputs.push_back(Output::Appeared { encoding: packet.encoding });
        }
        let since = self.heard.filter(|heard| now < heard.last + SILENCE).map(|heard| heard.since);
        self.heard = Some(Heard { since: since.unwrap_or(now), last: now });
    }

    /// Handles the wishes of all viewers of the track. Encodings above what any of them needs are unwanted; those below
    /// stay wanted, because viewers fall to them, and the lowest also without viewers: the next one begins with it.
    pub(crate) fn handle_wishes(&mut self, now: Instant, wishes: impl IntoIterator<Item = Wish>) {
        let order = self.order(|_| true);
        let wishes = wishes.into_iter().filter(|wish| !wish.pause);
        let wanted = wishes.map(|wish| self.needed(&order, wish) + 1).max().unwrap_or(1);
        let mut has_changed = false;
        for (place, &index) in order.iter().enumerate() {
            let encoding = &mut self.encodings[index];
            if place < wanted {
                encoding.unwanted_since = None;
                has_changed |= !std::mem::replace(&mut encoding.is_wanted, true);
            } else {
                encoding.unwanted_since.get_or_insert(now);
            }
        }
        if has_changed {
            self.outputs.push_back(Output::WantedChanged);
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due, after any packet or wish anew.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.encodings
            .iter()
            .flat_map(|encoding| [self.gone_at(encoding), encoding.unwanted_at()])
            .flatten()
            .min()
    }

    /// Finds encodings that are gone or that no viewer wants any more.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let mut has_changed = false;
        for index in 0..self.encodings.len() {
            if self.gone_at(&self.encodings[index]).is_some_and(|at| at <= now) {
                self.encodings[index].since = None;
                self.outputs.push_back(Output::Gone { encoding: index });
            }
            let encoding = &mut self.encodings[index];
            if encoding.unwanted_at().is_some_and(|at| at <= now) {
                encoding.is_wanted = false;
                has_changed = true;
            }
        }
        if has_changed {
            self.outputs.push_back(Output::WantedChanged);
        }
    }

    /// Returns the next output, until there is none.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns whether the publisher is to send this encoding.
    pub(crate) fn is_wanted(&self, encoding: usize) -> bool {
        self.encodings.get(encoding).is_some_and(|encoding| encoding.is_wanted)
    }

    /// Returns the height of an encoding in pixels, if it is known.
    pub(crate) fn height(&self, encoding: usize) -> Option<u32> {
        self.encodings.get(encoding)?.height
    }

    /// Fills `layers` with those that exist, in ascending quality: encodings by height if all tell theirs, and by
    /// their place in the offer otherwise; temporal layers within.
    pub(crate) fn list(&self, layers: &mut Vec<Layer>) {
        layers.clear();
        for index in self.order(|encoding| encoding.since.is_some()) {
            let encoding = &self.encodings[index];
            layers.extend(encoding.rate.temporal_layers().map(|rate| Layer {
                encoding: index,
                temporal: rate.temporal,
                bitrate: rate.bitrate,
                height: encoding.height,
                fps: Some(rate.fps),
            }));
        }
    }

    /// Returns the indices of some encodings in ascending quality.
    fn order(&self, is_meant: impl Fn(&Encoding) -> bool) -> Vec<usize> {
        let encodings = self.encodings.iter().enumerate();
        let mut order: Vec<_> =
            encodings.filter(|(_, encoding)| is_meant(encoding)).map(|(index, _)| index).collect();
        if order.iter().all(|&index| self.encodings[index].height.is_some()) {
            order.sort_by_key(|&index| self.encodings[index].height);
        }
        order
    }

    /// Returns the place in this order of the encoding that a wish needs: the lowest that reaches its height.
    fn needed(&self, order: &[usize], wish: Wish) -> usize {
        let reaches = |&index: &usize| {
            let height = self.encodings[index].height;
            height.zip(wish.height).is_some_and(|(has, wish)| has >= wish)
        };
        order.iter().position(reaches).unwrap_or(order.len().saturating_sub(1))
    }

    /// Returns when an encoding is gone, if nothing more is heard than until now.
    ///
    /// A publisher that is silent altogether, or whose screen does not move, has lost no layer. Thus others must have
    /// been heard all the time, and lately; or again and again for long.
    fn gone_at(&self, encoding: &Encoding) -> Option<Instant> {
        encoding.since?;
        let (heard, own) = (self.heard?, encoding.last?);
        if heard.last >= own + LONG_SILENCE {
            return Some(own + LONG_SILENCE);
        }
        let at = own.max(heard.since) + SILENCE;
        (heard.last > own && heard.last + LATELY >= at).then_some(at)
    }
}

impl Encoding {
    fn unwanted_at(&self) -> Option<Instant> {
        self.unwanted_since.filter(|_| self.is_wanted).map(|since| since + UNWANTED)
    }
}

/// Silence after which an encoding is gone while others are heard.
const SILENCE: Duration = Duration::from_millis(500);

/// How long ago another must have been heard at that time: a stall of the whole track is none of one encoding.
const LATELY: Duration = Duration::from_millis(250);

/// Silence after which an encoding is gone though others are heard now and then only, as those of a still screen.
const LONG_SILENCE: Duration = Duration::from_secs(3);

/// Time after which the publisher is told that no viewer wants an encoding.
const UNWANTED: Duration = Duration::from_secs(5);

/// Bytes of a packet beside its payload: IPv4, UDP, RTP with the usual extensions, and the tag of SRTP.
pub(crate) const OVERHEAD: usize = 20 + 8 + 12 + 16 + 16;
