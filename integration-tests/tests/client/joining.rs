//! Joining, sending messages, leaving, and being refused.

use futures_util::{SinkExt, StreamExt};
use integration_tests::{Kind, in_network_namespace};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::page::Page;
use crate::server::{Server, Setup};

#[test]
fn clients_in_chromium_meet_and_talk_or_learn_why_not() {
    in_network_namespace(async || meet_or_learn_why_not(Kind::Chromium).await);
}

#[test]
fn clients_in_firefox_meet_and_talk_or_learn_why_not() {
    in_network_namespace(async || meet_or_learn_why_not(Kind::Firefox).await);
}

async fn meet_or_learn_why_not(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    let page = Page::open(kind, server.port).await;

    meet_and_talk(&page).await;
    are_not_let_in(&page).await;

    page.close().await;
}

async fn meet_and_talk(page: &Page) {
    let met = page
        .run(
            "window.ann = await connect('/socket/lobby');
             const came = next(ann, 'joined');
             window.bob = await connect(`http://${location.host}/socket/lobby`);
             const [peer] = await came;
             return {
                 ids: peer === bob.peerId && ann.peerId !== bob.peerId,
                 peers: [[...ann.peers.keys()], [...bob.peers.keys()]],
                 expected: [[bob.peerId], [ann.peerId]],
                 state: ann.state,
             }",
        )
        .await;
    assert_eq!(met["ids"], true);
    assert_eq!(met["peers"], met["expected"]);
    assert_eq!(met["state"], "open");

    let names = page
        .run(
            "const came = next(ann, 'joined');
             const eve = await connect('/socket/lobby?public=Eve');
             const [peer, metadata] = await came;
             const late = await connect('/socket/lobby');
             const known = [ann.peers.get(eve.peerId), late.peers.get(eve.peerId), late.peers.get(ann.peerId)];
             for (const client of [eve, late]) { const gone = next(ann, 'left'); client.close(); await gone; }
             return { eve: peer === eve.peerId, metadata, known }",
        )
        .await;
    let (eve, none) = (json!({ "name": "Eve" }), json!({}));
    assert_eq!(names, json!({ "eve": true, "metadata": eve, "known": [eve, eve, none] }));

    let talk = page
        .run(
            "const [chat, all, joined] = [heard(bob, 'chat'), heard(bob, 'message'), heard(bob, 'joined')];
             ann.send('chat', { text: 'to all' });
             ann.send('chat', 'to one', bob.peerId);
             ann.send('chat', 'to a list', [bob.peerId]);
             await next(bob, 'chat'); await next(bob, 'chat'); await next(bob, 'chat');
             return {
                 chat: chat.map(([data, from]) => [data, from === ann.peerId]),
                 all: all.map(([{ event, from }]) => [event, from === ann.peerId]),
                 joined, peers: bob.peers.size,
             }",
        )
        .await;
    assert_eq!(
        talk["chat"],
        json!([[{ "text": "to all" }, true], ["to one", true], ["to a list", true]])
    );
    assert_eq!(talk["all"], json!([["chat", true], ["chat", true], ["chat", true]]));
    assert_eq!(talk["joined"], json!([]));
    assert_eq!(talk["peers"], 1);

    // Events that are reserved for the server are not forwarded, from this client or from any other.
    let reserved = page
        .run(
            "const names = ['joined', 'left', 'authenticated', 'resumed', 'room_restarted', 'error', 'webrtc:answer', 'webrtc:x', 'media:x'];
             const [all, left, errors] = [heard(bob, 'message'), heard(bob, 'left'), heard(ann, 'error')];
             for (const name of names) {
                 ann.send(name, { peer_id: ann.peerId });
                 ann.send(name, { peer_id: ann.peerId }, [bob.peerId, ann.peerId]);
             }
             await until(() => errors.length === 2 * names.length);
             // By the socket of a client that looks at nothing.
             const came = next(bob, 'joined');
             const socket = new WebSocket('/socket/lobby'.replace(/^/, `ws://${location.host}`));
             const told = [];
             socket.onmessage = ({ data }) => told.push(JSON.parse(data));
             await came;
             await until(() => told.length > 0);
             for (const event of names) socket.send(JSON.stringify({ event, data: { peer_id: bob.peerId }, from: null, to: 'all' }));
             await until(() => told.filter(({ event }) => event === 'error').length === names.length);
             socket.close(1000);
             await next(bob, 'left');
             ann.send('chat', 'end');
             await next(bob, 'chat');
             return {
                 errors: new Set(errors.map(([{ code, details }]) => `${code}: ${details}`)).size, error: errors[0][0].details,
                 told: told.filter(({ event }) => event === 'error').every(({ data }) => data.details === 'reserved event'),
                 heard: all.map(([{ event }]) => event), left: left.length, peers: [...bob.peers].length,
             }",
        )
        .await;
    let expected = json!({
        "errors": 1, "error": "reserved event", "told": true, "heard": ["chat"], "left": 1, "peers": 1,
    });
    assert_eq!(reserved, expected);

    let throws = page
        .run(
            "const reported = new Promise((resolve) => addEventListener('error', (event) => {
                 event.preventDefault();
                 resolve(true);
             }, { once: true }));
             const off = bob.on('chat', () => { throw new Error('a fault in a listener'); });
             const chat = heard(bob, 'chat');
             ann.send('chat', 1);
             const told = await reported;
             off();
             ann.send('chat', 2);
             await next(bob, 'chat');
             return { told, chat: chat.map(([data]) => data), state: bob.state }",
        )
        .await;
    assert_eq!(throws, json!({ "told": true, "chat": [1, 2], "state": "open" }));

    let unknown = page
        .run(&format!(
            "ann.send('chat', 'to nobody', '{NOBODY}');
             const [error] = await next(ann, 'error');
             return {{ code: error.code, details: error.details, typed: error instanceof CallboardError }}"
        ))
        .await;
    assert_eq!(unknown, json!({ "code": "no_such_peer", "details": [NOBODY], "typed": true }));

    let left = page
        .run(
            "const [left, states] = [next(ann, 'left'), heard(bob, 'state')];
             const [id] = [bob.peerId];
             bob.close();
             let code;
             try { bob.send('chat', 'too late'); } catch (error) { code = error.code; }
             const [peer] = await left;
             return { left: peer === id, peers: ann.peers.size, states: states.map(([state]) => state), code }",
        )
        .await;
    assert_eq!(left, json!({ "left": true, "peers": 0, "states": ["closed"], "code": "closed" }));

    // A client that the server stops or kicks out, or whose room it closes, does not come back: not even
    // where rooms open on demand.
    for (event, code, reason) in [
        ("stop_me", 1000, "closed by the server"),
        ("kick_me", 4001, "kicked out"),
        ("close_room", 1000, "Room closed"),
    ] {
        let stopped = page
            .run(&format!(
                "const eve = await connect('/socket/pop-up', {{ firstDelay: 1 }});
                 const [states, errors] = [heard(eve, 'state'), heard(eve, 'error')];
                 eve.send('{event}');
                 await next(eve, 'state');
                 let fails;
                 try {{ eve.send('chat'); }} catch ({{ code }}) {{ fails = code; }}
                 return {{
                     states: states.map(([state, {{ code, reason }}]) => [state, code, reason]), state: eve.state, fails,
                     errors: errors.map(([{{ code, details }}]) => [code, details]),
                 }}"
            ))
            .await;
        let errors = match event {
            "close_room" => json!([["room_closed", "the lesson is over"]]),
            _ => json!([]),
        };
        let expected = json!({ "states": [["closed", code, reason]], "state": "closed", "fails": "closed", "errors": errors });
        assert_eq!(stopped, expected);
    }
    page.run("ann.close()").await;
}

async fn are_not_let_in(page: &Page) {
    for address in
        ["/socket/nowhere", "/socket/lobby?name=impostor", "ws://127.0.0.1:1/socket/lobby"]
    {
        page.expect_no_socket_at(address);
    }
    // A server that accepts connections and never answers.
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mute = mute.local_addr().expect("a bound socket");
    page.expect_no_socket_at(&format!("{mute}/"));

    let codes = page
        .run(&format!(
            "return [
                 await code_of(connect('/socket/nowhere')),
                 await code_of(connect('/socket/lobby?name=impostor')),
                 await code_of(connect('ws://127.0.0.1:1/socket/lobby')),
                 await code_of(connect('ws://{mute}/', {{ joinTimeout: 300 }})),
             ]"
        ))
        .await;
    assert_eq!(codes, json!(["refused", "refused", "refused", "timeout"]));

    let full = page
        .run(
            "const first = await connect('/socket/lobby');
             // Those who were here before have closed their ends, which the server may not know yet.
             await until(() => first.peers.size === 0);
             for (let i = 1; i < 4; i += 1) await connect('/socket/lobby');
             try { await connect('/socket/lobby'); } catch (error) { return [error.code, error.details]; }",
        )
        .await;
    assert_eq!(full, json!(["could_not_join_room", "room_is_full"]));
}

/// No server of ours sends this; an attacker who controls one, or the path to it, may.
#[test]
fn frames_that_make_no_sense_are_counted_and_disturb_no_client() {
    in_network_namespace(async || {
        let server = Server::start(Setup::default()).await;
        let page = Page::open(Kind::Chromium, server.port).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a bound socket");
        let sending = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a browser");
            let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a WebSocket");
            let text = |value: serde_json::Value| Frame::text(value.to_string());
            let authenticated =
                json!({ "event": "authenticated", "data": { "peer_id": "a", "peers": ["b"] } });
            socket.send(text(authenticated)).await.expect("open");
            socket.next().await.expect("the page listens").expect("a frame");
            for nonsense in NONSENSE {
                socket.send(Frame::text(*nonsense)).await.expect("open");
            }
            socket.send(Frame::binary(vec![0, 255])).await.expect("open");
            socket.send(text(json!({ "event": "end" }))).await.expect("open");
            while socket.next().await.is_some() {}
        });

        let told = page
            .run(&format!(
                "const client = await connect('ws://{address}/');
                 client.openPeerConnection();
                 const [errors, all] = [heard(client, 'error'), heard(client, 'message')];
                 client.send('begin');
                 await next(client, 'end');
                 const told = {{
                     malformed: client.malformed, peers: [...client.peers.keys()], state: client.state,
                     errors: errors.length, all: all.length,
                 }};
                 client.close();
                 return told"
            ))
            .await;

        let expected = json!({ "malformed": NONSENSE.len() + 1, "peers": ["b"], "state": "open", "errors": 0, "all": 1 });
        assert_eq!(told, expected);
        sending.await.expect("it sent everything");
        page.close().await;
    });
}

const NOBODY: &str = "8c1c8d3e-0000-4000-8000-000000000000";
const NONSENSE: &[&str] = &[
    "",
    "{",
    "null",
    "[]",
    "7",
    "\"joined\"",
    "{}",
    r#"{"event":7}"#,
    r#"{"event":"joined"}"#,
    r#"{"event":"joined","data":{"peer_id":7}}"#,
    r#"{"event":"left","data":null}"#,
    r#"{"event":"room_restarted","data":{"peers":7}}"#,
    r#"{"event":"error","data":{}}"#,
    r#"{"event":"webrtc:answer","data":{"sdp":null}}"#,
    r#"{"event":"webrtc:offer","data":{"sdp":null}}"#,
    r#"{"event":"webrtc:state"}"#,
    r#"{"event":"webrtc:data","data":{"channel":"x","data":{}}}"#,
    r#"{"event":"authenticated","data":{"peer_id":"c","peers":[]}}"#,
    r#"{"type":"nothing"}"#,
];
