//! Header extensions of packets, in this crate's form and in the engine's.

use std::sync::Arc;
use std::time::Duration;

use str0m::media::{Frequency, MediaTime};
use str0m::rtp::{AbsCaptureTime, ExtensionSerializer, ExtensionValues, VideoOrientation as Str};

use crate::header_extensions::{CaptureTime, HeaderExtensions, PlayoutDelay, VideoOrientation};

/// Returns the extensions of a received packet.
pub(super) fn received(values: ExtensionValues) -> HeaderExtensions {
    let bounds = values.play_delay_min.zip(values.play_delay_max);
    HeaderExtensions {
        voice_activity: values.voice_activity,
        video_orientation: values.video_orientation.map(|orientation| match orientation {
            Str::Deg0 => VideoOrientation::Upright,
            Str::Deg90 => VideoOrientation::Quarter,
            Str::Deg180 => VideoOrientation::Half,
            Str::Deg270 => VideoOrientation::ThreeQuarters,
        }),
        capture_time: values.abs_capture_time.map(|came| {
            Arc::new(CaptureTime { time: came.capture_time, clock_offset: came.clock_offset })
        }),
        playout_delay: bounds
            .map(|(min, max)| Arc::new(PlayoutDelay { min: min.into(), max: max.into() })),
        video_layers: carried::<LAYERS>(&values),
        dependency_descriptor: carried::<DEPENDENCIES>(&values),
        others: has_others(&values).then(|| Arc::new(values)),
    }
}

/// Returns whether there are extensions that only packets of few streams have; they are kept in a box.
fn has_others(values: &ExtensionValues) -> bool {
    values.video_content_type.is_some()
        || values.video_timing.is_some()
        || values.frame_mark.is_some()
}

/// Returns the extensions of a packet to send; str0m adds those of the connection.
pub(super) fn to_send(audio_level: Option<i8>, extensions: &HeaderExtensions) -> ExtensionValues {
    let mut values = ExtensionValues {
        audio_level,
        // str0m writes both or none.
        voice_activity: extensions.voice_activity.or(audio_level.map(|_| false)),
        video_orientation: extensions.video_orientation.map(|orientation| match orientation {
            VideoOrientation::Upright => Str::Deg0,
            VideoOrientation::Quarter => Str::Deg90,
            VideoOrientation::Half => Str::Deg180,
            VideoOrientation::ThreeQuarters => Str::Deg270,
        }),
        abs_capture_time: extensions.capture_time.as_deref().map(|captured| AbsCaptureTime {
            capture_time: captured.time,
            clock_offset: captured.clock_offset,
        }),
        play_delay_min: extensions.playout_delay.as_deref().map(|delay| bound(delay.min)),
        play_delay_max: extensions.playout_delay.as_deref().map(|delay| bound(delay.max)),
        ..ExtensionValues::default()
    };
    if let Some(value) = &extensions.video_layers {
        values.user_values.set(Carried::<LAYERS>(Arc::clone(value)));
    }
    if let Some(value) = &extensions.dependency_descriptor {
        values.user_values.set(Carried::<DEPENDENCIES>(Arc::clone(value)));
    }
    if let Some(others) = extensions.others.as_deref() {
        values.video_content_type = others.video_content_type;
        values.video_timing = others.video_timing;
        values.frame_mark = others.frame_mark;
    }
    values
}

/// Returns a bound of the playout delay as it goes on the wire: in steps of 10 ms, as 12 bits. str0m keeps the lower 12
/// bits of what it is given.
fn bound(delay: Duration) -> MediaTime {
    let steps = (delay.as_millis() / 10).min(LONGEST_DELAY);
    MediaTime::new(steps as u64, Frequency::HUNDREDTHS)
}

/// Value of an extension that the engine only carries, from one end to the other.
struct Carried<const WHICH: u8>(Arc<[u8]>);

/// The layers that a sender sends.
pub(super) const LAYERS: u8 = 0;
/// Dependency descriptors.
pub(super) const DEPENDENCIES: u8 = 1;

fn carried<const WHICH: u8>(values: &ExtensionValues) -> Option<Arc<[u8]>> {
    let Carried::<WHICH>(value) = values.user_values.get()?;
    Some(Arc::clone(value))
}

/// Reads and writes an extension of video that the engine does not know.
#[derive(Debug)]
pub(super) struct Carrier<const WHICH: u8>;

impl<const WHICH: u8> Carrier<WHICH> {
    fn value(values: &ExtensionValues) -> &[u8] {
        values.user_values.get::<Carried<WHICH>>().map_or(&[], |Carried(value)| value)
    }
}

impl<const WHICH: u8> ExtensionSerializer for Carrier<WHICH> {
    fn write_to(&self, buffer: &mut [u8], values: &ExtensionValues) -> usize {
        let value = Self::value(values);
        match buffer.get_mut(..value.len()) {
            Some(room) if value.len() <= LONGEST => {
                room.copy_from_slice(value);
                value.len()
            }
            _ => 0,
        }
    }

    fn parse_value(&self, buffer: &[u8], values: &mut ExtensionValues) -> bool {
        if !buffer.is_empty() {
            values.user_values.set(Carried::<WHICH>(buffer.into()));
        }
        !buffer.is_empty()
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        Self::value(values).len() > LONGEST_IN_SHORT_FORM
    }
}

/// Longest value of the short form (RFC 8285 §4.2), in bytes.
const LONGEST_IN_SHORT_FORM: usize = 16;
/// Longest value of the long form (RFC 8285 §4.3), in bytes.
const LONGEST: usize = 255;
/// Longest playout delay, in steps of 10 ms.
const LONGEST_DELAY: u128 = 0xfff;

#[cfg(test)]
mod tests {
    use super::*;

    /// Reading these relies on extensions of the engine that no description of this crate negotiates.
    #[test]
    fn the_other_extensions_of_a_packet_go_on_with_it() {
        let came = ExtensionValues {
            audio_level: Some(-30),
            video_content_type: Some(1),
            frame_mark: Some(7),
            // The next connection adds its own.
            transport_cc: Some(9),
            ..ExtensionValues::default()
        };

        let kept = received(came);
        let sent = to_send(None, &kept);

        let expected = ExtensionValues {
            video_content_type: Some(1),
            frame_mark: Some(7),
            ..ExtensionValues::default()
        };
        assert_eq!(sent, expected);
        let plain = ExtensionValues { audio_level: Some(-30), ..ExtensionValues::default() };
        assert_eq!(received(plain).others, None, "nothing is kept where there is nothing");
    }
}
