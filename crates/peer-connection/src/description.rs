//! Session descriptions as they travel in signaling (W3C `RTCSessionDescription`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Type of a description (W3C `RTCSdpType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "W3C's")]
pub enum SdpType {
    /// The offer that begins a round.
    Offer,
    /// An answer that another may follow.
    #[serde(rename = "pranswer")]
    ProvisionalAnswer,
    /// The answer that ends a round.
    Answer,
    /// No description: rolls back the offer of this round.
    Rollback,
}

impl fmt::Display for SdpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Offer => "offer",
            Self::ProvisionalAnswer => "pranswer",
            Self::Answer => "answer",
            Self::Rollback => "rollback",
        })
    }
}

/// A session description: `{"type": "offer", "sdp": "v=0…"}` in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDescription {
    /// Type of the description.
    #[serde(rename = "type")]
    pub kind: SdpType,
    /// Text of the description (RFC 8866); empty with a rollback, and for "the one that was created last".
    #[serde(default)]
    pub sdp: String,
}

impl SessionDescription {
    /// Creates an offer.
    pub fn offer(sdp: impl Into<String>) -> Self {
        Self { kind: SdpType::Offer, sdp: sdp.into() }
    }

    /// Creates an answer.
    pub fn answer(sdp: impl Into<String>) -> Self {
        Self { kind: SdpType::Answer, sdp: sdp.into() }
    }

    /// Creates a provisional answer.
    pub fn provisional_answer(sdp: impl Into<String>) -> Self {
        Self { kind: SdpType::ProvisionalAnswer, sdp: sdp.into() }
    }

    /// Creates a rollback of the offer of this round.
    pub fn rollback() -> Self {
        Self { kind: SdpType::Rollback, sdp: String::new() }
    }
}
