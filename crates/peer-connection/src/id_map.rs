//! Maps by identifiers of this side, which are random: they need no hash that withstands chosen keys, and every packet
//! looks some of them up.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Map by identifiers that no peer chooses.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Hash of random bytes (Fx, as in rustc).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl IdHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(byte.into());
    }

    fn write_usize(&mut self, number: usize) {
        self.add(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.add(number as u64);
    }

    fn finish(&self) -> u64 {
        // Tables read the upper bits as well as the lower ones, which a product mixes less.
        self.0.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;
    use crate::media::{Rid, TransceiverId};

    #[test]
    fn identifiers_and_encodings_have_hashes_of_their_own() {
        let build = BuildHasherDefault::<IdHasher>::default();
        let rids: [Option<Rid>; 3] = [None, "hi".parse().ok(), "lo".parse().ok()];
        let mut hashes = HashSet::new();
        let mut lowest = HashSet::new();
        for _ in 0..1_000 {
            let id = TransceiverId::random();
            for rid in rids {
                let hash = build.hash_one((id, rid));
                hashes.insert(hash);
                lowest.insert(hash & 0xfff);
            }
        }
        assert_eq!(hashes.len(), 3_000);
        // Of 4,096 buckets, 3,000 random numbers meet 2,127.
        assert!(lowest.len() > 1_900, "{}", lowest.len());
    }
}
