//! Peers: clients of any kind, under the name that they give.

use std::ops::Not;
use std::sync::Arc;

use actix_web::{HttpRequest, web};
use callboard_peer_connection::{DataChannelMessage, PeerConnectionState};
use callboard_room_supervisor::{AuthData, PeerId, To};
use callboard_signaling::{
    EndReason, InitContext, JoinRequest, Peer, PeerContext, PeerInit, Rejection, RoomPeers,
};
use example_pages::bots::Bots;
use serde::{Deserialize, Serialize};

/// Session of a client in a room.
#[derive(Clone)]
pub(crate) struct Guest {
    name: Arc<str>,
    bots: Bots,
}

/// Message of a client on the channel `chat`. Messages that cannot be parsed are dropped.
#[derive(Deserialize)]
struct Said {
    say: String,
}

/// Message of a client on the channel `cursor`: its time by the client's clock, and the
/// position of its pointer, if any.
#[derive(Deserialize)]
struct Moved {
    t: f64,
    x: Option<f64>,
    y: Option<f64>,
    /// Whether its page is in a hidden tab, in which the browser slows down timers.
    #[serde(default)]
    hidden: bool,
}

/// Message to the other members.
#[derive(Serialize)]
struct Heard<'a> {
    from: PeerId,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    say: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<f64>,
    #[serde(skip_serializing_if = "Not::not")]
    hidden: bool,
}

/// Answer to the sender, which measures the round-trip time with it.
#[derive(Serialize)]
struct Echo {
    echo: f64,
}

impl Peer for Guest {
    type Options = Bots;

    fn parse_request(request: &HttpRequest) -> Result<JoinRequest, Rejection> {
        #[derive(Deserialize)]
        struct Query {
            name: Option<String>,
        }
        let query = web::Query::<Query>::from_query(request.query_string())?.into_inner();
        let room = request.match_info().query("room").to_owned();
        let metadata = name(&query.name.unwrap_or_default()).into();
        Ok(JoinRequest { metadata, room, ..JoinRequest::default() })
    }

    async fn on_init(
        _: &InitContext,
        auth: &AuthData,
        bots: &Bots,
    ) -> Result<PeerInit<Self>, Rejection> {
        let name: Arc<str> = auth.metadata.as_str().unwrap_or_default().into();
        Ok(PeerInit::from(Self { name: Arc::clone(&name), bots: bots.clone() })
            .public(NAME, &*name))
    }

    fn on_webrtc_state(
        &mut self,
        state: PeerConnectionState,
        _: Option<&EndReason>,
        context: &PeerContext,
    ) {
        if state == PeerConnectionState::Connected {
            self.bots.join(&context.room);
        }
    }

    fn on_data(&mut self, channel: &str, data: DataChannelMessage, context: &PeerContext) {
        match channel {
            CHAT => {
                let Ok(Said { say }) = serde_json::from_slice(data.as_bytes()) else { return };
                let say: String = say.chars().take(LONGEST_LINE).collect();
                let heard = Heard { say: Some(&say), ..self.heard(context) };
                self.tell(context, CHAT, &heard);
            }
            CURSOR => {
                let Ok(Moved { t, x, y, hidden }) = serde_json::from_slice(data.as_bytes()) else {
                    return;
                };
                if let Ok(echo) = serde_json::to_string(&Echo { echo: t }) {
                    // If it is lost, the next one will do.
                    _ = context.client.send_data(CURSOR, DataChannelMessage::Text(echo));
                }
                let heard = Heard { x, y, hidden, ..self.heard(context) };
                self.tell(context, CURSOR, &heard);
            }
            _ => {}
        }
    }
}

impl Guest {
    fn heard(&self, context: &PeerContext) -> Heard<'_> {
        let (from, name) = (context.peer_id, &*self.name);
        Heard { from, name, say: None, x: None, y: None, hidden: false }
    }

    fn tell(&self, context: &PeerContext, channel: &str, heard: &Heard<'_>) {
        let Ok(text) = serde_json::to_string(heard) else { return };
        // The sender of a chat line gets it as the others do: so it has been at the server.
        let to = if channel == CURSOR {
            let others = context.room.peers().into_iter().filter(|peer| *peer != context.peer_id);
            To::Peers(others.collect())
        } else {
            To::All
        };
        context.room.send_data(channel, to, DataChannelMessage::Text(text));
    }
}

/// Returns a name that can be shown anywhere.
fn name(given: &str) -> String {
    let plain = given.chars().filter(|letter| !letter.is_control());
    let name: String = plain.take(LONGEST_NAME).collect();
    let name = name.trim();
    if name.is_empty() { "guest".to_owned() } else { name.to_owned() }
}

/// Field of a peer's public metadata.
pub(crate) const NAME: &str = "name";
/// Label of the chat channel: every line arrives, in order.
pub(crate) const CHAT: &str = "chat";
/// Label of the pointers' channel: lost messages are not sent again.
pub(crate) const CURSOR: &str = "cursor";
/// Longest line of chat, in characters.
const LONGEST_LINE: usize = 2_000;
/// Longest name, in characters.
const LONGEST_NAME: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_in_one_line() {
        assert_eq!(name("  Ann\u{7}\n "), "Ann");
        assert_eq!(name("x".repeat(100).as_str()).len(), LONGEST_NAME);
        assert_eq!(name("\t"), "guest");
    }

    #[test]
    fn numbers_that_are_none_are_not_understood() {
        assert!(serde_json::from_str::<Moved>(r#"{"t":1,"x":0.5,"y":0.5}"#).is_ok());
        assert!(serde_json::from_str::<Moved>(r#"{"t":1}"#).is_ok());
        assert!(serde_json::from_str::<Moved>(r#"{"t":1e999}"#).is_err());
        assert!(serde_json::from_str::<Moved>(r#"{"x":1}"#).is_err());
    }
}
