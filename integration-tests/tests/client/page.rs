//! Page with the client in it.

use integration_tests::{Browser, FaultKind, Kind, Moment, PATIENCE, until};
use serde_json::{Value, json};

/// Browser at the server's blank page.
pub(crate) struct Page {
    browser: Browser,
}

impl Page {
    pub(crate) async fn open(kind: Kind, port: u16) -> Self {
        let browser = Browser::start(kind).await;
        browser.go_to(&format!("http://127.0.0.1:{port}/")).await;
        let page = Self { browser };
        until("the page's script", PATIENCE, async || {
            match page.browser.evaluate("return Boolean(window.run)", vec![]).await {
                Value::Bool(true) => Moment::Now(()),
                other => Moment::NotYet(other.to_string()),
            }
        })
        .await;
        page
    }

    /// Runs this function body and returns its result; a promise is awaited. It runs as code of the page itself, with
    /// the helpers of [`HTML`].
    pub(crate) async fn run(&self, body: &str) -> Value {
        let answer = self.browser.evaluate("return window.run(arguments[0])", vec![json!(body)]);
        let answer = answer.await;
        let mut answer: Value = serde_json::from_str(answer.as_str().expect("text")).expect("JSON");
        assert!(answer.get("error").is_none(), "{body}: {}", answer["error"]);
        answer["value"].take()
    }

    /// Waits until this expression is true.
    pub(crate) async fn becomes(&self, expression: &str) {
        until(expression, PATIENCE, async || {
            match self.run(&format!("return {expression}")).await {
                Value::Bool(true) => Moment::Now(()),
                other => Moment::NotYet(other.to_string()),
            }
        })
        .await;
    }

    /// Expects WebSockets to this address that do not open.
    pub(crate) fn expect_no_socket_at(&self, address: &str) {
        self.browser.expect_fault(FaultKind::FailedRequest, &[address]);
    }

    /// Expects the client's request for the reason of a refused resumption: the server answers it without a WebSocket.
    pub(crate) fn expect_refused_resume(&self) {
        self.expect_refused("/socket/lobby?resume=");
    }

    /// Expects that the client gets no WebSocket at this address of the lobby, and asks whether there is a server.
    pub(crate) fn expect_refused(&self, address: &str) {
        self.expect_no_socket_at(address);
        self.browser.expect_fault(FaultKind::FailedRequest, &["/socket/lobby", "426"]);
    }

    pub(crate) async fn close(self) {
        self.browser.close().await;
    }
}

/// The page, with the helpers of the tests' scripts.
pub(crate) const HTML: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>Callboard</title>
<link rel="icon" href="data:,">
<script type="module">
    import * as callboard from "/callboard.js";

    Object.assign(window, callboard, {
        // Resolves with what its listener gets next.
        next: (client, event) => new Promise((resolve) => {
            const off = client.on(event, (...told) => { off(); resolve(told); });
        }),
        // Fills with what the listeners to this event get.
        heard: (client, event) => {
            const all = [];
            client.on(event, (...told) => all.push(told));
            return all;
        },
        // How often each way was used.
        used: { socket: 0, channel: 0 },
        // Waits until this holds.
        until: async (holds) => {
            for (const began = performance.now(); !holds(); await new Promise((later) => setTimeout(later, 10))) {
                if (performance.now() - began > 100_000) throw new Error(`waited for ${holds}`);
            }
        },
        // How something failed.
        code_of: async (promise) => {
            try { await promise; return "no error"; } catch (error) { return error.code ?? String(error); }
        },
        run: async (body) => {
            const AsyncFunction = (async () => {}).constructor;
            try {
                return JSON.stringify({ value: await new AsyncFunction(body)() ?? null });
            } catch (error) {
                return JSON.stringify({ error: `${error} ${error?.stack}` });
            }
        },
    });
    for (const [kind, way] of [[WebSocket, "socket"], [RTCDataChannel, "channel"]]) {
        const { send } = kind.prototype;
        kind.prototype.send = function (data) {
            if (data !== "ping") used[way] += 1;
            return send.call(this, data);
        };
    }
</script>
"#;
