//! Text of a client, read once: a message to others, an event for the client's server peer, a frame of RPC, or none of
//! them.
//!
//! `event` and `to` decide before `type`: a text that can be forwarded is a message, also if it has other fields.

use callboard_room_supervisor::{MessageLimits, ParseMessageError, RawMessage, RoomMessage};

use crate::control_event::ControlEvent;
use crate::fields::{Field, Fields, MESSAGE, NoObject};
#[cfg(feature = "rpc")]
use crate::rpc::{Frame, Unread};

/// A text of a client over its WebSocket.
#[derive(Debug)]
pub(crate) enum ClientText<'a> {
    /// A message to other peers.
    Message(RoomMessage),
    /// An event for the client's server peer.
    Control(ControlEvent<'a>),
    /// A frame of RPC, or what was meant as one.
    #[cfg(feature = "rpc")]
    Rpc(RpcText<'a>),
    /// None of these, and why it is no message.
    Malformed(ParseMessageError),
    /// Larger than a message to other peers may be, and nothing that may be larger.
    TooLarge,
}

/// A text that is for the call table.
#[cfg(feature = "rpc")]
#[derive(Debug)]
pub(crate) enum RpcText<'a> {
    /// A frame, and the size of its text in bytes.
    Frame(Frame<'a>, usize),
    /// A frame that is larger than a message to other peers may be.
    Large(Frame<'a>),
    /// Not a frame, though it was meant as one.
    Malformed,
}

impl<'a> ClientText<'a> {
    /// Reads a text. A message in it may have at most `max_message` bytes.
    pub(crate) fn parse(text: &'a str, limits: &MessageLimits, max_message: usize) -> Self {
        let depth = limits.check_depth(text);
        if let Err(error) = depth.clone()
            && !is_meant_for_server(text)
        {
            // Reading it takes memory for each level. What is for the server itself may nest as deeply as it likes.
            return if text.len() > max_message { Self::TooLarge } else { Self::Malformed(error) };
        }
        let mut fields = Fields::default();
        let object = fields.read(text);
        let control = ControlEvent::of(&fields).filter(|_| object.is_ok());
        if let Some(event) = control {
            return Self::Control(event);
        }
        if text.len() > max_message {
            #[cfg(feature = "rpc")]
            if object.is_ok()
                && let Ok(frame) = Frame::of(&fields)
            {
                return Self::Rpc(RpcText::Large(frame));
            }
            return Self::TooLarge;
        }
        let error = match depth.and_then(|()| message(object, &fields, limits)) {
            Ok(message) => return Self::Message(message),
            Err(error) => error,
        };
        #[cfg(feature = "rpc")]
        match object.map_err(Unread::from).and_then(|()| Frame::of(&fields)) {
            Ok(frame) => return Self::Rpc(RpcText::Frame(frame, text.len())),
            Err(Unread::Malformed) if is_meant_as_frame(text) => {
                return Self::Rpc(RpcText::Malformed);
            }
            Err(_) => {}
        }
        Self::Malformed(error)
    }
}

/// Returns the message to other peers that a text with these fields is.
fn message(
    object: Result<(), NoObject>,
    fields: &Fields<'_>,
    limits: &MessageLimits,
) -> Result<RoomMessage, ParseMessageError> {
    if fields.has_twice(MESSAGE) {
        return Err(ParseMessageError::DuplicateField);
    }
    object?;
    let (event, data) = (fields.get(Field::Event), fields.get(Field::Data));
    RoomMessage::from_raw(RawMessage { event, data, to: fields.get(Field::To) }, limits)
}

/// Returns whether a text has the words of one that is for the server itself.
fn is_meant_for_server(text: &str) -> bool {
    #[cfg(feature = "rpc")]
    if names_frame(text) {
        return true;
    }
    text.contains("\"webrtc:")
}

/// Returns whether a text that is no frame of RPC has the words of one.
#[cfg(feature = "rpc")]
fn is_meant_as_frame(text: &str) -> bool {
    text.contains("\"type\"") && names_frame(text)
}

#[cfg(feature = "rpc")]
fn names_frame(text: &str) -> bool {
    text.contains("_hook\"") || text.contains("\"hook_")
}

impl From<NoObject> for ParseMessageError {
    fn from(error: NoObject) -> Self {
        match error {
            NoObject::NotJson => Self::NotJson,
            NoObject::JsonOfAnotherKind => Self::NotAnObject,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ClientText<'_> {
        ClientText::parse(text, &MessageLimits::default(), 200)
    }

    #[test]
    fn a_text_that_can_be_forwarded_is_a_message_also_with_more_members() {
        let text = r#"{"type":"call_hook","to":"all","data":{"a": 1.50},"event":"chat","fn":7}"#;
        let ClientText::Message(message) = parse(text) else { panic!("no message") };

        assert_eq!((&*message.event, message.data.get()), ("chat", r#"{"a": 1.50}"#));
    }

    #[test]
    fn an_event_for_the_server_has_no_addressees() {
        let ClientText::Control(event) = parse(r#"{"data":[1],"event":"webrtc:ice","to":null}"#)
        else {
            panic!("no event")
        };
        assert_eq!((event.name, event.data), ("webrtc:ice", "[1]"));
        let addressed = parse(r#"{"event":"webrtc:ice","to":"all"}"#);
        assert!(matches!(addressed, ClientText::Malformed(ParseMessageError::ReservedEvent)));
    }

    #[test]
    fn what_is_larger_than_a_message_may_only_be_for_the_server() {
        let fill = "x".repeat(200);
        for (text, is_control) in [
            (format!(r#"{{"event":"chat","data":"{fill}","to":"all"}}"#), false),
            (format!(r#"{{"event":"webrtc:close","data":"{fill}"}}"#), true),
            (format!(r#"{{"event":"webrtc:close","data":"{fill}""#), false),
        ] {
            let read = parse(&text);
            assert_eq!(matches!(read, ClientText::Control(_)), is_control, "{text}");
            assert_eq!(matches!(read, ClientText::TooLarge), !is_control, "{text}");
        }
    }

    #[cfg(feature = "rpc")]
    #[test]
    fn a_frame_is_one_by_its_type_also_if_that_is_escaped() {
        for kind in ["call_hook", r"call_h\u006fok", r"\u0063all_hook"] {
            let text = format!(r#"{{"type":"{kind}","plugin":"a","fn":"b"}}"#);
            let ClientText::Rpc(RpcText::Frame(Frame::Call(_), bytes)) = parse(&text) else {
                panic!("{text}")
            };
            assert_eq!(bytes, text.len());
        }
        let cut = parse(r#"{"type":"call_hook","#);
        assert!(matches!(cut, ClientText::Rpc(RpcText::Malformed)));
        let large = format!(r#"{{"type":"cancel_hook","id":1,"x":"{}"}}"#, "x".repeat(200));
        assert!(matches!(parse(&large), ClientText::Rpc(RpcText::Large(Frame::Cancel(_)))));
    }

    #[cfg(not(feature = "rpc"))]
    #[test]
    fn without_rpc_a_frame_is_a_message_without_an_event() {
        for (text, why) in [
            (r#"{"type":"call_hook","plugin":"a","fn":"b"}"#, ParseMessageError::Event),
            (r#"{"type":"call_hook","#, ParseMessageError::NotJson),
        ] {
            let ClientText::Malformed(error) = parse(text) else { panic!("{text}") };
            assert_eq!(error, why);
        }
    }
}
