//! Nodes to which peers were given, by their tokens: a client may come with its token to another node than the one
//! that has its peer by now.

use std::collections::HashMap;
use std::time::Duration;

use callboard_cluster::NodeId;
use tokio::time::Instant;

/// Nodes to which peers of this one have gone.
#[derive(Default)]
pub(super) struct Given(HashMap<(usize, String), (NodeId, Instant)>);

impl Given {
    /// Notes that a node has the peer of this keeper's token now, whose client may come back within this time.
    pub(super) fn note(
        &mut self,
        now: Instant,
        (keeper, token): (usize, &str),
        node: NodeId,
        grace: Duration,
    ) {
        if self.0.len() >= MAX_GIVEN {
            self.0.retain(|_, (_, until)| *until > now);
        }
        // Clients of the others join anew.
        if self.0.len() < MAX_GIVEN {
            self.0.insert((keeper, token.to_owned()), (node, now + grace));
        }
    }

    /// Returns the node that has this token's peer, as far as is known here.
    pub(super) fn find(&self, now: Instant, (keeper, token): (usize, &str)) -> Option<NodeId> {
        let (node, until) = self.0.get(&(keeper, token.to_owned()))?;
        (*until > now).then(|| node.clone())
    }

    /// Notes that this node has the peer.
    pub(super) fn forget(&mut self, (keeper, token): (usize, &str)) {
        self.0.remove(&(keeper, token.to_owned()));
    }
}

/// Number of peers whose nodes are remembered: those of a node that is drained, for a grace period.
const MAX_GIVEN: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    fn node(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    #[test]
    fn a_peer_is_where_it_was_given_last_for_as_long_as_its_client_may_come() {
        let (mut given, now) = (Given::default(), Instant::now());
        given.note(now, (0, "T"), node("b2"), GRACE);
        given.note(now, (0, "T"), node("c3"), GRACE);

        assert_eq!(given.find(now, (0, "T")), Some(node("c3")));
        assert_eq!(given.find(now, (1, "T")), None, "of another keeper");
        assert_eq!(given.find(now + GRACE, (0, "T")), None);
        given.forget((0, "T"));
        assert_eq!(given.find(now, (0, "T")), None);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let (mut given, now) = (Given::default(), Instant::now());
        for number in 0..=MAX_GIVEN {
            given.note(now, (0, &number.to_string()), node("b2"), GRACE);
        }
        assert_eq!(given.0.len(), MAX_GIVEN);
        assert_eq!(given.find(now, (0, &MAX_GIVEN.to_string())), None);

        given.note(now + GRACE, (0, "T"), node("b2"), GRACE);

        assert_eq!(given.0.len(), 1, "those that are over make room");
    }
}
