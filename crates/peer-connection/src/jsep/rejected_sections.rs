//! Sections of an offer that its answer rejects, with reasons.

use std::fmt;

use super::checked::Checked;
use super::formats;
use crate::sdp::{MediaKind, Section};

/// Result of the last answer for the sections of its offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnsweredSections {
    /// Number of sections that were accepted.
    pub taken: usize,
    /// Sections that were offered and not accepted. Those that the peer itself has rejected are left out.
    pub rejected: Vec<RejectedSection>,
}

/// Section that was offered and not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedSection {
    /// Number of the section, from 0.
    pub section: usize,
    /// Media of its `m=` line: `audio`.
    pub media: String,
    /// Reason of the rejection.
    pub reason: RejectionReason,
}

/// Reason why a section was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectionReason {
    /// The section is neither audio, nor video, nor data channels.
    Media,
    /// Its transport profile is none of RFC 8829 §5.1.2.
    Profile(String),
    /// The section has a transport of its own, and all sections must share one (`max-bundle`).
    NotBundled,
    /// The section is a second one of data channels.
    SecondData,
    /// This side knows none of its codecs, which are listed.
    NoCodec(Vec<String>),
    /// Its `m=` line names no payload type, or no format of data channels.
    NoFormat,
    /// Its format over SCTP is not that of data channels (RFC 8841 §4.4).
    Format(String),
    /// Its payload types are not numbers of 7 bits (RFC 3550 §5.1): their names, and their codecs.
    PayloadType(Vec<(String, String)>),
    /// This side has stopped its transceiver.
    Stopped,
}

impl AnsweredSections {
    /// Returns whether sections were offered, and none was accepted.
    pub fn is_nothing(&self) -> bool {
        self.taken == 0 && !self.rejected.is_empty()
    }

    pub(super) fn reject(&mut self, remote: &Checked, at: usize, stopped: bool) {
        let section = &remote.sdp.media()[at];
        if remote.facts[at].rejected {
            return;
        }
        self.rejected.push(RejectedSection {
            section: at,
            media: cut(section.media()),
            reason: reason(remote, at, section, stopped),
        });
    }
}

fn reason(remote: &Checked, at: usize, section: &Section, stopped: bool) -> RejectionReason {
    let media = matches!(section.kind(), MediaKind::Audio | MediaKind::Video);
    let known = section.is_rtp() || section.is_data();
    if !media && section.kind() != MediaKind::Application {
        RejectionReason::Media
    } else if !known && section.is_over_sctp() {
        match section.formats().next() {
            Some(format) => RejectionReason::Format(cut(format)),
            None => RejectionReason::NoFormat,
        }
    } else if !known {
        RejectionReason::Profile(cut(section.protocol()))
    } else if stopped {
        RejectionReason::Stopped
    } else if section.is_data() && remote.sdp.media()[..at].iter().any(Section::is_data) {
        RejectionReason::SecondData
    } else if remote.facts[at].usable
        || !formats::formats(section).iter().any(formats::Format::is_readable)
    {
        no_codec(&formats::formats(section))
    } else {
        RejectionReason::NotBundled
    }
}

/// Returns why none of these formats is accepted.
fn no_codec(formats: &[formats::Format<'_>]) -> RejectionReason {
    if formats.is_empty() {
        return RejectionReason::NoFormat;
    }
    let misnumbered = formats.iter().filter(|one| !one.codec.is_empty() && !one.has_number());
    let misnumbered: Vec<_> =
        misnumbered.take(MOST_CODECS).map(|one| (cut(one.name), cut(one.codec))).collect();
    if !misnumbered.is_empty() {
        return RejectionReason::PayloadType(misnumbered);
    }
    let name = |one: &formats::Format<'_>| match one.codec {
        "" if one.is_known() => cut(one.name),
        "" => format!("{} without a=rtpmap", cut(one.name)),
        codec => cut(codec),
    };
    RejectionReason::NoCodec(formats.iter().take(MOST_CODECS).map(name).collect())
}

fn cut(word: &str) -> String {
    word.chars().take(LONGEST).collect()
}

impl fmt::Display for AnsweredSections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rejected.is_empty() {
            let what = if self.taken == 0 { "nothing is offered" } else { "all is taken" };
            return f.write_str(what);
        }
        for (at, one) in self.rejected.iter().enumerate() {
            let between = if at == 0 { "" } else { "; " };
            write!(f, "{between}section {} ({}): {}", one.section, one.media, one.reason)?;
        }
        Ok(())
    }
}

impl fmt::Display for RejectionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Media => f.write_str("neither audio, nor video, nor data channels"),
            Self::Profile(profile) => write!(f, "the profile {profile:?} is not known"),
            Self::NotBundled => f.write_str("it is not bundled with the one that is taken"),
            Self::SecondData => f.write_str("a second section of data channels"),
            Self::NoCodec(codecs) => {
                write!(f, "none of its codecs is known: {}", codecs.join(", "))
            }
            Self::NoFormat => f.write_str("its m= line names no format"),
            Self::Format(format) => {
                write!(f, "the format {format:?} is not known, webrtc-datachannel is")
            }
            Self::PayloadType(all) => {
                f.write_str("no number of a payload type, from 0 to 127: ")?;
                for (at, (name, codec)) in all.iter().enumerate() {
                    write!(f, "{}{name} ({codec})", if at == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Stopped => f.write_str("its transceiver is stopped"),
        }
    }
}

/// Characters of a peer's word that a reason repeats.
const LONGEST: usize = 40;
const MOST_CODECS: usize = 16;
