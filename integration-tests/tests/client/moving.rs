//! Pages that their server sends to another address.

use std::time::Duration;

use integration_tests::{Kind, in_network_namespace};
use serde_json::{Value, json};

use crate::page::Page;
use crate::proxy::Proxy;
use crate::scripted::Scripted;
use crate::server::{Server, Setup};

#[test]
fn chromium_moves_with_its_session_and_loses_nothing() {
    in_network_namespace(async || moves_with_its_session(Kind::Chromium).await);
}

#[test]
fn firefox_moves_with_its_session_and_loses_nothing() {
    in_network_namespace(async || moves_with_its_session(Kind::Firefox).await);
}

/// The other address leads to the same server, and so to the same sessions.
async fn moves_with_its_session(kind: Kind) {
    let setup = Setup { resume_grace: Duration::from_secs(60), ..Setup::default() };
    let server = Server::start(setup).await;
    let there = Proxy::start(server.port).await;
    let page = Page::open(kind, server.port).await;
    let told = page
        .run(&format!(
            "{JOIN}
             ann.openPeerConnection();
             await next(ann, 'channel_open');
             window.waits = ann.call('test', 'wait');
             const before = ann.peerId;
             for (let number = 0; number < 300; number += 1) {{
                 if (number === 100) ann.send('move_me', {{ url: 'ws://127.0.0.1:{}', resume: true }});
                 ann.send('up', number);
                 bob.send('down', number);
                 if (number % 20 === 0) await new Promise((later) => setTimeout(later, 1));
             }}
             await until(() => told.moved.length === 1 && told.down.length >= 300 && up.length >= 300);
             await ann.call('test', 'let_through');
             return {{
                 id: ann.peerId === before, down: in_order(told.down), up: in_order(up), events: others(),
                 left: left.length, url: ann.url, moved: told.moved, waited: await waits,
                 sum: await ann.call('test', 'add', [20, 22]),
             }};",
            there.port
        ))
        .await;

    let (from, to) = (lobby(server.port), lobby(there.port));
    let expected = json!({
        "id": true, "down": 300, "up": 300, "events": [], "left": 0, "url": to,
        "moved": [[{ "from": from, "to": to }]], "waited": "let through", "sum": 42,
    });
    assert_eq!(told, expected);
    // It is there.
    there.cut();
    page.becomes("told.resumed.length === 1 && ann.state === 'open'").await;
    page.close().await;
}

#[test]
fn a_page_opens_its_peer_connection_anew_where_the_server_says_so() {
    in_network_namespace(async || {
        let setup = Setup { resume_grace: Duration::from_secs(60), ..Setup::default() };
        let server = Server::start(setup).await;
        let there = Proxy::start(server.port).await;
        let page = Page::open(Kind::Chromium, server.port).await;
        let told = page
            .run(&format!(
                "{JOIN}
                 const link = ann.openPeerConnection();
                 await next(ann, 'channel_open');
                 const [first, before] = [link.connection, ann.peerId];
                 ann.send('move_me', {{ url: 'ws://127.0.0.1:{}', resume: true, webrtc: 'replace' }});
                 await until(() => told.moved.length === 1 && told.channel_open.length === 2);
                 await until(() => link.connection.connectionState === 'connected');
                 // Of a page without media it outlasts the change for a moment.
                 await until(() => first.signalingState === 'closed');
                 return {{
                     id: ann.peerId === before, anew: link.connection !== first, first: first.signalingState,
                     left: left.length, rejoined: told.rejoined.length, sum: await ann.call('test', 'add', [20, 22]),
                 }};",
                there.port
            ))
            .await;

        let expected = json!({ "id": true, "anew": true, "first": "closed", "left": 0, "rejoined": 0, "sum": 42 });
        assert_eq!(told, expected);
        page.close().await;
    });
}

#[test]
fn a_page_without_a_session_joins_another_server_and_leaves_this_one() {
    in_network_namespace(async || {
        let [here, there] =
            [Server::start(Setup::default()).await, Server::start(Setup::default()).await];
        let page = Page::open(Kind::Chromium, here.port).await;
        let told = page
            .run(&format!(
                "{JOIN}
                 window.eve = await connect('ws://127.0.0.1:{port}/socket/lobby');
                 const before = ann.peerId;
                 ann.openPeerConnection();
                 await next(ann, 'channel_open');
                 ann.send('move_me', {{ url: 'ws://127.0.0.1:{port}' }});
                 await until(() => told.moved.length === 1 && left.length === 1);
                 await until(() => told.channel_open.length === 2);
                 return {{
                     rejoined: told.rejoined.map(([id, previous]) => id === ann.peerId && previous === before),
                     left: told.left.map(([peer]) => peer === bob.peerId),
                     joined: told.joined.map(([peer]) => peer === eve.peerId),
                     state: told.state.length, peers: ann.peers.size, seen: eve.peers.has(ann.peerId),
                     sum: await ann.call('test', 'add', [20, 22]),
                 }};",
                port = there.port
            ))
            .await;

        let expected = json!({
            "rejoined": [true], "left": [true], "joined": [true], "state": 0, "peers": 1, "seen": true, "sum": 42,
        });
        assert_eq!(told, expected);
        page.close().await;
    });
}

#[test]
fn a_page_that_cannot_get_there_stays_and_loses_nothing() {
    in_network_namespace(async || {
        let setup = Setup { resume_grace: Duration::from_secs(60), ..Setup::default() };
        let server = Server::start(setup).await;
        let page = Page::open(Kind::Chromium, server.port).await;
        page.expect_no_socket_at("127.0.0.1:9");
        let told = page
            .run(&format!(
                "{JOIN}
                 for (let number = 0; number < 200; number += 1) {{
                     if (number === 100) ann.send('move_me', {{ url: 'ws://127.0.0.1:9', resume: true }});
                     ann.send('up', number);
                     bob.send('down', number);
                 }}
                 await until(() => told.error.length === 1 && told.down.length >= 200 && up.length >= 200);
                 return {{
                     error: told.error[0][0].code, down: in_order(told.down), up: in_order(up),
                     moved: told.moved.length, state: told.state.length, rejoined: told.rejoined.length, url: ann.url,
                 }};"
            ))
            .await;

        let expected = json!({
            "error": "move_failed", "down": 200, "up": 200, "moved": 0, "state": 0, "rejoined": 0,
            "url": lobby(server.port),
        });
        assert_eq!(told, expected);
        page.close().await;
    });
}

/// Nodes of a cluster may believe it of each other that they have the room.
#[test]
fn servers_that_send_a_page_in_a_circle_end_in_an_error() {
    in_network_namespace(async || {
        let blank = Server::start(Setup::default()).await;
        let nodes = [circling().await, circling().await];
        let page = Page::open(Kind::Chromium, blank.port).await;
        let told = page
            .run(&format!(
                "return code_of(connect('ws://127.0.0.1:{}/socket/lobby?to={}'))",
                nodes[0].port, nodes[1].port
            ))
            .await;

        assert_eq!(told, json!("moved_too_often"));
        assert_eq!(nodes[0].connections() + nodes[1].connections(), 9);
        page.close().await;
    });
}

/// Starts a server that sends each client to the port in its query, and names itself there.
async fn circling() -> Scripted {
    Scripted::start(|mut client| async move {
        let path = client.path().to_owned();
        let port = path.rsplit('=').next().expect("a query");
        let own = client.local_port();
        let url = format!("ws://127.0.0.1:{port}/socket/lobby?to={own}");
        client.say(json!({ "event": "moved", "data": { "url": url } })).await;
        while client.next().await.is_some() {}
    })
    .await
}

pub(crate) fn lobby(port: u16) -> Value {
    json!(format!("ws://127.0.0.1:{port}/socket/lobby"))
}

/// Ann and Bob are in the lobby, and what they hear is kept.
pub(crate) const JOIN: &str = "
    window.ann = await connect('/socket/lobby');
    window.bob = await connect('/socket/lobby');
    await until(() => ann.peers.has(bob.peerId));
    const quiet = ['state', 'resumed', 'rejoined', 'joined', 'left', 'error', 'channel_closed'];
    const events = [...quiet, 'moved', 'channel_open', 'down'];
    window.told = Object.fromEntries(events.map((event) => [event, heard(ann, event)]));
    window.up = heard(bob, 'up');
    window.left = heard(bob, 'left');
    // How many came, if each came once and in order.
    window.in_order = (all) => all.every(([number], at) => number === at) ? all.length : all.map(([number]) => number);
    window.others = () => quiet.filter((event) => told[event].length > 0);
";
