//! ICE candidates as they travel in signaling (W3C `RTCIceCandidateInit`).

use serde::{Deserialize, Serialize};

/// A candidate for the peer, or from it. In JSON its members are spelt as in browsers (`sdpMid`); the spelling of
/// webrtc-rs and Specter (`sdp_mid`) is accepted as well.
///
/// An empty `candidate` means that there are no more for this user fragment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IceCandidate {
    /// `candidate:…` (RFC 8839 §5.1).
    #[serde(default)]
    pub candidate: String,
    /// The `a=mid` of its section.
    #[serde(default, alias = "sdp_mid")]
    pub sdp_mid: Option<String>,
    /// The number of its section, from 0.
    #[serde(default, rename = "sdpMLineIndex", alias = "sdp_mline_index", alias = "sdpMlineIndex")]
    pub sdp_m_line_index: Option<u16>,
    /// The user fragment of the credentials to which it belongs.
    #[serde(default, alias = "username_fragment")]
    pub username_fragment: Option<String>,
}

impl IceCandidate {
    /// Returns whether this means that there are no more candidates.
    pub fn is_end_of_candidates(&self) -> bool {
        self.candidate.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        let browser =
            r#"{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"u"}"#;
        let specter = r#"{"candidate":"candidate:1","sdp_mid":"0","sdp_mline_index":0,"username_fragment":"u"}"#;
        let read: IceCandidate = serde_json::from_str(browser).unwrap();

        assert_eq!(read, serde_json::from_str(specter).unwrap());
        assert_eq!(serde_json::to_string(&read).unwrap(), browser);
        assert!(
            serde_json::from_str::<IceCandidate>(r#"{"sdpMid":null}"#)
                .unwrap()
                .is_end_of_candidates()
        );
    }
}
