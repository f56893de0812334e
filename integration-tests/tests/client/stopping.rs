//! What becomes of a connection when the page stops what it sends first: the section that speaks for the transport of all.

use integration_tests::{Kind, on_a_stage_of_its_own};
use serde_json::json;

use crate::page::Page;
use crate::server::{Server, Setup};

/// A page in the lobby with all that it hears, and a camera with a microphone.
async fn open(kind: Kind, server: &Server) -> Page {
    let page = Page::open(kind, server.port).await;
    page.run(
        "window.told = [];
         const Plain = WebSocket;
         window.WebSocket = class extends Plain {
             constructor(...how) {
                 super(...how);
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
    on_a_stage_of_its_own(async || goes_on_with_one_successor(Kind::Chromium).await);
}

#[test]
fn firefox_that_stops_its_first_section_goes_on_with_one_successor() {
    on_a_stage_of_its_own(async || goes_on_with_one_successor(Kind::Firefox).await);
}

async fn goes_on_with_one_successor(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    let page = open(kind, &server).await;
    let before = page
        .run(
            "window.peer = ann.openPeerConnection({ media: stream, channels: { chat: {} } });
             await until(() => peer.state === 'connected' && peer.openChannel('chat'));
             await Promise.all([arrives('audio'), arrives('video')]);
             const [first, second] = peer.connection.getTransceivers();
             window.first = { connection: peer.connection, kind: first.sender.track.kind, other: second.sender.track.kind };
             return { echo: await echo('before'), ends: ends() }",
        )
        .await;
    assert_eq!(before, json!({ "echo": true, "ends": [] }));

    // The browser says by itself that this is to be negotiated.
    let after = page
        .run(
            "peer.connection.getTransceivers()[0].stop();
             await until(() => peer.connection !== first.connection && peer.state === 'connected' && peer.openChannel('chat'));
             await arrives(first.other);
             const senders = peer.connection.getSenders().map(({ track }) => track?.kind);
             return {
                 echo: await echo('after'), senders: senders.every((kind) => kind === first.other) && senders.length,
                 ends: ends(), details: states.filter(([, detail]) => detail),
                 same: ann.peerId === id, sockets, errors, local: stream.getTracks().map(({ readyState }) => readyState),
             }",
        )
        .await;
    let reason = "the peer went over to another transport when it stopped its first section";
    let expected = json!({
        "echo": true, "senders": 1, "ends": [{ "state": "closed", "reason": reason }],
        "details": [["new", { "reason": reason }]], "same": true, "sockets": [], "errors": [], "local": ["live", "live"],
    });
    assert_eq!(after, expected);

    // What was stopped stays so, also when that one is lost.
    let later = page
        .run(
            "const { connection } = peer;
             await ann.call('test', 'kill_connection');
             await until(() => peer.connection !== connection && peer.state === 'connected' && peer.openChannel('chat'));
             return { echo: await echo('later'), senders: peer.connection.getSenders().map(({ track }) => track?.kind === first.other) }",
        )
        .await;
    assert_eq!(later, json!({ "echo": true, "senders": [true] }));
    page.close().await;
}

#[test]
fn chromium_whose_first_section_is_that_of_data_keeps_its_connection() {
    on_a_stage_of_its_own(async || keeps_its_connection(Kind::Chromium).await);
}

#[test]
fn firefox_whose_first_section_is_that_of_data_keeps_its_connection() {
    on_a_stage_of_its_own(async || keeps_its_connection(Kind::Firefox).await);
}

/// Nobody stops the section of data, so it speaks for the transport for good.
async fn keeps_its_connection(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    let page = open(kind, &server).await;
    let told = page
        .run(
            "window.peer = ann.openPeerConnection({ channels: { chat: {} } });
             await until(() => peer.state === 'connected' && peer.openChannel('chat'));
             const { connection } = peer;
             for (const track of stream.getTracks()) connection.addTrack(track, stream);
             await Promise.all([arrives('audio'), arrives('video')]);
             const [first, second] = connection.getTransceivers();
             const other = second.sender.track.kind;
             first.stop();
             await until(() => connection.signalingState === 'stable' && connection.getTransceivers().length === 1);
             const packets = async () => {
                 const reports = [...(await connection.getStats()).values()];
                 return reports.filter(({ type, kind }) => type === 'outbound-rtp' && kind === other)[0]?.packetsSent ?? 0;
             };
             const sent = await packets();
             while (await packets() < sent + 50) await new Promise((later) => setTimeout(later, 50));
             return {
                 echo: await echo('after'), kept: connection === peer.connection && peer.state === 'connected',
                 arrived: await arrived(other), ends: ends(), same: ann.peerId === id, sockets, errors,
             }",
        )
        .await;
    let expected = json!({
        "echo": true, "kept": true, "arrived": true, "ends": [], "same": true, "sockets": [], "errors": [],
    });
    assert_eq!(told, expected);
    page.close().await;
}
