//! Requests to other nodes, and their answers, over lines.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use crate::line::{LineEvent, LineId, Lines, Served, ServiceTaken};
use crate::node_id::NodeId;

/// Requests of a service to the same service of other nodes ([`Lines::requests`]). Cheap to clone; when the last clone
/// is dropped, the service ends.
#[derive(Clone)]
pub struct Requests {
    shared: Arc<Shared>,
}

/// Requests of other nodes to a service of this one.
#[derive(Debug)]
pub struct IncomingRequests {
    requests: mpsc::Receiver<IncomingRequest>,
}

/// Request of another node. Dropped without an [answer](Self::answer), it has none.
#[derive(Debug)]
pub struct IncomingRequest {
    node: NodeId,
    line: LineId,
    number: u64,
    body: Bytes,
    lines: Lines,
    service: &'static str,
}

/// Error: a node has not answered in time, its line has ended, or the request or the answer is longer than
/// [`Requests::LONGEST`]. It may have handled the request.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the node has not answered")]
pub struct NoAnswer;

/// Lines carry requests and answers in frames: a byte that says which, the number of the request in eight bytes (big
/// endian), and a part of the body.
struct Shared {
    lines: Lines,
    service: &'static str,
    number: AtomicU64,
    pending: Mutex<HashMap<u64, Pending>>,
    /// Wakes those that wait for a line.
    changes: Notify,
    incoming: mpsc::Sender<IncomingRequest>,
    served: OnceLock<Served>,
}

/// Request of this node that waits for its answer.
struct Pending {
    line: LineId,
    body: Vec<u8>,
    answer: oneshot::Sender<Vec<u8>>,
}

/// Forgets a request that waits no more.
struct Forget<'a>(&'a Shared, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.pending().remove(&self.1);
    }
}

impl Lines {
    /// Begins a service of requests: this process asks those of other nodes, and gets what they ask. Of requests that
    /// come while 64 wait to be taken, none is answered.
    ///
    /// # Errors
    /// [`ServiceTaken`] as [`serve`](Self::serve).
    pub fn requests(
        &self,
        service: &'static str,
    ) -> Result<(Requests, IncomingRequests), ServiceTaken> {
        let (incoming, requests) = mpsc::channel(MOST_WAITING);
        let shared = Arc::new(Shared {
            lines: self.clone(),
            service,
            number: AtomicU64::new(0),
            pending: Mutex::default(),
            changes: Notify::new(),
            incoming,
            served: OnceLock::new(),
        });
        let weak = Arc::downgrade(&shared);
        let served = self.serve(service, move |event| {
            if let Some(shared) = weak.upgrade() {
                shared.handle(event);
            }
        })?;
        _ = shared.served.set(served);
        Ok((Requests { shared }, IncomingRequests { requests }))
    }
}

impl Requests {
    /// Longest request that may be made, and longest answer, in bytes: 1 MiB, a quarter of what a line takes before it
    /// is acknowledged, for others send on it as well. A request goes in one frame, and has at most 256 KiB less 9
    /// bytes.
    pub const LONGEST: usize = 1 << 20;

    /// Asks a node, over the line that is up or is opened for it, and returns the answer.
    ///
    /// # Errors
    /// [`NoAnswer`], after this time at the latest.
    pub async fn ask(
        &self,
        node: &NodeId,
        body: &[u8],
        within: Duration,
    ) -> Result<Vec<u8>, NoAnswer> {
        timeout(within, self.shared.ask(node, body)).await.ok().flatten().ok_or(NoAnswer)
    }
}

impl IncomingRequests {
    /// Returns the next request; none if the service has ended. Can be dropped while it waits.
    pub async fn next(&mut self) -> Option<IncomingRequest> {
        self.requests.recv().await
    }
}

impl IncomingRequest {
    /// Returns the node that asks.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Returns what it asks.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Answers, if the line that the request came over is still up and takes it. An answer that is longer than
    /// [`Requests::LONGEST`] is none.
    pub fn answer(self, body: &[u8]) {
        if body.len() > Requests::LONGEST {
            log::warn!("an answer of {} bytes is too long for node {}", body.len(), self.node);
            return;
        }
        let parts = body.len().div_ceil(PART).max(1);
        for number in 0..parts {
            let part = &body[number * PART..body.len().min((number + 1) * PART)];
            let kind = if number + 1 < parts { PART_OF_ANSWER } else { END_OF_ANSWER };
            let frame = frame(kind, self.number, part);
            if let Err(error) = self.lines.send_on(self.line, &self.node, self.service, frame) {
                log::debug!("node {} gets no answer: {error}", self.node);
                return;
            }
        }
    }
}

impl Shared {
    async fn ask(&self, node: &NodeId, body: &[u8]) -> Option<Vec<u8>> {
        let line = self.line(node).await;
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.pending().insert(number, Pending { line, body: Vec::new(), answer });
        let _forget = Forget(self, number);
        let frame = frame(REQUEST, number, body);
        self.lines.send_on(line, node, self.service, frame).ok()?;
        answered.await.ok()
    }

    /// Waits for a line to a node.
    async fn line(&self, node: &NodeId) -> LineId {
        loop {
            // Before the look, so that no change is missed.
            let changed = self.changes.notified();
            if let Some((line, _)) = self.lines.line(node) {
                return line;
            }
            self.lines.connect(node);
            changed.await;
        }
    }

    fn handle(&self, event: LineEvent) {
        match event {
            LineEvent::Frame { node, line, frame, .. } => {
                let Some((kind, number, body)) = read(&frame) else {
                    return log::warn!("node {node} sends what cannot be read");
                };
                if kind != REQUEST {
                    return self.add(line, number, &body, kind == END_OF_ANSWER);
                }
                let (lines, service) = (self.lines.clone(), self.service);
                let request = IncomingRequest { node, line, number, body, lines, service };
                // One that is not taken has no answer.
                _ = self.incoming.try_send(request);
            }
            LineEvent::Down { line, .. } => {
                self.pending().retain(|_, pending| pending.line != line);
                self.changes.notify_waiters();
            }
            _ => self.changes.notify_waiters(),
        }
    }

    /// Adds a part to an answer that is waited for, if it comes over the line that the request went over.
    fn add(&self, line: LineId, number: u64, body: &[u8], is_last: bool) {
        let mut all = self.pending();
        let Some(pending) = all.get_mut(&number).filter(|pending| pending.line == line) else {
            return;
        };
        pending.body.extend_from_slice(body);
        let too_long = pending.body.len() > Requests::LONGEST;
        if (is_last || too_long)
            && let Some(pending) = all.remove(&number)
            && !too_long
        {
            _ = pending.answer.send(pending.body);
        }
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        // Every change is one call.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("service", &self.shared.service).finish_non_exhaustive()
    }
}

fn frame(kind: u8, number: u64, body: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(HEAD + body.len());
    frame.push(kind);
    frame.extend_from_slice(&number.to_be_bytes());
    frame.extend_from_slice(body);
    frame.into()
}

fn read(frame: &Bytes) -> Option<(u8, u64, Bytes)> {
    let [kind, number @ ..] = *frame.first_chunk::<HEAD>()?;
    [REQUEST, PART_OF_ANSWER, END_OF_ANSWER]
        .contains(&kind)
        .then(|| (kind, u64::from_be_bytes(number), frame.slice(HEAD..)))
}

const REQUEST: u8 = 0;
const PART_OF_ANSWER: u8 = 1;
const END_OF_ANSWER: u8 = 2;
/// Bytes before the body in a frame.
const HEAD: usize = 9;
/// Bytes of an answer in a frame, which has 256 KiB at most.
const PART: usize = 128 * 1024;
/// Requests of other nodes that wait to be taken.
const MOST_WAITING: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden: nodes of other versions write the same.
    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let written = frame(PART_OF_ANSWER, 7, b"{}");
        assert_eq!(written[..], [1, 0, 0, 0, 0, 0, 0, 0, 7, b'{', b'}']);
        assert_eq!(read(&written), Some((PART_OF_ANSWER, 7, Bytes::from_static(b"{}"))));
        assert_eq!(read(&frame(REQUEST, u64::MAX, b"")), Some((REQUEST, u64::MAX, Bytes::new())));
    }

    #[test]
    fn what_is_no_frame_is_none() {
        for bytes in [&[][..], &[0; 8], &[3, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(read(&Bytes::copy_from_slice(bytes)), None, "{bytes:?}");
        }
    }
}
