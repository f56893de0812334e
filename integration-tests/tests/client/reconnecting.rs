//! Losing the connection, and coming back.

use std::time::Duration;

use integration_tests::{Kind, in_network_namespace};
use serde_json::json;

use crate::page::Page;
use crate::proxy::Proxy;
use crate::server::{Server, Setup};

#[test]
fn chromium_comes_back_to_a_server_that_was_restarted() {
    in_network_namespace(async || comes_back_after_a_restart(Kind::Chromium).await);
}

#[test]
fn firefox_comes_back_to_a_server_that_was_restarted() {
    in_network_namespace(async || comes_back_after_a_restart(Kind::Firefox).await);
}

async fn comes_back_after_a_restart(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    let port = server.port;
    let page = Page::open(kind, port).await;
    page.run(
        "Math.random = () => 0.5;
         const options = { firstDelay: 20, longestDelay: 100, queue: 3 };
         window.ann = await connect('/socket/lobby', options);
         window.before = ann.peerId;
         [window.states, window.errors, window.rejoined] = [heard(ann, 'state'), heard(ann, 'error'), heard(ann, 'rejoined')];
         // Firefox lets clients of one server wait for each other's failures, so this one gives up at once.
         window.eve = await connect('/socket/lobby', options);
         eve.on('state', () => eve.close());",
    )
    .await;

    page.expect_no_socket_at("/socket/lobby");
    server.stop();

    // Some attempts fail.
    page.becomes("states.filter(([state]) => state === 'waiting').length > 3").await;
    let down = page
        .run(
            "const waits = states.filter(([state]) => state === 'waiting').map(([, { delay }]) => delay);
             const codes = [];
             for (let i = 0; i < 4; i += 1) try { ann.send('chat', i); } catch (error) { codes.push(error.code); }
             return {
                 first: states.slice(0, 3).map(([state]) => state), code: states[0][1].code, errors: errors.map(([{ code }]) => code),
                 waits: waits.slice(0, 4), codes,
             }",
        )
        .await;
    assert_eq!(
        down,
        json!({
            "first": ["waiting", "connecting", "waiting"], "code": 1001, "errors": ["room_closed"],
            "waits": [10, 20, 40, 50], "codes": ["queue_full"],
        })
    );

    let _server = Server::start(Setup { port, ..Setup::default() }).await;

    let up = page
        .run(
            "await until(() => rejoined.length === 1 && ann.state === 'open');
             const [[id, previous]] = rejoined;
             const bob = await connect('/socket/lobby');
             const chat = heard(bob, 'chat');
             ann.send('chat', 'again', bob.peerId);
             // What had waited may come to one who has just joined.
             await until(() => chat.at(-1)?.[0] === 'again');
             return { ids: id === ann.peerId && previous === before && id !== previous, chat: chat.at(-1)[0], eve: eve.state }",
        )
        .await;
    assert_eq!(up, json!({ "ids": true, "chat": "again", "eve": "closed" }));
    page.close().await;
}

/// The client asks a server for its status after attempts that found none, and the server is back when it answers.
#[test]
fn a_server_that_has_just_come_back_has_refused_nothing() {
    in_network_namespace(async || {
        let server = Server::start(Setup::default()).await;
        let port = server.port;
        let page = Page::open(Kind::Chromium, port).await;
        page.run(
            "window.ann = await connect('/socket/lobby', { firstDelay: 5, longestDelay: 20, refusals: 2 });
             [window.rejoined, window.errors] = [heard(ann, 'rejoined'), heard(ann, 'error')];
             const { fetch } = window;
             window.asked = 0;
             window.back = new Promise((resolve) => (window.come_back = resolve));
             window.fetch = async (...request) => {
                 asked += 1;
                 await back;
                 return fetch(...request);
             };",
        )
        .await;
        page.expect_refused("/socket/lobby");
        server.stop();
        page.becomes("asked > 0").await;

        let _server = Server::start(Setup { port, ..Setup::default() }).await;
        page.run("come_back()").await;

        page.becomes("rejoined.length === 1 && ann.state === 'open'").await;
        assert_eq!(
            page.run("return errors.map(([{ code }]) => code)").await,
            json!(["room_closed"])
        );
        page.close().await;
    });
}

/// Firefox closes a page's connections with 1001 before it tells the page that it leaves it; `stop()` does the same to
/// a page that stays.
#[test]
fn firefox_asks_for_no_session_that_it_has_ended_itself() {
    in_network_namespace(async || {
        let setup = Setup { resume_grace: Duration::from_secs(60), ..Setup::default() };
        let server = Server::start(setup).await;
        // A failed request of the page, as for a session that has ended, would be a fault.
        let page = Page::open(Kind::Firefox, server.port).await;
        let told = page
            .run(
                "const ann = await connect('/socket/lobby', { firstDelay: 1 });
                 const bob = await connect('/socket/lobby', { firstDelay: 1 });
                 const before = ann.peerId;
                 const [states, rejoined] = [heard(ann, 'state'), heard(ann, 'rejoined')];
                 stop();
                 await until(() => rejoined.length === 1 && ann.state === 'open');
                 const [[state, { code, reason, delay }]] = states;
                 return { state, code, reason, delay, previous: rejoined[0][1] === before, another: ann.peerId !== before }",
            )
            .await;
        let expected = json!({
            "state": "waiting", "code": 1001, "reason": "", "delay": 2_000, "previous": true, "another": true,
        });
        assert_eq!(told, expected);
        page.close().await;
    });
}

#[test]
fn what_was_sent_meanwhile_arrives_later() {
    in_network_namespace(async || {
        let server = Server::start(Setup::default()).await;
        let proxy = Proxy::start(server.port).await;
        let page = Page::open(Kind::Chromium, proxy.port).await;
        page.run(&format!(
            "window.ann = await connect('/socket/lobby');
             // Beside the cable that is cut.
             window.bob = await connect('ws://127.0.0.1:{}/socket/lobby');
             window.waiting = next(ann, 'state');
             window.chat = heard(bob, 'chat');",
            server.port
        ))
        .await;

        proxy.cut();
        page.run(
            "const [state, { code }] = await waiting;
             if (state !== 'waiting' || code !== 1006) throw new Error(`${state} ${code}`);
             for (let i = 0; i < 256; i += 1) ann.send('chat', i);",
        )
        .await;

        page.becomes("chat.length === 256 && chat.every(([data], i) => data === i)").await;
        page.close().await;
    });
}

#[test]
fn a_server_that_answers_no_more_is_noticed() {
    in_network_namespace(async || {
        let server = Server::start(Setup::default()).await;
        let proxy = Proxy::start(server.port).await;
        let page = Page::open(Kind::Chromium, proxy.port).await;
        page.run(
            "window.ann = await connect('/socket/lobby', { heartbeat: 1_000, joinTimeout: 3_000, firstDelay: 10, longestDelay: 50 });
             [window.states, window.rejoined] = [heard(ann, 'state'), heard(ann, 'rejoined')];",
        )
        .await;

        proxy.get_stuck();
        // The present connection, and the next one.
        page.becomes("states.filter(([state]) => state === 'waiting').length >= 2").await;
        proxy.work_again();

        // A busy machine may answer too late once more.
        page.becomes("rejoined.length >= 1 && ann.state === 'open'").await;
        page.close().await;
    });
}
