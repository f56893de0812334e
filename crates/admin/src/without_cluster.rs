//! A server that is no node of a cluster: what [`cluster`](super) is without that feature.

use std::convert::Infallible;
use std::time::Duration;

use callboard_supervision::TreeSnapshot;
use prometheus_client::registry::Registry;

use crate::fault::FaultError;

/// No nodes.
#[derive(Default)]
pub(crate) struct Nodes {}

/// No questions.
pub(crate) struct Questions(Infallible);

/// No question.
pub(crate) struct Asked(Infallible);

/// No node.
pub(crate) struct OtherNode(Infallible);

impl OtherNode {
    pub(crate) fn name(&self) -> &str {
        match self.0 {}
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        match self.0 {}
    }
}

impl Questions {
    pub(crate) async fn next(&mut self) -> Option<Asked> {
        match self.0 {}
    }
}

impl Asked {
    pub(crate) fn body(&self) -> &[u8] {
        match self.0 {}
    }

    pub(crate) fn answer(self, _: &[u8]) {}
}

impl Nodes {
    pub(crate) fn connect(&mut self, _: Vec<&'static str>) -> Option<Questions> {
        None
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    #[expect(clippy::unused_self, reason = "with a cluster, it is used")]
    pub(crate) fn cut_off(&self, _: Duration) {}

    pub(crate) fn moves_rooms(&self) -> bool {
        false
    }

    pub(crate) fn room_of(&self, _: &TreeSnapshot) -> Option<String> {
        None
    }

    pub(crate) async fn move_room(&self, _: String, _: Option<&str>) -> Result<(), FaultError> {
        Err(FaultError::MoveOff)
    }

    pub(crate) fn here(&self) -> Option<&str> {
        None
    }

    pub(crate) fn others(&self) -> Vec<OtherNode> {
        Vec::new()
    }

    pub(crate) async fn ask(
        &self,
        node: &OtherNode,
        _: &str,
        _: Duration,
    ) -> Result<Vec<u8>, Duration> {
        match node.0 {}
    }

    pub(crate) fn register(&self, _: &mut Registry) {}
}
