//! Tests of the frame reader: whole frames, parts of frames, violations.

#[path = "../../tests/common/frame_header.rs"]
mod frame_header;

use super::*;
use frame_header::header;

/// Mask of all frames.
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
const LIMIT: usize = 100_000;

/// Creates a client's frame from its first byte and payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    header(first, payload.len() as u64, MASK).into_iter().chain(masked).collect()
}

/// Returns the frames that are read if the bytes arrive in pieces of this size.
fn read_in(bytes: &[u8], piece: usize, limit: usize) -> (Vec<Frame>, Option<FrameError>) {
    let (mut reader, mut frames) = (Reader::new(limit), Vec::new());
    for piece in bytes.chunks(piece) {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match reader.read(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(input.is_empty(), "what is not whole is taken all the same");
        assert!(reader.held() <= limit + Header::MAX_SIZE, "{}", reader.held());
    }
    (frames, None)
}

fn read(parts: &[&[u8]]) -> (Vec<Frame>, Option<FrameError>) {
    let bytes = parts.concat();
    let whole = read_in(&bytes, usize::MAX, LIMIT);
    for piece in [1, 2, 3, 7, 8_192] {
        assert_eq!(read_in(&bytes, piece, LIMIT).1, whole.1, "in pieces of {piece}");
    }
    whole
}

fn text(text: &str) -> Frame {
    Frame::Text { text: text.into(), counted: 0 }
}

#[test]
fn frames_of_every_kind_and_size_are_read_in_pieces_of_every_size() {
    for length in [0, 1, 124, 125, 126, 127, 65_535, 65_536, LIMIT] {
        let message = "ä".repeat(length / 2) + &"x".repeat(length % 2);
        let bytes = frame(0x81, message.as_bytes());
        for piece in [1, 2, 13, 14, 15, 8_192, usize::MAX] {
            let (mut frames, error) = read_in(&bytes, piece, LIMIT);
            assert_eq!(error, None);
            let Some(Frame::Text { text, counted }) = frames.pop() else { panic!("{frames:?}") };
            assert_eq!(text, message);
            let told = frames.iter().map(|frame| match frame {
                Frame::Part { bytes } => *bytes,
                other => panic!("{other:?}"),
            });
            assert_eq!(told.sum::<usize>(), counted, "{length} in pieces of {piece}");
        }
    }
    let several = [
        frame(0x82, &[1, 2, 3]),
        frame(0x89, b"ping"),
        frame(0x8a, b""),
        frame(0x88, b"\x03\xe8bye"),
        b"anything after it".to_vec(),
    ];
    let expected = [
        Frame::Binary { bytes: 3 },
        Frame::Ping("ping".into()),
        Frame::Pong(0),
        Frame::Close(Some((1000, "bye".to_owned()))),
    ];
    for piece in 1..20 {
        let (frames, error) = read_in(&several.concat(), piece, LIMIT);
        assert_eq!((frames.as_slice(), error), (expected.as_slice(), None));
    }
}

#[test]
fn fragments_are_put_together_with_control_frames_between_them() {
    let parts: [&[u8]; 6] = [
        &frame(0x01, b"one \xc3"),
        &frame(0x89, b"!"),
        // A code point may be split (RFC 6455 §5.6).
        &frame(0x00, b"\xa4 two"),
        &frame(0x00, b""),
        &frame(0x80, b" three"),
        &frame(0x81, b"four"),
    ];
    let expected = [
        Frame::Part { bytes: 5 },
        Frame::Ping("!".into()),
        Frame::Part { bytes: 5 },
        Frame::Part { bytes: 0 },
        Frame::Text { text: "one ä two three".into(), counted: 10 },
        text("four"),
    ];
    for piece in [1, 2, 3, 5, usize::MAX] {
        assert_eq!(read_in(&parts.concat(), piece, LIMIT), (expected.to_vec(), None));
    }
    assert_eq!(
        read(&[&frame(0x02, &[0xff; 10]), &frame(0x80, &[0xff; 5])]).0,
        [Frame::Part { bytes: 10 }, Frame::Binary { bytes: 5 }]
    );
}

#[test]
fn every_violation_is_told_by_the_first_byte_that_shows_it() {
    use FrameError::*;
    // The last byte of each is the wrong one.
    let start: &[u8] = &frame(0x01, b"a");
    let cases: &[(&[&[u8]], FrameError)] = &[
        (&[&[0xc1]], ReservedBits),
        (&[&[0xa1]], ReservedBits),
        (&[&[0x91]], ReservedBits),
        (&[&[0xf9]], ReservedBits),
        (&[&[0x83]], ReservedOpcode),
        (&[&[0x07]], ReservedOpcode),
        (&[&[0x8b]], ReservedOpcode),
        (&[&[0x8f]], ReservedOpcode),
        (&[&[0x81, 0x04]], Unmasked),
        (&[&[0x89, 0x00]], Unmasked),
        (&[&[0x89, 0xfe]], LongControl),
        (&[&[0x88, 0xff]], LongControl),
        (&[&[0x09]], FragmentedControl),
        (&[&[0x08]], FragmentedControl),
        (&[&[0x80]], NothingToContinue),
        (&[&[0x00]], NothingToContinue),
        (&[start, &frame(0x80, b"b"), &[0x80]], NothingToContinue),
        (&[start, &[0x81]], NotContinued),
        (&[start, &[0x02]], NotContinued),
        (&[&[0x81, 0xfe, 0, 125]], LengthNotMinimal),
        (&[&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]], LengthNotMinimal),
        (&[&[0x81, 0xff, 0x80]], LengthTooLong),
        (&[&[0x88, 0x81]], HalfCloseCode),
        (&[&[0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0]], TooLarge),
        (&[&[0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]], TooLarge),
        (&[&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x86, 0xa1]], TooLarge),
        (&[start, &[0x00, 0xff, 0, 0, 0, 0, 0, 1, 0x86, 0xa0]], TooLarge),
        (&[&frame(0x81, b"\xff")], NotUtf8),
        (&[&frame(0x81, b"\xed\xa0")], NotUtf8),
        (&[&frame(0x81, b"\xc0")], NotUtf8),
        (&[&frame(0x81, b"\xf5")], NotUtf8),
        (&[&frame(0x81, b"\xf4\x90")], NotUtf8),
        (&[&frame(0x81, b"a\x80")], NotUtf8),
        (&[&frame(0x01, b"\xf0"), &frame(0x00, b"\x80")], NotUtf8),
        (&[&frame(0x01, b"\xe2\x82"), &frame(0x80, b"x")], NotUtf8),
        (&[&frame(0x81, b"\xc3")], NotUtf8),
        (&[&frame(0x01, b"a\xff")], NotUtf8),
        (&[&frame(0x01, b"\xc3"), &frame(0x00, b"\xc3")], NotUtf8),
        (&[&frame(0x01, b"\xc3"), &frame(0x80, b"")], NotUtf8),
        (&[&frame(0x88, b"\x03\xe8\xff")], NotUtf8),
    ];
    for (parts, expected) in cases {
        let bytes = parts.concat();
        for piece in [1, 3, usize::MAX] {
            assert_eq!(read_in(&bytes, piece, LIMIT).1, Some(*expected), "{bytes:x?} in {piece}");
            let before = &bytes[..bytes.len() - 1];
            assert_eq!(read_in(before, piece, LIMIT).1, None, "{before:x?} is no violation yet");
        }
    }
}

#[test]
fn close_codes_that_may_not_be_sent_are_refused() {
    let code = |code: u16| read(&[&frame(0x88, &code.to_be_bytes())]);
    for good in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        assert_eq!(code(good), (vec![Frame::Close(Some((good, String::new())))], None));
    }
    for bad in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert_eq!(code(bad), (vec![], Some(FrameError::ReservedCloseCode)), "{bad}");
    }
    assert_eq!(read(&[&frame(0x88, b"")]), (vec![Frame::Close(None)], None));
}

#[test]
fn a_message_may_be_as_large_as_the_limit_however_it_is_cut() {
    let part = |first, size| frame(first, &vec![b'x'; size]);
    let sizes = |parts: &[Vec<u8>], limit| {
        let (frames, error) = read_in(&parts.concat(), 1_000, limit);
        let bytes = frames.iter().map(|frame| match frame {
            Frame::Text { text, counted } => text.len() - counted,
            Frame::Binary { bytes } | Frame::Part { bytes } => *bytes,
            _ => 0,
        });
        (bytes.sum::<usize>(), error)
    };
    for first in [0x01, 0x02] {
        assert_eq!(sizes(&[part(first | 0x80, 500)], 500), (500, None));
        assert_eq!(sizes(&[part(first | 0x80, 501)], 500), (0, Some(FrameError::TooLarge)));
        assert_eq!(sizes(&[part(first, 250), part(0x80, 250)], 500), (500, None));
        let over = [part(first, 250), part(0x89, 125), part(0x00, 250), part(0x80, 1)];
        assert_eq!(sizes(&over, 500), (500, Some(FrameError::TooLarge)));
        // A limit below what one byte can encode.
        assert_eq!(sizes(&[part(first | 0x80, 11)], 10), (0, Some(FrameError::TooLarge)));
        // The next message has the whole limit again.
        let two = [part(first, 500), part(0x80, 0), part(first | 0x80, 500)];
        assert_eq!(sizes(&two, 500), (1_000, None));
    }
}

/// The amount that a server happens to read at once must not decide what is counted.
#[test]
fn a_frame_that_does_not_end_is_told_by_pieces_however_much_of_it_comes_at_once() {
    let bytes = [header(0x81, 1 << 30, MASK), vec![0; 8 * PIECE + 1]].concat();
    for piece in [1, 1_000, 8_192, 100_000, 400_000, usize::MAX] {
        let (frames, error) = read_in(&bytes[..bytes.len() - 14], piece, 1 << 30);

        assert_eq!(error, None);
        // Masked zeros are text.
        assert_eq!(frames, vec![Frame::Part { bytes: PIECE }; 7], "in pieces of {piece}");
    }
    let whole = read_in(&bytes, usize::MAX, 1 << 30).0;
    assert_eq!(whole, vec![Frame::Part { bytes: PIECE }; 8]);
}

#[test]
fn nothing_is_held_between_messages_nor_allocated_for_what_is_only_claimed() {
    let mut reader = Reader::new(usize::MAX);
    let mut header =
        Bytes::from_static(&[0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(reader.read(&mut header), Ok(None));
    let mut mask_and_some = Bytes::from_static(b"\0\0\0\0some");
    assert_eq!(reader.read(&mut mask_and_some), Ok(None));
    assert_eq!(reader.held(), 4);

    let mut reader = Reader::new(LIMIT);
    for piece in [frame(0x01, b"a"), frame(0x89, b"b"), frame(0x80, b"c")].concat().chunks(1) {
        _ = reader.read(&mut Bytes::copy_from_slice(piece)).unwrap();
    }
    assert!(reader.open.is_none());
    assert!(size_of::<Reader>() <= 24, "each idle client has one");
}

#[test]
fn nothing_is_read_after_the_end() {
    for last in [frame(0x88, b""), vec![0xc1]] {
        let mut reader = Reader::new(LIMIT);
        let mut input = Bytes::from([last, frame(0x81, b"more")].concat());
        assert!(!matches!(reader.read(&mut input), Ok(None)));
        assert!(input.is_empty() && reader.is_over());
        let mut more = Bytes::from(frame(0x81, b"more"));
        assert_eq!(reader.read(&mut more), Ok(None));
    }
}

/// The check of the fuzz target, without the fuzzer: valid frames with random changes.
#[test]
fn frames_are_read_alike_whole_and_in_pieces() {
    let good = [
        frame(0x01, b"one \xc3"),
        frame(0x89, b"ping"),
        frame(0x80, b"\xa4 end"),
        frame(0x82, &[7; 200]),
        frame(0x81, "ä€😀".as_bytes()),
        frame(0x88, b"\x03\xe8bye"),
    ]
    .concat();
    let mut seed = 1_u64;
    let mut random = move |below: usize| {
        // xorshift64
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..random(4) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        bytes.drain(..[0, 0, random(bytes.len())][random(3)]);
        let pieces = [random(20) as u8, random(200) as u8, random(3) as u8];
        crate::fuzzing::read_frames(&bytes, &pieces, random(300));
    }
}
