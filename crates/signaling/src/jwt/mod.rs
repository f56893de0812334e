//! Authentication by JSON Web Tokens (RFC 7519): readers of the token for [`Peer::parse_request`](crate::Peer), and its
//! verifier for [`Peer::on_init`](crate::Peer).
//!
//! ```
//! use actix_web::HttpRequest;
//! use callboard_room_supervisor::AuthData;
//! use callboard_signaling::jwt::{JwtVerifier, bearer};
//! use callboard_signaling::{InitContext, JoinRequest, Peer, PeerInit, Rejection};
//!
//! struct Player;
//!
//! impl Peer for Player {
//!     type Options = JwtVerifier;
//!
//!     fn parse_request(request: &HttpRequest) -> Result<JoinRequest, Rejection> {
//!         let room = request.match_info().query("room").to_owned();
//!         Ok(JoinRequest { credentials: bearer(request), room, ..JoinRequest::default() })
//!     }
//!
//!     async fn on_init(_: &InitContext, auth: &AuthData, jwt: &JwtVerifier) -> Result<PeerInit<Self>, Rejection> {
//!         Ok(jwt.verify(auth)?.peer_init(Self))
//!     }
//! }
//!
//! let jwt = JwtVerifier::hs256(b"a secret of the login server, 32 bytes or more")?;
//! let jwt = jwt.issuer("https://login.example").audience("game");
//! # _ = jwt;
//! # Ok::<_, callboard_signaling::jwt::JwtKeyError>(())
//! ```
//!
//! A client without a valid token gets 401 and the text of the [`JwtError`], which holds nothing of the token; the
//! address counts as one that has sent wrong credentials ([`PeerOptions::guesses_per_address`](crate::PeerOptions)).
//!
//! # What is checked
//!
//! The algorithm is the verifier's, never the token's (RFC 8725 §3.1). `exp` and `sub` must be present. `aud` must name
//! one of the [audiences](JwtVerifier::audience), and a token for some audience is refused where none is set (RFC 7519
//! §4.1.3); `iss` must be one of the [issuers](JwtVerifier::issuer) if any is set. `exp` and `nbf` are compared with
//! the system's clock. Tokens of more than 8 KiB and unknown critical headers are refused. Keys are those of the
//! program's configuration: no key, certificate or address is taken from a token.
//!
//! # A session that outlives its token
//!
//! The token is checked when a client opens its WebSocket, and when its peer is restarted after a panic: a peer whose
//! token has expired is then not restarted. Otherwise nothing ends a session because time has passed, and a client that
//! [resumes](crate::PeerOptions::resume_grace) shows its resume token alone. To end a session with its token, keep
//! [`JwtClaims::close_at_expiry`] in the peer.

mod bearer;
mod claims;
mod error;
mod key;
mod token;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use callboard_room_supervisor::AuthData;
use serde_json::Value;

pub use bearer::{bearer, bearer_or_query};
pub use claims::{JwtClaims, JwtExpiry};
pub use error::{JwtError, JwtKeyError};

use self::bearer::TOKEN;
use self::claims::Rules;
use self::key::Key;

/// Verifier of JSON Web Tokens: one key, one algorithm, and what the claims must say. Cheap to clone.
#[derive(Clone)]
pub struct JwtVerifier {
    key: Arc<Key>,
    rules: Arc<Rules>,
}

impl JwtVerifier {
    /// Adds an accepted audience (`aud`). Default: none; tokens that are for some audience are refused.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.rules).audiences.push(audience.into());
        self
    }

    /// Adds an accepted issuer (`iss`). Default: any, or none at all.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.rules).issuers.push(issuer.into());
        self
    }

    /// Adds a claim that must be present and not null, beside `exp` and `sub`.
    pub fn require(mut self, claim: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.rules).required.push(claim.into());
        self
    }

    /// Sets how far the clocks of issuer and server may differ, for `exp` and `nbf`. Default: 30 s.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        Arc::make_mut(&mut self.rules).leeway = leeway;
        self
    }

    /// Verifies the token that [`bearer`] or [`bearer_or_query`] has found in the request.
    ///
    /// # Errors
    /// [`JwtError`]
    #[expect(clippy::disallowed_methods, reason = "a token expires by the calendar")]
    pub fn verify(&self, auth: &AuthData) -> Result<JwtClaims, JwtError> {
        let token = auth.credentials.get(TOKEN).and_then(Value::as_str);
        self.verify_at(token.ok_or(JwtError::Missing)?, SystemTime::now())
    }

    /// Verifies a token at a point in time.
    ///
    /// # Errors
    /// [`JwtError`]
    pub fn verify_at(&self, token: &str, now: SystemTime) -> Result<JwtClaims, JwtError> {
        self.rules.check(token::open(token, &self.key)?, now)
    }
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier")
            .field("algorithm", &self.key.algorithm())
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
