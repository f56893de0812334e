//! Compact form of a signed token (RFC 7515 §7.1): its parts, its header and its signature.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::JwtError;
use super::key::Key;

/// The part of a token's header that decides; keys and addresses of keys in it are never used.
#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood (RFC 7515 §4.1.11): none is.
    crit: Option<Value>,
}

/// Returns the claims of a token that is signed with this key.
pub(super) fn open(token: &str, key: &Key) -> Result<Map<String, Value>, JwtError> {
    if token.len() > MAX_TOKEN {
        return Err(JwtError::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(JwtError::Malformed)?;
    let header: Header =
        serde_json::from_slice(&decode(header)?).map_err(|_| JwtError::Malformed)?;
    if header.alg != key.algorithm() {
        return Err(JwtError::Algorithm);
    }
    if header.crit.is_some() {
        return Err(JwtError::Malformed);
    }
    key.verify(signed.as_bytes(), &decode(signature)?)?;
    // Read only now: nothing of a stranger's reaches the larger parser.
    serde_json::from_slice(&decode(claims)?).map_err(|_| JwtError::Malformed)
}

/// Reads base64url without padding. A third dot, as in an encrypted token, is none of its letters.
fn decode(part: &str) -> Result<Vec<u8>, JwtError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Malformed)
}

/// Longest token, in bytes: several times what a login server issues.
const MAX_TOKEN: usize = 8 * 1024;
