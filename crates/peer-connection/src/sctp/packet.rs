//! Strict parser of SCTP packets (RFC 9260 §3), as far as the guard must understand them.
//!
//! It refuses packets that sctp-proto would refuse, and packets that sctp-proto would read differently from their
//! length fields: chunks that the guard has not seen must not get to the engine.

use std::ops::Range;

/// Chunk of a packet, and its range in the packet, padding included.
#[derive(Debug, Clone)]
pub(super) struct Chunk<'a> {
    pub(super) range: Range<usize>,
    pub(super) kind: Kind<'a>,
}

#[derive(Debug, Clone)]
pub(super) enum Kind<'a> {
    Data(Data),
    Init(Init),
    InitAck(Init),
    Sack {
        cumulative: u32,
        window: u32,
    },
    /// FORWARD-TSN (RFC 3758 §3.2); the streams that it skips, of 4 bytes each.
    ForwardTsn {
        cumulative: u32,
        streams: &'a [u8],
    },
    Reconfig(Reconfig<'a>),
    CookieAck,
    /// The sender ends the association: ABORT, SHUTDOWN and what follows it, or ERROR, which sctp-proto takes for that.
    Goodbye,
    Other,
}

/// DATA chunk (RFC 9260 §3.3.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Data {
    pub(super) tsn: u32,
    pub(super) stream: u16,
    pub(super) ssn: u16,
    pub(super) begins: bool,
    pub(super) ends: bool,
    pub(super) unordered: bool,
    /// Bytes of its payload.
    pub(super) length: u16,
    pub(super) content: Content,
}

impl Data {
    /// Returns whether both belong to one message, if they follow each other.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        (self.stream, self.unordered) == (other.stream, other.unordered)
            && (self.unordered || self.ssn == other.ssn)
    }
}

/// Purpose of a message (RFC 8832).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Message,
    /// DATA_CHANNEL_OPEN
    Open,
    /// DATA_CHANNEL_ACK
    Ack,
    /// Another message of DCEP, or one in several chunks.
    Other,
}

/// INIT or INIT ACK (RFC 9260 §3.3.2, §3.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Init {
    pub(super) tag: u32,
    pub(super) window: u32,
    pub(super) tsn: u32,
    /// Whether the sender knows FORWARD-TSN (RFC 5061 §4.2.7).
    pub(super) forward_tsn: bool,
}

/// RE-CONFIG chunk, with up to two parameters (RFC 6525 §3.1).
#[derive(Debug, Clone, Default)]
pub(super) struct Reconfig<'a> {
    pub(super) requests: [Option<ResetRequest<'a>>; 2],
    /// Request numbers and results.
    pub(super) responses: [Option<(u32, u32)>; 2],
}

/// Outgoing SSN Reset Request (RFC 6525 §4.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct ResetRequest<'a> {
    pub(super) number: u32,
    /// Request of the other side that it also answers.
    pub(super) answers: u32,
    /// Last TSN that was sent before it.
    pub(super) last_tsn: u32,
    /// Streams of 2 bytes each; empty for all.
    pub(super) streams: &'a [u8],
}

/// Error of a packet that is malformed, or that the engine does not take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Returns the chunks of a packet, up to the first that is malformed.
pub(super) fn chunks(packet: &[u8]) -> Chunks<'_> {
    Chunks {
        packet,
        at: HEADER,
        failed: packet.len() < HEADER + CHUNK_HEADER || !has_ports(packet),
    }
}

fn has_ports(packet: &[u8]) -> bool {
    packet[..2] != [0, 0] && packet[2..4] != [0, 0]
}

/// Returns the verification tag (RFC 9260 §3.1).
pub(super) fn tag(packet: &[u8]) -> u32 {
    be32(packet, 4)
}

/// Returns the packet with only these parts, and a new checksum (RFC 9260 §6.8).
pub(super) fn rebuild(packet: &[u8], kept: &[Range<usize>]) -> Vec<u8> {
    let mut rebuilt = packet[..HEADER].to_vec();
    kept.iter().for_each(|range| rebuilt.extend_from_slice(&packet[range.clone()]));
    seal(&mut rebuilt);
    rebuilt
}

/// Writes the checksum of a packet into it.
pub(super) fn seal(packet: &mut [u8]) {
    packet[8..HEADER].fill(0);
    let sum = packet.iter().fold(u32::MAX, |sum, byte| {
        CRC32C[((sum ^ u32::from(*byte)) & 0xff) as usize] ^ (sum >> 8)
    });
    packet[8..HEADER].copy_from_slice(&(!sum).to_le_bytes());
}

pub(super) struct Chunks<'a> {
    packet: &'a [u8],
    at: usize,
    failed: bool,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<Chunk<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if std::mem::take(&mut self.failed) {
            self.at = self.packet.len();
            return Some(Err(Malformed));
        }
        if self.at == self.packet.len() {
            return None;
        }
        let chunk = self.parse();
        match &chunk {
            Some(chunk) => self.at = chunk.range.end,
            None => self.at = self.packet.len(),
        }
        Some(chunk.ok_or(Malformed))
    }
}

impl<'a> Chunks<'a> {
    fn parse(&self) -> Option<Chunk<'a>> {
        let rest = &self.packet[self.at..];
        let (&[kind, flags, high, low], _) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value = rest.get(CHUNK_HEADER..length)?;
        let padded = length.next_multiple_of(4);
        let padding = rest.get(length..padded)?;
        if padded == rest.len() && padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        let kind = parse_value(kind, flags, value)?;
        if matches!(kind, Kind::Init(_) | Kind::InitAck(_))
            && (self.at != HEADER || padded != rest.len())
        {
            return None;
        }
        Some(Chunk { range: self.at..self.at + padded, kind })
    }
}

fn parse_value(kind: u8, flags: u8, value: &[u8]) -> Option<Kind<'_>> {
    let length = value.len();
    Some(match kind {
        0 if length >= 12 => Kind::Data(Data {
            tsn: be32(value, 0),
            stream: be16(value, 4),
            ssn: be16(value, 6),
            begins: flags & 2 != 0,
            ends: flags & 1 != 0,
            unordered: flags & 4 != 0,
            length: u16::try_from(length - 12).ok()?,
            content: content(be32(value, 8), flags, &value[12..]),
        }),
        1 => Kind::Init(init(value)?),
        2 => Kind::InitAck(init(value)?),
        3 if length >= 12 => {
            let lists = usize::from(be16(value, 8)) + usize::from(be16(value, 10));
            if length != 12 + 4 * lists {
                return None;
            }
            Kind::Sack { cumulative: be32(value, 0), window: be32(value, 4) }
        }
        4 => {
            let (kind, parameter) = parameter(value)?;
            (kind == 1 && (CHUNK_HEADER + parameter.len()).next_multiple_of(4) >= length)
                .then_some(Kind::Other)?
        }
        6 | 9 => causes(value).then_some(Kind::Goodbye)?,
        7 if length == 4 => Kind::Goodbye,
        8 | 14 if length == 0 => Kind::Goodbye,
        10 => Kind::Other,
        11 if length == 0 => Kind::CookieAck,
        130 => Kind::Reconfig(reconfig(value)?),
        192 if length >= 4 && length.is_multiple_of(4) => {
            Kind::ForwardTsn { cumulative: be32(value, 0), streams: &value[4..] }
        }
        // sctp-proto drops chunks that it does not know together with their packet.
        _ => return None,
    })
}

fn content(protocol: u32, flags: u8, payload: &[u8]) -> Content {
    match payload {
        _ if protocol != DCEP => Content::Message,
        _ if flags & 3 != 3 => Content::Other,
        [2, ..] => Content::Ack,
        [3, ..] if payload.len() >= 12 => {
            let (label, protocol) = (usize::from(be16(payload, 8)), usize::from(be16(payload, 10)));
            let named = |range| payload.get(range).is_some_and(|name| str::from_utf8(name).is_ok());
            let (label, protocol) = (12..12 + label, 12 + label..12 + label + protocol);
            if named(label) && named(protocol) { Content::Open } else { Content::Other }
        }
        _ => Content::Other,
    }
}

fn init(value: &[u8]) -> Option<Init> {
    let mut init = Init {
        tag: be32(value.get(..16)?, 0),
        window: be32(value, 4),
        tsn: be32(value, 12),
        forward_tsn: false,
    };
    let mut rest = &value[16..];
    while rest.len() >= CHUNK_HEADER {
        let (kind, parameter) = parameter(rest)?;
        init.forward_tsn |= kind == 0x8008 && parameter.contains(&192);
        let length = (CHUNK_HEADER + parameter.len()).next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
    }
    Some(init)
}

fn reconfig(value: &[u8]) -> Option<Reconfig<'_>> {
    let mut all = Reconfig::default();
    let mut rest = value;
    for at in 0..2 {
        let (kind, parameter) = parameter(rest)?;
        match kind {
            13 if parameter.len() >= 12 && parameter.len().is_multiple_of(2) => {
                all.requests[at] = Some(ResetRequest {
                    number: be32(parameter, 0),
                    answers: be32(parameter, 4),
                    last_tsn: be32(parameter, 8),
                    streams: &parameter[12..],
                });
            }
            16 if parameter.len() == 8 => {
                all.responses[at] = Some((be32(parameter, 0), be32(parameter, 4)));
            }
            _ => return None,
        }
        let length = (CHUNK_HEADER + parameter.len()).next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
        if rest.is_empty() {
            return Some(all);
        }
    }
    None
}

/// Returns type and value of a parameter (RFC 9260 §3.2.1).
fn parameter(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let length = usize::from(be16(bytes.get(..4)?, 2));
    Some((be16(bytes, 0), bytes.get(CHUNK_HEADER..length)?))
}

/// Returns whether error causes (RFC 9260 §3.3.10) fill their chunk.
fn causes(value: &[u8]) -> bool {
    let mut rest = value;
    while rest.len() >= CHUNK_HEADER {
        let length = usize::from(be16(rest, 2));
        if length < CHUNK_HEADER || length > rest.len() {
            return false;
        }
        rest = &rest[length..];
    }
    (value.len() - rest.len()).next_multiple_of(4) == value.len().next_multiple_of(4)
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Table of the polynomial of RFC 9260 Appendix A, reflected.
const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut sum, mut bit) = (at as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { 0x82f6_3b78 ^ (sum >> 1) } else { sum >> 1 };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
};

const HEADER: usize = 12;
/// Payload protocol identifier of DCEP (RFC 8832 §8.1).
const DCEP: u32 = 50;
const CHUNK_HEADER: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(packet: &[u8]) -> Result<Vec<Kind<'_>>, Malformed> {
        chunks(packet).map(|chunk| chunk.map(|chunk| chunk.kind)).collect()
    }

    fn packet(chunks: &[&[u8]]) -> Vec<u8> {
        let mut packet = vec![0x13, 0x88, 0x13, 0x88, 0, 0, 0, 7, 0, 0, 0, 0];
        for chunk in chunks {
            packet.extend_from_slice(chunk);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        packet
    }

    #[test]
    fn the_check_sequence_is_that_of_castagnoli() {
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(b"123456789");
        let sum = bytes[12..].iter().fold(u32::MAX, |sum, byte| {
            CRC32C[((sum ^ u32::from(*byte)) & 0xff) as usize] ^ (sum >> 8)
        });
        assert_eq!(!sum, 0xe306_9283);
    }

    #[test]
    fn data_is_read_with_its_flags() {
        let chunk = [0, 6, 0, 17, 0, 0, 0, 9, 0, 2, 0, 3, 0, 0, 0, 51, b'x'];
        let packet = packet(&[&chunk]);
        let all = parse(&packet).unwrap();
        let [Kind::Data(data)] = all[..] else { panic!("{all:?}") };
        assert_eq!((data.tsn, data.stream, data.ssn, data.length), (9, 2, 3, 1));
        assert!(data.begins && !data.ends && data.unordered);
    }

    #[test]
    fn what_the_engine_would_read_in_another_way_is_refused() {
        let data = [0, 3, 0, 17, 0, 0, 0, 9, 0, 2, 0, 3, 0, 0, 0, 51, b'x'];
        let hidden = [&[3, 0, 0, 36, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0][..], &data, &[0; 3]];
        for chunk in [
            &hidden.concat()[..],
            &[0, 3, 0, 15, 0, 0, 0, 9, 0, 2, 0, 3, 0, 0, 0],
            &[192, 0, 0, 10, 0, 0, 0, 9, 0, 0],
            &[130, 0, 0, 8, 0, 14, 0, 4],
            &[5, 0, 0, 4],
            &[4, 0, 0, 8, 0, 2, 0, 4],
            &[9, 0, 0, 10, 0, 1, 0, 9, 0, 0],
            &[0, 3, 0, 0],
        ] {
            let packet = packet(&[chunk]);
            assert_eq!(parse(&packet).unwrap_err(), Malformed, "{chunk:?}");
        }
        assert!(parse(&packet(&[])).is_err());
        assert!(parse(&[0; 40]).is_err());
    }
}
