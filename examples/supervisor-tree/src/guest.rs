//! The peers: anybody, under the name they give.

use std::ops::Not;
use std::sync::Arc;

use actix_web::{HttpRequest, web};
use callboard_peer_connection::DataChannelMessage;
use callboard_room_supervisor::{AuthData, PeerId};
use callboard_signaling::{
    BadRequest, ChannelEvent, Context, Init, InitContext, JoinRequest, Peer, Refused,
};
use serde::{Deserialize, Serialize};

use crate::hub::Hub;

/// Somebody in a room.
#[derive(Clone)]
pub(crate) struct Guest {
    name: Arc<str>,
    hub: Hub,
    entered: bool,
}

/// What a client says on the channel `chat`. What it cannot read is nobody's.
#[derive(Deserialize)]
struct Said {
    say: String,
}

/// What a client says on the channel `cursor`: when it did, by its own clock, and where its pointer is, if anywhere.
#[derive(Deserialize)]
struct Moved {
    t: f64,
    x: Option<f64>,
    y: Option<f64>,
    /// Its page is in a tab that is not shown, so that the browser makes its timers slow.
    #[serde(default)]
    hidden: bool,
}

/// What the others hear of either.
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

/// What the one hears who said it: so it knows how long it takes there and back.
#[derive(Serialize)]
struct Echo {
    echo: f64,
}

impl Peer for Guest {
    type Options = Hub;

    fn parse_request(request: &HttpRequest) -> Result<JoinRequest, BadRequest> {
        #[derive(Deserialize)]
        struct Query {
            name: Option<String>,
        }
        let query = web::Query::<Query>::from_query(request.query_string())?.into_inner();
        let room = request.match_info().query("room").to_owned();
        let metadata = name(&query.name.unwrap_or_default()).into();
        Ok(JoinRequest { metadata, room, ..JoinRequest::default() })
    }

    async fn on_init(_: &InitContext, auth: &AuthData, hub: &Hub) -> Result<Init<Self>, Refused> {
        let name = auth.metadata.as_str().unwrap_or_default().into();
        Ok(Self { name, hub: hub.clone(), entered: false }.into())
    }

    fn on_channel(&mut self, _: ChannelEvent<'_>, context: &Context) {
        self.enter(context);
    }

    fn on_data(&mut self, channel: &str, data: DataChannelMessage, context: &Context) {
        self.enter(context);
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
                    // If it does not arrive, the next one will tell.
                    _ = context.client.send_data(CURSOR, DataChannelMessage::Text(echo));
                }
                let heard = Heard { x, y, hidden, ..self.heard(context) };
                self.tell(context, CURSOR, &heard);
            }
            _ => {}
        }
    }

    fn on_terminate(&mut self, context: &Context) {
        self.hub.leave(context.room.name(), context.peer_id);
    }
}

impl Guest {
    /// A client has nothing to hear before it could say something.
    fn enter(&mut self, context: &Context) {
        if !std::mem::replace(&mut self.entered, true) {
            let (room, name) = (context.room.name(), Arc::clone(&self.name));
            self.hub.enter(room, context.peer_id, name, context.client.clone());
        }
    }

    fn heard(&self, context: &Context) -> Heard<'_> {
        let (from, name) = (context.peer_id, &*self.name);
        Heard { from, name, say: None, x: None, y: None, hidden: false }
    }

    fn tell(&self, context: &Context, channel: &str, heard: &Heard<'_>) {
        let Ok(text) = serde_json::to_string(heard) else { return };
        // Who chats sees the line as the others do: it has been at the server.
        let but = (channel == CURSOR).then_some(context.peer_id);
        self.hub.tell(context.room.name(), channel, &text, but);
    }
}

/// A name that can be shown anywhere.
fn name(given: &str) -> String {
    let plain = given.chars().filter(|letter| !letter.is_control());
    let name: String = plain.take(LONGEST_NAME).collect();
    let name = name.trim();
    if name.is_empty() { "somebody".to_owned() } else { name.to_owned() }
}

/// The channel of chat: every line arrives, in order.
pub(crate) const CHAT: &str = "chat";
/// The channel of pointers: what is lost is not sent again.
pub(crate) const CURSOR: &str = "cursor";
/// In characters.
const LONGEST_LINE: usize = 2_000;
/// In characters.
const LONGEST_NAME: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_in_one_line() {
        assert_eq!(name("  Ann\u{7}\n "), "Ann");
        assert_eq!(name("x".repeat(100).as_str()).len(), LONGEST_NAME);
        assert_eq!(name("\t"), "somebody");
    }

    #[test]
    fn numbers_that_are_none_are_not_understood() {
        assert!(serde_json::from_str::<Moved>(r#"{"t":1,"x":0.5,"y":0.5}"#).is_ok());
        assert!(serde_json::from_str::<Moved>(r#"{"t":1}"#).is_ok());
        assert!(serde_json::from_str::<Moved>(r#"{"t":1e999}"#).is_err());
        assert!(serde_json::from_str::<Moved>(r#"{"x":1}"#).is_err());
    }
}
