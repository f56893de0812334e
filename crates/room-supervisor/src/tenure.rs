//! Right of a room to its name in a cluster: its hold, and what follows when that is over.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::Recipient;
use arc_swap::ArcSwapOption;
use callboard_cluster::{ClaimError, Cluster, Epoch, Gave, GiveError, Hold, NodeId};
use callboard_outbox::{CloseFrame, OutboxReady};
use callboard_supervision::StartError;

use crate::error::StartRoomError;
use crate::link::Opener;
use crate::settings::OnLapse;

/// Right of a room to its name. It is there as long as anything knows of the room; the hold in it, from the room's
/// start until nothing of it runs any more.
pub(crate) struct Tenure {
    pub(crate) cluster: Cluster,
    /// Opens links to other nodes, if there are lines and peers of other nodes may join.
    pub(crate) opener: Option<Arc<Opener>>,
    on_lapse: OnLapse,
    /// Hold of the name, also one that is over.
    hold: ArcSwapOption<Hold>,
    /// Actors of the guests from other nodes, with their nodes.
    guests: Mutex<Vec<Guests>>,
    /// Nodes that had guests at the home from which the room has come, and that are about to have them here.
    coming: Mutex<Vec<NodeId>>,
}

/// Guests of one other node.
#[derive(Clone)]
pub(crate) struct Guests {
    pub(crate) node: NodeId,
    pub(crate) actor: Recipient<OutboxReady>,
    /// How many they are.
    pub(crate) count: Arc<AtomicUsize>,
}

/// What a room does that has claimed its name anew.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Anew {
    /// It holds its name again, which no other node has had meanwhile.
    Held,
    /// It is not known yet who may have the name: it tries again after this time.
    Unknown(Duration),
    /// Another node has the room, or has had it.
    Lost,
}

impl Tenure {
    pub(crate) fn new(
        cluster: Cluster,
        opener: Option<Arc<Opener>>,
        on_lapse: OnLapse,
        hold: Option<Hold>,
    ) -> Self {
        let hold = ArcSwapOption::from(hold.map(Arc::new));
        Self { cluster, opener, on_lapse, hold, guests: Mutex::default(), coming: Mutex::default() }
    }

    /// Tells this actor of the guests from another node when members may have come or gone.
    pub(crate) fn add_guests(&self, guests: Guests) {
        self.guests().push(guests);
        self.tell_guests();
    }

    /// Forgets an actor of guests, which have gone on with the room.
    pub(crate) fn remove_guests(&self, actor: &Recipient<OutboxReady>) {
        self.guests().retain(|guests| guests.actor != *actor);
    }

    /// Returns the nodes that have guests here, or may have.
    pub(crate) fn edges(&self) -> Vec<NodeId> {
        let guests = self.guests();
        let present = guests.iter().filter(|guests| guests.actor.connected());
        let mut edges: Vec<_> = present.map(|guests| guests.node.clone()).collect();
        drop(guests);
        edges.extend(self.coming().iter().cloned());
        edges.sort();
        edges.dedup();
        edges
    }

    /// Keeps a node among those that have guests here, though their actor ends: the room goes on elsewhere with all.
    pub(crate) fn keep_edge(&self, node: &NodeId) {
        self.coming().push(node.clone());
    }

    /// Sets the nodes that are about to have guests here.
    pub(crate) fn expect_guests_of(&self, nodes: Vec<NodeId>) {
        *self.coming() = nodes;
    }

    fn coming(&self) -> MutexGuard<'_, Vec<NodeId>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many guests each other node has here.
    pub(crate) fn peers_by_node(&self) -> HashMap<NodeId, usize> {
        let mut peers = HashMap::new();
        for Guests { node, count, .. } in &*self.guests() {
            *peers.entry(node.clone()).or_default() += count.load(Ordering::Relaxed);
        }
        peers
    }

    /// Tells the actors of guests that members may have come or gone.
    pub(crate) fn tell_guests(&self) {
        let mut guests = self.guests();
        guests.retain(|guests| guests.actor.connected());
        // One for each join and departure.
        guests.iter().for_each(|guests| guests.actor.do_send(OutboxReady));
    }

    fn guests(&self) -> MutexGuard<'_, Vec<Guests>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims the name, unless it is held.
    pub(crate) async fn begin(&self, name: &str) -> Result<(), ClaimError> {
        if !self.is_good() {
            self.hold.store(Some(Arc::new(self.cluster.claim(name).await?)));
        }
        Ok(())
    }

    /// Holds the name from now on.
    pub(crate) fn hold(&self, hold: Hold) {
        self.hold.store(Some(Arc::new(hold)));
    }

    /// Gives the name to another node, which expects it.
    pub(crate) async fn give(&self, to: &NodeId) -> Result<Gave, GiveError> {
        let hold = self.hold.load_full().ok_or(GiveError::NotHeld)?;
        self.cluster.give(&hold, to).await
    }

    /// Gives the name back.
    pub(crate) fn end(&self) {
        self.hold.store(None);
    }

    /// Returns the number of the hold, or of the one that is over.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.hold.load().as_ref().map(|hold| hold.epoch())
    }

    /// Returns whether the room's name is its own at this time.
    pub(crate) fn is_good(&self) -> bool {
        self.hold.load().as_ref().is_some_and(|hold| hold.is_good())
    }

    /// Returns whether the room must do nothing any more at this time.
    pub(crate) fn is_fenced(&self) -> bool {
        self.closes() && !self.is_good()
    }

    /// Returns whether the room is closed when its hold is over.
    pub(crate) fn closes(&self) -> bool {
        self.on_lapse == OnLapse::Close
    }

    /// Waits until the hold is over.
    pub(crate) async fn over(&self) {
        let hold = self.hold.load_full();
        if let Some(hold) = hold {
            hold.over().await;
        }
    }

    /// Claims the name anew, after the hold was over.
    pub(crate) async fn claim_anew(&self, name: &str) -> Anew {
        let lost = self.epoch();
        match self.cluster.claim(name).await {
            // What the room knows is of no use after another one of its name. A directory that has forgotten all knows
            // of none.
            Ok(hold) if hold.follows().is_some() && hold.follows() != lost => Anew::Lost,
            Ok(hold) => {
                self.hold.store(Some(Arc::new(hold)));
                Anew::Held
            }
            Err(ClaimError::Unavailable { retry_after }) => {
                Anew::Unknown(retry_after.clamp(SHORTEST_WAIT, LONGEST_WAIT))
            }
            Err(_) => Anew::Lost,
        }
    }
}

/// Claims the name of a room that is about to be opened.
pub(crate) async fn claim(cluster: &Cluster, name: &str) -> Result<Hold, StartRoomError> {
    cluster.claim(name).await.map_err(|error| match error {
        ClaimError::Elsewhere(there) => {
            StartRoomError::Elsewhere { node: there.node.to_string(), url: there.url }
        }
        ClaimError::Unavailable { retry_after } => StartRoomError::Unavailable { retry_after },
        error => StartRoomError::Start(StartError::failed(error.to_string()).into()),
    })
}

/// 1012: clients come back, and find the room where it is.
pub(crate) const ROOM_LOST: CloseFrame =
    CloseFrame { code: 1012, reason: Cow::Borrowed("room is elsewhere") };
/// Time after which a client may try again to join a room that takes no join.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(3);
/// Bounds of the wait before a name is claimed once more.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
