//! Signaling messages between peers and rooms.

use std::collections::HashSet;

use bytestring::ByteString;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::peer_id::PeerId;
use crate::reserved_events::is_reserved_event;

/// Signaling message: `{"event", "data", "from", "to"}` in JSON.
///
/// `data` is carried unchanged, and parsed only by receivers that need its content.
#[derive(Clone, Debug, Serialize)]
pub struct RoomMessage {
    /// Name of the event.
    pub event: String,
    /// Content, any JSON.
    pub data: Box<RawValue>,
    /// Sender; none if the server sent it.
    pub from: Option<PeerId>,
    /// Addressees. A message without addressees cannot be forwarded.
    pub to: Option<To>,
}

/// Addressees of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has no other addressees")]
pub enum To {
    /// These peers; in JSON a list of their ids. All or nothing: if one id is unknown, no peer gets the message.
    Peers(Vec<PeerId>),
    /// All members of the room except the sender; in JSON `"all"`.
    #[serde(serialize_with = "all")]
    All,
}

impl From<PeerId> for To {
    fn from(peer: PeerId) -> Self {
        Self::Peers(vec![peer])
    }
}

impl From<Vec<PeerId>> for To {
    fn from(peers: Vec<PeerId>) -> Self {
        Self::Peers(peers)
    }
}

fn all<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("all")
}

/// Limits of a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Deepest nesting of arrays and objects in `data`. Default: 64.
    pub depth: usize,
    /// Largest number of ids in `to`. Default: 1,024.
    pub addressees: usize,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self { depth: 64, addressees: 1024 }
    }
}

impl MessageLimits {
    /// Checks how deep arrays and objects nest in a client's text, whether it is JSON or not.
    ///
    /// # Errors
    /// [`ParseMessageError::TooDeep`]
    pub fn check_depth(&self, text: &str) -> Result<(), ParseMessageError> {
        // The message itself is a level of its own.
        let deepest = self.depth + 1;
        // Few texts have so many brackets, and to count them takes a fraction of the time.
        let is_flat = brackets(text) <= deepest || depth(text) <= deepest;
        if is_flat { Ok(()) } else { Err(ParseMessageError::TooDeep) }
    }
}

/// Members of a client's message, each as JSON that was not read any further. `null` counts as none.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct RawMessage<'a> {
    /// Name of the event.
    #[serde(borrow)]
    pub event: Option<&'a RawValue>,
    /// Content.
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
    /// Addressees.
    #[serde(borrow)]
    pub to: Option<&'a RawValue>,
}

/// Error: a client's text is no message. The error's text is sent to the client.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseMessageError {
    /// The text is not JSON, or not UTF-8.
    #[error("not JSON")]
    NotJson,
    /// The text is JSON, but no object.
    #[error("not an object")]
    NotAnObject,
    /// `event`, `data` or `to` is given twice, so the message is ambiguous.
    #[error("a field is given twice")]
    DuplicateField,
    /// The message nests deeper than [`MessageLimits::depth`].
    #[error("nested too deeply")]
    TooDeep,
    /// `event` is missing, or not a string.
    #[error("event must be a string")]
    Event,
    /// `event` is reserved for the server: see [`is_reserved_event`].
    #[error("reserved event")]
    ReservedEvent,
    /// `to` is missing, or neither `"all"` nor a list.
    #[error("to must be \"all\" or a list of peer ids")]
    To,
    /// `to` lists something that is no peer id: a UUID, as in `authenticated` and `joined`.
    #[error("to lists what is no peer id: {given}, at index {index}")]
    PeerId {
        /// Its place in the list, from 0.
        index: usize,
        /// The start of its JSON.
        given: String,
    },
    /// `to` is an empty list.
    #[error("to is empty")]
    Nobody,
    /// `to` lists more than [`MessageLimits::addressees`].
    #[error("to lists too many peers")]
    TooManyAddressees,
    /// `to` lists a peer twice.
    #[error("to lists a peer twice")]
    DuplicateAddressee,
}

impl RoomMessage {
    /// Creates a message from the server.
    ///
    /// # Errors
    /// If `data` cannot be written as JSON (a map with keys that are no strings, say).
    pub fn new(
        event: impl Into<String>,
        data: &(impl Serialize + ?Sized),
    ) -> Result<Self, serde_json::Error> {
        let data = serde_json::value::to_raw_value(data)?;
        Ok(Self { event: event.into(), data, from: None, to: None })
    }

    /// Sets the addressees.
    pub fn to(self, to: To) -> Self {
        Self { to: Some(to), ..self }
    }

    /// Parses a client's text. Fields other than `event`, `data` and `to` are dropped; so is `from`, which only the
    /// server sets.
    ///
    /// # Errors
    /// [`ParseMessageError`]
    pub fn parse(text: &str, limits: &MessageLimits) -> Result<Self, ParseMessageError> {
        limits.check_depth(text)?;
        // Checked first, because serde accepts an array with three elements as the fields in their order.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(match serde_json::from_str::<IgnoredAny>(text) {
                Ok(_) => ParseMessageError::NotAnObject,
                Err(_) => ParseMessageError::NotJson,
            });
        }
        let raw = serde_json::from_str(text).map_err(|error| match error.classify() {
            // The members of an object are not checked any further here.
            serde_json::error::Category::Data => ParseMessageError::DuplicateField,
            _ => ParseMessageError::NotJson,
        })?;
        Self::from_raw(raw, limits)
    }

    /// Reads the members of a client's message, for code that has found them in its text. That code checks
    /// [its depth](MessageLimits::check_depth), and that no member was given twice.
    ///
    /// # Errors
    /// [`ParseMessageError`]
    pub fn from_raw(
        RawMessage { event, data, to }: RawMessage<'_>,
        limits: &MessageLimits,
    ) -> Result<Self, ParseMessageError> {
        let event: String = event
            .and_then(|event| serde_json::from_str(event.get()).ok())
            .ok_or(ParseMessageError::Event)?;
        if is_reserved_event(&event) {
            return Err(ParseMessageError::ReservedEvent);
        }
        let to = addressees(to.ok_or(ParseMessageError::To)?, limits)?;
        let data = data.map_or_else(|| RawValue::NULL.to_owned(), RawValue::to_owned);
        Ok(Self { event, data, from: None, to: Some(to) })
    }

    /// Encodes the message as JSON, once for all addressees.
    pub fn encode(&self) -> ByteString {
        // To the byte, unless the event has to be escaped: a text that grows is copied again and again.
        let mut json = Vec::with_capacity(self.size());
        // Strings, ids and JSON that has been parsed: all of them can be written.
        _ = serde_json::to_writer(&mut json, self);
        ByteString::try_from(json).unwrap_or_default()
    }

    /// Returns the size of the message as JSON, if nothing in it has to be escaped.
    fn size(&self) -> usize {
        let from = self.from.map_or("null".len(), |_| PeerId::JSON);
        let to = match &self.to {
            None => "null".len(),
            Some(To::All) => "\"all\"".len(),
            Some(To::Peers(peers)) => 1 + peers.len() * (PeerId::JSON + 1),
        };
        FIELDS.len() + self.event.len() + self.data.get().len() + from + to
    }
}

fn addressees(to: &RawValue, limits: &MessageLimits) -> Result<To, ParseMessageError> {
    if to.get() == "\"all\"" {
        return Ok(To::All);
    }
    if let Some(peer) = only_one(to.get()) {
        return Ok(peer.into());
    }
    // Counted before it is parsed, so that a long list costs nothing.
    let listed =
        serde_json::from_str::<Vec<IgnoredAny>>(to.get()).map_err(|_| ParseMessageError::To)?.len();
    match listed {
        0 => return Err(ParseMessageError::Nobody),
        listed if listed > limits.addressees => return Err(ParseMessageError::TooManyAddressees),
        _ => {}
    }
    let peers: Vec<PeerId> = serde_json::from_str(to.get()).map_err(|_| no_peer_id(to))?;
    let mut seen = HashSet::with_capacity(peers.len());
    if peers.iter().all(|peer| seen.insert(*peer)) {
        Ok(To::Peers(peers))
    } else {
        Err(ParseMessageError::DuplicateAddressee)
    }
}

/// Returns the peer of a list of one, as most lists are, unless it is written in an unusual way.
fn only_one(list: &str) -> Option<PeerId> {
    let id = list.strip_prefix("[\"")?.strip_suffix("\"]")?;
    (id.len() + 2 == PeerId::JSON).then(|| id.parse().ok())?
}

/// Returns which element of a list is no peer id.
fn no_peer_id(to: &RawValue) -> ParseMessageError {
    let list: Vec<&RawValue> = serde_json::from_str(to.get()).unwrap_or_default();
    let is_wrong = |one: &&RawValue| serde_json::from_str::<PeerId>(one.get()).is_err();
    match list.iter().position(is_wrong) {
        Some(index) => {
            let given = list[index].get().chars().take(LONGEST_GIVEN).collect();
            ParseMessageError::PeerId { index, given }
        }
        None => ParseMessageError::To,
    }
}

/// Returns how many arrays and objects a text begins at most.
fn brackets(text: &str) -> usize {
    // In pieces whose number fits into a byte, so that the compiler makes it a few instructions for many bytes.
    let count = |piece: &[u8]| {
        let brackets = piece.iter().map(|byte| u8::from(matches!(byte, b'[' | b'{')));
        usize::from(brackets.sum::<u8>())
    };
    text.as_bytes().chunks(usize::from(u8::MAX)).map(count).sum()
}

/// Returns how deep arrays and objects nest, without building any.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => _ = bytes.next(),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

/// JSON of a message, without what is in its fields.
const FIELDS: &str = r#"{"event":"","data":,"from":,"to":}"#;
/// Length limit of what an error repeats of an addressee, in characters: a peer id has 36.
const LONGEST_GIVEN: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RoomMessage, ParseMessageError> {
        RoomMessage::parse(text, &MessageLimits::default())
    }

    #[test]
    fn a_message_keeps_its_data_as_it_came_and_loses_unknown_fields() {
        let message =
            parse(r#"{"event":"offer","data":{"a": 1.50},"to":"all","from":"me","x":[1]}"#)
                .unwrap();

        assert_eq!(message.data.get(), r#"{"a": 1.50}"#);
        assert_eq!(
            message.encode(),
            r#"{"event":"offer","data":{"a": 1.50},"from":null,"to":"all"}"#
        );
    }

    #[test]
    fn data_may_be_missing_and_events_may_be_escaped() {
        let message = parse(r#"{"event":"a\"b","to":"all"}"#).unwrap();

        assert_eq!((message.event.as_str(), message.data.get()), ("a\"b", "null"));
    }

    #[test]
    fn what_is_no_message_is_refused_with_a_reason() {
        let id = PeerId::random();
        let no_id =
            |index, given: &str| ParseMessageError::PeerId { index, given: given.to_owned() };
        for (text, why) in [
            ("hello", ParseMessageError::NotJson),
            ("{\"event\":", ParseMessageError::NotJson),
            ("[1]", ParseMessageError::NotAnObject),
            ("7", ParseMessageError::NotAnObject),
            (r#" ["a",{"x":1},"all"]"#, ParseMessageError::NotAnObject),
            (r#"{"to":"all"}"#, ParseMessageError::Event),
            (r#"{"event":1,"to":"all"}"#, ParseMessageError::Event),
            (r#"{"event":null,"to":"all"}"#, ParseMessageError::Event),
            (r#"{"event":"joined","to":"all"}"#, ParseMessageError::ReservedEvent),
            (r#"{"event":"\u006aoined","to":"all"}"#, ParseMessageError::ReservedEvent),
            (r#"{"event":"left"}"#, ParseMessageError::ReservedEvent),
            (r#"{"to":"all","event":"webrtc:nothing"}"#, ParseMessageError::ReservedEvent),
            (r#"{"event":"a","event":"b","to":"all"}"#, ParseMessageError::DuplicateField),
            (r#"{"event":"a","to":"all","to":["x"]}"#, ParseMessageError::DuplicateField),
            (r#"{"event":"a"}"#, ParseMessageError::To),
            (r#"{"event":"a","to":null}"#, ParseMessageError::To),
            (r#"{"event":"a","to":"everyone"}"#, ParseMessageError::To),
            (r#"{"event":"a","to":{"x":1}}"#, ParseMessageError::To),
            (r#"{"event":"a","to":["x"]}"#, no_id(0, "\"x\"")),
            (&format!(r#"{{"event":"a","to":["{id}",1]}}"#), no_id(1, "1")),
            (
                &format!(r#"{{"event":"a","to":["{}"]}}"#, "é".repeat(1_000)),
                no_id(0, &format!("\"{}", "é".repeat(47))),
            ),
            (r#"{"event":"a","to":[]}"#, ParseMessageError::Nobody),
            (
                &format!(r#"{{"event":"a","to":["{id}","{id}"]}}"#),
                ParseMessageError::DuplicateAddressee,
            ),
            (
                &format!(r#"{{"event":"a","to":[{}1]}}"#, "1,".repeat(100_000)),
                ParseMessageError::TooManyAddressees,
            ),
            (
                &format!(r#"{{"event":"a","data":{}"#, "[".repeat(10_000)),
                ParseMessageError::TooDeep,
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), why, "{}", &text[..text.len().min(80)]);
        }
    }

    #[test]
    fn a_message_is_encoded_without_a_copy() {
        let peers: Vec<_> = (0..3).map(|_| PeerId::random()).collect();
        for (from, to) in [
            (None, None),
            (Some(peers[0]), Some(To::All)),
            (Some(peers[0]), Some(peers[1].into())),
            (None, Some(To::Peers(peers))),
        ] {
            let message = RoomMessage { from, to, ..RoomMessage::new("chat", &[1.5]).unwrap() };

            assert_eq!(message.encode(), serde_json::to_string(&message).unwrap());
            assert_eq!(message.size(), message.encode().len());
        }
        let escaped = RoomMessage::new("\"\u{7}", &()).unwrap();
        assert_eq!(escaped.encode(), serde_json::to_string(&escaped).unwrap());
    }

    #[test]
    fn a_list_of_one_is_read_like_others() {
        let id = PeerId::random();
        let to = |list: &str| {
            parse(&format!(r#"{{"event":"a","to":{list}}}"#)).map(|message| message.to.unwrap())
        };
        let plain = format!("[\"{id}\"]");
        let escaped = plain.replacen('-', "\\u002d", 1);
        for list in [&plain, &escaped, &plain.to_uppercase(), &format!("[ \"{id}\" ]")] {
            assert_eq!(to(list), Ok(id.into()), "{list}");
        }
        for list in [plain.replacen('-', "x", 1), plain.replacen('-', "\\", 1)] {
            assert!(to(&list).is_err(), "{list}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_text_has_at_least_as_many_brackets_as_levels(text in r#"[\[{\]}"\\a]{0,400}"#) {
            let counted = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();

            assert_eq!(brackets(&text), counted);
            assert!(depth(&text) <= counted);
        }
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        let text = format!(r#"{{"event":"a","data":"{}\"[","to":"all"}}"#, "[".repeat(1000));

        assert!(parse(&text).is_ok());
    }
}
