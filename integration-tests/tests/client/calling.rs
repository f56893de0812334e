//! The peer connection to the server: data, calls, and what becomes of them when the connection ends.

use std::process::Command;

use integration_tests::{Kind, in_network_namespace};
use serde_json::json;

use crate::page::Page;
use crate::server::{Server, Setup};

#[test]
fn chromium_talks_with_the_server_by_data_channels() {
    in_network_namespace(async || talks_by_data_channels(Kind::Chromium).await);
}

#[test]
fn firefox_talks_with_the_server_by_data_channels() {
    in_network_namespace(async || talks_by_data_channels(Kind::Firefox).await);
}

async fn talks_by_data_channels(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    let page = Page::open(kind, server.port).await;
    page.run(
        "window.ann = await connect('/socket/lobby');
         [window.data, window.errors, window.states] = [heard(ann, 'data'), heard(ann, 'error'), heard(ann, 'webrtc')];
         [window.opened, window.closed_channels] = [heard(ann, 'channel_open'), heard(ann, 'channel_closed')];
         window.add = (a, b) => ann.call('test', 'add', [a, b]);",
    )
    .await;

    // There is no peer connection yet.
    let by_socket = page
        .run(
            "ann.sendData('chat', 'by socket');
             await next(ann, 'data');
             const way = { ...used };
             return { data, sum: await add(1, 2), channel: way.channel, socket: way.socket > 0 }",
        )
        .await;
    let data = json!([[{ "channel": "chat", "data": "by socket" }]]);
    assert_eq!(by_socket, json!({ "data": data, "sum": 3, "channel": 0, "socket": true }));

    let by_channel = page
        .run(
            "window.peer = ann.openPeerConnection({ channels: { chat: {}, cursor: { ordered: false, maxRetransmits: 0 } } });
             let code;
             try { ann.openPeerConnection(); } catch (error) { code = error.code; }
             await until(() => opened.length === 3);
             ann.sendData('chat', 'by channel');
             await next(ann, 'data');
             const before = { ...used };
             const sum = await add(3, 4);
             return {
                 code, sum, data: data.at(-1), opened: opened.flat().sort(), states: states.flat(),
                 used: used.channel - before.channel,
             }",
        )
        .await;
    assert_eq!(by_channel["code"], "already_open");
    assert_eq!(by_channel["sum"], 7);
    assert_eq!(by_channel["data"], json!([{ "channel": "chat", "data": "by channel" }]));
    assert_eq!(by_channel["opened"], json!(["chat", "cursor", "events"]));
    assert_eq!(by_channel["states"], json!(["connecting", "connected"]));
    assert_eq!(by_channel["used"], 1, "the call goes by the channel");

    let errors = page
        .run(
            "const failed = await ann.call('test', 'fail', ['not today']).catch((error) => error);
             return {
                 typed: failed instanceof HookError && failed instanceof CallboardError, code: failed.code, error: failed.error,
                 unknown: (await ann.call('nothing', 'add').catch((error) => error)).error,
                 args: (await ann.call('test', 'add', ['x']).catch((error) => error)).error,
             }",
        )
        .await;
    let expected = json!({
        "typed": true, "code": "hook_error", "error": "not today", "unknown": "unknown_plugin", "args": "invalid_args",
    });
    assert_eq!(errors, expected);

    // Answers come in any order; calls that no caller waits for any more are stopped on the server.
    let order = page
        .run(
            "const waits = ann.call('test', 'wait');
             const sums = await Promise.all([...Array(10).keys()].map((i) => add(i, 100)));
             await ann.call('test', 'let_through');
             const late = code_of(ann.call('test', 'wait', [], { timeout: 50 }));
             const controller = new AbortController();
             const aborted = ann.call('test', 'wait', [], { signal: controller.signal }).catch((error) => error.name);
             controller.abort();
             const never = ann.call('test', 'add', [1, 1], { signal: controller.signal }).catch((error) => error.name);
             const told = { waited: await waits, sums, late: await late, aborted: await aborted, never: await never };
             while ((await ann.call('test', 'dropped')) < 2);
             return told",
        )
        .await;
    let sums: Vec<_> = (100..110).collect();
    let expected = json!({
        "waited": "let through", "sums": sums, "late": "timeout", "aborted": "AbortError", "never": "AbortError",
    });
    assert_eq!(order, expected);

    let asked = page
        .run(
            "const takeBack = ann.register('greet', async (name) => `Hello, ${name}`);
             ann.register('fail', () => { throw new Error('not today'); });
             ann.register('cyclic', () => { const it = {}; it.it = it; return it; });
             ann.register('nothing', () => {});
             const ask = (fn, args = []) => ann.call('test', 'ask', [fn, args]);
             const told = [
                 await ask('greet', ['Ann']), await ask('fail'), await ask('nothing'), await ask('toString'),
                 Boolean((await ask('cyclic')).error),
             ];
             takeBack();
             return [...told, await ask('greet', ['Ann'])]",
        )
        .await;
    let unknown = json!({ "error": "unknown_function" });
    assert_eq!(
        asked,
        json!([{ "answer": "Hello, Ann" }, { "error": "not today" }, { "answer": null }, unknown, true, unknown])
    );

    // Changes during a negotiation lead to another one on the same connection.
    let renegotiated = page
        .run(
            "const { connection } = peer;
             connection.addTransceiver('audio', { direction: 'recvonly' });
             await new Promise((offered) => connection.addEventListener('signalingstatechange', offered, { once: true }));
             connection.addTransceiver('video', { direction: 'recvonly' });
             const close = ann.channel('late');
             await until(() => opened.flat().includes('late') && connection.signalingState === 'stable'
                 && connection.getTransceivers().length === 2 && connection.getTransceivers().every(({ mid }) => mid !== null));
             close();
             await until(() => closed_channels.length === 1);
             return { same: connection === peer.connection, closed: closed_channels.flat(), sum: await add(5, 6) }",
        )
        .await;
    assert_eq!(renegotiated, json!({ "same": true, "closed": ["late"], "sum": 11 }));

    // The server's end fails: calls go on by the socket, until there is another connection.
    let killed = page
        .run(
            "const { connection } = peer;
             const waits = ann.call('test', 'wait');
             opened.length = closed_channels.length = 0;
             // At once: the next connection may be there soon.
             const calledBetween = new Promise((done) => ann.on('channel_closed', () => {
                 if (closed_channels.length !== 3) return;
                 const { channel } = used;
                 const sum = add(7, 8);
                 done([sum, used.channel === channel]);
             }));
             const killed = ann.call('test', 'kill_connection');
             const [sum, onSocket] = await calledBetween;
             const bySocket = await sum;
             await until(() => opened.length === 3);
             const between = { ...used };
             const byChannel = await add(9, 10);
             await ann.call('test', 'let_through');
             return {
                 another: connection !== peer.connection, closed: closed_channels.flat().sort(), opened: opened.flat().sort(),
                 bySocket, onSocket, byChannel, onChannel: used.channel > between.channel,
                 waited: await waits, killed: await killed, errors, id: ann.state,
             }",
        )
        .await;
    let all = ["chat", "cursor", "events"];
    let expected = json!({
        "another": true, "closed": all, "opened": all, "bySocket": 15, "onSocket": true, "byChannel": 19, "onChannel": true,
        "waited": "let through", "killed": null, "errors": [], "id": "open",
    });
    assert_eq!(killed, expected);

    let closed = page
        .run(
            "const waits = code_of(ann.call('test', 'wait'));
             ann.close();
             return [await waits, await code_of(add(1, 1)), peer.closed, states.flat().at(-1)]",
        )
        .await;
    assert_eq!(closed, json!(["closed", "closed", true, "closed"]));
    page.close().await;
}

#[test]
fn chromium_finds_another_path_to_the_server() {
    in_network_namespace(async || finds_another_path(Kind::Chromium).await);
}

#[test]
fn firefox_finds_another_path_to_the_server() {
    in_network_namespace(async || finds_another_path(Kind::Firefox).await);
}

/// Cuts the path to the server until nothing of it is left, and waits until the client finds another, which is in truth
/// the same.
async fn finds_another_path(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    let page = Page::open(kind, server.port).await;
    page.run(
        "window.ann = await connect('/socket/lobby');
         [window.states, window.closed_channels] = [heard(ann, 'webrtc'), heard(ann, 'channel_closed')];
         window.errors = heard(ann, 'error');
         window.peer = ann.openPeerConnection();
         await next(ann, 'channel_open');
         window.ufrag = () => /a=ice-ufrag:(.*)/.exec(peer.connection.localDescription.sdp)[1];
         window.before = { connection: peer.connection, ufrag: ufrag() };",
    )
    .await;

    nft(
        "table inet cut { chain input { type filter hook input priority 0; meta l4proto udp drop; }; }",
    );
    page.run("await until(() => states.flat().includes('disconnected'))").await;
    page.run("await until(() => ufrag() !== before.ufrag)").await;
    nft("delete table inet cut");

    let after = page
        .run(
            "await until(() => peer.state === 'connected');
             const { channel } = used;
             return {
                 same: peer.connection === before.connection, closed_channels, errors,
                 sum: await ann.call('test', 'add', [1, 2]), used: used.channel - channel,
             }",
        )
        .await;
    let expected =
        json!({ "same": true, "closed_channels": [], "errors": [], "sum": 3, "used": 1 });
    assert_eq!(after, expected);
    page.close().await;
}

fn nft(rules: &str) {
    let told = Command::new("nft").arg(rules).output().expect("nft, of the package nftables");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
}

#[test]
fn a_function_of_the_page_may_throw_anything() {
    in_network_namespace(async || {
        let server = Server::start(Setup::default()).await;
        let page = Page::open(Kind::Chromium, server.port).await;

        let told = page
            .run(
                "const ann = await connect('/socket/lobby');
                 const thrown = {
                     nothing: undefined, bare: Object.create(null), symbol: Symbol('s'), number: 10n,
                     odd: Object.assign(new Error('odd'), { message: 7n }), reason: new Error('not today'),
                 };
                 const told = {};
                 for (const name of Object.keys(thrown)) {
                     ann.register(name, () => { throw thrown[name]; });
                     told[name] = (await ann.call('test', 'ask', [name, []])).error;
                 }
                 ann.register('number', () => 10n);
                 told.answer = typeof (await ann.call('test', 'ask', ['number', []])).error;
                 return told",
            )
            .await;

        let expected = json!({
            "nothing": "undefined", "bare": "error", "symbol": "Symbol(s)", "number": "10", "odd": "7", "reason": "not today",
            "answer": "string",
        });
        assert_eq!(told, expected);
        page.close().await;
    });
}

#[test]
fn chromium_sends_by_the_socket_what_is_too_large_for_a_channel() {
    in_network_namespace(async || too_large_for_a_channel(Kind::Chromium).await);
}

#[test]
fn firefox_sends_by_the_socket_what_is_too_large_for_a_channel() {
    in_network_namespace(async || too_large_for_a_channel(Kind::Firefox).await);
}

async fn too_large_for_a_channel(kind: Kind) {
    let server = Server::start(Setup { message: 1_000, ..Setup::default() }).await;
    let page = Page::open(kind, server.port).await;

    let told = page
        .run(
            "const ann = await connect('/socket/lobby');
             const [errors, opened] = [heard(ann, 'error'), heard(ann, 'channel_open')];
             const peer = ann.openPeerConnection({ channels: { chat: {} } });
             await until(() => opened.length === 2);
             const large = 'x'.repeat(5_000);
             ann.register('answer', () => large);
             ann.register('fail', () => { throw new Error(large); });
             const ask = (fn) => ann.call('test', 'ask', [fn, []]);
             const called = await ann.call('test', 'fail', [large]).catch(({ error }) => error === large);
             const told = [called, (await ask('answer')).answer === large, (await ask('fail')).error === large];
             let refused;
             try { ann.sendData('chat', large); } catch ({ code, details }) { refused = [code, details]; }
             return [...told, refused, peer.state, errors]",
        )
        .await;

    let refused = json!(["too_large", { "max_bytes": 1_000 }]);
    assert_eq!(told, json!([true, true, true, refused, "connected", []]));
    page.close().await;
}

#[test]
fn a_channel_that_the_browser_refuses_costs_no_other() {
    in_network_namespace(async || {
        let server = Server::start(Setup::default()).await;
        let page = Page::open(Kind::Chromium, server.port).await;

        let told = page
            .run(
                "const ann = await connect('/socket/lobby');
                 const opened = heard(ann, 'channel_open');
                 const bad = { maxRetransmits: 1, maxPacketLifeTime: 1 };
                 const fails = (run) => { try { run(); } catch ({ name }) { return name; } };
                 const told = [fails(() => ann.openPeerConnection({ channels: { chat: bad } }))];
                 const peer = ann.openPeerConnection();
                 await until(() => opened.length === 1);
                 told.push(fails(() => ann.channel('chat', bad)));
                 ann.channel('chat');
                 await until(() => opened.length === 2);
                 return [...told, opened.flat(), peer.state]",
            )
            .await;

        assert_eq!(told, json!(["TypeError", "TypeError", ["events", "chat"], "connected"]));
        page.close().await;
    });
}

#[test]
fn a_server_without_webrtc_says_so_and_calls_go_by_the_socket() {
    in_network_namespace(async || {
        let server = Server::start(Setup { webrtc: false, ..Setup::default() }).await;
        let page = Page::open(Kind::Chromium, server.port).await;

        let told = page
            .run(
                "const ann = await connect('/socket/lobby');
                 const error = next(ann, 'error');
                 const peer = ann.openPeerConnection();
                 const [{ code, details }] = await error;
                 return [code, details.error, peer.closed, await ann.call('test', 'add', [1, 2])]",
            )
            .await;

        assert_eq!(told, json!(["webrtc_failed", "webrtc_disabled", true, 3]));
        page.close().await;
    });
}
