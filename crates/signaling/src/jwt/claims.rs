//! Claims of a verified token, and what they must say.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::error::JwtError;
use crate::peer::PeerInit;
use crate::peer_ref::PeerRef;

/// What the claims of a token must say.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) audiences: Vec<String>,
    pub(super) issuers: Vec<String>,
    pub(super) required: Vec<String>,
    pub(super) leeway: Duration,
}

impl Rules {
    pub(super) fn check(
        &self,
        claims: Map<String, Value>,
        now: SystemTime,
    ) -> Result<JwtClaims, JwtError> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires = date(&claims, "exp")?.ok_or_else(|| missing("exp"))?;
        let expires = expires.saturating_add(self.leeway);
        if expires <= now {
            return Err(JwtError::Expired);
        }
        if date(&claims, "nbf")?.is_some_and(|from| from > now.saturating_add(self.leeway)) {
            return Err(JwtError::NotYetValid);
        }
        self.check_audience(claims.get("aud"))?;
        self.check_issuer(claims.get("iss"))?;
        let subject = match claims.get("sub") {
            Some(Value::String(subject)) => subject.clone(),
            None | Some(Value::Null) => return Err(missing("sub")),
            Some(_) => return Err(invalid("sub")),
        };
        let is_present = |claim: &str| claims.get(claim).is_some_and(|value| !value.is_null());
        if let Some(claim) = self.required.iter().find(|claim| !is_present(claim)) {
            return Err(missing(claim));
        }
        Ok(JwtClaims { claims, subject, expires })
    }

    fn check_audience(&self, audience: Option<&Value>) -> Result<(), JwtError> {
        let is_accepted = |audience: &Value| {
            audience.as_str().is_some_and(|name| self.audiences.iter().any(|it| it == name))
        };
        match audience {
            None | Some(Value::Null) if self.audiences.is_empty() => Ok(()),
            None | Some(Value::Null) => Err(missing("aud")),
            Some(Value::Array(list)) if list.iter().any(is_accepted) => Ok(()),
            Some(one) if is_accepted(one) => Ok(()),
            Some(Value::Array(_) | Value::String(_)) => Err(JwtError::Audience),
            Some(_) => Err(invalid("aud")),
        }
    }

    fn check_issuer(&self, issuer: Option<&Value>) -> Result<(), JwtError> {
        match issuer {
            _ if self.issuers.is_empty() => Ok(()),
            None | Some(Value::Null) => Err(missing("iss")),
            Some(Value::String(issuer)) if self.issuers.contains(issuer) => Ok(()),
            Some(Value::String(_)) => Err(JwtError::Issuer),
            Some(_) => Err(invalid("iss")),
        }
    }
}

/// Returns a claim that is a date: seconds since 1970, perhaps with a fraction (RFC 7519 §2).
fn date(claims: &Map<String, Value>, claim: &str) -> Result<Option<Duration>, JwtError> {
    let seconds = match claims.get(claim) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_f64().ok_or_else(|| invalid(claim))?,
    };
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|_| invalid(claim))
}

fn missing(claim: &str) -> JwtError {
    JwtError::MissingClaim(claim.to_owned())
}

fn invalid(claim: &str) -> JwtError {
    JwtError::InvalidClaim(claim.to_owned())
}

/// Claims of a token that was verified.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtClaims {
    claims: Map<String, Value>,
    subject: String,
    /// Time since 1970 at which the token expires, with the leeway.
    expires: Duration,
}

impl JwtClaims {
    /// Returns whom the token is about (`sub`).
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns a claim; none if the token has no claim with this name.
    pub fn get(&self, claim: &str) -> Option<&Value> {
        self.claims.get(claim)
    }

    /// Creates a peer whose public metadata has the subject as `sub`: its room and the clients of the other members
    /// read it. Use [`PeerInit::public`] alone where they must not.
    pub fn peer_init<P>(&self, peer: P) -> PeerInit<P> {
        PeerInit::from(peer).public("sub", self.subject.as_str())
    }

    /// Returns how long the token is valid from this point in time on; zero if it has expired.
    pub fn valid_for(&self, now: SystemTime) -> Duration {
        self.expires.saturating_sub(now.duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Closes the client with 4001 "token expired" when the token expires, unless the returned value is dropped before.
    /// `callboard.js` then stays away: the page gets another token, and connects anew. Needs an actix system.
    #[must_use = "nothing is closed once this is dropped"]
    #[expect(clippy::disallowed_methods, reason = "a token expires by the calendar")]
    pub fn close_at_expiry(&self, client: &PeerRef) -> JwtExpiry {
        let (client, valid) = (client.clone(), self.valid_for(SystemTime::now()));
        JwtExpiry(actix::spawn(async move {
            sleep(valid).await;
            client.close(EXPIRED, "token expired").expect("a code of the application's");
        }))
    }
}

/// Timer that closes a client when its token expires, until it is dropped.
#[derive(Debug)]
pub struct JwtExpiry(JoinHandle<()>);

impl Drop for JwtExpiry {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Close code of a client whose token has expired.
const EXPIRED: u16 = 4001;
