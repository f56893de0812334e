//! Datagrams that do not belong to a connection, or look as if they did.

use std::net::UdpSocket;

use crate::attacker::Attacker;

/// Creates a datagram; the attacker knows what the connection's peer knows.
type Make = fn(&mut fastrand::Rng, &mut Attacker) -> Vec<u8>;

/// Kinds of datagrams by the first byte (RFC 7983 §7).
pub(crate) const KINDS: [(&str, Make); 7] = [
    ("bytes", |random, _| noise(random, 0..1_400)),
    ("STUN that cannot be read", |random, _| {
        let mut stun = noise(random, 0..200);
        let head = [random.u8(..4), random.u8(..), 0, random.u8(..), 0x21, 0x12, 0xa4, 0x42];
        stun.splice(..stun.len().min(8), head);
        stun
    }),
    ("STUN of a stranger", |random, _| stun(random, "some:body")),
    ("STUN with a wrong integrity", |random, attacker| {
        let user = attacker.username();
        stun(random, &user)
    }),
    ("DTLS", |random, _| {
        // From ChangeCipherSpec to CID records, and the unified headers of 1.3.
        let kind = if random.bool() { random.u8(20..27) } else { random.u8(32..64) };
        let mut record = vec![kind, 254, random.u8(252..), 0, random.u8(..2)];
        record.extend(noise(random, 6..7));
        let body = noise(random, 0..300);
        let length = if random.bool() { body.len() as u16 } else { random.u16(..) };
        [record, length.to_be_bytes().to_vec(), body].concat()
    }),
    ("RTP", |random, _| {
        let mut rtp = noise(random, 2..1_200);
        rtp[0] = 0x80 | random.u8(..64);
        // Payload types that are not RTCP's (RFC 5761 §4).
        rtp[1] = [0, 8, 9, 96, 111, 127, 255][random.usize(..7)];
        rtp
    }),
    ("RTCP", |random, _| {
        let mut rtcp = noise(random, 4..300);
        rtcp[0] = 0x80 | random.u8(..64);
        rtcp[1] = random.u8(192..224);
        let words = (rtcp.len() / 4 - 1) as u16;
        let length = if random.bool() { words } else { random.u16(..) };
        rtcp[2..4].copy_from_slice(&length.to_be_bytes());
        rtcp
    }),
];

/// Sends 1,000 datagrams of a kind, no faster than the other side takes them.
pub(crate) fn throw(attacker: &mut Attacker, make: Make, by_stranger: bool) {
    let mut random = fastrand::Rng::with_seed(29);
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a port");
    for _ in 0..40 {
        for _ in 0..25 {
            let datagram = make(&mut random, attacker);
            attacker.throw(&datagram, by_stranger.then_some(&stranger));
        }
        attacker.rest();
    }
}

fn noise(random: &mut fastrand::Rng, sizes: std::ops::Range<usize>) -> Vec<u8> {
    let size = random.usize(sizes);
    std::iter::repeat_with(|| random.u8(..)).take(size).collect()
}

/// Returns a binding request or response of this user, with a wrong integrity and a wrong fingerprint (RFC 8489 §5,
/// §14).
fn stun(random: &mut fastrand::Rng, user: &str) -> Vec<u8> {
    let mut attributes = attribute(0x0006, user.as_bytes());
    attributes.extend(attribute(0x0008, &noise(random, 20..21)));
    if random.bool() {
        attributes.extend(attribute(0x8028, &noise(random, 4..5)));
    }
    let mut stun = vec![random.u8(..2), 1];
    stun.extend((attributes.len() as u16).to_be_bytes());
    stun.extend([0x21, 0x12, 0xa4, 0x42]);
    stun.extend(noise(random, 12..13));
    stun.extend(attributes);
    stun
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = kind.to_be_bytes().to_vec();
    attribute.extend((value.len() as u16).to_be_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}
