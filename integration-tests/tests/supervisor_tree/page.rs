//! A browser that shows the supervisor tree's page, as the tests use it.

use std::path::PathBuf;
use std::{env, fs};

use integration_tests::{Browser, Kind, Moment, PATIENCE, Server, until};
use serde_json::{Value, json};

/// Button of a fault, identified by its place in the tree.
#[derive(Debug)]
pub(crate) struct Injection {
    /// Text of the node at which the search begins …
    pub(crate) owner: &'static str,
    /// … for the first actor of this type …
    pub(crate) actor: &'static str,
    /// … and the fault of its button.
    pub(crate) fault: &'static str,
}

/// Browser that shows the room `demo`.
pub(crate) struct Page {
    pub(crate) browser: Browser,
    pub(crate) name: &'static str,
}

impl Page {
    pub(crate) async fn open(name: &'static str, kind: Kind, server: &Server) -> Self {
        let browser = Browser::start(kind).await;
        // Faults are injected into what carries its peer connection.
        browser.expect_lost_connections();
        browser.go_to(&server.page(&format!("demo?name={name}"))).await;
        Self { browser, name }
    }

    /// Waits until the page is in a call with one other: messages and pictures flow, over data channels and media of
    /// one connection.
    pub(crate) async fn talks(&self) {
        self.waits(
            "a call",
            "const { status, peers, webrtc, channels, flowing } = window.demo;
             return status === 'in' && webrtc === 'connected' && channels.length === 3 && flowing && peers.length === 1
                 && peers.every(({ heard, media, moving }) => heard && media === 'connected' && moving)",
        )
        .await;
    }

    pub(crate) async fn peer_id(&self) -> Value {
        self.browser.evaluate("return window.demo.peerId", vec![]).await
    }

    pub(crate) async fn chats_with(&self, other: &Page) {
        let line = format!("{} says hello {}", self.name, self.peer_id().await);
        self.browser.type_into("#chat-input", &line).await;
        self.browser.evaluate("document.getElementById('chat-form').requestSubmit()", vec![]).await;
        for page in [self, other] {
            let read = "return [...document.querySelectorAll('#chat-log li')].some(({ textContent }) => textContent.endsWith(arguments[0]))";
            page.waits_for(&format!("the line {line:?}"), read, vec![json!(line)]).await;
        }
    }

    /// Presses every button of the calls, and waits for all outcomes.
    pub(crate) async fn calls_hooks(&self) {
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

    pub(crate) async fn sees_in_the_tree(&self, names: &[&str]) {
        for name in names {
            self.waits_for(
                &format!("{name} in the tree"),
                "return row(arguments[0]) !== undefined",
                vec![json!(name)],
            )
            .await;
        }
    }

    /// Waits until the tree says this of an actor.
    pub(crate) async fn reads_of(&self, owner: &str, actor: &str, pattern: &str) {
        let read = "const rows = [...document.querySelectorAll('#tree li')];
             const first = rows.indexOf(row(arguments[0]));
             const target = rows.slice(first).find(({ dataset }) => dataset.type === arguments[1]);
             return first >= 0 && new RegExp(arguments[2]).test(target?.querySelector('.facts').textContent)";
        let arguments = vec![json!(owner), json!(actor), json!(pattern)];
        self.waits_for(&format!("{pattern:?} of the {actor} of {owner}"), read, arguments).await;
    }

    /// Presses a button in the tree, as soon as there is one.
    pub(crate) async fn presses(&self, owner: &str, actor: &str, fault: &str) {
        let press = "const rows = [...document.querySelectorAll('#tree li')];
             const first = rows.indexOf(row(arguments[0]));
             const target = rows.slice(first).find(({ dataset }) => dataset.type === arguments[1] && dataset.status === 'running');
             const button = first >= 0 && target?.querySelector(`button[data-fault='${arguments[2]}']`);
             if (!button) return false;
             // A handshake that is over cannot fail: the page ends a connection that it sees connected.
             const states = [...target.querySelectorAll('.state')].map(({ textContent }) => textContent);
             if (arguments[2] === 'fail_handshake' && !states.includes('connected')) return false;
             button.focus();
             button.click();
             return true";
        let arguments = vec![json!(owner), json!(actor), json!(fault)];
        self.waits_for(&format!("a button to {fault} the {actor} of {owner}"), press, arguments)
            .await;
    }

    /// Injects a fault, and waits for the recovery: the call goes on in all pages, the tree is whole, and the table
    /// shows all recovery times.
    pub(crate) async fn injects(&self, injection: &Injection, pages: &[&Page; 2]) {
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
    pub(crate) async fn picture(&self, of: &str) {
        let folder = env::var_os("CALLBOARD_ARTEFACTS").filter(|folder| !folder.is_empty());
        let folder =
            folder.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        let folder = folder.join("supervisor-tree");
        fs::create_dir_all(&folder).expect("a folder for pictures");
        let file = folder.join(format!("{of} ({}).png", self.name).replace(' ', "-"));
        fs::write(&file, self.browser.picture().await).expect("a file for a picture");
    }

    /// Waits until the head of the page shows exactly this text.
    pub(crate) async fn says(&self, words: &str) {
        let look = "return document.getElementById('status').textContent === arguments[0]";
        self.waits_for(&format!("{words:?}"), look, vec![json!(words)]).await;
    }

    pub(crate) async fn waits(&self, what: &str, script: &str) {
        self.waits_for(what, script, vec![]).await;
    }

    pub(crate) async fn waits_for(&self, what: &str, script: &str, arguments: Vec<Value>) {
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
