//! The supervisor tree: a call that goes on while faults are injected into every part that carries it.

use std::path::PathBuf;
use std::process::Stdio;
use std::{env, fs};

use callboard_client::{Client, ClientHandle, ClientOptions};
use integration_tests::{
    Browser, FaultKind, Kind, Moment, PATIENCE, Server, in_network_namespace, program, until,
};
use serde_json::{Value, json};
use tokio::process::Command;

#[test]
fn a_call_of_chromium_and_firefox_goes_on_whatever_fault_is_injected() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let (ann, bob) = tokio::join!(
            Page::open("Ann", Kind::Chromium, &server),
            Page::open("Bob", Kind::Firefox, &server)
        );
        let pages = [&ann, &bob];
        ann.talks().await;
        bob.talks().await;

        ann.chats_with(&bob).await;
        bob.chats_with(&ann).await;
        ann.calls_hooks().await;
        bob.calls_hooks().await;
        for page in pages {
            page.sees_in_the_tree(&["Ann", "Bob", "demo", "room", "http", "udp 0"]).await;
        }
        ann.picture("a call").await;

        // Faults after which the peers keep their ids.
        for (page, injection) in [
            (&ann, Injection { owner: "Ann", actor: "PeerConnection", fault: "kill" }),
            (&bob, Injection { owner: "Ann", actor: "PeerConnection", fault: "panic" }),
            (&ann, Injection { owner: "Bob", actor: "PeerConnection", fault: "fail_handshake" }),
            (&bob, Injection { owner: "Bob", actor: "ServerPeer", fault: "panic" }),
            (&ann, Injection { owner: "Ann", actor: "PeerActor", fault: "panic" }),
            (&bob, Injection { owner: "Bob", actor: "PeerActor", fault: "unplug" }),
            (&ann, Injection { owner: "room", actor: "RoomActor", fault: "panic" }),
            (&bob, Injection { owner: "udp 0", actor: "UdpMux", fault: "panic" }),
        ] {
            let before = [ann.peer_id().await, bob.peer_id().await];
            page.injects(&injection, &pages).await;
            assert_eq!([ann.peer_id().await, bob.peer_id().await], before, "{injection:?}");
        }
        // Faults after which they come back as new peers, and the call begins anew. Until the server listens again
        // their requests fail.
        for page in pages {
            for words in [
                &["/socket/demo"][..],
                &["/tree/recoveries", "_CONNECTION_REFUSED"],
                &["/tree/stream"],
            ] {
                page.browser.expect_fault(FaultKind::FailedRequest, words);
            }
        }
        for (page, injection) in [
            (&ann, Injection { owner: "Bob", actor: "PeerActor", fault: "stop" }),
            (&bob, Injection { owner: "demo", actor: "Supervisor", fault: "kill" }),
            (&ann, Injection { owner: "http", actor: "Http", fault: "panic" }),
            (&bob, Injection { owner: "rooms", actor: "Supervisor", fault: "panic" }),
        ] {
            let before = bob.peer_id().await;
            page.injects(&injection, &pages).await;
            assert_ne!(bob.peer_id().await, before, "{injection:?}");
        }
        ann.chats_with(&bob).await;

        let status = server.terminate(PATIENCE).await;
        assert_eq!(status.code(), Some(0), "the server ended with {status}");
    });
}

#[test]
fn messages_go_on_while_a_fifth_of_the_datagrams_is_lost() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let (ann, bob) = tokio::join!(
            Page::open("Ann", Kind::Chromium, &server),
            Page::open("Bob", Kind::Chromium, &server)
        );
        ann.talks().await;
        bob.talks().await;

        ann.presses("Ann", "PeerConnection", "lose").await;
        ann.waits("lost datagrams", "return /[0-9]+ datagrams lost on purpose/.test(tree())").await;
        ann.chats_with(&bob).await;
        bob.chats_with(&ann).await;
        ann.picture("a fifth is lost").await;
        ann.presses("Ann", "PeerConnection", "lose").await;
        ann.talks().await;
    });
}

#[test]
fn two_hundred_peers_can_be_looked_through() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let crowd = Crowd::join(&server, 200).await;
        let page = Page::open("Ann", Kind::Chromium, &server).await;

        // This many nodes are folded until the user asks for them.
        page.waits(
            "a folded room",
            "return /20[0-9] below/.test(row('demo')?.textContent ?? '') && !row('robot 7')",
        )
        .await;
        page.browser.type_into("#tree-search", "robot 7").await;
        page.waits("eleven robots", "return names().filter((name) => name.startsWith('robot 7')).length === 11 && !row('robot 8')").await;
        page.picture("a crowd").await;
        drop(crowd);
    });
}

#[test]
fn who_comes_late_to_a_crowd_sees_those_who_have_room_and_reads_how_many() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        // These peers offer to no one, like pages that see as many as they can.
        let crowd = Crowd::join(&server, 8).await;
        let ann = Page::open("Ann", Kind::Chromium, &server).await;
        ann.says("In a room with 8 others; pictures of none.").await;
        let bob = Page::open("Bob", Kind::Chromium, &server).await;
        for page in [&ann, &bob] {
            page.says("In a room with 9 others; pictures of 1.").await;
            page.waits("a picture", "return window.demo.frames > 0").await;
        }
        drop(crowd);
        for page in [&ann, &bob] {
            page.says("In a call with 1 other.").await;
        }
    });
}

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

#[test]
fn the_script_without_browsers_recovers_from_every_fault() {
    in_network_namespace(async || {
        let output = Command::new(program::of_the_workspace("supervisor-tree"))
            .args(["--headless", "--seconds", "10"])
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, output).await;
        let output = output.expect("it ends").expect("it starts");

        let said = String::from_utf8_lossy(&output.stdout);
        let shown = format!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{shown}");
        assert!(said.contains("All recovered."), "{shown}");
        assert!(said.contains("handshake fails") && said.contains("room panics"), "{shown}");
    });
}

/// Button of a fault, identified by its place in the tree.
#[derive(Debug)]
struct Injection {
    /// Text of the node at which the search begins …
    owner: &'static str,
    /// … for the first actor of this type …
    actor: &'static str,
    /// … and the fault of its button.
    fault: &'static str,
}

/// Browser that shows the room `demo`.
struct Page {
    browser: Browser,
    name: &'static str,
}

impl Page {
    async fn open(name: &'static str, kind: Kind, server: &Server) -> Self {
        let browser = Browser::start(kind).await;
        browser.go_to(&server.page(&format!("demo?name={name}"))).await;
        Self { browser, name }
    }

    /// Waits until the page is in a call with one other: messages and pictures flow, over a data channel and the mesh.
    async fn talks(&self) {
        self.waits(
            "a call",
            "const { status, peers, webrtc, channels, flowing } = window.demo;
             return status === 'in' && webrtc === 'connected' && channels.length === 3 && flowing && peers.length === 1
                 && peers.every(({ heard, media }) => heard && media === 'connected')",
        )
        .await;
    }

    async fn peer_id(&self) -> Value {
        self.browser.evaluate("return window.demo.peerId", vec![]).await
    }

    async fn chats_with(&self, other: &Page) {
        let line = format!("{} says hello {}", self.name, self.peer_id().await);
        self.browser.type_into("#chat-input", &line).await;
        self.browser.evaluate("document.getElementById('chat-form').requestSubmit()", vec![]).await;
        for page in [self, other] {
            let read = "return [...document.querySelectorAll('#chat-log li')].some(({ textContent }) => textContent.endsWith(arguments[0]))";
            page.waits_for(&format!("the line {line:?}"), read, vec![json!(line)]).await;
        }
    }

    /// Presses every button of the calls, and waits for all outcomes.
    async fn calls_hooks(&self) {
        let press = "for (const button of document.querySelectorAll('#rpc button')) button.click()";
        self.browser.evaluate(press, vec![]).await;
        for (hook, outcome, words) in [
            ("echo", "ok", "[\"hello\",42]"),
            ("add", "ok", "5"),
            ("slow", "ok", "1000"),
            ("panic", "error", "internal"),
            ("call_me", "ok", self.name),
        ] {
            let look = "return [...document.querySelectorAll('#rpc-log li')].some(({ dataset, textContent }) =>
                dataset.hook === arguments[0] && dataset.outcome === arguments[1] && textContent.includes(arguments[2]))";
            let arguments = vec![json!(hook), json!(outcome), json!(words)];
            self.waits_for(&format!("the outcome of {hook}"), look, arguments).await;
        }
    }

    async fn sees_in_the_tree(&self, names: &[&str]) {
        for name in names {
            self.waits_for(
                &format!("{name} in the tree"),
                "return row(arguments[0]) !== undefined",
                vec![json!(name)],
            )
            .await;
        }
    }

    /// Presses a button in the tree, as soon as there is one.
    async fn presses(&self, owner: &str, actor: &str, fault: &str) {
        let press = "const rows = [...document.querySelectorAll('#tree li')];
             const first = rows.indexOf(row(arguments[0]));
             const target = rows.slice(first).find(({ dataset }) => dataset.type === arguments[1] && dataset.status === 'running');
             const button = first >= 0 && target?.querySelector(`button[data-fault='${arguments[2]}']`);
             if (!button) return false;
             button.focus();
             button.click();
             return true";
        let arguments = vec![json!(owner), json!(actor), json!(fault)];
        self.waits_for(&format!("a button to {fault} the {actor} of {owner}"), press, arguments)
            .await;
    }

    /// Injects a fault, and waits for the recovery: the call goes on in all pages, the tree is whole, and the table
    /// shows all recovery times.
    async fn injects(&self, injection: &Injection, pages: &[&Page; 2]) {
        let before = self.newest_recovery(injection.fault).await;
        self.presses(injection.owner, injection.actor, injection.fault).await;
        // An unplugged WebSocket is no actor: its row has no time of the tree.
        let times = if injection.fault == "unplug" { json!([]) } else { json!(["whole"]) };
        let filled = "const line = [...document.querySelectorAll(`#recoveries tr[data-fault='${arguments[0]}']`)][0];
             return line !== undefined && line.dataset.recovery !== arguments[1]
                 && ['messages', 'media', ...arguments[2]].every((time) => time in line.dataset)";
        let arguments = vec![json!(injection.fault), before, times];
        self.waits_for(&format!("a row with all times of {injection:?}"), filled, arguments).await;
        for page in pages {
            page.talks().await;
        }
        let whole = "const everyone = (node) => [node, ...node.children.flatMap(everyone)];
             const response = await fetch('/tree');
             return !document.querySelector('#tree li.down[data-status=running]') && response.ok && everyone(await response.json()).every(({ status }) => status === 'running')";
        self.waits(&format!("a whole tree after {injection:?}"), whole).await;
        self.picture(&format!("{} {} {}", injection.owner, injection.actor, injection.fault)).await;
    }

    async fn newest_recovery(&self, fault: &str) -> Value {
        let newest = "return document.querySelector(`#recoveries tr[data-fault='${arguments[0]}']`)?.dataset.recovery ?? null";
        self.browser.evaluate(newest, vec![json!(fault)]).await
    }

    /// Saves a picture of the page, for later inspection.
    async fn picture(&self, of: &str) {
        let folder = env::var_os("CALLBOARD_ARTEFACTS").filter(|folder| !folder.is_empty());
        let folder =
            folder.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        let folder = folder.join("supervisor-tree");
        fs::create_dir_all(&folder).expect("a folder for pictures");
        let file = folder.join(format!("{of} ({}).png", self.name).replace(' ', "-"));
        fs::write(&file, self.browser.picture().await).expect("a file for a picture");
    }

    /// Waits until the head of the page shows exactly this text.
    async fn says(&self, words: &str) {
        let look = "return document.getElementById('status').textContent === arguments[0]";
        self.waits_for(&format!("{words:?}"), look, vec![json!(words)]).await;
    }

    async fn waits(&self, what: &str, script: &str) {
        self.waits_for(what, script, vec![]).await;
    }

    async fn waits_for(&self, what: &str, script: &str, arguments: Vec<Value>) {
        let script = format!("{HELPERS}{script}");
        until(&format!("{what} at {}", self.name), PATIENCE, async || {
            match self.browser.evaluate(&script, arguments.clone()).await {
                Value::Bool(true) => Moment::Now(()),
                other => Moment::NotYet(format!(
                    "{other}; {:#}",
                    self.browser.evaluate(SITUATION, vec![]).await
                )),
            }
        })
        .await;
    }
}

/// Peers that join, send one message, and do nothing more.
struct Crowd {
    /// Nobody takes their events, so these are dropped.
    _clients: Vec<ClientHandle>,
}

impl Crowd {
    async fn join(server: &Server, peers: usize) -> Self {
        let mut clients = Vec::new();
        for number in 0..peers {
            let url = format!("ws://{}/socket/demo?name=robot%20{number}", server.listen());
            let client = Client::connect(&url, ClientOptions::new()).await;
            let client = client.expect("a place in the room");
            client.send_data("cursor", "{\"t\":0}").await.expect("an open socket");
            clients.push(client.handle());
        }
        Self { _clients: clients }
    }
}

const HELPERS: &str = "
    const nameOf = (line) => line.querySelector('.name').textContent.replace(' (you)', '');
    const names = () => [...document.querySelectorAll('#tree li')].map(nameOf);
    const row = (name) => [...document.querySelectorAll('#tree li')].find((line) => nameOf(line) === name);
    const tree = () => document.getElementById('tree').textContent;
";

const SITUATION: &str = "return {
    demo: window.demo,
    status: document.getElementById('status')?.textContent,
    tree: document.getElementById('tree')?.innerText,
    note: document.getElementById('tree-note')?.textContent,
    recoveries: document.getElementById('recoveries')?.innerText,
    calls: document.getElementById('rpc-log')?.innerText,
    chat: document.getElementById('chat-log')?.innerText,
}";
