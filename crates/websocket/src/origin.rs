//! Checks of `Origin` and `Host`: the pages that may open a WebSocket, and the names by which the server may be called.

use std::collections::HashSet;
use std::fmt;

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderMap, ORIGIN};

use crate::authority::{Authority, BadHost, Host, PageOrigin};
use crate::proxies::TrustedProxies;

/// The pages from which a WebSocket may be opened (RFC 6455 §10.2).
///
/// Browsers send the page's origin and let no script change it. Other clients send none, and all three variants let
/// them through: the application must authenticate them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origins {
    /// All pages.
    Any,
    /// Pages of the host and port in the request. On a loopback address only loopback names are allowed
    /// ([`Hosts`]).
    #[default]
    SameHost,
    /// These origins, each written as `https://example.org`, with the port if it is not the scheme's default.
    List(HashSet<String>),
}

/// Error: a page must not open a WebSocket; holds the page's origin and the allowed ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignOrigin {
    origin: String,
    expected: String,
}

impl Origins {
    /// Checks whether the request's page may open a WebSocket.
    ///
    /// # Errors
    /// [`ForeignOrigin`]
    pub fn check(&self, request: &HttpRequest) -> Result<(), ForeignOrigin> {
        let headers = request.headers();
        if *self == Self::Any || !headers.contains_key(ORIGIN) {
            return Ok(());
        }
        let origin = the_origin(headers);
        let page = origin.and_then(PageOrigin::parse);
        let host = Authority::of(request).ok().flatten();
        let allowed = match self {
            Self::Any => true,
            Self::List(list) => {
                // The hosts of some schemes are not real hosts, such as those of extensions.
                let written = page.as_ref().map(PageOrigin::to_string);
                let written = written.or_else(|| origin.map(str::to_ascii_lowercase));
                written.is_some_and(|written| list.iter().any(|one| normal(one) == written))
            }
            Self::SameHost => {
                page.as_ref().zip(host.as_ref()).is_some_and(|(page, host)| page.is_of(host))
            }
        };
        if allowed {
            return Ok(());
        }
        let expected = match self {
            Self::List(list) => {
                let mut list: Vec<&str> = list.iter().map(String::as_str).collect();
                list.sort_unstable();
                list.truncate(MAX_LISTED);
                list.join(" or ")
            }
            _ => {
                let scheme = page.filter(|page| page.scheme == "https").map_or("http", |_| "https");
                let host = host.map_or("the server's own host".to_owned(), |host| host.to_string());
                format!("{scheme}://{host}, for that is the Host of the request")
            }
        };
        Err(ForeignOrigin { origin: shown(origin.unwrap_or("none that can be read")), expected })
    }
}

impl fmt::Display for ForeignOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the page's origin is {}; expected {}", self.origin, self.expected)
    }
}

/// Creates an allow-list of origins in their normal form.
pub fn origin_list<S: Into<String>>(list: impl IntoIterator<Item = S>) -> Origins {
    Origins::List(list.into_iter().map(|origin| normal(&origin.into())).collect())
}

/// Returns an origin in its normal form: lower case, without the scheme's default port and without a trailing slash.
fn normal(origin: &str) -> String {
    let origin = origin.strip_suffix('/').unwrap_or(origin);
    PageOrigin::parse(origin)
        .map_or_else(|| origin.to_ascii_lowercase(), |origin| origin.to_string())
}

fn the_origin(headers: &HeaderMap) -> Option<&str> {
    let mut origins = headers.get_all(ORIGIN);
    match (origins.next(), origins.next()) {
        (Some(origin), None) => origin.to_str().ok(),
        _ => None,
    }
}

/// The names by which the server may be called.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Hosts {
    /// All names; but for pages of the same host on a loopback address, only loopback names.
    #[default]
    Default,
    /// These names, with this port or with any.
    List(Vec<Authority>),
}

/// Error: a request calls the server by a name that is not its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignHost {
    called: Option<Authority>,
    expected: String,
}

impl Hosts {
    /// Parses the names; an invalid one is logged and allows nothing.
    pub fn list<S: AsRef<str>>(list: impl IntoIterator<Item = S>) -> Self {
        let parse = |name: S| {
            let parsed = Authority::parse(name.as_ref());
            if parsed.is_none() {
                log::error!("{:?} is not a host name: it allows no origin", name.as_ref());
            }
            parsed
        };
        Self::List(list.into_iter().filter_map(parse).collect())
    }

    /// Checks whether the server may be called by the name in this request. A page whose name an attacker resolves to
    /// this server (DNS rebinding) calls it by that name.
    ///
    /// # Errors
    /// [`ForeignHost`]
    pub fn check(
        &self,
        request: &HttpRequest,
        origins: &Origins,
        proxies: &TrustedProxies,
    ) -> Result<(), ForeignHost> {
        let called = Authority::of(request);
        let allowed = match (self, &called) {
            (_, Err(BadHost)) => false,
            (Self::List(list), Ok(Some(called))) => list.iter().any(|one| covers(one, called)),
            (Self::List(_), Ok(None)) => false,
            (Self::Default, Ok(called)) => {
                // A connection from a loopback address is one to a loopback address.
                let exposed = *origins == Origins::SameHost
                    && request.headers().contains_key(ORIGIN)
                    && !proxies.sent(request)
                    && request.peer_addr().is_some_and(|it| it.ip().to_canonical().is_loopback());
                !exposed || called.as_ref().is_some_and(Authority::is_loopback)
            }
        };
        if allowed {
            return Ok(());
        }
        Err(self.foreign(called))
    }

    /// Like [`check`](Self::check), but also checks requests without an origin, which pages send to their own server:
    /// over a loopback address, only loopback names and the hosts of the list of origins are allowed.
    ///
    /// # Errors
    /// [`ForeignHost`]
    pub fn check_strictly(
        &self,
        request: &HttpRequest,
        origins: &Origins,
        proxies: &TrustedProxies,
    ) -> Result<(), ForeignHost> {
        self.check(request, origins, proxies)?;
        let here = request.peer_addr().is_some_and(|it| it.ip().to_canonical().is_loopback());
        if matches!(self, Self::List(_)) || !here || proxies.sent(request) {
            return Ok(());
        }
        let called = Authority::of(request);
        let known = match (&called, origins) {
            (Ok(Some(called)), _) if called.is_loopback() => true,
            (Ok(Some(called)), Origins::List(list)) => {
                let mut pages = list.iter().filter_map(|page| PageOrigin::parse(&normal(page)));
                pages.any(|page| page.authority.host == called.host)
            }
            (_, origins) => *origins == Origins::Any,
        };
        if known { Ok(()) } else { Err(self.foreign(called)) }
    }

    fn foreign(&self, called: Result<Option<Authority>, BadHost>) -> ForeignHost {
        let expected = match self {
            Self::Default => {
                "localhost, 127.0.0.1 or [::1], or a name among the allowed hosts".into()
            }
            Self::List(list) => {
                let list: Vec<String> =
                    list.iter().take(MAX_LISTED).map(Authority::to_string).collect();
                list.join(" or ")
            }
        };
        ForeignHost { called: called.ok().flatten(), expected }
    }
}

fn covers(one: &Authority, called: &Authority) -> bool {
    let bare = |host: &Host| match host {
        Host::Name(name) => Host::Name(name.strip_suffix('.').unwrap_or(name).to_owned()),
        address => address.clone(),
    };
    bare(&one.host) == bare(&called.host) && one.port.is_none_or(|port| called.port == Some(port))
}

impl fmt::Display for ForeignHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.called {
            Some(called) => write!(f, "the server was called {}; ", shown(&called.to_string()))?,
            None => f.write_str("the request names no host, or none that can be one; ")?,
        }
        write!(f, "expected {}", self.expected)
    }
}

/// Shortens and escapes text from a client, so that it fits into a line.
pub fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (at, letter) in text.chars().enumerate() {
        if at == MAX_SHOWN {
            return shown + "…";
        }
        match letter {
            '\'' | '"' => shown.push(letter),
            _ => shown.extend(letter.escape_debug()),
        }
    }
    shown
}

/// Number of allowed names in a refusal.
const MAX_LISTED: usize = 8;
/// Number of characters of a client's own text that are repeated or logged.
const MAX_SHOWN: usize = 160;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use actix_web::http::header::HOST;
    use actix_web::test::TestRequest;

    use super::*;

    fn request(origin: Option<&str>, host: &str) -> HttpRequest {
        let mut request = TestRequest::get().append_header((HOST, host));
        if let Some(origin) = origin {
            request = request.append_header((ORIGIN, origin));
        }
        request.to_http_request()
    }

    fn allow(origins: &Origins, origin: Option<&str>, host: &str) -> bool {
        origins.check(&request(origin, host)).is_ok()
    }

    #[test]
    fn the_same_host_is_the_same_name_and_port() {
        for (origin, host, allowed) in [
            (None, "a.example", true),
            (Some("https://a.example"), "a.example", true),
            (Some("https://A.Example"), "a.example", true),
            (Some("https://a.example:443"), "a.example", true),
            (Some("https://a.example"), "a.example:443", true),
            (Some("http://a.example:8080"), "a.example:8080", true),
            (Some("http://[::1]:8080"), "[0::1]:8080", true),
            (Some("http://a.example:8081"), "a.example:8080", false),
            (Some("http://a.example"), "a.example:443", false),
            (Some("https://b.a.example"), "a.example", false),
            (Some("https://a.example.evil"), "a.example", false),
            (Some("https://a.example@evil"), "a.example", false),
            (Some("https://evil/a.example"), "a.example", false),
            (Some("http://a.example:80@evil"), "a.example:80@evil", false),
            (Some("http://[::1].evil"), "[::1].evil", false),
            (Some("null"), "a.example", false),
            (Some("ftp://a.example"), "a.example", false),
            (Some(""), "a.example", false),
            (Some(""), "", false),
        ] {
            assert_eq!(allow(&Origins::SameHost, origin, host), allowed, "{origin:?} at {host}");
        }
    }

    #[test]
    fn a_list_is_exact_but_for_case_and_what_goes_without_saying() {
        let list =
            origin_list(["https://A.example/", "http://b.example:80", "chrome-extension://abc_D"]);
        for (origin, allowed) in [
            ("https://a.example", true),
            ("HTTPS://A.example", true),
            ("https://a.example:443", true),
            ("http://b.example", true),
            ("chrome-extension://abc_d", true),
            ("http://a.example", false),
            ("https://a.example:8443", false),
            ("https://x.a.example", false),
            ("https://a.example/", false),
            ("null", false),
        ] {
            assert_eq!(allow(&list, Some(origin), "b.example"), allowed, "{origin}");
        }
        // A list that was built without `origin_list`.
        let list = Origins::List(HashSet::from(["https://a.example:443".to_owned()]));
        assert!(allow(&list, Some("https://a.example"), "b.example"));
    }

    #[test]
    fn two_origins_are_none() {
        let request = TestRequest::get().append_header((HOST, "a.example"));
        let request = request.append_header((ORIGIN, "https://a.example"));
        let request = request.append_header((ORIGIN, "https://a.example")).to_http_request();

        assert!(Origins::SameHost.check(&request).is_err());
    }

    #[test]
    fn a_refusal_says_which_origin_was_expected() {
        let said = |origins: &Origins, origin: &str| {
            origins.check(&request(Some(origin), "127.0.0.1:8080")).unwrap_err().to_string()
        };

        assert_eq!(
            said(&Origins::SameHost, "https://call.example"),
            "the page's origin is https://call.example; expected https://127.0.0.1:8080, for that is the Host of the request"
        );
        assert_eq!(
            said(&origin_list(["https://b.example", "https://a.example"]), "null"),
            "the page's origin is null; expected https://a.example or https://b.example"
        );
        assert!(said(&Origins::SameHost, &"x".repeat(5_000)).len() < 400);
    }

    #[test]
    fn a_page_whose_name_was_made_to_lead_to_loopback_is_refused() {
        let check =
            |hosts: &Hosts, origins: &Origins, peer: &str, origin: Option<&str>, host: &str| {
                let mut request = TestRequest::get().append_header((HOST, host));
                request = request.peer_addr(SocketAddr::new(peer.parse().unwrap(), 5));
                if let Some(origin) = origin {
                    request = request.append_header((ORIGIN, origin));
                }
                let proxies = "127.0.0.9".parse().unwrap();
                hosts.check(&request.to_http_request(), origins, &proxies).is_ok()
            };
        let (default, same) = (Hosts::Default, Origins::SameHost);
        let evil = Some("http://evil.com");

        assert!(!check(&default, &same, "127.0.0.1", evil, "evil.com"));
        assert!(!check(&default, &same, "::1", evil, "evil.com"));
        assert!(!check(&default, &same, "::ffff:127.0.0.1", evil, "evil.com"));
        assert!(!check(&default, &same, "127.0.0.1", Some("http://localhost."), "localhost."));
        assert!(check(&default, &same, "127.0.0.1", Some("http://localhost:80"), "LOCALHOST:80"));
        assert!(check(&default, &same, "127.0.0.1", Some("http://[::1]"), "[::1]"));
        // From elsewhere the server has a name; a program is not a page; and requests from a trusted proxy may use its
        // names.
        assert!(check(&default, &same, "192.0.2.1", Some("http://a.example"), "a.example"));
        assert!(check(&default, &same, "127.0.0.1", None, "a.example"));
        assert!(check(&default, &same, "127.0.0.9", Some("http://a.example"), "a.example"));
        // A list of origins already says what evil.com may do.
        assert!(check(&default, &origin_list(["http://a.example"]), "127.0.0.1", evil, "evil.com"));
        for (peer, origin) in [("192.0.2.1", None), ("127.0.0.1", evil), ("127.0.0.9", None)] {
            let hosts = Hosts::list(["Call.example", "[::1]:8080", "no host"]);
            let check = |host| check(&hosts, &same, peer, origin, host);
            assert!(check("call.example") && check("CALL.example:8443") && check("call.example."));
            assert!(check("[::1]:8080") && !check("[::1]") && !check("[::1]:8081"));
            assert!(!check("evil.com") && !check("localhost") && !check("") && !check("no host"));
        }
    }
}
