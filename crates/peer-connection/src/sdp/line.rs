//! One line of a description, with its line end.

use std::fmt;

/// Line: its text, and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    text: Box<str>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    CrLf,
    Lf,
    /// No end, of a last line.
    Nothing,
}

impl Line {
    /// Creates a line of this side.
    pub(super) fn new(text: String) -> Self {
        // One line stays one line, whatever the text contains.
        let text = text.replace(['\r', '\n'], " ");
        Self { text: text.into(), end: End::CrLf }
    }

    pub(super) fn split(text: &str) -> impl Iterator<Item = Self> {
        text.split_inclusive('\n').map(|line| {
            let (text, end) = match line.strip_suffix('\n') {
                None => (line, End::Nothing),
                Some(line) => match line.strip_suffix('\r') {
                    Some(line) => (line, End::CrLf),
                    None => (line, End::Lf),
                },
            };
            Self { text: text.into(), end }
        })
    }

    pub(super) fn is_media(&self) -> bool {
        self.text.starts_with("m=")
    }

    /// Returns the text after `x=`.
    pub(super) fn value_of(&self, kind: char) -> Option<&str> {
        self.text.strip_prefix(kind)?.strip_prefix('=')
    }

    /// Returns name and value of `a=name` or `a=name:value`.
    pub(super) fn attribute(&self) -> Option<(&str, Option<&str>)> {
        let attribute = self.value_of('a')?;
        Some(match attribute.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (attribute, None),
        })
    }

    /// Replaces the text, and keeps the end.
    pub(super) fn set(&mut self, text: String) {
        self.text = Self::new(text).text;
    }

    /// Ends the line with CRLF (RFC 8866), without spaces before the end.
    pub(super) fn make_plain(&mut self) {
        self.end = End::CrLf;
        let text = self.text.trim_end();
        if text.len() < self.text.len() {
            self.text = text.into();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Returns whether it contains only characters that are allowed in a line.
    pub(super) fn is_plain(&self) -> bool {
        !self.text.contains(|one: char| one.is_control())
    }

    /// Gives a last line an end, so that another one can follow.
    pub(super) fn finish(&mut self) {
        if self.end == End::Nothing {
            self.end = End::CrLf;
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        f.write_str(match self.end {
            End::CrLf => "\r\n",
            End::Lf => "\n",
            End::Nothing => "",
        })
    }
}
