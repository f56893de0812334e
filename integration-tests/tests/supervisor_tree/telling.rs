//! What the page says of a call that is disturbed.

use integration_tests::{Browser, Camera, FaultKind, Kind, PATIENCE, Server, in_network_namespace};
use serde_json::json;

use crate::page::Page;

#[test]
fn a_page_keeps_saying_that_the_server_has_closed_the_room() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let ann = Page::open("Ann", Kind::Chromium, &server).await;
        ann.says("You are in. Nobody else is here yet.").await;
        for words in
            [&["/socket/demo"][..], &["/tree/recoveries", "_CONNECTION_REFUSED"], &["/tree/stream"]]
        {
            ann.browser.expect_fault(FaultKind::FailedRequest, words);
        }
        let watch = "const status = document.getElementById('status');
             window.said = [];
             new MutationObserver(() => said.push([status.dataset.status, status.textContent]))
                 .observe(status, { attributes: true, attributeFilter: ['data-status'] });";
        ann.browser.evaluate(watch, vec![]).await;

        assert_eq!(server.terminate(PATIENCE).await.code(), Some(0));
        // Each failed attempt is followed by a state of its own.
        let attempts = "return said.filter(([status]) => status === 'waiting').length > 3";
        ann.waits("attempts in vain", attempts).await;
        let said = ann
            .browser
            .evaluate(
                "return said.filter(([status]) => status !== 'in').map(([, words]) => words)",
                vec![],
            )
            .await;
        for words in said.as_array().expect("what it said") {
            assert_eq!(*words, "The server has closed the room. Reconnecting…", "{said}");
        }
    });
}

#[test]
fn a_page_says_which_of_its_lines_may_not_have_arrived() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let ann = Page::open("Ann", Kind::Chromium, &server).await;
        ann.waits("a channel", "return window.demo.flowing && window.demo.channels.length === 3")
            .await;
        ann.browser.expect_fault(FaultKind::FailedRequest, &["/socket/demo"]);
        // A line every 50 ms, from before the fault until the page is another peer. After the first ones the channel
        // takes no more, as if it were broken already.
        let write = "window.written = 0;
             const { send } = RTCDataChannel.prototype;
             const [input, form] = ['chat-input', 'chat-form'].map((id) => document.getElementById(id));
             const first = window.demo.peerId;
             RTCDataChannel.prototype.send = function (text) {
                 if (this.label !== 'chat' || window.written < 3) send.call(this, text);
             };
             const writing = setInterval(() => {
                 if (window.demo.peerId !== first) {
                     RTCDataChannel.prototype.send = send;
                     return clearInterval(writing);
                 }
                 if (input.disabled) return;
                 input.value = `line ${window.written + 1}.`;
                 form.requestSubmit();
                 // A line that was not sent stays in its field.
                 if (input.value === '') window.written += 1;
             }, 50);";
        ann.browser.evaluate(write, vec![]).await;
        ann.waits("lost lines", "return window.written > 4").await;
        ann.presses("demo", "Supervisor", "stop").await;

        // Each line has come back or is reported missing, and some are missing.
        ann.waits(
            "all lines",
            "const lines = [...document.querySelectorAll('#chat-log li')].map(({ textContent }) => textContent);
             const missed = lines.filter((line) => line.startsWith('No answer from the server:'));
             const told = (number) => lines.some((line) => line === `Youline ${number}.`) || missed.some((line) => line.includes(`“line ${number}.”`));
             return window.demo.channels.length === 3 && missed.length > 0
                 && Array.from({ length: window.written }, (_, at) => at + 1).every(told)",
        )
        .await;
        ann.chats_with(&ann).await;
    });
}

#[test]
fn a_page_whose_peer_connections_do_not_last_says_so_and_tries_again() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let ann = Page::open("Ann", Kind::Chromium, &server).await;
        let has = |way: &str, channels: usize| {
            format!(
                "return window.demo.channels.length === {channels}
                     && document.getElementById('chat-way').textContent === '{way}'"
            )
        };
        ann.waits("a channel", &has("over a data channel", 3)).await;

        let break_all = "window.unbroken = window.RTCPeerConnection;
             window.RTCPeerConnection = function () { throw new Error('no more of them'); };";
        ann.browser.evaluate(break_all, vec![]).await;
        ann.presses("Ann", "PeerConnection", "kill").await;
        let note = "return document.getElementById('chat-log').textContent
             .includes('No connection to the server lasts.')";
        ann.waits("a note", note).await;
        ann.waits("another way", &has("over the WebSocket", 0)).await;
        ann.chats_with(&ann).await;

        let mend = "window.RTCPeerConnection = window.unbroken;";
        ann.browser.evaluate(mend, vec![]).await;
        ann.waits("a new connection", &has("over a data channel", 3)).await;
    });
}

#[test]
fn a_page_says_that_the_server_does_not_answer() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let ann = Page::open("Ann", Kind::Chromium, &server).await;
        ann.waits("a channel", "return window.demo.flowing && window.demo.channels.length === 3")
            .await;

        ann.browser.evaluate(&slow_messages("Infinity"), vec![]).await;
        ann.says("The server does not answer. What you write now may not arrive.").await;
        ann.browser.evaluate(&slow_messages("0"), vec![]).await;
        ann.says("You are in. Nobody else is here yet.").await;
    });
}

#[test]
fn recoveries_are_told_in_plain_words_that_fit_a_narrow_window() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let ann = Page::open("Ann", Kind::Chromium, &server).await;
        for words in
            [&["/socket/demo"][..], &["/tree/recoveries", "_CONNECTION_REFUSED"], &["/tree/stream"]]
        {
            ann.browser.expect_fault(FaultKind::FailedRequest, words);
        }
        for (owner, actor, fault) in
            [("Ann", "PeerConnection", "fail_handshake"), ("http", "Http", "panic")]
        {
            ann.presses(owner, actor, fault).await;
            let row =
                "const line = document.querySelector(`#recoveries [data-fault='${arguments[0]}']`);
                return line?.dataset.whole > 0";
            ann.waits_for(&format!("a row of {fault}"), row, vec![json!(fault)]).await;
        }

        let told = "return [...document.querySelectorAll('#recoveries tr')]
            .map(({ children }) => children[2].textContent)";
        let told = ann.browser.evaluate(told, vec![]).await;
        let told: Vec<_> = told.as_array().expect("rows").iter().map(ToString::to_string).collect();
        for words in &told {
            let known = [
                "made to panic",
                "handshake made to fail",
                "killed",
                "fell with its thread",
                "failed by itself",
            ];
            assert!(known.iter().any(|it| *words == format!("{it:?}")), "{told:?}");
        }
        assert!(told.len() >= 2, "{told:?}");

        for width in [400, 700, 1_000, 1_400, 1_900] {
            ann.browser.resize(width, 900).await;
            let fits = "const boxes = [document.scrollingElement, document.querySelector('.scroll')];
                const widths = boxes.map((it) => [it.scrollWidth, it.clientWidth]);
                const fit = innerWidth <= arguments[0] && widths.every(([needed, has]) => needed <= has);
                return fit || [innerWidth, widths]";
            ann.waits_for(&format!("a page that fits {width} px"), fits, vec![json!(width)]).await;
            ann.picture(&format!("{width} px")).await;
        }
    });
}

#[test]
fn a_page_says_what_is_sent_in_place_of_a_camera_that_cannot_be_used() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let drawn = "There is no camera that can be used: a drawn picture is sent instead.";
        let forbidden = "The browser does not allow this page to use camera and microphone: \
                         a drawn picture and silence are sent instead.";
        for (camera, words, button) in [
            (Camera::Fake, "", "Stop my camera"),
            (Camera::Missing, drawn, "Stop my camera"),
            (Camera::Forbidden, forbidden, "Use my camera"),
        ] {
            let browser = Browser::start_with(Kind::Chromium, camera).await;
            browser.go_to(&server.page("demo?name=Ann")).await;
            let page = Page { browser, name: "Ann" };
            page.browser.shows("Use my camera").await;
            page.browser.click("#camera").await;
            let look = "return location.search === '?camera'
                && document.getElementById('own-video').srcObject?.getTracks().length === 2
                && document.getElementById('media-note').textContent === arguments[0]
                && document.getElementById('camera').textContent === arguments[1]
                && (document.getElementById('camera').getAttribute('aria-pressed') === 'true')
                    === (arguments[1] === 'Stop my camera')";
            let arguments = vec![json!(words), json!(button)];
            page.waits_for(&format!("the words on a {camera:?} camera"), look, arguments).await;
            page.says("You are in. Nobody else is here yet.").await;
            page.browser.close().await;
        }
    });
}

#[test]
fn a_hidden_tab_spoils_no_measurement() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let (ann, bob) = tokio::join!(
            Page::open("Ann", Kind::Chromium, &server),
            Page::open("Bob", Kind::Chromium, &server)
        );
        ann.talks().await;
        bob.talks().await;
        // As a browser does with a hidden tab: timers run once in a second.
        let hide =
            "Object.defineProperty(document, 'hidden', { get: () => true, configurable: true });";
        bob.browser.evaluate(&format!("{hide}{}", slow_messages("1_000")), vec![]).await;
        ann.waits("a hidden tab", "return window.demo.peers[0].hidden").await;

        ann.presses("Ann", "PeerConnection", "kill").await;
        let measured = "const line = document.querySelector('#recoveries tr[data-fault=kill]');
             return line !== null && 'messages' in line.dataset";
        ann.waits("a time", measured).await;

        // Times that slow timers would measure are left out.
        ann.browser.evaluate(hide, vec![]).await;
        ann.presses("Ann", "ServerPeer", "panic").await;
        ann.waits(
            "a remark",
            "const line = document.querySelector('#recoveries tr[data-fault=panic]');
             return line !== null && line.children[4].textContent === 'hidden tab'",
        )
        .await;
    });
}

#[test]
fn a_recovery_is_measured_that_takes_long_or_comes_between_two_streams_of_the_tree() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let ann = Page::open("Ann", Kind::Chromium, &server).await;
        ann.waits("a channel", "return window.demo.flowing && window.demo.channels.length === 3")
            .await;
        ann.waits("times of flows", TIMES_OF_FLOWS).await;

        // The page's clock is set when the fault has been injected.
        let late = "const now = performance.now.bind(performance);
             let later = 0;
             performance.now = () => now() + later;
             document.addEventListener('click', () => { later = 40_000; }, { once: true })";
        ann.browser.evaluate(late, vec![]).await;
        ann.presses("Ann", "PeerConnection", "kill").await;
        let measured = "const line = document.querySelector('#recoveries tr[data-fault=kill]');
             return Number(line?.dataset.messages) > 40_000";
        ann.waits("the time of messages", measured).await;

        // When the page has loaded what there was, and before it watches the tree again, an actor fails and recovers.
        let between = "const load = window.fetch;
             window.fetch = async (...request) => {
                 const response = await load(...request);
                 if (request[0] !== '/tree/recoveries') return response;
                 window.fetch = load;
                 const before = await response.text();
                 const everyone = (node) => [node, ...node.children.flatMap(everyone)];
                 const actors = everyone(await (await load('/tree')).json());
                 const { path } = actors.find(({ type }) => type.endsWith('UdpMux'));
                 const headers = { 'Content-Type': 'application/json' };
                 const body = JSON.stringify({ path, fault: 'kill' });
                 await load('/tree/fault', { method: 'POST', headers, body });
                 for (let whole = null; whole === null;) {
                     const { recoveries } = await (await load('/tree/recoveries')).json();
                     whole = recoveries.find((it) => it.path === path)?.whole_ms ?? null;
                 }
                 return new Response(before, { headers });
             }";
        ann.browser.evaluate(between, vec![]).await;
        for words in
            [&["/socket/demo"][..], &["/tree/recoveries", "_CONNECTION_REFUSED"], &["/tree/stream"]]
        {
            ann.browser.expect_fault(FaultKind::FailedRequest, words);
        }
        ann.presses("http", "Http", "panic").await;
        let heard = "const line = document.querySelector('#recoveries tr[data-type=UdpMux]');
             return line !== null && 'whole' in line.dataset";
        ann.waits("the row of that actor", heard).await;
    });
}

/// Returns a script that lets a page send pointers by its data channel at most once in this time, in ms.
fn slow_messages(every: &str) -> String {
    format!(
        "window.send ??= RTCDataChannel.prototype.send;
         let last = performance.now();
         RTCDataChannel.prototype.send = function (text) {{
             if (this.label === 'cursor' && performance.now() - last < {every}) return;
             if (this.label === 'cursor') last = performance.now();
             window.send.call(this, text);
         }};"
    )
}

/// Tells whether flows of a message every 100 ms say how long each was interrupted by a fault after 2.05 s.
const TIMES_OF_FLOWS: &str = "
    const { Flow } = await import('/static/flow.js');
    const now = performance.now;
    let time = 0;
    performance.now = () => time;
    const flow = (...spans) => {
        const flow = new Flow(250);
        for (const [from, to, delay = 0] of spans) {
            for (let sent = from; sent <= to; sent += 100) {
                time = sent + delay;
                flow.mark(sent);
            }
        }
        return flow.recovered(2_050);
    };
    const times = [
        flow([0, 5_000]), flow([0, 2_000], [2_200, 5_000]), flow([0, 2_000], [2_500, 5_000]),
        flow([0, 2_000], [2_500, 3_000], [4_000, 6_000]), flow([2_500, 5_000]), flow([0, 1_900], [2_000, 5_000, 400]),
        flow([0, 2_900]),
    ];
    performance.now = now;
    return JSON.stringify(times) === '[0,0,450,1950,450,450,null]' || times";
