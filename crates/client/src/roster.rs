//! Roster of the room's other members, as the server has reported them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::event::{ClientEvent, RoomMember};

/// Members by their ids, with their metadata.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    others: BTreeMap<String, Value>,
}

impl Roster {
    pub(crate) fn members(&self) -> Vec<RoomMember> {
        let others = self.others.iter();
        others
            .map(|(peer_id, metadata)| RoomMember {
                peer_id: peer_id.clone(),
                metadata: metadata.clone(),
            })
            .collect()
    }

    /// Adds a member; returns none if there is no place for it.
    pub(crate) fn join(&mut self, member: RoomMember) -> Option<Vec<ClientEvent>> {
        let known = self.others.contains_key(&member.peer_id);
        if known {
            self.others.insert(member.peer_id, member.metadata);
            return Some(Vec::new());
        }
        if self.others.len() >= MAX_MEMBERS {
            return None;
        }
        self.others.insert(member.peer_id.clone(), member.metadata.clone());
        Some(vec![ClientEvent::Joined(member)])
    }

    /// Removes a member.
    pub(crate) fn leave(&mut self, peer_id: &str) -> Vec<ClientEvent> {
        let gone = self.others.remove(peer_id);
        gone.map(|_| ClientEvent::Left { peer_id: peer_id.to_owned() }).into_iter().collect()
    }

    /// Replaces all members; returns what has changed. A member that comes without metadata keeps what is known of it:
    /// not every list of the server contains it.
    pub(crate) fn replace(&mut self, present: Vec<RoomMember>) -> Vec<ClientEvent> {
        let mut before = std::mem::take(&mut self.others);
        for RoomMember { peer_id, mut metadata } in present.into_iter().take(MAX_MEMBERS) {
            if let Some(known) = before.get_mut(&peer_id)
                && metadata.is_null()
            {
                metadata = known.take();
            }
            self.others.insert(peer_id, metadata);
        }
        let gone = before.keys().filter(|peer| !self.others.contains_key(*peer));
        let gone = gone.map(|peer_id| ClientEvent::Left { peer_id: peer_id.clone() });
        let come = self.others.iter().filter(|(peer, _)| !before.contains_key(*peer));
        let come = come.map(|(peer_id, metadata)| {
            let (peer_id, metadata) = (peer_id.clone(), metadata.clone());
            ClientEvent::Joined(RoomMember { peer_id, metadata })
        });
        gone.chain(come).collect()
    }
}

/// Number of members that are remembered: a bound on the client's memory.
const MAX_MEMBERS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn member(peer_id: &str) -> RoomMember {
        RoomMember { peer_id: peer_id.to_owned(), metadata: Value::Null }
    }

    fn left(peer_id: &str) -> ClientEvent {
        ClientEvent::Left { peer_id: peer_id.to_owned() }
    }

    #[test]
    fn each_change_is_reported_once() {
        let mut roster = Roster::default();

        assert_eq!(roster.join(member("a")), Some(vec![ClientEvent::Joined(member("a"))]));
        assert_eq!(roster.join(member("a")), Some(vec![]));
        assert_eq!(roster.leave("b"), []);
        let changes = roster.replace(vec![member("b"), member("c")]);
        let joined = |peer| ClientEvent::Joined(member(peer));
        assert_eq!(changes, [left("a"), joined("b"), joined("c")]);
        assert_eq!(roster.leave("b"), [left("b")]);
        assert_eq!(roster.members(), [member("c")]);
    }

    #[test]
    fn what_is_known_of_a_member_stays_known() {
        let known = RoomMember { peer_id: "a".to_owned(), metadata: "Ann".into() };
        let mut roster = Roster::default();
        roster.join(known.clone());

        assert_eq!(roster.replace(vec![member("a")]), []);
        assert_eq!(roster.members(), [known]);
        roster.replace(vec![]);
        roster.replace(vec![member("a")]);
        assert_eq!(roster.members(), [member("a")], "it left, and came back");
    }

    #[test]
    fn a_server_cannot_make_it_grow_without_bound() {
        let mut roster = Roster::default();
        for number in 0..MAX_MEMBERS {
            assert!(roster.join(member(&number.to_string())).is_some());
        }

        assert_eq!(roster.join(member("one more")), None);
        roster.leave("0");
        assert!(roster.join(member("one more")).is_some());
        let more = (0..=MAX_MEMBERS).map(|number| member(&format!("x{number}"))).collect();
        roster.replace(more);
        assert_eq!(roster.members().len(), MAX_MEMBERS);
    }
}
