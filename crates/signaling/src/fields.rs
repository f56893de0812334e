//! Fields of a client's text, read in one pass: a text of any kind is one JSON object.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Reason why a text has no fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoObject {
    /// It is not JSON.
    NotJson,
    /// It is JSON, but no object.
    JsonOfAnotherKind,
}

/// Fields of an object that say what it is, each as JSON that was not read any further.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a> {
    /// By [`Field`]; none also for `null`.
    values: [Option<&'a RawValue>; FIELDS],
    /// Fields that were given, one bit each.
    given: u16,
    /// Fields that were given more than once, one bit each.
    twice: u16,
}

/// Name of a field.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
pub(crate) enum Field {
    Event,
    Data,
    To,
    #[cfg(feature = "rpc")]
    Type,
    #[cfg(feature = "rpc")]
    Id,
    #[cfg(feature = "rpc")]
    Plugin,
    #[cfg(feature = "rpc")]
    Fn,
    #[cfg(feature = "rpc")]
    Args,
    #[cfg(feature = "rpc")]
    Error,
    #[serde(other)]
    Other,
}

impl<'a> Fields<'a> {
    /// Reads the fields of an object. After an error they are those before it.
    pub(crate) fn read(&mut self, text: &'a str) -> Result<(), NoObject> {
        // An array would be read as something else.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(match serde_json::from_str::<IgnoredAny>(text) {
                Ok(_) => NoObject::JsonOfAnotherKind,
                Err(_) => NoObject::NotJson,
            });
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let read = json.deserialize_map(&mut *self).and_then(|()| json.end());
        read.map_err(|_| NoObject::NotJson)
    }

    pub(crate) fn get(&self, field: Field) -> Option<&'a RawValue> {
        self.values[field as usize]
    }

    /// Returns whether one of these fields was given more than once.
    pub(crate) fn has_twice(&self, fields: u16) -> bool {
        self.twice & fields != 0
    }
}

impl Field {
    pub(crate) const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl<'de> Visitor<'de> for &mut Fields<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key::<Field>()? {
            if matches!(field, Field::Other) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            self.twice |= self.given & field.bit();
            self.given |= field.bit();
            self.values[field as usize] = map.next_value()?;
        }
        Ok(())
    }
}

/// Number of fields whose values are kept.
const FIELDS: usize = Field::Other as usize;
/// Fields of a message.
pub(crate) const MESSAGE: u16 = Field::Event.bit() | Field::Data.bit() | Field::To.bit();
/// Fields of a frame of RPC.
#[cfg(feature = "rpc")]
pub(crate) const FRAME: u16 = {
    let call = Field::Plugin.bit() | Field::Fn.bit() | Field::Args.bit();
    Field::Type.bit() | Field::Id.bit() | Field::Data.bit() | Field::Error.bit() | call
};
