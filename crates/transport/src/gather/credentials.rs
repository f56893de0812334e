//! Ephemeral TURN credentials: a username that contains its expiry, and a password that can be made of it only with the
//! server's secret (draft-uberti-behave-turn-rest; coturn's `use-auth-secret`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Credentials that a client shows to a TURN server.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnCredentials {
    /// Username: `expiry:user`.
    pub username: String,
    /// Password.
    pub credential: String,
}

/// Returns credentials for `user` that are valid until `expires`.
///
/// ```
/// use std::time::{Duration, SystemTime, UNIX_EPOCH};
///
/// use callboard_transport::gather::ephemeral_turn_credentials;
///
/// let credentials = ephemeral_turn_credentials(b"the secret", "ada", UNIX_EPOCH + Duration::from_secs(1_800_000_000));
/// assert_eq!(credentials.username, "1800000000:ada");
/// ```
pub fn ephemeral_turn_credentials(
    secret: &[u8],
    user: &str,
    expires: SystemTime,
) -> TurnCredentials {
    let seconds = expires.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let username = format!("{seconds}:{user}");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let credential = BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes()));
    TurnCredentials { username, credential }
}

impl std::fmt::Debug for TurnCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnCredentials").field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_what_openssl_makes_of_it() {
        let credentials = ephemeral_turn_credentials(
            b"north",
            "ada",
            UNIX_EPOCH + Duration::from_secs(1_433_895_918),
        );
        // printf 1433895918:ada | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(credentials.credential, "KJ5PTMBeGkZIwdEVUss3BPdY8wE=");
        assert!(!format!("{credentials:?}").contains(&credentials.credential));
    }
}
