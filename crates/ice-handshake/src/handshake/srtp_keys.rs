//! Keys for SRTP that a DTLS handshake has agreed on (RFC 5764 §4.2).

use std::fmt;

use super::Role;
use super::dtls::SrtpProfile;

/// Keying material for SRTP (RFC 5764 §4.2): each part is a master key followed by a master salt.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SrtpKeys {
    /// Negotiated protection profile.
    pub profile: SrtpProfile,
    /// Keying material for what this side sends.
    pub local: Vec<u8>,
    /// Keying material for what the peer sends.
    pub remote: Vec<u8>,
    /// Whole output of the exporter: client key, server key, client salt, server salt.
    pub exported: Vec<u8>,
}

impl SrtpKeys {
    /// Splits the output of the exporter.
    pub(super) fn new(profile: SrtpProfile, role: Role, exported: &[u8]) -> Self {
        let (key, salt) = profile.lengths();
        let part = |at: usize, length: usize| exported.get(at..at + length).unwrap_or_default();
        let client = [part(0, key), part(2 * key, salt)].concat();
        let server = [part(key, key), part(2 * key + salt, salt)].concat();
        let (local, remote) = match role {
            Role::Client => (client, server),
            Role::Server => (server, client),
        };
        Self { profile, local, remote, exported: exported.to_vec() }
    }
}

impl fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpKeys").field("profile", &self.profile).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keying_material_is_split_in_the_order_of_rfc_5764() {
        let exported: Vec<u8> = (0..56).collect();
        let client = SrtpKeys::new(SrtpProfile::Aes128Gcm, Role::Client, &exported);
        let server = SrtpKeys::new(SrtpProfile::Aes128Gcm, Role::Server, &exported);

        assert_eq!(client.local, [&exported[0..16], &exported[32..44]].concat());
        assert_eq!(client.remote, [&exported[16..32], &exported[44..56]].concat());
        assert_eq!((client.local, client.remote), (server.remote, server.local));
    }
}
