//! Whether a remote description can be used: everything that the engine could stumble over, before it has it.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;

use callboard_ice_handshake::handshake::Fingerprint;

use crate::error::DescriptionError;
use crate::sdp::{MediaKind, Sdp, Section};

/// A remote description that can be used.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) sdp: Sdp,
    /// None for one without media.
    pub(crate) transport: Option<Arc<RemoteTransport>>,
}

/// What a description says of the one transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteTransport {
    pub(crate) ufrag: String,
    pub(crate) password: String,
    pub(crate) fingerprints: Vec<Fingerprint>,
    pub(crate) setup: Option<String>,
    pub(crate) lite: bool,
}

/// What is known when a description arrives.
#[derive(Default)]
pub(crate) struct Known<'a> {
    /// The local description that is in force, or that this one answers.
    pub(crate) local: Option<&'a Sdp>,
    /// The remote description that is in force.
    pub(crate) remote: Option<&'a Checked>,
    /// Whether the offer that this one answers has restarted ICE.
    pub(crate) restart_offered: bool,
    pub(crate) lite: bool,
}

/// Check an offer.
pub(crate) fn offer(text: &str, known: &Known<'_>) -> Result<Checked, DescriptionError> {
    let checked = any(text, known)?;
    if let Some(before) = known.local {
        let (found, before_count) = (checked.sdp.media().len(), before.media().len());
        if found < before_count {
            return Err(DescriptionError::FewerSections { found, before: before_count });
        }
        for (at, (section, was)) in checked.sdp.media().iter().zip(before.media()).enumerate() {
            // A rejected section's place may be taken by another (RFC 8829 §5.2.2).
            if was.port() != Some(0) || is_bundled(before, was) {
                same_section(at, section, was)?;
            }
        }
    }
    Ok(checked)
}

/// Check an answer, also a provisional one.
pub(crate) fn answer(text: &str, known: &Known<'_>) -> Result<Checked, DescriptionError> {
    let checked = any(text, known)?;
    let Some(offer) = known.local else { return Ok(checked) };
    let (found, offered) = (checked.sdp.media().len(), offer.media().len());
    if found != offered {
        return Err(DescriptionError::OtherNumberOfSections { found, offered });
    }
    for (at, (section, of_offer)) in checked.sdp.media().iter().zip(offer.media()).enumerate() {
        same_section(at, section, of_offer)?;
        if is_rejected(offer, of_offer) && !is_rejected(&checked.sdp, section) {
            return Err(DescriptionError::AcceptsRejected(at));
        }
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

fn same_section(at: usize, section: &Section, was: &Section) -> Result<(), DescriptionError> {
    if section.kind() != was.kind() {
        let (expected, found) = (was.kind(), section.kind());
        return Err(DescriptionError::OtherKind { section: at, expected, found });
    }
    if let (Some(expected), found) = (was.mid(), section.mid())
        && found != Some(expected)
        // Some leave it out where they reject.
        && !(found.is_none() && section.port() == Some(0))
    {
        let (expected, found) = (expected.to_owned(), found.unwrap_or_default().to_owned());
        return Err(DescriptionError::OtherMid { section: at, expected, found });
    }
    Ok(())
}

/// What every description must have.
fn any(text: &str, known: &Known<'_>) -> Result<Checked, DescriptionError> {
    if text.len() > LARGEST {
        return Err(DescriptionError::TooLarge(text.len()));
    }
    if text.contains('\0') {
        return Err(DescriptionError::Syntax("it has a NUL".to_owned()));
    }
    let mut sdp = Sdp::parse(text);
    name_directions(&mut sdp);
    drop_reused_payload_types(&mut sdp, known.remote.map(|remote| &remote.sdp))?;
    let sdp = sdp;
    if sdp.session_line('v').map(str::trim) != Some("0") {
        return Err(DescriptionError::Syntax("it does not begin with v=0".to_owned()));
    }
    if sdp.session_line('o').is_none_or(|origin| origin.split_ascii_whitespace().count() < 6) {
        return Err(DescriptionError::Syntax("it has no o= line of six words".to_owned()));
    }
    if sdp.media().len() > MOST_SECTIONS {
        return Err(DescriptionError::Syntax(format!("it has {} sections", sdp.media().len())));
    }
    check_mids(&sdp)?;
    let mut transport = None;
    for (at, section) in sdp.media().iter().enumerate() {
        if section.port().is_none() || section.protocol().is_empty() {
            return Err(DescriptionError::Syntax(format!("section {at} has no usable m= line")));
        }
        if !is_usable(&sdp, section) {
            continue;
        }
        if section.is_rtp() {
            if !section.has("rtcp-mux") {
                return Err(DescriptionError::NoRtcpMux(at));
            }
            let mid = section.mid().unwrap_or_default();
            if !is_plain(mid) {
                return Err(DescriptionError::UnusableMid(mid.to_owned()));
            }
        }
        if transport.is_none() {
            transport = Some(transport_of(&sdp, section)?);
        }
    }
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
    Ok(Checked { sdp, transport: transport.map(Arc::new) })
}

/// A section that names no direction has the session's, or both (RFC 8866 §6.7).
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
    match sdp.bundle() {
        Some(bundle) => match bundle.iter().find(|mid| !mids.contains(*mid)) {
            Some(unknown) => Err(DescriptionError::UnknownMidInBundle((*unknown).to_owned())),
            None => Ok(()),
        },
        None => {
            let wanted = |section: &&Section| {
                section.port() != Some(0) && (section.is_rtp() || section.is_data())
            };
            if sdp.media().iter().filter(wanted).count() > 1 {
                return Err(DescriptionError::NoBundle);
            }
            Ok(())
        }
    }
}

/// On one transport a payload type means the same in every section, and goes on meaning it (RFC 8843 §10.1.2): the
/// engine panics where it does not. Firefox offers some again with a meaning of its own; those are not taken.
fn drop_reused_payload_types(sdp: &mut Sdp, before: Option<&Sdp>) -> Result<(), DescriptionError> {
    let mut meanings: HashMap<String, (String, Vec<String>)> = HashMap::new();
    for section in before.iter().flat_map(|before| before.media()).filter(|one| one.is_rtp()) {
        for format in section.formats() {
            let meaning = meaning(section, format);
            if !meaning.0.is_empty() {
                meanings.entry(format.to_owned()).or_insert(meaning);
            }
        }
    }
    for section in sdp.media_mut().iter_mut().filter(|section| section.is_rtp()) {
        let mut kept: Vec<String> = Vec::new();
        let mut reused = None;
        for format in section.formats() {
            let meaning = meaning(section, format);
            // A rejected section names formats without saying what they are.
            let known = meanings.get(format);
            if meaning.0.is_empty() || known.is_none_or(|known| *known == meaning) {
                if !meaning.0.is_empty() {
                    meanings.insert(format.to_owned(), meaning);
                }
                kept.push(format.to_owned());
            } else {
                reused = Some(format.to_owned());
            }
        }
        let Some(reused) = reused else { continue };
        // What repairs a format that is gone repairs nothing.
        let repairs = |format: &String| {
            meaning(section, format)
                .1
                .iter()
                .find_map(|one| one.strip_prefix("apt=").map(str::to_owned))
        };
        let present = kept.clone();
        kept.retain(|format| repairs(format).is_none_or(|repaired| present.contains(&repaired)));
        if !kept.iter().any(|format| repairs(format).is_none()) {
            return Err(DescriptionError::PayloadTypeReused(reused));
        }
        section.keep_formats(&kept);
    }
    Ok(())
}

/// What a payload type is, and with which parameters.
fn meaning(section: &Section, format: &str) -> (String, Vec<String>) {
    let values = |name| {
        section.attributes(name).filter_map(move |value| {
            let (found, rest) = value.split_once(char::is_whitespace)?;
            (found == format).then(|| rest.trim().to_ascii_lowercase())
        })
    };
    let mut parameters: Vec<String> = values("fmtp")
        .flat_map(|all| all.split(';').map(|one| one.trim().to_owned()).collect::<Vec<_>>())
        .collect();
    parameters.sort_unstable();
    (values("rtpmap").next().unwrap_or_default(), parameters)
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
    let own = section.attributes("fingerprint").collect::<Vec<_>>();
    let all = if own.is_empty() { sdp.session().attributes("fingerprint").collect() } else { own };
    for fingerprint in all {
        fingerprints.extend(Fingerprint::from_str(fingerprint.trim()));
    }
    if fingerprints.is_empty() {
        return Err(DescriptionError::NoFingerprint);
    }
    Ok(RemoteTransport {
        ufrag: ufrag.to_owned(),
        password: password.to_owned(),
        fingerprints,
        setup: of("setup").map(str::to_owned),
        lite: sdp.session().has("ice-lite"),
    })
}

/// Whether a section is carried by the transport of another.
pub(crate) fn is_bundled(sdp: &Sdp, section: &Section) -> bool {
    match (sdp.bundle(), section.mid()) {
        (Some(bundle), Some(mid)) => bundle.contains(&mid),
        _ => false,
    }
}

/// Whether a section was rejected: port 0, and no other's transport carries it.
pub(crate) fn is_rejected(sdp: &Sdp, section: &Section) -> bool {
    section.port() == Some(0) && !is_bundled(sdp, section)
}

/// Whether a section can be taken: of a kind that is known here, on the one transport.
pub(crate) fn is_usable(sdp: &Sdp, section: &Section) -> bool {
    let known = section.is_rtp() || section.is_data();
    let first_data = || {
        section.kind() != MediaKind::Application
            || sdp.media().iter().find(|other| other.is_data()) == Some(section)
    };
    let together = sdp.bundle().is_none_or(|_| is_bundled(sdp, section));
    known && together && !is_rejected(sdp, section) && first_data()
}

/// Whether the engine can take this for a mid without altering it.
pub(crate) fn is_plain(mid: &str) -> bool {
    (1..=16).contains(&mid.len())
        && mid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// 64 sections of Chromium's with all its codecs have 400 kB.
const LARGEST: usize = 1 << 20;
/// A room of 500 seen through one connection; more is no description of a call.
const MOST_SECTIONS: usize = 1_024;
