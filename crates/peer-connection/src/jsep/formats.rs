//! Payload types of a section: their meanings, those that the engine can read, and those that are preferred.

use std::collections::HashMap;

use crate::error::DescriptionError;
use crate::media::RtpCodecCapability;
use crate::sdp::{Sdp, Section};

/// Payload type, with its description in the section.
#[derive(Debug, Default)]
pub(super) struct Format<'a> {
    pub(super) name: &'a str,
    /// Codec, as in `VP8/90000`; empty if the section does not say.
    pub(super) codec: &'a str,
    /// Values of its `a=fmtp` lines.
    pub(super) parameters: Vec<&'a str>,
    /// Values of its `a=rtcp-fb` lines, and of those for all payload types.
    pub(super) feedback: Vec<&'a str>,
}

/// Returns the formats of a section of RTP, in their order, each once.
pub(super) fn formats(section: &Section) -> Vec<Format<'_>> {
    let mut all: Vec<Format<'_>> = Vec::new();
    let mut index: HashMap<&str, usize> = HashMap::new();
    for name in section.formats().take(MOST_FORMATS) {
        index.entry(name).or_insert_with(|| {
            all.push(Format { name, ..Format::default() });
            all.len() - 1
        });
    }
    let mut of_all = Vec::new();
    for (attribute, value) in section.plain_attributes() {
        let Some((name, rest)) = value.and_then(split_format) else { continue };
        let found = index.get(name).map(|at| &mut all[*at]);
        match (attribute, found) {
            ("rtpmap", Some(format)) if format.codec.is_empty() => format.codec = rest,
            ("fmtp", Some(format)) if format.parameters.len() < MOST_LINES => {
                format.parameters.push(rest);
            }
            ("rtcp-fb", Some(format)) if format.feedback.len() < MOST_LINES => {
                format.feedback.push(rest);
            }
            ("rtcp-fb", None) if name == "*" && of_all.len() < MOST_LINES => of_all.push(rest),
            _ => {}
        }
    }
    all.iter_mut().for_each(|format| format.feedback.extend(&of_all));
    all
}

fn split_format(value: &str) -> Option<(&str, &str)> {
    let (name, rest) = value.trim_start().split_once(char::is_whitespace)?;
    Some((name, rest.trim()))
}

impl Format<'_> {
    /// Returns whether the engine can read it: a number of 7 bits, with a known meaning.
    pub(super) fn is_readable(&self) -> bool {
        if !self.has_number() {
            return false;
        }
        let mut words = self.codec.split('/');
        let known = match (words.next(), words.next(), words.next(), words.next()) {
            (Some(name), Some(rate), channels, None) => {
                !name.is_empty()
                    && rate.parse::<u32>().is_ok_and(|rate| rate > 0)
                    && channels.is_none_or(|channels| channels.parse::<u8>().is_ok())
            }
            // Static payload types need no description (RFC 3551 §6).
            _ => self.codec.is_empty() && STATIC.iter().any(|(one, _)| *one == self.name),
        };
        let mut repairs = self.all_repairs();
        let first = repairs.next();
        known && repairs.all(|other| Some(other) == first)
    }

    /// Returns whether its name is a number of 7 bits, as packets have room for.
    pub(super) fn has_number(&self) -> bool {
        self.name.parse::<u8>().is_ok_and(|number| number < 128)
    }

    fn all_repairs(&self) -> impl Iterator<Item = &str> {
        let parameters = self.parameters.iter().flat_map(|all| all.split(';'));
        parameters.filter_map(|one| one.trim().strip_prefix("apt=")).map(str::trim)
    }

    /// Returns the format that this one retransmits (RFC 4588).
    fn repairs(&self) -> Option<&str> {
        self.all_repairs().next()
    }

    /// Returns the codec and its parameters.
    fn meaning(&self) -> (String, Vec<String>) {
        let parameters = self.parameters.iter().flat_map(|all| all.split(';'));
        let mut parameters: Vec<String> =
            parameters.map(|one| one.trim().to_ascii_lowercase()).collect();
        parameters.sort_unstable();
        let known = STATIC.iter().find(|(name, _)| self.codec.is_empty() && *name == self.name);
        (known.map_or(self.codec, |(_, codec)| codec).to_ascii_lowercase(), parameters)
    }

    /// Returns whether its meaning is known: described in the section, or static.
    pub(super) fn is_known(&self) -> bool {
        !self.codec.is_empty() || STATIC.iter().any(|(name, _)| *name == self.name)
    }

    fn matches(&self, wanted: &RtpCodecCapability) -> bool {
        let mut words = self.codec.split('/');
        let name = words.next().unwrap_or_default();
        let rate = words.next().and_then(|rate| rate.parse::<u32>().ok()).unwrap_or_default();
        wanted.name().is_some_and(|wanted| wanted.eq_ignore_ascii_case(name))
            && (wanted.clock_rate == 0 || wanted.clock_rate == rate)
            && (wanted.sdp_fmtp_line.is_empty()
                || self.parameters.first().is_some_and(|one| wanted.sdp_fmtp_line == *one))
            && self.repairs().is_none()
    }

    /// Returns whether it is not a codec by itself: tones, comfort noise.
    fn is_companion(&self) -> bool {
        let name = self.codec.split('/').next().unwrap_or_default();
        name.eq_ignore_ascii_case("telephone-event") || name.eq_ignore_ascii_case("CN")
    }
}

/// Returns the preferred codecs, in that order, and their retransmissions (W3C §5.4 setCodecPreferences); none where
/// there are no preferences, or no preferred codec is in the section.
pub(super) fn preferred(
    section: &Section,
    preferences: &[RtpCodecCapability],
) -> Option<Vec<String>> {
    if preferences.is_empty() {
        return None;
    }
    let all = formats(section);
    let mut kept: Vec<&Format<'_>> = Vec::new();
    for preference in preferences {
        for format in &all {
            if format.matches(preference) && !kept.iter().any(|one| one.name == format.name) {
                kept.push(format);
                kept.extend(all.iter().filter(|other| other.repairs() == Some(format.name)));
            }
        }
    }
    if kept.is_empty() {
        return None;
    }
    kept.extend(all.iter().filter(|format| format.is_companion()));
    Some(kept.iter().map(|format| format.name.to_owned()).collect())
}

/// Returns the formats that a section describes.
pub(super) fn known(section: &Section) -> Vec<String> {
    let mut all = if tells(section) { formats(section) } else { Vec::new() };
    all.retain(Format::is_known);
    all.iter().map(|format| format.name.to_owned()).collect()
}

/// Returns whether a section describes its formats: a rejected one only lists them.
fn tells(section: &Section) -> bool {
    section.is_rtp() && (section.port() != Some(0) || section.has("bundle-only"))
}

/// Removes payload types that get a second meaning. On one transport a payload type means the same in every section,
/// from then on (RFC 8843 §10.1.2): the engine panics where it does not. Firefox offers some again with another
/// meaning; those are not accepted.
pub(super) fn drop_reused(sdp: &mut Sdp, before: Option<&Sdp>) -> Result<(), DescriptionError> {
    let mut meanings = Meanings::new();
    for section in before.iter().flat_map(|before| before.media()).filter(|one| tells(one)) {
        for format in formats(section).iter().filter(|format| format.is_known()) {
            meanings.entry(format.name.to_owned()).or_insert_with(|| format.meaning());
        }
    }
    let mut of_rtp: Vec<_> = sdp.media_mut().iter_mut().filter(|one| one.is_rtp()).collect();
    // Rejected ones last: they carry nothing, so they decide no meaning.
    of_rtp.sort_by_key(|section| !tells(section));
    of_rtp.into_iter().try_for_each(|section| drop_reused_of(section, &mut meanings))
}

/// What payload types mean, by their names.
type Meanings = HashMap<String, (String, Vec<String>)>;

fn drop_reused_of(section: &mut Section, meanings: &mut Meanings) -> Result<(), DescriptionError> {
    let all = formats(section);
    let mut kept: Vec<&Format<'_>> = Vec::with_capacity(all.len());
    let mut reused = None;
    for format in &all {
        let names_only = section.port() == Some(0) && format.codec.is_empty();
        if names_only || !format.is_known() {
            kept.push(format);
            continue;
        }
        let meaning = format.meaning();
        match meanings.get(format.name) {
            Some(known) if *known != meaning => reused = Some(format.name.to_owned()),
            Some(_) => kept.push(format),
            None => {
                meanings.insert(format.name.to_owned(), meaning);
                kept.push(format);
            }
        }
    }
    let Some(reused) = reused else { return Ok(()) };
    // A retransmission format without its codec is of no use.
    let present: Vec<&str> = kept.iter().map(|format| format.name).collect();
    kept.retain(|format| format.repairs().is_none_or(|repaired| present.contains(&repaired)));
    if kept.iter().any(|format| format.repairs().is_none()) {
        let kept: Vec<String> = kept.iter().map(|format| format.name.to_owned()).collect();
        section.keep_formats(&kept);
    } else if tells(section) {
        return Err(DescriptionError::PayloadTypeReused(reused));
    } else {
        // Firefox describes one format of a section that was stopped, without its parameters.
        section.retain_attributes(|name, _| !matches!(name, "rtpmap" | "fmtp" | "rtcp-fb"));
    }
    Ok(())
}

/// Payload types that the engine knows by their numbers alone (RFC 3551 §6).
const STATIC: [(&str, &str); 4] =
    [("0", "PCMU/8000"), ("8", "PCMA/8000"), ("9", "G722/8000"), ("13", "CN/8000")];
/// Most formats of a section: there are no more payload types.
const MOST_FORMATS: usize = 256;
/// Most lines of a kind that are read for a format.
const MOST_LINES: usize = 16;
