//! Codecs of an engine, and their payload types.

use std::collections::HashSet;

use str0m::format::{Codec as FormatCodec, CodecConfig, CodecSpec, FormatParams, PayloadParams};
use str0m::media::Pt;

use super::convert::frequency;
use crate::api::{Codec, InterceptorRegistry, MediaEngine};

pub(super) fn codecs(engine: &MediaEngine, registry: &InterceptorRegistry) -> CodecConfig {
    let mut config = CodecConfig::empty();
    for codec in engine.codecs() {
        match codec {
            Codec::Opus => config.enable_opus(true, engine.codecs().contains(&Codec::Red)),
            // It comes with Opus.
            Codec::Red => {}
            Codec::Pcmu => config.enable_pcmu(true, false),
            Codec::Pcma => config.enable_pcma(true, false),
            Codec::G722 => config.enable_g722(true, false),
            Codec::ComfortNoise => config.enable_comfort_noise(true),
            Codec::Vp8 => config.enable_vp8(true),
            Codec::Vp9 => config.enable_vp9(true),
            Codec::H264 => config.enable_h264(true),
            Codec::H265 => config.enable_h265(true),
            Codec::Av1 => config.enable_av1(true),
        }
    }
    // Tones accompany audio (RFC 4733), at the clock rate of its codec.
    let clocks = [(Codec::Opus, 110, 48_000), (Codec::Pcmu, 126, 8_000)];
    for (with, pt, clock) in clocks {
        if engine.codecs().contains(&with) {
            let (pt, clock) = (Pt::new_with_value(pt), frequency(clock));
            config.add_config(pt, None, FormatCodec::Tele, clock, None, FormatParams::default());
        }
    }
    let numbers = numbers(config.params());
    let params = config.params().iter().zip(numbers).map(|(params, (pt, resend))| {
        let resend = resend.filter(|_| registry.rtx).map(Pt::new_with_value);
        // Redundancy cannot be added to others.
        let mut changed = match params.red() {
            Some(_) => *params,
            None => PayloadParams::new(Pt::new_with_value(pt), resend, params.spec()),
        };
        changed.set_fb_fir(params.fb_fir());
        changed.set_fb_pli(params.fb_pli());
        changed.set_fb_remb(params.fb_remb());
        changed.set_fb_nack(params.fb_nack() && registry.nack);
        changed.set_fb_transport_cc(params.fb_transport_cc() && registry.transport_wide_feedback);
        changed
    });
    CodecConfig::new_from_payload_params(params.collect())
}

/// Returns the payload types to offer first, of codecs and their retransmissions: Firefox's own.
///
/// Firefox returns to its own in later offers, also when others were negotiated, and then accepts no others; the
/// payload types of a peer connection cannot change. The other browsers keep to what was negotiated.
fn numbers(params: &[PayloadParams]) -> Vec<(u8, Option<u8>)> {
    let firefox: Vec<Option<(u8, u8)>> =
        params.iter().map(|one| own_number(one).or_else(|| firefox_number(&one.spec()))).collect();
    let mut taken: HashSet<u8> = FIREFOX_ONLY.into_iter().collect();
    taken.extend(params.iter().filter_map(PayloadParams::red).map(|pt| *pt));
    taken.extend(firefox.iter().flatten().flat_map(|(pt, resend)| [*pt, *resend]));
    let mut free = |wanted: u8| {
        let dynamic = std::iter::once(wanted).chain(96..=127).chain(35..=63);
        let found = dynamic.into_iter().find(|pt| !taken.contains(pt)).unwrap_or(wanted);
        taken.insert(found);
        found
    };
    let number = |(params, firefox): (&PayloadParams, Option<(u8, u8)>)| match firefox {
        Some((pt, resend)) => (pt, params.resend().map(|_| resend)),
        None => (free(*params.pt()), params.resend().map(|pt| free(*pt))),
    };
    params.iter().zip(firefox).map(number).collect()
}

/// Returns the payload type of a codec with redundancy, which the engine does not let go.
fn own_number(params: &PayloadParams) -> Option<(u8, u8)> {
    params.red().map(|_| (*params.pt(), *params.pt()))
}

/// Returns the payload types of Firefox 153's offers for a codec and its retransmission.
fn firefox_number(spec: &CodecSpec) -> Option<(u8, u8)> {
    let FormatParams { packetization_mode, profile_level_id, profile_id, .. } = spec.format;
    // A codec without retransmission has its own number twice.
    Some(match (spec.codec, spec.clock_rate.get()) {
        (FormatCodec::Opus, _) => (109, 109),
        (FormatCodec::Tele, 8_000) => (101, 101),
        (FormatCodec::Vp8, _) => (120, 124),
        (FormatCodec::Vp9, _) if profile_id.unwrap_or_default() == 0 => (121, 125),
        (FormatCodec::Av1, _) => (99, 100),
        (FormatCodec::H264, _) => match (profile_level_id?, packetization_mode?) {
            (0x42_e0_1f, 1) => (126, 127),
            (0x42_e0_1f, 0) => (97, 98),
            (0x42_00_1f, 1) => (105, 106),
            (0x42_00_1f, 0) => (103, 104),
            _ => return None,
        },
        _ => return None,
    })
}

/// Payload types of Firefox for formats that this crate does not have: forward error correction.
const FIREFOX_ONLY: [u8; 3] = [119, 122, 123];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_payload_type_of_its_own_and_firefox_keeps_its() {
        use Codec::*;
        let every = [Opus, Pcmu, Pcma, G722, ComfortNoise, Vp8, Vp9, H264, H265, Av1];
        let redundant = MediaEngine::of(every).codec(Red);
        for api in
            [MediaEngine::of(every), redundant, MediaEngine::default(), MediaEngine::of([Vp9])]
        {
            let config = codecs(&api, &InterceptorRegistry::default());
            let params = config.params();
            let mut all: Vec<u8> = params
                .iter()
                .flat_map(|one| [Some(one.pt()), one.resend(), one.red()])
                .flatten()
                .map(|pt| *pt)
                .collect();
            // RFC 5761 §4: 64 to 95 would be taken for RTCP.
            assert!(all.iter().all(|pt| *pt < 128 && !(64..96).contains(pt)), "{all:?}");
            assert!(!all.iter().any(|pt| FIREFOX_ONLY.contains(pt)), "{all:?}");
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), count, "{params:?}");
            for (codec, pt) in
                [(FormatCodec::Opus, 109), (FormatCodec::Vp8, 120), (FormatCodec::Av1, 99)]
            {
                let found = params.iter().find(|one| one.spec().codec == codec);
                let found = found.filter(|one| one.red().is_none());
                assert!(found.is_none_or(|one| *one.pt() == pt), "{found:?}");
            }
        }
    }
}
