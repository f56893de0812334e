//! Moves: what the core keeps while there are two connections.

use std::time::Instant;

use serde_json::{Map, Value};

use super::{Core, Output};
use crate::event::ClientState;
use crate::send_queue::Lifetime;
use crate::session::Loss;
use crate::wire::take;

/// State of a move, and the pings that show how much the server has read.
#[derive(Default)]
pub(super) struct Moving {
    /// Pings that were queued for this connection, and answers that have come.
    pings: u64,
    pongs: u64,
    /// Number of the ping after which the server has read everything, and of the last text before it in the queue.
    barrier: Option<(u64, u64)>,
    /// The last text that was read of the first connection, and when: it says that a peer has joined, who may be this
    /// client. Nothing more is read there until that is known.
    kept: Option<(String, Instant)>,
    /// The server's welcome over the second connection.
    welcome: Option<Welcome>,
}

struct Welcome {
    data: Value,
    /// Id of the new peer; none if the session goes on.
    new_peer: Option<String>,
}

impl Moving {
    pub(super) fn forget_next(&mut self) {
        (self.barrier, self.welcome) = (None, None);
    }

    pub(super) fn forget_connection(&mut self) {
        (self.pings, self.pongs, self.barrier) = (0, 0, None);
    }
}

impl Core {
    /// Returns whether the first connection is read.
    pub(crate) fn reads(&self) -> bool {
        self.moving.kept.is_none()
    }

    /// Keeps a text of the first connection after which all may come over the second one; returns whether it does.
    pub(super) fn keeps(&mut self, text: &str, now: Instant) -> bool {
        let keeps = self.session.awaits_new_peer() && text.contains("\"joined\"");
        if keeps {
            self.moving.kept = Some((text.to_owned(), now));
        }
        keeps
    }

    /// Handles the text that was kept, when it is known who has joined.
    pub(super) fn release(&mut self) {
        if self.session.awaits_new_peer() {
            return;
        }
        if let Some((text, now)) = self.moving.kept.take()
            && self.state() != ClientState::Closed
        {
            self.handle_text(&text, now);
        }
    }

    /// Returns whether the second connection is read: until the client has joined over it.
    pub(crate) fn reads_next(&self) -> bool {
        !self.session.has_joined_next()
    }

    /// Handles a text of the server over the second connection.
    pub(crate) fn handle_next_text(&mut self, text: &str, now: Instant) {
        if let Ok(Value::Object(frame)) = serde_json::from_str(text) {
            self.handle_next_frame(frame, now);
        }
        self.settle();
    }

    pub(crate) fn handle_next_loss(&mut self, loss: &Loss, now: Instant) {
        self.session.handle_next_loss(loss, now);
        self.settle();
    }

    fn handle_next_frame(&mut self, mut frame: Map<String, Value>, now: Instant) {
        if frame.get("from").is_some_and(|from| !from.is_null()) {
            return;
        }
        let event = frame.get("event").and_then(Value::as_str);
        let is_new = match event {
            Some("authenticated") => true,
            Some("resumed") => false,
            Some("moved") => {
                let mut data = Value::Object(frame);
                return self.session.handle_order(&take(&mut data, "data"), now);
            }
            _ => return,
        };
        let data = frame.remove("data").unwrap_or_default();
        let Some(peer_id) = data["peer_id"].as_str().filter(|id| !id.is_empty()) else { return };
        let new_peer = is_new.then(|| peer_id.to_owned());
        self.moving.welcome = Some(Welcome { data, new_peer });
        self.session.joined_next(now);
    }

    /// Returns whether a frame says that this client's new peer has joined: all that came later is on its own
    /// connection.
    pub(super) fn is_own_arrival(&self, frame: &Map<String, Value>) -> bool {
        let Some(welcome) = &self.moving.welcome else { return false };
        let said = || frame.get("data")?.get("peer_id")?.as_str();
        welcome.new_peer.is_some()
            && frame.get("event").and_then(Value::as_str) == Some("joined")
            && welcome.new_peer.as_deref() == said()
    }

    pub(super) fn ping(&mut self) {
        self.moving.pings += 1;
        self.queue.push(Lifetime::Connection, "ping".to_owned());
    }

    /// Asks the server whether it has read all that is sent now, and holds back what comes later.
    pub(super) fn drain(&mut self) {
        self.ping();
        let (pushed, _) = self.queue.counts();
        self.moving.barrier = Some((self.moving.pings, pushed));
    }

    pub(super) fn handle_pong(&mut self, now: Instant) {
        self.moving.pongs += 1;
        if self.moving.barrier.is_some_and(|(ping, _)| self.moving.pongs >= ping) {
            self.session.handle_drained(now);
        }
        self.settle();
    }

    /// Returns whether the next text is held back, because the session is about to leave this connection.
    pub(super) fn is_held(&self) -> bool {
        let is_before = |(_, last)| self.queue.counts().1 < last;
        self.session.is_holding() && !self.moving.barrier.is_some_and(is_before)
    }

    /// Goes on with the second connection.
    pub(super) fn switch(&mut self, now: Instant) {
        let Some(Welcome { data, .. }) = self.moving.welcome.take() else { return };
        // What waits for a connection is for the next one; pings of this one are not.
        self.queue.end(Lifetime::Connection);
        self.moving.forget_connection();
        let replaces = self.session.arrived();
        let arrival = self.session.arrive(true, replaces);
        self.outputs.push_back(Output::Switch);
        _ = self.handle_join(data, arrival, now);
    }
}
