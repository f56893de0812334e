//! Sound and picture of a participant in step, through a room with real connections.

mod call;

use std::collections::HashMap;
use std::time::Duration;

use call::{Call, Lips, PATIENCE};

/// A viewer plays by the reports of its connection. What they say of a moment's sound and picture must be what those of
/// their sender say: the same time, although pictures come to the room 150 ms later.
#[actix::test]
async fn a_viewer_hears_of_the_senders_clock_and_not_of_arrivals() {
    let mut call = Call::start(2).await;
    let sender = call.join(0, 0).await;
    let mut viewer = call.join(0, 1).await;
    let (mut lips, mut heeded) = (Lips::new(Duration::from_millis(150)), HashMap::new());
    let mut pace = tokio::time::interval(Duration::from_millis(5));

    let in_step = async {
        loop {
            pace.tick().await;
            lips.talk(&sender).await;
            lips.listen(&mut viewer, &mut heeded);
            let streams: Vec<_> = heeded.values().collect();
            let [one, other] = streams[..] else { continue };
            let agree = |one: Option<f64>, other: Option<f64>| {
                one.zip(other).is_some_and(|(one, other)| (one - other).abs() < 0.005)
            };
            if agree(one.reported, other.reported) && agree(one.captured, other.captured) {
                break;
            }
        }
    };
    let is_in_step = tokio::time::timeout(PATIENCE, in_step).await;

    let of = |it: &call::Heeded| (it.reported, it.captured);
    assert!(is_in_step.is_ok(), "{:?}", heeded.values().map(of).collect::<Vec<_>>());
}
