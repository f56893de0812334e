//! How texts are made out of texts: of the peer for the engine, of the engine for the peer.

use std::collections::HashSet;

use super::check::{self, Checked};
use super::transceiver::Transceiver;
use crate::media::RtpCodecCapability;
use crate::sdp::{MediaKind, Sdp, Section};

/// What the engine calls the sections of a description, by their order. It has no section without a mid, and alters
/// those it does not like.
pub(super) fn engine_mids(sdp: &Sdp) -> Vec<String> {
    let mut taken: HashSet<&str> = sdp.media().iter().filter_map(Section::mid).collect();
    let mut mids = Vec::with_capacity(sdp.media().len());
    let names: Vec<String> = (0..sdp.media().len() * 2).map(|at| format!("x{at}")).collect();
    let mut free = names.iter().map(String::as_str);
    for section in sdp.media() {
        mids.push(match section.mid() {
            Some(mid) if check::is_plain(mid) => mid.to_owned(),
            // Twice as many names as sections: one of them is free.
            _ => free.find(|name| taken.insert(name)).unwrap_or("x").to_owned(),
        });
    }
    mids
}

/// What is to become of a section in the engine's text.
pub(super) enum Fate {
    /// It is taken.
    Taken,
    /// It ends.
    Rejected,
    /// The engine does not know such a section: a rejected one of audio keeps its place.
    Hidden,
}

/// A remote description as the engine is to see it.
pub(super) fn for_engine(
    remote: &Checked,
    mut decide: impl FnMut(usize, &mut Section) -> Fate,
) -> Sdp {
    let mids = engine_mids(&remote.sdp);
    let mut sdp = remote.sdp.clone();
    let mut bundle = Vec::new();
    for (at, (section, mid)) in sdp.media_mut().iter_mut().zip(&mids).enumerate() {
        match decide(at, section) {
            Fate::Taken => {
                bundle.push(mid.as_str());
                if section.port() == Some(0) {
                    section.set_port(9);
                }
                section.remove_attributes("bundle-only");
            }
            Fate::Rejected => *section = placeholder(section.kind()),
            Fate::Hidden => *section = placeholder(MediaKind::Audio),
        }
        section.set_attribute("mid", mid);
        section.keep_plain_lines(&['m', 'c', 'a'], &KNOWN);
    }
    let session = sdp.session_mut();
    session.keep_plain_lines(&['v', 'o', 's', 't', 'c', 'a'], &KNOWN);
    session.remove_attributes("group");
    sdp.set_bundle(&bundle);
    let session = sdp.session_mut();
    // One is enough for the engine, which does not compare it: that is done where the handshake ends.
    let fingerprints = remote.transport.iter().flat_map(|transport| &transport.fingerprints);
    let best = fingerprints.clone().find(|one| one.algorithm() == "sha-256");
    if let Some(fingerprint) = best.or(fingerprints.clone().next()) {
        session.push_attribute("fingerprint", Some(&fingerprint.to_string()));
    }
    sdp
}

/// A rejected section that the engine understands.
fn placeholder(kind: MediaKind) -> Section {
    let kind = if kind == MediaKind::Video { "video" } else { "audio" };
    let text = format!(
        "m={kind} 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\na=rtcp-mux\r\na=rtpmap:0 PCMU/8000\r\n"
    );
    Sdp::parse(&text).media_mut().remove(0)
}

/// A rejected section for the peer: what it was, with port 0 (RFC 8829 §5.3.1).
pub(super) fn rejected(like: &Section, mid: Option<&str>) -> Section {
    let mut section = like.clone();
    section.set_port(0);
    section.retain_attributes(|_, _| false);
    section.replace_line('c', "IN IP4 0.0.0.0");
    if section.formats().next().is_none() {
        section.set_formats(["0"]);
    }
    if let Some(mid) = mid {
        section.push_attribute("mid", Some(mid));
    }
    section.push_attribute("inactive", None);
    section
}

pub(super) fn remove_candidates(section: &mut Section) {
    section.retain_attributes(|name, _| name != "candidate" && name != "end-of-candidates");
}

/// Say which track is sent, as the application knows it; the engine has names of its own.
pub(super) fn write_track(section: &mut Section, transceiver: &Transceiver, sends: bool) {
    section.remove_attributes("msid");
    if !sends {
        section.retain_attributes(|name, _| name != "ssrc" && name != "ssrc-group");
        return;
    }
    let (stream, track) = match &transceiver.msid {
        Some((stream, track)) => (token(stream), token(track)),
        None => ("-".to_owned(), transceiver.sender.to_string()),
    };
    let msid = format!("{stream} {track}");
    section.push_attribute("msid", Some(&msid));
    let ssrcs: Vec<String> = section
        .attributes("ssrc")
        .map(|value| match value.split_once(" msid:") {
            Some((ssrc, _)) => format!("{ssrc} msid:{msid}"),
            None => value.to_owned(),
        })
        .collect();
    let groups: Vec<String> = section.attributes("ssrc-group").map(str::to_owned).collect();
    section.retain_attributes(|name, _| name != "ssrc" && name != "ssrc-group");
    for group in groups {
        section.push_attribute("ssrc-group", Some(&group));
    }
    for ssrc in ssrcs {
        section.push_attribute("ssrc", Some(&ssrc));
    }
}

/// RFC 8830 §2: 1 to 64 characters of a token.
fn token(text: &str) -> String {
    let allowed = |one: &char| one.is_ascii_alphanumeric() || "!#$%&'*+-.^_`{|}~".contains(*one);
    let token: String = text.chars().filter(allowed).take(64).collect();
    if token.is_empty() { "-".to_owned() } else { token }
}

/// Keep the codecs that are preferred, in that order, and what repairs them (W3C §5.4 setCodecPreferences).
pub(super) fn prefer(section: &mut Section, preferences: &[RtpCodecCapability]) {
    if preferences.is_empty() {
        return;
    }
    let all: Vec<Payload> =
        section.formats().map(|format| Payload::read(section, format)).collect();
    let mut kept: Vec<&Payload> = Vec::new();
    for preference in preferences {
        for payload in &all {
            if payload.matches(preference) && !kept.iter().any(|one| one.format == payload.format) {
                kept.push(payload);
                kept.extend(
                    all.iter().filter(|other| other.repairs == Some(payload.format.as_str())),
                );
            }
        }
    }
    if kept.is_empty() {
        return;
    }
    kept.extend(all.iter().filter(|payload| payload.is_companion()));
    let formats: Vec<String> = kept.iter().map(|payload| payload.format.clone()).collect();
    section.keep_formats(&formats);
}

/// A payload type of a section.
struct Payload<'a> {
    format: String,
    /// `VP8/90000`
    codec: &'a str,
    parameters: &'a str,
    repairs: Option<&'a str>,
}

impl<'a> Payload<'a> {
    fn read(section: &'a Section, format: &str) -> Self {
        let of = |name: &str| {
            section.attributes(name).find_map(|value| {
                let (found, rest) = value.split_once(' ')?;
                (found == format).then_some(rest.trim())
            })
        };
        let (codec, parameters) =
            (of("rtpmap").unwrap_or_default(), of("fmtp").unwrap_or_default());
        let repairs = parameters.split(';').find_map(|one| one.trim().strip_prefix("apt="));
        Self { format: format.to_owned(), codec, parameters, repairs }
    }

    fn matches(&self, wanted: &RtpCodecCapability) -> bool {
        let mut words = self.codec.split('/');
        let name = words.next().unwrap_or_default();
        let rate = words.next().and_then(|rate| rate.parse::<u32>().ok()).unwrap_or_default();
        wanted.name().is_some_and(|wanted| wanted.eq_ignore_ascii_case(name))
            && (wanted.clock_rate == 0 || wanted.clock_rate == rate)
            && (wanted.sdp_fmtp_line.is_empty() || wanted.sdp_fmtp_line == self.parameters)
            && self.repairs.is_none()
    }

    /// No codec by itself: tones, silence.
    fn is_companion(&self) -> bool {
        let name = self.codec.split('/').next().unwrap_or_default();
        name.eq_ignore_ascii_case("telephone-event") || name.eq_ignore_ascii_case("CN")
    }
}

/// What every description of ours says of the session.
pub(super) fn write_session(sdp: &mut Sdp, origin: (u64, u64), bundle: Option<&[&str]>) {
    sdp.set_origin(origin.0, origin.1);
    match bundle {
        Some(bundle) => sdp.set_bundle(bundle),
        None => sdp
            .session_mut()
            .retain_attributes(|name, value| !(name == "group" && value.starts_with("BUNDLE"))),
    }
    if !sdp.session().has("ice-options") {
        sdp.session_mut().push_attribute("ice-options", Some("trickle"));
    }
}

/// A description without media.
pub(super) fn empty(origin: (u64, u64)) -> Sdp {
    let mut sdp = Sdp::parse("v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n");
    write_session(&mut sdp, origin, Some(&[]));
    sdp
}

/// What the engine is to know. Candidates go in one by one, each checked; fingerprints and groups are written anew; and
/// what it does not know it may stumble over.
const KNOWN: [&str; 26] = [
    "extmap",
    "extmap-allow-mixed",
    "fmtp",
    "ice-lite",
    "ice-options",
    "ice-pwd",
    "ice-ufrag",
    "inactive",
    "max-message-size",
    "mid",
    "msid",
    "msid-semantic",
    "recvonly",
    "rid",
    "rtcp-fb",
    "rtcp-mux",
    "rtcp-rsize",
    "rtpmap",
    "sctp-init",
    "sctp-port",
    "sendonly",
    "sendrecv",
    "setup",
    "simulcast",
    "ssrc",
    "ssrc-group",
];
