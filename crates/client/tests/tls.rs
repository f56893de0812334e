//! Connections over TLS.
#![cfg(feature = "tls")]

mod common;

use actix_web::{App, HttpServer};
use callboard_client::{Client, ConnectError};
use callboard_room_supervisor::{RoomOptions, Rooms};
use callboard_signaling::{PeerOptions, Signaling, tls, tune};
use common::{TestPeer, TestRoom, options, within};

#[actix_web::test]
async fn a_server_with_a_trusted_certificate_is_joined_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    let rooms = Rooms::new();
    rooms.start().await.unwrap();
    rooms.start_supervised(RoomOptions::<TestRoom>::new("demo", ())).await.unwrap();
    let signaling = Signaling::new(PeerOptions::<TestPeer>::new((), rooms.clone()));
    let app = move || App::new().configure(signaling.at(&["/socket/{room}"]));
    let server = tune(HttpServer::new(app).workers(1).disable_signals());
    let config = tls::server_config(&certificate, &key).unwrap();
    let server = server.bind_rustls_0_23(("127.0.0.1", 0), config).unwrap();
    let url = format!("wss://localhost:{}/socket/demo", server.addrs()[0].port());
    actix_web::rt::spawn(server.run());

    let trusting = options().trust(made.cert.pem());
    let client = within(Client::connect(&url, trusting)).await.expect("let in");
    assert!(!client.peer_id().is_empty());
    within(client.close()).await;

    let stranger = within(Client::connect(&url, options())).await;
    assert!(matches!(stranger, Err(ConnectError::Unreachable(_))), "{stranger:?}");
    let other_name = url.replace("localhost", "127.0.0.1");
    let other = within(Client::connect(&other_name, options().trust(made.cert.pem()))).await;
    assert!(matches!(other, Err(ConnectError::Unreachable(_))), "{other:?}");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = within(Client::connect(&url, options().trust(broken))).await;
    assert!(matches!(broken, Err(ConnectError::Address(_))), "{broken:?}");
}
