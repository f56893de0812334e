//! Reason why an application rejects a peer, a request or a call.

use std::fmt;

use serde_json::{Value, json};

/// Reason why the application rejects a peer, a request or a call: of a room's `on_join`, a peer's `on_init` and
/// `parse_request`, and hooks. The client reads it, so it must hold nothing internal.
///
/// Anything that can be displayed becomes a rejection with that text as its code:
///
/// ```
/// use callboard_room_supervisor::Rejection;
/// use serde_json::json;
///
/// let full: Rejection = "room_is_full".into();
/// assert_eq!(full.to_json(), json!("room_is_full"));
///
/// let banned = Rejection::with_details("banned", json!({ "days": 3 }));
/// assert_eq!(banned.to_json(), json!({ "code": "banned", "details": { "days": 3 } }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// What is wrong, for programs: `room_is_full`, for example.
    pub code: String,
    /// More about it, any JSON; null if there is no more.
    pub details: Value,
}

impl Rejection {
    /// Creates a rejection without details.
    pub fn new(code: impl Into<String>) -> Self {
        Self::with_details(code, Value::Null)
    }

    /// Creates a rejection with details.
    pub fn with_details(code: impl Into<String>, details: impl Into<Value>) -> Self {
        Self { code: code.into(), details: details.into() }
    }

    /// Returns what the client gets: the code, or an object of `code` and `details` if there are any.
    pub fn to_json(&self) -> Value {
        match &self.details {
            Value::Null => Value::from(self.code.as_str()),
            details => json!({ "code": self.code, "details": details }),
        }
    }
}

impl Rejection {
    /// Returns it as text, for errors and logs.
    pub(crate) fn text(self) -> String {
        if self.details.is_null() { self.code } else { format!("{}: {}", self.code, self.details) }
    }
}

impl<T: fmt::Display> From<T> for Rejection {
    fn from(code: T) -> Self {
        Self::new(code.to_string())
    }
}
