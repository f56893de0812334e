//! Names of the `webrtc:…` events that a client sends to the server itself, and which of them a text is.

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Envelope<'a> {
    event: &'a str,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    to: Option<&'a RawValue>,
}

/// Parses an event; returns its name and data, in JSON. None if the text is something else, or addressed to other
/// peers.
pub(crate) fn read(text: &str) -> Option<(&'static str, &str)> {
    // An array with as many elements would pass for the fields in their order.
    if !text.trim_ascii_start().starts_with('{') {
        return None;
    }
    let Envelope { event, data, to } = serde_json::from_str(text).ok()?;
    if to.is_some_and(|to| to.get() != "null") {
        return None;
    }
    let event = NAMES.into_iter().find(|name| *name == event)?;
    Some((event, data.map_or("null", RawValue::get)))
}

/// Returns whether a text may be such an event: a cheap check without false negatives.
pub(crate) fn may_be_control(text: &str) -> bool {
    text.contains("\"webrtc:")
}

pub(crate) const OFFER: &str = "webrtc:offer";
pub(crate) const ANSWER: &str = "webrtc:answer";
pub(crate) const ICE: &str = "webrtc:ice";
pub(crate) const CLOSE: &str = "webrtc:close";
pub(crate) const SEND: &str = "webrtc:send";

const NAMES: [&str; 5] = [OFFER, ANSWER, ICE, CLOSE, SEND];
