//! Links: what a room's home and an edge, a node that has peers in it, say to each other over the line of both nodes.

mod frame;
mod opener;
mod remote;
mod wire;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::ArbiterHandle;
use bytes::Bytes;
use callboard_cluster::{KeptLine, LineError, LineId, Lines, NodeId};
use futures_util::stream::{Stream, unfold};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::sleep;

pub(crate) use self::frame::{Assembly, FrameError, Part};
pub(crate) use self::opener::{OpenError, Opened, Opener, ready};
pub(crate) use self::remote::{Away, ForwardDirectly};
pub(crate) use self::wire::{
    Batch, Joining, Offer, Progress, Refusal, Seat, Tag, Taken, ToEdge, ToHome, message,
};

/// All links of this process.
pub(crate) struct Links {
    lines: Lines,
    open: Mutex<Open>,
    /// Thread of the rooms' supervisor.
    arbiter: Mutex<Option<ArbiterHandle>>,
}

/// Where what comes over the links goes.
#[derive(Default)]
struct Open {
    /// Number of the last link.
    last: u64,
    /// To homes, by their numbers.
    away: HashMap<u64, ToItsHome>,
    /// To edges, by their numbers there.
    guests: HashMap<(LineId, u64), PartSender>,
}

/// Where what comes over a link to a home goes.
struct ToItsHome {
    line: LineId,
    parts: PartSender,
    taker: Option<Arc<dyn TakePart>>,
}

impl Open {
    fn to_home(&self, line: LineId, number: u64) -> Option<&ToItsHome> {
        self.away.get(&number).filter(|its| its.line == line)
    }
}

/// What may take parts of a link on the thread on which they come, before they wait.
pub(crate) trait TakePart: Send + Sync {
    /// Begins; so many parts wait already.
    fn begin(&self, waiting: usize);

    /// Takes a part, or returns it: then it waits.
    fn take(&self, part: Part) -> Option<Part>;
}

/// What comes over a link: what its two sides allow each other, and never more than [`MOST_PARTS`]. It ends with the
/// line.
pub(crate) type Parts = mpsc::Receiver<Part>;
type PartSender = mpsc::Sender<Part>;

impl Links {
    pub(crate) fn new(lines: Lines) -> Arc<Self> {
        Arc::new(Self { lines, open: Mutex::default(), arbiter: Mutex::default() })
    }

    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Sets the thread on which the rooms' supervisor runs.
    pub(crate) fn runs_on(&self, arbiter: ArbiterHandle) {
        *lock(&self.arbiter) = Some(arbiter);
    }

    pub(crate) fn arbiter(&self) -> Option<ArbiterHandle> {
        lock(&self.arbiter).clone()
    }

    /// Opens the side of an edge.
    pub(crate) fn to_home(self: &Arc<Self>, node: NodeId, line: LineId) -> (Link, Parts) {
        let (sender, parts) = mpsc::channel(MOST_PARTS);
        let mut open = lock(&self.open);
        open.last += 1;
        let number = open.last;
        open.away.insert(number, ToItsHome { line, parts: sender, taker: None });
        drop(open);
        (Link::new(self, node, line, number, true), parts)
    }

    /// Opens the side of a home, for this number of the edge. The last number is one that no other link has here.
    pub(crate) fn to_edge(
        self: &Arc<Self>,
        node: NodeId,
        line: LineId,
        number: u64,
    ) -> (Link, Parts, u64) {
        let (sender, parts) = mpsc::channel(MOST_PARTS);
        let mut open = lock(&self.open);
        open.last += 1;
        open.guests.insert((line, number), sender);
        let own = open.last;
        drop(open);
        (Link::new(self, node, line, number, false), parts, own)
    }

    /// Passes on what has come; returns it if there is no such link. For the actor of the lines alone, so that parts
    /// stay in order.
    pub(crate) fn pass(&self, line: LineId, part: Part) -> Option<Part> {
        let (to_home, number) = (part.to_home, part.link);
        let mut open = lock(&self.open);
        let taker = open.to_home(line, number).filter(|_| !to_home);
        let part = match taker.and_then(|its| its.taker.clone()) {
            Some(taker) => {
                // It locks more, and sends.
                drop(open);
                let part = taker.take(part)?;
                open = lock(&self.open);
                part
            }
            None => part,
        };
        let sender = if to_home {
            open.guests.get(&(line, number))
        } else {
            open.to_home(line, number).map(|its| &its.parts)
        };
        let Some(sender) = sender else { return Some(part) };
        match sender.try_send(part) {
            Ok(()) => None,
            // Its actor has ended just now.
            Err(TrySendError::Closed(part)) => Some(part),
            Err(TrySendError::Full(_)) => {
                log::warn!("a node sends more than a room can handle: their link is ended");
                if to_home {
                    open.guests.remove(&(line, number));
                } else {
                    open.away.remove(&number);
                }
                None
            }
        }
    }

    /// Ends the links over a line that has ended.
    pub(crate) fn line_is_down(&self, line: LineId) {
        let mut open = lock(&self.open);
        open.away.retain(|_, its| its.line != line);
        open.guests.retain(|(its, _), _| *its != line);
    }

    fn end(&self, link: &Link) {
        let mut open = lock(&self.open);
        if link.to_home {
            open.away.remove(&link.number);
        } else {
            open.guests.remove(&(link.out.line, link.number));
        }
    }
}

/// Makes a stream of what comes over a link.
pub(crate) fn stream(parts: Parts) -> impl Stream<Item = Part> {
    unfold(parts, |mut parts| async { parts.recv().await.map(|part| (part, parts)) })
}

/// One side of a link. It ends when it is closed or dropped.
pub(crate) struct Link {
    links: Arc<Links>,
    number: u64,
    to_home: bool,
    out: Arc<Outgoing>,
    /// Keeps the line open, also if nothing is said for long; none once the link is closed.
    kept: Mutex<Option<KeptLine>>,
}

/// Frames that wait for a line, in order.
struct Outgoing {
    lines: Lines,
    node: NodeId,
    line: LineId,
    frames: Mutex<VecDeque<Bytes>>,
    /// Whether they are sent later.
    retries: AtomicBool,
}

impl Outgoing {
    /// Sends what waits; returns whether nothing does any more.
    fn flush(&self) -> bool {
        let mut frames = lock(&self.frames);
        while let Some(frame) = frames.front() {
            match self.lines.send_on(self.line, &self.node, SERVICE, frame.clone()) {
                Ok(()) => _ = frames.pop_front(),
                Err(LineError::Full) => return false,
                // The end of the line is told to the link.
                Err(_) => frames.clear(),
            }
        }
        true
    }
}

impl Link {
    fn new(links: &Arc<Links>, node: NodeId, line: LineId, number: u64, to_home: bool) -> Self {
        let (lines, frames) = (links.lines.clone(), Mutex::default());
        let out = Outgoing { lines, node, line, frames, retries: AtomicBool::new(false) };
        let kept = Mutex::new(Some(links.lines.keep(&out.node)));
        let (links, out) = (Arc::clone(links), Arc::new(out));
        Self { links, number, to_home, out, kept }
    }

    /// Returns the node at the other end.
    pub(crate) fn node(&self) -> &NodeId {
        &self.out.node
    }

    /// Sends a message: at once, or when the line is not full any more.
    pub(crate) fn send(&self, header: &impl Serialize, payload: &[&[u8]]) {
        let frames = frame::write(self.to_home, self.number, header, payload);
        {
            let mut waiting = lock(&self.out.frames);
            waiting.extend(frames);
            if waiting.len() > MOST_PARTS {
                log::warn!("node {} takes too little: a link to it is ended", self.node());
                waiting.clear();
                self.links.end(self);
            }
        }
        self.flush();
    }

    /// Lets this take what comes from now on over a link to a home.
    pub(crate) fn taken_by(&self, taker: Arc<dyn TakePart>) {
        let mut open = lock(&self.links.open);
        if let Some(its) = open.away.get_mut(&self.number).filter(|_| self.to_home) {
            taker.begin(its.parts.max_capacity() - its.parts.capacity());
            its.taker = Some(taker);
        }
    }

    /// Returns whether the link has ended at this side.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.kept).is_none()
    }

    /// Returns whether nothing waits for the line.
    pub(crate) fn flush(&self) -> bool {
        let sent = self.out.flush();
        if !sent && !self.out.retries.swap(true, Ordering::AcqRel) {
            let out = Arc::clone(&self.out);
            let sending = async move {
                loop {
                    while !out.flush() {
                        sleep(RETRY).await;
                    }
                    out.retries.store(false, Ordering::Release);
                    // What was put in since the last look.
                    if out.flush() || out.retries.swap(true, Ordering::AcqRel) {
                        return;
                    }
                }
            };
            let spawned = self.links.arbiter().is_some_and(|arbiter| arbiter.spawn(sending));
            if !spawned {
                self.out.retries.store(false, Ordering::Release);
            }
        }
        sent
    }

    /// Ends the link, and tells the other side.
    pub(crate) fn close(&self) {
        let kept = lock(&self.kept).take();
        if kept.is_some() {
            self.links.end(self);
            if self.to_home {
                self.send(&ToHome::Close, &[]);
            } else {
                self.send(&ToEdge::Gone, &[]);
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("node", self.node()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Service of the lines, for all links.
pub(crate) const SERVICE: &str = "rooms";
/// Number of parts that wait at either side of a link at most: beyond, it is ended.
const MOST_PARTS: usize = 1 << 16;
/// Pause before a full line is tried again: nothing says that it is not full any more.
pub(crate) const RETRY: Duration = Duration::from_millis(20);
