//! Connections whose page stops what it sends first: the section that carries the transport of all (the BUNDLE tag).

use integration_tests::{Kind, in_network_namespace};
use serde_json::json;

use crate::page::Page;
use crate::server::{Server, Setup};

/// Opens a page in the lobby with a camera and a microphone, which records everything that it gets.
async fn open(kind: Kind, server: &Server) -> Page {
    let page = Page::open(kind, server.port).await;
    page.run(
        "window.told = [];
         const Plain = WebSocket;
         window.WebSocket = class extends Plain {
             constructor(...how) {
                 super(...how);
                 window.socket = this;
                 this.addEventListener('message', ({ data }) => data.startsWith('{') && told.push(JSON.parse(data)));
             }
         };
         window.stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
         window.ann = await connect('/socket/lobby');
         window.id = ann.peerId;
         [window.sockets, window.errors, window.states] = [heard(ann, 'state'), heard(ann, 'error'), heard(ann, 'webrtc')];
         // What the server has said of the end of a connection.
         window.ends = () => told.filter(({ event, data }) => event === 'webrtc:state' && ['closed', 'failed'].includes(data.state))
             .map(({ data }) => data);
         // Whether the server has said that packets of this kind have come, in a report of its RTCP.
         window.arrived = async (kind) => {
             for (const report of (await peer.connection.getStats()).values()) {
                 if (report.type === 'remote-inbound-rtp' && report.kind === kind) return true;
             }
             return false;
         };
         window.arrives = async (kind) => {
             while (!await arrived(kind)) await new Promise((later) => setTimeout(later, 50));
             return kind;
         };
         window.echo = async (text) => {
             const before = used.channel;
             ann.sendData('chat', text);
             const [{ data }] = await next(ann, 'data');
             return data === text && used.channel > before;
         };",
    )
    .await;
    page
}

#[test]
fn chromium_that_stops_its_first_section_goes_on_with_one_successor() {
    in_network_namespace(async || goes_on_with_one_successor(Kind::Chromium).await);
}

#[test]
fn firefox_that_stops_its_first_section_goes_on_with_one_successor() {
    in_network_namespace(async || goes_on_with_one_successor(Kind::Firefox).await);
}

/// Stops the first section, which is of the page's own media, because the page adds it itself.
async fn goes_on_with_one_successor(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    let page = open(kind, &server).await;
    let before = page
        .run(
            "window.unwanted = new Set();
             const media = (connection) => {
                 for (const track of stream.getTracks()) if (!unwanted.has(track)) connection.addTrack(track, stream);
             };
             window.peer = ann.openPeerConnection({ media, channels: { chat: {} } });
             await until(() => peer.state === 'connected' && peer.openChannel('chat'));
             await Promise.all([arrives('audio'), arrives('video')]);
             const [first, second] = peer.connection.getTransceivers();
             window.first = { connection: peer.connection, track: first.sender.track, other: second.sender.track.kind };
             return { echo: await echo('before'), ends: ends() }",
        )
        .await;
    assert_eq!(before, json!({ "echo": true, "ends": [] }));

    // The browser itself reports that a negotiation is needed.
    let after = page
        .run(
            "unwanted.add(first.track);
             peer.connection.getTransceivers()[0].stop();
             await until(() => peer.connection !== first.connection && peer.state === 'connected' && peer.openChannel('chat'));
             await arrives(first.other);
             return {
                 echo: await echo('after'), ends: ends(), details: states.filter(([, detail]) => detail),
                 same: ann.peerId === id, sockets, errors,
             }",
        )
        .await;
    let reason = "the peer went over to another transport when it stopped its first section";
    let expected = json!({
        "echo": true, "ends": [{ "state": "closed", "reason": reason }], "details": [["new", { "reason": reason }]],
        "same": true, "sockets": [], "errors": [],
    });
    assert_eq!(after, expected);
    page.close().await;
}

#[test]
fn a_candidate_that_was_on_its_way_when_its_connection_ended_is_no_fault() {
    in_network_namespace(async || {
        let server = Server::start(Setup::default()).await;
        let page = open(Kind::Chromium, &server).await;
        let errors = page
            .run(
                "const details = { event: 'webrtc:ice', error: 'no_webrtc_session' };
                 const data = JSON.stringify({ event: 'error', data: { description: 'WebRTC failed', details } });
                 const refuse = () => socket.dispatchEvent(new MessageEvent('message', { data }));
                 window.peer = ann.openPeerConnection({ channels: { chat: {} } });
                 const { connection } = peer;
                 refuse();
                 await until(() => peer.state === 'connected' && peer.openChannel('chat'));
                 const early = errors.length;
                 // Now there should be a session.
                 refuse();
                 await until(() => peer.connection !== connection && peer.state === 'connected');
                 return { early, all: errors.map(([{ details }]) => details.error) }",
            )
            .await;
        assert_eq!(errors, json!({ "early": 0, "all": ["no_webrtc_session"] }));
        page.close().await;
    });
}

#[test]
fn chromium_whose_first_section_is_that_of_data_keeps_its_connection() {
    in_network_namespace(async || keeps_its_connection(Kind::Chromium).await);
}

#[test]
fn firefox_whose_first_section_is_that_of_data_keeps_its_connection() {
    in_network_namespace(async || keeps_its_connection(Kind::Firefox).await);
}

/// Stops media where the first section is the data section: it is never stopped, so it carries the transport for good.
async fn keeps_its_connection(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    for (how, then) in [
        ("{ channels: { chat: {} }, media: stream }", ""),
        (
            "{ channels: { chat: {} } }",
            "for (const track of stream.getTracks()) peer.connection.addTrack(track, stream);",
        ),
    ] {
        let page = open(kind, &server).await;
        stops_the_first_that_can_be(&page, how, then).await;
        page.close().await;
    }
}

async fn stops_the_first_that_can_be(page: &Page, how: &str, then: &str) {
    let setup = format!(
        "window.peer = ann.openPeerConnection({how});
         await until(() => peer.state === 'connected' && peer.openChannel('chat'));
         {then}
         await Promise.all([arrives('audio'), arrives('video')]);"
    );
    page.run(&setup).await;
    let told = page
        .run(
            "const { connection } = peer;
             const [first, second] = connection.getTransceivers();
             window.other = second.sender.track;
             const packets = async () => {
                 const reports = [...(await connection.getStats()).values()];
                 return reports.find(({ type, kind }) => type === 'outbound-rtp' && kind === other.kind)?.packetsSent ?? 0;
             };
             first.stop();
             await until(() => connection.signalingState === 'stable' && connection.getTransceivers().length === 1);
             for (const sent = await packets(); await packets() < sent + 50;) await new Promise((later) => setTimeout(later, 50));
             return {
                 echo: await echo('after'), kept: connection === peer.connection && peer.state === 'connected',
                 arrived: await arrived(other.kind), ends: ends(), same: ann.peerId === id, sockets, errors,
             }",
        )
        .await;
    let expected = json!({
        "echo": true, "kept": true, "arrived": true, "ends": [], "same": true, "sockets": [], "errors": [],
    });
    assert_eq!(told, expected, "{how}");

    if then.is_empty() {
        // Stopped sections stay stopped when the connection is lost.
        let later = page
            .run(
                "const { connection } = peer;
                 // Its answer may be lost with the channel that it comes by.
                 ann.call('test', 'kill_connection').catch(() => {});
                 await until(() => peer.connection !== connection && peer.state === 'connected' && peer.openChannel('chat'));
                 await arrives(other.kind);
                 const only = peer.connection.getSenders().map(({ track }) => track === other);
                 return { echo: await echo('later'), only, local: stream.getTracks().map(({ readyState }) => readyState), errors }",
            )
            .await;
        let expected =
            json!({ "echo": true, "only": [true], "local": ["live", "live"], "errors": [] });
        assert_eq!(later, expected);
    }
}
