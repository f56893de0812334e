//! Session descriptions (RFC 8866) as sections of lines: untouched lines are written as they were read, byte for byte.

mod candidate;
mod line;
mod section;

use std::fmt;

pub use candidate::{CandidateType, ParsedCandidate};
pub(crate) use section::is_direction;
pub use section::{MediaKind, Section};

/// A session description: the lines of the session, and the sections of its media.
///
/// Parsing never fails, and writing gives back the text that was parsed, even if it is not SDP at all. The peer
/// connection checks what a description must have to be negotiated.
///
/// ```
/// use callboard_peer_connection::sdp::Sdp;
///
/// let text = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n";
/// let mut sdp = Sdp::parse(text);
/// assert_eq!(sdp.to_string(), text);
///
/// sdp.media_mut()[0].set_attribute("mid", "a");
/// assert!(sdp.to_string().ends_with("a=mid:a\r\n"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sdp {
    session: Section,
    media: Vec<Section>,
}

impl Sdp {
    /// Parses a description. Lines end with CRLF or LF; the last one may have no end.
    pub fn parse(text: &str) -> Self {
        #[cfg(test)]
        parses::count();
        let mut sections: Vec<&str> = Vec::new();
        // A section begins with each `m=`, and ends where the next one begins.
        let (mut begin, mut at) = (0, 0);
        for line in text.split_inclusive('\n') {
            if line.starts_with("m=") {
                sections.push(&text[begin..at]);
                begin = at;
            }
            at += line.len();
        }
        sections.push(&text[begin..]);
        let mut sections = sections.into_iter().map(Section::of);
        Self { session: sections.next().unwrap_or_default(), media: sections.collect() }
    }

    /// Parses a description of a peer, with any blanks, empty lines and byte order mark in it.
    pub(crate) fn parse_plain(text: &str) -> Self {
        let mut sdp = Self::parse(text.trim_start_matches('\u{feff}').trim_start());
        sdp.media.iter_mut().chain([&mut sdp.session]).for_each(Section::make_plain);
        sdp
    }

    /// Returns whether this is exactly the text that it is written as.
    pub(crate) fn is_written(&self, text: &str) -> bool {
        let mut rest = Some(text);
        for section in self.sections() {
            rest = rest.and_then(|rest| rest.strip_prefix(section.text()));
        }
        rest.is_some_and(str::is_empty)
    }

    /// Returns the text of each line, without its end.
    pub(crate) fn line_texts(&self) -> impl Iterator<Item = &str> {
        self.sections().flat_map(Section::line_texts)
    }

    /// Frees spare memory: some descriptions are kept for as long as a connection lasts.
    pub(crate) fn shrink(&mut self) {
        self.media.shrink_to_fit();
        self.media.iter_mut().chain([&mut self.session]).for_each(Section::shrink);
    }

    fn sections(&self) -> impl Iterator<Item = &Section> {
        std::iter::once(&self.session).chain(&self.media)
    }

    /// Returns the lines before the first `m=`.
    pub fn session(&self) -> &Section {
        &self.session
    }

    /// Returns the lines before the first `m=`, for changes.
    pub fn session_mut(&mut self) -> &mut Section {
        &mut self.session
    }

    /// Returns the sections of media, each from its `m=` on.
    pub fn media(&self) -> &[Section] {
        &self.media
    }

    /// Returns the sections of media, for changes.
    pub fn media_mut(&mut self) -> &mut Vec<Section> {
        &mut self.media
    }

    /// Returns an attribute's value in this section, or that of the session where the section has none.
    pub fn attribute<'a>(&'a self, section: &'a Section, name: &str) -> Option<&'a str> {
        section.attribute(name).or_else(|| self.session.attribute(name))
    }

    /// Returns the mids of the first BUNDLE group (RFC 9143); none without a group.
    pub fn bundle(&self) -> Option<Vec<&str>> {
        self.session.attributes("group").find_map(|group| {
            let mut words = group.split_ascii_whitespace();
            (words.next() == Some("BUNDLE")).then(|| words.collect())
        })
    }

    /// Sets the BUNDLE group, and removes any other.
    pub fn set_bundle(&mut self, mids: &[&str]) {
        let value = std::iter::once("BUNDLE").chain(mids.iter().copied()).collect::<Vec<_>>();
        let is_bundle = |name: &str, value: &str| name == "group" && value.starts_with("BUNDLE");
        self.session.retain_attributes(|name, value| !is_bundle(name, value));
        self.session.push_attribute("group", Some(&value.join(" ")));
    }

    /// Sets identity and version in `o=` (RFC 8866 §5.2).
    pub fn set_origin(&mut self, id: u64, version: u64) {
        self.session.replace_line('o', &format!("- {id} {version} IN IP4 0.0.0.0"));
    }

    /// Returns the value of the first session line of this type.
    pub fn session_line(&self, kind: char) -> Option<&str> {
        self.session.line(kind)
    }
}

impl fmt::Display for Sdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sections().try_for_each(|section| section.fmt(f))
    }
}

/// Number of descriptions that were parsed, for tests which pin it.
#[cfg(test)]
pub(crate) mod parses {
    use std::cell::Cell;

    thread_local! {
        static PARSED: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        PARSED.set(PARSED.get() + 1);
    }

    /// Returns the number of descriptions that this does parse, on this thread.
    pub(crate) fn of<R>(work: impl FnOnce() -> R) -> (R, usize) {
        let before = PARSED.get();
        let result = work();
        (result, PARSED.get() - before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\na=sendrecv\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\n";

    #[test]
    fn the_encodings_that_a_section_sends_are_in_order() {
        for (value, expected) in [
            ("send q;~h;f", &["q", "h", "f"][..]),
            ("recv 1;2 send a,~b;c", &["a", "c"]),
            (" send rid=1;2", &["1", "2"]),
            ("recv 1;2", &[]),
            ("send", &[]),
            ("", &[]),
        ] {
            let sdp = Sdp::parse(&format!("v=0\r\nm=video 9 RTP 96\r\na=simulcast:{value}\r\n"));
            assert_eq!(sdp.media()[0].sent_encodings().collect::<Vec<_>>(), expected, "{value}");
        }
    }

    #[test]
    fn a_description_is_read_by_sections() {
        let sdp = Sdp::parse(TEXT);

        assert_eq!(sdp.bundle(), Some(vec!["0", "1"]));
        assert_eq!(sdp.media().len(), 2);
        assert_eq!(sdp.media()[0].kind(), MediaKind::Audio);
        assert_eq!(sdp.media()[0].formats().collect::<Vec<_>>(), ["111", "0"]);
        assert_eq!(sdp.media()[0].mid(), Some("0"));
        assert!(sdp.media()[0].has("sendrecv"));
        assert!(sdp.media()[1].is_data());
        assert_eq!(sdp.session_line('o'), Some("- 1 2 IN IP4 0.0.0.0"));
    }

    #[test]
    fn a_change_touches_its_line_alone() {
        let mut sdp = Sdp::parse(TEXT);

        sdp.set_origin(7, 8);
        sdp.set_bundle(&["1"]);
        sdp.media_mut()[0].set_port(0);
        sdp.media_mut()[0].set_direction("inactive");
        sdp.media_mut()[0].set_formats(["0"]);

        let changed = TEXT
            .replace("o=- 1 2", "o=- 7 8")
            .replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 1")
            .replace("m=audio 9 UDP/TLS/RTP/SAVPF 111 0", "m=audio 0 UDP/TLS/RTP/SAVPF 0")
            .replace("a=sendrecv", "a=inactive");
        assert_eq!(sdp.to_string(), changed);
    }

    #[test]
    fn what_is_no_description_is_written_as_it_was() {
        for text in [
            "",
            "\n",
            "\r\n\r\n",
            "x",
            "m=",
            "m=\n",
            "a=",
            "=\n=",
            "m=audio",
            "v=0\nm=a b c d\r\r\n",
            "a=x\0y",
        ] {
            let sdp = Sdp::parse(text);
            assert_eq!(sdp.to_string(), text);
            for section in sdp.media() {
                _ = (section.kind(), section.port(), section.protocol(), section.formats().count());
            }
        }
    }

    proptest! {
        #[test]
        fn every_text_is_written_as_it_was(text in "([a-z]=?[ -~]{0,12}(\r\n|\n|\r)?){0,20}") {
            prop_assert_eq!(Sdp::parse(&text).to_string(), text);
        }

        #[test]
        fn no_change_is_a_panic(text in "(([vosma]=)?[ -~]{0,12}(\r\n|\n)){0,12}", port: u16) {
            let mut sdp = Sdp::parse(&text);
            sdp.set_origin(1, 2);
            sdp.set_bundle(&["a"]);
            for section in sdp.media_mut() {
                section.set_port(port);
                section.set_formats(["1", "2"]);
                section.set_direction("sendonly");
                section.set_attribute("mid", "x");
                section.remove_attributes("candidate");
                prop_assert_eq!(section.port(), Some(port));
                prop_assert_eq!(section.mid(), Some("x"));
            }
        }
    }
}
