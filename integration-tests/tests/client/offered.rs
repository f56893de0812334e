//! Offers of the server: tracks and channels that it adds to a connection reach the page.

use integration_tests::{Kind, in_network_namespace};
use serde_json::json;

use crate::page::Page;
use crate::server::{Server, Setup};

/// Opens a page with a connection that is up, and records its events.
async fn connected(kind: Kind, port: u16) -> Page {
    let page = Page::open(kind, port).await;
    page.run(
        "window.ann = await connect('/socket/lobby');
         [window.errors, window.tracks, window.opened] = [heard(ann, 'error'), heard(ann, 'track'), heard(ann, 'channel_open')];
         window.peer = ann.openPeerConnection();
         window.connection = peer.connection;
         await until(() => opened.flat().includes('events') && peer.state === 'connected');
         window.add_track = (codec, id) => ann.call('test', 'add_track', [codec, id]);
         // All that was added is agreed on.
         window.settled = () => connection.signalingState === 'stable'
             && connection.getTransceivers().every(({ mid, currentDirection }) => mid !== null && currentDirection !== null);",
    )
    .await;
    page
}

#[test]
fn chromium_gets_what_the_server_adds() {
    in_network_namespace(async || gets_what_the_server_adds(Kind::Chromium).await);
}

#[test]
fn firefox_gets_what_the_server_adds() {
    in_network_namespace(async || gets_what_the_server_adds(Kind::Firefox).await);
}

async fn gets_what_the_server_adds(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    let page = connected(kind, server.port).await;

    let told = page
        .run(
            "await ann.call('test', 'add_channel', ['news']);
             await until(() => opened.flat().includes('news'));
             const echo = next(ann, 'data');
             const before = used.channel;
             ann.sendData('news', 'hello');
             const [data] = await echo;
             return { data, used: used.channel - before }",
        )
        .await;
    let data = json!({ "channel": "news", "data": "hello" });
    assert_eq!(told, json!({ "data": data, "used": 1 }));

    let told = page
        .run(
            "for (const [codec, id] of [['audio/opus', 'voice'], ['video/VP8', 'camera'], ['audio/opus', 'music']]) {
                 await add_track(codec, id);
                 await until(() => tracks.length > 0 && tracks.at(-1)[0].streams[0]?.id === 'ours' && settled()
                     && connection.remoteDescription.sdp.includes(id));
             }
             return {
                 tracks: tracks.map(([{ track, transceiver }]) => [track.kind, transceiver.currentDirection]),
                 same: connection === peer.connection, state: peer.state, errors, sum: await ann.call('test', 'add', [1, 2]),
             }",
        )
        .await;
    let tracks = json!([["audio", "recvonly"], ["video", "recvonly"], ["audio", "recvonly"]]);
    let expected =
        json!({ "tracks": tracks, "same": true, "state": "connected", "errors": [], "sum": 3 });
    assert_eq!(told, expected);

    // The page goes on offering its own media.
    let told = page
        .run(
            "connection.addTransceiver('video', { direction: 'recvonly' });
             ann.channel('late');
             await until(() => opened.flat().includes('late') && connection.getTransceivers().length === 4 && settled());
             return { same: connection === peer.connection, errors }",
        )
        .await;
    assert_eq!(told, json!({ "same": true, "errors": [] }));
    page.close().await;
}

#[test]
fn chromium_and_the_server_may_offer_at_the_same_moment() {
    in_network_namespace(async || both_offer(Kind::Chromium).await);
}

#[test]
fn firefox_and_the_server_may_offer_at_the_same_moment() {
    in_network_namespace(async || both_offer(Kind::Firefox).await);
}

async fn both_offer(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    let page = connected(kind, server.port).await;

    // The page's offer goes out after the server's has come.
    let told = page
        .run(
            "const { send } = WebSocket.prototype;
             let met = 0;
             WebSocket.prototype.send = function (data) {
                 if (!data.includes('\"webrtc:offer\"')) return send.call(this, data);
                 const came = ({ data: said }) => {
                     if (!said.includes('\"webrtc:offer\"')) return;
                     this.removeEventListener('message', came);
                     met += 1;
                     send.call(this, data);
                 };
                 this.addEventListener('message', came);
             };
             for (let round = 1; round <= 5; round += 1) {
                 connection.addTransceiver('audio', { direction: 'recvonly' });
                 await until(() => connection.signalingState === 'have-local-offer');
                 await add_track('video/VP8', `met-${round}`);
                 await until(() => tracks.length === round && connection.getTransceivers().length === 2 * round && settled());
             }
             WebSocket.prototype.send = send;
             return { met: met >= 5, same: connection === peer.connection, errors, sum: await ann.call('test', 'add', [1, 2]) }",
        )
        .await;
    assert_eq!(told, json!({ "met": true, "same": true, "errors": [], "sum": 3 }));

    // In any order. The server's tracks take sections of the page on which nothing was sent.
    let told = page
        .run(
            "for (let round = 1; round <= 5; round += 1) {
                 const added = add_track('audio/opus', `free-${round}`);
                 connection.addTransceiver('video', { direction: 'recvonly' });
                 await added;
                 await until(() => tracks.length === 5 + round && settled());
             }
             return {
                 same: connection === peer.connection, state: peer.state, errors, sum: await ann.call('test', 'add', [3, 4]),
             }",
        )
        .await;
    let expected = json!({ "same": true, "state": "connected", "errors": [], "sum": 7 });
    assert_eq!(told, expected);
    page.close().await;
}
