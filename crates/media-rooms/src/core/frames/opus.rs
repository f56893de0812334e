//! Opus packets (RFC 6716): how long they sound.

use std::time::Duration;

/// Returns how long a packet sounds (RFC 6716 §3.1, §3.2). None for one that breaks the format: empty, or longer than
/// 120 ms.
pub(crate) fn duration(packet: &[u8]) -> Option<Duration> {
    let (&toc, rest) = packet.split_first()?;
    let frame = match toc >> 3 {
        // SILK, hybrid, CELT.
        config @ 0..=11 => [10_000, 20_000, 40_000, 60_000][usize::from(config & 3)],
        config @ 12..=15 => [10_000, 20_000][usize::from(config & 1)],
        config => [2_500, 5_000, 10_000, 20_000][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(rest.first()? & 0x3f),
    };
    let whole = Duration::from_micros(frame * frames);
    (!whole.is_zero() && whole <= LONGEST).then_some(whole)
}

/// Longest packet (RFC 6716 §3.2.5).
const LONGEST: Duration = Duration::from_millis(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_table() {
        let micros = |packet: &[u8]| duration(packet).map(|it| it.as_micros());

        assert_eq!(micros(&[0xfc, 1]), Some(20_000), "CELT, full band");
        assert_eq!(micros(&[0x80, 1]), Some(2_500));
        assert_eq!(micros(&[0x18, 1]), Some(60_000), "SILK, narrow band");
        assert_eq!(micros(&[0x60, 1]), Some(10_000), "hybrid");
        assert_eq!(micros(&[0x78 | 1, 1]), Some(40_000), "two frames of 20 ms");
        assert_eq!(micros(&[0xfb, 3]), Some(60_000), "three frames of 20 ms");
    }

    #[test]
    fn packets_that_break_the_format_have_none() {
        for bad in [&[][..], &[0xfb], &[0xfb, 0], &[0xfb, 7], &[0x1b, 3]] {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
    }
}
