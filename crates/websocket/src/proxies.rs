//! Addresses of clients behind reverse proxies: `Forwarded` (RFC 7239) and `X-Forwarded-For`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use actix_web::HttpRequest;
use actix_web::http::header::{FORWARDED, HeaderMap};

/// Reverse proxies that are trusted to report their clients' addresses. Default: none.
///
/// The address of a request is the last one in `Forwarded` or `X-Forwarded-For` that is not a trusted proxy's. The
/// client could have sent any address before that one. If the two headers disagree, the request is refused with 400,
/// because one of them is not the proxy's.
///
/// ```
/// use callboard_websocket::TrustedProxies;
///
/// let proxies: TrustedProxies = "127.0.0.1, 10.0.0.0/8, fd00::/8".parse()?;
/// # Ok::<(), callboard_websocket::TrustedProxiesError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

/// Error: a text is not a list of addresses and networks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address and no network such as 10.0.0.0/8")]
pub struct TrustedProxiesError(String);

/// Error: the headers of proxies contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Forwarded and X-Forwarded-For disagree")]
pub struct ForwardedError;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl TrustedProxies {
    /// Returns the address of the client behind a request; the proxy's own, if its headers contradict each other.
    pub fn client_address(&self, request: &HttpRequest) -> IpAddr {
        self.client(request).unwrap_or_else(|_| peer_address(request))
    }

    /// Returns the address of the client behind a request, an IPv4-mapped one as IPv4. A connection without an address
    /// (a Unix socket, a test) counts as local.
    ///
    /// # Errors
    /// [`ForwardedError`]
    pub fn client(&self, request: &HttpRequest) -> Result<IpAddr, ForwardedError> {
        let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
        let here = peer_address(request);
        if !self.trusts(peer) {
            return Ok(here);
        }
        let headers = request.headers();
        match (self.last(here, &forwarded(headers)), self.last(here, &x_forwarded_for(headers))) {
            (Some(one), Some(other)) if one != other => Err(ForwardedError),
            (one, other) => Ok(one.or(other).unwrap_or(here)),
        }
    }

    /// Returns whether a request came through one of these proxies.
    pub fn sent(&self, request: &HttpRequest) -> bool {
        self.trusts(request.peer_addr().map(|peer| peer.ip().to_canonical()))
    }

    /// Returns whether a hop is trusted. A Unix socket is, if there are proxies at all.
    fn trusts(&self, address: Option<IpAddr>) -> bool {
        match address {
            Some(address) => self.0.iter().any(|network| network.contains(address)),
            None => !self.0.is_empty(),
        }
    }

    /// Returns the last hop that is not a trusted proxy; the furthest known proxy, if it does not reveal the hop before
    /// it or all are trusted; none if no hop is reported.
    fn last(&self, here: IpAddr, hops: &[Option<IpAddr>]) -> Option<IpAddr> {
        let mut known = None;
        for hop in hops.iter().rev().take(MAX_HOPS) {
            let Some(hop) = *hop else { return known.or(Some(here)) };
            if !self.trusts(Some(hop)) {
                return Some(hop);
            }
            known = Some(hop);
        }
        known
    }
}

impl FromStr for TrustedProxies {
    type Err = TrustedProxiesError;

    /// Parses addresses and networks (CIDR), separated by commas.
    fn from_str(text: &str) -> Result<Self, TrustedProxiesError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| Network::parse(part).ok_or_else(|| TrustedProxiesError(part.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Extend<Self> for TrustedProxies {
    fn extend<T: IntoIterator<Item = Self>>(&mut self, more: T) {
        self.0.extend(more.into_iter().flat_map(|more| more.0));
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(it, bits)| (it, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|digit| digit.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
            None => most,
        };
        (bits <= most).then_some(Self { address, bits })
    }

    fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let differ = ours.to_bits() ^ other.to_bits();
                differ.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let differ = ours.to_bits() ^ other.to_bits();
                differ.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Returns the address at the other end of the connection.
pub fn peer_address(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(Ipv4Addr::LOCALHOST.into(), |peer| peer.ip().to_canonical())
}

/// Returns whether a proxy says that it has forwarded the request.
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
        || ["x-forwarded-for", "x-real-ip"].iter().any(|name| headers.contains_key(*name))
}

/// Returns the hops of `Forwarded`, in the order of the proxies: the client's first. None stands for a hop that is not
/// revealed.
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let values = headers.get_all(FORWARDED).map(|value| value.to_str().unwrap_or("?"));
    let elements = values.flat_map(|value| split(value, ','));
    elements
        .map(|element| {
            let mut pairs = split(element, ';').into_iter().filter_map(|pair| pair.split_once('='));
            let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
            address(node.trim())
        })
        .collect()
}

fn x_forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let values = headers.get_all("x-forwarded-for").map(|value| value.to_str().unwrap_or("?"));
    values.flat_map(|value| value.split(',')).map(|hop| address(hop.trim())).collect()
}

/// Splits at a character outside quotes.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|c| {
        let literal = escaped;
        escaped = quoted && c == '\\' && !literal;
        quoted ^= c == '"' && !literal;
        c == at && !quoted
    })
    .collect()
}

/// Parses an address with or without a port, brackets and quotes. `unknown` and `_names` are not addresses (RFC 7239
/// §6).
fn address(text: &str) -> Option<IpAddr> {
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|it| it.ip()));
    address.map(|address| address.to_canonical())
}

/// Number of proxies in a row.
const MAX_HOPS: usize = 32;

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> Result<String, ForwardedError> {
        let proxies: TrustedProxies = "127.0.0.1, 10.0.0.0/8,fd00::/8".parse().unwrap();
        let mut request = TestRequest::get().peer_addr(SocketAddr::new(peer.parse().unwrap(), 5));
        for header in headers {
            request = request.append_header(*header);
        }
        proxies.client(&request.to_http_request()).map(|address| address.to_string())
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_of_ours_is_the_client() {
        let xff = "x-forwarded-for";
        for (peer, headers, expected) in [
            // Only a trusted proxy is believed.
            ("203.0.113.9", &[(xff, "192.0.2.1")][..], "203.0.113.9"),
            ("127.0.0.2", &[(xff, "192.0.2.1")], "127.0.0.2"),
            ("11.0.0.1", &[("forwarded", "for=192.0.2.1")], "11.0.0.1"),
            // Without a header, the proxy's own address counts.
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &[(xff, "192.0.2.1")], "192.0.2.1"),
            ("::ffff:127.0.0.1", &[(xff, "192.0.2.1")], "192.0.2.1"),
            ("10.255.0.1", &[(xff, "192.0.2.1")], "192.0.2.1"),
            ("fd00::1", &[(xff, "2001:db8::1")], "2001:db8::1"),
            // What a client adds stands further left.
            ("127.0.0.1", &[(xff, "127.0.0.1, 192.0.2.1")], "192.0.2.1"),
            ("127.0.0.1", &[(xff, "127.0.0.1"), (xff, "192.0.2.1")], "192.0.2.1"),
            ("127.0.0.1", &[(xff, "6.6.6.6, 192.0.2.1, 10.0.0.2")], "192.0.2.1"),
            ("127.0.0.1", &[(xff, "10.0.0.1, 10.0.0.2")], "10.0.0.1"),
            ("127.0.0.1", &[(xff, "192.0.2.1:4711")], "192.0.2.1"),
            ("127.0.0.1", &[(xff, "[2001:db8::1]:4711")], "2001:db8::1"),
            ("127.0.0.1", &[(xff, "[2001:db8::1]")], "2001:db8::1"),
            ("127.0.0.1", &[(xff, "::ffff:192.0.2.1")], "192.0.2.1"),
            // An unknown hop leaves the address of the hop behind it.
            ("127.0.0.1", &[(xff, "6.6.6.6, unknown")], "127.0.0.1"),
            ("127.0.0.1", &[(xff, "6.6.6.6, nonsense, 10.0.0.7")], "10.0.0.7"),
            ("127.0.0.1", &[(xff, "")], "127.0.0.1"),
            ("127.0.0.1", &[("forwarded", "for=192.0.2.1;proto=https;by=10.0.0.1")], "192.0.2.1"),
            ("127.0.0.1", &[("forwarded", "For=\"[2001:db8::1]:47011\"")], "2001:db8::1"),
            (
                "127.0.0.1",
                &[("forwarded", "for=6.6.6.6, for=192.0.2.1 , for=10.0.0.1")],
                "192.0.2.1",
            ),
            (
                "127.0.0.1",
                &[("forwarded", "for=6.6.6.6"), ("forwarded", "for=192.0.2.1")],
                "192.0.2.1",
            ),
            ("127.0.0.1", &[("forwarded", "for=192.0.2.1;host=\"a, for=6.6.6.6\"")], "192.0.2.1"),
            ("127.0.0.1", &[("forwarded", "for=192.0.2.1;ext=\"\\\", for=6.6.6.6\"")], "192.0.2.1"),
            ("127.0.0.1", &[("forwarded", "for=6.6.6.6, for=_hidden")], "127.0.0.1"),
            ("127.0.0.1", &[("forwarded", "for=6.6.6.6, proto=https")], "127.0.0.1"),
            ("127.0.0.1", &[("forwarded", "for=192.0.2.1"), (xff, "192.0.2.1")], "192.0.2.1"),
        ] {
            assert_eq!(client(peer, headers).as_deref(), Ok(expected), "{peer} {headers:?}");
        }
        let both = [("forwarded", "for=6.6.6.6"), (xff, "192.0.2.1")];
        assert_eq!(client("127.0.0.1", &both), Err(ForwardedError));
        assert_eq!(client("203.0.113.9", &both).as_deref(), Ok("203.0.113.9"));
    }

    #[test]
    fn what_is_no_list_of_networks_is_refused() {
        for text in [
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "localhost",
            "10.0.0/8",
        ] {
            assert!(text.parse::<TrustedProxies>().is_err(), "{text}");
        }
        let everyone: TrustedProxies = "0.0.0.0/0".parse().unwrap();
        assert!(everyone.trusts(Some("192.0.2.1".parse().unwrap())));
        assert!(!everyone.trusts(Some("2001:db8::1".parse().unwrap())));
        assert!("".parse::<TrustedProxies>().unwrap().0.is_empty());
    }
}
