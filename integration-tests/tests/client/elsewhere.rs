//! The client where another script than the page's own uses it: a worker, the example of the package.

use integration_tests::{Kind, in_network_namespace};
use serde_json::json;

use crate::page::Page;
use crate::server::{Server, Setup};

#[test]
fn a_worker_of_chromium_takes_part_in_a_room() {
    in_network_namespace(async || a_worker_takes_part(Kind::Chromium).await);
}

#[test]
fn a_worker_of_firefox_takes_part_in_a_room() {
    in_network_namespace(async || a_worker_takes_part(Kind::Firefox).await);
}

async fn a_worker_takes_part(kind: Kind) {
    let server = Server::start(Setup::default()).await;
    let page = Page::open(kind, server.port).await;

    let told = page
        .run(
            "const source = `
                 import { connect } from '${location.origin}/callboard.js';
                 const client = await connect('${location.origin}/socket/lobby');
                 client.on('guess', async (what, from) => {
                     client.send('answer', [what, await client.call('test', 'add', [2, 3])], from);
                 });
                 client.on('go', () => client.close());
                 client.on('state', (state) => postMessage(state));
                 client.send('ready');`;
             const ann = await connect('/socket/lobby');
             const ready = next(ann, 'ready');
             const script = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
             const worker = new Worker(script, { type: 'module' });
             const state = new Promise((told, failed) => {
                 worker.onmessage = ({ data }) => told(data);
                 worker.onerror = ({ message }) => failed(new Error(message));
             });
             const [, peer] = await Promise.race([ready, state]);
             const answer = next(ann, 'answer');
             ann.send('guess', 'a hat', peer);
             const [data, from] = await answer;
             const left = next(ann, 'left');
             ann.send('go', null, peer);
             const known = ann.peers.has(peer) && from === peer;
             return { known, data, left: (await left)[0] === peer, state: await state }",
        )
        .await;

    assert_eq!(
        told,
        json!({ "known": true, "data": ["a hat", 5], "left": true, "state": "closed" })
    );
    page.close().await;
}

#[test]
fn the_example_in_plain_dom_is_a_chat() {
    in_network_namespace(async || {
        let server = Server::start(Setup::default()).await;
        let page = Page::open(Kind::Chromium, server.port).await;
        let example = include_str!("../../../crates/signaling/js/examples/chat.js");

        let open = "const source = EXAMPLE.replace('\"callboard\"', `'${location.origin}/callboard.js'`);
             const script = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
             const { chat } = await import(script);
             document.body.innerHTML = '<ul></ul><form><input name=text></form><p></p>';
             const [lines, form, status] = ['ul', 'form', 'p'].map((name) => document.querySelector(name));
             const ann = await chat('/socket/lobby', { lines, form, status });
             const alone = status.textContent;
             const bob = await connect('/socket/lobby');
             await until(() => status.textContent === '1 others are here');
             bob.send('chat', 'Hello');
             await until(() => lines.textContent === `${bob.peerId}: Hello`);
             const heard = next(bob, 'chat');
             form.elements.text.value = 'Hi';
             form.requestSubmit();
             const [text, from] = await heard;
             const field = form.elements.text.value;
             ann.close();
             form.requestSubmit();
             const last = [...lines.children].slice(1).map(({ textContent }) => textContent);
             bob.close();
             return { alone, text, from: from === ann.peerId, field, status: status.textContent, last }";
        let told = page.run(&open.replace("EXAMPLE", &json!(example).to_string())).await;

        let expected = json!({
            "alone": "0 others are here", "text": "Hi", "from": true, "field": "", "status": "closed",
            "last": ["me: Hi", "the client was closed"],
        });
        assert_eq!(told, expected);
        page.close().await;
    });
}
