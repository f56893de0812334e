//! Watcher of the tree's events: it counts them, sends them to the clients, and measures recovery times.
#![allow(clippy::disallowed_methods, reason = "what happens is told with the time of the calendar")]

use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use bytestring::ByteString;
use callboard_supervision::{Event, Lifecycle};
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::admin::Inner;
use crate::recovery::CHECK_PAUSE;
use crate::tree::LastExit;

/// Watches until the sender of `end`, or the last [`Admin`](super::Admin), is dropped.
pub(crate) async fn watch(
    inner: Weak<Inner>,
    mut trees: Vec<Receiver<Event>>,
    mut end: oneshot::Receiver<()>,
) {
    let mut other = trees.pop();
    let mut one = trees.pop();
    let mut due: Option<Instant> = None;
    let mut checked = Instant::now();
    loop {
        let event = tokio::select! {
            _ = &mut end => return,
            event = next(&mut one) => Some(event),
            event = next(&mut other) => Some(event),
            () = sleep_until(due.unwrap_or(checked)), if due.is_some() => None,
        };
        let Some(inner) = inner.upgrade() else { return };
        match event {
            Some(Ok(event)) => inner.happened(&event),
            Some(Err(missed)) => inner.tally().missed += missed,
            None => {}
        }
        // However many events there are, it is not checked more often than is useful.
        let next = checked + CHECK_PAUSE;
        if Instant::now() >= next {
            due = inner.check_recoveries();
            checked = Instant::now();
        } else if inner.table().is_open() {
            due = Some(next);
        }
        inner.publish_recoveries();
    }
}

/// Returns the next event, or how many were missed; never completes without a tree.
async fn next(tree: &mut Option<Receiver<Event>>) -> Result<Event, u64> {
    if let Some(events) = tree {
        match events.recv().await {
            Ok(event) => return Ok(event),
            Err(RecvError::Lagged(missed)) => return Err(missed),
            Err(RecvError::Closed) => *tree = None,
        }
    }
    std::future::pending().await
}

impl Inner {
    fn happened(&self, event: &Event) {
        let path = event.path.to_string();
        let is_handshake = self.webrtc.is_handshake(&path);
        self.tally().count(&path, event, is_handshake);
        self.table().happened(event);
        if let Lifecycle::Down(reason) = &event.what {
            let trees = if reason.is_abnormal() { self.snapshots() } else { Vec::new() };
            let names: Vec<&str> = event.path.names().collect();
            let type_name = trees.iter().find_map(|tree| {
                let root: Vec<&str> = tree.path.names().collect();
                Some(tree.find(names.strip_prefix(root.as_slice())?)?.type_name)
            });
            self.table().down(event, reason, type_name, epoch_ms);
        }
        if self.events.receiver_count() > 0 && event.what != Lifecycle::Removed {
            // An error only means that there are no clients.
            _ = self.events.send(encode(&path, event));
        }
    }

    /// Checks the open recoveries; returns when to check them again, if nothing happens before.
    fn check_recoveries(&self) -> Option<Instant> {
        if !self.table().is_open() {
            return None;
        }
        let (now, trees) = (Instant::now(), self.snapshots());
        self.table().check(&trees, now)
    }
}

fn encode(path: &str, event: &Event) -> ByteString {
    let at_ms = epoch_ms(event.at);
    let (what, reason) = match &event.what {
        Lifecycle::Started => ("started", None),
        Lifecycle::Down(reason) => ("down", Some(json!(LastExit::of(reason)))),
        Lifecycle::StartFailed(error) => {
            ("start_failed", Some(json!({ "kind": "start_failed", "text": error.to_string() })))
        }
        Lifecycle::Abandoned => ("abandoned", None),
        Lifecycle::Blocked(time) => (
            "blocked",
            Some(json!({ "kind": "blocked", "text": format!("its thread for {time:?}") })),
        ),
        _ => ("other", None),
    };
    let mut message = json!({ "kind": "event", "path": path, "what": what, "at_ms": at_ms });
    if let Some(reason) = reason {
        message["reason"] = reason;
    }
    message.to_string().into()
}

fn epoch_ms(at: Instant) -> u64 {
    let then = SystemTime::now() - at.elapsed();
    let since = then.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Begins to watch. Ends when the sender is dropped.
pub(crate) fn begin(inner: &Arc<Inner>, end: oneshot::Receiver<()>) {
    let trees = inner.roots().into_iter().map(|root| root.events()).collect();
    actix::spawn(watch(Arc::downgrade(inner), trees, end));
}
