//! Who may look inside, and shoot.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, FORWARDED, HOST, HeaderMap};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::error::AdminError;
use crate::origin::Origins;

/// Who is let in.
pub(super) enum Access {
    /// Whoever knows this, from wherever.
    Token(String),
    /// Whoever is on this machine, and no page of another site that a browser on it shows.
    Loopback,
}

impl Access {
    /// Whether this request is answered. `guarded`: it changes something, or is a WebSocket, which a browser opens for
    /// pages of all sites.
    pub(super) fn check(&self, request: &HttpRequest, guarded: bool) -> Result<(), AdminError> {
        match self {
            Self::Token(token) => {
                let told = bearer(request.headers()).or_else(|| in_query(request.query_string()));
                let known = told.is_some_and(|told| {
                    // An empty token is nobody's.
                    !token.is_empty() && bool::from(told.as_bytes().ct_eq(token.as_bytes()))
                });
                known.then_some(()).ok_or(AdminError::Unauthorized)
            }
            Self::Loopback => {
                // A connection without an address (a Unix socket, a test) counts as local.
                let address = request.peer_addr().map_or(Ipv4Addr::LOCALHOST.into(), |it| it.ip());
                let headers = request.headers();
                if !address.to_canonical().is_loopback() || is_forwarded(headers) {
                    return Err(AdminError::LoopbackOnly);
                }
                if !is_named_loopback(headers) {
                    return Err(AdminError::ForeignHost);
                }
                if guarded && !Origins::SameHost.allow(headers) {
                    return Err(AdminError::ForeignOrigin);
                }
                Ok(())
            }
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// A browser can put no header on a WebSocket.
fn in_query(query: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Query {
        token: String,
    }
    Some(actix_web::web::Query::<Query>::from_query(query).ok()?.into_inner().token)
}

/// A proxy on this machine speaks for others.
fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
        || ["x-forwarded-for", "x-real-ip"].iter().any(|name| headers.contains_key(*name))
}

/// Whether the request names this machine as one only calls it from itself. A page of another site whose name was
/// made to lead here (DNS rebinding) names that site.
fn is_named_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST);
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const HERE: &str = "127.0.0.1:50000";

    fn loopback(peer: &str, headers: &[(&'static str, &str)], guarded: bool) -> Option<u16> {
        let mut request = TestRequest::get().uri("/tree").peer_addr(peer.parse().unwrap());
        for header in headers {
            request = request.append_header(*header);
        }
        let checked = Access::Loopback.check(&request.to_http_request(), guarded);
        checked.err().map(|error| error.status().as_u16())
    }

    #[test]
    fn without_a_token_only_this_machine_is_answered() {
        let named = [("host", "localhost:8080")];
        for here in [HERE, "[::1]:50000", "[::ffff:127.0.0.1]:50000"] {
            assert_eq!(loopback(here, &named, true), None, "{here}");
        }
        for elsewhere in ["192.0.2.1:50000", "[2001:db8::1]:50000", "[::ffff:192.0.2.1]:50000"] {
            assert_eq!(loopback(elsewhere, &named, false), Some(403), "{elsewhere}");
        }
        for proxy in ["forwarded", "x-forwarded-for", "x-real-ip"] {
            let headers = [named[0], (proxy, "192.0.2.1")];
            assert_eq!(loopback(HERE, &headers, false), Some(403), "{proxy}");
        }
    }

    #[test]
    fn a_name_that_was_made_to_lead_here_is_refused() {
        for (host, allowed) in [
            ("localhost", true),
            ("LOCALHOST:80", true),
            ("127.0.0.1:8080", true),
            ("127.1.2.3", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("evil.example:8080", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("192.0.2.1", false),
            ("", false),
        ] {
            let refused = (!allowed).then_some(403);
            assert_eq!(loopback(HERE, &[("host", host)], false), refused, "{host}");
        }
        assert_eq!(loopback(HERE, &[], false), Some(403));
        assert_eq!(
            loopback(HERE, &[("host", "localhost"), ("host", "localhost")], false),
            Some(403)
        );
    }

    #[test]
    fn a_page_of_another_site_may_change_nothing() {
        let from = |origin| [("host", "localhost:8080"), ("origin", origin)];
        assert_eq!(loopback(HERE, &from("http://localhost:8080"), true), None);
        for origin in ["http://evil.example", "http://localhost:8081", "null"] {
            assert_eq!(loopback(HERE, &from(origin), true), Some(403), "{origin}");
        }
    }

    #[test]
    fn a_token_is_known_or_not() {
        let check = |token: &str, query: &str, header: Option<&str>| {
            let mut request = TestRequest::get().uri(&format!("/tree{query}"));
            if let Some(header) = header {
                request = request.append_header((AUTHORIZATION, header));
            }
            Access::Token(token.to_owned()).check(&request.to_http_request(), true).is_ok()
        };
        assert!(check("a secret", "?token=a%20secret", None));
        assert!(check("secret", "?a=b&token=secret", None));
        assert!(check("secret", "", Some("Bearer secret")));
        assert!(check("secret", "", Some("bearer secret")));
        for (query, header) in [
            ("", None),
            ("?token=", None),
            ("?token=secre", None),
            ("?token=secrets", None),
            ("", Some("Bearer")),
            ("", Some("Bearer other")),
            ("", Some("Basic secret")),
            // The header is the one that counts.
            ("?token=secret", Some("Bearer other")),
        ] {
            assert!(!check("secret", query, header), "{query} {header:?}");
        }
        assert!(!check("", "?token=", None));
        assert!(!check("", "", Some("Bearer ")));
    }
}
