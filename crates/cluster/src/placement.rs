//! Which node opens a room that no node has.

use crate::node_id::NodeId;

/// Node that may open a room.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// Name of the node.
    pub node: NodeId,
    /// Rooms that it has.
    pub rooms: usize,
}

impl Candidate {
    /// Creates a node with so many rooms.
    pub fn new(node: NodeId, rooms: usize) -> Self {
        Self { node, rooms }
    }
}

/// Decides which node opens a room that no node has. It is a wish: if that node does not open it in time, the node that
/// was asked for the room does. A room that is open stays where it is, even if the policy would choose another node.
pub trait RoomPlacement: Send + Sync + 'static {
    /// Returns the node that is to open this room, one of `nodes`: those that take rooms, in the order of their names.
    /// `here` is the node that was asked for the room; it is not among them if it is about to leave. Nodes know each
    /// other's rooms a little late, and may decide at once.
    fn place(&self, room: &str, nodes: &[Candidate], here: &NodeId) -> NodeId;
}

/// Opens a room at the node that was asked for it, unless that has 20 % more rooms than the mean, and more than 8: then
/// at the one with the fewest. For clients that are sent to any node, or by the proxy to that of their room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local;

/// Opens a room at a node that follows from its name (rendezvous hashing), unless that has 20 % more rooms than the
/// mean, and more than 8: then at the next one that follows. Nodes that come and go change the place of few names. For
/// rooms that are opened again and again, and should then be where they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash;

/// Opens a room at the node with the fewest rooms. For rooms of much work and few messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeastLoad;

impl RoomPlacement for Local {
    fn place(&self, room: &str, nodes: &[Candidate], here: &NodeId) -> NodeId {
        let bound = bound(nodes);
        match nodes.iter().find(|candidate| candidate.node == *here) {
            Some(candidate) if candidate.rooms < bound => here.clone(),
            _ => LeastLoad.place(room, nodes, here),
        }
    }
}

impl RoomPlacement for Hash {
    fn place(&self, room: &str, nodes: &[Candidate], here: &NodeId) -> NodeId {
        let bound = bound(nodes);
        let open = nodes.iter().filter(|candidate| candidate.rooms < bound);
        let first = open.max_by_key(|candidate| score(room, &candidate.node));
        first.map_or_else(|| here.clone(), |candidate| candidate.node.clone())
    }
}

impl RoomPlacement for LeastLoad {
    fn place(&self, room: &str, nodes: &[Candidate], here: &NodeId) -> NodeId {
        // Of several, each room prefers another: nodes that decide at once do not all take the same.
        let order = |candidate: &&Candidate| {
            (candidate.rooms, candidate.node != *here, score(room, &candidate.node))
        };
        let first = nodes.iter().min_by_key(order);
        first.map_or_else(|| here.clone(), |candidate| candidate.node.clone())
    }
}

/// Returns the number of rooms from which on a node gets no more while another has fewer: 1.2 times the mean, with the
/// new room.
fn bound(nodes: &[Candidate]) -> usize {
    let rooms = nodes.iter().map(|candidate| candidate.rooms).sum::<usize>() + 1;
    (rooms * 6).div_ceil(nodes.len().max(1) * 5).max(FEW)
}

/// Returns a number that depends on both names, the same on every machine and in every version.
fn score(room: &str, node: &NodeId) -> u64 {
    // FNV-1a, and the last steps of MurmurHash3, without which names that differ in their ends have similar numbers.
    let bytes = node.as_str().bytes().chain([0]).chain(room.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Rooms that a node may have, however few the others have.
const FEW: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Rooms of a cluster, each at its node.
    #[derive(Clone, Default)]
    struct Rooms(BTreeMap<String, NodeId>);

    impl Rooms {
        fn at(&self, node: &NodeId) -> usize {
            self.0.values().filter(|at| *at == node).count()
        }

        /// Opens a room, for which this node was asked.
        fn open(
            &mut self,
            policy: &dyn RoomPlacement,
            name: &str,
            nodes: &[NodeId],
            asked: &NodeId,
        ) {
            let candidates: Vec<_> =
                nodes.iter().map(|node| Candidate::new(node.clone(), self.at(node))).collect();
            let place = policy.place(name, &candidates, asked);
            assert!(nodes.contains(&place), "{place} takes no rooms");
            self.0.insert(name.to_owned(), place);
        }

        fn busiest_to_mean(&self, nodes: &[NodeId]) -> f64 {
            let busiest = nodes.iter().map(|node| self.at(node)).max().unwrap_or_default();
            busiest as f64 * nodes.len() as f64 / self.0.len() as f64
        }
    }

    fn nodes(number: usize) -> Vec<NodeId> {
        (0..number).map(|number| NodeId::new(format!("n{number}")).unwrap()).collect()
    }

    const POLICIES: [&dyn RoomPlacement; 3] = [&Local, &Hash, &LeastLoad];

    #[test]
    fn a_thousand_rooms_are_spread_over_four_nodes_wherever_they_are_asked_for() {
        let nodes = nodes(4);
        for (policy, of) in POLICIES.iter().zip(["Local", "Hash", "LeastLoad"]) {
            for asked in [0, 3] {
                let mut rooms = Rooms::default();
                for number in 0..1_000 {
                    rooms.open(*policy, &format!("room {number}"), &nodes, &nodes[asked]);
                }
                let spread = rooms.busiest_to_mean(&nodes);
                println!("{of}, asked at n{asked}: busiest ÷ mean {spread:.3}");
                assert!(spread <= 1.25, "{of}: {spread}");
            }
        }
    }

    /// The rooms of a node that is drained are opened at others; when it is back, no room goes there for that alone.
    #[test]
    fn a_node_that_is_drained_and_back_moves_its_own_rooms_and_no_others() {
        let nodes = nodes(4);
        for (policy, of) in POLICIES.iter().zip(["Local", "Hash", "LeastLoad"]) {
            let mut rooms = Rooms::default();
            for number in 0..1_000 {
                // Each is asked for where the proxy sends its first client.
                rooms.open(*policy, &format!("room {number}"), &nodes, &nodes[number % 4]);
            }
            let mut moved = Vec::new();
            for drained in &nodes {
                let mut after = rooms.clone();
                let rest: Vec<_> = nodes.iter().filter(|node| *node != drained).cloned().collect();
                let its = rooms.0.iter().filter(|(_, at)| *at == drained);
                for name in its.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
                    after.0.remove(&name);
                    after.open(*policy, &name, &rest, drained);
                }
                let changed = after.0.iter().filter(|(name, at)| rooms.0[*name] != **at).count();
                assert_eq!(changed, rooms.at(drained), "{of}");
                assert!(after.busiest_to_mean(&rest) <= 1.25, "{of}");
                moved.push(changed);
            }
            println!("{of}: moved {moved:?} of 1,000");
            assert!(moved.iter().sum::<usize>() <= nodes.len() * 250, "{of}: {moved:?}");
            assert!(moved.iter().all(|moved| *moved <= 300), "{of}: {moved:?}");
        }
    }

    /// With room everywhere, a name changes its place only if its node goes, or a new one takes it.
    #[test]
    fn a_name_keeps_its_place_while_its_node_is_there() {
        let (five, four) = (nodes(5), nodes(4));
        let place = |name: &str, nodes: &[NodeId]| {
            let candidates: Vec<_> =
                nodes.iter().map(|node| Candidate::new(node.clone(), 0)).collect();
            Hash.place(name, &candidates, &nodes[0])
        };
        let names: Vec<_> = (0..1_000).map(|number| format!("room {number}")).collect();
        let changed = names.iter().filter(|name| place(name, &five) != place(name, &four)).count();
        assert!((150..250).contains(&changed), "{changed} of 1,000 for one node of five");
        for name in &names {
            assert!([place(name, &four), five[4].clone()].contains(&place(name, &five)), "{name}");
        }
        // The same in every version, or nodes of two of them would disagree.
        assert_eq!(score("demo", &four[0]), 11_103_410_263_934_632_795);
    }

    #[test]
    fn a_room_is_opened_where_it_is_asked_for_as_long_as_there_are_few() {
        let nodes = nodes(3);
        let with = |rooms: [usize; 3]| {
            let of = |(node, rooms): (&NodeId, usize)| Candidate::new(node.clone(), rooms);
            nodes.iter().zip(rooms).map(of).collect::<Vec<_>>()
        };
        assert_eq!(Local.place("demo", &with([7, 0, 0]), &nodes[0]), nodes[0]);
        assert_ne!(Local.place("demo", &with([8, 0, 0]), &nodes[0]), nodes[0]);
        assert_eq!(Local.place("demo", &with([40, 40, 40]), &nodes[2]), nodes[2]);
        assert_eq!(Local.place("demo", &with([60, 10, 50]), &nodes[0]), nodes[1]);
        // It is about to leave.
        let others = &with([0, 3, 2])[1..];
        assert_eq!(Local.place("demo", others, &nodes[0]), nodes[2]);
        assert_eq!(LeastLoad.place("demo", &with([2, 2, 2]), &nodes[1]), nodes[1]);
    }

    #[test]
    fn without_any_node_that_takes_rooms_it_is_the_one_that_was_asked() {
        let here = NodeId::new("a1").unwrap();
        for policy in POLICIES {
            assert_eq!(policy.place("demo", &[], &here), here);
        }
    }

    proptest! {
        /// No room goes to a node that has more than its share while another node has less.
        #[test]
        fn no_room_goes_to_a_node_that_has_too_many(
            rooms in prop::collection::vec(0_usize..500, 1..12),
            name in "[a-z]{1,12}",
            asked in 0_usize..12,
        ) {
            let nodes = nodes(rooms.len());
            let here = &nodes[asked % nodes.len()];
            let of = |(node, rooms): (&NodeId, &usize)| Candidate::new(node.clone(), *rooms);
            let candidates: Vec<_> = nodes.iter().zip(&rooms).map(of).collect();
            let mean = (rooms.iter().sum::<usize>() + 1) as f64 / nodes.len() as f64;
            for policy in POLICIES {
                let place = policy.place(&name, &candidates, here);
                let chosen = candidates.iter().find(|candidate| candidate.node == place).unwrap();
                let limit = (1.2 * mean).ceil().max(FEW as f64);
                prop_assert!(chosen.rooms as f64 + 1.0 <= limit, "{chosen:?}, mean {mean}");
            }
        }
    }
}
