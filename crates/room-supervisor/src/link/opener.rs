//! Opening of links to rooms at other nodes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard_cluster::{Epoch, LineId, NodeId};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::frame::Assembly;
use super::wire::{Taken, ToEdge, ToHome};
use super::{Link, Links, Parts};

/// Opens links to rooms at other nodes.
pub(crate) struct Opener {
    pub(crate) links: Arc<Links>,
    /// Wakes those that wait for a line.
    changes: Notify,
}

/// Link to a room at another node, and what comes over it.
pub(crate) struct Opened {
    pub(crate) link: Link,
    pub(crate) parts: Parts,
    /// Number of the other node's hold of the room.
    pub(crate) epoch: Epoch,
}

/// Reason why a room cannot be reached at another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// The node does not answer.
    Unreachable,
    /// The node does not have the room, at this time.
    NotThere,
}

impl Opener {
    pub(crate) fn new(links: Arc<Links>) -> Self {
        Self { links, changes: Notify::new() }
    }

    /// Opens a link to a room at another node.
    pub(crate) async fn open(&self, node: &NodeId, room: &str) -> Result<Opened, OpenError> {
        let line =
            timeout(CONNECTING, self.line(node)).await.map_err(|_| OpenError::Unreachable)?;
        let (link, mut parts) = self.links.to_home(node.clone(), line);
        link.send(&ToHome::Open { room: room.to_owned() }, &[]);
        let answer = timeout(OPENING, parts.recv()).await;
        let part = answer.ok().flatten().ok_or(OpenError::Unreachable)?;
        match Assembly::default().add(part) {
            Ok(Some((ToEdge::Opened { epoch }, _))) => Ok(Opened { link, parts, epoch }),
            Ok(_) => Err(OpenError::NotThere),
            Err(error) => {
                log::warn!("node {node} answers what cannot be read: {error}");
                Err(OpenError::Unreachable)
            }
        }
    }

    /// Prepares another node to get a room; returns the link to it once it is ready.
    ///
    /// # Errors
    /// The reason why it is not.
    pub(crate) async fn prepare(
        &self,
        node: &NodeId,
        room: String,
        epoch: Epoch,
        version: u32,
    ) -> Result<(Link, Parts), String> {
        let line = timeout(CONNECTING, self.line(node)).await;
        let line = line.map_err(|_| "it is not reached".to_owned())?;
        let (link, mut parts) = self.links.to_home(node.clone(), line);
        link.send(&ToHome::Prepare { room, epoch, version }, &[]);
        ready(&mut parts).await?;
        Ok((link, parts))
    }

    /// Takes the peer of a token from another node: what it is, and the rest of it ([`Taken::read`]).
    pub(crate) async fn take(
        &self,
        node: &NodeId,
        keeper: usize,
        token: String,
    ) -> Result<(Taken, Bytes, Link), OpenError> {
        let line =
            timeout(CONNECTING, self.line(node)).await.map_err(|_| OpenError::Unreachable)?;
        let (link, mut parts) = self.links.to_home(node.clone(), line);
        link.send(&ToHome::Take { keeper, token }, &[]);
        let mut assembly = Assembly::default();
        while let Some(part) = parts.recv().await {
            match assembly.add(part) {
                Ok(None) => {}
                Ok(Some((ToEdge::Taken(taken), payload))) => return Ok((taken, payload, link)),
                Ok(Some(_)) => return Err(OpenError::NotThere),
                Err(error) => {
                    log::warn!("node {node} answers what cannot be read: {error}");
                    return Err(OpenError::Unreachable);
                }
            }
        }
        Err(OpenError::Unreachable)
    }

    /// Notes that a line has begun or ended, or cannot be opened.
    pub(crate) fn lines_have_changed(&self) {
        self.changes.notify_waiters();
    }

    /// Waits for a line to a node.
    async fn line(&self, node: &NodeId) -> LineId {
        loop {
            // Before the look, so that no change is missed.
            let changed = self.changes.notified();
            if let Some((line, _)) = self.links.lines().line(node) {
                return line;
            }
            self.links.lines().connect(node);
            changed.await;
        }
    }
}

/// Waits until the other node says that it is ready for what comes next of a room.
///
/// # Errors
/// The reason why it is not.
pub(crate) async fn ready(parts: &mut Parts) -> Result<(), String> {
    let part = timeout(OPENING, parts.recv()).await.ok().flatten();
    let answer = part.map(|part| Assembly::default().add(part));
    match answer {
        Some(Ok(Some((ToEdge::Ready, _)))) => Ok(()),
        Some(Ok(Some((ToEdge::Unwilling(reason), _)))) => Err(reason),
        _ => Err("it does not answer".to_owned()),
    }
}

/// Time limit of opening a line.
const CONNECTING: Duration = Duration::from_secs(2);
/// Time limit of a link's first answer: longer than the home waits for a room that is being opened.
const OPENING: Duration = Duration::from_secs(6);
