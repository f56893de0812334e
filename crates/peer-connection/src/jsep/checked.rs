//! Remote descriptions that were checked: what the rest of the machine knows of them.

use std::collections::HashSet;
use std::sync::Arc;

use callboard_ice_handshake::handshake::Fingerprint;

use super::chosen::Chosen;
use super::formats;
use crate::sdp::{Sdp, Section};

/// Remote description that was checked.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// Description without blanks at the ends of lines and without empty BUNDLE groups, with a mid in every section
    /// that may be accepted.
    pub(crate) sdp: Sdp,
    /// Transport of the peer; none in a description without media.
    pub(crate) transport: Option<Arc<RemoteTransport>>,
    pub(super) facts: Box<[Facts]>,
    /// Places of header extensions in the engine, from the first round on; none if the engine's own places will do.
    pub(super) extensions: Option<Arc<Extensions>>,
    /// Header extensions that may be agreed on.
    pub(super) chosen: Chosen,
}

/// Facts about a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Whether it can be accepted: it is of a known kind, on the one transport.
    pub(super) usable: bool,
    /// Whether it was rejected: port 0, without the `a=bundle-only` of a section that uses another's transport.
    pub(super) rejected: bool,
    /// Whether the peer has given it no mid.
    pub(super) unnamed: bool,
}

impl Checked {
    /// Returns the section of the transport: the first of the BUNDLE group (RFC 9143 §7.2), or the only one.
    pub(crate) fn transport_section(&self) -> Option<&Section> {
        transport_section(&self.sdp, &self.facts)
    }

    /// Returns whether the peer identifies the section at this place by its number alone.
    pub(crate) fn is_unnamed(&self, at: usize) -> bool {
        self.facts.get(at).is_some_and(|facts| facts.unnamed)
    }
}

impl Facts {
    /// Returns the facts of each section of a description.
    pub(super) fn of(sdp: &Sdp) -> Box<[Self]> {
        let bundle: Option<HashSet<&str>> = sdp.bundle().map(|mids| mids.into_iter().collect());
        let first_data = sdp.media().iter().position(Section::is_data);
        let mut transport_taken = false;
        let facts = sdp.media().iter().enumerate().map(|(at, section)| {
            let bundled = match (&bundle, section.mid()) {
                (Some(bundle), Some(mid)) => bundle.contains(mid),
                _ => false,
            };
            // Port 0 without `a=bundle-only` is a rejection in a group as well (RFC 3264 §6, RFC 9143 §7.2).
            let bundle_only = bundled && section.has("bundle-only");
            let rejected = section.port() == Some(0) && !bundle_only;
            let known = if section.is_rtp() {
                formats::formats(section).iter().any(formats::Format::is_readable)
            } else {
                first_data == Some(at)
            };
            // Without BUNDLE each section has a transport of its own, and this side has one: the others are rejected,
            // as in RFC 8829 §5.3.1.
            let together = bundle.is_none() && !transport_taken || bundled;
            let usable = known && together && !rejected;
            transport_taken |= usable;
            Self { usable, rejected, unnamed: false }
        });
        facts.collect()
    }
}

/// Places that the engine must give header extensions before it sees a description: afterwards it cannot move them, and
/// by itself it has each under one id only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extensions {
    /// Extensions by id.
    pub(crate) ids: Vec<(u8, &'static str)>,
    /// Whether the engine has another name for some section's mid.
    pub(crate) renames: bool,
}

/// The one transport, as a description has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteTransport {
    pub(crate) ufrag: String,
    pub(crate) password: String,
    pub(crate) fingerprints: Vec<Fingerprint>,
    pub(crate) setup: Option<String>,
    pub(crate) lite: bool,
}

/// Returns the section of the transport.
pub(super) fn transport_section<'a>(sdp: &'a Sdp, facts: &[Facts]) -> Option<&'a Section> {
    let usable = || {
        let sections = sdp.media().iter().zip(facts);
        sections.filter(|(_, facts)| facts.usable).map(|(section, _)| section)
    };
    let bundle = sdp.bundle();
    let tag = bundle.as_ref().and_then(|bundle| bundle.first());
    // Some peers give the credentials in one section only.
    let speaks = |section: &&Section| sdp.attribute(section, "ice-ufrag").is_some();
    let tagged = usable().find(|section| section.mid() == tag.copied());
    tagged.filter(speaks).or_else(|| usable().find(speaks)).or_else(|| usable().next())
}
