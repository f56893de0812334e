//! Classes of datagrams, and the fields of STUN messages by which they are routed.

/// Class of a datagram by its first byte (RFC 7983 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 7983's ranges")]
pub enum PacketClass {
    /// 0–3: STUN.
    Stun,
    /// 16–19: ZRTP.
    Zrtp,
    /// 20–63: DTLS.
    Dtls,
    /// 64–79: TURN channel data.
    TurnChannel,
    /// 128–191: RTP and RTCP.
    Rtp,
    /// Anything else: payloads of an application that protects them by itself, or not at all.
    Other,
}

impl PacketClass {
    /// Returns the class of a datagram.
    pub fn of(datagram: &[u8]) -> Self {
        match datagram.first().copied().unwrap_or(u8::MAX) {
            0..=3 => Self::Stun,
            16..=19 => Self::Zrtp,
            20..=63 => Self::Dtls,
            64..=79 => Self::TurnChannel,
            128..=191 => Self::Rtp,
            _ => Self::Other,
        }
    }
}

/// STUN message (RFC 8489 §5): its header, and its attributes unparsed. Nothing is verified here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stun<'a> {
    /// Class of the message.
    pub class: StunClass,
    /// Transaction id.
    pub transaction: [u8; 12],
    attributes: &'a [u8],
}

/// Class of a STUN message (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 8489's")]
pub enum StunClass {
    /// A request.
    Request,
    /// Success or error response.
    Response,
    /// Message that expects no response.
    Indication,
}

impl<'a> Stun<'a> {
    /// Parses the header of a datagram. Returns `None` if it is no STUN message of RFC 5389 or later.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (header, attributes) = datagram.split_at_checked(HEADER)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] & 0b1100_0000 != 0
            || length != attributes.len()
            || length % 4 != 0
            || header[4..8] != MAGIC_COOKIE
        {
            return None;
        }
        let transaction = header[8..20].try_into().ok()?;
        let class = match (header[0] & 1, header[1] & 0x10) {
            (0, 0) => StunClass::Request,
            (0, _) => StunClass::Indication,
            (_, _) => StunClass::Response,
        };
        Some(Self { class, transaction, attributes })
    }

    /// Returns the left part of the user name (RFC 8489 §14.3): in a request, the user fragment of the agent to which
    /// it is sent (RFC 8445 §7.2.2). `None` without one.
    pub fn ufrag(&self) -> Option<&'a str> {
        let mut attributes = self.attributes;
        while let [kind_high, kind_low, length_high, length_low, rest @ ..] = attributes {
            let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
            let value = rest.get(..length)?;
            if [*kind_high, *kind_low] == USERNAME {
                let name = std::str::from_utf8(value).ok()?;
                return Some(name.split_once(':').map_or(name, |(left, _)| left));
            }
            // Values are padded to a multiple of four bytes.
            attributes = rest.get(length.next_multiple_of(4)..)?;
        }
        None
    }
}

/// Length of the header in bytes: type, length, magic cookie, transaction id.
const HEADER: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const USERNAME: [u8; 2] = [0x00, 0x06];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_tells_the_class() {
        use PacketClass::*;
        let expected = |byte: u8| match byte {
            0..=3 => Stun,
            16..=19 => Zrtp,
            20..=63 => Dtls,
            64..=79 => TurnChannel,
            128..=191 => Rtp,
            _ => Other,
        };
        for byte in 0..=255 {
            assert_eq!(PacketClass::of(&[byte]), expected(byte), "{byte}");
        }
        assert_eq!(PacketClass::of(&[]), Other);
    }

    #[test]
    fn what_is_cut_short_or_not_of_stun_is_not_stun() {
        let request = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        assert!(Stun::parse(&request).is_some());
        for end in 0..request.len() {
            assert_eq!(Stun::parse(&request[..end]), None);
        }
        let mut other_cookie = request;
        other_cookie[4] = 0;
        assert_eq!(Stun::parse(&other_cookie), None);
    }
}
