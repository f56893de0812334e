//! What a client's handles and its driver share: the core under a lock, and who waits for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Notify, oneshot, watch};

use crate::ClientOptions;
use crate::address::Address;
use crate::core::{Core, Output};
use crate::error::{CallFunctionError, ConnectError};
#[cfg(feature = "webrtc")]
use crate::webrtc::current_connection::Connections;

/// State of a client, for its handles and its driver.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// Wakes the driver.
    changed: Notify,
    /// Number of texts that wait no more.
    sent: watch::Sender<u64>,
    has_ended: watch::Sender<bool>,
    #[cfg(feature = "webrtc")]
    links: Mutex<Connections>,
    /// Takes the events of a peer connection. It does not keep the application's end open.
    #[cfg(feature = "webrtc")]
    events: std::sync::OnceLock<tokio::sync::mpsc::WeakSender<crate::ClientEvent>>,
}

struct Inner {
    core: Core,
    /// Takes whether the client has joined.
    admit: Option<oneshot::Sender<Result<(), ConnectError>>>,
    calls: HashMap<u64, oneshot::Sender<CallOutcome>>,
    functions: HashMap<String, Function>,
}

type CallOutcome = Result<Value, CallFunctionError>;
type Function = Arc<dyn Fn(Vec<Value>) -> BoxFuture<'static, Result<Value, String>> + Send + Sync>;

/// A call whose outcome is awaited; it is cancelled when this is dropped.
pub(crate) struct RunningCall<'a>(&'a Shared, u64);

impl Drop for RunningCall<'_> {
    fn drop(&mut self) {
        self.0.lock().calls.remove(&self.1);
        self.0.with(|core| core.cancel(self.1));
    }
}

impl Shared {
    pub(crate) fn new(
        address: Arc<Address>,
        options: &ClientOptions,
        admit: oneshot::Sender<Result<(), ConnectError>>,
    ) -> Self {
        let core = Core::new(address, options, fastrand::Rng::new(), now());
        let (calls, functions) = Default::default();
        Self {
            inner: Mutex::new(Inner { core, admit: Some(admit), calls, functions }),
            changed: Notify::new(),
            sent: watch::Sender::new(0),
            has_ended: watch::Sender::new(false),
            #[cfg(feature = "webrtc")]
            links: Mutex::default(),
            #[cfg(feature = "webrtc")]
            events: std::sync::OnceLock::new(),
        }
    }

    /// Runs an operation of the core, and wakes the driver for its outputs.
    pub(crate) fn with<T>(&self, tell: impl FnOnce(&mut Core) -> T) -> T {
        let told = tell(&mut self.lock().core);
        self.changed.notify_one();
        told
    }

    pub(crate) fn with_now<T>(&self, tell: impl FnOnce(&mut Core, Instant) -> T) -> T {
        self.with(|core| tell(core, now()))
    }

    /// Asks the core, from the driver, which looks anyway.
    pub(crate) fn core<T>(&self, ask: impl FnOnce(&mut Core) -> T) -> T {
        ask(&mut self.lock().core)
    }

    /// Completes when the core may have something for the driver.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Begins a call.
    pub(crate) fn call(
        &self,
        plugin: &str,
        function: &str,
        args: &Value,
    ) -> Result<(RunningCall<'_>, oneshot::Receiver<CallOutcome>), CallFunctionError> {
        let (tell, outcome) = oneshot::channel();
        let id = {
            let mut inner = self.lock();
            let id = inner.core.call(plugin, function, args)?;
            inner.calls.insert(id, tell);
            id
        };
        self.changed.notify_one();
        Ok((RunningCall(self, id), outcome))
    }

    pub(crate) fn register<F, R, T, E>(&self, name: &str, handler: F)
    where
        F: Fn(Vec<Value>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
        T: Serialize,
        E: fmt::Display,
    {
        let function: Function = Arc::new(move |args| {
            let result = handler(args);
            let written = async move {
                let value = result.await.map_err(|error| error.to_string())?;
                serde_json::to_value(value).map_err(|error| error.to_string())
            };
            written.boxed()
        });
        let mut inner = self.lock();
        inner.core.register(name);
        let replaced = inner.functions.insert(name.to_owned(), function);
        // What it holds may be a handle of this client, whose end takes the lock.
        drop(inner);
        drop(replaced);
    }

    pub(crate) fn unregister(&self, name: &str) {
        let mut inner = self.lock();
        inner.core.unregister(name);
        let removed = inner.functions.remove(name);
        drop(inner);
        drop(removed);
    }

    /// Returns what the driver is to do next, and does what needs no connection.
    pub(crate) fn next_output(self: &Arc<Self>) -> Option<Output> {
        loop {
            let mut inner = self.lock();
            match inner.core.poll_output()? {
                Output::Admitted => inner.admitted(Ok(())),
                Output::Failed(error) => inner.admitted(Err(error)),
                Output::Done(id, outcome) => {
                    if let Some(tell) = inner.calls.remove(&id) {
                        _ = tell.send(outcome);
                    }
                }
                Output::Run { id, function, args } => {
                    let function = inner.functions.get(&function).cloned();
                    drop(inner);
                    self.run(id, function, args);
                }
                #[cfg(feature = "webrtc")]
                Output::Signal(signal) => {
                    drop(inner);
                    if let Some(link) = &self.links().current {
                        link.signal(signal);
                    }
                }
                #[cfg(not(feature = "webrtc"))]
                Output::Signal(_) => {}
                output => return Some(output),
            }
        }
    }

    /// Notes that all texts that were taken so far have left.
    pub(crate) fn note_sent(&self) {
        let (_, taken) = self.core(|core| core.counts());
        self.sent.send_if_modified(|sent| std::mem::replace(sent, taken) != taken);
    }

    /// Completes when everything that waits now has left, or never will.
    pub(crate) async fn flushed(&self) {
        let (pushed, _) = self.core(|core| core.counts());
        let mut sent = self.sent.subscribe();
        // It is an error if there are no more texts.
        tokio::select! {
            _ = sent.wait_for(|sent| *sent >= pushed) => {}
            () = self.ended() => {}
        }
    }

    /// Notes that the driver has ended.
    pub(crate) fn end(&self) {
        let functions = std::mem::take(&mut self.lock().functions);
        drop(functions);
        #[cfg(feature = "webrtc")]
        {
            // It ends without its signals.
            self.links().current = None;
        }
        self.has_ended.send_replace(true);
    }

    pub(crate) async fn ended(&self) {
        // The sender is as old as this.
        _ = self.has_ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Runs a function that the server has called.
    fn run(self: &Arc<Self>, id: Value, function: Option<Function>, args: Vec<Value>) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = match function {
                Some(function) => {
                    let running = std::panic::AssertUnwindSafe(async move { function(args).await });
                    running.catch_unwind().await.unwrap_or_else(|_| Err("internal".to_owned()))
                }
                // It was removed a moment ago.
                None => Err("unknown_function".to_owned()),
            };
            shared.with(|core| core.answer(&id, outcome));
        });
    }

    #[cfg(feature = "webrtc")]
    pub(crate) fn links(&self) -> MutexGuard<'_, Connections> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "webrtc")]
    pub(crate) fn listen(&self, events: tokio::sync::mpsc::WeakSender<crate::ClientEvent>) {
        _ = self.events.set(events);
    }

    /// Sends the application an event; waits until its queue has room.
    #[cfg(feature = "webrtc")]
    pub(crate) async fn tell(&self, event: crate::ClientEvent) {
        if let Some(events) = self.events.get().and_then(|events| events.upgrade()) {
            // It may not listen any more.
            _ = events.send(event).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in it can panic halfway through a change that matters to another.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn admitted(&mut self, outcome: Result<(), ConnectError>) {
        if let Some(admit) = self.admit.take() {
            // The caller may have stopped waiting; then the client leaves.
            _ = admit.send(outcome);
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
