//! A client that is closed: nothing of it runs, listens or notifies the page any more.

use futures_util::SinkExt;
use integration_tests::{Kind, in_network_namespace};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::page::Page;
use crate::proxy::Proxy;
use crate::scripted::Scripted;
use crate::server::{Server, Setup};

/// Opens a page that counts what is under way in it.
async fn open(kind: Kind, port: u16) -> Page {
    let page = Page::open(kind, port).await;
    page.run(
        "window.kept = { timers: new Set(), listeners: new Set(), requests: new Set(), connections: new Set(), sockets: new Set() };
         for (const [set, clear] of [['setTimeout', 'clearTimeout'], ['setInterval', 'clearInterval']]) {
             const [begin, end] = [window[set], window[clear]];
             window[set] = (run, ...how) => {
                 const id = begin.call(window, (...told) => {
                     if (set === 'setTimeout') kept.timers.delete(id);
                     run(...told);
                 }, ...how);
                 kept.timers.add(id);
                 return id;
             };
             window[clear] = (id) => {
                 kept.timers.delete(id);
                 end.call(window, id);
             };
         }
         const { addEventListener } = EventTarget.prototype;
         EventTarget.prototype.addEventListener = function (event, listener, options) {
             const target = this ?? window;
             if ([window, document, navigator.connection].includes(target)) kept.listeners.add({ event, signal: options?.signal });
             return addEventListener.call(target, event, listener, options);
         };
         const { fetch } = window;
         window.fetch = (...how) => {
             const [request, answer] = [{ signal: how[1]?.signal }, fetch.call(window, ...how)];
             kept.requests.add(request);
             const over = () => kept.requests.delete(request);
             answer.then(over, over);
             return answer;
         };
         for (const [kind, all] of [['RTCPeerConnection', kept.connections], ['WebSocket', kept.sockets]]) {
             window[kind] = class extends window[kind] {
                 constructor(...how) {
                     super(...how);
                     all.add(this);
                 }
             };
         }
         // What is under way at this moment.
         window.left = () => ({
             timers: kept.timers.size,
             listeners: [...kept.listeners].filter(({ signal }) => !signal?.aborted).map(({ event }) => event),
             requests: [...kept.requests].filter(({ signal }) => !signal?.aborted).length,
             connections: [...kept.connections].filter(({ signalingState }) => signalingState !== 'closed').length,
             sockets: [...kept.sockets].filter(({ readyState }) => readyState <= WebSocket.OPEN).length,
         });
         window.enter = async (url, options) => {
             window.ann = await connect(url, options);
             window.told = [];
             const events = ['joined', 'left', 'rejoined', 'resumed', 'state', 'webrtc', 'error', 'message', 'channel_closed', 'data'];
             for (const event of events) ann.on(event, (what) => told.push([event, what]));
         };",
    )
    .await;
    page
}

/// Checks that nothing is left, and that this was the last thing the page was told.
async fn is_over(page: &Page, how: &str) {
    let left = page.run("return [left(), ann.state, told.at(-1)]").await;
    assert_eq!(left, json!([nothing(), "closed", ["state", "closed"]]), "{how}");
}

fn nothing() -> Value {
    json!({ "timers": 0, "listeners": [], "requests": 0, "connections": 0, "sockets": 0 })
}

#[test]
fn nothing_is_left_in_chromium_of_a_client_that_is_closed() {
    in_network_namespace(async || nothing_is_left(Kind::Chromium).await);
}

#[test]
fn nothing_is_left_in_firefox_of_a_client_that_is_closed() {
    in_network_namespace(async || nothing_is_left(Kind::Firefox).await);
}

async fn nothing_is_left(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    let proxy = Proxy::start(server.port).await;
    let page = open(kind, proxy.port).await;
    page.expect_no_socket_at("/socket/lobby");
    page.run("window.late = { firstDelay: 600_000, longestDelay: 600_000 }; Math.random = () => 1")
        .await;
    let connected = "window.peer = ann.openPeerConnection();
        await until(() => peer.state === 'connected' && peer.openChannel('events'));
        window.waits = code_of(ann.call('test', 'wait'));";

    page.run("await enter('/socket/lobby', late)").await;
    page.run(connected).await;
    let before = page.run("return left()").await;
    assert_eq!((&before["connections"], &before["sockets"]), (&json!(1), &json!(1)), "{before}");
    assert!(
        before["timers"].as_u64() > Some(1) && before["listeners"].as_array().unwrap().len() > 2
    );
    page.run("ann.close()").await;
    is_over(&page, "open").await;
    assert_eq!(page.run("return await waits").await, "closed");

    page.run("await enter('/socket/lobby', late)").await;
    page.run(connected).await;
    page.run("ann.call('test', 'kill_connection'); await until(() => peer.state === 'new')").await;
    page.run("ann.close()").await;
    is_over(&page, "while a peer connection is replaced").await;

    page.run("await enter('/socket/lobby', late)").await;
    page.run(connected).await;
    proxy.cut();
    page.becomes("ann.state === 'waiting'").await;
    page.run("ann.close()").await;
    is_over(&page, "before it comes back").await;

    page.run(
        "await enter('/socket/lobby', { firstDelay: 5, longestDelay: 20, joinTimeout: 600_000 })",
    )
    .await;
    proxy.get_stuck();
    proxy.cut();
    page.becomes("ann.state === 'connecting'").await;
    page.run("ann.close()").await;
    is_over(&page, "while it comes back").await;
    page.close().await;
}

#[test]
fn a_client_that_is_closed_asks_its_server_nothing_more() {
    in_network_namespace(async || {
        let blank = Server::start(Setup::default()).await;
        let address = refuses_and_then_hangs().await;
        let page = open(Kind::Chromium, blank.port).await;
        page.expect_no_socket_at(&address);
        page.run(&format!("await enter('ws://{address}/', {{ firstDelay: 5, longestDelay: 20 }})"))
            .await;

        page.becomes("left().requests === 1").await;
        page.run("ann.close()").await;

        is_over(&page, "while it asks").await;
        page.close().await;
    });
}

/// Starts a server that admits the first client and drops it, refuses to resume it, and never says why.
async fn refuses_and_then_hangs() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a bound socket").to_string();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = head(&stream).await;
            if !head.contains("Upgrade: websocket") {
                kept.push(stream);
            } else if head.contains("resume=") {
                _ = stream.write_all(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n").await;
            } else if let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await {
                let resume = json!({ "token": "token", "grace_ms": 600_000 });
                let data = json!({ "peer_id": "peer", "peers": [], "resume": resume });
                let text = json!({ "event": "authenticated", "data": data }).to_string();
                _ = socket.send(Frame::text(text)).await;
            }
        }
    });
    address
}

/// Reads the head of a request, and leaves it to be read again.
async fn head(stream: &TcpStream) -> String {
    let mut bytes = vec![0; 8_192];
    loop {
        let read = stream.peek(&mut bytes).await.unwrap_or_default();
        let head = String::from_utf8_lossy(&bytes[..read]);
        if read == 0 || head.contains("\r\n\r\n") {
            return head.into_owned();
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_client_whose_offer_is_not_answered_waits_no_longer_than_it_is_open() {
    in_network_namespace(async || {
        let blank = Server::start(Setup::default()).await;
        let server = Scripted::start(|mut client| async move {
            client.let_in().await;
            while client.next().await.is_some() {}
        })
        .await;
        let page = open(Kind::Chromium, blank.port).await;
        page.run(&format!("await enter('ws://127.0.0.1:{}/')", server.port)).await;

        page.run("ann.openPeerConnection()").await;
        while server.heard("webrtc:offer").is_empty() {
            tokio::task::yield_now().await;
        }
        page.run("ann.close()").await;

        is_over(&page, "while it waits for an answer").await;
        page.close().await;
    });
}

#[test]
fn a_client_that_a_listener_closes_tells_nothing_more() {
    in_network_namespace(async || {
        let blank = Server::start(Setup::default()).await;
        let server = Scripted::start(|mut client| async move {
            if client.number == 0 {
                client.let_in().await;
                return client.close(1012).await;
            }
            let data = json!({ "peer_id": "ann", "peers": ["bob", "eve"] });
            client.say(json!({ "event": "authenticated", "data": data })).await;
            while client.next().await.is_some() {}
        })
        .await;
        let page = open(Kind::Chromium, blank.port).await;

        page.run(&format!(
            "await enter('ws://127.0.0.1:{}/', {{ firstDelay: 5, longestDelay: 20 }});
             ann.on('joined', () => ann.close());",
            server.port
        ))
        .await;
        page.becomes("ann.state === 'closed'").await;

        is_over(&page, "by a listener").await;
        let joined = page.run("return told.filter(([event]) => event === 'joined')").await;
        assert_eq!(joined, json!([["joined", "bob"]]));
        page.close().await;
    });
}
