//! DTLS records as they are on the wire (RFC 6347 §4.1, RFC 9147 §4): parsed only as far as it takes to tell which side
//! has sent them. Everything here handles bytes from unknown senders.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::super::Role;
use super::{DtlsCounters, Version};

/// Returns the records of a datagram. Bytes that do not parse end the list.
pub(super) fn records(datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = match *rest.first()? {
            // RFC 9147 §4: the unified header of a protected record; only the peers know its length.
            0b0010_0000..=0b0011_1111 => rest.len(),
            _ => HEADER + usize::from(u16::from_be_bytes([*rest.get(11)?, *rest.get(12)?])),
        };
        let (record, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(Record(record))
    })
}

/// Returns the datagram without the records that are not protected as in DTLS 1.3 (RFC 9147 §4).
pub(super) fn protected(datagram: &[u8]) -> Cow<'_, [u8]> {
    let is_protected = |record: &&[u8]| matches!(record.first(), Some(32..=63));
    if records_13(datagram).all(|record| is_protected(&record)) {
        return Cow::Borrowed(datagram);
    }
    Cow::Owned(records_13(datagram).filter(is_protected).collect::<Vec<_>>().concat())
}

/// Returns the records of a datagram, also those after protected ones that contain their length. Bytes that do not
/// parse are the last item.
fn records_13(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let (long_number, has_length) = (first & 0b1000 != 0, first & 0b100 != 0);
        // We give out no connection ids: none comes.
        let header = match first {
            32..=63 if !has_length => None,
            32..=63 if long_number => Some(5),
            32..=63 => Some(4),
            _ => Some(HEADER),
        };
        let length = header.and_then(|header| {
            let &[high, low] = rest.get(header - 2..header)? else { return None };
            Some(header + usize::from(u16::from_be_bytes([high, low])))
        });
        let (record, after) = rest.split_at(length.unwrap_or(rest.len()).min(rest.len()));
        rest = after;
        Some(record)
    })
}

/// Returns whether a datagram is DTLS by its first byte (RFC 7983 §7).
pub(super) fn is_dtls(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20..=63))
}

/// Returns whether one of our packets carries an answer: a ServerHello that is no request for another hello.
pub(super) fn carry_answer(packets: &[Bytes]) -> bool {
    packets
        .iter()
        .flat_map(|packet| records(packet))
        .flat_map(Record::messages)
        .any(|message| message.is_answer())
}

/// Returns the datagram without alerts and acknowledgements that any sender could have sent. Returns `None` if nothing
/// is left, or if it contains a record that the peer's role cannot send: then the rest of it is not the peer's either.
pub(super) fn only_fitting(
    datagram: &[u8],
    ours: Role,
    counters: &mut DtlsCounters,
) -> Option<Bytes> {
    if !records(datagram).all(|record| record.fits(ours)) {
        counters.wrong_role += 1;
        return None;
    }
    let mut kept = Vec::with_capacity(datagram.len());
    for record in records(datagram) {
        if record.is_plain_notice() {
            counters.plain_alerts += 1;
        } else {
            kept.extend_from_slice(record.0);
        }
    }
    (!kept.is_empty()).then(|| kept.into())
}

/// One record, with its header.
#[derive(Clone, Copy)]
pub(super) struct Record<'a>(pub(super) &'a [u8]);

impl<'a> Record<'a> {
    /// Returns the content of a record that is not encrypted; `None` for one that is.
    fn plain(self, content_type: u8) -> Option<&'a [u8]> {
        let plain = self.0[0] == content_type && self.0.len() >= HEADER && self.0[3..5] == [0, 0];
        plain.then(|| &self.0[HEADER..])
    }

    /// Returns the range of the record's number, if the record is not encrypted.
    pub(super) fn plain_number(self) -> Option<Range<usize>> {
        let plain = self.0[0] < 32 && self.0.len() >= HEADER && self.0[3..5] == [0, 0];
        plain.then_some(5..11)
    }

    /// Returns whether it is an alert or an acknowledgement that any sender could have sent.
    pub(super) fn is_plain_notice(self) -> bool {
        self.plain(ALERT).or(self.plain(ACK)).is_some()
    }

    /// Returns whether it is encrypted as in DTLS of this version.
    pub(super) fn is_encrypted(self, version: Version) -> bool {
        match version {
            Version::Dtls12 => self.0[0] < 32 && self.0.len() >= HEADER && self.0[3..5] != [0, 0],
            Version::Dtls13 => matches!(self.0[0], 32..=63),
        }
    }

    /// Returns the handshake messages (or fragments of them) in it, if it is not encrypted.
    pub(super) fn messages(self) -> impl Iterator<Item = Message<'a>> {
        let mut rest = self.plain(HANDSHAKE).unwrap_or_default();
        std::iter::from_fn(move || {
            let header = rest.get(..MESSAGE_HEADER)?;
            let number = |at: usize| {
                usize::from(header[at]) << 16
                    | usize::from(header[at + 1]) << 8
                    | usize::from(header[at + 2])
            };
            let (length, offset, here) = (number(1), number(6), number(9));
            let body = rest.get(MESSAGE_HEADER..MESSAGE_HEADER + here)?;
            rest = &rest[MESSAGE_HEADER + here..];
            let sequence = u16::from_be_bytes([header[4], header[5]]);
            Some(Message { kind: header[0], length, sequence, offset, body })
        })
    }

    /// Returns whether the peer of this side could have sent it: an active side sends no ServerHello, a passive one no
    /// ClientHello. This drops what an attacker may have sent in the peer's name to spoil the handshake.
    pub(super) fn fits(self, ours: Role) -> bool {
        self.messages().all(|message| match ours {
            Role::Client => !matches!(
                message.kind,
                CLIENT_HELLO | END_OF_EARLY_DATA | CERTIFICATE_VERIFY | CLIENT_KEY_EXCHANGE
            ),
            Role::Server => !matches!(
                message.kind,
                HELLO_REQUEST
                    | SERVER_HELLO
                    | HELLO_VERIFY_REQUEST
                    | NEW_SESSION_TICKET
                    | HELLO_RETRY_REQUEST
                    | ENCRYPTED_EXTENSIONS
                    | SERVER_KEY_EXCHANGE
                    | CERTIFICATE_REQUEST
                    | SERVER_HELLO_DONE
            ),
        })
    }
}

/// Handshake message, or a fragment of one (RFC 6347 §4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u8,
    /// Length of the whole message.
    pub(super) length: usize,
    pub(super) sequence: u16,
    pub(super) offset: usize,
    /// Body, or the part of it that this fragment contains.
    pub(super) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Returns whether it asks for another ClientHello.
    pub(super) fn is_request(&self) -> bool {
        self.kind == HELLO_VERIFY_REQUEST || self.kind == SERVER_HELLO && !self.is_answer()
    }

    /// Returns whether it is the whole message.
    pub(super) fn is_whole(&self) -> bool {
        self.body.len() == self.length
    }

    /// Returns whether it is a ServerHello that continues a handshake, not one that asks for another ClientHello.
    pub(super) fn is_answer(&self) -> bool {
        self.kind == SERVER_HELLO
            && self.body.get(2..34).is_some_and(|random| random != HELLO_RETRY_RANDOM)
    }
}

/// Numbering of a side's records that are not encrypted. No number may come twice (RFC 6347 §4.1), or a peer that drops
/// replayed records drops the record. Engines do not know of each other, and dimpl repeats its first ClientHello
/// unchanged. These numbers are not signed.
#[derive(Default)]
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn number(&mut self, packets: &mut [Bytes]) {
        for packet in packets {
            let mut numbered = packet.to_vec();
            self.number_one(&mut numbered);
            *packet = numbered.into();
        }
    }

    pub(super) fn number_one(&mut self, packet: &mut [u8]) {
        let mut at = 0;
        loop {
            let first = records(&packet[at..]).next();
            let Some((length, number)) = first.map(|it| (it.0.len(), it.plain_number())) else {
                break;
            };
            if let Some(number) = number {
                packet[at + number.start..at + number.end]
                    .copy_from_slice(&self.0.to_be_bytes()[2..]);
                self.0 += 1;
            }
            at += length;
        }
    }
}

/// Returns a whole handshake message as it is hashed and signed (RFC 6347 §4.2.6).
pub(super) fn whole_message(kind: u8, sequence: u16, body: &[u8]) -> Vec<u8> {
    let length = &(body.len() as u32).to_be_bytes()[1..];
    let mut message = vec![kind];
    message.extend_from_slice(length);
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend_from_slice(&[0, 0, 0]);
    message.extend_from_slice(length);
    message.extend_from_slice(body);
    message
}

/// Returns a whole handshake message as a datagram of its own. Its record number does not matter: it is not checked for
/// records in the clear.
pub(super) fn as_datagram(kind: u8, sequence: u16, body: &[u8]) -> Bytes {
    let message = whole_message(kind, sequence, body);
    let mut datagram = vec![HANDSHAKE, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
    datagram[9..11].copy_from_slice(&sequence.to_be_bytes());
    datagram.extend_from_slice(&(message.len() as u16).to_be_bytes());
    datagram.extend_from_slice(&message);
    datagram.into()
}

/// Reads a number of two bytes.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])))
}

/// Length of a record's header in bytes: type, version, epoch, sequence number, length.
const HEADER: usize = 13;
/// Length of a message's header in bytes: type, length, sequence number, fragment offset, fragment length.
const MESSAGE_HEADER: usize = 12;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const ACK: u8 = 26;

/// ChangeCipherSpec record.
pub(super) const CHANGE_CIPHER_SPEC: [u8; 14] =
    [20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 1, 1];

/// Fatal alert in the clear: handshake_failure.
pub(super) const HANDSHAKE_FAILURE: [u8; 15] =
    [ALERT, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];

const HELLO_REQUEST: u8 = 0;
pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;
pub(super) const HELLO_VERIFY_REQUEST: u8 = 3;
const NEW_SESSION_TICKET: u8 = 4;
const END_OF_EARLY_DATA: u8 = 5;
const HELLO_RETRY_REQUEST: u8 = 6;
const ENCRYPTED_EXTENSIONS: u8 = 8;
pub(super) const CERTIFICATE: u8 = 11;
pub(super) const SERVER_KEY_EXCHANGE: u8 = 12;
pub(super) const CERTIFICATE_REQUEST: u8 = 13;
pub(super) const SERVER_HELLO_DONE: u8 = 14;
pub(super) const CERTIFICATE_VERIFY: u8 = 15;
pub(super) const CLIENT_KEY_EXCHANGE: u8 = 16;

/// Random of a ServerHello that is a HelloRetryRequest (RFC 8446 §4.1.3).
pub(super) const HELLO_RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn handshake(kind: u8, sequence: u16, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32).to_be_bytes();
        let mut packet = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 7];
        packet.extend_from_slice(&((12 + body.len()) as u16).to_be_bytes());
        packet.push(kind);
        packet.extend_from_slice(&length[1..]);
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0]);
        packet.extend_from_slice(&length[1..]);
        packet.extend_from_slice(body);
        packet
    }

    #[test]
    fn what_is_in_the_clear_is_found_behind_what_is_protected() {
        let hello = handshake(1, 0, b"hello");
        let long = [&[0b0010_1110, 1, 2, 0, 3][..], &[7; 3]].concat();
        let short = [&[0b0010_0110, 1, 0, 3][..], &[7; 3]].concat();
        let last = [0b0010_1011, 1, 2, 7, 7, 7];

        let all = [&long[..], &short, &last].concat();
        for sealed in [&long[..], &short, &last, &all, &[]] {
            assert!(matches!(protected(sealed), Cow::Borrowed(same) if same == sealed));
        }
        for before in [&[][..], &long, &short, &[&short[..], &long].concat()] {
            let datagram = [before, &hello, &hello, &all, &hello[..20]].concat();
            // The last record has no length: everything after it belongs to it.
            let kept = [before, &all, &hello[..20]].concat();
            assert_eq!(protected(&datagram), kept);
            assert_eq!(protected(&[before, &hello[..20]].concat()), before);
        }
    }

    #[test]
    fn records_of_one_datagram_are_told_apart() {
        let mut datagram = handshake(2, 0, &[7; 40]);
        datagram.extend(handshake(11, 1, b"certificate"));
        datagram.extend([21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40]);
        datagram.extend([0b0010_1111, 1, 2, 3]);

        let found: Vec<Record<'_>> = records(&datagram).collect();

        assert_eq!(found.len(), 4);
        assert!(found[0].messages().next().unwrap().is_answer());
        assert_eq!(found[1].messages().next().unwrap().body, b"certificate");
        assert!(found[2].is_plain_notice());
        assert!(found[3].is_encrypted(Version::Dtls13));
        assert_eq!(found[3].messages().count(), 0);
    }

    #[test]
    fn each_role_takes_only_what_the_other_sends() {
        for kind in [1, 16, 15] {
            let packet = handshake(kind, 0, &[0; 50]);
            let record = records(&packet).next().unwrap();
            assert!(!record.fits(Role::Client) && record.fits(Role::Server), "{kind}");
        }
        for kind in [0, 2, 3, 12, 13, 14] {
            let packet = handshake(kind, 0, &[0; 50]);
            let record = records(&packet).next().unwrap();
            assert!(record.fits(Role::Client) && !record.fits(Role::Server), "{kind}");
        }
        let certificate = handshake(11, 0, &[0; 50]);
        let record = records(&certificate).next().unwrap();
        assert!(record.fits(Role::Client) && record.fits(Role::Server));
    }

    proptest! {
        #[test]
        fn nothing_that_anyone_sends_is_a_panic(mut datagram: Vec<u8>, as_handshake: bool) {
            if as_handshake && datagram.len() > 13 {
                datagram[0] = 22;
                datagram[3..5].fill(0);
                let length = (datagram.len() - 13) as u16;
                datagram[11..13].copy_from_slice(&length.to_be_bytes());
            }
            for record in records(&datagram) {
                _ = (record.is_plain_notice(), record.fits(Role::Client), record.fits(Role::Server));
                for message in record.messages() {
                    _ = (message.is_request(), message.is_answer());
                }
            }
        }
    }
}
