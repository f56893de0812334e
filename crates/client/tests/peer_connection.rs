//! Peer connections of clients to a real server.
#![cfg(feature = "webrtc")]

mod common;

use std::time::Duration;

use callboard_client::{
    ChannelData, Client, ClientEvent, ClientState, OpenPeerConnectionError, Recipients,
    SendMessageError, WebRtcOptions,
};
use callboard_peer_connection::{
    DataChannelOptions, PeerConnectionState, PeerConnections, PeerConnectionsOptions,
};
use callboard_signaling::WebRtc;
use callboard_transport::mux::{InterfaceFilter, UdpMuxOptions};
use common::{Cable, Server, eventually, hooks, join, next, within};
use serde_json::{Value, json};

fn pool() -> PeerConnectionsOptions {
    let interfaces = InterfaceFilter::with_loopback().only(|_, ip| ip.is_loopback());
    PeerConnectionsOptions {
        media_threads: 1,
        handshake_threads: 0,
        sockets: UdpMuxOptions { interfaces, ..UdpMuxOptions::default() },
        ..PeerConnectionsOptions::default()
    }
}

fn webrtc() -> WebRtcOptions {
    let unordered = DataChannelOptions { ordered: false, ..DataChannelOptions::default() };
    let options = WebRtcOptions::new().pool(pool());
    options.channel("echo", DataChannelOptions::default()).channel("cursor", unordered)
}

async fn server(grace: Duration) -> (Server, PeerConnections) {
    let connections = PeerConnections::start(pool()).await.expect("a port");
    let webrtc = WebRtc::new(connections.clone());
    let server =
        Server::start(move |options| options.resume_grace(grace).webrtc(webrtc).hooks(hooks()));
    (server.await, connections)
}

/// Passes over events until this one comes.
async fn until(client: &mut Client, expected: impl Fn(&ClientEvent) -> bool) -> ClientEvent {
    loop {
        let event = next(client).await;
        if expected(&event) {
            return event;
        }
    }
}

/// Waits until this channel is open.
async fn opened(client: &mut Client, label: &str) {
    until(
        client,
        |event| matches!(event, ClientEvent::ChannelOpened { channel } if channel == label),
    )
    .await;
}

/// Sends a message, and waits for its echo.
async fn echo(client: &mut Client, channel: &str, data: ChannelData) {
    client.send_data(channel, data.clone()).await.unwrap();
    let expected = ClientEvent::Data { channel: channel.to_owned(), data };
    until(client, |event| *event == expected).await;
}

#[actix_web::test]
async fn a_data_channel_to_the_server_echoes() {
    let (server, _) = server(Duration::ZERO).await;
    let mut client = server.join().await;
    // Without a data channel, over the WebSocket.
    echo(&mut client, "echo", "hello".into()).await;
    let bytes = client.send_data("echo", vec![1, 2, 3]).await;
    assert_eq!(bytes, Err(SendMessageError::NoChannel));

    client.open_peer_connection(webrtc()).unwrap();

    assert_eq!(client.open_peer_connection(webrtc()), Err(OpenPeerConnectionError::AlreadyOpen));
    opened(&mut client, "echo").await;
    echo(&mut client, "echo", "hello".into()).await;
    echo(&mut client, "echo", vec![0, 1, 255].into()).await;
    for number in 0..100 {
        client.send_data("echo", number.to_string()).await.unwrap();
    }
    for number in 0..100 {
        let data = ChannelData::Text(number.to_string());
        let event = until(&mut client, |event| matches!(event, ClientEvent::Data { .. })).await;
        assert_eq!(event, ClientEvent::Data { channel: "echo".into(), data });
    }
    assert_eq!(client.send_data("echo", "").await, Err(SendMessageError::Empty));
    let large = client.send_data("echo", "x".repeat(1 << 20)).await;
    assert!(matches!(large, Err(SendMessageError::TooLarge { .. })), "{large:?}");

    client.close_peer_connection();
    let closed = |event: &ClientEvent| {
        matches!(event, ClientEvent::PeerConnection { state: PeerConnectionState::Closed, .. })
    };
    until(&mut client, closed).await;
    echo(&mut client, "echo", "over the WebSocket".into()).await;
    client.close().await;
    let error = client.open_peer_connection(webrtc());
    assert_eq!(error, Err(OpenPeerConnectionError::Closed));
}

#[actix_web::test]
async fn it_goes_on_while_there_is_no_websocket_and_is_replaced_for_a_new_peer() {
    let (server, connections) = server(Duration::from_secs(600)).await;
    let cable = Cable::to(server.address).await;
    let mut client = join(cable.address).await;
    client.open_peer_connection(webrtc()).unwrap();
    opened(&mut client, "echo").await;

    cable.unplug();
    eventually("noticed", || client.state() != ClientState::Open).await;
    echo(&mut client, "echo", "without a WebSocket".into()).await;
    cable.plug_in();
    until(&mut client, |event| *event == ClientEvent::Resumed).await;
    echo(&mut client, "echo", "with another".into()).await;

    // The server's end fails: the client opens another one, with the same channels.
    let id = connections.connections().which_children().await.unwrap()[0].id.to_string();
    connections.connections().terminate_child(&id).await.unwrap();
    opened(&mut client, "echo").await;
    echo(&mut client, "echo", "again".into()).await;
}

#[actix_web::test]
async fn calls_go_over_its_channel_for_calls_too() {
    let (server, _) = server(Duration::ZERO).await;
    let mut client = server.join().await;
    client.register("add", async |args: Vec<Value>| {
        Ok::<_, String>(args.iter().filter_map(Value::as_i64).sum::<i64>())
    });
    client.open_peer_connection(webrtc().channel("events", DataChannelOptions::default())).unwrap();
    opened(&mut client, "events").await;

    // The server calls over this channel if it is open.
    client.send(Recipients::All, "call_me", "add").unwrap();
    let event = until(&mut client, |event| matches!(event, ClientEvent::Message(_))).await;
    let ClientEvent::Message(message) = event else { panic!() };
    assert_eq!(message.data, json!({ "ok": 3 }));
    assert_eq!(within(client.call("test", "add", (1, 2))).await, Ok(json!(3)));
}

#[actix_web::test]
async fn a_server_without_webrtc_is_asked_once() {
    let server = Server::start(|options| options).await;
    let mut client = server.join().await;

    client.open_peer_connection(webrtc()).unwrap();

    let closed = |event: &ClientEvent| {
        matches!(event, ClientEvent::PeerConnection { state: PeerConnectionState::Closed, .. })
    };
    until(&mut client, closed).await;
    assert_eq!(client.state(), ClientState::Open);
}

#[test]
fn it_needs_an_actix_system() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let system = actix_web::rt::System::new();
    let server = system.block_on(Server::start(|options| options));
    let address = server.address;
    let thread = std::thread::spawn(move || {
        let client = runtime.block_on(join(address));
        let error = client.open_peer_connection(webrtc());
        assert_eq!(error, Err(OpenPeerConnectionError::NoSystem));
    });
    system.block_on(eventually("tried", || thread.is_finished()));
    thread.join().unwrap();
}
