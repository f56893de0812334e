//! Authorization of the admin routes.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use callboard_websocket::{
    Authority, Guesses, Origins, RefusalLog, TrustedProxies, is_forwarded, peer_address,
};
use log::Level;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use crate::error::AdminError;

/// Tokens that open the admin routes.
#[derive(Default)]
pub(crate) struct Tokens {
    /// Token for everything, from any address; without it, clients on this machine need none.
    pub(crate) full: Option<String>,
    /// Token for reading, from any address.
    pub(crate) read: Option<String>,
}

/// Access that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    /// Reading by a WebSocket, which a browser opens for pages of all sites.
    Watch,
    Change,
}

/// Authorization of requests, with a rate limiter of guesses.
pub(crate) struct Authorization {
    tokens: Tokens,
    proxies: TrustedProxies,
    /// Rate limiter of wrong tokens, by address.
    guesses: Guesses,
    refusals: RefusalLog,
}

impl Authorization {
    pub(crate) fn new(tokens: Tokens, proxies: TrustedProxies) -> Self {
        Self {
            tokens,
            proxies,
            guesses: Guesses::new(GUESSES, GUESS_EVERY),
            refusals: RefusalLog::default(),
        }
    }

    /// Logs that a request was refused because of its sender.
    pub(crate) fn refused(&self, request: &HttpRequest, error: &AdminError) {
        if matches!(error.status().as_u16(), 401 | 403 | 429 | 503) {
            let address = self.proxies.client(request).unwrap_or_else(|_| peer_address(request));
            let reason = error.to_string();
            self.refusals.refused(
                Level::Info,
                address,
                request.path(),
                error.name(),
                Some(&reason),
            );
        }
    }

    /// Checks whether this request is authorized.
    pub(crate) fn check(&self, request: &HttpRequest, access: Access) -> Result<(), AdminError> {
        let address = self.proxies.client(request);
        let address = address.map_err(|error| AdminError::BadRequest(error.to_string()))?;
        let Tokens { full, read } = &self.tokens;
        let given = match (full, read) {
            (None, None) => None,
            _ => bearer(request.headers()).or_else(|| in_query(request.query_string())),
        };
        match given {
            Some(given) => self.check_token(&given, address, access),
            None if full.is_some() => Err(AdminError::Unauthorized),
            None => self.check_loopback(request, address, access),
        }
    }

    fn check_token(&self, given: &str, address: IpAddr, access: Access) -> Result<(), AdminError> {
        self.guesses.check(address).map_err(AdminError::TooManyAttempts)?;
        if is_token(given, self.tokens.full.as_deref()) {
            return Ok(());
        }
        if is_token(given, self.tokens.read.as_deref()) {
            return if access == Access::Change { Err(AdminError::ReadOnly) } else { Ok(()) };
        }
        self.guesses.wrong(address);
        Err(AdminError::Unauthorized)
    }

    /// Authorizes requests from this machine, except from pages of other sites in a browser on it.
    fn check_loopback(
        &self,
        request: &HttpRequest,
        address: IpAddr,
        access: Access,
    ) -> Result<(), AdminError> {
        let by_stranger = is_forwarded(request.headers()) && !self.proxies.sent(request);
        if !address.is_loopback() || by_stranger {
            return Err(AdminError::LoopbackOnly);
        }
        // A page of another site whose name an attacker resolves to this machine (DNS rebinding) names that site.
        if !matches!(Authority::of(request), Ok(Some(host)) if host.is_loopback()) {
            return Err(AdminError::ForeignHost);
        }
        if access != Access::Read {
            let origins = Origins::SameHost.check(request);
            origins.map_err(|error| AdminError::ForeignOrigin(error.to_string()))?;
        }
        Ok(())
    }
}

/// Returns whether this is the token. An empty token is never valid.
fn is_token(given: &str, token: Option<&str>) -> bool {
    token.is_some_and(|token| {
        !token.is_empty() && bool::from(given.as_bytes().ct_eq(token.as_bytes()))
    })
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// Returns the token in a query: a browser can put no header on a WebSocket.
fn in_query(query: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Query {
        token: String,
    }
    Some(actix_web::web::Query::<Query>::from_query(query).ok()?.into_inner().token)
}

/// Number of wrong tokens that an address may send at once.
const GUESSES: u32 = 10;
/// Interval after which an address may send one more: 1,200 an hour, of a token that should be beyond guessing.
const GUESS_EVERY: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const HERE: &str = "127.0.0.1:50000";

    fn loopback(peer: &str, headers: &[(&'static str, &str)], guarded: bool) -> Option<u16> {
        let access = if guarded { Access::Watch } else { Access::Read };
        let mut request = TestRequest::get().uri("/tree").peer_addr(peer.parse().unwrap());
        for header in headers {
            request = request.append_header(*header);
        }
        let authorization = Authorization::new(Tokens::default(), TrustedProxies::default());
        let checked = authorization.check(&request.to_http_request(), access);
        checked.err().map(|error| error.status().as_u16())
    }

    fn full(token: &str) -> Tokens {
        Tokens { full: Some(token.to_owned()), read: None }
    }

    #[test]
    fn who_may_only_look_changes_nothing() {
        let tokens = |full: Option<&str>| Tokens {
            full: full.map(str::to_owned),
            read: Some("look".to_owned()),
        };
        let status = |authorization: &Authorization, peer: &str, token: &str, access| {
            let mut request = TestRequest::get().peer_addr(peer.parse().unwrap());
            request = request.append_header(("host", "localhost"));
            if !token.is_empty() {
                request = request.append_header((AUTHORIZATION, format!("Bearer {token}")));
            }
            let checked = authorization.check(&request.to_http_request(), access);
            checked.map_or_else(|error| error.status().as_u16(), |()| 200)
        };
        use Access::*;
        let both = Authorization::new(tokens(Some("all")), TrustedProxies::default());
        let one = Authorization::new(tokens(None), TrustedProxies::default());
        let elsewhere = "192.0.2.1:5";
        for (peer, token, access, with_both, with_one) in [
            (elsewhere, "look", Read, 200, 200),
            (elsewhere, "look", Watch, 200, 200),
            (elsewhere, "look", Change, 403, 403),
            (elsewhere, "all", Change, 200, 401),
            (elsewhere, "", Read, 401, 403),
            (elsewhere, "other", Read, 401, 401),
            (HERE, "", Read, 401, 200),
            (HERE, "", Change, 401, 200),
            (HERE, "look", Change, 403, 403),
            (HERE, "other", Read, 401, 401),
        ] {
            assert_eq!(status(&both, peer, token, access), with_both, "{peer} {token} {access:?}");
            assert_eq!(status(&one, peer, token, access), with_one, "{peer} {token} {access:?}");
        }
        let empty = Tokens { full: None, read: Some(String::new()) };
        let empty = Authorization::new(empty, TrustedProxies::default());
        let request = TestRequest::get().uri("/?token=").peer_addr(elsewhere.parse().unwrap());
        assert!(empty.check(&request.to_http_request(), Read).is_err());
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
            ("[::1].evil.example", false),
            ("localhost:evil.example", false),
            ("127.0.0.1:80@evil.example", false),
            ("0x7f.1", false),
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
            let authorization = Authorization::new(full(token), TrustedProxies::default());
            authorization.check(&request.to_http_request(), Access::Change).is_ok()
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
            // The header takes precedence.
            ("?token=secret", Some("Bearer other")),
        ] {
            assert!(!check("secret", query, header), "{query} {header:?}");
        }
        assert!(!check("", "?token=", None));
        assert!(!check("", "", Some("Bearer ")));
    }
    #[test]
    fn behind_a_proxy_of_ours_its_client_counts() {
        let authorization = Authorization::new(Tokens::default(), "127.0.0.1".parse().unwrap());
        let check = |peer: &str, client: &str| {
            let request = TestRequest::get().peer_addr(peer.parse().unwrap());
            let request = request.append_header(("host", "localhost"));
            let request = request.append_header(("x-forwarded-for", client));
            authorization.check(&request.to_http_request(), Access::Read).is_ok()
        };

        assert!(check(HERE, "127.0.0.2"));
        assert!(!check(HERE, "127.0.0.2, 192.0.2.1"));
        assert!(!check("127.0.0.2:50000", "127.0.0.2"), "not that proxy");
    }

    #[test]
    fn an_address_that_guesses_has_to_wait_and_no_other() {
        let authorization = Authorization::new(full("secret"), TrustedProxies::default());
        let status = |peer: &str, token: &str| {
            let request = TestRequest::get().peer_addr(peer.parse().unwrap());
            let request = request.append_header((AUTHORIZATION, format!("Bearer {token}")));
            let checked = authorization.check(&request.to_http_request(), Access::Read);
            checked.map_or_else(|error| error.status().as_u16(), |()| 200)
        };

        for _ in 0..GUESSES {
            assert_eq!(status("192.0.2.1:5", "secret"), 200);
            assert_eq!(status("192.0.2.1:5", "guess"), 401);
        }
        assert_eq!(status("192.0.2.1:6", "guess"), 429);
        assert_eq!(status("192.0.2.1:7", "secret"), 429, "or one could go on guessing");
        assert_eq!(status("192.0.2.2:5", "secret"), 200);
    }
}
