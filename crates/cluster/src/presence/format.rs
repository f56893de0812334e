//! Binary format of presence.
//!
//! All numbers are big-endian. Each datagram begins with 3 (which is none of a line's), the kind, the process (16
//! bytes) and a number of its changes (8).
//!
//! | kind | what follows |
//! |---|---|
//! | 1 joined: this is the change | id (8), entry |
//! | 2 left: this is the change | id (8) |
//! | 3 digest: this was the last change | nothing |
//! | 4 ask: all entries of this process are needed; the number is 0 | nothing |
//! | 5 snapshot: all entries after this change | part (2), parts (2), then id (8) and entry for each |
//!
//! An entry: length (1) and presence, length (2) and key, length (2) and meta.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

/// Entry of a presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) presence: Bytes,
    pub(crate) key: Bytes,
    pub(crate) meta: Bytes,
}

/// Datagram of a presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) process: Uuid,
    pub(crate) number: u64,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Change(Change),
    Digest,
    Ask,
    Snapshot { part: u16, parts: u16, entries: Vec<(u64, Entry)> },
}

/// Change of one process's entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Joined(u64, Entry),
    Left(u64),
}

impl Entry {
    /// Bytes that it takes, at most.
    pub(crate) fn size(&self) -> usize {
        self.presence.len() + self.key.len() + self.meta.len() + 16
    }

    fn put(&self, out: &mut BytesMut) {
        let long = |length: usize| u16::try_from(length).expect("keys and metas are short");
        out.put_u8(u8::try_from(self.presence.len()).expect("names are short"));
        out.put_slice(&self.presence);
        out.put_u16(long(self.key.len()));
        out.put_slice(&self.key);
        out.put_u16(long(self.meta.len()));
        out.put_slice(&self.meta);
    }

    fn get(bytes: &mut Bytes) -> Option<Self> {
        let length = usize::from(bytes.try_get_u8().ok()?);
        let presence = take(bytes, length)?;
        let length = usize::from(bytes.try_get_u16().ok()?);
        let key = take(bytes, length)?;
        let length = usize::from(bytes.try_get_u16().ok()?);
        let meta = take(bytes, length)?;
        let texts = str::from_utf8(&presence).is_ok() && str::from_utf8(&key).is_ok();
        texts.then_some(Self { presence, key, meta })
    }
}

impl Datagram {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        let kind = match &self.kind {
            Kind::Change(Change::Joined(..)) => JOINED,
            Kind::Change(Change::Left(_)) => LEFT,
            Kind::Digest => DIGEST,
            Kind::Ask => ASK,
            Kind::Snapshot { .. } => SNAPSHOT,
        };
        out.put_slice(&[FORMAT, kind]);
        out.put_slice(self.process.as_bytes());
        out.put_u64(self.number);
        match &self.kind {
            Kind::Change(Change::Joined(id, entry)) => {
                out.put_u64(*id);
                entry.put(&mut out);
            }
            Kind::Change(Change::Left(id)) => out.put_u64(*id),
            Kind::Digest | Kind::Ask => {}
            Kind::Snapshot { part, parts, entries } => {
                out.put_u16(*part);
                out.put_u16(*parts);
                for (id, entry) in entries {
                    out.put_u64(*id);
                    entry.put(&mut out);
                }
            }
        }
        out.freeze()
    }

    /// Reads a datagram; none if it is malformed.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.try_get_u8().ok()? != FORMAT {
            return None;
        }
        let kind = bytes.try_get_u8().ok()?;
        let process = Uuid::from_u128(bytes.try_get_u128().ok()?);
        let number = bytes.try_get_u64().ok()?;
        let kind = match kind {
            JOINED => {
                let id = bytes.try_get_u64().ok()?;
                Kind::Change(Change::Joined(id, Entry::get(&mut bytes)?))
            }
            LEFT => Kind::Change(Change::Left(bytes.try_get_u64().ok()?)),
            DIGEST => Kind::Digest,
            ASK => Kind::Ask,
            SNAPSHOT => {
                let (part, parts) = (bytes.try_get_u16().ok()?, bytes.try_get_u16().ok()?);
                let mut entries = Vec::new();
                while !bytes.is_empty() {
                    let id = bytes.try_get_u64().ok()?;
                    entries.push((id, Entry::get(&mut bytes)?));
                }
                if part >= parts {
                    return None;
                }
                Kind::Snapshot { part, parts, entries }
            }
            _ => return None,
        };
        Some(Self { process, number, kind })
    }
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (bytes.len() >= length).then(|| bytes.split_to(length))
}

/// First byte of each datagram.
pub(crate) const FORMAT: u8 = 3;
const JOINED: u8 = 1;
const LEFT: u8 = 2;
const DIGEST: u8 = 3;
const ASK: u8 = 4;
const SNAPSHOT: u8 = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> Entry {
        let [presence, key, meta] =
            ["users", "ann", "{}"].map(|text| Bytes::from_static(text.as_bytes()));
        Entry { presence, key, meta }
    }

    /// Bytes as version 1 has them: they never change.
    #[test]
    fn datagrams_are_written_and_read_as_they_were_by_the_first_version() {
        const ENTRY: &[u8] = b"\x05users\x00\x03ann\x00\x02{}";
        let id = [0, 0, 0, 0, 0, 0, 0, 7];
        let golden = [
            (Kind::Change(Change::Joined(7, entry())), 1, [&id, ENTRY].concat()),
            (Kind::Change(Change::Left(7)), 2, id.to_vec()),
            (Kind::Digest, 3, vec![]),
            (Kind::Ask, 4, vec![]),
            (
                Kind::Snapshot { part: 1, parts: 2, entries: vec![(7, entry())] },
                5,
                [&[0, 1, 0, 2], &id[..], ENTRY].concat(),
            ),
        ];
        for (kind, number, rest) in golden {
            let head = [&[3, number], &[9; 16][..], &[0, 0, 0, 0, 0, 0, 0, 5]].concat();
            let bytes = Bytes::from([head, rest].concat());
            let datagram = Datagram { process: Uuid::from_bytes([9; 16]), number: 5, kind };
            assert_eq!(datagram.encode(), bytes);
            assert_eq!(Datagram::decode(bytes.clone()), Some(datagram));
            assert_eq!(Datagram::decode(bytes.slice(..bytes.len() - 1)), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(mut bytes: Vec<u8>, kind in 0..7_u8) {
            if bytes.len() > 1 {
                (bytes[0], bytes[1]) = (FORMAT, kind);
            }
            if let Some(datagram) = Datagram::decode(bytes.into()) {
                prop_assert_eq!(Datagram::decode(datagram.encode()), Some(datagram));
            }
        }
    }
}
