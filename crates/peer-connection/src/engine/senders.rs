//! Options of outgoing streams, and of the bandwidth that they share.

use std::time::Duration;

use str0m::bwe::Bitrate;
use str0m::media::Mid;

use super::Engine;
use crate::media::*;

/// Options of all streams of a transceiver.
#[derive(Clone, Debug)]
pub(crate) struct SenderOptions {
    /// Names of its encodings, if it has several.
    pub(crate) encodings: Vec<Rid>,
    pub(crate) resend: Option<(usize, Duration)>,
    pub(crate) paced: Option<bool>,
    /// Whether the streams that the engine has have them.
    pub(crate) is_applied: bool,
}

impl Engine {
    /// Sets the options of a transceiver's streams: those that there are, or those that will be negotiated.
    pub(crate) fn configure_sender(&mut self, transceiver: TransceiverId, options: SenderOptions) {
        self.sender_options.insert(transceiver, options);
        self.configure_new_streams();
    }

    /// Gives streams that are new the options that were set before.
    pub(super) fn configure_new_streams(&mut self) {
        let waiting = self.sender_options.iter_mut().filter(|(_, options)| !options.is_applied);
        for (transceiver, options) in waiting {
            let Some(mid) = self.mids.get(transceiver) else { continue };
            options.is_applied = apply(&mut self.rtc, *mid, options);
        }
    }

    pub(super) fn forget_configured_streams(&mut self) {
        self.sender_options.values_mut().for_each(|options| options.is_applied = false);
    }

    /// Sets the bits per second to keep up, and those to probe for.
    pub(crate) fn set_bitrate(&mut self, minimum: u64, desired: u64) {
        self.rtc.bwe().set_bitrate(Bitrate::bps(minimum), Bitrate::bps(desired));
    }

    /// Begins the estimation of bandwidth anew.
    pub(crate) fn reset_estimate(&mut self, initial: u64) {
        self.rtc.bwe().reset(Bitrate::bps(initial));
    }
}

/// Returns whether there are streams.
fn apply(rtc: &mut str0m::Rtc, mid: Mid, options: &SenderOptions) -> bool {
    let mut api = rtc.direct_api();
    let names = options.encodings.iter().map(|rid| Some(rid.as_str().into()));
    let mut found = false;
    for name in std::iter::once(None).chain(names) {
        let Some(stream) = api.stream_tx_by_mid(mid, name) else { continue };
        found = true;
        if let Some((packets, age)) = options.resend {
            stream.set_rtx_cache(packets.clamp(1, MOST_KEPT), age, Some(RESENT));
        }
        if let Some(paced) = options.paced {
            stream.set_unpaced(!paced);
        }
    }
    found
}

/// Most packets that are kept: numbers of 16 bits name no more.
const MOST_KEPT: usize = 1 << 15;
/// Share of all bytes that may be sent again, str0m's own: beyond it a path is too bad for resending to help.
const RESENT: f32 = 0.15;
