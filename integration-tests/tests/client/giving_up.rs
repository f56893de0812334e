//! Retries of the client: what it repeats, and when it stops and tells the page. Each retry has its test here.

use callboard_signaling::Rate;
use integration_tests::{Kind, in_network_namespace};
use serde_json::json;

use crate::page::Page;
use crate::scripted::Scripted;
use crate::server::{Server, Setup};

#[test]
fn chromium_offers_many_sections_and_keeps_its_place() {
    in_network_namespace(async || offers_many_sections(Kind::Chromium).await);
}

#[test]
fn firefox_offers_many_sections_and_keeps_its_place() {
    in_network_namespace(async || offers_many_sections(Kind::Firefox).await);
}

/// Sends an offer that is larger than a message to other members may be.
async fn offers_many_sections(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    let page = Page::open(kind, server.port).await;
    // Sections of Firefox's offers are shorter.
    let sections = if kind == Kind::Chromium { 16 } else { 60 };

    page.run(&format!("window.sections = {sections}")).await;
    let told = page
        .run(
            "const ann = await connect('/socket/lobby');
             const [errors, rejoined, states] = [heard(ann, 'error'), heard(ann, 'rejoined'), heard(ann, 'state')];
             const id = ann.peerId;
             let offer = 0;
             const { send } = WebSocket.prototype;
             WebSocket.prototype.send = function (data) {
                 if (data.includes('webrtc:offer')) offer = data.length;
                 return send.call(this, data);
             };
             const peer = ann.openPeerConnection({ media: (connection) => {
                 for (let i = 0; i < sections; i += 1) connection.addTransceiver('video', { direction: 'sendonly' });
             } });
             const answered = new Promise((resolve) => peer.connection.addEventListener('signalingstatechange',
                 () => peer.connection.signalingState === 'stable' && resolve(true)));
             const refused = next(ann, 'error').then(([{ details }]) => Boolean(details.detail));
             const outcome = await Promise.race([answered, refused]);
             const sum = await ann.call('test', 'add', [1, 2]);
             return { outcome, large: offer > 65_536, same: ann.peerId === id, state: ann.state, rejoined, states, sum }",
        )
        .await;

    let expected = json!({
        "outcome": true, "large": true, "same": true, "state": "open", "rejoined": [], "states": [], "sum": 3,
    });
    assert_eq!(told, expected);
    page.close().await;
}

/// Returns a script for a page that reconnects quickly, and records the events that it gets.
fn comes_back(port: u16, options: &str) -> String {
    format!(
        "window.ann = await connect('ws://127.0.0.1:{port}/', {{ firstDelay: 5, longestDelay: 20, {options} }});
         [window.errors, window.states, window.webrtc] = [heard(ann, 'error'), heard(ann, 'state'), heard(ann, 'webrtc')];
         window.codes = () => errors.map(([{{ code }}]) => code);"
    )
}

#[test]
fn chromium_does_not_offer_again_what_its_connection_dies_of() {
    in_network_namespace(async || offer_kills(Kind::Chromium).await);
}

#[test]
fn firefox_does_not_offer_again_what_its_connection_dies_of() {
    in_network_namespace(async || offer_kills(Kind::Firefox).await);
}

async fn offer_kills(kind: Kind) {
    let blank = Server::start(Setup::default()).await;
    let server = Scripted::start(|mut client| async move {
        client.let_in().await;
        if client.until("webrtc:offer").await {
            client.error("Message too large", json!({ "max_bytes": 1_000 })).await;
            client.close(1009).await;
        }
    })
    .await;
    let page = Page::open(kind, blank.port).await;
    page.run(&comes_back(server.port, "")).await;

    page.run("window.peer = ann.openPeerConnection()").await;

    page.becomes("codes().includes('webrtc_gave_up') && ann.state === 'open'").await;
    let told =
        page.run("return [peer.state, peer.closed, webrtc.at(-1), codes(), ann.state]").await;
    let codes = json!(["message_too_large", "message_too_large", "webrtc_gave_up"]);
    assert_eq!(told, json!(["failed", false, ["failed"], codes, "open"]));
    assert_eq!((server.heard("webrtc:offer").len(), server.connections()), (2, 3));

    // The page may insist on another attempt.
    page.run("peer.retry()").await;
    page.becomes("codes().filter((code) => code === 'gave_up').length === 1").await;
    assert_eq!(page.run("return ann.state").await, "closed");
    assert_eq!(server.heard("webrtc:offer").len(), 3);
    page.close().await;
}

/// A restart of the server is no fault of the offer, but repeated losses may be.
#[test]
fn an_offer_with_which_the_connection_is_lost_for_any_reason_is_made_six_times() {
    in_network_namespace(async || {
        let blank = Server::start(Setup::default()).await;
        let server = Scripted::start(|mut client| async move {
            client.let_in().await;
            if client.until("webrtc:offer").await {
                client.close(1012).await;
            }
        })
        .await;
        let page = Page::open(Kind::Chromium, blank.port).await;
        page.run(&comes_back(server.port, "")).await;

        page.run("window.peer = ann.openPeerConnection()").await;

        page.becomes("codes().includes('webrtc_gave_up') && ann.state === 'open'").await;
        let told = page.run("return [peer.state, peer.closed, codes()]").await;
        assert_eq!(told, json!(["failed", false, ["webrtc_gave_up"]]));
        assert_eq!((server.heard("webrtc:offer").len(), server.connections()), (6, 7));
        page.close().await;
    });
}

#[test]
fn a_connection_that_dies_of_the_same_again_and_again_is_not_opened_again() {
    in_network_namespace(async || {
        let blank = Server::start(Setup::default()).await;
        let page = Page::open(Kind::Chromium, blank.port).await;
        for code in [1002, 1003, 1007, 1008, 1009, 1010, 1011, 1013] {
            let server = Scripted::start(move |mut client| async move {
                client.let_in().await;
                client.close(code).await;
            })
            .await;

            page.run(&comes_back(server.port, "")).await;

            page.becomes("ann.state === 'closed'").await;
            let told = page
                .run("return [codes(), errors[0][0].details.code, states.at(-1)[1].code]")
                .await;
            assert_eq!(told, json!([["gave_up"], code, code]));
            assert_eq!(server.connections(), 3, "once, and twice more");
        }
        page.close().await;
    });
}

#[test]
fn what_waited_and_kills_is_sent_once_and_what_is_as_large_is_not_sent() {
    in_network_namespace(async || {
        let blank = Server::start(Setup::default()).await;
        let server = Scripted::start(|mut client| async move {
            client.let_in().await;
            if client.number == 0 {
                client.until("go").await;
                return client.close(1012).await;
            }
            while let Some(heard) = client.next().await {
                if heard["data"].as_str().is_some_and(|data| data.len() > 1_000) {
                    client.error("Message too large", json!({ "max_bytes": 1_000 })).await;
                    return client.close(1009).await;
                }
            }
        })
        .await;
        let page = Page::open(Kind::Chromium, blank.port).await;
        page.run(&comes_back(server.port, "")).await;

        page.run(
            "const off = ann.on('state', (state) => {
                 off();
                 ann.send('chat', 'x'.repeat(2_000));
             });
             ann.send('go');",
        )
        .await;

        page.becomes("codes().includes('message_too_large') && states.filter(([state]) => state === 'open').length === 2").await;
        let told = page
            .run(
                "const code = await code_of((async () => ann.send('chat', 'x'.repeat(2_000)))());
                 ann.send('chat', 'small');
                 return [code, codes()]",
            )
            .await;
        assert_eq!(told, json!(["too_large", ["message_too_large"]]));
        assert_eq!(server.connections(), 3);
        let large = || server.heard("chat").iter().filter(|data| *data != "small").count();
        assert_eq!(large(), 1);

        // Ten minutes later the server may be another one.
        page.run(
            "const { now } = performance;
             performance.now = () => now.call(performance) + 600_000;
             ann.send('chat', 'x'.repeat(2_000));",
        )
        .await;
        page.becomes("codes().length === 2 && ann.state === 'open'").await;
        assert_eq!(large(), 2);
        page.close().await;
    });
}

#[test]
fn a_room_that_says_no_again_and_again_is_left_alone() {
    in_network_namespace(async || {
        let blank = Server::start(Setup::default()).await;
        let server = Scripted::start(|mut client| async move {
            if client.number == 0 {
                client.let_in().await;
                return client.close(1012).await;
            }
            client.error("Could not join room", json!("banned")).await;
            client.close(1000).await;
        })
        .await;
        let page = Page::open(Kind::Chromium, blank.port).await;

        page.run(&comes_back(server.port, "")).await;

        page.becomes("ann.state === 'closed'").await;
        let told = page.run("return [codes(), errors.at(-1)[0].details]").await;
        let no = "could_not_join_room";
        let details = json!({ "code": 1000, "reason": "", "error": no, "details": "banned" });
        assert_eq!(told, json!([[no, no, no, "gave_up"], details]));
        assert_eq!(server.connections(), 4);
        page.close().await;
    });
}

/// The browser reveals only that there is no WebSocket.
#[test]
fn a_server_that_refuses_again_and_again_is_left_alone() {
    in_network_namespace(async || {
        let server = Server::start(Setup::default()).await;
        let page = Page::open(Kind::Chromium, server.port).await;
        page.expect_refused("/socket/lobby?name=once");
        page.run(
            "window.ann = await connect('/socket/lobby?name=once', { firstDelay: 5, longestDelay: 20, refusals: 4 });
             [window.errors, window.states] = [heard(ann, 'error'), heard(ann, 'state')];
             ann.send('restart_me');",
        )
        .await;

        page.becomes("ann.state === 'closed'").await;

        let told = page
            .run("return [errors.map(([{ code }]) => code), states.filter(([state]) => state === 'connecting').length]")
            .await;
        assert_eq!(told, json!([["gave_up"], 4]));
        page.close().await;
    });
}

#[test]
fn an_offer_that_is_refused_or_badly_answered_again_and_again_is_not_made_again() {
    in_network_namespace(async || {
        let blank = Server::start(Setup::default()).await;
        let page = Page::open(Kind::Chromium, blank.port).await;
        for refused in [true, false] {
            let server = Scripted::start(move |mut client| async move {
                client.let_in().await;
                while client.until("webrtc:offer").await {
                    if refused {
                        let details = json!({ "event": "webrtc:offer", "error": "bad_description", "detail": "no" });
                        client.error("WebRTC failed", details).await;
                    } else {
                        let answer = json!({ "type": "answer", "sdp": "v=nonsense" });
                        client.say(json!({ "event": "webrtc:answer", "data": answer })).await;
                    }
                }
            })
            .await;
            page.run(&comes_back(server.port, "")).await;

            page.run("window.peer = ann.openPeerConnection()").await;

            page.becomes("codes().includes('webrtc_gave_up')").await;
            let told = page.run("return [codes(), peer.state, ann.state]").await;
            let code = if refused { "webrtc_failed" } else { "bad_answer" };
            assert_eq!(told, json!([[code, code, code, "webrtc_gave_up"], "failed", "open"]));
            assert_eq!((server.heard("webrtc:offer").len(), server.connections()), (3, 1));
        }
        page.close().await;
    });
}

#[test]
fn a_peer_connection_that_never_lasts_is_not_replaced_for_ever() {
    in_network_namespace(async || {
        let blank = Server::start(Setup::default()).await;
        let server = Scripted::start(|mut client| async move {
            client.let_in().await;
            while client.until("webrtc:offer").await {
                let details = json!({ "event": "webrtc:offer", "error": "unavailable" });
                client.error("WebRTC failed", details).await;
            }
        })
        .await;
        let page = Page::open(Kind::Chromium, blank.port).await;
        page.run(&comes_back(server.port, "")).await;

        page.run("window.peer = ann.openPeerConnection()").await;

        page.becomes("codes().includes('webrtc_gave_up')").await;
        assert_eq!(server.heard("webrtc:offer").len(), 13);
        // Another network may make a difference.
        page.run("dispatchEvent(new Event('online'))").await;
        page.becomes("codes().filter((code) => code === 'webrtc_gave_up').length === 2").await;
        assert_eq!(server.heard("webrtc:offer").len(), 26);
        page.close().await;
    });
}

#[test]
fn a_browser_that_makes_no_connection_is_asked_twice_more() {
    in_network_namespace(async || {
        let server = Server::start(Setup::default()).await;
        let page = Page::open(Kind::Chromium, server.port).await;
        page.run(
            "const Plain = RTCPeerConnection;
             window.fails = 0;
             window.RTCPeerConnection = class extends Plain {
                 constructor(...how) {
                     if (fails-- > 0) throw new DOMException('too many', 'OperationError');
                     super(...how);
                 }
             };
             window.ann = await connect('/socket/lobby', { firstDelay: 5, longestDelay: 20 });
             [window.errors, window.opened] = [heard(ann, 'error'), heard(ann, 'channel_open')];
             window.codes = () => errors.map(([{ code }]) => code);
             window.peer = ann.openPeerConnection();
             await until(() => opened.length === 1);
             window.loses = (times) => { fails = times; return ann.call('test', 'kill_connection'); };",
        )
        .await;

        page.run("loses(2); await until(() => opened.length === 2)").await;
        assert_eq!(page.run("return codes()").await, json!(["no_offer", "no_offer"]));

        page.run("loses(Infinity)").await;
        page.becomes("codes().includes('webrtc_gave_up')").await;
        let told = page.run("return [codes().slice(2), peer.state, ann.state]").await;
        let codes = json!(["no_offer", "no_offer", "no_offer", "webrtc_gave_up"]);
        assert_eq!(told, json!([codes, "failed", "open"]));

        page.run("fails = 0; peer.retry(); await until(() => opened.length === 3)").await;
        page.close().await;
    });
}

#[test]
fn a_peer_connection_that_is_closed_for_flooding_is_not_opened_to_flood_again_and_again() {
    in_network_namespace(async || {
        let data = Rate { messages_per_second: 1, burst_messages: 30, ..Setup::default().data };
        let server = Server::start(Setup { data, ..Setup::default() }).await;
        let page = Page::open(Kind::Chromium, server.port).await;

        page.run(
            "window.ann = await connect('/socket/lobby', { firstDelay: 5, longestDelay: 20 });
             [window.errors, window.opened] = [heard(ann, 'error'), heard(ann, 'channel_open')];
             ann.on('channel_open', (label) => {
                 const flooding = setInterval(() => {
                     if (!peer.openChannel(label)) return clearInterval(flooding);
                     for (let i = 0; i < 10; i += 1) ann.sendData('events', '{}');
                 }, 20);
             });
             window.peer = ann.openPeerConnection();",
        )
        .await;

        page.becomes("errors.some(([{ code }]) => code === 'webrtc_gave_up')").await;
        let told = page
            .run("return [opened.length, errors.some(([{ code }]) => code === 'rate_limited'), ann.state, peer.state]")
            .await;
        assert_eq!(told, json!([3, true, "open", "failed"]));
        page.close().await;
    });
}

#[test]
fn a_call_is_sent_once_and_a_large_answer_is_none() {
    in_network_namespace(async || {
        let blank = Server::start(Setup::default()).await;
        let server = Scripted::start(|mut client| async move {
            client.let_in().await;
            if client.number == 0 {
                while let Some(heard) = client.next().await {
                    if heard["type"] == "call_hook" {
                        return client.close(1009).await;
                    }
                }
            }
            client.say(json!({ "type": "call_hook", "id": "s1", "fn": "large", "args": [] })).await;
            while let Some(heard) = client.next().await {
                assert_ne!(heard["type"], "call_hook");
                if heard["type"] == "hook_error" {
                    client.say(json!({ "event": "told", "data": heard })).await;
                }
            }
        })
        .await;
        let page = Page::open(Kind::Chromium, blank.port).await;
        page.run(&comes_back(server.port, "")).await;

        let told = page
            .run(
                "ann.register('large', () => 'x'.repeat(100_000));
                 const told = next(ann, 'told');
                 const lost = await code_of(ann.call('test', 'add', [1, 2]));
                 const [{ error, id }] = await told;
                 return [lost, error, id, ann.state]",
            )
            .await;

        assert_eq!(told, json!(["disconnected", "too_large", "s1", "open"]));
        page.close().await;
    });
}
