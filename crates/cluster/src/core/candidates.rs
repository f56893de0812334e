//! Nodes that may open a room that no node has.

use std::collections::BTreeMap;

use super::Core;
use crate::boot_time::Now;
use crate::node_id::NodeId;
use crate::placement::Candidate;
use crate::record::SessionState;

impl Core {
    /// Returns the nodes that take rooms, this one included, with the numbers of rooms that they have; none if a node
    /// has this room, or may have it for all that is known. Looks at all rooms.
    pub(crate) fn candidates(&self, now: Now, room: &str) -> Option<Vec<Candidate>> {
        let is_free = self.rooms.get(room).is_none_or(|known| {
            let is_over = |&(ref claim, at): &(_, _)| self.is_over(now, claim, at);
            known.held.is_none() && known.seen.as_ref().is_none_or(is_over)
        });
        if !is_free || now.boot < self.view.healing_until {
            return None;
        }
        self.loads(now)
    }

    /// Returns the nodes that take rooms, this one included, with the numbers of rooms that they have; none while this
    /// node does not know all of the cluster. Looks at all rooms.
    pub(crate) fn loads(&self, now: Now) -> Option<Vec<Candidate>> {
        if !self.stands(now.boot) || !self.view.whole {
            return None;
        }
        let others = self.others.iter().filter(|(_, other)| {
            other.record.as_ref().is_some_and(|(session, _)| {
                let silence = now.boot.since(other.since);
                session.state == SessionState::Up && silence < self.timing.doubt_of(session.hold)
            })
        });
        let here = (!self.own.draining).then_some(&self.me.node);
        let nodes = others.map(|(node, _)| node).chain(here);
        let mut rooms: BTreeMap<&NodeId, usize> = nodes.map(|node| (node, 0)).collect();
        let claims = self.rooms.values().filter_map(|room| room.seen.as_ref());
        for holder in claims.filter_map(|(claim, _)| claim.holder.as_ref()) {
            if let Some(rooms) = rooms.get_mut(&holder.node) {
                *rooms += 1;
            }
        }
        Some(rooms.into_iter().map(|(node, rooms)| Candidate::new(node.clone(), rooms)).collect())
    }
}
