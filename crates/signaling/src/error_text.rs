//! Texts of clients in errors.

/// Returns why syntactically valid JSON cannot be read.
#[cfg(any(feature = "rpc", feature = "webrtc"))]
pub(crate) fn unreadable(error: &serde_json::Error) -> &'static str {
    let words = error.to_string();
    if words.starts_with("number out of range") {
        "not a number that can be represented"
    } else if words.starts_with("recursion limit") {
        "nested too deeply to be read"
    } else {
        // The only remaining cause: half of a surrogate pair.
        "not valid Unicode"
    }
}

/// Returns the start of a text, at most this many bytes: as much of a client's text as fits into an error.
pub(crate) fn shorten(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or_default()]
}

/// Length limit of a name from a client in an error, in bytes.
#[cfg(any(feature = "rpc", feature = "webrtc"))]
pub(crate) const LONGEST_NAME: usize = 64;
