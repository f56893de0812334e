//! Test that nothing is left after a thousand connections. It has a file of its own, since it measures the memory of
//! its process.

mod peers;

use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use peers::*;

#[actix::test]
async fn a_thousand_connections_leave_nothing_behind() {
    let pool = pool().await;
    let api = Api::default();
    // What a process allocates only once: threads, tables, buffers of the allocator.
    round(&pool, &api).await;
    settle(&pool).await;
    let before = Weight::of(&pool);
    println!("{before:?}");
    let mut resident = Vec::new();
    for _ in 0..20 {
        round(&pool, &api).await;
        settle(&pool).await;
        resident.push(Weight::of(&pool).resident);
    }
    let after = Weight::of(&pool);
    println!("{after:?}, resident {resident:?}");

    assert_eq!(
        (after.actors, after.routes, after.descriptors),
        (before.actors, before.routes, before.descriptors)
    );
    // Of the last ten rounds, 500 connections: less than a fortieth of their memory.
    let grown = resident[19].saturating_sub(resident[9]);
    assert!(grown < 2 << 20, "{grown} bytes more after 500 connections");
    pool.stop().await;
}

/// Opens and closes 50 connections: 40 that meet, two at a time, since they share two ports; 5 that never see a peer,
/// and 5 that do not even gather candidates.
async fn round(pool: &PeerConnections, api: &Api) {
    let mut lonely = Vec::new();
    for at in 0..10 {
        let peer = Peer::open(pool, api).await;
        if at % 2 == 0 {
            peer.send(CreateDataChannel::new("x")).await.unwrap();
            peer.send(SetLocalDescription(None)).await.unwrap();
        }
        lonely.push(peer);
    }
    for at in 0..20 {
        let (mut a, mut b) = (Peer::open(pool, api).await, Peer::open(pool, api).await);
        a.send(CreateDataChannel::new("x")).await.unwrap();
        negotiate(&mut a, &mut b).await;
        // Some are closed before they have met.
        if at % 4 > 0 {
            connect(&mut a, &mut b).await;
            a.until(opened).await;
        }
        a.connection.close().await;
        if at % 4 > 0 {
            b.until(closed).await;
        }
        b.connection.close().await;
    }
    for peer in &mut lonely {
        peer.connection.close().await;
        peer.until(closed).await;
    }
}

/// Waits until all closed connections are gone.
async fn settle(pool: &PeerConnections) {
    let mut events = pool.supervisor().events();
    let waits = async {
        while pool.snapshot().running() > IDLE || pool.muxes().iter().any(|mux| mux.routes() > 0) {
            _ = tokio::time::timeout(std::time::Duration::from_millis(50), events.recv()).await;
        }
    };
    let settled = tokio::time::timeout(PATIENCE, waits).await;
    assert!(settled.is_ok(), "{} run: {}", pool.snapshot().running(), pool.snapshot());
}

#[derive(Debug)]
struct Weight {
    actors: usize,
    routes: usize,
    descriptors: usize,
    resident: usize,
}

impl Weight {
    fn of(pool: &PeerConnections) -> Self {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
        Self {
            actors: pool.snapshot().running(),
            routes: pool.muxes().iter().map(|mux| mux.routes()).sum(),
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            resident: pages * 4_096,
        }
    }
}

/// Actors that stay: the supervisors, and the readers of the sockets.
const IDLE: usize = 7;
