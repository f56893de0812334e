//! Clients that have media through the server: they go to the node that has their room.

use callboard_cluster::{Embedded, MemoryWire, NodeId};
use serde_json::{Value, json};

use crate::common::rtc::webrtc;
use crate::{expect_after, node_with};

#[actix::test]
async fn clients_that_have_media_through_the_server_go_where_their_room_is() {
    let (directory, wire) = (Embedded::new(), MemoryWire::new());
    let mut nodes = Vec::new();
    for name in ["a1", "b2", "c3"] {
        let webrtc = webrtc().await.media();
        nodes.push(node_with((&directory, &wire), name, Some(webrtc)).await);
    }
    let [(home, _home_tree), (b2, b2_tree), (c3, _c3_tree)] = nodes.try_into().ok().unwrap();
    assert_eq!(b2.rooms.lookup("demo").unwrap().home().unwrap().as_str(), "a1");

    let (mut ann, _) = home.join().await;
    let (mut bob, _) = b2.join().await;
    let (mut eve, _) = c3.join().await;
    let mut moved = Value::Null;
    for client in [&mut bob, &mut eve] {
        moved = expect_after(client, &["joined"], "moved").await;
        assert_eq!(
            (&moved["url"], &moved["webrtc"]),
            (&json!("wss://a1.example.org"), &json!("replace"))
        );
    }
    // One goes, the other does not know how.
    let (mut eve, _) = home.resume(moved["resume"]["token"].as_str().unwrap()).await;
    eve.send(json!({ "event": "hello", "data": 1, "to": "all" })).await;
    for client in [&mut ann, &mut bob] {
        assert_eq!(expect_after(client, &["joined"], "hello").await, 1);
    }
    let (mut gus, _) = c3.join().await;
    gus.expect("moved").await;
    bob.expect("joined").await;

    // The room goes to the second node, and the clients of the others follow.
    let b2_id = NodeId::new("b2").unwrap();
    home.rooms.move_room("demo", &b2_id).await.unwrap();
    let others = ["joined", "room_restarted"];
    for client in [&mut ann, &mut eve, &mut gus] {
        let moved = expect_after(client, &others, "moved").await;
        assert_eq!(moved["url"], "wss://b2.example.org");
    }
    assert_eq!(b2.rooms.lookup("demo").unwrap().home(), None);

    // Its next home is one of the two others, and the clients of the other follow.
    let (a1, c3) = (home.rooms.lookup("demo").unwrap(), c3.rooms.lookup("demo").unwrap());
    b2_tree.stop().await;
    for node in [&a1, &c3] {
        node.home_changed(Some(&b2_id)).await;
    }
    let (follower, url) = match (a1.home(), c3.home()) {
        (None, Some(_)) => (&mut gus, "wss://a1.example.org"),
        (Some(_), None) => (&mut ann, "wss://c3.example.org"),
        homes => panic!("{homes:?}"),
    };
    let others = ["joined", "left", "room_restarted"];
    let moved = expect_after(follower, &others, "moved").await;
    assert_eq!(moved["url"], url);
}
