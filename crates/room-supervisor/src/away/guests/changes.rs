//! What has changed about the room that an edge has not been told.

use std::collections::HashMap;
use std::sync::Arc;

use super::Guests;
use crate::member::Member;
use crate::tenure::Tenure;

impl Guests {
    /// Notes for the next batch what the edge does not know.
    pub(super) fn compare(&mut self) {
        self.compare_members();
        self.compare_edges();
        self.compare_epoch();
    }

    /// Notes which nodes have links, if the edge does not know it. Not before it has said whether it follows the room
    /// from an earlier home: it may know of nodes that have not come yet.
    fn compare_edges(&mut self) {
        if !self.is_known {
            return;
        }
        let shared = &self.room.shared;
        let Some(tenure) = shared.tenure() else { return };
        let mut edges = tenure.edges();
        // For these the room waits. If it dies meanwhile, the next home does.
        edges.extend(shared.roster().awaited(tenure.cluster.node()).cloned());
        edges.sort();
        edges.dedup();
        if edges != self.edges {
            self.edges.clone_from(&edges);
            self.batch.edges = edges;
        }
    }

    /// Notes that the room was claimed again, if the edge does not know it.
    fn compare_epoch(&mut self) {
        let epoch = self.room.shared.tenure().and_then(Tenure::epoch);
        if epoch.is_some() && epoch != self.epoch {
            (self.epoch, self.batch.epoch) = (epoch, epoch);
        }
    }

    /// Notes which members have come and gone since the edge was told.
    fn compare_members(&mut self) {
        let members = self.room.members();
        let is_told = self.told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &members));
        // Until all are here, the edge goes by those that it knows.
        if is_told || self.room.shared.roster().is_gathering() {
            return;
        }
        let told = self.told.replace(Arc::clone(&members));
        let known = |member: &Member| (member.peer_id(), member.clone());
        let mut gone: HashMap<_, _> = told.iter().flat_map(|told| told.iter()).map(known).collect();
        for member in members.iter() {
            if gone.remove(&member.peer_id()).is_none_or(|known| !known.is_same(member)) {
                self.came.push_back(member.clone());
            }
        }
        self.came.retain(|member| !gone.contains_key(&member.peer_id()));
        self.batch.gone.extend(gone.into_keys());
    }
}
