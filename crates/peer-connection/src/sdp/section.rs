//! Section of a description: the lines of the session, or of one of its media.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::line::Line;

/// Kind of a section, by its `m=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MediaKind {
    /// `m=audio`
    Audio,
    /// `m=video`
    Video,
    /// `m=application`
    Application,
    /// Any other kind.
    Other,
}

/// Lines of the session, or of one section of media.
///
/// Kept as their text, which is the smallest form, and is copied at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    text: String,
}

impl Section {
    /// Reads the text of a section: all of its lines, with their ends.
    pub(super) fn of(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    /// Returns the text of all lines, with their ends.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text of each line, without its end.
    pub(crate) fn line_texts(&self) -> impl Iterator<Item = &str> {
        self.lines().map(Line::text)
    }

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        Line::split(&self.text)
    }

    /// Returns the kind by the `m=` line.
    pub fn kind(&self) -> MediaKind {
        match self.words().next() {
            Some("audio") => MediaKind::Audio,
            Some("video") => MediaKind::Video,
            Some("application") => MediaKind::Application,
            _ => MediaKind::Other,
        }
    }

    /// Returns the name of the media: `audio`.
    pub fn media(&self) -> &str {
        self.words().next().unwrap_or_default()
    }

    /// Returns the port, if it is a number; 0 means that the section was rejected, or uses another section's transport.
    pub fn port(&self) -> Option<u16> {
        // A number of ports may follow.
        self.words().nth(1)?.split('/').next()?.parse().ok()
    }

    /// Returns the transport protocol.
    pub fn protocol(&self) -> &str {
        self.words().nth(2).unwrap_or_default()
    }

    /// Returns the formats: payload types of RTP.
    pub fn formats(&self) -> impl Iterator<Item = &str> {
        self.words().skip(3)
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.line('m').unwrap_or_default().split_ascii_whitespace()
    }

    fn first_words(&self) -> [&str; 4] {
        let mut words = self.words();
        std::array::from_fn(|_| words.next().unwrap_or_default())
    }

    /// Returns whether it is a section of data channels (RFC 8841), also in the form of old drafts: `DTLS/SCTP 5000`
    /// and `a=sctpmap`.
    pub fn is_data(&self) -> bool {
        let [.., format] = self.first_words();
        self.is_over_sctp() && (format == DATA_CHANNELS || self.maps_data_channels(format))
    }

    /// Returns whether it is carried by SCTP over DTLS: data channels, or something else (RFC 8841 §4).
    pub(crate) fn is_over_sctp(&self) -> bool {
        let [kind, _, protocol, _] = self.first_words();
        kind == "application" && DATA_PROFILES.contains(&protocol)
    }

    fn maps_data_channels(&self, port: &str) -> bool {
        self.attributes("sctpmap").any(|map| {
            let mut words = map.split_ascii_whitespace();
            !port.is_empty() && words.next() == Some(port) && words.next() == Some(DATA_CHANNELS)
        })
    }

    /// Returns whether it is RTP, by a profile that stands for RTP over DTLS (RFC 8829 §5.1.2). Its fingerprint says
    /// whether DTLS is really used.
    pub fn is_rtp(&self) -> bool {
        let [kind, _, protocol, _] = self.first_words();
        matches!(kind, "audio" | "video") && RTP_PROFILES.contains(&protocol)
    }

    /// Returns its mid (RFC 5888).
    pub fn mid(&self) -> Option<&str> {
        self.attribute("mid").map(str::trim).filter(|mid| !mid.is_empty())
    }

    /// Returns the value of the first line of this type.
    pub fn line(&self, kind: char) -> Option<&str> {
        self.lines().find_map(|line| line.value_of(kind))
    }

    /// Returns the value of the first attribute of this name; empty for one without a value.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes(name).next()
    }

    /// Returns the values of all attributes of this name.
    pub fn attributes(&self, name: &str) -> impl Iterator<Item = &str> {
        self.lines().filter_map(move |line| line.attribute_named(name))
    }

    /// Returns names and values of all attributes.
    pub fn all_attributes(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.lines().filter_map(Line::attribute)
    }

    /// Returns whether there is an attribute of this name.
    pub fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// Returns its direction's name (RFC 8866 §6.7), if it names one.
    pub fn direction(&self) -> Option<&str> {
        self.all_attributes().map(|(name, _)| name).find(|name| DIRECTIONS.contains(name))
    }

    /// Returns the names of the encodings that it sends by simulcast (RFC 8853 §5.1), in its order: of alternatives the
    /// first.
    pub(crate) fn sent_encodings(&self) -> impl Iterator<Item = &str> {
        let mut words = self.attribute("simulcast").unwrap_or_default().split_ascii_whitespace();
        let list = words.find(|word| *word == "send").and_then(|_| words.next());
        // In drafts of it, `rid=` comes first.
        let list = list.map(|list| list.strip_prefix("rid=").unwrap_or(list)).unwrap_or_default();
        list.split(';').filter_map(|one| one.split(',').next()).filter_map(|name| {
            // Paused at first.
            let name = name.strip_prefix('~').unwrap_or(name);
            (!name.is_empty()).then_some(name)
        })
    }

    /// Sets the direction, and removes any other.
    pub fn set_direction(&mut self, direction: &str) {
        let names_one =
            |line: Line<'_>| line.attribute().is_some_and(|(name, _)| DIRECTIONS.contains(&name));
        if !self.set_line(names_one, &format!("a={direction}")) {
            return self.push_attribute(direction, None);
        }
        let mut first = true;
        self.remove_where(|line| names_one(line) && !std::mem::take(&mut first));
    }

    /// Sets the port.
    pub fn set_port(&mut self, port: u16) {
        self.set_word(1, &port.to_string());
    }

    /// Sets the transport protocol.
    pub fn set_protocol(&mut self, protocol: &str) {
        self.set_word(2, protocol);
    }

    /// Sets the formats.
    pub fn set_formats<'a>(&mut self, formats: impl IntoIterator<Item = &'a str>) {
        let mut words: Vec<String> = self.words().take(3).map(str::to_owned).collect();
        words.resize(3, "-".to_owned());
        words.extend(formats.into_iter().map(str::to_owned));
        let line = words.join(" ");
        self.replace_line('m', &line);
    }

    /// Keeps these formats, in this order, and removes the others with their attributes.
    pub(crate) fn keep_formats(&mut self, kept: &[String]) {
        self.set_formats(kept.iter().map(String::as_str));
        self.retain_attributes(|name, value| {
            !matches!(name, "rtpmap" | "fmtp" | "rtcp-fb")
                || value
                    .split_whitespace()
                    .next()
                    .is_some_and(|format| format == "*" || kept.iter().any(|kept| kept == format))
        });
    }

    fn set_word(&mut self, at: usize, word: &str) {
        let mut words: Vec<&str> = self.words().collect();
        if words.len() <= at {
            words.resize(at + 1, "-");
        }
        words[at] = word;
        let line = words.join(" ");
        self.replace_line('m', &line);
    }

    /// Sets the value of the first line of this type, or adds a line.
    pub fn replace_line(&mut self, kind: char, value: &str) {
        let text = format!("{kind}={value}");
        if !self.set_line(|line| line.value_of(kind).is_some(), &text) {
            self.push_line(&text);
        }
    }

    /// Sets the value of the first attribute of this name, or adds one.
    pub fn set_attribute(&mut self, name: &str, value: &str) {
        let named = |line: Line<'_>| line.attribute_named(name).is_some();
        if !self.set_line(named, &format!("a={name}:{value}")) {
            self.push_attribute(name, Some(value));
        }
    }

    /// Adds an attribute at the end.
    pub fn push_attribute(&mut self, name: &str, value: Option<&str>) {
        let text = match value {
            Some(value) => format!("a={name}:{value}"),
            None => format!("a={name}"),
        };
        self.push_line(&text);
    }

    /// Removes all attributes of this name.
    pub fn remove_attributes(&mut self, name: &str) {
        self.retain_attributes(|found, _| found != name);
    }

    /// Keeps the attributes for which this is true, and all lines that are not attributes.
    pub fn retain_attributes(&mut self, keep: impl Fn(&str, &str) -> bool) {
        self.remove_where(|line| {
            line.attribute().is_some_and(|(name, value)| !keep(name, value.unwrap_or_default()))
        });
    }

    /// Ends all lines with CRLF (RFC 8866), without blanks before the end, and removes empty lines.
    pub(super) fn make_plain(&mut self) {
        let mut text = String::with_capacity(self.text.len() + 2);
        for line in self.lines().map(|line| line.text().trim_end()) {
            if !line.is_empty() {
                text.push_str(line);
                text.push_str(CRLF);
            }
        }
        self.text = text;
    }

    /// Returns names and values of the attributes that contain only characters that are allowed in a line.
    pub(crate) fn plain_attributes(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.lines().filter(|line| line.is_plain()).filter_map(Line::attribute)
    }

    /// Keeps its `m=` line and the attributes for which this is true, and frees spare memory.
    pub(crate) fn settle(&mut self, keep: impl Fn(&str, &str) -> bool) {
        self.remove_where(|line| match line.attribute() {
            Some((name, value)) => !keep(name, value.unwrap_or_default()),
            None => !line.is_media(),
        });
        self.shrink();
    }

    pub(super) fn remove_where(&mut self, mut remove: impl FnMut(Line<'_>) -> bool) {
        let mut kept = String::with_capacity(self.text.len());
        // Each line without its end, and each with it.
        for (line, whole) in self.lines().zip(self.text.split_inclusive('\n')) {
            if !remove(line) {
                kept.push_str(whole);
            }
        }
        self.text = kept;
    }

    /// Frees spare memory.
    pub(crate) fn shrink(&mut self) {
        self.text.shrink_to_fit();
    }

    /// Replaces the text of the first line for which this is true, and keeps its end. Returns whether there is one.
    fn set_line(&mut self, is_it: impl Fn(Line<'_>) -> bool, text: &str) -> bool {
        let Some(found) = self.find(is_it) else { return false };
        self.text.replace_range(found, &one_line(text));
        true
    }

    /// Returns where the text of the first line for which this is true stands, without its end.
    fn find(&self, is_it: impl Fn(Line<'_>) -> bool) -> Option<Range<usize>> {
        let mut start = 0;
        for (line, whole) in self.lines().zip(self.text.split_inclusive('\n')) {
            if is_it(line) {
                return Some(start..start + line.text().len());
            }
            start += whole.len();
        }
        None
    }

    fn push_line(&mut self, line: &str) {
        // A last line needs an end, so that another one can follow.
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push_str(CRLF);
        }
        self.text.push_str(&one_line(line));
        self.text.push_str(CRLF);
    }
}

/// Returns a line of this side: one line stays one line, also if its text contains line ends.
fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(['\r', '\n']) {
        return Cow::Owned(text.replace(['\r', '\n'], " "));
    }
    Cow::Borrowed(text)
}

/// Returns whether an attribute of this name is a direction.
pub(crate) fn is_direction(name: &str) -> bool {
    DIRECTIONS.contains(&name)
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const CRLF: &str = "\r\n";
/// Profiles that RFC 8829 §5.1.2 requires peers to accept, and one that was never registered.
const RTP_PROFILES: [&str; 9] = [
    "UDP/TLS/RTP/SAVPF",
    "UDP/TLS/RTP/SAVP",
    "TCP/DTLS/RTP/SAVPF",
    "TCP/DTLS/RTP/SAVP",
    "RTP/SAVPF",
    "RTP/SAVP",
    "RTP/AVPF",
    "RTP/AVP",
    "TCP/TLS/RTP/SAVPF",
];
/// Profiles of data channels.
const DATA_PROFILES: [&str; 3] = ["UDP/DTLS/SCTP", "TCP/DTLS/SCTP", "DTLS/SCTP"];
const DATA_CHANNELS: &str = "webrtc-datachannel";
const DIRECTIONS: [&str; 4] = ["sendrecv", "sendonly", "recvonly", "inactive"];
