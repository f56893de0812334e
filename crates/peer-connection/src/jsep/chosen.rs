//! Header extensions (RFC 8285) of a connection, as it was configured.

use crate::header_extensions::HeaderExtension;

/// Header extensions that a connection may agree on: a bit for each of [`KNOWN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chosen(u16);

impl Chosen {
    /// Returns those that every connection has, with these.
    pub(crate) fn new(extensions: &[HeaderExtension], transport_wide_feedback: bool) -> Self {
        let is_chosen = |uri: &str| match uri {
            TRANSPORT_CC => transport_wide_feedback,
            uri => ALWAYS.contains(&uri) || extensions.iter().any(|one| one.uri() == uri),
        };
        let bits = KNOWN.into_iter().enumerate().filter(|(_, uri)| is_chosen(uri));
        Self(bits.fold(0, |all, (at, _)| all | 1 << at))
    }

    /// Returns their URIs.
    pub(crate) fn uris(self) -> impl Iterator<Item = &'static str> {
        KNOWN
            .into_iter()
            .enumerate()
            .filter(move |(at, _)| self.0 & 1 << at != 0)
            .map(|(_, uri)| uri)
    }

    pub(super) fn has(self, uri: &str) -> bool {
        self.uris().any(|own| own == uri)
    }
}

impl Default for Chosen {
    fn default() -> Self {
        Self::new(&HeaderExtension::DEFAULT, true)
    }
}

pub(crate) const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// Numbers by which a receiver tells its sender when each packet arrived.
pub(super) const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// Extensions that the engine can have.
pub(crate) const KNOWN: [&str; 11] = [
    MID,
    TRANSPORT_CC,
    "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "urn:3gpp:video-orientation",
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
    "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00",
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
];
/// Those without which sections and streams cannot be distinguished.
const ALWAYS: [&str; 3] = [KNOWN[0], KNOWN[2], KNOWN[3]];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extensions_of_a_connection_are_those_that_were_chosen() {
        let all = [
            HeaderExtension::AudioLevel,
            HeaderExtension::AbsoluteSendTime,
            HeaderExtension::VideoOrientation,
            HeaderExtension::AbsoluteCaptureTime,
            HeaderExtension::PlayoutDelay,
            HeaderExtension::VideoLayersAllocation,
            HeaderExtension::DependencyDescriptor,
        ];
        assert!(Chosen::new(&all, true).uris().eq(KNOWN));
        assert!(Chosen::new(&[], false).uris().eq(ALWAYS));
        assert!(Chosen::new(&[], true).has(TRANSPORT_CC));
        assert!(Chosen::default().uris().eq(KNOWN.into_iter().take(7)));
        for one in all {
            assert_eq!(Chosen::new(&[one], false).uris().count(), ALWAYS.len() + 1, "{one:?}");
        }
    }
}
