//! The `webrtc:…` and `media:…` events that a client sends to the server itself: their names, and which of them a text
//! is.

use serde_json::value::RawValue;

use crate::fields::{Field, Fields, MESSAGE};

/// An event that is known by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ControlEvent<'a> {
    pub(crate) name: &'static str,
    /// Content in JSON, which was not read any further; `null` if there is none.
    pub(crate) data: &'a str,
}

impl<'a> ControlEvent<'a> {
    /// Returns the event that a text with these fields is; none if it is something else, or addressed to other peers.
    pub(crate) fn of(fields: &Fields<'a>) -> Option<Self> {
        if fields.get(Field::To).is_some() || fields.has_twice(MESSAGE) {
            return None;
        }
        // A name that is written with escapes is none.
        let event = fields.get(Field::Event)?.get().strip_prefix('"')?.strip_suffix('"')?;
        let name = NAMES.into_iter().find(|name| *name == event)?;
        Some(Self { name, data: fields.get(Field::Data).map_or("null", RawValue::get) })
    }
}

pub(crate) const OFFER: &str = "webrtc:offer";
pub(crate) const ANSWER: &str = "webrtc:answer";
pub(crate) const ICE: &str = "webrtc:ice";
pub(crate) const CLOSE: &str = "webrtc:close";
pub(crate) const SEND: &str = "webrtc:send";
pub(crate) const WISH: &str = "media:wish";

pub(crate) const PUBLISH: &str = "media:publish";
pub(crate) const MUTE: &str = "media:mute";

const NAMES: [&str; 8] = [OFFER, ANSWER, ICE, CLOSE, SEND, WISH, PUBLISH, MUTE];
