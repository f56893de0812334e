//! A server behind a one-to-one NAT, as in a container: found by the address that it announces.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use actix::prelude::*;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use integration_tests::nat::NatOptions;
use integration_tests::{NatBed, in_network_namespace, program};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[test]
fn a_server_behind_a_one_to_one_nat_is_reached_by_the_address_that_it_announces() {
    let echo = program::of_the_workspace("echo");
    in_network_namespace(async || {
        let bed = NatBed::new(NatOptions::default(), NatOptions::default());
        let (inside, outside) = (bed.left.client_address, bed.left.router_address);
        bed.left.router.nft(&format!(
            "flush chain ip nat forward
             flush chain ip nat input
             table ip one_to_one {{
                 chain prerouting {{
                     type nat hook prerouting priority dstnat; policy accept;
                     iifname outside dnat to {inside}
                 }}
             }}"
        ));
        let mut server: Command = bed.left.client.command(echo).into();
        let mut server = server
            .args(["0.0.0.0:8080", "--udp-port", "40000", "--announce", &outside.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(server.stdout.take().expect("a pipe")).lines();
        timeout(PATIENCE, lines.next_line())
            .await
            .expect("in time")
            .expect("text")
            .expect("a line");

        bed.right.client.enter();
        let url = format!("{outside}:8080");
        // The new thread is in the network that this thread has entered.
        let client = thread::spawn(move || System::new().block_on(echoed(&url)));

        let (answer, echoed) = client.join().expect("it is answered");
        assert!(answer.contains(&format!(" {outside} 40000 typ host")), "{answer}");
        assert!(!answer.contains(&inside.to_string()), "{answer}");
        assert_eq!(echoed, "hello");
    });
}

/// Returns the server's answer, and the message that it sends back.
async fn echoed(address: &str) -> (String, String) {
    let options = PeerConnectionsOptions { media_threads: 1, ..PeerConnectionsOptions::default() };
    let connections = PeerConnections::start(options).await.expect("ports");
    let settings = ApiSettings { inline_candidates: true, ..ApiSettings::default() };
    let api = Api::with_settings(MediaEngine::empty(), InterceptorRegistry::default(), settings);
    let (tell, mut told) = mpsc::unbounded_channel();
    let owner = Owner(tell).start().recipient();
    let connection =
        connections.open(&api, Configuration::default(), owner).await.expect("a connection");
    let channel = connection.send(CreateDataChannel::new("echo")).await.unwrap().expect("one");
    connection.send(SetLocalDescription(None)).await.unwrap().expect("an offer");
    let mut next = async || timeout(PATIENCE, told.recv()).await.expect("in time").expect("open");
    while !matches!(
        next().await,
        ConnectionEvent::IceGatheringStateChange(IceGatheringState::Complete)
    ) {}
    let offer = connection.send(LocalDescription).await.unwrap().expect("it has been made");
    let answer = post(address, &serde_json::to_string(&offer).expect("text")).await;
    let description = serde_json::from_str(&answer).expect("a description");
    connection.send(SetRemoteDescription(description)).await.unwrap().expect("an answer");
    loop {
        match next().await {
            ConnectionEvent::DataChannelOpened(_) => {
                connection.send(SendData::text(channel, "hello")).await.unwrap().expect("open");
            }
            ConnectionEvent::DataChannelMessage { message, .. } => {
                connections.stop().await;
                return (answer, String::from_utf8_lossy(message.as_bytes()).into_owned());
            }
            ConnectionEvent::Closed(why) => panic!("{why:?}"),
            _ => {}
        }
    }
}

async fn post(address: &str, body: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.expect("it listens");
    let head = format!(
        "POST /offer HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    tcp.write_all(format!("{head}{body}").as_bytes()).await.expect("open");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
}

struct Owner(mpsc::UnboundedSender<ConnectionEvent>);

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<PeerConnectionEvent> for Owner {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, _: &mut Context<Self>) {
        _ = self.0.send(event.event);
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
