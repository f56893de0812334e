//! Lost and resumed connections leave nothing behind. A file of its own, because descriptors are counted per process.

mod common;

use std::time::Duration;

use callboard_signaling::{Count, Rate};
use common::{Server, cut, descriptors, settle};
use serde_json::json;

#[actix::test]
async fn after_many_resumptions_everything_is_as_before() {
    let server = Server::start(|options| {
        options.rate(Rate::UNLIMITED).resume_grace(Duration::from_secs(600))
    })
    .await;
    server.join().await.0.socket.close(None).await.expect("open");
    settle(&server, 1, 1, usize::MAX).await;
    let (mut bystander, _) = server.join().await;
    settle(&server, 1, 2, usize::MAX).await;
    let (actors, open) = (server.tree.snapshot().running(), descriptors());

    let (mut guest, mut token) = server.join_with_token().await;
    bystander.expect("joined").await;
    let id = guest.id.clone();
    for round in 1..=200 {
        // Now and then the old connection is still open.
        if round % 5 == 0 {
            let (next, next_token) = server.resume(&token).await;
            (guest, token) = (next, next_token);
        } else {
            cut(guest);
            (guest, token) = server.resume(&token).await;
        }
        guest.send(json!({ "event": "round", "data": round, "to": "all" })).await;
        assert_eq!(bystander.expect("round").await, round);
    }
    guest.socket.close(None).await.expect("open");
    drop(guest);

    settle(&server, 202, 2, open).await;
    assert_eq!(server.tree.snapshot().running(), actors, "{}", server.tree.snapshot());
    assert_eq!(server.counters.get(Count::Resumed), 200);
    assert_eq!(bystander.expect("left").await, json!({ "peer_id": id }));
}
