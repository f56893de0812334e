//! Losing the WebSocket without a goodbye, where the server keeps the peer for a grace period.

use std::time::Duration;

use integration_tests::{Kind, in_network_namespace};
use serde_json::json;

use crate::page::Page;
use crate::proxy::Proxy;
use crate::scripted::Scripted;
use crate::server::{Server, Setup};
use crate::streams;

#[test]
fn chromium_takes_up_what_was_cut() {
    in_network_namespace(async || takes_up_what_was_cut(Kind::Chromium).await);
}

#[test]
fn firefox_takes_up_what_was_cut() {
    in_network_namespace(async || takes_up_what_was_cut(Kind::Firefox).await);
}

async fn takes_up_what_was_cut(kind: Kind) {
    let setup = Setup { resume_grace: Duration::from_secs(60), ..Setup::default() };
    let server = Server::start(setup).await;
    let proxy = Proxy::start(server.port).await;
    let page = Page::open(kind, proxy.port).await;
    page.expect_refused_resume();
    page.run(&format!(
        "window.ann = await connect('/socket/lobby');
         // Beside the cable that is cut.
         window.beside = 'ws://127.0.0.1:{}/socket/lobby';
         [window.bob, window.cid] = [await connect(beside), await connect(beside)];
         await until(() => ann.peers.has(bob.peerId) && ann.peers.has(cid.peerId));
         window.before = {{ id: ann.peerId }};
         window.told = Object.fromEntries(['state', 'resumed', 'rejoined', 'chat', 'left', 'webrtc', 'channel_closed', 'data']
             .map((event) => [event, heard(ann, event)]));
         window.left = heard(bob, 'left');
         window.chat = heard(bob, 'chat');
         // By the socket, as there is no other way yet.
         window.waits = ann.call('test', 'wait');
         window.peer = ann.openPeerConnection();
         await next(ann, 'channel_open');
         before.connection = peer.connection;",
        server.port
    ))
    .await;

    // What the server writes into a connection that is dead by then is lost.
    proxy.get_stuck();
    page.run(
        "const { peerId } = cid;
         cid.close();
         await until(() => left.length === 1);
         window.dan = await connect(beside);
         window.unseen = [ann.peers.has(peerId), ann.peers.has(dan.peerId)];",
    )
    .await;
    proxy.work_again();

    for round in 1..=2 {
        proxy.cut();
        page.becomes(&format!(
            "told.state.filter(([state]) => state === 'waiting').length >= {round} && \
             (ann.state !== 'waiting' || (ann.send('chat', {round}), true))"
        ))
        .await;
        page.run("bob.send('chat', 'meanwhile')").await;
        page.becomes(&format!("told.resumed.length === {round}")).await;
        page.becomes(&format!("told.chat.length === {round}")).await;
    }
    page.becomes("ann.peers.size === 2 && ann.peers.has(bob.peerId) && ann.peers.has(dan.peerId)")
        .await;
    let missed =
        page.run("return [unseen, told.left.splice(0).length, left.splice(0).length]").await;
    assert_eq!(missed, json!([[true, false], 1, 1]));

    let after = page
        .run(
            "ann.send('chat', 'after');
             await until(() => chat.some(([data]) => data === 'after'));
             await ann.call('test', 'let_through');
             return {
                 id: ann.peerId === before.id, peers: ann.peers.has(bob.peerId), waited: await waits, left, rejoined: told.rejoined,
                 connection: peer.connection === before.connection, webrtc: peer.state, closed: told.channel_closed,
                 chat: told.chat.map(([data]) => data),
             }",
        )
        .await;
    let expected = json!({
        "id": true, "peers": true, "waited": "let through", "left": [], "rejoined": [],
        "connection": true, "webrtc": "connected", "closed": [], "chat": ["meanwhile", "meanwhile"],
    });
    assert_eq!(after, expected);

    // Another server does not know the session: everything begins anew.
    let other = Server::start(setup).await;
    page.run(
        "window.lost = code_of(ann.call('test', 'wait'));
         window.again = next(ann, 'rejoined');
         window.opened = heard(ann, 'channel_open');",
    )
    .await;
    proxy.cut_and_lead_to(other.port);
    let anew = page
        .run(
            "const [id, previous] = await again;
             await until(() => opened.length === 1);
             return {
                 ids: id === ann.peerId && previous === before.id && id !== previous, peers: ann.peers.size,
                 left: told.left.length, lost: await lost, another: peer.connection !== before.connection,
                 sum: await ann.call('test', 'add', [20, 22]),
             }",
        )
        .await;
    let expected = json!({
        "ids": true, "peers": 0, "left": 2, "lost": "disconnected", "another": true, "sum": 42,
    });
    assert_eq!(anew, expected);
    page.close().await;
}

/// The server has not refused the session: the client lost its new connection before it could read that it has it.
#[test]
fn a_session_is_asked_for_again_when_its_new_connection_is_lost_at_once() {
    in_network_namespace(async || {
        let blank = Server::start(Setup::default()).await;
        let server = Scripted::start(|mut client| async move {
            let resume = json!({ "token": format!("token-{}", client.number), "grace_ms": 60_000 });
            let data = json!({ "peer_id": "ann", "peers": [], "resume": resume });
            match client.number {
                0 => client.say(json!({ "event": "authenticated", "data": data })).await,
                1 => {}
                _ => {
                    client.say(json!({ "event": "resumed", "data": data })).await;
                    while client.next().await.is_some() {}
                }
            }
        })
        .await;
        let page = Page::open(Kind::Chromium, blank.port).await;
        page.run(&format!(
            "window.ann = await connect('ws://127.0.0.1:{}/socket/lobby', {{ firstDelay: 5, longestDelay: 20 }});
             [window.resumed, window.rejoined] = [heard(ann, 'resumed'), heard(ann, 'rejoined')];",
            server.port
        ))
        .await;

        page.becomes("resumed.length === 1 && ann.state === 'open'").await;
        assert_eq!(page.run("return [ann.peerId, rejoined.length]").await, json!(["ann", 0]));
        let path = "/socket/lobby";
        let resume = format!("{path}?resume=token-0");
        assert_eq!(server.asked(), [path, &resume, &resume]);
        page.close().await;
    });
}

/// On-demand rooms would be opened again by clients that have not heard that their room was closed.
#[test]
fn a_room_that_was_closed_stays_closed_for_those_who_were_away() {
    in_network_namespace(async || {
        let setup = Setup { resume_grace: Duration::from_secs(60), ..Setup::default() };
        let server = Server::start(setup).await;
        let proxy = Proxy::start(server.port).await;
        let page = Page::open(Kind::Chromium, proxy.port).await;
        page.expect_no_socket_at("/socket/pop-up");
        page.run(&format!(
            "window.ann = await connect('/socket/pop-up', {{ firstDelay: 5, longestDelay: 20, joinTimeout: 1_000 }});
             window.bob = await connect('ws://127.0.0.1:{}/socket/pop-up');
             [window.states, window.rejoined] = [heard(ann, 'state'), heard(ann, 'rejoined')];",
            server.port
        ))
        .await;

        proxy.get_stuck();
        proxy.cut();
        page.becomes("ann.state === 'waiting' || ann.state === 'connecting'").await;
        page.run("bob.send('close_room'); await until(() => bob.state === 'closed')").await;
        proxy.work_again();

        page.becomes("ann.state === 'closed'").await;
        let told = page.run("return [states.at(-1)[1].code, rejoined.length]").await;
        assert_eq!(told, json!([1000, 0]));
        page.close().await;
    });
}

/// The server may have written what has changed into a connection that was dead by then.
#[test]
fn tracks_that_come_and_go_meanwhile_are_known_when_a_lost_connection_is_back() {
    in_network_namespace(async || {
        let setup = Setup { resume_grace: Duration::from_secs(60), ..streams::media() };
        let server = Server::start(setup).await;
        let proxy = Proxy::start(server.port).await;
        let bob = streams::joined(Kind::Chromium, server.port).await;
        let page = streams::joined(Kind::Chromium, proxy.port).await;
        page.expect_refused_resume();
        streams::sees(&page, 1).await;

        proxy.get_stuck();
        bob.run("peer.close()").await;
        let cid = streams::joined(Kind::Chromium, server.port).await;
        streams::sees(&cid, 1).await;
        let id = cid.run("return ann.peerId").await;
        page.run("window.resumed = heard(ann, 'resumed')").await;
        proxy.work_again();
        proxy.cut();

        page.becomes("resumed.length === 1").await;
        page.becomes(&format!(
            "tracks.at(-1)[0].length === 2 && tracks.at(-1)[0].every(({{ peer }}) => peer === {id})"
        ))
        .await;
        streams::sees(&page, 1).await;
        for page in [page, bob, cid] {
            page.close().await;
        }
    });
}
