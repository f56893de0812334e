//! TLS configuration with a certificate that can be replaced while the server runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::time::Instant;

/// Error: a certificate and its key cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read, or is not PEM.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the reader.
        error: rustls_pki_types::pem::Error,
    },
    /// The certificate file holds no certificate.
    #[error("{path}: no certificate in it", path = path.display())]
    NoCertificate {
        /// Path of the file.
        path: PathBuf,
    },
    /// The key is of an unsupported kind, or does not belong to the certificate.
    #[error(transparent)]
    Key(#[from] rustls::Error),
}

/// Creates a TLS configuration for [`HttpServer::bind_rustls_0_23`](actix_web::HttpServer::bind_rustls_0_23) from this
/// certificate chain and key (PEM).
///
/// The files are checked again when a client connects, at most once a second: a renewed certificate is used from then
/// on, and open connections stay. If the files cannot be used, for example half written ones, that is logged and the
/// old certificate stays.
///
/// # Errors
/// [`TlsError`]
pub fn server_config(
    certificate: impl Into<PathBuf>,
    key: impl Into<PathBuf>,
) -> Result<ServerConfig, TlsError> {
    let resolver = Reloading::new(certificate.into(), key.into())?;
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct Reloading {
    files: [PathBuf; 2],
    current: ArcSwap<CertifiedKey>,
    watch: Mutex<Watch>,
}

#[derive(Debug)]
struct Watch {
    looked: Instant,
    seen: [Option<Stamp>; 2],
}

/// Modification time and length of a file, which change with its content.
type Stamp = (SystemTime, u64);

impl Reloading {
    fn new(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let files = [certificate, key];
        let seen = stamps(&files);
        let current = ArcSwap::from_pointee(load(&files)?);
        Ok(Self { files, current, watch: Mutex::new(Watch { looked: Instant::now(), seen }) })
    }

    fn look(&self) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.looked.elapsed() < LOOK_EVERY {
            return;
        }
        watch.looked = Instant::now();
        let seen = stamps(&self.files);
        if seen == watch.seen {
            return;
        }
        watch.seen = seen;
        match load(&self.files) {
            Ok(loaded) => {
                self.current.store(Arc::new(loaded));
                log::info!("the certificate in {} is in use now", self.files[0].display());
            }
            Err(error) => log::error!("the old certificate stays in use: {error}"),
        }
    }
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.look();
        Some(self.current.load_full())
    }
}

fn load([certificate, key]: &[PathBuf; 2]) -> Result<CertifiedKey, TlsError> {
    let in_file = |path: &Path| {
        let path = path.to_owned();
        move |error| TlsError::File { path, error }
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(in_file(certificate))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: certificate.clone() });
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(in_file(key))?;
    Ok(CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?)
}

fn stamps(files: &[PathBuf; 2]) -> [Option<Stamp>; 2] {
    let stamp = |path: &PathBuf| -> io::Result<Stamp> {
        let metadata = fs::metadata(path)?;
        Ok((metadata.modified()?, metadata.len()))
    };
    [stamp(&files[0]).ok(), stamp(&files[1]).ok()]
}

/// Interval of checks: at most two calls of `stat` a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
