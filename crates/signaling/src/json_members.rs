//! Members of a JSON object that a client has sent, read one by one, so that an error names what is wrong.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error_text::unreadable;

/// Reads the members of an object, each as raw JSON.
pub(crate) fn fields<'a, T: Deserialize<'a>>(data: &'a str, expected: &str) -> Result<T, String> {
    if !data.starts_with('{') {
        return Err(format!("data must be {expected}, not {}", kind(data)));
    }
    // The members may be anything, so what is wrong is a duplicate or a name.
    serde_json::from_str(data).map_err(|error| match error.to_string().starts_with("duplicate") {
        true => "a member is given twice".to_owned(),
        false => format!("the name of a member is {}", unreadable(&error)),
    })
}

/// Reads a string; none if it is missing or null.
pub(crate) fn string(name: &str, value: Option<&RawValue>) -> Result<Option<String>, String> {
    let Some(value) = value.filter(|value| value.get() != "null") else { return Ok(None) };
    serde_json::from_str(value.get()).map(Some).map_err(|error| match kind(value.get()) {
        "a string" => format!("{name} is {}", unreadable(&error)),
        other => format!("{name} must be a string, not {other}"),
    })
}

/// Reads true or false; none if it is missing or null.
pub(crate) fn boolean(name: &str, value: Option<&RawValue>) -> Result<Option<bool>, String> {
    match value.map(RawValue::get) {
        None | Some("null") => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(format!("{name} must be a boolean, not {}", kind(other))),
    }
}

/// Returns the kind of a JSON value, in one word.
pub(crate) fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}
