//! TLS with a certificate that is renewed while the server runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use callboard_websocket::{tls, tune};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

fn write_certificate(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

/// Returns whether a client that trusts only this certificate can connect.
async fn trusted(address: std::net::SocketAddr, certificate: &CertificateDer<'static>) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let tcp = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), tcp)
        .await
        .is_ok()
}

#[actix::test]
async fn a_renewed_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate_file, key_file) =
        (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    assert!(tls::server_config(&certificate_file, &key_file).is_err(), "no files");
    let old = write_certificate(folder.path());
    let config = tls::server_config(&certificate_file, &key_file).unwrap();
    let app = || App::new().route("/", web::get().to(HttpResponse::Ok));
    let server = tune(HttpServer::new(app).workers(1).disable_signals());
    let server = server.bind_rustls_0_23(("127.0.0.1", 0), config).unwrap();
    let address = server.addrs()[0];
    actix_web::rt::spawn(server.run());
    assert!(trusted(address, &old).await);

    std::fs::write(&certificate_file, "half a certi").unwrap();
    let renewed = async {
        // Checked once a second: long enough for the broken file to have been noticed.
        let mut tries = 0;
        while tries < 15 {
            assert!(trusted(address, &old).await, "the old certificate stays");
            tries += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let new = write_certificate(folder.path());
        while !trusted(address, &new).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(!trusted(address, &old).await);
    };
    tokio::time::timeout(Duration::from_secs(60), renewed)
        .await
        .expect("the new certificate is in use");
}

#[test]
fn what_is_wrong_with_a_certificate_is_said() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();

    for (certificate, key, what) in [
        (&empty, &key, "no certificate in it"),
        (&certificate, &empty, "empty.pem"),
        (&folder.path().join("?"), &key, "?"),
    ] {
        let error = tls::server_config(certificate, key).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}
