//! Reconnecting at once when the network is back, or the page or the computer wakes up.

use integration_tests::{Kind, in_network_namespace};
use serde_json::json;

use crate::page::Page;
use crate::proxy::Proxy;
use crate::server::{Server, Setup};

#[test]
fn chromium_comes_back_at_once_when_something_has_changed() {
    in_network_namespace(async || comes_back_at_once(Kind::Chromium).await);
}

#[test]
fn firefox_comes_back_at_once_when_something_has_changed() {
    in_network_namespace(async || comes_back_at_once(Kind::Firefox).await);
}

/// Checks that the client comes back at once: each delay is ten minutes, so that it does not do so by itself.
async fn comes_back_at_once(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    let proxy = Proxy::start(server.port).await;
    let page = Page::open(kind, proxy.port).await;
    page.expect_no_socket_at("/socket/lobby");
    page.run(
        "Math.random = () => 1;
         window.late = 600_000;
         window.ann = await connect('/socket/lobby', { firstDelay: late, longestDelay: late, heartbeat: late, joinTimeout: late });
         [window.states, window.rejoined] = [heard(ann, 'state'), heard(ann, 'rejoined')];
         window.wake = {
             online: () => dispatchEvent(new Event('online')),
             shown: () => document.dispatchEvent(new Event('visibilitychange')),
             restored: () => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })),
             changed: () => navigator.connection.dispatchEvent(new Event('change')),
             slept: () => { const { now } = Date; Date.now = () => now() + 3_600_000; },
         };",
    )
    .await;

    // Firefox has no `navigator.connection`.
    let changed = (kind == Kind::Chromium).then_some("changed");
    let ways = ["online", "shown", "restored", "slept"].into_iter().chain(changed);
    for (round, how) in ways.enumerate() {
        // The connection is lost, and would be so for ten minutes.
        proxy.cut();
        page.becomes("ann.state === 'waiting'").await;
        page.run(&format!("wake.{how}()")).await;
        page.becomes(&format!("ann.state === 'open' && rejoined.length === {}", 2 * round + 1))
            .await;

        // The connection is dead, which neither side has noticed.
        proxy.get_stuck();
        page.run(&format!("wake.{how}()")).await;
        page.becomes("ann.state === 'waiting'").await;
        proxy.work_again();
        page.run(&format!("wake.{how}()")).await;
        page.becomes(&format!("ann.state === 'open' && rejoined.length === {}", 2 * round + 2))
            .await;
    }

    // The connection is alive: the check changes nothing. However slow the machine is, the answer ends the wait for it.
    page.run(
        "window.before = states.length;
         [window.asked, window.answered] = [[], []];
         const { setTimeout, clearTimeout } = window;
         window.setTimeout = (step, ms) => {
             if (ms !== 3_000) return setTimeout(step, ms);
             asked.push(setTimeout(step, late));
             return asked.at(-1);
         };
         window.clearTimeout = (timer) => {
             if (asked.includes(timer)) answered.push(timer);
             clearTimeout(timer);
         };
         wake.online();
         wake.shown();",
    )
    .await;
    page.becomes("asked.length === 1 && answered.length === 1").await;
    let told = page
        .run(
            "const sum = await ann.call('test', 'add', [1, 2]);
             return [states.length - before, sum, ann.state]",
        )
        .await;
    assert_eq!(told, json!([0, 3, "open"]));

    // A closed client is not woken.
    let closed = page
        .run("ann.close(); wake.online(); wake.shown(); return [ann.state, states.at(-1)[0]]")
        .await;
    assert_eq!(closed, json!(["closed", "closed"]));
    page.close().await;
}

#[test]
fn chromium_restarts_ice_at_once_on_another_network() {
    in_network_namespace(async || restarts_ice_at_once(Kind::Chromium).await);
}

#[test]
fn firefox_restarts_ice_at_once_on_another_network() {
    in_network_namespace(async || restarts_ice_at_once(Kind::Firefox).await);
}

async fn restarts_ice_at_once(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    let page = Page::open(kind, server.port).await;
    page.run(
        "window.ann = await connect('/socket/lobby');
         window.peer = ann.openPeerConnection();
         await next(ann, 'channel_open');
         window.ufrag = () => /a=ice-ufrag:(.*)/.exec(peer.connection.localDescription.sdp)[1];
         window.before = { connection: peer.connection, ufrag: ufrag() };",
    )
    .await;

    page.run("dispatchEvent(new Event('online'))").await;

    page.becomes("ufrag() !== before.ufrag && peer.state === 'connected'").await;
    let told = page
        .run(
            "return [peer.connection === before.connection, await ann.call('test', 'add', [1, 2])]",
        )
        .await;
    assert_eq!(told, json!([true, 3]));
    page.close().await;
}
