//! Rooms that this node of a cluster does not run: where their clients are sent, and what they are told.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::ORIGIN;
use actix_web::{HttpRequest, HttpResponse};
use callboard_room_supervisor::{CloseFrame, Description, PeerId, RoomMessage};
use callboard_websocket::{Admission, OpenedSocket, SocketLink, SocketNumber};
use serde_json::json;

use super::Refusal;
use crate::moves::Move;

/// A WebSocket that is opened only to tell its client something.
pub(super) struct Told {
    pub(super) opened: OpenedSocket,
    pub(super) link: Arc<SocketLink>,
    pub(super) number: SocketNumber,
    pub(super) admission: Admission,
}

impl Told {
    /// Sends the client to the node at this URL; without one, it is refused, and learns nothing of the node.
    pub(super) fn send_to(
        self,
        request: &HttpRequest,
        peer: PeerId,
        node: &str,
        url: Option<String>,
    ) -> Result<HttpResponse, Refusal> {
        let refusal = |why: String| {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "room_elsewhere").noted(why)
        };
        let Some(url) = url else {
            return Err(refusal(format!("{node} has the room, and no URL")));
        };
        let to = Move::to(complete(url, request.path()));
        let text = to.encode(peer, || None);
        let text = text.map_err(|error| refusal(format!("{node} has the room: {error}")))?;
        let Self { opened, link, number, admission } = self;
        // Its outbox is empty.
        _ = link.outbox().push(text);
        let waiting = Arc::downgrade(&link);
        actix::spawn(async move {
            tokio::time::sleep(LEAVES_WITHIN).await;
            if let Some(link) = waiting.upgrade() {
                link.outbox().close(CloseFrame::GOING_AWAY);
            }
        });
        Ok(opened.respond(link, number, admission))
    }

    /// Tells a client that it is not known which node may run the room. A browser shows its page nothing of a refusal:
    /// its WebSocket opens, and is closed with 1012.
    pub(super) fn refuse_for(
        self,
        request: &HttpRequest,
        peer: PeerId,
        wait: Duration,
    ) -> Result<HttpResponse, Refusal> {
        if !request.headers().contains_key(ORIGIN) {
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "room_unavailable");
            return Err(refusal.retry_after(wait));
        }
        let Self { opened, link, number, admission } = self;
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let details = json!({ "retry_after_ms": wait });
        let error = RoomMessage::error(peer, Description::RoomUnavailable, &details);
        _ = link.outbox().push(error.encode());
        let close = CloseFrame::new(1012, "room unavailable").expect("a code of the server");
        link.outbox().close(close);
        Ok(opened.respond(link, number, admission))
    }
}

/// Returns a node's URL with the path of the request: clients complete one that has no path by themselves, by the path
/// that they know.
fn complete(url: String, path: &str) -> String {
    let authority = url.find("://").map_or(0, |at| at + 3);
    match url[authority..].trim_end_matches('/').contains('/') {
        true => format!("{}{path}", url.trim_end_matches('/')),
        false => url,
    }
}

/// Time that a client has to get to the other node.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::complete;

    #[test]
    fn a_nodes_url_with_a_path_is_a_prefix() {
        let path = "/socket/demo";
        for (url, expected) in [
            ("wss://b", "wss://b"),
            ("wss://b/", "wss://b/"),
            ("wss://b/nodes/2", "wss://b/nodes/2/socket/demo"),
            ("wss://b/nodes/2/", "wss://b/nodes/2/socket/demo"),
        ] {
            assert_eq!(complete(url.to_owned(), path), expected);
        }
    }
}
