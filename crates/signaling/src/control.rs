//! The `webrtc:…` events that a client sends to its own WebRTC peer over the WebSocket, as in the original, and the
//! `media:…` events about its tracks and wishes.

use callboard_media_rooms::{TrackDescription, Wishes};
use callboard_peer_connection::{IceCandidate, SessionDescription};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::control_event::{ANSWER, CLOSE, ControlEvent, ICE, MUTE, OFFER, PUBLISH, SEND, WISH};
use crate::error_text::shorten;
use crate::json_members::{fields, string};
use crate::{media_event, wish};

/// An event for the client's WebRTC peer.
#[derive(Debug, PartialEq)]
pub(crate) enum Control {
    /// `webrtc:offer`
    Offer(SessionDescription),
    /// `webrtc:answer`
    Answer(SessionDescription),
    /// `webrtc:ice`; none marks the end of candidates.
    Ice(Option<IceCandidate>),
    /// `webrtc:close`
    Close,
    /// `webrtc:send`: data in place of a data channel's.
    Send { channel: String, data: String },
    /// `media:wish`: what the client wishes to receive of its room's media.
    Wish(Wishes),
    /// `media:publish`: what the client says of the tracks of its next offers.
    Publish(Vec<TrackDescription>),
    /// `media:mute`
    Mute { mid: String, muted: bool },
    /// An event with a known name that cannot be read; `detail` says what is wrong.
    Unread { event: &'static str, error: &'static str, detail: String },
}

impl Control {
    /// Reads the content of an event.
    pub(crate) fn read(ControlEvent { name, data }: ControlEvent<'_>) -> Self {
        let unread = |event, error| move |detail| Self::Unread { event, error, detail };
        match name {
            OFFER => description(data, "offer")
                .map_or_else(unread(OFFER, "bad_description"), |sdp| {
                    Self::Offer(SessionDescription::offer(sdp))
                }),
            ANSWER => description(data, "answer")
                .map_or_else(unread(ANSWER, "bad_description"), |sdp| {
                    Self::Answer(SessionDescription::answer(sdp))
                }),
            ICE => candidate(data).map_or_else(unread(ICE, "bad_candidate"), Self::Ice),
            CLOSE => Self::Close,
            WISH => wish::read(data).map_or_else(unread(WISH, "bad_wish"), Self::Wish),
            PUBLISH => media_event::published(data)
                .map_or_else(unread(PUBLISH, "bad_tracks"), Self::Publish),
            MUTE => media_event::muted(data).map_or_else(unread(MUTE, "bad_mute"), |told| {
                let (mid, muted) = told;
                Self::Mute { mid, muted }
            }),
            _ => send(data).unwrap_or_else(unread(SEND, "bad_data")),
        }
    }
}

/// Returns the SDP of a description of this type.
fn description(data: &str, expected: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, default, rename = "type")]
        kind: Option<&'a RawValue>,
        #[serde(borrow, default)]
        sdp: Option<&'a RawValue>,
    }
    let Fields { kind, sdp } = fields(data, "an object with type and sdp")?;
    let kind =
        string("type", kind)?.ok_or_else(|| format!("type is missing: it must be {expected:?}"))?;
    if kind != expected {
        return Err(format!("type must be {expected:?}, not {:?}", shorten(&kind, LONGEST_WORD)));
    }
    Ok(string("sdp", sdp)?.ok_or("sdp is missing")?)
}

/// Parses a candidate. The end of candidates is null, an empty object or an empty candidate.
fn candidate(data: &str) -> Result<Option<IceCandidate>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields<'a> {
        #[serde(borrow, default)]
        candidate: Option<&'a RawValue>,
        #[serde(borrow, default, alias = "sdp_mid")]
        sdp_mid: Option<&'a RawValue>,
        #[serde(
            borrow,
            default,
            rename = "sdpMLineIndex",
            alias = "sdp_mline_index",
            alias = "sdpMlineIndex"
        )]
        sdp_m_line_index: Option<&'a RawValue>,
        #[serde(borrow, default, alias = "username_fragment")]
        username_fragment: Option<&'a RawValue>,
    }
    if data == "null" {
        return Ok(None);
    }
    let fields: Fields<'_> = fields(data, "an object with candidate and sdpMid, or null")?;
    let candidate = IceCandidate {
        candidate: string("candidate", fields.candidate)?.unwrap_or_default(),
        sdp_mid: string("sdpMid", fields.sdp_mid)?,
        sdp_m_line_index: index("sdpMLineIndex", fields.sdp_m_line_index)?,
        username_fragment: string("usernameFragment", fields.username_fragment)?,
    };
    Ok(Some(candidate).filter(|candidate| !candidate.candidate.is_empty()))
}

fn send(data: &str) -> Result<Control, String> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, default)]
        channel: Option<&'a RawValue>,
        #[serde(borrow, default)]
        data: Option<&'a RawValue>,
    }
    let fields: Fields<'_> = fields(data, "an object with channel and data")?;
    let channel = string("channel", fields.channel)?.ok_or("channel is missing")?;
    let data = string("data", fields.data)?.ok_or("data is missing")?;
    Ok(Control::Send { channel, data })
}

/// Parses a whole number in any notation: some clients write all numbers with a point, some as text.
fn index(name: &str, value: Option<&RawValue>) -> Result<Option<u16>, String> {
    let Some(value) = value.filter(|value| value.get() != "null") else { return Ok(None) };
    let text = value.get().strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let number = match text {
        Some(text) if text.chars().all(|c| c.is_ascii_digit() || c == '.') => text.parse(),
        Some(_) => Ok(f64::NAN),
        None => value.get().parse::<f64>(),
    };
    match number {
        Ok(number) if number.fract() == 0.0 && (0.0..=f64::from(u16::MAX)).contains(&number) => {
            Ok(Some(number as u16))
        }
        _ => {
            let given = shorten(value.get(), LONGEST_WORD);
            Err(format!("{name} must be a whole number from 0 to 65535, not {given}"))
        }
    }
}

/// Length limit of a word from a client in an error, in bytes.
const LONGEST_WORD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Fields;

    /// Reads an event; none if the text is something else.
    fn read(text: &str) -> Option<Control> {
        let mut fields = Fields::default();
        fields.read(text).ok()?;
        ControlEvent::of(&fields).map(Control::read)
    }

    #[test]
    fn the_events_of_the_original_are_read_as_they_are_written() {
        let offer = r#"{"event":"webrtc:offer","data":{"sdp":"v=0\r\n","type":"offer"}}"#;
        assert_eq!(read(offer), Some(Control::Offer(SessionDescription::offer("v=0\r\n"))));
        let answer = r#"{"event":"webrtc:answer","data":{"type":"answer","sdp":"v=0\r\n"}}"#;
        assert_eq!(read(answer), Some(Control::Answer(SessionDescription::answer("v=0\r\n"))));
        let ice = r#"{"event":"webrtc:ice","data":{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":null}}"#;
        let Some(Control::Ice(Some(candidate))) = read(ice) else { panic!() };
        assert_eq!(
            (candidate.candidate.as_str(), candidate.sdp_m_line_index),
            ("candidate:1", Some(0))
        );
        for end in ["null", "{}", r#"{"candidate":""}"#] {
            let text = format!(r#"{{"event":"webrtc:ice","data":{end}}}"#);
            assert_eq!(read(&text), Some(Control::Ice(None)), "{text}");
        }
        assert_eq!(read(r#"{"event":"webrtc:ice"}"#), Some(Control::Ice(None)));
        assert_eq!(read(r#"{"event":"webrtc:close","data":{}}"#), Some(Control::Close));
        assert_eq!(
            read(r#"{"event":"webrtc:send","data":{"channel":"chat","data":"hi"}}"#),
            Some(Control::Send { channel: "chat".into(), data: "hi".into() })
        );
    }

    #[test]
    fn what_is_addressed_to_others_or_about_something_else_is_left_to_the_room() {
        for text in [
            "hello",
            r#"["webrtc:offer",{}]"#,
            r#"{"event":"webrtc:offer","data":{},"to":"all"}"#,
            r#"{"event":"webrtc:state","data":{}}"#,
            r#"{"event":"chat","data":"\"webrtc:offer\""}"#,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_what_is_wrong() {
        let unread = |event: &str, data: &str| {
            let text = format!(r#"{{"event":"{event}","data":{data}}}"#);
            match read(&text) {
                Some(Control::Unread { error, detail, .. }) => (error, detail),
                other => panic!("{text}: {other:?}"),
            }
        };
        let long = format!(r#"{{"type":"{}","sdp":""}}"#, "x".repeat(10_000));
        for (data, detail) in [
            (r#""v=0""#, "data must be an object with type and sdp, not a string"),
            ("null", "data must be an object with type and sdp, not null"),
            ("[]", "data must be an object with type and sdp, not a list"),
            (r#"{"sdp":"v=0"}"#, "type is missing: it must be \"offer\""),
            (r#"{"type":null,"sdp":"v=0"}"#, "type is missing: it must be \"offer\""),
            (r#"{"type":"OFFER","sdp":"v=0"}"#, "type must be \"offer\", not \"OFFER\""),
            (r#"{"type":"answer","sdp":"v=0"}"#, "type must be \"offer\", not \"answer\""),
            (r#"{"type":7,"sdp":"v=0"}"#, "type must be a string, not a number"),
            (r#"{"type":"offer"}"#, "sdp is missing"),
            (r#"{"type":"offer","sdp":{}}"#, "sdp must be a string, not an object"),
            (r#"{"type":"offer","type":"offer","sdp":""}"#, "a member is given twice"),
            (r#"{"type":"offer","sdp":"\ud800"}"#, "sdp is not valid Unicode"),
            (r#"{"type":"\udc00","sdp":""}"#, "type is not valid Unicode"),
            (r#"{"type":"offer","sdp":1e400}"#, "sdp must be a string, not a number"),
            (
                r#"{"type":"offer","sdp":"","\ud800":1}"#,
                "the name of a member is not valid Unicode",
            ),
            (&long, &format!("type must be \"offer\", not {:?}", "x".repeat(LONGEST_WORD))),
        ] {
            assert_eq!(unread(OFFER, data), ("bad_description", detail.to_owned()));
        }
        for (data, detail) in [
            ("null", "data must be an object with type and sdp, not null"),
            (r#"{"sdp":"v=0"}"#, "type is missing: it must be \"answer\""),
            (r#"{"type":"offer","sdp":"v=0"}"#, "type must be \"answer\", not \"offer\""),
            (r#"{"type":"pranswer","sdp":"v=0"}"#, "type must be \"answer\", not \"pranswer\""),
            (r#"{"type":"answer"}"#, "sdp is missing"),
        ] {
            assert_eq!(unread(ANSWER, data), ("bad_description", detail.to_owned()));
        }
        let whole = "sdpMLineIndex must be a whole number from 0 to 65535, not";
        for (data, detail) in [
            ("7", "data must be an object with candidate and sdpMid, or null, not a number".into()),
            (r#"{"candidate":5}"#, "candidate must be a string, not a number".into()),
            (r#"{"candidate":"c","sdpMid":0}"#, "sdpMid must be a string, not a number".into()),
            (r#"{"candidate":"c","sdpMid":"0","sdp_mid":"0"}"#, "a member is given twice".into()),
            (r#"{"candidate":"c","sdpMLineIndex":1.5}"#, format!("{whole} 1.5")),
            (r#"{"candidate":"c","sdpMLineIndex":-1}"#, format!("{whole} -1")),
            (r#"{"candidate":"c","sdpMLineIndex":65536}"#, format!("{whole} 65536")),
            (r#"{"candidate":"c","sdpMLineIndex":"x"}"#, format!("{whole} \"x\"")),
            (r#"{"candidate":"c","sdpMLineIndex":"-1"}"#, format!("{whole} \"-1\"")),
            (r#"{"candidate":"c","sdpMLineIndex":""}"#, format!("{whole} \"\"")),
            (r#"{"candidate":"c","sdpMLineIndex":true}"#, format!("{whole} true")),
        ] {
            assert_eq!(unread(ICE, data), ("bad_candidate", detail));
        }
        assert_eq!(unread(SEND, r#"{"data":""}"#), ("bad_data", "channel is missing".into()));
        let (error, detail) = unread(SEND, r#"{"channel":1,"data":""}"#);
        assert_eq!((error, &*detail), ("bad_data", "channel must be a string, not a number"));
    }

    #[test]
    fn a_section_number_may_be_written_with_a_point_or_as_text() {
        for (written, number) in [("0", 0), ("0.0", 0), ("\"0\"", 0), ("2.0", 2), ("\"3.0\"", 3)] {
            let data = format!(r#"{{"candidate":"candidate:1","sdpMLineIndex":{written}}}"#);
            let read = candidate(&data).unwrap().unwrap();
            assert_eq!(read.sdp_m_line_index, Some(number), "{written}");
        }
    }
}
