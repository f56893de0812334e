//! From which pages a WebSocket may be opened.

use std::collections::HashSet;

use actix_web::http::header::{HOST, HeaderMap, ORIGIN};

/// From which pages a WebSocket may be opened (RFC 6455 §10.2).
///
/// Browsers send the page's origin and let no script change it; other clients send none, and are let through by all
/// three: whom they pretend to be is for [`Peer::on_init`](crate::Peer::on_init) to find out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// From all.
    Any,
    /// From pages of the host and port that the request names.
    #[default]
    SameHost,
    /// From these, each written as `https://example.org`, with the port if it is not the scheme's own.
    List(HashSet<String>),
}

impl Origins {
    /// Whether a request with these headers may open a WebSocket.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> bool {
        if *self == Self::Any {
            return true;
        }
        let mut origins = headers.get_all(ORIGIN);
        let (Some(origin), None) = (origins.next(), origins.next()) else {
            return !headers.contains_key(ORIGIN);
        };
        let Ok(origin) = origin.to_str().map(str::to_ascii_lowercase) else { return false };
        match self {
            Self::Any => true,
            Self::List(list) => list.contains(&origin),
            Self::SameHost => {
                let host = headers
                    .get(HOST)
                    .and_then(|host| host.to_str().ok())
                    .map(str::to_ascii_lowercase);
                host.is_some_and(|host| same_host(&origin, &host))
            }
        }
    }
}

fn same_host(origin: &str, host: &str) -> bool {
    match origin.split_once("://") {
        Some(("http", authority)) => strip(authority, ":80") == strip(host, ":80"),
        Some(("https", authority)) => strip(authority, ":443") == strip(host, ":443"),
        _ => false, // `null`, say: a sandboxed page or a file
    }
}

fn strip<'a>(authority: &'a str, port: &str) -> &'a str {
    authority.strip_suffix(port).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(origin: Option<&'static str>, host: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            headers.insert(HeaderName::from_static("origin"), HeaderValue::from_static(origin));
        }
        headers
    }

    #[test]
    fn the_same_host_is_the_same_name_and_port() {
        for (origin, host, allowed) in [
            (None, "a.example", true),
            (Some("https://a.example"), "a.example", true),
            (Some("https://A.Example"), "a.example", true),
            (Some("https://a.example:443"), "a.example", true),
            (Some("http://a.example:8080"), "a.example:8080", true),
            (Some("http://a.example:8081"), "a.example:8080", false),
            (Some("https://b.a.example"), "a.example", false),
            (Some("https://a.example.evil"), "a.example", false),
            (Some("null"), "a.example", false),
            (Some("ftp://a.example"), "a.example", false),
            (Some(""), "a.example", false),
        ] {
            assert_eq!(
                Origins::SameHost.allow(&headers(origin, host)),
                allowed,
                "{origin:?} at {host}"
            );
        }
    }

    #[test]
    fn a_list_is_exact_but_for_case() {
        let list = Origins::List(HashSet::from(["https://a.example".to_owned()]));
        for (origin, allowed) in [
            ("https://a.example", true),
            ("HTTPS://A.example", true),
            ("http://a.example", false),
            ("https://a.example:8443", false),
            ("https://x.a.example", false),
            ("null", false),
        ] {
            assert_eq!(list.allow(&headers(Some(origin), "b.example")), allowed, "{origin}");
        }
    }

    #[test]
    fn two_origins_are_none() {
        let mut headers = headers(Some("https://a.example"), "a.example");
        headers.append(ORIGIN, HeaderValue::from_static("https://a.example"));

        assert!(!Origins::SameHost.allow(&headers));
    }
}
