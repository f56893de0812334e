//! Failure and end of a connection.

use std::time::{Duration, Instant};

use super::{Session, SessionOutput};
use crate::engine::EngineOutput;
use crate::event::{CloseReason, ConnectionEvent, FailureReason};
use crate::state::*;

impl Session {
    /// Marks the connection as failed, since the engine cannot go on. It is closed by the application, or after a time.
    pub(super) fn fail(&mut self, reason: FailureReason) {
        if self.broken.is_some() || self.is_closed() {
            return;
        }
        self.broken = Some(reason.clone());
        self.states.fail_dtls(reason);
        self.engine_timeout = None;
        let closed = self.channels.close_all();
        self.output.extend(closed.into_iter().map(SessionOutput::Event));
    }

    /// Closes a connection that has been failed for long enough, or whose peer has violated SCTP.
    pub(super) fn end_what_failed(&mut self, now: Instant) {
        if self.is_closed() {
            return;
        }
        let reason = match self.engine.sctp().violation() {
            Some(violation) => Some(FailureReason::Sctp(violation)),
            None => self.states.overdue_failure(now),
        };
        if let Some(reason) = reason {
            log::info!("{}: closed: {reason}", self.id);
            self.close(now, CloseReason::Failed(reason));
        }
    }

    /// Sends the peer `close_notify`, and ends.
    pub(crate) fn close(&mut self, now: Instant, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        self.engine.close(now);
        // The goodbye is sent now; no answer is awaited.
        while let Ok(output) = self.engine.poll_output() {
            match output {
                EngineOutput::Transmit(transmit) => {
                    self.output.push_back(SessionOutput::Transmit(transmit));
                }
                EngineOutput::Event(_) => {}
                EngineOutput::Timeout(_) => break,
            }
        }
        self.end(reason);
    }

    pub(super) fn why_closed_by_peer(&self, now: Instant) -> CloseReason {
        let since = self.tag_stopped.map(|at| now.saturating_duration_since(at));
        match since {
            Some(since) if since < TRANSPORT_REPLACED => CloseReason::TransportReplaced,
            _ => CloseReason::ClosedByPeer,
        }
    }

    pub(super) fn end(&mut self, reason: CloseReason) {
        self.jsep.close();
        let closed = self.channels.close_all();
        self.output.extend(closed.into_iter().map(SessionOutput::Event));
        let states = self.states.close();
        self.output.extend(states.into_iter().map(SessionOutput::Event));
        self.output.push_back(SessionOutput::Event(ConnectionEvent::SignalingStateChange(
            SignalingState::Closed,
        )));
        self.output.push_back(SessionOutput::Event(ConnectionEvent::Closed(reason)));
        self.output.push_back(SessionOutput::Ended);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.jsep.signaling() == SignalingState::Closed
    }

    pub(super) fn update_states(&mut self, now: Instant) {
        if self.is_closed() {
            return;
        }
        for change in self.states.update(now) {
            if let ConnectionEvent::Failed(reason) = &change {
                log::info!("{}: failed: {reason}", self.id);
            }
            self.output.push_back(SessionOutput::Event(change));
        }
    }
}

/// Browsers give up the old transport as soon as they have the answer.
const TRANSPORT_REPLACED: Duration = Duration::from_secs(5);
