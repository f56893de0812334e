//! Talk of clients, until something holds.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::{Client, PATIENCE};

/// Returns whether each of these has so many packets in each of so many streams.
pub(crate) fn have(clients: &[&mut Client], streams: usize, packets: usize) -> bool {
    clients.iter().all(|client| {
        let received = client.streams();
        received.len() == streams && received.iter().all(|stream| stream.len() >= packets)
    })
}

/// Returns whether no stream of these lacks more packets than this. A test waits for it: what a busy machine loses on
/// the way is sent again.
pub(crate) fn have_all_but(clients: &[&mut Client], most: u64) -> bool {
    let lacks = |client: &&mut Client| client.streams().iter().any(|it| Client::missing(it) > most);
    !clients.iter().any(lacks)
}

/// Lets all clients talk until this holds.
pub(crate) async fn talk_until(clients: &mut [&mut Client], done: impl Fn(&[&mut Client]) -> bool) {
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    // Those that a busy machine has missed would be more than its sockets hold.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let talking = async {
        while !done(clients) {
            pace.tick().await;
            for client in clients.iter_mut() {
                client.talk().await;
            }
        }
    };
    if tokio::time::timeout(PATIENCE, talking).await.is_err() {
        for client in clients {
            let streams = client.streams();
            let streams = streams.iter().map(|it| (it.len(), Client::missing(it)));
            let streams = streams.collect::<Vec<_>>();
            println!("{}: received and missing {streams:?}, told {:#?}", client.id(), client.room);
        }
        panic!("not within {PATIENCE:?}");
    }
}
