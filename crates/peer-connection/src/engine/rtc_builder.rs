//! Construction of an `Rtc`.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use callboard_ice_handshake::handshake::{Certificate, DtlsBridge, crypto_provider};
use callboard_transport::Label;
use str0m::crypto::CryptoProvider;
use str0m::{Rtc, RtcConfig};

use super::{codecs, extensions};
use crate::api::{ApiInner, MediaMode};
use crate::jsep::Extensions;
use crate::sctp::{SctpGuard, SctpReport};

/// Parameters of an engine, kept to create it again.
pub(super) struct Recipe {
    /// Label of the connection.
    pub(super) label: Label,
    pub(super) api: Arc<ApiInner>,
    pub(super) certificate: Certificate,
    /// Ids of header extensions; none for str0m's own.
    pub(super) extensions: Option<Arc<Extensions>>,
    pub(super) names: extensions::Names,
}

impl Recipe {
    pub(super) fn build(&self, now: Instant) -> (Rtc, DtlsBridge, Arc<SctpReport>) {
        let settings = &self.api.settings;
        let registry = &self.api.registry;
        let mut config = RtcConfig::new()
            .set_crypto_provider(Arc::clone(&CRYPTO))
            .set_dtls_cert(self.certificate.to_dtls_cert())
            // Checked where the handshake ends, against all fingerprints that the peer has named.
            .set_fingerprint_verification(false)
            .set_ice_lite(settings.ice_lite)
            .set_rtp_mode(settings.media_mode == MediaMode::Rtp)
            .set_stats_interval(Some(STATS_INTERVAL))
            .set_rtcp_report_interval_audio(registry.audio_report_interval)
            .set_rtcp_report_interval_video(registry.video_report_interval)
            .set_sctp_max_message_size(settings.max_message_size)
            .set_sctp_max_buffered_amount(self.api.sctp_buffer());
        config.set_max_stun_rto(LONGEST_CHECK_INTERVAL);
        config.set_max_stun_retransmits(UNANSWERED_CHECKS);
        *config.codec_config() = codecs::codecs(&self.api.media_engine, registry);
        *config.extension_map() = extensions::choose(self.api.extensions());
        if let Some(wanted) = &self.extensions {
            extensions::place(config.extension_map(), wanted, &self.names);
        }
        if let Some(initial) = registry.bandwidth_estimation {
            config = config.enable_bwe(Some(str0m::bwe::Bitrate::bps(initial)));
        }
        let (rtc, bridge) = DtlsBridge::around(|| config.build(now));
        let bridge = bridge.expect("an Rtc asks its crypto provider for an engine as it is built");
        bridge.set_label(self.label.clone());
        bridge.without_media();
        bridge.let_packets_follow();
        // To str0m, 0 is no limit.
        let largest =
            settings.max_message_size.checked_sub(1).map_or(usize::MAX, |most| most as usize + 1);
        let (guard, report) = SctpGuard::new(settings.max_data_channels, largest);
        bridge.set_filter(guard);
        (rtc, bridge, report)
    }
}

/// Shared by all engines.
static CRYPTO: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(crypto_provider()));

/// Interval of statistics: older ones are of little use.
const STATS_INTERVAL: Duration = Duration::from_secs(1);
/// Longest interval between checks: under loss, one that doubles up to str0m's 3 s finds no pair in time.
const LONGEST_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Checks after which a pair without an answer is given up: after 15 s.
const UNANSWERED_CHECKS: usize = 15;
