//! Tests of connections as actors, over real sockets.

mod peers;

use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use peers::*;

#[actix::test]
async fn two_connections_meet_and_talk() {
    let home = home().await;
    let api = Api::default();
    let mut a = Peer::open(&home, &api).await;
    let mut b = Peer::open(&home, &api).await;
    let channel = a.send(CreateDataChannel::new("chat")).await.unwrap();
    negotiate(&mut a, &mut b).await;
    connect(&mut a, &mut b).await;
    a.until(opened).await;

    a.send(SendData::text(channel, "hello")).await.unwrap();
    assert_eq!(b.until(message).await, DataChannelMessage::Text("hello".to_owned()));

    assert!(home.exists(a.connection.id()));
    a.connection.close().await;
    assert_eq!(a.until(closed).await, CloseReason::Closed);
    assert_eq!(b.until(closed).await, CloseReason::ClosedByPeer);
    home.stop().await;
    assert!(!home.exists(b.connection.id()));
}
