//! Checks of an upgrade request for a WebSocket (RFC 6455 §4.2.1).

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::HttpResponseBuilder;
use actix_web::http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use actix_web::http::{Method, StatusCode};
use base64::prelude::*;

/// Error: a request opens no WebSocket.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// Request that does not ask for a WebSocket.
    #[error("WebSocket upgrade is expected")]
    NotAsked,
    /// Request for a version other than 13, or for none.
    #[error("WebSocket version 13 is expected")]
    Version,
    /// Its headers are invalid.
    #[error("{0}")]
    Malformed(String),
}

impl UpgradeError {
    /// Returns the status of the refusal: 426 or 400.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotAsked | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Adds the headers of a 426: the protocol to upgrade to (RFC 9110 §15.5.22), and the supported version (RFC 6455
/// §4.4).
pub fn offer_websocket(response: &mut HttpResponseBuilder) {
    response.insert_header((UPGRADE, "websocket")).insert_header((CONNECTION, "upgrade"));
    response.insert_header((SEC_WEBSOCKET_VERSION, "13"));
}

/// Rounds up to whole seconds for `Retry-After`: rather later than sooner, and never 0.
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}

/// Checks whether a request asks for a WebSocket as required.
pub fn check_upgrade(request: &HttpRequest) -> Result<(), UpgradeError> {
    let malformed = |why: &str| Err(UpgradeError::Malformed(why.to_owned()));
    let mut protocols = request.headers().get_all(UPGRADE);
    if !protocols.any(|it| it.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket")) {
        return Err(UpgradeError::NotAsked);
    }
    if only(request, SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(UpgradeError::Version);
    }
    if request.method() != Method::GET {
        return malformed("GET is expected");
    }
    if !request.head().upgrade() {
        return malformed("connection upgrade is expected");
    }
    let headers = request.headers();
    let length = only(request, CONTENT_LENGTH);
    if headers.contains_key(TRANSFER_ENCODING)
        || headers.contains_key(CONTENT_LENGTH) && length.is_none_or(|length| length != "0")
    {
        return malformed("no body is expected");
    }
    let key = only(request, SEC_WEBSOCKET_KEY).and_then(|key| BASE64_STANDARD.decode(key).ok());
    if key.is_none_or(|key| key.len() != KEY) {
        return malformed("a WebSocket key of 16 bytes in base64 is expected");
    }
    Ok(())
}

/// Returns the value of a header that must occur exactly once.
fn only(request: &HttpRequest, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = request.headers().get_all(name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Length of a key, in bytes (RFC 6455 §4.1).
const KEY: usize = 16;

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const GOOD: [(&str, &str); 4] =
        [("upgrade", "WebSocket"), ("connection", "upgrade"), ("sec-websocket-version", "13"), KEY];

    fn status(headers: &[(&'static str, &'static str)]) -> Option<u16> {
        let mut request = TestRequest::get();
        for header in headers {
            request = request.append_header(*header);
        }
        check_upgrade(&request.to_http_request()).err().map(|error| error.status().as_u16())
    }

    /// Returns the status of a valid request with these values of one header, or with none.
    fn with(name: &'static str, values: &[&'static str]) -> Option<u16> {
        let others = GOOD.into_iter().filter(|(other, _)| *other != name);
        let changed = values.iter().map(|value| (name, *value));
        status(&others.chain(changed).collect::<Vec<_>>())
    }

    #[test]
    fn only_version_13_is_spoken() {
        assert_eq!(status(&GOOD), None);
        for version in
            [&[][..], &["8"], &["7"], &["0"], &["14"], &["1 3"], &["13, 8"], &["x"], &["13", "13"]]
        {
            assert_eq!(with("sec-websocket-version", version), Some(426), "{version:?}");
        }
    }

    #[test]
    fn a_key_is_sixteen_bytes_of_base64_and_comes_once() {
        for key in [
            &[][..],
            &[""],
            &["13"],
            &["not base64 at all!!!!!!!"],
            &["dGhlIHNhbXBsZSBub25jZQ"],
            &["dGhlIHNhbXBsZSBub25j"],
            &["dGhlIHNhbXBsZSBub25jZWFi"],
            &[KEY.1, KEY.1],
        ] {
            assert_eq!(with("sec-websocket-key", key), Some(400), "{key:?}");
        }
    }

    #[test]
    fn what_asks_for_no_websocket_is_told_what_to_ask_for() {
        for upgrade in [&[][..], &["h2c"], &["websockets"]] {
            assert_eq!(with("upgrade", upgrade), Some(426), "{upgrade:?}");
        }
        assert_eq!(with("connection", &[]), Some(400));
        assert_eq!(with("transfer-encoding", &["chunked"]), Some(400));
    }
}
