//! Service of this process on the lines to other nodes: takes links to rooms here.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use actix::ArbiterHandle;
use bytes::Bytes;
use callboard_cluster::{LineEvent, LineId, Lines, NodeId, Served, ServiceTaken};
use tokio::time::{Instant, timeout};

use super::arriving::{FindRoom, Prepare, arrive, comes};
use super::given::Given;
use super::giving::give;
use super::guests::Guests;
use crate::hand_over::HandOver;
use crate::link::{
    Assembly, Link, Links, OpenError, Opener, Part, Parts, SERVICE, Taken, ToEdge, ToHome,
};
use crate::registry::RoomRegistry;

/// Service of this process on the lines to other nodes.
pub(crate) struct Hub {
    opener: Arc<Opener>,
    registry: Arc<dyn RoomRegistry>,
    hand_over: Arc<HandOver>,
    given: Mutex<Given>,
    /// Finds the rooms that other nodes give to this one, once those run.
    find: OnceLock<Arc<FindRoom>>,
    served: OnceLock<Served>,
}

/// A peer that another node gives, and what ends when this one has it: until then the other node must not end.
pub(crate) type Giving = (Taken, Bytes, Link);

impl Hub {
    /// Begins the service.
    pub(crate) fn serve(
        lines: Lines,
        registry: Arc<dyn RoomRegistry>,
        hand_over: Arc<HandOver>,
    ) -> Result<Arc<Self>, ServiceTaken> {
        let opener = Arc::new(Opener::new(Links::new(lines.clone())));
        let (find, given, served) = (OnceLock::new(), Mutex::default(), OnceLock::new());
        let hub = Arc::new(Self { opener, registry, hand_over, find, given, served });
        let weak = Arc::downgrade(&hub);
        let served = lines.serve(SERVICE, move |event| {
            if let Some(hub) = weak.upgrade() {
                Self::handle(&hub, event);
            }
        })?;
        _ = hub.served.set(served);
        Ok(hub)
    }

    /// Sets the thread on which the rooms' supervisor runs.
    pub(crate) fn runs_on(&self, arbiter: ArbiterHandle) {
        self.opener.links.runs_on(arbiter);
    }

    /// Sets how rooms are found that other nodes give to this one.
    pub(crate) fn finds_by(&self, find: Arc<FindRoom>) {
        _ = self.find.set(find);
    }

    /// Returns what opens links to rooms at other nodes.
    pub(crate) fn opener(&self) -> &Arc<Opener> {
        &self.opener
    }

    /// Takes the peer of a token from this node, or from the one to which this one has given it if none is named.
    pub(crate) async fn take(
        &self,
        node: Option<NodeId>,
        (keeper, token): (usize, &str),
    ) -> Result<Giving, OpenError> {
        let node = node.or_else(|| self.given().find(Instant::now(), (keeper, token)));
        let node = node.ok_or(OpenError::NotThere)?;
        let taken = self.opener.take(&node, keeper, token.to_owned()).await?;
        self.given().forget((keeper, token));
        Ok(taken)
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        // Every change is one insertion or removal.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(self: &Arc<Self>, event: LineEvent) {
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
    fn handle_first(self: &Arc<Self>, node: NodeId, line: LineId, part: Part) {
        if !part.to_home {
            return;
        }
        let number = part.link;
        let Ok(Some((message, _))) = Assembly::default().add(part) else { return };
        let asker = node.clone();
        let open = || self.opener.links.to_edge(node, line, number);
        match message {
            ToHome::Open { room } => self.take_link(&room, open()),
            ToHome::Prepare { room, epoch, version } => {
                // Dropped, the link says that there is no such room.
                let opened = open();
                let (find, arbiter) = (self.find.get().cloned(), self.opener.links.arbiter());
                let (Some(find), Some(arbiter)) = (find, arbiter) else { return };
                let prepare = Prepare { room, epoch, version };
                arbiter.spawn(async move { arrive(&*find, prepare, opened).await });
            }
            ToHome::Take { keeper, token } => {
                // Dropped, the link says that there is no such peer.
                let link = open();
                if let Some(arbiter) = self.opener.links.arbiter() {
                    let hub = Arc::clone(self);
                    arbiter.spawn(async move { hub.give(&asker, (keeper, &token), link).await });
                }
            }
            _ => {}
        }
    }

    /// Gives a peer to the node that asks for it. Dropped, the link says that there is no such peer.
    async fn give(
        &self,
        asker: &NodeId,
        (keeper, token): (usize, &str),
        (link, mut parts, _): (Link, Parts, u64),
    ) {
        let giving = async {
            if let Some(keeper) = self.hand_over.keeper(keeper)
                && let Some((taken, payload, guard)) = give(&*keeper, token).await
            {
                return Some((taken, payload, guard));
            }
            // It is at another node, which the client does not know yet.
            let holder = self.given().find(Instant::now(), (keeper, token))?;
            let taking = self.opener.take(&holder, keeper, token.to_owned());
            let (taken, payload, guard) = match holder != *asker {
                true => taking.await.ok()?,
                // It has none.
                false => return None,
            };
            Some((taken, vec![payload.to_vec()], Box::new(guard) as Box<_>))
        };
        let given = tokio::select! {
            given = timeout(GIVING, giving) => given,
            // The other node waits no more.
            _ = parts.recv() => return,
        };
        if let Ok(Some((taken, payload, guard))) = given {
            let grace = Duration::from_millis(taken.grace_ms);
            self.given().note(Instant::now(), (keeper, token), asker.clone(), grace);
            let payload: Vec<&[u8]> = payload.iter().map(AsRef::as_ref).collect();
            link.send(&ToEdge::Taken(taken), &payload);
            // It closes the link when it has all.
            _ = timeout(GIVING, parts.recv()).await;
            drop(guard);
        }
    }

    /// Takes a link of an edge to a room here. Dropped, the link tells the edge that the room is not here.
    fn take_link(&self, room: &str, (link, parts, own): (Link, Parts, u64)) {
        let room = self.registry.lookup(room);
        let room = room.filter(|room| room.home().is_none() || room.shared.arrivals.is_expected());
        let (Some(room), Some(arbiter)) = (room, self.opener.links.arbiter()) else { return };
        arbiter.spawn(async move {
            if !comes(&room, link.node()).await {
                return;
            }
            let spec = Guests::spec(own, link, room.clone(), parts);
            if let Err(error) = room.start_peer(spec).await {
                log::debug!("room {:?} takes no guests: {error}", room.name());
            }
        });
    }
}

/// Time limit for a peer to stop here, before it goes on at another node: longer than that waits.
const GIVING: Duration = Duration::from_secs(6);
