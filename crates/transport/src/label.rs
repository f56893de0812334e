//! Names of connections in the log.

use std::fmt;
use std::sync::Arc;

/// Name of a connection in the log: the lines of its owner, its transport and its handshake begin with the same name.
///
/// ```
/// use callboard_transport::Label;
///
/// assert_eq!(format!("{}the relay is lost", Label::new(7)), "7: the relay is lost");
/// assert_eq!(format!("{}the relay is lost", Label::default()), "the relay is lost");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Label(Option<Arc<str>>);

impl Label {
    /// Creates a label from a connection's id, or any other text. Without a text (the default), log lines have no
    /// prefix.
    pub fn new(text: impl fmt::Display) -> Self {
        Self(Some(format!("{text}: ").into()))
    }
}

/// Writes the prefix of a log line: the text and a colon, or nothing.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or_default())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Label({:?})", self.0.as_deref().unwrap_or_default().trim_end_matches(": "))
    }
}
