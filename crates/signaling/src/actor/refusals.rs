//! Refusals of what a client asks of WebRTC, and the path that answers take to it.

use callboard_room_supervisor::Description;
use serde_json::json;

use super::PeerActor;
use crate::error_text::shorten;
use crate::peer::Peer;

/// How a frame of RPC came, and its reply goes.
#[cfg(any(feature = "rpc", feature = "webrtc"))]
#[derive(Clone, Copy, Debug)]
pub(super) enum Path {
    /// The WebSocket.
    WebSocket,
    /// The data channel, as long as there is one.
    #[cfg(feature = "webrtc")]
    Channel,
}

impl<P: Peer> PeerActor<P> {
    /// Logs a refusal; the caller tells the client.
    pub(super) fn log_refusal(&self, event: &str, error: &str, reason: Option<&str>) {
        let (address, peer) = (self.socket_link.address(), self.context.peer_id);
        let what = format!("{event} of peer {peer}");
        self.policy.refusals.refused(log::Level::Info, address, &what, error, reason);
    }

    pub(super) fn refuse(&self, event: &str, error: &str, detail: Option<String>) {
        self.log_refusal(event, error, detail.as_deref());
        let mut details = json!({ "event": event, "error": error });
        if let Some(detail) = detail {
            // It may hold text of the client's.
            details["detail"] = shorten(&detail, LONGEST_DETAIL).into();
        }
        self.tell(Description::WebRtcFailed, &details);
    }
}

/// Length limit of the detail in an error, in bytes.
pub(super) const LONGEST_DETAIL: usize = 500;
