//! Frames of RPC, as JSON.

use std::borrow::Cow;

use callboard_room_supervisor::Rejection;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Failure;
use super::arguments::InvalidArguments;
use crate::error_text::{LONGEST_NAME, shorten};
use crate::fields::{FRAME, Field, Fields, NoObject};

/// A frame that a client has sent.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    /// Call of a hook.
    Call(Call<'a>),
    /// The client no longer wants the reply to this call.
    Cancel(CallId),
    /// Outcome of a call that the server has made.
    Outcome { id: CallId, outcome: Result<Box<RawValue>, String> },
}

/// A call of a hook.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) id: Option<CallId>,
    pub(crate) plugin: Cow<'a, str>,
    pub(crate) function: Cow<'a, str>,
    pub(crate) args: Option<&'a RawValue>,
}

/// A caller's id for its call: a number or a string, echoed as it came.
#[derive(Clone, Debug)]
pub(crate) struct CallId(Box<RawValue>);

impl CallId {
    fn read(id: &RawValue) -> Option<Self> {
        let text = id.get();
        let first = text.as_bytes().first()?;
        let fits = match first {
            // Quotes and escapes are not counted: one byte may take six.
            b'"' => text.len() <= 2 + 6 * MAX_ID && string(id)?.len() <= MAX_ID,
            b'-' | b'0'..=b'9' => text.len() <= MAX_ID,
            _ => false,
        };
        fits.then(|| Self(id.to_owned()))
    }

    /// Returns the number that the server has given to its own call.
    pub(crate) fn of_server(&self) -> Option<u64> {
        self.0.get().strip_prefix("\"s")?.strip_suffix('"')?.parse().ok()
    }
}

impl PartialEq for CallId {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// Reason why a text is not a frame of RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// JSON about something else.
    SomethingElse,
    /// Not JSON, or an invalid frame.
    Malformed,
}

impl From<NoObject> for Unread {
    fn from(error: NoObject) -> Self {
        match error {
            NoObject::JsonOfAnotherKind => Self::SomethingElse,
            NoObject::NotJson => Self::Malformed,
        }
    }
}

impl<'a> Frame<'a> {
    /// Reads a text that is for the call table if it is a frame.
    #[cfg(any(test, feature = "webrtc"))]
    pub(crate) fn read(text: &'a str) -> Result<Self, Unread> {
        let mut fields = Fields::default();
        fields.read(text)?;
        Self::of(&fields)
    }

    /// Returns the frame that a text with these fields is.
    pub(crate) fn of(fields: &Fields<'a>) -> Result<Self, Unread> {
        if fields.has_twice(FRAME) {
            return Err(Unread::Malformed);
        }
        let kind = fields.get(Field::Type).and_then(string).ok_or(Unread::SomethingElse)?;
        let word = |field| fields.get(field).and_then(string);
        let id = match fields.get(Field::Id) {
            Some(id) => Some(CallId::read(id).ok_or(Unread::Malformed)?),
            None => None,
        };
        match &*kind {
            "call_hook" => Ok(Self::Call(Call {
                id,
                plugin: word(Field::Plugin).ok_or(Unread::Malformed)?,
                function: word(Field::Fn).ok_or(Unread::Malformed)?,
                args: fields.get(Field::Args),
            })),
            "cancel_hook" => Ok(Self::Cancel(id.ok_or(Unread::Malformed)?)),
            "hook_reply" => {
                let data = fields.get(Field::Data).unwrap_or(RawValue::NULL).to_owned();
                Ok(Self::Outcome { id: id.ok_or(Unread::Malformed)?, outcome: Ok(data) })
            }
            "hook_error" => {
                let error = word(Field::Error).unwrap_or(Cow::Borrowed("unknown"));
                let outcome = Err(error.into_owned());
                Ok(Self::Outcome { id: id.ok_or(Unread::Malformed)?, outcome })
            }
            _ => Err(Unread::SomethingElse),
        }
    }
}

fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    match serde_json::from_str::<&str>(value.get()) {
        Ok(plain) => Some(Cow::Borrowed(plain)),
        // It has escapes.
        Err(_) => serde_json::from_str::<String>(value.get()).ok().map(Cow::Owned),
    }
}

/// Writes a `hook_reply`.
pub(crate) fn reply(id: Option<&CallId>, plugin: &str, function: &str, data: &RawValue) -> String {
    let reply = Reply { kind: "hook_reply", id, plugin, function, ..Reply::default() };
    write(&Reply { data: Some(data), ..reply })
}

/// Writes a `hook_error`. No hook has a longer name than what is repeated of it.
pub(crate) fn error(
    id: Option<&CallId>,
    plugin: &str,
    function: &str,
    failure: &Failure,
) -> String {
    let (plugin, function) = (shorten(plugin, LONGEST_NAME), shorten(function, LONGEST_NAME));
    let error = failure.to_string();
    let reply = Reply { kind: "hook_error", id, plugin, function, ..Reply::default() };
    let reply = Reply { error: Some(&error), ..reply };
    write(&match failure {
        Failure::InvalidArgs(InvalidArguments { argument, detail }) => {
            Reply { argument: *argument, detail: Some(detail), ..reply }
        }
        Failure::Rejected(Rejection { details, .. }) if !details.is_null() => {
            Reply { details: Some(details), ..reply }
        }
        _ => reply,
    })
}

/// Writes a call by the server.
pub(crate) fn call(number: u64, function: &str, args: &RawValue) -> String {
    write(&ServerCall { kind: "call_hook", id: format!("s{number}"), function, args })
}

/// Writes the cancellation of a call by the server.
pub(crate) fn cancel(number: u64) -> String {
    format!(r#"{{"type":"cancel_hook","id":"s{number}"}}"#)
}

fn write(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, and JSON that has been written, can be written")
}

#[derive(Default, Serialize)]
struct Reply<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "id")]
    id: Option<&'a CallId>,
    plugin: &'a str,
    #[serde(rename = "fn")]
    function: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    argument: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Value>,
}

#[derive(Serialize)]
struct ServerCall<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    #[serde(rename = "fn")]
    function: &'a str,
    args: &'a RawValue,
}

fn id<S: serde::Serializer>(id: &Option<&CallId>, serializer: S) -> Result<S::Ok, S::Error> {
    id.map(|id| &id.0).serialize(serializer)
}

/// Length limit of an id, in bytes: of the string, or of the number as it is written.
const MAX_ID: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_with_and_without_an_id() {
        let text = r#"{"type":"call_hook","plugin":"chess","fn":"move","args":["e2","e4"]}"#;
        let Ok(Frame::Call(call)) = Frame::read(text) else { panic!() };
        assert_eq!((&*call.plugin, &*call.function), ("chess", "move"));
        assert_eq!(call.args.map(RawValue::get), Some(r#"["e2","e4"]"#));
        assert!(call.id.is_none());

        for id in ["7", "\"a\\u00e9\"", "-1.5"] {
            let text = format!(r#"{{"type":"call_hook","id":{id},"plugin":"p","fn":"f"}}"#);
            let Ok(Frame::Call(call)) = Frame::read(&text) else { panic!("{text}") };
            let error = error(call.id.as_ref(), "p", "f", &Failure::Timeout);
            assert_eq!(
                error,
                format!(
                    r#"{{"type":"hook_error","id":{id},"plugin":"p","fn":"f","error":"timeout"}}"#
                )
            );
        }
    }

    #[test]
    fn an_id_is_a_number_or_a_string_of_at_most_64_bytes() {
        let fits =
            |id: &str| Frame::read(&format!(r#"{{"type":"cancel_hook","id":{id}}}"#)).is_ok();
        for bytes in [0, 1, 62, 63, 64, 65, 66, 1_000] {
            let number = "1".repeat(bytes.max(1));
            assert_eq!(fits(&number), bytes <= 64, "a number of {bytes}");
            let escaped = r"\u0041".repeat(bytes);
            for string in ["x".repeat(bytes), escaped] {
                assert_eq!(fits(&format!("\"{string}\"")), bytes <= 64, "{bytes}: {string}");
            }
        }
        assert!(
            fits(&format!("\"{}\"", "é".repeat(32))) && !fits(&format!("\"{}\"", "é".repeat(33)))
        );
        assert!(!fits("\"\\ud800\""), "half of a surrogate pair");
    }

    #[test]
    fn an_error_repeats_no_more_of_a_name_than_a_hook_may_have() {
        let (long, cut) = ("é".repeat(1 << 19), "é".repeat(32));
        assert_eq!(
            error(None, &long, &format!("x{long}"), &Failure::TooLarge),
            format!(
                r#"{{"type":"hook_error","plugin":"{cut}","fn":"x{}","error":"too_large"}}"#,
                "é".repeat(31)
            )
        );
    }

    #[test]
    fn replies_have_the_fields_of_the_original() {
        let data = RawValue::from_string("[1]".to_owned()).unwrap();
        assert_eq!(
            reply(None, "p", "f", &data),
            r#"{"type":"hook_reply","plugin":"p","fn":"f","data":[1]}"#
        );
    }

    #[test]
    fn what_is_no_frame_is_told_from_what_is_a_bad_one() {
        for text in ["{}", r#"{"type":"chat"}"#, r#"{"type":7}"#, "[1]", "7", "null", "\"x\""] {
            assert_eq!(Frame::read(text).unwrap_err(), Unread::SomethingElse, "{text}");
        }
        let long =
            format!(r#"{{"type":"call_hook","id":"{}","plugin":"p","fn":"f"}}"#, "x".repeat(65));
        for text in [
            "",
            "hello",
            "{",
            r#"{"type":"call_hook"}"#,
            r#"{"type":"call_hook","plugin":"p"}"#,
            r#"{"type":"call_hook","plugin":1,"fn":"f"}"#,
            r#"{"type":"call_hook","id":{},"plugin":"p","fn":"f"}"#,
            r#"{"type":"call_hook","id":true,"plugin":"p","fn":"f"}"#,
            r#"{"type":"call_hook","type":"call_hook","plugin":"p","fn":"f"}"#,
            r#"{"type":"cancel_hook"}"#,
            r#"{"type":"hook_reply","data":1}"#,
            &long,
        ] {
            assert_eq!(Frame::read(text).unwrap_err(), Unread::Malformed, "{text}");
        }
    }

    #[test]
    fn a_reply_finds_the_call_that_it_is_for() {
        let text = r#"{"type":"hook_reply","id":"s12","data":{"ok":true}}"#;
        let Ok(Frame::Outcome { id, outcome }) = Frame::read(text) else { panic!() };
        assert_eq!(id.of_server(), Some(12));
        assert_eq!(outcome.unwrap().get(), r#"{"ok":true}"#);
        let args = RawValue::from_string("[]".to_owned()).unwrap();
        assert_eq!(call(12, "hi", &args), r#"{"type":"call_hook","id":"s12","fn":"hi","args":[]}"#);
        assert_eq!(cancel(12), r#"{"type":"cancel_hook","id":"s12"}"#);
    }
    #[test]
    fn the_details_of_a_rejection_are_an_additional_field() {
        let rejection = Rejection::with_details("not_your_turn", serde_json::json!({ "turn": 2 }));

        assert_eq!(
            error(None, "chess", "move", &Failure::Rejected(rejection)),
            r#"{"type":"hook_error","plugin":"chess","fn":"move","error":"not_your_turn","details":{"turn":2}}"#
        );
        assert_eq!(
            error(None, "chess", "move", &Failure::Rejected("no".into())),
            r#"{"type":"hook_error","plugin":"chess","fn":"move","error":"no"}"#
        );
    }
}
