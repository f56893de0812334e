//! Connections that are lost: the session is resumed, or the client joins again as a new peer.

mod common;

use callboard_client::{Client, ClientEvent, ClientState, Recipients};
use callboard_signaling::Count;
use common::{Cable, Server, eventually, join, message, next, options, within};

#[actix_web::test]
async fn a_cut_connection_is_resumed_and_no_message_is_lost() {
    let server = Server::with_grace().await;
    let cable = Cable::to(server.address).await;
    let mut bystander = server.join().await;
    let mut client = join(cable.address).await;
    let peer_id = client.peer_id();
    next(&mut bystander).await;

    for round in 0..5 {
        cable.unplug();
        eventually("lost", || server.counters.get(Count::Lost) == round + 1).await;
        eventually("noticed", || client.state() != ClientState::Open).await;
        for number in 0..100 {
            bystander.send(peer_id.clone(), "down", number).unwrap();
            client.send(bystander.peer_id(), "up", number).unwrap();
        }
        bystander.flush().await;
        cable.plug_in();

        assert_eq!(next(&mut client).await, ClientEvent::Resumed);
        for number in 0..100 {
            assert_eq!(message(&mut client).await.data, number);
            // The other members have noticed nothing.
            assert_eq!(message(&mut bystander).await.data, number);
        }
        assert_eq!((client.peer_id(), client.state()), (peer_id.clone(), ClientState::Open));
    }
}

/// What the server has written into a connection that is dead by then is lost.
#[actix_web::test]
async fn who_came_and_went_is_known_though_the_server_has_said_it_to_a_dead_connection() {
    let server = Server::with_grace().await;
    let cable = Cable::to(server.address).await;
    let leaver = server.join().await;
    let mut client = join(cable.address).await;
    let (id, left) = (client.peer_id().parse().expect("an id"), leaver.peer_id());

    cable.hold_back(true);
    let other = server.join().await;
    leaver.close().await;
    let room = server.rooms.lookup("demo").expect("it runs");
    eventually("it has left", || room.len() == 2).await;
    let written = || room.member(id).is_some_and(|it| it.outbox().backlog() == (0, 0));
    eventually("all is written", written).await;
    cable.cut();
    cable.hold_back(false);

    assert_eq!(next(&mut client).await, ClientEvent::Resumed);
    assert_eq!(next(&mut client).await, ClientEvent::Left { peer_id: left });
    let ClientEvent::Joined(member) = next(&mut client).await else { panic!() };
    assert_eq!(member.peer_id, other.peer_id());
    assert_eq!(client.peers(), [member]);
}

#[actix_web::test]
async fn every_change_of_the_state_is_reported_in_order() {
    let server = Server::with_grace().await;
    let cable = Cable::to(server.address).await;
    let mut client = join(cable.address).await;

    cable.cut();

    let mut states = Vec::new();
    loop {
        match within(client.next_event()).await.expect("it runs") {
            ClientEvent::State(change) if change.state == ClientState::Waiting => {
                assert_eq!(change.code, Some(1006));
                assert!(change.delay.is_some() && !change.reason.is_empty(), "{change:?}");
                states.push(change.state);
            }
            ClientEvent::State(change) => states.push(change.state),
            ClientEvent::Resumed => assert_eq!(states.len(), 2),
            other => panic!("{other:?}"),
        }
        if states.last() == Some(&ClientState::Open) {
            break;
        }
    }
    assert_eq!(states, [ClientState::Waiting, ClientState::Connecting, ClientState::Open]);
}

#[actix_web::test]
async fn a_client_whose_session_has_ended_joins_as_a_new_peer() {
    let server = Server::start(|options| options).await;
    let cable = Cable::to(server.address).await;
    let mut bystander = server.join().await;
    let mut client = join(cable.address).await;
    let previous = client.peer_id();
    next(&mut bystander).await;

    cable.unplug();
    assert_eq!(next(&mut bystander).await, ClientEvent::Left { peer_id: previous.clone() });
    let newcomer = server.join().await;
    next(&mut bystander).await;
    eventually("noticed", || client.state() != ClientState::Open).await;
    client.send(Recipients::All, "kept", "for later").unwrap();
    cable.plug_in();

    let ClientEvent::Joined(member) = next(&mut client).await else { panic!() };
    assert_eq!(member.peer_id, newcomer.peer_id());
    let peer_id = client.peer_id();
    let rejoined = ClientEvent::Rejoined { peer_id: peer_id.clone(), previous };
    assert_eq!(next(&mut client).await, rejoined);
    let ClientEvent::Joined(member) = next(&mut bystander).await else { panic!() };
    assert_eq!(member.peer_id, peer_id);
    assert_eq!(message(&mut bystander).await.data, "for later");
}

#[actix_web::test]
async fn a_token_that_the_server_refuses_leads_to_a_new_peer() {
    let server =
        Server::start(|options| options.resume_grace(std::time::Duration::from_millis(1))).await;
    let cable = Cable::to(server.address).await;
    let mut client = join(cable.address).await;
    let previous = client.peer_id();

    cable.unplug();
    let room = server.rooms.lookup("demo").expect("it runs");
    eventually("given up", || room.peers().is_empty()).await;
    cable.plug_in();

    let ClientEvent::Rejoined { previous: before, .. } = next(&mut client).await else { panic!() };
    assert_eq!(before, previous);
}

#[actix_web::test]
async fn a_server_that_has_fallen_silent_is_noticed() {
    let server = Server::with_grace().await;
    let cable = Cable::to(server.address).await;
    let heartbeat = std::time::Duration::from_millis(500);
    let url = common::url(cable.address);
    let mut client = Client::connect(&url, options().heartbeat(heartbeat)).await.unwrap();

    cable.hold_back(true);
    let reason = loop {
        match within(client.next_event()).await.expect("it runs") {
            ClientEvent::State(change) if change.code == Some(3008) => break change.reason,
            // On a slow machine it may have seemed silent before.
            _ => {}
        }
    };
    cable.hold_back(false);

    assert_eq!(reason, "the server does not answer");
    assert_eq!(next(&mut client).await, ClientEvent::Resumed);
}

#[actix_web::test]
async fn the_application_can_have_the_connection_checked() {
    let server = Server::with_grace().await;
    let cable = Cable::to(server.address).await;
    let url = common::url(cable.address);
    let patient = options().first_delay(std::time::Duration::from_secs(3_600));
    let patient = patient.longest_delay(std::time::Duration::from_secs(3_600));
    let mut client = Client::connect(&url, patient).await.unwrap();

    cable.hold_back(true);
    client.wake();
    eventually("noticed", || client.state() == ClientState::Waiting).await;
    cable.hold_back(false);
    client.wake();

    assert_eq!(next(&mut client).await, ClientEvent::Resumed);
}

#[actix_web::test]
async fn an_application_can_cut_its_own_connection() {
    let server = Server::with_grace().await;
    let mut client = server.join().await;

    for round in 1..=3 {
        client.cut();
        assert_eq!(next(&mut client).await, ClientEvent::Resumed);
        assert_eq!(server.counters.get(Count::Resumed), round);
    }
}
