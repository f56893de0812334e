//! Service of this process on the lines to other nodes: opens links to rooms of theirs, and takes links to rooms here.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::ArbiterHandle;
use bytes::Bytes;
use callboard_cluster::{LineEvent, LineId, Lines, NodeId, Served, ServiceTaken};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::giving::give;
use super::guests::Guests;
use crate::hand_over::HandOver;
use crate::link::{Assembly, Link, Links, Part, Parts, SERVICE, Taken, ToEdge, ToHome};
use crate::registry::RoomRegistry;

/// Service of this process on the lines to other nodes.
pub(crate) struct Hub {
    links: Arc<Links>,
    registry: Arc<dyn RoomRegistry>,
    hand_over: Arc<HandOver>,
    /// Wakes those that wait for a line.
    changes: Notify,
    served: OnceLock<Served>,
}

/// Reason why a room cannot be reached at another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// The node does not answer.
    Unreachable,
    /// The node does not have the room, at this time.
    NotThere,
}

impl Hub {
    /// Begins the service.
    pub(crate) fn serve(
        lines: Lines,
        registry: Arc<dyn RoomRegistry>,
        hand_over: Arc<HandOver>,
    ) -> Result<Arc<Self>, ServiceTaken> {
        let links = Links::new(lines.clone());
        let (changes, served) = (Notify::new(), OnceLock::new());
        let hub = Arc::new(Self { links, registry, hand_over, changes, served });
        let weak = Arc::downgrade(&hub);
        let served = lines.serve(SERVICE, move |event| {
            if let Some(hub) = weak.upgrade() {
                hub.handle(event);
            }
        })?;
        _ = hub.served.set(served);
        Ok(hub)
    }

    /// Sets the thread on which the rooms' supervisor runs.
    pub(crate) fn runs_on(&self, arbiter: ArbiterHandle) {
        self.links.runs_on(arbiter);
    }

    /// Opens a link to a room at another node.
    pub(crate) async fn open(&self, node: &NodeId, room: &str) -> Result<(Link, Parts), OpenError> {
        let line =
            timeout(CONNECTING, self.line(node)).await.map_err(|_| OpenError::Unreachable)?;
        let (link, mut parts) = self.links.to_home(node.clone(), line);
        link.send(&ToHome::Open { room: room.to_owned() }, &[]);
        let answer = timeout(OPENING, parts.recv()).await;
        let part = answer.ok().flatten().ok_or(OpenError::Unreachable)?;
        match Assembly::default().add(part) {
            Ok(Some((ToEdge::Opened, _))) => Ok((link, parts)),
            Ok(_) => Err(OpenError::NotThere),
            Err(error) => {
                log::warn!("node {node} answers what cannot be read: {error}");
                Err(OpenError::Unreachable)
            }
        }
    }

    /// Takes the peer of a token from another node: what it is, and the rest of it ([`Taken::read`]).
    pub(crate) async fn take(
        &self,
        node: &NodeId,
        keeper: usize,
        token: String,
    ) -> Result<(Taken, Bytes), OpenError> {
        let line =
            timeout(CONNECTING, self.line(node)).await.map_err(|_| OpenError::Unreachable)?;
        let (link, mut parts) = self.links.to_home(node.clone(), line);
        link.send(&ToHome::Take { keeper, token }, &[]);
        let mut assembly = Assembly::default();
        while let Some(part) = parts.recv().await {
            match assembly.add(part) {
                Ok(None) => {}
                Ok(Some((ToEdge::Taken(taken), payload))) => return Ok((taken, payload)),
                Ok(Some(_)) => return Err(OpenError::NotThere),
                Err(error) => {
                    log::warn!("node {node} answers what cannot be read: {error}");
                    return Err(OpenError::Unreachable);
                }
            }
        }
        Err(OpenError::Unreachable)
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

    fn handle(&self, event: LineEvent) {
        match event {
            LineEvent::Frame { node, line, frame, .. } => match Part::read(&frame) {
                Ok(part) => {
                    if let Some(part) = self.links.pass(line, part) {
                        self.handle_first(node, line, part);
                    }
                }
                Err(error) => log::warn!("node {node} sends what cannot be read: {error}"),
            },
            LineEvent::Down { line, .. } => {
                self.links.line_is_down(line);
                self.changes.notify_waiters();
            }
            _ => self.changes.notify_waiters(),
        }
    }

    /// Handles what has come over no link: the first of one, or the last of one that has ended, whose other side has
    /// been told.
    fn handle_first(&self, node: NodeId, line: LineId, part: Part) {
        if !part.to_home {
            return;
        }
        let number = part.link;
        let Ok(Some((message, _))) = Assembly::default().add(part) else { return };
        let open = || self.links.to_edge(node, line, number);
        match message {
            ToHome::Open { room } => self.take_link(&room, open()),
            ToHome::Take { keeper, token } => {
                // Dropped, the link says that there is no such peer.
                let (link, mut parts, _) = open();
                let keeper = self.hand_over.keeper(keeper);
                let (Some(keeper), Some(arbiter)) = (keeper, self.links.arbiter()) else { return };
                arbiter.spawn(async move {
                    let giving = timeout(GIVING, give(&*keeper, &token)).await;
                    if let Ok(Some((taken, payload, guard))) = giving {
                        let payload: Vec<&[u8]> = payload.iter().map(AsRef::as_ref).collect();
                        link.send(&ToEdge::Taken(taken), &payload);
                        // It closes the link when it has all.
                        _ = timeout(GIVING, parts.recv()).await;
                        drop(guard);
                    }
                });
            }
            _ => {}
        }
    }

    /// Takes a link of an edge to a room here. Dropped, the link tells the edge that the room is not here.
    fn take_link(&self, room: &str, (link, parts, own): (Link, Parts, u64)) {
        let room = self.registry.lookup(room).filter(|room| room.home().is_none());
        let (Some(room), Some(arbiter)) = (room, self.links.arbiter()) else { return };
        let spec = Guests::spec(own, link, room.clone(), parts);
        arbiter.spawn(async move {
            if let Err(error) = room.start_peer(spec).await {
                log::debug!("room {:?} takes no guests: {error}", room.name());
            }
        });
    }
}

/// Time limit of opening a line.
const CONNECTING: Duration = Duration::from_secs(2);
/// Time limit of a link's first answer: longer than the home waits for a room that is being opened.
const OPENING: Duration = Duration::from_secs(6);
/// Time limit for a peer to stop here, before it goes on at another node.
const GIVING: Duration = Duration::from_secs(4);
