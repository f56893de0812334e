//! The tree without peer connections: what [`webrtc`](super) is without that feature.

use callboard_supervision::{SupervisorRef, TreeSnapshot};
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};

use crate::fault::FaultError;
use crate::tree::Tree;

/// No peer connections.
#[derive(Default)]
pub(crate) struct WebRtc {}

/// No details.
pub(crate) struct Known;

impl Known {
    pub(crate) fn extend(&self, _: &TreeSnapshot, _: &mut Map<String, Value>) {}
}

impl WebRtc {
    pub(crate) fn is_shown(&self) -> bool {
        false
    }

    pub(crate) fn supervisor(&self) -> Option<&SupervisorRef> {
        None
    }

    pub(crate) fn is_handshake(&self, _: &str) -> bool {
        false
    }

    pub(crate) async fn details(&self) -> Known {
        Known
    }

    pub(crate) fn graft(&self, _: &mut Tree) {}

    pub(crate) async fn lose(&self, node: &TreeSnapshot, _: f64) -> Result<(), FaultError> {
        Err(FaultError::NoConnection(node.path.to_string()))
    }

    pub(crate) async fn fail_handshake(
        &self,
        node: &TreeSnapshot,
        _: impl FnOnce(&TreeSnapshot),
    ) -> Result<(), FaultError> {
        Err(FaultError::NoConnection(node.path.to_string()))
    }

    pub(crate) async fn register(&self, _: &mut Registry) {}
}
