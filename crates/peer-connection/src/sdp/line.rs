//! One line of a description, with its end.

use std::fmt;

/// A line, without its end, and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    text: Box<str>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    CrLf,
    Lf,
    /// Of a last line.
    Nothing,
}

impl Line {
    /// A line of our own.
    pub(super) fn new(text: String) -> Self {
        // What is to be one line stays one, whatever it was made of.
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

    /// What stands behind `x=`.
    pub(super) fn value_of(&self, kind: char) -> Option<&str> {
        self.text.strip_prefix(kind)?.strip_prefix('=')
    }

    /// `a=name` or `a=name:value`.
    pub(super) fn attribute(&self) -> Option<(&str, Option<&str>)> {
        let attribute = self.value_of('a')?;
        Some(match attribute.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (attribute, None),
        })
    }

    /// Have another text and keep the end.
    pub(super) fn set(&mut self, text: String) {
        self.text = Self::new(text).text;
    }

    /// End as RFC 8866 has it, without spaces before the end.
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

    /// Whether there is nothing in it that does not belong into a line.
    pub(super) fn is_plain(&self) -> bool {
        !self.text.contains(|one: char| one.is_control())
    }

    /// Whatever follows begins on a line of its own.
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
