//! Moves of clients to another address: the event `moved`.

use actix_web::http::Uri;
use bytestring::ByteString;
use callboard_room_supervisor::{PeerId, RoomMessage, To};
use callboard_websocket::ResumeOffer;
use serde::Serialize;

/// Where a client goes, and what it takes along.
///
/// ```
/// use callboard_signaling::{Move, PeerContext};
///
/// fn send_home(context: &PeerContext) {
///     // A path that is left out is that of the client's present address, and so is the query.
///     _ = context.client.move_by(&Move::to("wss://b2.example.org").replace_webrtc());
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    url: Option<String>,
    resume: Resume,
    replace_webrtc: bool,
}

/// How the session goes on.
#[derive(Clone, PartialEq)]
enum Resume {
    /// It does not: the client joins as a new peer.
    No,
    /// With a token of this server.
    Here,
    /// With a token of the other server.
    With(ResumeOffer),
}

/// Reason why a client was not told to move.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// Not an absolute address with `ws:`, `wss:`, `http:` or `https:` and a host, of at most 2,048 bytes.
    #[error("not the address of a WebSocket: {0}")]
    Url(String),
    /// Sessions cannot be resumed: the route has no grace period.
    #[error("sessions cannot be resumed here")]
    CannotResume,
    /// The client is being closed.
    #[error("the client is gone")]
    Gone,
}

impl Move {
    /// Moves to this address: `ws:`, `wss:`, `http:` or `https:`. A client keeps the path of its present address if
    /// this one has none, and the query likewise; a client that has come over TLS does not move to an address without.
    pub fn to(url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), resume: Resume::No, replace_webrtc: false }
    }

    /// Moves to the address with which the client has begun: that of a load balancer, behind which is another server by
    /// now.
    pub fn to_first_address() -> Self {
        Self { url: None, resume: Resume::No, replace_webrtc: false }
    }

    /// Lets the client resume its session there: for another address of this same server. The application and the
    /// other members notice nothing. Default: it joins as a new peer.
    pub fn resume(self) -> Self {
        Self { resume: Resume::Here, ..self }
    }

    /// Lets the client resume, with this token, a session that was handed over to the other server.
    pub fn resume_with(self, offer: ResumeOffer) -> Self {
        Self { resume: Resume::With(offer), ..self }
    }

    /// Lets the client close its peer connection once it is there, and open another one. A client that becomes a new
    /// peer does so in any case. Default: no.
    pub fn replace_webrtc(self) -> Self {
        Self { replace_webrtc: true, ..self }
    }

    /// Checks the address.
    pub(crate) fn check(&self) -> Result<(), MoveError> {
        let Some(url) = &self.url else { return Ok(()) };
        let is_good = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("ws" | "wss" | "http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        };
        match url.parse::<Uri>() {
            Ok(uri) if url.len() <= MAX_URL && is_good(&uri) => Ok(()),
            _ => Err(MoveError::Url(url.chars().take(MAX_URL).collect())),
        }
    }

    /// Writes the event for this peer's client; `offer` issues a token of this server.
    pub(crate) fn encode(
        &self,
        peer: PeerId,
        offer: impl FnOnce() -> Option<ResumeOffer>,
    ) -> Result<ByteString, MoveError> {
        #[derive(Serialize)]
        struct Data<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            url: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            resume: Option<ResumeOffer>,
            #[serde(skip_serializing_if = "Option::is_none")]
            webrtc: Option<&'static str>,
        }
        self.check()?;
        let resume = match &self.resume {
            Resume::No => None,
            Resume::Here => Some(offer().ok_or(MoveError::CannotResume)?),
            Resume::With(offer) => Some(offer.clone()),
        };
        let webrtc = self.replace_webrtc.then_some("replace");
        let data = Data { url: self.url.as_deref(), resume, webrtc };
        let message = RoomMessage::new("moved", &data).expect("texts can be written as JSON");
        Ok(message.to(To::Peers(vec![peer])).encode())
    }
}

/// Says of a token only that there is one.
impl std::fmt::Debug for Resume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::No => "No",
            Self::Here => "Here",
            Self::With(_) => "With(…)",
        })
    }
}

/// Length limit of an address, in bytes: that of URLs in practice.
const MAX_URL: usize = 2_048;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn data(to: &Move, offer: Option<ResumeOffer>) -> Result<Value, MoveError> {
        let text = to.encode(PeerId::random(), || offer)?;
        let message: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&message["event"], &message["from"]), (&json!("moved"), &Value::Null));
        Ok(message["data"].clone())
    }

    #[test]
    fn the_event_says_what_was_asked_for_and_nothing_else() {
        let grace = Duration::from_secs(30);
        let offer = ResumeOffer { token: "T".to_owned(), grace };
        let resume = json!({ "token": "T", "grace_ms": 30_000 });

        assert_eq!(data(&Move::to_first_address(), None), Ok(json!({})));
        let url = "wss://b.example";
        assert_eq!(data(&Move::to(url), Some(offer.clone())), Ok(json!({ "url": url })));
        let here = Move::to(url).resume();
        let expected = json!({ "url": url, "resume": resume });
        assert_eq!(data(&here, Some(offer.clone())), Ok(expected));
        assert_eq!(data(&here, None), Err(MoveError::CannotResume));
        let handed_over = Move::to_first_address().resume_with(offer).replace_webrtc();
        let expected = json!({ "resume": resume, "webrtc": "replace" });
        assert_eq!(data(&handed_over, None), Ok(expected));
        assert!(!format!("{handed_over:?}").contains("\"T\""), "a token is secret");
    }

    #[test]
    fn only_addresses_of_websockets_are_sent() {
        let long = format!("wss://b.example/{}", "x".repeat(MAX_URL));
        for good in ["ws://b", "wss://b.example/socket/r?a=b", "http://[::1]:80", "https://b"] {
            assert_eq!(Move::to(good).check(), Ok(()), "{good}");
        }
        for bad in ["", "b.example", "/socket", "ftp://b", "javascript:x", "ws://", &long] {
            assert!(matches!(Move::to(bad).check(), Err(MoveError::Url(_))), "{bad}");
        }
    }
}
