//! H.264 as Matroska keeps it (ISO/IEC 14496-15): parameter sets beside the stream, and lengths in place of start
//! codes.

use crate::core::frames::annex_b::annex_b;

/// What a decoder needs before the first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Configuration {
    pub(crate) width: u16,
    pub(crate) height: u16,
    /// `AVCDecoderConfigurationRecord` (§5.3.3.1).
    pub(crate) record: Vec<u8>,
}

/// Returns the configuration of a key frame. None if it lacks a parameter set, or breaks the format of one.
pub(crate) fn configuration(keyframe: &[u8]) -> Option<Configuration> {
    let find = |kind: u8| annex_b(keyframe).find(|unit| unit[0] & 0x1f == kind);
    let (sps, pps) = (find(SPS)?, find(PPS)?);
    let (width, height) = size(sps)?;
    let &[_, profile, compatibility, level, ..] = sps else { return None };
    let length = |unit: &[u8]| u16::try_from(unit.len()).ok().map(u16::to_be_bytes);
    // Lengths of four bytes, one set of either kind.
    let head = [1, profile, compatibility, level, 0xff, 0xe1];
    let record = [&head[..], &length(sps)?, sps, &[1], &length(pps)?, pps].concat();
    Some(Configuration { width, height, record })
}

/// Returns a frame with a length before each unit.
pub(crate) fn length_prefixed(frame: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(frame.len() + 8);
    for unit in annex_b(frame) {
        // A frame has 4 MiB at most.
        out.extend((unit.len() as u32).to_be_bytes());
        out.extend(unit);
    }
    out
}

/// Returns the size in pixels of a sequence parameter set (ITU-T H.264 §7.3.2.1.1).
fn size(sps: &[u8]) -> Option<(u16, u16)> {
    let mut bits = Bits::of(sps.get(1..)?);
    let profile = bits.take(8)?;
    bits.take(16)?;
    bits.unsigned()?;
    let mut chroma = 1;
    if HIGH_PROFILES.contains(&profile) {
        chroma = bits.unsigned()?;
        if chroma == 3 {
            bits.take(1)?;
        }
        bits.unsigned()?;
        bits.unsigned()?;
        bits.take(1)?;
        if bits.take(1)? == 1 {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.take(1)? == 1 {
                    bits.skip_scaling_list(if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.unsigned()?;
    match bits.unsigned()? {
        0 => _ = bits.unsigned()?,
        1 => {
            bits.take(1)?;
            bits.unsigned()?;
            bits.unsigned()?;
            for _ in 0..bits.unsigned()?.min(255) {
                bits.unsigned()?;
            }
        }
        _ => {}
    }
    bits.unsigned()?;
    bits.take(1)?;
    let (across, down) = (bits.unsigned()?, bits.unsigned()?);
    let fields = 2 - bits.take(1)?;
    if fields == 2 {
        bits.take(1)?;
    }
    bits.take(1)?;
    let crop = |bits: &mut Bits| Some(bits.unsigned()?.saturating_add(bits.unsigned()?));
    let (mut left_right, mut top_bottom) = (0, 0);
    if bits.take(1)? == 1 {
        (left_right, top_bottom) = (crop(&mut bits)?, crop(&mut bits)?);
    }
    let (wide, high) = match chroma {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    let pixels = |blocks: u32, cropped: u32| {
        let pixels = u64::from(blocks).checked_add(1)?.checked_mul(16)?;
        u16::try_from(pixels.checked_sub(cropped.into())?).ok().filter(|&pixels| pixels > 0)
    };
    let down = down.checked_add(1)?.checked_mul(fields)?.checked_sub(1)?;
    let width = pixels(across, left_right.checked_mul(wide)?)?;
    let height = pixels(down, top_bottom.checked_mul(high)?.checked_mul(fields)?)?;
    Some((width, height))
}

/// Bits of a parameter set, without the bytes that only keep start codes out of it (§7.4.1).
struct Bits {
    bytes: Vec<u8>,
    place: usize,
}

impl Bits {
    fn of(unit: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(unit.len());
        let mut zeros = 0;
        for &byte in unit {
            if zeros >= 2 && byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            bytes.push(byte);
        }
        Self { bytes, place: 0 }
    }

    /// Takes up to 32 bits.
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.place / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.place % 8) & 1);
            self.place += 1;
        }
        Some(value)
    }

    /// Takes a number of variable length, `ue(v)` (§9.1). The signed ones, `se(v)`, have the same length.
    fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.take(zeros)?)
    }

    /// Skips a list of so many numbers (§7.3.2.1.1.1).
    fn skip_scaling_list(&mut self, length: usize) -> Option<()> {
        let (mut last, mut next) = (8, 8);
        for _ in 0..length {
            if next != 0 {
                let code = i64::from(self.unsigned()?);
                let delta = if code % 2 == 0 { -code / 2 } else { (code + 1) / 2 };
                next = (last + delta).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
        Some(())
    }
}

const SPS: u8 = 7;
const PPS: u8 = 8;
/// Profiles whose parameter sets say how colours are sampled.
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of x264: High profile, 1280 × 720.
    const HIGH: [u8; 25] = [
        0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03,
        0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0xc0, 0xf1, 0x83, 0x19,
    ];
    /// Of x264: Constrained Baseline, 640 × 360: 368 lines, less 8 that are cut off.
    const BASELINE: [u8; 23] = [
        0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x61, 0x00, 0x00, 0x03, 0x00, 0x01,
        0x00, 0x00, 0x03, 0x00, 0x3c, 0x8f, 0x16, 0x2e,
    ];

    #[test]
    fn a_size_is_read_from_the_parameters() {
        assert_eq!(size(&HIGH), Some((1_280, 720)));
        assert_eq!(size(&BASELINE), Some((640, 360)));
        assert_eq!(size(&HIGH[..8]), None);
    }

    #[test]
    fn a_key_frame_is_configured_and_its_units_get_lengths() {
        let start = &[0, 0, 0, 1][..];
        let frame = [start, &HIGH, start, &[0x68, 0xeb, 0xe3], start, &[0x65, 9]].concat();

        let Configuration { width, height, record } = configuration(&frame).unwrap();

        assert_eq!((width, height), (1_280, 720));
        assert_eq!(record[..8], [1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 25]);
        assert_eq!(record[33..], [1, 0, 3, 0x68, 0xeb, 0xe3]);
        assert_eq!(length_prefixed(&frame)[29 + 7..], [0, 0, 0, 2, 0x65, 9]);
        assert_eq!(configuration(&[start, &[0x65, 9]].concat()), None);
    }

    proptest! {
        #[test]
        fn any_parameters_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..40)
        ) {
            _ = size(&bytes);
            _ = configuration(&[&[0, 0, 1, 0x67], &bytes[..], &[0, 0, 1, 0x68, 1]].concat());
        }
    }
}
