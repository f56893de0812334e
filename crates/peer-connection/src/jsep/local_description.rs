//! Local descriptions: kept as they were created, in lines, with their outline, and never parsed again.

use std::sync::Arc;

use super::checked::Facts;
use crate::error::SetDescriptionError;
use crate::media::Direction;
use crate::sdp::{MediaKind, Sdp};
use crate::{SdpType, SessionDescription};

/// Local description that was created. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Described {
    /// Its lines; other than as created only where the application has added candidates.
    pub(super) sdp: Arc<Sdp>,
    pub(super) outline: Arc<Outline>,
}

impl Described {
    /// Reads the outline. `name` returns the mid of a section that the text gives none.
    pub(super) fn new(mut sdp: Sdp, name: impl Fn(usize) -> Option<String>) -> Self {
        sdp.shrink();
        let outline = Arc::new(Outline::of(&sdp, name));
        Self { sdp: Arc::new(sdp), outline }
    }

    /// Takes the text that the application sets: nothing, for this one as it was created, or the same with candidates
    /// added or other line ends.
    ///
    /// # Errors
    /// [`SetDescriptionError::InvalidModification`]
    pub(super) fn given(mut self, text: &str) -> Result<Self, SetDescriptionError> {
        if text.is_empty() || self.sdp.is_written(text) {
            return Ok(self);
        }
        same_lines(&self.sdp, text)?;
        let mut sdp = Sdp::parse(text);
        sdp.shrink();
        self.sdp = Arc::new(sdp);
        Ok(self)
    }
}

/// Checks that a text has the lines of a description; candidates and line ends may differ.
fn same_lines(created: &Sdp, given: &str) -> Result<(), SetDescriptionError> {
    fn relevant<'a>(
        lines: impl Iterator<Item = &'a str>,
    ) -> impl Iterator<Item = (usize, &'a str)> {
        let is_candidate = |line: &str| {
            line.starts_with("a=candidate:") || line.starts_with("a=end-of-candidates")
        };
        lines.enumerate().filter(move |(_, line)| !is_candidate(line))
    }
    let (mut expected, mut found) = (relevant(created.line_texts()), relevant(given.lines()));
    loop {
        match (expected.next(), found.next()) {
            (None, None) => return Ok(()),
            (Some((_, one)), Some((_, other))) if one == other => {}
            (expected, found) => {
                return Err(SetDescriptionError::InvalidModification {
                    line: found.or(expected).map_or(0, |(at, _)| at + 1),
                    expected: expected.map_or_else(String::new, |(_, line)| line.to_owned()),
                    found: found.map_or_else(String::new, |(_, line)| line.to_owned()),
                });
            }
        }
    }
}

/// Local description that is set.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(super) kind: SdpType,
    pub(super) described: Described,
}

impl Local {
    /// Returns the description as it travels in signaling.
    pub(crate) fn description(&self) -> SessionDescription {
        SessionDescription { kind: self.kind, sdp: self.described.sdp.to_string() }
    }

    /// Returns the description with other lines: some were added.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Sdp)) -> SessionDescription {
        let mut sdp = Sdp::clone(&self.described.sdp);
        change(&mut sdp);
        SessionDescription { kind: self.kind, sdp: sdp.to_string() }
    }

    pub(super) fn outline(&self) -> &Outline {
        &self.described.outline
    }
}

/// Contents of a local description.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outline {
    pub(super) sections: Box<[Part]>,
    /// User fragment of this side; none where no section is accepted.
    pub(super) ufrag: Option<Box<str>>,
}

/// Section of a local description.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Its mid, also where the text leaves it out because the offer has none.
    pub(super) mid: Option<Box<str>>,
    pub(super) kind: MediaKind,
    pub(super) is_data: bool,
    pub(super) is_rejected: bool,
    pub(super) direction: Direction,
    /// Id of the stream, as the peer sees it.
    pub(super) stream: Option<Box<str>>,
}

impl Outline {
    /// Reads the outline. `name` returns the mid of a section without one.
    pub(super) fn of(sdp: &Sdp, name: impl Fn(usize) -> Option<String>) -> Self {
        let facts = Facts::of(sdp);
        let part = |(at, section): (usize, &crate::sdp::Section)| Part {
            mid: section.mid().map(str::to_owned).or_else(|| name(at)).map(String::into_boxed_str),
            kind: section.kind(),
            is_data: section.is_data(),
            is_rejected: facts[at].rejected,
            direction: Direction::of_sdp(section.direction()),
            stream: section
                .attribute("msid")
                .map(|msid| msid.split_ascii_whitespace().next().unwrap_or_default().into()),
        };
        let ufrag = sdp.media().iter().find_map(|section| sdp.attribute(section, "ice-ufrag"));
        Self {
            sections: sdp.media().iter().enumerate().map(part).collect(),
            ufrag: ufrag.map(Into::into),
        }
    }

    pub(super) fn by_mid(&self, mid: &str) -> Option<&Part> {
        self.sections.iter().find(|part| part.mid.as_deref() == Some(mid))
    }

    pub(super) fn has_data(&self) -> bool {
        self.sections.iter().any(|part| part.is_data && !part.is_rejected)
    }
}
