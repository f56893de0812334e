//! Errors of tokens and keys.

/// Reason why a token is refused. Its text is what the client gets; it holds nothing of the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// The request has no token.
    #[error("no token")]
    Missing,
    /// The token is longer than 8 KiB.
    #[error("token too long")]
    TooLong,
    /// The text is no signed JSON Web Token, or its header names critical extensions.
    #[error("malformed token")]
    Malformed,
    /// The token names another algorithm than the verifier's, or `none`.
    #[error("wrong algorithm")]
    Algorithm,
    /// The signature is not that of the verifier's key.
    #[error("wrong signature")]
    Signature,
    /// The time of `exp` has passed.
    #[error("token expired")]
    Expired,
    /// The time of `nbf` has not come.
    #[error("token not valid yet")]
    NotYetValid,
    /// The token is for another audience (`aud`).
    #[error("wrong audience")]
    Audience,
    /// The token is of another issuer (`iss`).
    #[error("wrong issuer")]
    Issuer,
    /// The token lacks a claim with this name.
    #[error("missing claim: {0}")]
    MissingClaim(String),
    /// The claim with this name has a value of the wrong type.
    #[error("invalid claim: {0}")]
    InvalidClaim(String),
}

/// Reason why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtKeyError {
    /// The secret of HS256 is shorter than its hash, 32 bytes (RFC 7518 §3.2): it could be guessed.
    #[error("the secret has {0} bytes, fewer than 32")]
    ShortSecret(usize),
    /// The text has no section `PUBLIC KEY` (PEM, as `openssl pkey -pubout` writes it).
    #[error("no public key in PEM")]
    NotPem,
    /// The key is not of the kind that the algorithm needs: RSA of 2,048 to 8,192 bits, a point of P-256, or Ed25519.
    #[error("not a key for this algorithm")]
    WrongKey,
}
