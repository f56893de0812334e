//! One line of a description, in the text of its section.

/// Line, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a>(&'a str);

impl<'a> Line<'a> {
    /// Splits a text into its lines, which end with CRLF or LF; the last one may have no end.
    pub(super) fn split(text: &'a str) -> impl Iterator<Item = Self> {
        text.split_inclusive('\n').map(|line| match line.strip_suffix('\n') {
            None => Self(line),
            Some(line) => Self(line.strip_suffix('\r').unwrap_or(line)),
        })
    }

    /// Returns the text without the line end.
    pub(super) fn text(self) -> &'a str {
        self.0
    }

    pub(super) fn is_media(self) -> bool {
        self.0.starts_with("m=")
    }

    /// Returns the text after `x=`.
    pub(super) fn value_of(self, kind: char) -> Option<&'a str> {
        self.0.strip_prefix(kind)?.strip_prefix('=')
    }

    /// Returns name and value of `a=name` or `a=name:value`.
    pub(super) fn attribute(self) -> Option<(&'a str, Option<&'a str>)> {
        let attribute = self.value_of('a')?;
        Some(match attribute.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (attribute, None),
        })
    }

    /// Returns the value of the attribute, if it has this name; empty for one without a value.
    pub(super) fn attribute_named(self, name: &str) -> Option<&'a str> {
        let rest = self.0.strip_prefix("a=")?.strip_prefix(name)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix(':') }
    }

    /// Returns whether it contains only characters that are allowed in a line.
    pub(super) fn is_plain(self) -> bool {
        if self.0.is_ascii() {
            return !self.0.bytes().any(|one| one.is_ascii_control());
        }
        !self.0.contains(|one: char| one.is_control())
    }
}
