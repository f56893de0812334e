//! Lines between the nodes of a cluster: frames in order, each exactly once, for as long as a line lasts.

mod actor;
mod bundle;
mod core;
mod datagram;
mod error;
mod facts;
mod messages;
mod shared;
mod window;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

pub(crate) use self::actor::LinesActor;
pub use self::core::LineId;
pub use self::error::{LineError, ServiceTaken};
pub use self::facts::LineFacts;
pub(crate) use self::shared::Shared;
use crate::node_id::NodeId;

/// Lines of this node to the other nodes of its cluster. Cheap to clone, usable from any thread.
///
/// A line leads from this process to a process of another node. Frames that are sent on it arrive in order and exactly
/// once, over a [wire](crate::Wire) that may lose, duplicate and reorder them, for as long as the line lasts; what was
/// not acknowledged when it ends is lost. Both sides are told when it begins ([`LineEvent::Up`]) and that it has ended
/// ([`LineEvent::Down`]): no side has the next line to the other before the other has seen the end of this one, or
/// never had it.
///
/// A line is opened by the first [`send`](Self::send), by [`connect`](Self::connect), or by the other node. It ends
/// when the other process is replaced by another, when its session is sealed, when nothing is heard of it for 10 s, and
/// after a minute in which neither side has sent a frame, unless a side [keeps](Self::keep) it.
#[derive(Clone)]
pub struct Lines {
    shared: Arc<Shared>,
}

/// What a service is told of lines. The events of a line come in order, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineEvent {
    /// A line is up. Comes before its first frame.
    Up {
        /// Node that it leads to.
        node: NodeId,
        /// Process that it leads to.
        process: Uuid,
        /// Number of the line.
        line: LineId,
    },
    /// A frame of the service has come.
    Frame {
        /// Node that has sent it.
        node: NodeId,
        /// Process that has sent it.
        process: Uuid,
        /// Number of the line.
        line: LineId,
        /// What was sent.
        frame: Bytes,
    },
    /// A line has ended: there are no more frames of it, and frames that were sent on it and not acknowledged are lost.
    Down {
        /// Node that it led to.
        node: NodeId,
        /// Process that it led to.
        process: Uuid,
        /// Number of the line.
        line: LineId,
    },
    /// A node has not answered for 10 s while a line to it was to be opened. Comes again and again while a line to it
    /// is [kept](Lines::keep).
    Unreachable {
        /// Node that does not answer.
        node: NodeId,
    },
}

/// Function that takes the events of a service.
pub(crate) type Taker = dyn Fn(LineEvent) + Send + Sync;

impl Lines {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Returns the name of this node.
    pub fn here(&self) -> &NodeId {
        self.shared.here()
    }

    /// Gives all events of a service to `taker`, first an [`Up`](LineEvent::Up) for each line that there is. All
    /// services of a line are told when it begins and ends; a frame goes to the service that it names, and is lost
    /// if that has no taker: serve before the node starts.
    ///
    /// The taker is called by the one thread of all lines: it must not block. It may send.
    ///
    /// # Errors
    /// [`ServiceTaken`] if the service has a taker, or its name is not 1 to 32 bytes long.
    pub fn serve(
        &self,
        service: &'static str,
        taker: impl Fn(LineEvent) + Send + Sync + 'static,
    ) -> Result<Served, ServiceTaken> {
        let number = self.shared.serve(service, Arc::new(taker)).ok_or(ServiceTaken(service))?;
        Ok(Served { shared: Arc::clone(&self.shared), service, number })
    }

    /// Sends a frame of at most 256 KiB to a service of another node, on the line that is up. If there is none, one is
    /// opened, and nothing is sent: [`LineEvent::Up`] tells when there is one.
    ///
    /// # Errors
    /// [`LineError`]
    pub fn send(&self, to: &NodeId, service: &'static str, frame: Bytes) -> Result<(), LineError> {
        self.shared.send(to, None, service, frame)
    }

    /// Sends a frame on this line and no other: so it does not reach a process that does not know what was said before,
    /// though the end of the line is not handled yet.
    ///
    /// # Errors
    /// [`LineError`]
    pub fn send_on(
        &self,
        line: LineId,
        to: &NodeId,
        service: &'static str,
        frame: Bytes,
    ) -> Result<(), LineError> {
        self.shared.send(to, Some(line), service, frame)
    }

    /// Opens a line to another node, if there is none, as soon as this node has entered the cluster.
    /// [`LineEvent::Up`] or [`LineEvent::Unreachable`] follows, unless it is up already.
    pub fn connect(&self, to: &NodeId) {
        self.shared.connect(to);
    }

    /// Opens a line to another node and keeps it open: it does not end because it is idle, and one that has ended is
    /// opened again, until the guard is dropped.
    pub fn keep(&self, to: &NodeId) -> KeptLine {
        self.shared.keep(to);
        KeptLine { shared: Arc::clone(&self.shared), node: to.clone() }
    }

    /// Returns the process that the line to a node leads to; none if no line is up.
    pub fn is_up(&self, to: &NodeId) -> Option<Uuid> {
        self.line(to).map(|(_, process)| process)
    }

    /// Returns the line to a node, and the process that it leads to; none if no line is up.
    pub fn line(&self, to: &NodeId) -> Option<(LineId, Uuid)> {
        self.shared.up(to)
    }

    /// Returns what has happened on the lines to each node that there is a line to, or was one lately.
    pub fn facts(&self) -> Vec<LineFacts> {
        self.shared.facts()
    }

    /// Returns how many datagrams have come that could not be read.
    pub fn malformed(&self) -> u64 {
        self.shared.malformed()
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("here", self.here()).finish_non_exhaustive()
    }
}

/// Taker of a service's events, until it is dropped. No event is given to it after that, but one that is under way.
#[must_use = "dropping it ends the service"]
pub struct Served {
    shared: Arc<Shared>,
    service: &'static str,
    number: u64,
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shared.end_service(self.service, self.number);
    }
}

/// Keeps a line open until it is dropped.
#[must_use = "dropping it lets the line end"]
pub struct KeptLine {
    shared: Arc<Shared>,
    node: NodeId,
}

impl KeptLine {
    /// Returns the node that the line leads to.
    pub fn node(&self) -> &NodeId {
        &self.node
    }
}

impl fmt::Debug for KeptLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptLine").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Drop for KeptLine {
    fn drop(&mut self) {
        self.shared.release(&self.node);
    }
}
