//! Clients that have missed who came and went: they are told who is there, wherever the room is.

use std::collections::BTreeSet;

use callboard_room_supervisor::*;
use futures_util::future::join;
use serde_json::{Value, json};

use crate::common::Client;
use crate::moving::move_from;
use crate::world::{World, join as enter, say};

/// Reads up to the list of members, and returns that.
async fn list(client: &mut Client) -> BTreeSet<PeerId> {
    loop {
        let (event, message) = client.event().await;
        if event == "room_members" {
            return peers(&message);
        }
    }
}

fn peers(message: &Value) -> BTreeSet<PeerId> {
    serde_json::from_value(message["data"]["peers"].clone()).unwrap()
}

#[actix::test]
async fn one_that_has_missed_something_is_told_who_is_there() {
    for name in ["demo", "direct"] {
        let world = World::new().await;
        let [a, b, c] = world.open(name).await;
        let (mut ann, _) = enter(&a, "ann").await;
        let (mut bob, _) = enter(&b, "bob").await;
        let (mut cid, _) = enter(&c, "cid").await;
        let (dan, _) = enter(&c, "dan").await;
        drop(dan);
        let all = BTreeSet::from([ann.id, bob.id, cid.id]);
        for client in [&mut ann, &mut bob, &mut cid] {
            while client.event().await.0 != "left" {}
        }

        for _ in 0..2 {
            for client in [&mut ann, &mut bob, &mut cid] {
                client.resume();
                assert_eq!(list(client).await, all);
            }
        }
        say(&cid, "hello", &json!(1), To::All).unwrap();
        assert_eq!((ann.expect("hello").await, bob.expect("hello").await), (json!(1), json!(1)));
    }
}

/// It waits behind what the client has not got yet.
#[actix::test]
async fn the_list_is_true_where_it_comes() {
    let world = World::new().await;
    let [a, b, c] = world.open("demo").await;
    let (ann, _) = enter(&a, "ann").await;
    let (mut bob, _) = enter(&b, "bob").await;
    let mut view = BTreeSet::from([ann.id, bob.id]);
    let mut others = Vec::new();

    for round in 0..40 {
        let (other, _) = enter([&a, &b, &c][round % 3], "other").await;
        others.push(other);
        bob.resume();
        if round % 2 == 0 {
            drop(others.swap_remove(round % others.len()));
        }
    }
    let last = RoomMessage::new("last", &()).unwrap().to(To::All);
    a.forward_message(last).await.unwrap();

    let mut lists = 0;
    loop {
        let (event, message) = bob.event().await;
        let peer = || message["data"]["peer_id"].as_str().unwrap().parse::<PeerId>().unwrap();
        match event.as_str() {
            "joined" => assert!(view.insert(peer())),
            "left" => assert!(view.remove(&peer())),
            "room_members" => {
                assert_eq!(peers(&message), view);
                lists += 1;
            }
            "last" => break,
            other => panic!("{other}"),
        }
    }
    assert!(lists > 0);
}

#[actix::test]
async fn a_list_that_a_dead_home_owes_comes_from_the_next_one() {
    for name in ["demo", "direct"] {
        let world = World::new().await;
        let [a, b, c] = world.open(name).await;
        let (_ann, _) = enter(&a, "ann").await;
        let (mut bob, _) = enter(&b, "bob").await;
        let (mut cid, _) = enter(&c, "cid").await;

        world.a1.kill(&world.wire, &[&world.b2, &world.c3]).await;
        bob.resume();
        cid.resume();

        let left = BTreeSet::from([bob.id, cid.id]);
        for client in [&mut bob, &mut cid] {
            assert_eq!(list(client).await, left, "{name}");
        }
    }
}

#[actix::test]
async fn a_list_comes_also_while_the_room_moves() {
    let world = World::new().await;
    let [a, b, c] = world.open("tally").await;
    let (mut ann, _) = enter(&a, "ann").await;
    let (mut bob, _) = enter(&b, "bob").await;
    let (mut cid, _) = enter(&c, "cid").await;
    let all = BTreeSet::from([ann.id, bob.id, cid.id]);

    for (from, to) in [(&world.a1, &world.b2), (&world.b2, &world.c3), (&world.c3, &world.a1)] {
        let resuming = async { [&ann, &bob, &cid].map(Client::resume) };
        join(move_from(from, "tally", to), resuming).await;
        for client in [&mut ann, &mut bob, &mut cid] {
            assert_eq!(list(client).await, all);
        }
    }
}
