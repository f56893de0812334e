//! Sources of RTP (SSRCs) for which the engine may have streams: bounded, since it makes one of 3 KiB for each that a
//! description names or a packet brings, before the packet is authenticated, and keeps it as long as the connection.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::{Engine, convert};

/// Sources of the peer, with the latest time at which a description named them, or a packet came from them.
#[derive(Debug, Default)]
pub(super) struct Sources(HashMap<u32, Instant>);

/// Decision about a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Taken,
    /// The source is taken, and the engine must forget this one.
    InPlaceOf(u32),
    Refused,
}

impl Sources {
    fn admit(&mut self, source: u32, now: Instant, limit: usize) -> Admission {
        if let Some(at) = self.0.get_mut(&source) {
            *at = now.max(*at);
            return Admission::Taken;
        }
        let mut admission = Admission::Taken;
        if self.0.len() >= limit {
            let longest_silent = self.0.iter().min_by_key(|(_, at)| **at);
            match longest_silent.map(|(source, at)| (*source, *at)) {
                Some((silent, at)) if now.saturating_duration_since(at) >= SILENCE => {
                    self.0.remove(&silent);
                    admission = Admission::InPlaceOf(silent);
                }
                _ => return Admission::Refused,
            }
        }
        self.0.insert(source, now);
        admission
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Engine {
    /// Makes room for the sources of a description, and removes the lines of those for which there is none. Their
    /// packets are identified by the mids in them.
    pub(super) fn admit_sources<'a>(&mut self, now: Instant, description: &'a str) -> Cow<'a, str> {
        let all = description.lines().flat_map(named_sources);
        let refused: HashSet<u32> = all.filter(|source| !self.admit_source(now, *source)).collect();
        if refused.is_empty() {
            return Cow::Borrowed(description);
        }
        let keep = |line: &&str| !named_sources(line).any(|source| refused.contains(&source));
        description.split_inclusive('\n').filter(keep).collect()
    }

    /// Returns whether a datagram may go to the engine: if it is RTP, its source must have room.
    pub(super) fn admit_datagram(&mut self, now: Instant, datagram: &[u8]) -> bool {
        source_of(datagram).is_none_or(|source| self.admit_source(now, source))
    }

    fn admit_source(&mut self, now: Instant, source: u32) -> bool {
        let sections = self.recipe.api.settings.max_sections;
        let limit = SOURCES.max(sections.saturating_mul(SOURCES_OF_SECTION));
        match self.sources.admit(source, now, limit) {
            Admission::Taken => true,
            Admission::InPlaceOf(silent) => {
                self.forget_stream(silent.into());
                true
            }
            Admission::Refused => false,
        }
    }

    fn forget_stream(&mut self, source: str0m::rtp::Ssrc) {
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_rx(&source) else { return };
        let (mid, rid) = (stream.mid(), stream.rid().and_then(convert::rid));
        api.remove_stream_rx(source);
        if let Some(transceiver) = self.transceivers.get(&mid) {
            self.measured.inbound.remove(&(*transceiver, rid));
            self.measured.frames_received.remove(&(*transceiver, rid));
        }
    }

    /// Returns whether there is a stream of this source.
    #[cfg(test)]
    pub(crate) fn has_stream_of(&mut self, source: u32) -> bool {
        self.rtc.direct_api().stream_rx(&source.into()).is_some()
    }
}

/// Returns the sources that a line names: `a=ssrc:` one (RFC 5576 §4.1), `a=ssrc-group:` several (§4.2).
fn named_sources(line: &str) -> impl Iterator<Item = u32> {
    let one = line.strip_prefix("a=ssrc:").map(|line| (line, 0, 1));
    let group = line.strip_prefix("a=ssrc-group:").map(|line| (line, 1, usize::MAX));
    one.or(group).into_iter().flat_map(|(line, skip, take)| {
        line.split_ascii_whitespace().skip(skip).take(take).filter_map(|word| word.parse().ok())
    })
}

/// Returns the source of an RTP packet (RFC 3550 §5.1); none for other datagrams (RFC 7983 §7, RFC 5761 §4).
fn source_of(datagram: &[u8]) -> Option<u32> {
    let [first, second, ..] = datagram else { return None };
    let is_rtp = (128..192).contains(first) && !(64..96).contains(&(second & 0x7f));
    let source = datagram.get(8..12).filter(|_| is_rtp)?;
    source.try_into().ok().map(u32::from_be_bytes)
}

/// Most sources at once: streams of 1.7 MiB.
const SOURCES: usize = 512;
/// Sources for each section, where more sections are allowed: three encodings with their retransmissions.
const SOURCES_OF_SECTION: usize = 6;
/// Time without a packet, and without a description that names it, after which a source makes room for another.
const SILENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from")]
mod tests {
    use super::*;

    #[test]
    fn the_source_that_was_silent_for_longest_makes_room() {
        let now = Instant::now();
        let mut sources = Sources::default();
        let mut admit =
            |source, seconds| sources.admit(source, now + Duration::from_secs(seconds), 2);

        assert_eq!(admit(1, 0), Admission::Taken);
        assert_eq!(admit(2, 1), Admission::Taken);
        assert_eq!(admit(3, 2), Admission::Refused);
        assert_eq!(admit(1, 30), Admission::Taken);
        assert_eq!(admit(3, 60), Admission::Refused, "the other was heard 59 s ago");
        assert_eq!(admit(3, 61), Admission::InPlaceOf(2));
        assert_eq!(admit(2, 62), Admission::Refused);
        assert_eq!(admit(1, 62), Admission::Taken);
    }

    #[test]
    fn sources_are_found_in_lines_and_packets() {
        let named = |line| named_sources(line).collect::<Vec<_>>();
        assert_eq!(named("a=ssrc:7 cname:8 9"), [7]);
        assert_eq!(named("a=ssrc-group:FID 7 8\r\n"), [7, 8]);
        assert!(named("a=ssrc-groups:FID 7").is_empty());
        assert!(named("a=mid:7").is_empty());

        let packet = [0x90, 0xe0, 0, 1, 0, 0, 0, 2, 0, 0, 1, 2, 3];
        assert_eq!(source_of(&packet), Some(258));
        let rtcp = [0x80, 200, 0, 1, 0, 0, 0, 2, 0, 0, 1, 2];
        assert_eq!(source_of(&rtcp), None);
        assert_eq!(source_of(&packet[..11]), None);
        assert_eq!(source_of(&[22; 20]), None);
    }
}
