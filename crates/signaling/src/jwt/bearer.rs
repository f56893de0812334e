//! Where a request carries its token.

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use serde_json::{Map, Value};

/// Returns the credentials of a request with a token, for [`JoinRequest`](crate::JoinRequest); empty if it has none.
///
/// Programs send `Authorization: Bearer TOKEN` (RFC 6750 §2.1). Pages cannot set headers of a WebSocket, and offer the
/// token as a subprotocol, `bearer.TOKEN`, behind a real one that the server must speak
/// ([`PeerOptions::protocols`](crate::PeerOptions::protocols)), or browsers close the connection:
///
/// ```js
/// const client = await connect("/socket/lobby", { protocols: ["callboard", `bearer.${token}`] });
/// ```
pub fn bearer(request: &HttpRequest) -> Map<String, Value> {
    credentials(in_headers(request))
}

/// Returns the credentials of a request like [`bearer`], or from this parameter of its query.
///
/// The headers are better: addresses are written into the logs of proxies and kept in histories, and a token in them
/// with them. If it must be an address, let tokens expire within a minute; they are needed only to connect.
pub fn bearer_or_query(request: &HttpRequest, parameter: &str) -> Map<String, Value> {
    // Tokens hold no character that is escaped in a query.
    let mut query = request.query_string().split('&').filter_map(|pair| pair.split_once('='));
    let in_query = || query.find(|(name, _)| *name == parameter).map(|(_, token)| token);
    credentials(in_headers(request).or_else(in_query))
}

fn in_headers(request: &HttpRequest) -> Option<&str> {
    let authorization = request.headers().get_all(AUTHORIZATION).filter_map(|it| it.to_str().ok());
    let mut tokens = authorization.filter_map(|it| {
        let (scheme, token) = it.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    tokens.next().or_else(|| {
        let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
        let mut offers = offers.filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(','));
        offers.find_map(|offer| offer.trim().strip_prefix("bearer."))
    })
}

fn credentials(token: Option<&str>) -> Map<String, Value> {
    token.map(|token| (TOKEN.to_owned(), Value::from(token))).into_iter().collect()
}

/// Name of the token among the credentials.
pub(super) const TOKEN: &str = "token";
