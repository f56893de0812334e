//! Byte streams of H.264 (ITU-T H.264 Annex B).

/// Returns the NAL units of a byte stream, without their start codes.
pub(crate) fn annex_b(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(stream);
    std::iter::from_fn(move || {
        let unit = rest?;
        let end = unit.windows(3).position(|it| it == [0, 0, 1]);
        rest = end.map(|end| &unit[end + 3..]);
        let unit = &unit[..end.unwrap_or(unit.len())];
        // Zeros before a start code are no part of the unit, which ends with a one.
        let length = unit.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        Some(&unit[..length])
    })
    .filter(|unit| !unit.is_empty())
}

fn after_start_code(stream: &[u8]) -> Option<&[u8]> {
    let start = stream.windows(3).position(|it| it == [0, 0, 1])?;
    Some(&stream[start + 3..])
}
