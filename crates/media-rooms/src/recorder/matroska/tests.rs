use std::io::Cursor;

use proptest::prelude::*;

use super::*;

/// Element of a file: its identifier, and its contents.
type Element<'a> = (&'a [u8], &'a [u8]);

/// Returns the elements that these bytes are; panics unless they are that exactly.
fn elements(mut bytes: &[u8]) -> Vec<Element<'_>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (id, rest) = bytes.split_at(bytes[0].leading_zeros() as usize + 1);
        let length = rest[0].leading_zeros() as usize + 1;
        let (size, rest) = rest.split_at(length);
        let mut value = [0; 8];
        value[8 - length..].copy_from_slice(size);
        let size = u64::from_be_bytes(value) & !(1 << (7 * length));
        let (contents, rest) = rest.split_at(size as usize);
        found.push((id, contents));
        bytes = rest;
    }
    found
}

fn find<'a>(bytes: &'a [u8], id: &[u8]) -> &'a [u8] {
    elements(bytes).into_iter().find(|(other, _)| *other == id).unwrap().1
}

fn value(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Returns the blocks of a segment: track, time, whether it is a key frame, data.
fn blocks(segment: &[u8]) -> Vec<(usize, u64, bool, Vec<u8>)> {
    let clusters = elements(segment).into_iter().filter(|(id, _)| *id == id::CLUSTER);
    clusters
        .flat_map(|(_, cluster)| {
            let zero = value(find(cluster, id::TIMESTAMP)) as i64;
            let blocks = elements(cluster).into_iter().filter(|(id, _)| *id == [id::SIMPLE_BLOCK]);
            let read = move |(_, block): Element<'_>| {
                let since = i64::from(i16::from_be_bytes([block[1], block[2]]));
                let track = usize::from(block[0] & 0x7f) - 1;
                (track, (zero + since) as u64, block[3] == 0x80, block[4..].to_vec())
            };
            blocks.map(read).collect::<Vec<_>>()
        })
        .collect()
}

fn sound_and_picture() -> [Entry; 2] {
    let name = "ada".to_owned();
    let picture = EntryCodec::Vp8 { width: 640, height: 360 };
    [Entry { codec: EntryCodec::Opus, name: name.clone() }, Entry { codec: picture, name }]
}

fn write(entries: &[Entry], blocks: &[(usize, u64, bool, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::begin(Cursor::new(Vec::new()), entries).unwrap();
    for (track, time, keyframe, data) in blocks {
        let (track, time, keyframe) = (*track, *time, *keyframe);
        let block = Block { track, time, lasts: 20, keyframe, data };
        writer.write(block, entries[track].codec.is_video()).unwrap();
    }
    writer.finish().unwrap();
    writer.out.into_inner()
}

#[test]
fn a_file_says_what_is_in_it() {
    let bytes = write(&sound_and_picture(), &[(0, 10, true, vec![1; 9]), (1, 12, true, vec![2])]);

    let doc_type = find(find(&bytes, id::EBML), id::DOC_TYPE);
    let segment = find(&bytes, id::SEGMENT);
    let entries = elements(find(segment, id::TRACKS));
    assert_eq!(doc_type, b"webm");
    assert_eq!(entries.len(), 2);
    assert_eq!(find(entries[0].1, id::CODEC_ID), b"A_OPUS");
    assert_eq!(find(entries[0].1, id::CODEC_PRIVATE).len(), 19);
    assert_eq!(value(find(find(entries[1].1, id::VIDEO), id::PIXEL_WIDTH)), 640);
    let duration = find(find(segment, id::INFO), id::DURATION);
    assert_eq!(f64::from_be_bytes(duration.try_into().unwrap()), 32.0);
}

#[test]
fn h264_makes_it_matroska() {
    let configuration = vec![1, 0x42];
    let codec = EntryCodec::H264 { width: 2, height: 2, configuration: configuration.clone() };
    let bytes = write(&[Entry { codec, name: String::new() }], &[]);

    assert_eq!(find(find(&bytes, id::EBML), id::DOC_TYPE), b"matroska");
    let tracks = find(find(&bytes, id::SEGMENT), id::TRACKS);
    assert_eq!(find(elements(tracks)[0].1, id::CODEC_PRIVATE), configuration);
}

#[test]
fn the_index_leads_to_key_frames() {
    let blocks = (0..100).map(|it| (1, 7_000 + it * 100, it % 30 == 0, vec![0; 5]));
    // Sound comes first.
    let blocks: Vec<_> = std::iter::once((0, 6_990, true, vec![])).chain(blocks).collect();
    let bytes = write(&sound_and_picture(), &blocks);

    let segment = find(&bytes, id::SEGMENT);
    let seek = find(find(segment, id::SEEK_HEAD), id::SEEK);
    let place = value(find(seek, id::SEEK_POSITION)) as usize;
    let (id, cues) = elements(&segment[place..])[0];
    assert_eq!(id, id::CUES);
    let times = elements(cues).into_iter().map(|(_, point)| {
        let time = value(find(point, id::CUE_TIME));
        let position = find(find(point, id::CUE_TRACK_POSITIONS), id::CUE_CLUSTER_POSITION);
        let (id, cluster) = elements(&segment[value(position) as usize..])[0];
        assert_eq!((id, value(find(cluster, id::TIMESTAMP))), (id::CLUSTER, time));
        time
    });
    assert_eq!(times.collect::<Vec<_>>(), [7_000, 10_000, 13_000, 16_000]);
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        wanted in proptest::collection::vec(
            (0usize..2, 0u64..9_000, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300)),
            0..60
        ),
    ) {
        // Each is later than the one before it by so much, less what its track lags behind.
        let mut time = 0;
        let wanted: Vec<_> = wanted.into_iter().map(|(track, step, keyframe, data)| {
            time += step;
            (track, time - step.min(200), keyframe, data)
        }).collect();

        let bytes = write(&sound_and_picture(), &wanted);

        prop_assert_eq!(blocks(find(&bytes, id::SEGMENT)), wanted);
    }
}
