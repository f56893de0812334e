//! DTLS with a pre-shared key.

use std::collections::HashMap;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use super::dtls::{DtlsHandshake, EngineSpec, EngineVersion, Identity};
use super::{ComponentInfo, Handshake, HandshakeFactory, PayloadMode, Role};

/// DTLS 1.2 handshake by a secret that both sides know (RFC 4279, RFC 8442): no certificates, no fingerprints.
///
/// ```
/// use callboard_ice_handshake::handshake::*;
///
/// # fn main() -> Result<(), PskError> {
/// let server = Psk::server([("robot-7", b"a secret of sixteen bytes or more")])?;
/// let client = Psk::client("robot-7", b"a secret of sixteen bytes or more")?;
/// # _ = (server, client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Psk {
    psk: dimpl::Psk,
    role: Role,
    payload: PayloadMode,
}

/// Reason for which a pre-shared key is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PskError {
    /// The secret is shorter than 16 bytes: an observer of one handshake could guess it.
    #[error("the secret of {0:?} has fewer than 16 bytes")]
    TooShort(String),
}

impl Psk {
    /// Creates the side that names itself, with its secret.
    ///
    /// # Errors
    /// [`PskError::TooShort`] for a secret of fewer than 16 bytes.
    pub fn client(identity: impl Into<String>, secret: &[u8]) -> Result<Self, PskError> {
        let identity = identity.into();
        let secrets = Arc::new(Secrets::new([(identity.clone(), secret)])?);
        let config = dimpl::Config::builder().with_psk_client(identity.into_bytes(), secrets);
        Ok(Self { psk: psk_of(config), role: Role::Client, payload: PayloadMode::default() })
    }

    /// Creates the side that knows the secrets of all clients that it serves.
    ///
    /// # Errors
    /// [`PskError::TooShort`] for a secret of fewer than 16 bytes.
    pub fn server<I, N, S>(secrets: I) -> Result<Self, PskError>
    where
        I: IntoIterator<Item = (N, S)>,
        N: Into<String>,
        S: AsRef<[u8]>,
    {
        let config =
            dimpl::Config::builder().with_psk_server(None, Arc::new(Secrets::new(secrets)?));
        Ok(Self { psk: psk_of(config), role: Role::Server, payload: PayloadMode::default() })
    }

    /// Sets how payloads travel after the handshake. Default: as DTLS application data.
    pub fn payload(mut self, payload: PayloadMode) -> Self {
        self.payload = payload;
        self
    }
}

impl HandshakeFactory for Psk {
    fn new_handshake(&self, component: &ComponentInfo) -> Box<dyn Handshake> {
        let spec = EngineSpec {
            identity: Identity::PreSharedKey(self.psk.clone()),
            role: self.role,
            version: EngineVersion::Dtls12,
            mtu: 1_150,
            first_retransmission: Duration::from_millis(100),
            cookie: true,
            seed: 0,
            label: component.label.clone(),
        };
        Box::new(DtlsHandshake::with_psk(spec, self.payload))
    }
}

impl std::fmt::Debug for Psk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Psk").field("role", &self.role).finish_non_exhaustive()
    }
}

struct Secrets(HashMap<Vec<u8>, Vec<u8>>);

impl Secrets {
    fn new<N: Into<String>, S: AsRef<[u8]>>(
        secrets: impl IntoIterator<Item = (N, S)>,
    ) -> Result<Self, PskError> {
        let mut known = HashMap::new();
        for (identity, secret) in secrets {
            let (identity, secret) = (identity.into(), secret.as_ref());
            if secret.len() < SHORTEST_SECRET {
                return Err(PskError::TooShort(identity));
            }
            known.insert(identity.into_bytes(), secret.to_vec());
        }
        Ok(Self(known))
    }
}

impl dimpl::PskResolver for Secrets {
    fn resolve(&self, identity: &[u8]) -> Option<Vec<u8>> {
        self.0.get(identity).cloned()
    }
}

impl UnwindSafe for Secrets {}
impl RefUnwindSafe for Secrets {}

/// Creates a [`dimpl::Psk`], which is possible only through a configuration.
fn psk_of(config: dimpl::ConfigBuilder) -> dimpl::Psk {
    config
        .build()
        .ok()
        .and_then(|config| config.psk().cloned())
        .expect("a configuration with a PSK has one")
}

/// Shortest secret in bytes (RFC 9257 §6: at least 128 bits).
const SHORTEST_SECRET: usize = 16;
