//! Check of remote descriptions: rejects everything that would break the engine, before the engine gets it.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use callboard_ice_handshake::handshake::Fingerprint;

use super::checked::{Checked, Extensions, Facts, RemoteTransport, transport_section};
use super::chosen::Chosen;
use super::formats;
use super::local_description::{Outline, Part};
use super::names::{is_token, section_name};
use crate::error::DescriptionError;
use crate::sdp::{Sdp, Section};

/// State of the connection when a description arrives.
#[derive(Default)]
pub(crate) struct Known<'a> {
    /// Local description that is in force, or that this one answers.
    pub(crate) local: Option<&'a Outline>,
    /// Remote description that is in force.
    pub(crate) remote: Option<&'a Checked>,
    /// Whether the offer that this one answers has restarted ICE.
    pub(crate) restart_offered: bool,
    pub(crate) lite: bool,
    /// Allowed number of sections, if there are not more already.
    pub(crate) max_sections: usize,
    /// Header extensions that may be agreed on.
    pub(crate) extensions: Chosen,
}

/// Checks an offer.
pub(crate) fn offer(text: &str, known: &Known<'_>) -> Result<Checked, DescriptionError> {
    let mut checked = any(text, known)?;
    if let Some(before) = known.local {
        let (found, before_count) = (checked.sdp.media().len(), before.sections.len());
        if found < before_count {
            return Err(DescriptionError::FewerSections { found, before: before_count });
        }
        for (at, (section, was)) in checked.sdp.media().iter().zip(&before.sections).enumerate() {
            // Another section may take a rejected section's place (RFC 8829 §5.2.2).
            if !was.is_rejected {
                same_section(at, section, was)?;
            }
        }
    }
    checked.extensions = match known.remote {
        Some(before) => before.extensions.clone(),
        None => Extensions::of(&checked).map(Arc::new),
    };
    Ok(checked)
}

/// Checks an answer, also a provisional one.
pub(crate) fn answer(text: &str, known: &Known<'_>) -> Result<Checked, DescriptionError> {
    let mut checked = any(text, known)?;
    checked.extensions = known.remote.and_then(|before| before.extensions.clone());
    let Some(offer) = known.local else { return Ok(checked) };
    let (found, offered) = (checked.sdp.media().len(), offer.sections.len());
    if found != offered {
        return Err(DescriptionError::OtherNumberOfSections { found, offered });
    }
    for (at, (section, of_offer)) in checked.sdp.media().iter().zip(&offer.sections).enumerate() {
        same_section(at, section, of_offer)?;
        if of_offer.is_rejected && !checked.facts[at].rejected {
            return Err(DescriptionError::AcceptsRejected(at));
        }
    }
    let taken = checked
        .sdp
        .media()
        .iter()
        .filter(|section| section.port() != Some(0) && (section.is_rtp() || section.is_data()));
    if checked.sdp.bundle().is_none() && taken.count() > 1 {
        return Err(DescriptionError::NoBundle);
    }
    if let Some(transport) = &checked.transport {
        if transport.setup.as_deref() == Some("actpass") {
            return Err(DescriptionError::RoleNotChosen);
        }
        let before = known.remote.and_then(|remote| remote.transport.as_ref());
        if let Some(before) = before
            && (&before.ufrag, &before.password) != (&transport.ufrag, &transport.password)
            && !known.restart_offered
        {
            return Err(DescriptionError::RestartInAnswer);
        }
    }
    Ok(checked)
}

fn same_section(at: usize, section: &Section, was: &Part) -> Result<(), DescriptionError> {
    if section.kind() != was.kind {
        let (expected, found) = (was.kind, section.kind());
        return Err(DescriptionError::OtherKind { section: at, expected, found });
    }
    if let (Some(expected), found) = (was.mid.as_deref(), section.mid())
        && found != Some(expected)
        // Some peers leave the mid out in a section that they reject.
        && !(found.is_none() && section.port() == Some(0))
    {
        let (expected, found) = (expected.to_owned(), found.unwrap_or_default().to_owned());
        return Err(DescriptionError::OtherMid { section: at, expected, found });
    }
    Ok(())
}

/// Checks what every description must have.
fn any(text: &str, known: &Known<'_>) -> Result<Checked, DescriptionError> {
    if text.len() > LARGEST {
        return Err(DescriptionError::TooLarge(text.len()));
    }
    if text.contains('\0') {
        return Err(DescriptionError::Syntax("it has a NUL".to_owned()));
    }
    let found = text.lines().filter(|line| line.starts_with("m=")).count();
    let before = known.local.map_or(0, |local| local.sections.len());
    let limit = known.max_sections.max(before);
    if found > limit {
        return Err(DescriptionError::TooManySections { found, limit });
    }
    let (found, limit) = (text.lines().count(), LINES * (found + 2));
    if found > limit {
        return Err(DescriptionError::TooManyLines { found, limit });
    }
    let mut sdp = Sdp::parse_plain(text);
    if sdp.session_line('v') != Some("0") {
        return Err(DescriptionError::Syntax("it does not begin with v=0".to_owned()));
    }
    if sdp.session_line('o').is_none_or(|origin| origin.split_ascii_whitespace().count() < 6) {
        return Err(DescriptionError::Syntax("it has no o= line of six words".to_owned()));
    }
    drop_empty_groups(&mut sdp);
    name_directions(&mut sdp);
    formats::drop_reused(&mut sdp, known.remote.map(|remote| &remote.sdp))?;
    let unnamed = name_sections(&mut sdp, known);
    check_mids(&sdp)?;
    let mut facts = Facts::of(&sdp);
    for at in unnamed {
        facts[at].unnamed = true;
    }
    for (at, section) in sdp.media().iter().enumerate() {
        if section.port().is_none() || section.protocol().is_empty() {
            return Err(DescriptionError::Syntax(format!("section {at} has no usable m= line")));
        }
        if facts[at].usable && section.is_rtp() && !section.has("rtcp-mux") {
            return Err(DescriptionError::NoRtcpMux(at));
        }
    }
    check_engine_mids(&sdp, &facts)?;
    let transport = transport_section(&sdp, &facts).map(|section| transport_of(&sdp, section));
    let transport = transport.transpose()?;
    if let Some(transport) = &transport {
        if transport.lite && known.lite {
            return Err(DescriptionError::BothLite);
        }
        let before = known.remote.and_then(|remote| remote.transport.as_ref());
        if let Some(before) = before
            && !before.fingerprints.iter().any(|known| transport.fingerprints.contains(known))
        {
            return Err(DescriptionError::OtherFingerprint);
        }
    }
    let (transport, chosen) = (transport.map(Arc::new), known.extensions);
    Ok(Checked { sdp, transport, facts, extensions: None, chosen })
}

/// Removes BUNDLE groups without a mid, which mean the same as none at all.
fn drop_empty_groups(sdp: &mut Sdp) {
    sdp.session_mut()
        .retain_attributes(|name, value| name != "group" || value.trim_end() != "BUNDLE");
}

/// Names sections that have no mid (RFC 8829 §5.10): by their name in the local description, or by their number.
/// Returns which.
fn name_sections(sdp: &mut Sdp, known: &Known<'_>) -> Vec<usize> {
    // A section outside the group is not accepted.
    if sdp.bundle().is_some() {
        return Vec::new();
    }
    let taken: HashSet<String> =
        sdp.media().iter().filter_map(Section::mid).map(str::to_owned).collect();
    let mut unnamed = Vec::new();
    for (at, section) in sdp.media_mut().iter_mut().enumerate() {
        if section.mid().is_some() || !(section.is_rtp() || section.is_data()) {
            continue;
        }
        let before = known.local.and_then(|local| local.sections.get(at));
        let before = before.filter(|part| !part.is_rejected && part.kind == section.kind());
        let mid = before.and_then(|part| part.mid.as_deref()).map(str::to_owned);
        let mut free = std::iter::successors(Some(at.to_string()), |mid| Some(format!("{mid}_")));
        let mid = mid.or_else(|| free.find(|mid| !taken.contains(mid)));
        section.remove_attributes("mid");
        section.push_attribute("mid", mid.as_deref());
        unnamed.push(at);
    }
    unnamed
}

/// Writes a direction into sections that name none: the session's, or both ways (RFC 8866 §6.7).
fn name_directions(sdp: &mut Sdp) {
    let of_session = sdp.session().direction().unwrap_or("sendrecv").to_owned();
    for section in sdp.media_mut() {
        if section.is_rtp() {
            let direction = section.direction().unwrap_or(&of_session).to_owned();
            section.set_direction(&direction);
        }
    }
}

fn check_mids(sdp: &Sdp) -> Result<(), DescriptionError> {
    let mut mids = HashSet::new();
    for mid in sdp.media().iter().filter_map(Section::mid) {
        if !mids.insert(mid) {
            return Err(DescriptionError::DuplicateMid(mid.to_owned()));
        }
    }
    let bundle = sdp.bundle().unwrap_or_default();
    match bundle.iter().find(|mid| !mids.contains(*mid)) {
        Some(unknown) => Err(DescriptionError::UnknownMidInBundle((*unknown).to_owned())),
        None => Ok(()),
    }
}

/// Checks that each mid is a token (RFC 8866 §9, RFC 5888 §4), and that the engine can tell each from the others.
fn check_engine_mids(sdp: &Sdp, facts: &[Facts]) -> Result<(), DescriptionError> {
    let mut names = HashSet::new();
    for (at, (section, facts)) in sdp.media().iter().zip(facts).enumerate() {
        let mid = section.mid().unwrap_or_default();
        let wrong = facts.usable && (mid.len() > LONGEST_MID || !is_token(mid));
        if wrong || !names.insert(section_name(at, section)) {
            return Err(DescriptionError::UnusableMid(mid.chars().take(LONGEST_MID).collect()));
        }
    }
    Ok(())
}

fn transport_of(sdp: &Sdp, section: &Section) -> Result<RemoteTransport, DescriptionError> {
    let of = |name| sdp.attribute(section, name).map(str::trim);
    let (Some(ufrag), Some(password)) = (of("ice-ufrag"), of("ice-pwd")) else {
        return Err(DescriptionError::NoIceCredentials);
    };
    let ice_chars = |text: &str| {
        text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=')
        })
    };
    if !(4..=256).contains(&ufrag.len())
        || !(22..=256).contains(&password.len())
        || !ice_chars(ufrag)
        || !ice_chars(password)
    {
        return Err(DescriptionError::BadIceCredentials);
    }
    let mut fingerprints: Vec<Fingerprint> = Vec::new();
    let mut unusable = None;
    let speaks = if section.has("fingerprint") { section } else { sdp.session() };
    for fingerprint in speaks.attributes("fingerprint").take(MOST_FINGERPRINTS) {
        match Fingerprint::from_str(fingerprint.trim()) {
            Ok(one) => fingerprints.push(one),
            Err(reason) => _ = unusable.get_or_insert((fingerprint, reason)),
        }
    }
    if fingerprints.is_empty() {
        return Err(unusable.map_or(DescriptionError::NoFingerprint, |(found, reason)| {
            let found = found.trim().chars().take(LONGEST_QUOTE).collect();
            DescriptionError::UnusableFingerprint { found, reason }
        }));
    }
    // Tokens of ABNF, whose case does not matter (RFC 4145 §4).
    let setup = of("setup").map(str::to_ascii_lowercase);
    if let Some(setup) = &setup
        && !["actpass", "active", "passive"].contains(&setup.as_str())
    {
        return Err(DescriptionError::UnusableSetup(setup.chars().take(32).collect()));
    }
    Ok(RemoteTransport {
        ufrag: ufrag.to_owned(),
        password: password.to_owned(),
        fingerprints,
        setup,
        lite: sdp.session().has("ice-lite"),
    })
}

/// Largest description in bytes: 64 sections of Chromium with all its codecs have 400 kB.
const LARGEST: usize = 1 << 20;
/// Lines for each section: browsers write up to 300, with all their codecs.
const LINES: usize = 512;
/// Characters of a peer's word that an error repeats.
const LONGEST_QUOTE: usize = 40;
/// Most fingerprints: a certificate has one for each hash function.
const MOST_FINGERPRINTS: usize = 32;
/// Longest mid, in bytes: the longer form of a header extension carries no more (RFC 8285 §4.3).
const LONGEST_MID: usize = 255;
