//! Service of this process on the lines to other nodes: takes links to rooms here.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::ArbiterHandle;
use callboard_cluster::{LineEvent, LineId, Lines, NodeId, Served, ServiceTaken};
use tokio::time::timeout;

use super::giving::give;
use super::guests::Guests;
use crate::hand_over::HandOver;
use crate::link::{Assembly, Link, Links, Opener, Part, Parts, SERVICE, ToEdge, ToHome};
use crate::registry::RoomRegistry;

/// Service of this process on the lines to other nodes.
pub(crate) struct Hub {
    opener: Arc<Opener>,
    registry: Arc<dyn RoomRegistry>,
    hand_over: Arc<HandOver>,
    served: OnceLock<Served>,
}

impl Hub {
    /// Begins the service.
    pub(crate) fn serve(
        lines: Lines,
        registry: Arc<dyn RoomRegistry>,
        hand_over: Arc<HandOver>,
    ) -> Result<Arc<Self>, ServiceTaken> {
        let opener = Arc::new(Opener::new(Links::new(lines.clone())));
        let hub = Arc::new(Self { opener, registry, hand_over, served: OnceLock::new() });
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
        self.opener.links.runs_on(arbiter);
    }

    /// Returns what opens links to rooms at other nodes.
    pub(crate) fn opener(&self) -> &Arc<Opener> {
        &self.opener
    }

    fn handle(&self, event: LineEvent) {
        match event {
            LineEvent::Frame { node, line, frame, .. } => match Part::read(&frame) {
                Ok(part) => {
                    if let Some(part) = self.opener.links.pass(line, part) {
                        self.handle_first(node, line, part);
                    }
                }
                Err(error) => log::warn!("node {node} sends what cannot be read: {error}"),
            },
            LineEvent::Down { line, .. } => {
                self.opener.links.line_is_down(line);
                self.opener.lines_have_changed();
            }
            _ => self.opener.lines_have_changed(),
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
        let open = || self.opener.links.to_edge(node, line, number);
        match message {
            ToHome::Open { room } => self.take_link(&room, open()),
            ToHome::Take { keeper, token } => {
                // Dropped, the link says that there is no such peer.
                let (link, mut parts, _) = open();
                let keeper = self.hand_over.keeper(keeper);
                let arbiter = self.opener.links.arbiter();
                let (Some(keeper), Some(arbiter)) = (keeper, arbiter) else { return };
                arbiter.spawn(async move {
                    let giving = tokio::select! {
                        given = timeout(GIVING, give(&*keeper, &token)) => given,
                        // The other node waits no more.
                        _ = parts.recv() => return,
                    };
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
        let (Some(room), Some(arbiter)) = (room, self.opener.links.arbiter()) else { return };
        let spec = Guests::spec(own, link, room.clone(), parts);
        arbiter.spawn(async move {
            if let Err(error) = room.start_peer(spec).await {
                log::debug!("room {:?} takes no guests: {error}", room.name());
            }
        });
    }
}

/// Time limit for a peer to stop here, before it goes on at another node: longer than that waits.
const GIVING: Duration = Duration::from_secs(6);
