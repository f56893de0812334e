//! A media room over two threads.

mod call;

use std::num::NonZeroUsize;

use call::*;
use callboard_media_rooms::*;
use callboard_supervision::Fault;

/// Starts a call of three: one on the room's thread, two on another.
async fn three() -> (Call, [Client; 3]) {
    let mut call = Call::start(3).await;
    let clients =
        [call.join_on(0, 1, 2).await, call.join_on(1, 1, 2).await, call.join_on(1, 1, 2).await];
    (call, clients)
}

#[actix::test]
async fn three_on_two_threads_see_and_hear_each_other() {
    let (call, [mut one, mut two, mut three]) = three().await;

    talk_until(&mut [&mut one, &mut two, &mut three], |all| {
        have(all, 4, 50) && have_all_but(all, 0)
    })
    .await;

    call.pool.stop().await;
}

#[actix::test]
async fn relays_run_where_there_are_viewers() {
    let mut call = Call::start(2).await;
    let relays = |room: &MediaRoom| {
        let children = room.supervisor().unwrap().snapshot().children;
        let names = children.iter().map(|child| child.id.to_string());
        names.filter(|name| name.starts_with("relay")).collect::<Vec<_>>()
    };

    let _one = call.join_on(0, 1, 1).await;
    assert!(relays(&call.room).is_empty(), "all are on one thread");

    let _two = call.join_on(1, 1, 1).await;
    assert_eq!(relays(&call.room), ["relay-0", "relay-1"]);
    call.pool.stop().await;
}

/// Its viewers have a gap, and go on with a key frame.
#[actix::test]
async fn a_relay_panics_and_the_call_goes_on() {
    let (call, [mut one, mut two, mut three]) = three().await;
    talk_until(&mut [&mut one, &mut two, &mut three], |all| have(all, 4, 20)).await;

    let supervisor = call.room.supervisor().unwrap();
    for packets in [100, 200] {
        for relay in ["relay-0", "relay-1"] {
            supervisor.inject(relay, Fault::Panic("a fault".into())).await.unwrap();
        }
        talk_until(&mut [&mut one, &mut two, &mut three], |all| have(all, 4, packets)).await;
    }
    // What does not change threads is not lost.
    talk_until(&mut [&mut one, &mut two, &mut three], |all| {
        all[1].streams().iter().filter(|it| Client::missing(it) == 0).count() >= 2
    })
    .await;
    call.pool.stop().await;
}

#[actix::test]
async fn connections_go_to_another_thread_when_the_first_is_full() {
    let mut call = Call::start(2).await;
    call.room.set_most_per_thread(NonZeroUsize::MIN);
    assert_eq!((call.room.thread(), call.room.next_thread()), (0, 0));

    let one = call.join(1, 1).await;
    assert_eq!(call.room.next_thread(), 1);

    drop(one.participant.lock().unwrap().take());
    while call.room.next_thread() != 0 {
        tokio::task::yield_now().await;
    }
    call.pool.stop().await;
}
