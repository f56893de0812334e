//! Choice of the SRTP protection profile of a handshake, independent of its engine's preference.
//!
//! dimpl offers a fixed list, and as a DTLS 1.3 server takes the client's first; a browser that puts AES-CM first then
//! costs about seven times the work per packet that AES-GCM does. So the `use_srtp` extension (RFC 5764 §4.1.1) of
//! ClientHellos is rewritten in place between the wire and the engine, and the transcript that is hashed and signed
//! is that of the wire: both sides see one and the same handshake.

use std::fmt;

/// SRTP protection profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SrtpProfile {
    /// `SRTP_AEAD_AES_128_GCM`
    Aes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`
    Aes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`
    Aes128CmSha1_80,
}

impl SrtpProfile {
    /// All profiles, the cheapest first; the default preference.
    pub const ALL: [Self; 3] = [Self::Aes128Gcm, Self::Aes256Gcm, Self::Aes128CmSha1_80];

    /// Returns its number in the registry of DTLS-SRTP protection profiles.
    pub fn id(self) -> u16 {
        match self {
            Self::Aes128CmSha1_80 => 0x0001,
            Self::Aes128Gcm => 0x0007,
            Self::Aes256Gcm => 0x0008,
        }
    }

    /// Returns the lengths in bytes of a master key and of a master salt.
    pub fn lengths(self) -> (usize, usize) {
        match self {
            Self::Aes128Gcm => (16, 12),
            Self::Aes256Gcm => (32, 12),
            Self::Aes128CmSha1_80 => (16, 14),
        }
    }

    /// Returns whether it is one of the AEAD profiles of RFC 7714.
    pub fn is_gcm(self) -> bool {
        self != Self::Aes128CmSha1_80
    }

    pub(super) fn from_engine(profile: dimpl::SrtpProfile) -> Option<Self> {
        Some(match profile {
            dimpl::SrtpProfile::AEAD_AES_128_GCM => Self::Aes128Gcm,
            dimpl::SrtpProfile::AEAD_AES_256_GCM => Self::Aes256Gcm,
            dimpl::SrtpProfile::AES128_CM_SHA1_80 => Self::Aes128CmSha1_80,
            _ => return None,
        })
    }
}

impl fmt::Display for SrtpProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aes128Gcm => "SRTP_AEAD_AES_128_GCM",
            Self::Aes256Gcm => "SRTP_AEAD_AES_256_GCM",
            Self::Aes128CmSha1_80 => "SRTP_AES128_CM_HMAC_SHA1_80",
        })
    }
}

/// `use_srtp` extension as the engine sees it and as the wire carries it. Both are equally long.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Substitution {
    engine: Vec<u8>,
    wire: Vec<u8>,
}

impl Substitution {
    /// Creates one for what this side offers: the engine's own list, and `profiles` on the wire. `None` if they are the
    /// same.
    pub(super) fn offering(profiles: &[SrtpProfile]) -> Option<Self> {
        let engine = extension(&ENGINE_OFFER);
        let mut ids: Vec<u16> =
            profiles.iter().map(|profile| profile.id()).take(ENGINE_OFFER.len()).collect();
        let Some(&last) = ids.last() else {
            // Without SRTP, the offer names only a profile that does not exist (RFC 7983 reserves none; 0x00ff is
            // unassigned).
            let wire = extension(&[UNASSIGNED; 3]);
            return Some(Self { engine, wire });
        };
        // A list must keep its length; naming a profile twice changes nothing.
        ids.resize(ENGINE_OFFER.len(), last);
        let wire = extension(&ids);
        (wire != engine).then_some(Self { engine, wire })
    }

    /// Creates one for what the peer offers in this ClientHello: of the peer's list, the engine sees only the best by
    /// `profiles`.
    pub(super) fn answering(hello: &[u8], profiles: &[SrtpProfile]) -> Option<Self> {
        let offer = find_offer(hello)?;
        let list = 6..offer.len() - 1;
        let offered: Vec<u16> =
            offer[list].chunks_exact(2).map(|id| u16::from_be_bytes([id[0], id[1]])).collect();
        let best = profiles.iter().map(|profile| profile.id()).find(|id| offered.contains(id));
        let mut shown = vec![UNASSIGNED; offered.len()];
        if let Some(best) = best {
            shown[0] = best;
        }
        let engine = extension(&shown);
        (engine != offer).then(|| Self { engine, wire: offer.to_vec() })
    }

    /// Returns the data as it goes to the wire, from the data of the engine (or its hash input).
    pub(super) fn to_wire(&self, data: &[u8]) -> Option<Vec<u8>> {
        replace(data, &self.engine, &self.wire)
    }

    /// Returns the data as the engine sees it, from the data on the wire.
    pub(super) fn to_engine(&self, data: &[u8]) -> Option<Vec<u8>> {
        replace(data, &self.wire, &self.engine)
    }
}

/// Returns the whole extension: type, length, length of the list, list, an empty MKI.
fn extension(ids: &[u16]) -> Vec<u8> {
    let list = (ids.len() * 2) as u16;
    let mut bytes = USE_SRTP.to_vec();
    bytes.extend_from_slice(&(list + 3).to_be_bytes());
    bytes.extend_from_slice(&list.to_be_bytes());
    bytes.extend(ids.iter().flat_map(|id| id.to_be_bytes()));
    bytes.push(0);
    bytes
}

/// Finds a `use_srtp` extension without MKI at any position.
fn find_offer(data: &[u8]) -> Option<&[u8]> {
    data.windows(2).enumerate().filter(|(_, kind)| *kind == USE_SRTP).find_map(|(at, _)| {
        let rest = &data[at..];
        let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
        let list = usize::from(u16::from_be_bytes([*rest.get(4)?, *rest.get(5)?]));
        let offer = rest.get(..4 + length)?;
        (length == list + 3 && list >= 2 && list % 2 == 0 && offer.last() == Some(&0))
            .then_some(offer)
    })
}

fn replace(data: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let at = data.windows(from.len()).position(|window| window == from)?;
    let mut replaced = data.to_vec();
    replaced[at..at + to.len()].copy_from_slice(to);
    Some(replaced)
}

const USE_SRTP: [u8; 2] = [0x00, 0x0e];
/// Profiles that dimpl offers as a client.
const ENGINE_OFFER: [u16; 3] = [0x0008, 0x0007, 0x0001];
/// Number that no profile has.
const UNASSIGNED: u16 = 0x00ff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_rewritten_and_written_back() {
        let mut hello = b"before".to_vec();
        hello.extend(extension(&ENGINE_OFFER));
        hello.extend(b"after");

        let only_gcm = Substitution::offering(&[SrtpProfile::Aes128Gcm]).unwrap();
        let wire = only_gcm.to_wire(&hello).unwrap();

        assert_eq!(wire.len(), hello.len());
        assert!(find_offer(&wire).unwrap().ends_with(&[0, 7, 0, 7, 0, 7, 0]));
        assert_eq!(only_gcm.to_engine(&wire).unwrap(), hello);
        let own = [SrtpProfile::Aes256Gcm, SrtpProfile::Aes128Gcm, SrtpProfile::Aes128CmSha1_80];
        assert!(Substitution::offering(&own).is_none());
    }

    #[test]
    fn of_a_peers_offer_the_engine_sees_what_is_preferred() {
        let mut hello = vec![1; 40];
        hello.extend(extension(&[0x0001, 0x0005, 0x0008, 0x0007]));

        let substitution = Substitution::answering(&hello, &SrtpProfile::ALL).unwrap();
        let seen = substitution.to_engine(&hello).unwrap();

        assert!(find_offer(&seen).unwrap().starts_with(&[0, 14, 0, 11, 0, 8, 0, 7, 0, 0xff]));
        assert_eq!(substitution.to_wire(&seen).unwrap(), hello);
    }

    #[test]
    fn a_hello_without_srtp_is_left_alone() {
        assert!(Substitution::answering(&[0; 300], &SrtpProfile::ALL).is_none());
    }
}
