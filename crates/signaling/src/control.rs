//! What a client tells its own WebRTC peer over the WebSocket: the `webrtc:…` events, as the original has them.

use callboard_peer_connection::{IceCandidate, SessionDescription};
use serde::Deserialize;
use serde_json::value::RawValue;

/// One of them.
#[derive(Debug, PartialEq)]
pub(crate) enum Control {
    /// `webrtc:offer`
    Offer(SessionDescription),
    /// `webrtc:ice`; none says that there are no more.
    Ice(Option<IceCandidate>),
    /// `webrtc:close`
    Close,
    /// `webrtc:send`: what would go over a data channel.
    Send { channel: String, data: String },
    /// What has its name and cannot be read.
    Unread { event: &'static str, error: &'static str },
}

#[derive(Deserialize)]
struct Envelope<'a> {
    event: &'a str,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    to: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Send {
    channel: String,
    data: String,
}

impl Control {
    /// None if the text is about something else, or addressed to other peers.
    pub(crate) fn read(text: &str) -> Option<Self> {
        // An array with as many elements would pass for the fields in their order.
        if !text.trim_ascii_start().starts_with('{') {
            return None;
        }
        let Envelope { event, data, to } = serde_json::from_str(text).ok()?;
        if to.is_some_and(|to| to.get() != "null") {
            return None;
        }
        let data = data.map_or("null", RawValue::get);
        let read = match event {
            OFFER => serde_json::from_str(data).map(Self::Offer).ok(),
            ICE => candidate(data).map(Self::Ice),
            CLOSE => Some(Self::Close),
            SEND => serde_json::from_str(data)
                .map(|Send { channel, data }| Self::Send { channel, data })
                .ok(),
            _ => return None,
        };
        Some(read.unwrap_or(match event {
            OFFER => Self::Unread { event: OFFER, error: "bad_description" },
            ICE => Self::Unread { event: ICE, error: "bad_candidate" },
            _ => Self::Unread { event: SEND, error: "bad_data" },
        }))
    }
}

/// The end of candidates is null, an empty object or an empty candidate.
fn candidate(data: &str) -> Option<Option<IceCandidate>> {
    let candidate: Option<IceCandidate> = serde_json::from_str(data).ok()?;
    Some(candidate.filter(|candidate| !candidate.candidate.is_empty()))
}

/// Whether a text may be such an event: cheap, and sure when it says no.
pub(crate) fn may_be_control(text: &str) -> bool {
    text.contains("\"webrtc:")
}

pub(crate) const OFFER: &str = "webrtc:offer";
pub(crate) const ICE: &str = "webrtc:ice";
pub(crate) const CLOSE: &str = "webrtc:close";
pub(crate) const SEND: &str = "webrtc:send";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_the_original_are_read_as_they_are_written() {
        let offer = r#"{"event":"webrtc:offer","data":{"sdp":"v=0\r\n","type":"offer"}}"#;
        assert_eq!(
            Control::read(offer),
            Some(Control::Offer(SessionDescription::offer("v=0\r\n")))
        );
        let ice = r#"{"event":"webrtc:ice","data":{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":null}}"#;
        let Some(Control::Ice(Some(candidate))) = Control::read(ice) else { panic!() };
        assert_eq!(
            (candidate.candidate.as_str(), candidate.sdp_m_line_index),
            ("candidate:1", Some(0))
        );
        for end in ["null", "{}", r#"{"candidate":""}"#] {
            let text = format!(r#"{{"event":"webrtc:ice","data":{end}}}"#);
            assert_eq!(Control::read(&text), Some(Control::Ice(None)), "{text}");
        }
        assert_eq!(Control::read(r#"{"event":"webrtc:ice"}"#), Some(Control::Ice(None)));
        assert_eq!(Control::read(r#"{"event":"webrtc:close","data":{}}"#), Some(Control::Close));
        assert_eq!(
            Control::read(r#"{"event":"webrtc:send","data":{"channel":"chat","data":"hi"}}"#),
            Some(Control::Send { channel: "chat".into(), data: "hi".into() })
        );
    }

    #[test]
    fn what_is_addressed_to_others_or_about_something_else_is_left_to_the_room() {
        for text in [
            "hello",
            r#"["webrtc:offer",{}]"#,
            r#"{"event":"webrtc:offer","data":{},"to":"all"}"#,
            r#"{"event":"webrtc:answer","data":{}}"#,
            r#"{"event":"chat","data":"\"webrtc:offer\""}"#,
        ] {
            assert_eq!(Control::read(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_what_is_wrong() {
        let error = |text: &str| match Control::read(text) {
            Some(Control::Unread { error, .. }) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            error(r#"{"event":"webrtc:offer","data":{"type":"nonsense","sdp":1}}"#),
            "bad_description"
        );
        assert_eq!(error(r#"{"event":"webrtc:ice","data":7}"#), "bad_candidate");
        assert_eq!(error(r#"{"event":"webrtc:send","data":{"channel":1}}"#), "bad_data");
    }
}
