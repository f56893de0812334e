//! AV1 in RTP (the Alliance for Open Media's "RTP Payload Format For AV1", v1.0): from which packet a decoder can
//! start. All layers of a stream are forwarded together.

/// Fields of an AV1 payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Av1Payload {
    /// Whether a coded video sequence, and with it a key frame, begins here.
    pub(crate) keyframe: bool,
}

/// Error of a payload that its header contradicts, or without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the AV1 payload is malformed")]
pub(crate) struct Av1Error;

/// Reads a payload's aggregation header (§4.4).
pub(crate) fn parse(payload: &[u8]) -> Result<Av1Payload, Av1Error> {
    let header = payload.first().ok_or(Av1Error)?;
    let (continues, keyframe) = (header & Z != 0, header & N != 0);
    // "if N is equal to 1, then Z must be 0".
    if continues && keyframe {
        return Err(Av1Error);
    }
    Ok(Av1Payload { keyframe })
}

/// The first part goes on from the packet before.
const Z: u8 = 0x80;
/// The first packet of a coded video sequence.
const N: u8 = 0x08;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_starts_with_a_coded_video_sequence() {
        assert_eq!(parse(&[N | 0x10, 0x0a]), Ok(Av1Payload { keyframe: true }));
        assert_eq!(parse(&[0x10, 0x32]), Ok(Av1Payload { keyframe: false }));
        assert_eq!(parse(&[Z, 0]), Ok(Av1Payload { keyframe: false }));
        assert_eq!(parse(&[Z | N]), Err(Av1Error));
        assert_eq!(parse(&[]), Err(Av1Error));
    }
}
