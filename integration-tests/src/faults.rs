//! Faults of the pages that a browser shows, collected by WebDriver BiDi from its first page on.
//!
//! The browser reports console errors, uncaught exceptions, requests without an answer, and answers that are
//! errors. One connection per browser receives the reports, on a thread of its own: a test that waits for
//! nothing, or that forgets to close its browser, is checked too. Chromium reports some faults only in its log,
//! which chromedriver keeps.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc as channel};
use std::thread::{self, JoinHandle};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::PATIENCE;

/// Kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// `console.error`, or an error that the browser itself writes to the console, as about a content security policy.
    ConsoleError,
    /// Uncaught exception or unhandled rejection. Firefox reports its own errors in the same way.
    Uncaught,
    /// Request that was answered with a status of 400 or more, or not at all; WebSocket that did not open.
    FailedRequest,
}

/// Fault of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kind of the fault.
    pub kind: FaultKind,
    /// The browser's message, with the address of the script or of the request.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

/// Collector of one browser's faults. Dropping it fails the test if there was a fault that the test did not expect.
#[derive(Debug)]
pub(crate) struct FaultCollector {
    faults: Faults,
    /// Kinds and words of the faults that the test expects.
    expected: Mutex<Vec<(FaultKind, Vec<String>)>>,
    asks: mpsc::UnboundedSender<channel::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

type Faults = Arc<Mutex<Vec<Fault>>>;

impl FaultCollector {
    /// Connects to the BiDi address of a WebDriver session and subscribes: every later fault is reported. `log` is the
    /// port and the path at which chromedriver serves the session's log.
    ///
    /// # Panics
    ///
    /// When the browser does not take the subscription.
    pub(crate) fn start(address: String, log: Option<(u16, String)>) -> Self {
        let faults = Faults::default();
        let (asks, asked) = mpsc::unbounded_channel();
        let (ready, subscribed) = channel::channel();
        let found = Arc::clone(&faults);
        // A new thread is in the network of the one that starts it.
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a tokio runtime").block_on(async {
                match Connection::open(&address, log, found).await {
                    Ok(connection) => {
                        _ = ready.send(Ok(()));
                        connection.serve(asked).await;
                    }
                    Err(error) => _ = ready.send(Err(error)),
                }
            });
        });
        let subscribed = subscribed.recv_timeout(PATIENCE);
        subscribed
            .unwrap_or_else(|error| Err(error.to_string()))
            .unwrap_or_else(|error| panic!("the browser does not tell its faults: {error}"));
        Self { faults, expected: Mutex::default(), asks, thread: Some(thread) }
    }

    /// Expects faults of this kind whose text contains all these words, as often as they come.
    pub(crate) fn expect(&self, kind: FaultKind, words: &[&str]) {
        assert!(words.iter().any(|word| !word.is_empty()), "name what is expected");
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.push((kind, words.iter().map(|&word| word.to_owned()).collect()));
    }

    /// Returns the faults so far, also the expected ones.
    pub(crate) fn all(&self) -> Vec<Fault> {
        let (tell, told) = channel::channel();
        if self.asks.send(tell).is_ok() {
            // The sender is dropped when the browser has ended: then no more faults can come.
            _ = told.recv_timeout(PATIENCE);
        }
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn unexpected(&self) -> Vec<String> {
        let all = self.all();
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let expects = |fault: &Fault| {
            expected.iter().any(|(kind, words)| {
                *kind == fault.kind && words.iter().all(|word| fault.text.contains(word))
            })
        };
        all.iter().filter(|fault| !expects(fault)).map(Fault::to_string).collect()
    }
}

impl Drop for FaultCollector {
    fn drop(&mut self) {
        let unexpected = self.unexpected();
        // The thread ends when the channel of its requests closes.
        (self.asks, _) = mpsc::unbounded_channel();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
        if unexpected.is_empty() {
            return;
        }
        let told = format!("faults in the browser's pages:\n{}", unexpected.join("\n"));
        if thread::panicking() { println!("---- {told}") } else { panic!("{told}") }
    }
}

/// Connection to a browser by WebDriver BiDi.
struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    log: Option<(u16, String)>,
    faults: Faults,
    last_id: u64,
}

impl Connection {
    async fn open(
        address: &str,
        log: Option<(u16, String)>,
        faults: Faults,
    ) -> Result<Self, String> {
        let (socket, _) = tokio_tungstenite::connect_async(address)
            .await
            .map_err(|error| format!("{address}: {error}"))?;
        let mut connection = Self { socket, log, faults, last_id: 0 };
        let events = ["log.entryAdded", "network.fetchError", "network.responseCompleted"];
        connection.command("session.subscribe", json!({ "events": events })).await?;
        Ok(connection)
    }

    /// Collects faults until the collector is dropped or the browser ends.
    async fn serve(mut self, mut asked: mpsc::UnboundedReceiver<channel::Sender<()>>) {
        loop {
            tokio::select! {
                told = self.receive() => if told.is_err() { return },
                ask = asked.recv() => {
                    let Some(answer) = ask else { return };
                    // Faults that cannot be reported now are reported later, or the browser has ended.
                    if let Err(error) = self.settle().await { println!("{error}") }
                    _ = answer.send(());
                }
            }
        }
    }

    /// Sends a command to every page: faults that happened before come before its answer.
    async fn settle(&mut self) -> Result<(), String> {
        let tree = self.command("browsingContext.getTree", json!({})).await?;
        for context in tree["contexts"].as_array().into_iter().flatten() {
            let target = json!({ "context": context["context"] });
            let ask = json!({ "expression": "0", "awaitPromise": false, "target": target });
            // A page that is just closing need not answer.
            _ = self.command("script.evaluate", ask).await;
        }
        if let Some((port, path)) = &self.log {
            let log = timeout(PATIENCE, chromium_log(*port, path)).await;
            let log = log.map_err(|_| "no log in time".to_owned())??;
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            for entry in log.as_array().into_iter().flatten() {
                let fault = fault_in_log(entry, &faults);
                faults.extend(fault);
            }
        }
        Ok(())
    }

    async fn command(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.last_id += 1;
        let id = self.last_id;
        let command = json!({ "id": id, "method": method, "params": params });
        let text = Message::text(command.to_string());
        self.socket.send(text).await.map_err(|error| error.to_string())?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = timeout_at(deadline, self.receive()).await;
            let mut told = told.map_err(|_| format!("no answer to {method}"))??;
            if told["id"] == id {
                return match told["type"].as_str() {
                    Some("success") => Ok(told["result"].take()),
                    _ => Err(format!("{method}: {told}")),
                };
            }
        }
    }

    /// Returns the next message; if it reports a fault, the fault is noted. Cancelling loses nothing.
    async fn receive(&mut self) -> Result<Value, String> {
        loop {
            let message = self.socket.next().await.ok_or("the browser has ended")?;
            if let Message::Text(text) = message.map_err(|error| error.to_string())? {
                let told: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
                let name = told["method"].as_str().unwrap_or_default();
                let fault = fault_in_event(name, &told["params"]);
                self.faults.lock().unwrap_or_else(PoisonError::into_inner).extend(fault);
                return Ok(told);
            }
        }
    }
}

fn fault_in_event(name: &str, params: &Value) -> Option<Fault> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match name {
        "log.entryAdded" if params["level"] == "error" => {
            let frame = &params["stackTrace"]["callFrames"][0];
            let line = frame["lineNumber"].as_u64().unwrap_or_default() + 1;
            let place = frame["url"].as_str().map(|url| format!(" ({url}:{line})"));
            let text = word(&params["text"]);
            let kind = match params["type"].as_str() {
                // Firefox's report of a WebSocket that does not open.
                Some("javascript") if FIREFOX_SOCKETS.iter().any(|part| text.contains(part)) => {
                    FaultKind::FailedRequest
                }
                Some("javascript") => FaultKind::Uncaught,
                _ => FaultKind::ConsoleError,
            };
            Some(Fault { kind, text: format!("{text}{}", place.unwrap_or_default()) })
        }
        "network.fetchError" => {
            let error = word(&params["errorText"]);
            (!GIVEN_UP.contains(&&*error)).then(|| failed_request(params, &error))
        }
        "network.responseCompleted" => {
            let status = params["response"]["status"].as_u64().unwrap_or_default();
            (status >= 400).then(|| failed_request(params, &status.to_string()))
        }
        _ => None,
    }
}

fn failed_request(params: &Value, outcome: &str) -> Fault {
    let asked = &params["request"];
    let [method, url] = ["method", "url"].map(|part| asked[part].as_str().unwrap_or_default());
    Fault { kind: FaultKind::FailedRequest, text: format!("{method} {url} {outcome}") }
}

/// Returns a fault that chromedriver's log reports and BiDi does not: of icons, WebSockets, policies.
fn fault_in_log(entry: &Value, known: &[Fault]) -> Option<Fault> {
    let text = entry["message"].as_str().unwrap_or_default();
    if entry["level"] != "SEVERE" {
        return None;
    }
    let kind = match entry["source"].as_str() {
        Some("console-api" | "javascript") => return None,
        Some("network") => FaultKind::FailedRequest,
        _ => FaultKind::ConsoleError,
    };
    // `ADDRESS - Failed to load resource: …`
    let url = text.split(' ').next().unwrap_or_default();
    let asked = format!(" {url} ");
    let told = text.contains("Failed to load resource")
        && known.iter().any(|fault| fault.kind == kind && fault.text.contains(&asked));
    (!told).then(|| Fault { kind, text: text.to_owned() })
}

/// Returns the entries that are new since the last call, by a command of chromedriver that no client library has.
async fn chromium_log(port: u16, path: &str) -> Result<Value, String> {
    let body = json!({ "type": "browser" }).to_string();
    let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}");
    let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let read = async {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
        stream.write_all(request.as_bytes()).await?;
        let mut length = 0;
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 2 {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or_default();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        std::io::Result::Ok(body)
    };
    let body = read.await.map_err(|error| error.to_string())?;
    let mut told: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    Ok(told["value"].take())
}

/// Outcomes of requests that the page itself cancelled, or that were under way when the page was left.
const GIVEN_UP: [&str; 2] = ["net::ERR_ABORTED", "NS_BINDING_ABORTED"];

/// Messages that Firefox writes when a WebSocket does not open, or is cut.
const FIREFOX_SOCKETS: [&str; 2] = ["connection to the server at ws", "The connection to ws"];
