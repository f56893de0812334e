//! Strict parser of `Host` and `Origin` (RFC 9110 §7.2, RFC 6454 §7): anything that a browser would not send is
//! rejected.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use actix_web::HttpRequest;
use actix_web::http::header::HOST;

/// A host and a port, as in `Host`: without user, path or spaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port; none if it is the default of the scheme.
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
/// Host of an authority.
#[expect(clippy::exhaustive_enums, reason = "RFC 3986: an address or a name")]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name in lower case.
    Name(String),
}

/// Error: a request names its host twice, differently, or in a way that no browser does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHost;

impl Authority {
    /// Parses `HOST` or `HOST:PORT`. Browsers write addresses in one way only: `0x7f.1`, `[::1%lo]` and `127.0.0.1.`
    /// are neither addresses nor names.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (Host::Ip(address.parse::<Ipv6Addr>().ok()?.into()), port)
            }
            None => {
                let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                (Host::parse(host)?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            Some(port) => Some(self::port(port)?),
            None if port.is_empty() => None,
            None => return None,
        };
        Some(Self { host, port })
    }

    /// Returns the host that a request is for: the one in its target, if that is a whole URL (RFC 9112 §3.2.2), else
    /// the one in `Host`. None if it names none.
    ///
    /// # Errors
    /// [`BadHost`]
    pub fn of(request: &HttpRequest) -> Result<Option<Self>, BadHost> {
        let mut hosts = request.headers().get_all(HOST);
        let parsed = match (hosts.next(), hosts.next()) {
            (Some(host), None) => {
                let host = host.to_str().ok().and_then(Self::parse);
                Some(host.ok_or(BadHost)?)
            }
            (None, _) => None,
            (Some(_), Some(_)) => return Err(BadHost),
        };
        match request.uri().authority() {
            None => Ok(parsed),
            Some(target) => {
                let target = Self::parse(target.as_str()).ok_or(BadHost)?;
                if parsed.is_some_and(|parsed| parsed != target) {
                    Err(BadHost)
                } else {
                    Ok(Some(target))
                }
            }
        }
    }

    /// Returns whether this is a name or address that reaches a machine only from itself.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip(address) => address.to_canonical().is_loopback(),
            Host::Name(name) => name == "localhost",
        }
    }

    /// Returns the port, by default the one of this scheme.
    fn port_under(&self, scheme: &str) -> Option<u16> {
        self.port.or(match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        })
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let name = text.to_ascii_lowercase();
        // A fully qualified name may end with a dot.
        let labels = name.strip_suffix('.').unwrap_or(&name);
        let plain = |label: &str| {
            (1..=MAX_LABEL).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if name.len() > MAX_NAME || !labels.split('.').all(plain) {
            return None;
        }
        // A name that ends in a number is an address (WHATWG URL, "ends in a number").
        let last = labels.rsplit('.').next()?;
        let hexadecimal = last
            .strip_prefix("0x")
            .is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        if hexadecimal || last.bytes().all(|digit| digit.is_ascii_digit()) {
            return name.parse::<Ipv4Addr>().ok().map(|address| Self::Ip(address.into()));
        }
        Some(Self::Name(name))
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Host::Ip(IpAddr::V4(address)) => write!(f, "{address}")?,
            Host::Name(name) => f.write_str(name)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Origin of a page: scheme, host, port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageOrigin {
    /// Scheme, in lower case.
    pub scheme: String,
    /// Host and port.
    pub authority: Authority,
}

impl PageOrigin {
    /// Parses `SCHEME://HOST` or `SCHEME://HOST:PORT`; `null` is not an origin.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(plain) {
            return None;
        }
        let (scheme, mut authority) = (scheme.to_ascii_lowercase(), Authority::parse(authority)?);
        // `https://a.example:443` is `https://a.example`.
        let port = authority.port.take();
        authority.port = port.filter(|_| authority.port_under(&scheme) != port);
        Some(Self { scheme, authority })
    }

    /// Returns whether a request for this host goes to the page's own server.
    pub fn is_of(&self, host: &Authority) -> bool {
        let Self { scheme, authority } = self;
        matches!(&**scheme, "http" | "https")
            && authority.host == host.host
            && authority.port_under(scheme) == host.port_under(scheme)
    }
}

impl fmt::Display for PageOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// Parses a port from 1 to 65535 without leading zeros.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|digit| digit.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| digits)
}

/// Length limit of a name, in bytes, with the dot at its end (RFC 1035 §2.3.4).
const MAX_NAME: usize = 254;
/// Length limit of a part of a name, in bytes.
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn what_a_browser_sends_is_a_host() {
        for (text, loopback) in [
            ("localhost", true),
            ("LocalHost:8080", true),
            ("127.0.0.1", true),
            ("127.1.2.3:65535", true),
            ("[::1]", true),
            ("[::1]:1", true),
            ("[0:0:0:0:0:0:0:1]", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("[::ffff:7f00:1]", true),
            ("a.example", false),
            ("A.Example:443", false),
            ("my_host-1", false),
            ("xn--bcher-kva.example", false),
            // A name that resolvers may look up: only the browser knows its address.
            ("localhost.", false),
            ("app.localhost", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("0x7f.evil", false),
            ("192.0.2.1", false),
            ("0.0.0.0", false),
            ("[::]", false),
            ("[2001:db8::1]:443", false),
        ] {
            let parsed = Authority::parse(text).unwrap_or_else(|| panic!("{text} is a host"));
            assert_eq!(parsed.is_loopback(), loopback, "{text}");
        }
    }

    #[test]
    fn what_no_browser_sends_is_no_host() {
        let long = format!("{}.example", "a".repeat(64));
        let longer = format!("{}example", "a.".repeat(130));
        for text in [
            "",
            ":80",
            ".",
            "a..example",
            ".a.example",
            "a.example..",
            "localhost:",
            "localhost:0",
            "localhost:080",
            "localhost:65536",
            "localhost:+80",
            "localhost:-1",
            "localhost: 80",
            "localhost:80:80",
            "localhost:evil.com",
            "localhost/",
            "localhost#",
            "localhost?a",
            "localhost\\evil.com",
            "localhost,evil.com",
            "localhost evil.com",
            " localhost",
            "localhost\t",
            "user@localhost",
            "127.0.0.1:80@evil.com",
            "localhost@evil.com",
            "evil.com@localhost",
            "[::1].evil.com",
            "[::1]evil.com",
            "[::1]80",
            "[::1",
            "::1",
            "::1]",
            "[::1]]",
            "[[::1]]",
            "[]",
            "[localhost]",
            "[127.0.0.1]",
            "[::1%lo]",
            "[::1%25lo]",
            "[fe80::1%25eth0]:80",
            "[::1]:",
            "[::1]:65536",
            "127.1",
            "127.0.0.1.",
            "127.0.0.256",
            "127.000.000.001",
            "0177.0.0.1",
            "0x7f.1",
            "0x7f000001",
            "0x",
            "2130706433",
            "017700000001",
            "1.2.3.4.5",
            "127.0.0.0x1",
            "a.1",
            "%6cocalhost",
            "löcalhost",
            "localhost\u{3002}evil",
            &long,
            &longer,
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_origin_is_a_scheme_and_a_host_and_nothing_more() {
        for (text, as_told) in [
            ("http://a.example", "http://a.example"),
            ("HTTPS://A.Example:443", "https://a.example"),
            ("https://a.example:80", "https://a.example:80"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(PageOrigin::parse(text).map(|it| it.to_string()).as_deref(), Some(as_told));
        }
        for text in [
            "null",
            "",
            "://a",
            "a.example",
            "http:a",
            "http://",
            "http://a/",
            "http://u@a",
            "h p://a",
            "http://a, http://a",
        ] {
            assert_eq!(PageOrigin::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_request_has_one_host() {
        let of = |target: &str, hosts: &[&str]| {
            let mut request = TestRequest::get().uri(target);
            for host in hosts {
                request = request.append_header((HOST, *host));
            }
            Authority::of(&request.to_http_request()).map(|host| host.map(|host| host.to_string()))
        };

        assert_eq!(of("/", &["a.example"]), Ok(Some("a.example".into())));
        assert_eq!(of("/", &[]), Ok(None));
        assert_eq!(of("/", &["a.example", "a.example"]), Err(BadHost));
        assert_eq!(of("/", &["u@a.example"]), Err(BadHost));
        assert_eq!(of("http://a.example/", &["a.example"]), Ok(Some("a.example".into())));
        assert_eq!(of("http://a.example/", &[]), Ok(Some("a.example".into())));
        // The target counts, and then a `Host` that says otherwise is a trick.
        assert_eq!(of("http://evil.com/", &["localhost"]), Err(BadHost));
        assert_eq!(of("http://localhost@evil.com/", &["localhost"]), Err(BadHost));
    }
}
