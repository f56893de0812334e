//! Outline of a local description, beside its text: read once, when the description is created.

use super::check::Facts;
use crate::SessionDescription;
use crate::media::Direction;
use crate::sdp::{MediaKind, Sdp};

/// Local description with its outline.
#[derive(Clone, Debug)]
pub(super) struct Local {
    pub(super) description: SessionDescription,
    pub(super) outline: Outline,
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
