//! The way from one home to the next.

use std::mem::take;
use std::sync::Arc;

use callboard_outbox::OutboxLimits;
use tokio::time::Instant;

use super::{Edge, forwarding};
use crate::away::returning::Returning;
use crate::error::JoinError;
use crate::link::{Assembly, Joining, Offer, ToHome};

impl Edge {
    /// Handles that the link to the home is over: what is said waits for the next one.
    pub(crate) fn lose_link(&mut self) {
        self.is_linked = false;
        self.assembly = Assembly::default();
        self.took.take();
        // Those between two nodes are lost with the home, which kept their places. One that gives the room away keeps
        // none for a peer that has not gone.
        if self.moved.is_none() {
            self.seats.values_mut().for_each(|guest| guest.detaching = None);
        }
        let arriving = self.seats.iter().filter(|(_, guest)| guest.arrives);
        for seat in arriving.map(|(&seat, _)| seat).collect::<Vec<_>>() {
            let Some(guest) = self.seats.remove(&seat) else { continue };
            let peer = guest.member.peer_id();
            if self.by_peer.get(&peer) == Some(&seat) {
                self.by_peer.remove(&peer);
            }
            self.shared.roster().turn_away(peer);
            _ = guest.answer.map(|answer| answer.send(Err(JoinError::RoomUnavailable)));
        }
    }

    /// Goes on with the home to which [`Shared::away`] leads now: offers it the members, and sends what no home has
    /// handled.
    pub(crate) fn follow(&mut self) {
        (self.is_linked, self.has_moved) = (true, false);
        self.members.clear();
        // Until that says so itself: it may die before.
        let edges = self.edges.clone();
        let mut last = None;
        for (&seat, guest) in self.seats.iter().filter(|(_, guest)| guest.is_member) {
            let (peer, outbox) = (guest.member.peer_id(), guest.member.outbox());
            let joining = Joining::new(guest.member.auth(), &serde_json::Map::new());
            let OutboxLimits { messages, bytes } = outbox.limits();
            let same = last.is_some_and(|last| Arc::ptr_eq(last, &guest.view));
            last = Some(&guest.view);
            let view = (!same).then(|| guest.view.to_vec());
            let (texts, seen) = (joining.lengths(), guest.seen);
            let offer = Offer { seat, peer, texts, messages, bytes, seen, view };
            self.send(&ToHome::Offer(offer), &joining.payload());
        }
        let tags = self.tags.iter().copied().collect();
        let left = self.views.left.list(Instant::now()).collect();
        self.send(&ToHome::Offered { tags, edges, left }, &[]);
        for (&seat, guest) in &self.seats {
            for (number, message, _) in &guest.unhandled {
                let header = forwarding(seat, *number, message, 0);
                self.send(&header, &[message.data.get().as_bytes()]);
            }
            if guest.detaching.is_some() {
                self.send(&ToHome::Detach { seat }, &[]);
            }
            if !guest.is_member {
                self.send_join(seat, &guest.member, true);
            }
        }
        self.ask_again_for_lists();
    }

    /// Ends the edge: the room comes to this node.
    pub(crate) fn come_home(&mut self) -> Returning {
        let (mut members, mut messages, mut joins) = (Vec::new(), Vec::new(), Vec::new());
        for guest in take(&mut self.seats).into_values() {
            let peer = guest.member.peer_id();
            messages.extend(guest.unhandled.into_iter().map(|unhandled| (peer, unhandled)));
            if guest.is_member {
                members.push((peer, guest.view, guest.seen));
            }
            joins.extend(guest.answer.map(|answer| (peer, answer)));
        }
        let tags = take(&mut self.tags).into();
        let (edges, has_moved) = (take(&mut self.edges), self.has_moved);
        let left = take(&mut self.views.left);
        Returning { members, tags, messages, joins, edges, left, has_moved }
    }
}
