//! Connections to the server: TCP, TLS, or what the application opens.

use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::address::Address;

/// A connection that carries a WebSocket.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// The way in which a client's connections are opened.
#[derive(Clone)]
pub(crate) enum Connector {
    /// Over TCP, perhaps with TLS.
    Tcp(Tls),
    /// As the application says.
    Custom(Arc<dyn Fn() -> Opening + Send + Sync>),
}

/// A connection while it is opened.
pub(crate) type Opening = BoxFuture<'static, io::Result<Box<dyn Transport>>>;

impl Connector {
    /// Returns whether connections to this address can be opened, by a client whose application has given that one.
    pub(crate) fn leads_to(&self, to: &Address, first: &Address) -> bool {
        matches!(self, Self::Tcp(_)) || (&to.host, to.port) == (&first.host, first.port)
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self, address: &Address) -> Result<Box<dyn Transport>, String> {
        let tls = match self {
            Self::Custom(open) => return open().await.map_err(|error| error.to_string()),
            Self::Tcp(tls) => tls,
        };
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await;
        let tcp = tcp.map_err(|error| error.to_string())?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        if address.is_secure { tls.connect(&address.host, tcp).await } else { Ok(Box::new(tcp)) }
    }
}

/// Configuration of TLS, shared by all connections of a client.
#[derive(Clone)]
pub(crate) struct Tls {
    #[cfg(feature = "tls")]
    trusted: Arc<[u8]>,
    /// Made for the first connection over TLS: a client may be moved to one later.
    #[cfg(feature = "tls")]
    connector: Arc<std::sync::OnceLock<Result<tokio_rustls::TlsConnector, String>>>,
}

#[cfg(feature = "tls")]
impl Tls {
    /// Reads the system's certificates now if TLS is needed at once.
    pub(crate) fn new(is_needed: bool, trusted: Vec<u8>) -> Result<Self, String> {
        let tls = Self { trusted: trusted.into(), connector: Arc::default() };
        if is_needed {
            tls.connector()?;
        }
        Ok(tls)
    }

    fn connector(&self) -> Result<&tokio_rustls::TlsConnector, String> {
        self.connector.get_or_init(|| connector(&self.trusted)).as_ref().map_err(Clone::clone)
    }

    async fn connect(&self, host: &str, tcp: TcpStream) -> Result<Box<dyn Transport>, String> {
        let name = rustls_pki_types::ServerName::try_from(host.to_owned())
            .map_err(|error| error.to_string())?;
        let stream =
            self.connector()?.connect(name, tcp).await.map_err(|error| format!("TLS: {error}"))?;
        Ok(Box::new(stream))
    }
}

/// Reads the system's certificates, and those that the application trusts.
#[cfg(feature = "tls")]
fn connector(trusted: &[u8]) -> Result<tokio_rustls::TlsConnector, String> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    // A certificate that cannot be read is not trusted.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in CertificateDer::pem_slice_iter(trusted) {
        let certificate = certificate.map_err(|error| format!("certificate: {error}"))?;
        roots.add(certificate).map_err(|error| format!("certificate: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config).into())
}

#[cfg(not(feature = "tls"))]
impl Tls {
    async fn connect(&self, _: &str, _: TcpStream) -> Result<Box<dyn Transport>, String> {
        Err("TLS needs the feature `tls`".to_owned())
    }
}
