//! Checker of what a media room sends, for all tests that receive RTP: each stream must look to its receiver as if one
//! sender had made it, also where several flow in it. What is lost on the way is no fault.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::fmt::Debug;

/// Packet as its receiver sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    /// Sequence number without wraps.
    pub(crate) number: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: &'a [u8],
    pub(crate) coding: Coding,
}

/// What is in a stream at a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Each packet is a frame.
    Sound,
    Vp8,
    OtherPicture,
}

/// Checker of the streams to one receiver, which are told apart by keys.
#[derive(Debug)]
pub(crate) struct Egress<Key> {
    streams: BTreeMap<Key, Stream>,
    /// Section of each SSRC of the answers.
    sections: BTreeMap<u32, String>,
}

/// The latest packets of a stream, by their numbers.
#[derive(Debug, Default)]
struct Stream(BTreeMap<u64, Fact>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fact {
    timestamp: u32,
    marker: bool,
    coding: Coding,
    length: usize,
    picture: Option<Picture>,
}

/// Numbers of a VP8 picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Picture {
    id: u16,
    /// Number of different ids.
    range: u16,
    tl0: Option<u8>,
}

impl<Key: Ord + Clone + Debug> Egress<Key> {
    pub(crate) fn new() -> Self {
        Self { streams: BTreeMap::new(), sections: BTreeMap::new() }
    }

    /// Checks the SSRCs of an answer: no two sections have one in common, neither now nor one after the other.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(crate) fn answered(&mut self, sdp: &str) -> Result<(), String> {
        let mut section = String::new();
        for line in sdp.lines() {
            if let Some(mid) = line.strip_prefix("a=mid:") {
                mid.clone_into(&mut section);
            }
            let Some(rest) = line.strip_prefix("a=ssrc:") else { continue };
            let ssrc = rest.split(' ').next().and_then(|it| it.parse().ok());
            let ssrc: u32 = ssrc.ok_or_else(|| format!("{line:?} has no SSRC"))?;
            let before = self.sections.entry(ssrc).or_insert_with(|| section.clone());
            if *before != section {
                return Err(format!("SSRC {ssrc} is of section {before}, and of {section}"));
            }
        }
        Ok(())
    }

    /// Checks a packet beside those that have come of its stream.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(crate) fn check(&mut self, key: Key, seen: Seen<'_>) -> Result<(), String> {
        // Padding alone.
        if seen.payload.is_empty() {
            return Ok(());
        }
        let stream = self.streams.entry(key.clone()).or_default();
        stream.check(seen).map_err(|rule| format!("stream {key:?}: {rule}"))
    }
}

impl Stream {
    fn check(&mut self, seen: Seen<'_>) -> Result<(), String> {
        let Seen { number, timestamp, marker, payload, coding } = seen;
        let picture = if coding == Coding::Vp8 { Picture::of(payload)? } else { None };
        let fact = Fact { timestamp, marker, coding, length: payload.len(), picture };
        let Some((&highest, _)) = self.0.last_key_value() else {
            // RFC 3711 §3.3.1: a receiver could take a higher one for one after a wrap.
            if number >= LOWEST + REORDERED {
                return Err(format!("begins with number {number}"));
            }
            self.0.insert(number, fact);
            return Ok(());
        };
        if number.abs_diff(highest) > FAR {
            return Err(format!("number {number} after {highest}"));
        }
        if let Some(before) = self.0.insert(number, fact)
            && before != fact
        {
            return Err(format!("number {number} was {before:?}, and is {fact:?}"));
        }
        let before = self.0.range(..number).next_back().map(|(number, fact)| (*number, *fact));
        let after = self.0.range(number + 1..).next().map(|(number, fact)| (*number, *fact));
        let own = Some((number, fact));
        for (one, two) in [(before, own), (own, after)] {
            if let Some((one, two)) = one.zip(two) {
                follows(one, two).map_err(|rule| format!("{one:?}, {two:?}: {rule}"))?;
            }
        }
        while self.0.len() > KEPT {
            self.0.pop_first();
        }
        Ok(())
    }
}

/// Checks a packet and the next one that has come.
fn follows((number, one): (u64, Fact), (next, two): (u64, Fact)) -> Result<(), &'static str> {
    let (steps, later) = (next - number, two.timestamp.wrapping_sub(one.timestamp).cast_signed());
    if later < 0 {
        return Err("time goes back");
    }
    let is_sound = [one.coding, two.coding].contains(&Coding::Sound);
    if is_sound && later == 0 {
        return Err("two frames of sound have one time");
    }
    if !is_sound && steps == 1 && one.marker == (later == 0) {
        return Err("the marker is not at the end of a frame");
    }
    if let Some((one, two)) = one.picture.zip(two.picture)
        && one.range == two.range
    {
        let pictures = two.id.wrapping_sub(one.id) & (one.range - 1);
        if (pictures == 0) != (later == 0) {
            return Err("a frame has one picture id, and no other has it");
        }
        if u64::from(pictures) > steps {
            return Err("the picture ids jump");
        }
        if let Some((one, two)) = one.tl0.zip(two.tl0) {
            let layers = two.wrapping_sub(one);
            if u64::from(layers) > steps || (later == 0 && layers > 0) {
                return Err("the TL0PICIDX jumps");
            }
        }
    }
    Ok(())
}

impl Picture {
    /// Reads the descriptor of a payload (RFC 7741 §4.2).
    fn of(payload: &[u8]) -> Result<Option<Self>, String> {
        let cut = || format!("a VP8 descriptor is cut short: {payload:?}");
        if payload[0] & 0x80 == 0 {
            return Ok(None);
        }
        let mut rest = payload[1..].iter().copied();
        let fields = rest.next().ok_or_else(cut)?;
        if fields & 0x80 == 0 {
            return Ok(None);
        }
        let high = rest.next().ok_or_else(cut)?;
        let (id, range) = match high & 0x80 {
            0 => (high.into(), 1 << 7),
            _ => (u16::from_be_bytes([high & 0x7f, rest.next().ok_or_else(cut)?]), 1 << 15),
        };
        let tl0 = if fields & 0x40 == 0 { None } else { Some(rest.next().ok_or_else(cut)?) };
        Ok(Some(Self { id, range, tl0 }))
    }
}

/// A stream begins below this number.
const LOWEST: u64 = 1 << 15;
/// By how many packets one may be late.
const REORDERED: u64 = 512;
/// Distance of numbers that no stream jumps over, and no packet is late by.
const FAR: u64 = 1 << 12;
/// Packets of a stream that are remembered.
const KEPT: usize = 1 << 11;
