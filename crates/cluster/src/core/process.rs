//! Process of another node: whether it is gone, as far as this node has found by connecting to it.

use std::net::SocketAddr;

use uuid::Uuid;

use crate::boot_time::BootTime;
use crate::node_id::NodeId;
use crate::record::{Gone, Session};

/// What has become of a connection to the address of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probed {
    /// This process of this node has answered, at the address that was asked, and nothing stands in between.
    Answered(NodeId, Uuid),
    /// The connection was refused: nothing listens there.
    Refused,
    /// It was accepted, and no answer of this kind came.
    Mute,
    /// It was neither accepted nor refused: that says nothing of the process.
    Silent,
}

/// What is known of the process of another node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Process {
    /// Process that has answered this node at this address; its machine has not been silent since. Without, a refusal
    /// says nothing: something else may stand at that address.
    answered: Option<(Uuid, SocketAddr)>,
    /// Session that is being asked for, and its address.
    pub(super) asking: Option<(Gone, SocketAddr)>,
    /// Time of the next look.
    pub(super) next: BootTime,
    /// It is gone, as this node has found; and since when its own session says so in the directory.
    pub(super) gone: Option<(Gone, Option<BootTime>)>,
    /// Renewals since the last answer that have followed a refusal.
    objections: u8,
}

impl Process {
    /// Handles a new record of the node.
    pub(super) fn handle_session(&mut self, session: &Session) {
        let Some((gone, _)) = &self.gone else { return };
        if *gone == Gone::new(session) && session.state.runs() {
            return;
        }
        if gone.incarnation == session.incarnation && session.state.runs() {
            self.object();
        }
        self.gone = None;
    }

    /// Handles a renewal after a refusal.
    fn object(&mut self) {
        self.objections += 1;
        // The first may have been written before it died, and seen late.
        if self.objections >= OBJECTIONS {
            self.answered = None;
        }
    }

    pub(super) fn forget_finding(&mut self) {
        self.gone = None;
    }

    /// Handles what has become of a look at this session's process. Returns whether what this node has found is to be
    /// said anew.
    pub(super) fn handle_probed(&mut self, session: &Session, probed: Probed) -> bool {
        let Some((asked, address)) = self.asking.take() else { return false };
        let process = session.incarnation.process;
        if asked.incarnation.process != process || session.liveness != Some(address) {
            // About what was there before.
            return false;
        }
        let is_gone = match probed {
            Probed::Answered(node, of) if node == session.node && of == process => {
                (self.answered, self.objections) = (Some((process, address)), 0);
                false
            }
            // Another process of the node has its place.
            Probed::Answered(node, _) => node == session.node,
            Probed::Refused => true,
            Probed::Mute => false,
            Probed::Silent => {
                self.answered = None;
                false
            }
        };
        if !is_gone || !self.has_answered(session) {
            return self.gone.take().is_some();
        }
        if asked != Gone::new(session) {
            // It has renewed its session meanwhile.
            self.object();
            return self.gone.take().is_some();
        }
        if self.gone.as_ref().is_some_and(|(gone, _)| *gone == asked) {
            return false;
        }
        self.gone = Some((asked, None));
        true
    }

    /// Returns whether the process of this session has answered at its address.
    pub(super) fn has_answered(&self, session: &Session) -> bool {
        let answered = |it: &(Uuid, SocketAddr)| {
            it.0 == session.incarnation.process && Some(it.1) == session.liveness
        };
        self.answered.as_ref().is_some_and(answered)
    }

    /// Returns the finding that the process of this session is gone, if there is one.
    pub(super) fn gone(&self, session: &Session) -> Option<&(Gone, Option<BootTime>)> {
        self.gone.as_ref().filter(|(gone, _)| *gone == Gone::new(session))
    }
}

/// Renewals after refusals, without an answer in between, by which a process is not believed to be gone
/// any more until it has answered again.
const OBJECTIONS: u8 = 2;
