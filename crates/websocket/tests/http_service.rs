//! An app served by [`http_service`] and [`https_service`] instead of actix-web's server: clients see no difference.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, web};
use callboard_websocket::{http_service, https_service};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[actix::test]
async fn other_requests_share_a_connection_as_ever() {
    let address = serve(|listener| {
        let app = || App::new().route("/{word}", web::get().to(word));
        let server = actix_server::Server::build().workers(1).disable_signals();
        let server = server.listen("http", listener, move || http_service(app));
        actix_web::rt::spawn(server.unwrap().run());
    });
    let mut tcp = TcpStream::connect(address).await.unwrap();

    for word in ["one", "two"] {
        let request = format!("GET /{word} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut tcp, format!("said {word}").as_bytes()).await;
    }
    // A request for a WebSocket where there is none gets its answer, and nothing after it.
    let request = format!(
        "GET /three HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut rest = String::new();
    tcp.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 OK") && rest.ends_with("said three"), "{rest}");
}

#[actix::test]
async fn it_is_the_same_over_tls() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], PrivateKeyDer::try_from(key).unwrap())
        .unwrap();
    let address = serve(|listener| {
        let app = || App::new().route("/{word}", web::get().to(word));
        let server = actix_server::Server::build().workers(1).disable_signals();
        let server = server.listen("https", listener, move || https_service(app, config.clone()));
        actix_web::rt::spawn(server.unwrap().run());
    });
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();

    let request = format!(
        "GET /word HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
    tls.write_all(request.as_bytes()).await.unwrap();

    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.expect("a goodbye");
    assert!(answer.ends_with("said word"), "{answer}");
}

async fn word(word: web::Path<String>) -> String {
    format!("said {word}")
}

fn serve(serve: impl FnOnce(TcpListener)) -> std::net::SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    serve(listener);
    address
}

async fn read_until(tcp: &mut TcpStream, end: &[u8]) {
    let reading = async {
        let mut read = Vec::new();
        while !read.windows(end.len()).any(|part| part == end) {
            assert_ne!(tcp.read_buf(&mut read).await.unwrap(), 0, "{}", read.escape_ascii());
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("it comes");
}
