//! Giving of rooms from one node to another: what the application on both sides has in hand.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::cluster::Cluster;
use crate::error::{ClaimError, GiveError};
use crate::hold::Hold;
use crate::messages::MoveRoom;
use crate::node_id::NodeId;
use crate::record::{Epoch, Given};
use crate::shared::Shared;

/// Room that another node has now, by the will of this one ([`Cluster::give`]). The hold of this node is over when this
/// is dropped: do that once nothing runs by it any more.
pub struct Gave {
    /// Word of it for the other node ([`Expected::given`]).
    pub given: Given,
    hold: Hold,
}

/// Room that another node is about to give to this one ([`Cluster::expect`]). Dropping this ends it: a claim that comes
/// later is given back.
pub struct Expected {
    room: Arc<str>,
    shared: Arc<Shared>,
    answered: oneshot::Receiver<Result<Hold, ClaimError>>,
}

impl Cluster {
    /// Gives a room that this node holds to another one, which [expects](Self::expect) it: by one compare-and-swap, so
    /// that one of the two has it at any time. Resolves when it is known whether the other one has it; if answers of
    /// the directory are lost, that takes until they come again, or until the session ends.
    ///
    /// From the call on, do nothing by the hold: the other node may have the room. If the call fails otherwise than
    /// with [`GiveError::NotHeld`], the hold goes on. Dropping the future does not stop what was
    /// begun, as long as the hold is kept.
    ///
    /// # Errors
    /// [`GiveError`]
    pub async fn give(&self, hold: &Hold, to: &NodeId) -> Result<Gave, GiveError> {
        let (answer, answered) = oneshot::channel();
        let actor = self.shared().actor().ok_or(GiveError::NotHeld)?;
        // Each caller has one request at a time.
        actor.moves.do_send(MoveRoom::Give { hold: hold.clone(), to: to.clone(), answer });
        let given = answered.await.unwrap_or(Err(GiveError::NotHeld))?;
        Ok(Gave { given, hold: hold.clone() })
    }

    /// Prepares to get a room that another node has by the hold of this number, and is about to
    /// [give](Self::give) to this one. If that does not come about, drop what this returns.
    ///
    /// # Errors
    /// [`ClaimError::Unavailable`]: this node takes no rooms, or knows that the room has changed hands since.
    pub async fn expect(&self, room: &str, from: Epoch) -> Result<Expected, ClaimError> {
        let unavailable = || ClaimError::Unavailable { retry_after: self.shared().timing.renewal };
        let actor = self.shared().actor().ok_or_else(unavailable)?;
        let room: Arc<str> = room.into();
        let ((registered, is_registered), (answer, mut answered)) =
            (oneshot::channel(), oneshot::channel());
        let expect = MoveRoom::Expect { room: Arc::clone(&room), from, registered, answer };
        // Each caller has one request at a time.
        actor.moves.do_send(expect);
        is_registered.await.map_err(|_| unavailable())?;
        if let Ok(Err(error)) = answered.try_recv() {
            return Err(error);
        }
        Ok(Expected { room, shared: Arc::clone(self.shared()), answered })
    }
}

impl Expected {
    /// Takes the word of the other node that this one has the room. The directory says the same, perhaps later.
    pub fn given(&self, given: Given) {
        if let Some(actor) = self.shared.actor() {
            // Once.
            actor.moves.do_send(MoveRoom::Given { room: Arc::clone(&self.room), given });
        }
    }

    /// Resolves when this node has the room; none if it does not get it, because its session has ended, or if it has
    /// resolved before. Can be dropped while it waits.
    pub async fn hold(&mut self) -> Option<Hold> {
        if self.answered.is_terminated() {
            return None;
        }
        (&mut self.answered).await.ok()?.ok()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.answered.close();
        if let Some(actor) = self.shared.actor() {
            // Once.
            actor.moves.do_send(MoveRoom::ExpectNoMore { room: Arc::clone(&self.room) });
        }
    }
}

impl Drop for Gave {
    fn drop(&mut self) {
        self.hold.end();
    }
}

impl fmt::Debug for Gave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gave").field("given", &self.given).finish_non_exhaustive()
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").field("room", &self.room).finish_non_exhaustive()
    }
}
