//! Packets and chunks of SCTP (RFC 9260 §3), written and read by hand.

/// Returns a DATA chunk (RFC 9260 §3.3.1) with these flags: 1 ends, 2 begins, 4 unordered.
pub(crate) fn data(flags: u8, tsn: u32, stream: u16, ssn: u16, payload: &[u8]) -> Vec<u8> {
    message(53, flags, tsn, stream, ssn, payload)
}

/// Returns a DATA chunk of another payload protocol: 50 is DCEP (RFC 8832).
pub(crate) fn message(
    protocol: u32,
    flags: u8,
    tsn: u32,
    stream: u16,
    ssn: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    value.extend(stream.to_be_bytes());
    value.extend(ssn.to_be_bytes());
    value.extend(protocol.to_be_bytes());
    value.extend(payload);
    chunk(0, flags, &value)
}

/// Returns a HEARTBEAT of this size (RFC 9260 §3.3.5).
pub(crate) fn heartbeat(size: u16) -> Vec<u8> {
    let mut value = vec![0, 1];
    value.extend((size + 4).to_be_bytes());
    value.resize(usize::from(size) + 4, 7);
    chunk(4, 0, &value)
}

/// Returns a FORWARD-TSN (RFC 3758 §3.2).
pub(crate) fn forward_tsn(tsn: u32, skipped: &[(u16, u16)]) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    for (stream, ssn) in skipped {
        value.extend(stream.to_be_bytes());
        value.extend(ssn.to_be_bytes());
    }
    chunk(192, 0, &value)
}

/// Returns a RE-CONFIG with a request to reset a stream (RFC 6525 §4.1), which answers the other side's request as
/// well.
pub(crate) fn reset((number, answers): (u32, u32), last_tsn: u32, stream: u16) -> Vec<u8> {
    let mut value = vec![0, 13, 0, 18];
    value.extend(number.to_be_bytes());
    value.extend(answers.to_be_bytes());
    value.extend(last_tsn.to_be_bytes());
    value.extend(stream.to_be_bytes());
    chunk(130, 0, &value)
}

/// Returns a RE-CONFIG that reports a performed reset (RFC 6525 §4.4).
pub(crate) fn answer(number: u32) -> Vec<u8> {
    let mut value = vec![0, 16, 0, 12];
    value.extend(number.to_be_bytes());
    value.extend(1_u32.to_be_bytes());
    chunk(130, 0, &value)
}

/// Returns an INIT (RFC 9260 §3.3.2) in a packet of its own.
pub(crate) fn init(tag: u32) -> Vec<u8> {
    let mut value = tag.to_be_bytes().to_vec();
    value.extend([0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    value.extend(tag.to_be_bytes());
    packet(0, &[chunk(1, 0, &value)])
}

pub(crate) fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut chunk = vec![kind, flags];
    chunk.extend((value.len() as u16 + 4).to_be_bytes());
    chunk.extend(value);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

/// Replaces FORWARD-TSN in the chunk list of an INIT or INIT ACK by an unknown chunk type (RFC 5061 §4.2.7).
pub(crate) fn without_forward_tsn(packet: &mut [u8]) {
    let mut at = 32;
    while at + 4 <= packet.len() {
        let length = usize::from(be16(packet, at + 2));
        if be16(packet, at) == 0x8008 {
            let known = packet[at + 4..at + length].iter_mut().filter(|kind| **kind == 192);
            known.for_each(|kind| *kind = 200);
        }
        at += length.next_multiple_of(4);
    }
    seal(packet);
}

pub(crate) fn packet(tag: u32, chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = vec![0x13, 0x88, 0x13, 0x88];
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    chunks.iter().for_each(|chunk| packet.extend(chunk));
    seal(&mut packet);
    packet
}

/// Writes the checksum of a packet into it.
pub(crate) fn seal(packet: &mut [u8]) {
    packet[8..12].fill(0);
    let sum = crc32c(packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
}

pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { 0x82f6_3b78 ^ (sum >> 1) } else { sum >> 1 }
        })
    };
    !bytes.iter().fold(u32::MAX, byte)
}

pub(crate) fn chunks(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = packet.get(12..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
        let chunk = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(chunk)
    })
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}
