use proptest::prelude::*;

use super::annex_b::annex_b;
use super::packetize::{Packetizer, Unfit};
use super::*;

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Returns the packets of frames that are sent at 30 a second, with numbers from 65,000 on.
fn packets(coding: Coding, frames: &[Vec<u8>]) -> Vec<Part> {
    let (mut packetizer, mut parts, begin) = (Packetizer::default(), Vec::new(), now());
    for (place, frame) in frames.iter().enumerate() {
        let payloads = packetizer.packetize(coding, frame).unwrap();
        let last = payloads.len() - 1;
        parts.extend(payloads.into_iter().enumerate().map(|(index, payload)| Part {
            number: 0,
            timestamp: (place as u32).wrapping_mul(3_000).wrapping_sub(5_000),
            marker: index == last,
            payload: payload.into(),
            at: begin + std::time::Duration::from_millis(33 * place as u64),
        }));
    }
    (65_000..).zip(&mut parts).for_each(|(number, part)| part.number = number);
    parts
}

fn assemble(coding: Coding, parts: impl IntoIterator<Item = Part>) -> Vec<Assembled> {
    let mut assembler = Assembler::new(coding);
    parts.into_iter().flat_map(|part| assembler.push(part)).collect()
}

/// Returns a frame of VP8 of this length at least; the rest of it is of no matter.
fn vp8(key: bool, length: usize, filling: u8) -> Vec<u8> {
    let start = [u8::from(!key), 0, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1];
    let mut frame = start.to_vec();
    frame.resize(length.max(start.len()), filling);
    frame
}

/// Returns a frame of H.264: a key frame with its parameter sets.
fn h264(key: bool, length: usize, filling: u8) -> Vec<u8> {
    let unit = |header: u8, length: usize| {
        [&[0, 0, 0, 1, header][..], &vec![filling | 1; length.max(1)]].concat()
    };
    if key {
        [unit(0x67, 20), unit(0x68, 4), unit(0x65, length)].concat()
    } else {
        [unit(0x41, length), unit(0x41, length / 2)].concat()
    }
}

#[test]
fn a_decoder_begins_with_a_key_frame_and_knows_its_size() {
    let frames = [vp8(false, 30, 1), vp8(true, 3_000, 2), vp8(false, 30, 3)];

    let got = assemble(Coding::Vp8, packets(Coding::Vp8, &frames));

    assert_eq!(got.len(), 2);
    assert_eq!((got[0].keyframe, got[0].size, got[0].after_loss), (true, Some((640, 360)), true));
    assert_eq!((&got[0].data[..], &got[1].data[..]), (&frames[1][..], &frames[2][..]));
    assert!(!got[1].keyframe && !got[1].after_loss);
}

#[test]
fn aggregates_and_fragments_of_h264_become_one_byte_stream() {
    let part = |number, payload: &[u8], marker| Part {
        number,
        timestamp: 9,
        marker,
        payload: payload.into(),
        at: now(),
    };

    let got = assemble(
        Coding::H264,
        [
            part(1, &[0x78, 0, 2, 0x67, 9, 0, 2, 0x68, 8], false),
            part(2, &[0x7c, 0x85, 1, 2], false),
            part(3, &[0x7c, 0x45, 3], true),
        ],
    );

    let stream = [0, 0, 0, 1, 0x67, 9, 0, 0, 0, 1, 0x68, 8, 0, 0, 0, 1, 0x65, 1, 2, 3];
    assert_eq!(got.iter().map(|it| &it.data[..]).collect::<Vec<_>>(), [&stream[..]]);
    assert!(got[0].keyframe);
}

#[test]
fn a_key_frame_of_h264_has_its_parameters() {
    let idr_alone = [&[0, 0, 0, 1, 0x65][..], &[7; 40]].concat();

    let got = assemble(Coding::H264, packets(Coding::H264, &[idr_alone, h264(true, 9, 7)]));

    assert_eq!(got.len(), 1, "a decoder cannot begin without them");
}

#[test]
fn another_time_ends_a_frame_whose_last_packet_has_no_marker() {
    for (coding, frames) in [
        (Coding::Vp8, [vp8(true, 3_000, 1), vp8(false, 30, 2)]),
        (Coding::H264, [h264(true, 3_000, 1), h264(false, 30, 2)]),
    ] {
        let parts = packets(coding, &frames);
        let unmarked = parts.into_iter().map(|part| Part { marker: part.number > 65_003, ..part });

        let got = assemble(coding, unmarked);

        assert_eq!(got[0].data[..], frames[0][..], "{coding:?}");
    }
}

#[test]
fn padding_belongs_to_no_frame() {
    let mut parts = packets(Coding::Vp8, &[vp8(true, 30, 1), vp8(false, 30, 2)]);
    parts[1].number += 1;
    let padding = Part { number: 65_001, payload: Arc::from([]), ..parts[0].clone() };
    parts.insert(1, padding);

    assert_eq!(assemble(Coding::Vp8, parts).len(), 2);
}

#[test]
fn a_frame_without_end_is_dropped() {
    let begin = now();
    let start = Part {
        number: 0,
        timestamp: 1,
        marker: false,
        payload: [&[0x10][..], &vp8(true, 1_000, 1)].concat().into(),
        at: begin,
    };
    let more: Arc<[u8]> = vec![0; 1_200].into();
    let rest = (1..5_000).map(|number| Part { number, payload: more.clone(), ..start.clone() });
    let next = packets(Coding::Vp8, &[vp8(true, 100, 1)]).remove(0);
    let next = Part { number: 5_000, ..next };

    let got = assemble(Coding::Vp8, [start.clone()].into_iter().chain(rest).chain([next]));

    assert_eq!(got.iter().map(|it| it.data.len()).collect::<Vec<_>>(), [100]);
}

#[test]
fn sound_goes_on_after_a_loss() {
    let frames: Vec<_> = (0..100).map(|place| vec![0xfc, place]).collect();
    let mut parts = packets(Coding::Opus, &frames);
    parts.remove(40);

    let got = assemble(Coding::Opus, parts);

    assert_eq!(got.len(), 99);
    let after: Vec<_> = got.iter().filter(|it| it.after_loss).map(|it| it.data[1]).collect();
    assert_eq!(after, [41]);
}

#[test]
fn frames_that_cannot_be_sent_are_refused() {
    let packetize = |coding, frame: &[u8]| Packetizer::default().packetize(coding, frame);

    assert_eq!(packetize(Coding::Opus, &[]), Err(Unfit::Empty));
    assert_eq!(packetize(Coding::Opus, &[0; 2_000]), Err(Unfit::TooLarge));
    assert_eq!(packetize(Coding::Vp8, &vec![0; LARGEST + 1]), Err(Unfit::TooLarge));
    assert_eq!(packetize(Coding::H264, &[0x65, 1, 2]), Err(Unfit::NoUnits));
    assert_eq!(packetize(Coding::OtherVideo, &[1]), Err(Unfit::Codec));
}

#[test]
fn units_are_found_between_start_codes_of_either_length() {
    let stream = [0, 0, 0, 1, 0x67, 5, 0, 0, 1, 0x68, 0, 0, 0, 1, 0x65, 9, 0];
    let units: Vec<&[u8]> = annex_b(&stream).collect();

    assert_eq!(units, [&[0x67, 5][..], &[0x68], &[0x65, 9]]);
    assert_eq!(annex_b(&[0, 0, 1]).count() + annex_b(&[1, 2]).count(), 0);
}

/// Frames of either codec of pictures: the first is a key frame, and of the others those with `true`.
fn any_frames() -> impl Strategy<Value = (Coding, Vec<Vec<u8>>)> {
    let frame = (prop::bool::weighted(0.2), 0usize..6_000, any::<u8>());
    let frames = proptest::collection::vec(frame, 1..20);
    (any::<bool>(), frames).prop_map(|(is_vp8, mut frames)| {
        frames[0].0 = true;
        let make = if is_vp8 { vp8 } else { h264 };
        let frames = frames.into_iter().map(|(key, length, filling)| make(key, length, filling));
        (if is_vp8 { Coding::Vp8 } else { Coding::H264 }, frames.collect())
    })
}

proptest! {
    #[test]
    fn frames_come_out_as_they_were_cut((coding, frames) in any_frames()) {
        let got = assemble(coding, packets(coding, &frames));

        prop_assert_eq!(got.len(), frames.len());
        for (got, frame) in got.iter().zip(&frames) {
            prop_assert_eq!(&got.data[..], &frame[..]);
        }
        prop_assert!(got[0].keyframe);
    }

    /// Also with packets lost, doubled or late, only whole frames come out, and after each loss a key frame.
    #[test]
    fn what_is_not_whole_does_not_come_out(
        (coding, frames) in any_frames(),
        fates in proptest::collection::vec(0u8..20, 200),
        late in proptest::collection::vec(0usize..4, 200),
    ) {
        let all = packets(coding, &frames);
        let mut parts: Vec<Part> = Vec::new();
        for (place, part) in all.iter().enumerate() {
            match fates[place % fates.len()] {
                0 if place > 0 => {}
                1 => parts.extend([part.clone(), part.clone()]),
                _ => parts.push(part.clone()),
            }
        }
        for place in 1..parts.len() {
            let other = (place + late[place % late.len()]).min(parts.len() - 1);
            parts.swap(place, other);
        }
        // Enough later packets for what is missing to be given up.
        let end = all.last().unwrap();
        parts.extend((1..1_200).map(|more| Part {
            number: end.number + more,
            timestamp: end.timestamp.wrapping_add(3_000),
            payload: Arc::from([]),
            ..end.clone()
        }));

        let got = assemble(coding, parts);

        let mut places = Vec::new();
        for frame in &got {
            let first = (frame.timestamp.wrapping_add(5_000) / 3_000) as usize;
            prop_assert_eq!(&frame.data[..], &frames[first][..]);
            places.push(first);
        }
        prop_assert!(places.is_sorted_by(|one, other| one < other), "{:?}", places);
        for (place, frame) in got.iter().enumerate().skip(1) {
            prop_assert!(
                places[place] == places[place - 1] + 1 || frame.keyframe && frame.after_loss,
                "{:?}", places
            );
        }
    }

    #[test]
    fn any_bytes_are_assembled_or_dropped(
        payloads in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..40), any::<bool>(), 0u32..3, 0u64..12),
            0..60
        ),
    ) {
        for coding in [Coding::Opus, Coding::Vp8, Coding::H264, Coding::Vp9, Coding::OtherVideo] {
            let parts = payloads.iter().map(|(payload, marker, timestamp, number)| Part {
                number: *number,
                timestamp: *timestamp,
                marker: *marker,
                payload: payload.as_slice().into(),
                at: now(),
            });
            assemble(coding, parts);
        }
    }
}
