//! Command of forwarders: which sections of an offer carry tracks of this side.

use std::time::Duration;

use actix::prelude::*;

use crate::error::OfferSlotsError;

/// Sets what the pending offer of the peer is answered with: a slot for each of these sections, and nothing that the
/// peer has not offered. It takes effect with the answer that is made next, in place of [`ReplaceTrack`] and
/// [`SetDirection`] for each transceiver.
///
/// A section with a slot sends, and receives where the peer sends; every other section only receives, or is inactive.
/// So nothing is left that would need an offer of this side. A slot has no effect in a section that the offer does not
/// have or that was rejected, or in which the peer does not receive. What a section sends already it goes on sending,
/// if it has a slot again.
///
/// [`ReplaceTrack`]: crate::messages::ReplaceTrack
/// [`SetDirection`]: crate::messages::SetDirection
#[derive(Clone, Debug, Default, Message)]
#[rtype(result = "Result<(), OfferSlotsError>")]
pub struct OfferSlots(pub Vec<Slot>);

/// Slot: a track that stays what it is to the peer (`a=msid` and SSRC never change), while this side sends the media of
/// one source or another in it. Its codec is any that was negotiated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slot {
    /// The section's `a=mid`. Of two slots for one section the first is taken.
    pub mid: String,
    /// Id of the stream to which its track belongs, as the peer sees it: browsers play tracks of one stream in step.
    pub stream_id: String,
    /// Id of its track, as the peer sees it.
    pub id: String,
    /// Most packets that are kept to be sent again, and for how long
    /// ([`ConfigureSender::resend`](crate::messages::ConfigureSender::resend)). Default: none, for the sender's own
    /// default.
    pub resend: Option<(usize, Duration)>,
}

impl Slot {
    /// Creates a slot for the section with this mid.
    pub fn new(
        mid: impl Into<String>,
        stream_id: impl Into<String>,
        id: impl Into<String>,
    ) -> Self {
        Self { mid: mid.into(), stream_id: stream_id.into(), id: id.into(), resend: None }
    }

    /// Sets [`resend`](Self::resend).
    pub fn resend(mut self, packets: usize, age: Duration) -> Self {
        self.resend = Some((packets, age));
        self
    }
}
