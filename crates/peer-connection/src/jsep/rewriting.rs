//! Rewriting of descriptions: from the peer for the engine, and from the engine for the peer.

use std::fmt::Write;

use super::checked::Checked;
use super::chosen::{MID, TRANSPORT_CC};
use super::extensions::{self, ExtMap};
use super::formats;
use super::names::{is_token, section_name};
use super::transceiver::Transceiver;
use crate::media::{Direction, RtpCodecCapability};
use crate::sdp::{MediaKind, Sdp, Section};

/// Treatment of a section in the engine's text.
pub(super) enum Treatment {
    /// The section is accepted: in this direction, seen from the peer, and with these formats, or with all.
    Taken(Direction, Option<Vec<String>>),
    /// The section is rejected, and ends.
    Rejected,
    /// The engine does not know such a section: a rejected one of audio keeps its place.
    Hidden,
}

/// Writes a remote description for the engine: the parts that it knows, in the form that it reads, and attributes that
/// the sections share only once. `setup` is the DTLS role of the peer. Where the peer only receives, its packets are
/// numbered for feedback only if this side `estimates` bandwidth by it.
pub(super) fn for_engine(
    remote: &Checked,
    before: Option<&Checked>,
    setup: &str,
    estimates: bool,
    mut decide: impl FnMut(usize, &Section) -> Treatment,
) -> String {
    let mut media = String::new();
    let mut bundle = String::new();
    let ids = extensions::agreed(remote, before);
    let mut without_feedback = ids.clone();
    without_feedback.retain(|(_, uri)| estimates || *uri != TRANSPORT_CC);
    for (at, section) in remote.sdp.media().iter().enumerate() {
        let mid = section_name(at, section);
        match decide(at, section) {
            Treatment::Taken(direction, kept) => {
                bundle.push(' ');
                bundle.push_str(&mid);
                if section.is_rtp() {
                    let ids = if direction.sends() { &ids } else { &without_feedback };
                    write_rtp(&mut media, remote, section, &mid, direction, kept, ids);
                } else {
                    write_data(&mut media, section, &mid);
                }
            }
            treatment => {
                let video =
                    matches!(treatment, Treatment::Rejected) && section.kind() == MediaKind::Video;
                let kind = if video { "video" } else { "audio" };
                line(&mut media, format_args!("m={kind} 0 UDP/TLS/RTP/SAVPF 0"));
                line(&mut media, format_args!("a=mid:{mid}"));
                media.push_str("a=inactive\r\na=rtcp-mux\r\na=rtpmap:0 PCMU/8000\r\n");
            }
        }
    }
    let mut text = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE".to_owned();
    line(&mut text, format_args!("{bundle}"));
    if let Some(transport) = &remote.transport {
        if transport.lite {
            line(&mut text, format_args!("a=ice-lite"));
        }
        line(&mut text, format_args!("a=ice-ufrag:{}", transport.ufrag));
        line(&mut text, format_args!("a=ice-pwd:{}", transport.password));
        line(&mut text, format_args!("a=setup:{setup}"));
        // The engine needs one and does not compare it: that is done where the handshake ends.
        let best = transport.fingerprints.iter().find(|one| one.algorithm() == "sha-256");
        if let Some(fingerprint) = best.or(transport.fingerprints.first()) {
            line(&mut text, format_args!("a=fingerprint:{fingerprint}"));
        }
    }
    text.push_str(&media);
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing into a string does not fail.
    _ = write!(text, "{line}\r\n");
}

fn write_rtp(
    text: &mut String,
    remote: &Checked,
    section: &Section,
    mid: &str,
    direction: Direction,
    kept: Option<Vec<String>>,
    ids: &[(u8, &'static str)],
) {
    let kind = if section.kind() == MediaKind::Video { "video" } else { "audio" };
    let mut all = formats::formats(section);
    all.retain(formats::Format::is_readable);
    if let Some(kept) = kept {
        let place = |name: &str| kept.iter().position(|one| one == name);
        all.retain(|format| place(format.name).is_some());
        all.sort_by_key(|format| place(format.name));
    }
    _ = write!(text, "m={kind} 9 UDP/TLS/RTP/SAVPF");
    all.iter().for_each(|format| _ = write!(text, " {}", format.name));
    line(text, format_args!("\r\na=mid:{mid}"));
    line(text, format_args!("a={}", direction.name()));
    let carries_mid = section.mid().is_some_and(|mid| extensions::carries_mid(remote, mid));
    for ExtMap { id, uri } in extensions::extmaps(remote, section) {
        if ids.contains(&(id, uri)) && (uri != MID || carries_mid) {
            line(text, format_args!("a=extmap:{id} {uri}"));
        }
    }
    write_attributes(text, section);
    for format in all {
        let name = format.name;
        if !format.codec.is_empty() {
            line(text, format_args!("a=rtpmap:{name} {}", format.codec));
        }
        format.feedback.iter().for_each(|one| line(text, format_args!("a=rtcp-fb:{name} {one}")));
        format.parameters.iter().for_each(|one| line(text, format_args!("a=fmtp:{name} {one}")));
    }
}

/// Removes what asks for the feedback by which a sender estimates bandwidth: a receiver would send it in vain.
pub(super) fn remove_congestion_feedback(section: &mut Section) {
    section.retain_attributes(|name, value| {
        let feedback = || value.split_ascii_whitespace().nth(1).unwrap_or_default();
        name != "rtcp-fb" || !matches!(feedback(), "transport-cc" | "goog-remb")
    });
}

/// Writes the engine's lines of a section, beside its formats and extensions.
fn write_attributes(text: &mut String, section: &Section) {
    let mut counts = [0; RTP_ATTRIBUTES.len()];
    for (name, value) in section.plain_attributes() {
        let Some(at) = RTP_ATTRIBUTES.iter().position(|(known, _)| *known == name) else {
            continue;
        };
        counts[at] += 1;
        if counts[at] > RTP_ATTRIBUTES[at].1 {
            continue;
        }
        match value {
            None if name.starts_with("rtcp-") => line(text, format_args!("a={name}")),
            // The engine ignores restrictions, and logs each one every time.
            Some(value) if name == "rid" => {
                if let Some((rid, direction)) = rid(value) {
                    line(text, format_args!("a=rid:{rid} {direction}"));
                }
            }
            Some(value) if is_readable(name, value) => line(text, format_args!("a={name}:{value}")),
            _ => {}
        }
    }
}

/// Returns the id and the direction of a RID (RFC 8851 §4), without its restrictions.
fn rid(value: &str) -> Option<(&str, &str)> {
    let mut words = value.split_ascii_whitespace();
    let (rid, direction) = (words.next()?, words.next()?);
    matches!(direction, "send" | "recv").then_some((rid, direction))
}

/// Returns whether the engine reads this line by itself, without the lines after it.
fn is_readable(name: &str, value: &str) -> bool {
    match name {
        "ssrc" => value.split_once(' ').is_some_and(|(ssrc, rest)| {
            ssrc.parse::<u32>().is_ok()
                && rest
                    .split_once(':')
                    .is_some_and(|(name, value)| !name.is_empty() && !value.is_empty())
        }),
        _ => !value.is_empty(),
    }
}

fn write_data(text: &mut String, section: &Section, mid: &str) {
    line(text, format_args!("m=application 9 UDP/DTLS/SCTP webrtc-datachannel"));
    line(text, format_args!("a=mid:{mid}"));
    line(text, format_args!("a=sctp-port:5000"));
    for (name, value) in section.plain_attributes() {
        if let ("max-message-size" | "sctp-init", Some(value)) = (name, value)
            && !value.is_empty()
        {
            line(text, format_args!("a={name}:{value}"));
        }
    }
}

/// Returns a rejected section for the peer: the same media, with port 0 (RFC 8829 §5.3.1).
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

/// Sets the profile of the offer (RFC 8829 §5.1.2), and its form of data channels.
pub(super) fn answer_profile(section: &mut Section, offered: &Section) {
    section.set_protocol(offered.protocol());
    if offered.is_data()
        && let Some(port) = offered.formats().next().filter(|format| *format != DATA_CHANNELS)
    {
        section.set_formats([port]);
        section.remove_attributes("sctp-port");
        section.push_attribute("sctpmap", Some(&format!("{port} {DATA_CHANNELS} 1024")));
    }
}

/// Sets the profile and form of offers, independent of earlier answers (RFC 8829 §5.1.2).
pub(super) fn offer_profile(section: &mut Section) {
    if section.is_rtp() {
        section.set_protocol("UDP/TLS/RTP/SAVPF");
    } else if section.is_data() {
        section.set_protocol("UDP/DTLS/SCTP");
        section.set_formats([DATA_CHANNELS]);
        section.remove_attributes("sctpmap");
        section.set_attribute("sctp-port", "5000");
    }
}

const DATA_CHANNELS: &str = "webrtc-datachannel";

pub(super) fn remove_candidates(section: &mut Section) {
    section.retain_attributes(|name, _| name != "candidate" && name != "end-of-candidates");
}

/// Writes which track is sent, with the application's ids; the engine has ids of its own.
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

/// Returns a valid `a=msid` token: 1 to 64 characters (RFC 8830 §2).
fn token(text: &str) -> String {
    let token: String =
        text.chars().filter(|one| is_token(one.encode_utf8(&mut [0; 4]))).take(64).collect();
    if token.is_empty() { "-".to_owned() } else { token }
}

/// Keeps the preferred codecs, in that order, and their retransmissions (W3C §5.4 setCodecPreferences).
pub(super) fn prefer(section: &mut Section, preferences: &[RtpCodecCapability]) {
    if let Some(kept) = formats::preferred(section, preferences) {
        section.keep_formats(&kept);
    }
}

/// Writes the session lines of every local description.
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

/// Returns a description without media.
pub(super) fn empty(origin: (u64, u64)) -> Sdp {
    let mut sdp = Sdp::default();
    for (kind, value) in [('v', "0"), ('o', "- 0 0 IN IP4 0.0.0.0"), ('s', "-"), ('t', "0 0")] {
        sdp.session_mut().replace_line(kind, value);
    }
    write_session(&mut sdp, origin, Some(&[]));
    sdp
}

/// Attributes of a section of RTP that the engine gets, beside formats and extensions, and how many lines of each.
/// Candidates are added one by one, each checked; attributes that the engine does not know may break it, and some that
/// it knows it compares with each other.
const RTP_ATTRIBUTES: [(&str, usize); 7] = [
    ("rtcp-mux", 1),
    ("rtcp-rsize", 1),
    ("msid", 8),
    ("rid", 16),
    ("simulcast", 1),
    ("ssrc", 256),
    ("ssrc-group", 64),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_hears_nothing_of_the_restrictions_of_a_rid() {
        let offer = Sdp::parse(
            "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n\
             a=rid:lo send pt=96;max-width=320\r\na=rid:hi send max-br=64000\r\na=rid:no\r\na=rid:up sideways\r\n",
        );
        let mut text = String::new();
        write_attributes(&mut text, &offer.media()[0]);
        assert_eq!(text, "a=rid:lo send\r\na=rid:hi send\r\n");
    }
}
