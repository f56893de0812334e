//! Checks of the remote addresses to which a peer may make us send.

use std::net::{IpAddr, SocketAddr};

/// Reason for which nothing is sent to an address that a peer has named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CheckRemoteError {
    /// The port is 0.
    #[error("port 0")]
    NoPort,
    /// 0.0.0.0 or `::`: on many systems, this machine itself.
    #[error("the unspecified address")]
    Unspecified,
    /// Multicast or broadcast address.
    #[error("a multicast or broadcast address")]
    Multicast,
    /// 169.254.0.0/16, where clouds serve their secrets (169.254.169.254), and `fd00:ec2::254`.
    #[error("a link-local address")]
    LinkLocal,
}

/// Checks whether connectivity checks may be sent to this address. Addresses of private networks are allowed: peers
/// have them.
///
/// # Errors
/// [`CheckRemoteError`] for an address to which nothing may be sent.
pub fn check_remote(address: SocketAddr) -> Result<(), CheckRemoteError> {
    if address.port() == 0 {
        return Err(CheckRemoteError::NoPort);
    }
    // `::ffff:169.254.169.254` is 169.254.169.254.
    match address.ip().to_canonical() {
        ip if ip.is_unspecified() => Err(CheckRemoteError::Unspecified),
        ip if ip.is_multicast() => Err(CheckRemoteError::Multicast),
        IpAddr::V4(ip) if ip.is_broadcast() => Err(CheckRemoteError::Multicast),
        IpAddr::V4(ip) if ip.is_link_local() => Err(CheckRemoteError::LinkLocal),
        // "This host on this network" (RFC 1122 §3.2.1.3) and what is reserved.
        IpAddr::V4(ip) if ip.octets()[0] == 0 || ip.octets()[0] >= 240 => {
            Err(CheckRemoteError::Unspecified)
        }
        IpAddr::V6(ip) if ip.segments() == AMAZON_METADATA => Err(CheckRemoteError::LinkLocal),
        _ => Ok(()),
    }
}

/// Address of Amazon's metadata service, fd00:ec2::254.
const AMAZON_METADATA: [u16; 8] = [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t8_nothing_is_sent_where_no_peer_can_be() {
        use CheckRemoteError::*;
        for (address, refused) in [
            ("192.0.2.1:0", NoPort),
            ("0.0.0.0:1", Unspecified),
            ("0.1.2.3:1", Unspecified),
            ("[::]:1", Unspecified),
            ("224.0.0.251:5353", Multicast),
            ("255.255.255.255:1", Multicast),
            ("[ff02::1]:1", Multicast),
            ("169.254.169.254:80", LinkLocal),
            ("[::ffff:169.254.169.254]:80", LinkLocal),
            ("[fd00:ec2::254]:80", LinkLocal),
        ] {
            assert_eq!(check_remote(address.parse().unwrap()), Err(refused), "{address}");
        }
        for address in [
            "192.168.1.7:9",
            "10.0.0.1:5000",
            "127.0.0.1:5000",
            "203.0.113.9:1",
            "[fd12::1]:7",
            "[fe80::1]:7",
        ] {
            assert_eq!(check_remote(address.parse().unwrap()), Ok(()), "{address}");
        }
    }
}
