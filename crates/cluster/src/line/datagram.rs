//! Binary format of a line's datagrams.
//!
//! All numbers are big-endian. Each datagram begins with 18 bytes: the version of the format (1), the kind, the line id
//! of the sender, that of the receiver (0 if it is not known).
//!
//! | kind | what follows |
//! |---|---|
//! | 1 hello | process (16), lowest and highest protocol (1, 1), greatest number received (8) |
//! | 2 frame | number (8), acknowledged (8), length of the service's name (1), name, body |
//! | 3 ack | acknowledged (8), least number beyond the first gap, or 0 (8), flags (1), stamp (8), echo (8) |
//! | 4 close | nothing |
//!
//! What follows these is ignored, but in a frame: later versions may say more.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;
use uuid::Uuid;

/// Datagram of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    /// Line id of the sender.
    pub(crate) from: u64,
    /// Line id of the receiver; 0 if it is not known.
    pub(crate) to: u64,
    pub(crate) kind: Kind,
}

/// What a datagram says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Opens a line, or answers that.
    Hello(Hello),
    Frame(Frame),
    Ack(Ack),
    /// The sender does not have this line, or no longer.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) process: Uuid,
    /// Lowest and highest version of the protocol that the process speaks.
    pub(crate) protocol: (u8, u8),
    /// Greatest number up to which all frames of the line were received.
    pub(crate) have: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Number of the frame in its line and direction, from 1.
    pub(crate) number: u64,
    /// Number up to which all frames of the other direction were received.
    pub(crate) ack: u64,
    pub(crate) service: Bytes,
    pub(crate) body: Bytes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) ack: u64,
    /// Least number that was received beyond the first gap; 0 if there is no gap.
    pub(crate) beyond: u64,
    /// The sender wants the line to stay open.
    pub(crate) kept: bool,
    /// Time of the sender in microseconds, to be echoed; 0 if it need not be.
    pub(crate) stamp: u64,
    /// Stamp of the receiver that is echoed; 0 if there is none.
    pub(crate) echo: u64,
}

/// Error of reading a datagram.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum DatagramError {
    #[error("it ends too early")]
    Short,
    #[error("version {0} of the format is not known")]
    Version(u8),
    #[error("kind {0} is not known")]
    Kind(u8),
    #[error("it is longer than a frame may be")]
    Long,
    #[error("a line id or number of it is 0")]
    Zero,
}

impl Datagram {
    pub(crate) fn encode(&self) -> Bytes {
        let body = match &self.kind {
            Kind::Frame(frame) => frame.service.len() + frame.body.len(),
            _ => 0,
        };
        let mut out = BytesMut::with_capacity(OVERHEAD + body);
        out.put_u8(VERSION);
        out.put_u8(self.kind.number());
        out.put_u64(self.from);
        out.put_u64(self.to);
        match &self.kind {
            Kind::Hello(Hello { process, protocol, have }) => {
                out.put_slice(process.as_bytes());
                out.put_u8(protocol.0);
                out.put_u8(protocol.1);
                out.put_u64(*have);
            }
            Kind::Frame(Frame { number, ack, service, body }) => {
                out.put_u64(*number);
                out.put_u64(*ack);
                out.put_u8(u8::try_from(service.len()).expect("names of services are short"));
                out.put_slice(service);
                out.put_slice(body);
            }
            Kind::Ack(Ack { ack, beyond, kept, stamp, echo }) => {
                out.put_u64(*ack);
                out.put_u64(*beyond);
                out.put_u8(u8::from(*kept));
                out.put_u64(*stamp);
                out.put_u64(*echo);
            }
            Kind::Close => {}
        }
        out.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, DatagramError> {
        let short = |_| DatagramError::Short;
        let version = bytes.try_get_u8().map_err(short)?;
        if version != VERSION {
            return Err(DatagramError::Version(version));
        }
        let kind = bytes.try_get_u8().map_err(short)?;
        let from = bytes.try_get_u64().map_err(short)?;
        let to = bytes.try_get_u64().map_err(short)?;
        let kind = match kind {
            HELLO => Kind::Hello(Hello {
                process: Uuid::from_u128(bytes.try_get_u128().map_err(short)?),
                protocol: (bytes.try_get_u8().map_err(short)?, bytes.try_get_u8().map_err(short)?),
                have: bytes.try_get_u64().map_err(short)?,
            }),
            FRAME => {
                let number = bytes.try_get_u64().map_err(short)?;
                let ack = bytes.try_get_u64().map_err(short)?;
                let service = usize::from(bytes.try_get_u8().map_err(short)?);
                if bytes.len() < service {
                    return Err(DatagramError::Short);
                }
                let service = bytes.split_to(service);
                if bytes.len() > MAX_BODY {
                    return Err(DatagramError::Long);
                }
                Kind::Frame(Frame { number, ack, service, body: bytes })
            }
            ACK => Kind::Ack(Ack {
                ack: bytes.try_get_u64().map_err(short)?,
                beyond: bytes.try_get_u64().map_err(short)?,
                kept: bytes.try_get_u8().map_err(short)? & KEPT != 0,
                stamp: bytes.try_get_u64().map_err(short)?,
                echo: bytes.try_get_u64().map_err(short)?,
            }),
            CLOSE => Kind::Close,
            other => return Err(DatagramError::Kind(other)),
        };
        let zero = match &kind {
            Kind::Hello(_) => from == 0,
            Kind::Frame(frame) => from == 0 || to == 0 || frame.number == 0,
            Kind::Ack(_) | Kind::Close => from == 0 || to == 0,
        };
        if zero { Err(DatagramError::Zero) } else { Ok(Self { from, to, kind }) }
    }
}

impl Kind {
    fn number(&self) -> u8 {
        match self {
            Self::Hello(_) => HELLO,
            Self::Frame(_) => FRAME,
            Self::Ack(_) => ACK,
            Self::Close => CLOSE,
        }
    }
}

/// Longest body of a frame, in bytes.
pub(crate) const MAX_BODY: usize = 256 * 1024;
/// Longest name of a service, in bytes.
pub(crate) const MAX_SERVICE: usize = 32;
/// Bytes of a datagram beside a frame's service and body, at most.
const OVERHEAD: usize = 64;

/// Version of the format.
const VERSION: u8 = 1;
const HELLO: u8 = 1;
const FRAME: u8 = 2;
const ACK: u8 = 3;
const CLOSE: u8 = 4;
const KEPT: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes as version 1 has them: they never change.
    fn golden() -> [(Datagram, &'static str); 4] {
        let process = Uuid::from_u128(0x6f1e_2b0a_3c7d_4f10_9b51_0a4d_e8f1_c001);
        let kinds = [
            (
                Kind::Hello(Hello { process, protocol: (1, 2), have: 5 }),
                "0101000000000000000700000000000000096f1e2b0a3c7d4f109b510a4de8f1c0010102\
                 0000000000000005",
            ),
            (
                Kind::Frame(Frame {
                    number: 3,
                    ack: 2,
                    service: Bytes::from_static(b"rooms"),
                    body: Bytes::from_static(b"hi"),
                }),
                "0102000000000000000700000000000000090000000000000003000000000000000205\
                 726f6f6d736869",
            ),
            (
                Kind::Ack(Ack { ack: 4, beyond: 8, kept: true, stamp: 16, echo: 32 }),
                "010300000000000000070000000000000009000000000000000400000000000000080100\
                 000000000000100000000000000020",
            ),
            (Kind::Close, "010400000000000000070000000000000009"),
        ];
        kinds.map(|(kind, hex)| (Datagram { from: 7, to: 9, kind }, hex))
    }

    fn bytes(hex: &str) -> Bytes {
        let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
        digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect::<Vec<_>>().into()
    }

    #[test]
    fn datagrams_are_written_and_read_as_they_were_by_the_first_version() {
        for (datagram, hex) in golden() {
            assert_eq!(datagram.encode(), bytes(hex), "{datagram:?}");
            assert_eq!(Datagram::decode(bytes(hex)), Ok(datagram));
        }
    }

    #[test]
    fn what_a_later_version_adds_is_ignored_but_in_a_frame() {
        for (datagram, hex) in golden() {
            let longer = Bytes::from([&bytes(hex)[..], b"more"].concat());
            let read = Datagram::decode(longer).unwrap();
            let same = !matches!(datagram.kind, Kind::Frame(_));
            assert_eq!(read == datagram, same, "{datagram:?}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for (datagram, hex) in golden() {
            let whole = bytes(hex);
            let head = match datagram.kind {
                Kind::Frame(_) => whole.len() - 2,
                _ => whole.len(),
            };
            for length in 0..head {
                let cut = Datagram::decode(whole.slice(..length));
                assert_eq!(cut, Err(DatagramError::Short), "{length} bytes of {datagram:?}");
            }
        }
        let close = bytes(golden()[3].1);
        let with = |at: usize, byte: u8| {
            let mut bytes = close.to_vec();
            bytes[at] = byte;
            Datagram::decode(bytes.into())
        };
        assert_eq!(with(0, 2), Err(DatagramError::Version(2)));
        assert_eq!(with(1, 9), Err(DatagramError::Kind(9)));
        assert_eq!(with(9, 0), Err(DatagramError::Zero));
        assert_eq!(with(17, 0), Err(DatagramError::Zero));
        let body = Bytes::from(vec![0; MAX_BODY + 1]);
        let frame = Frame { number: 1, ack: 0, service: Bytes::new(), body };
        let long = Datagram { from: 1, to: 2, kind: Kind::Frame(frame) };
        assert_eq!(Datagram::decode(long.encode()), Err(DatagramError::Long));
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(mut bytes: Vec<u8>, likely: bool, kind in 0..6_u8) {
            if likely && bytes.len() > 1 {
                (bytes[0], bytes[1]) = (VERSION, kind);
            }
            if let Ok(datagram) = Datagram::decode(bytes.into()) {
                let again = Datagram::decode(datagram.encode());
                prop_assert_eq!(again, Ok(datagram));
            }
        }
    }
}
