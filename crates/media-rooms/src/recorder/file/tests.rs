use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use callboard_peer_connection::TransceiverId;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn track(number: u128) -> TrackId {
    TrackId(TransceiverId(uuid::Uuid::from_u128(number)))
}

fn frame(codec: Codec, keyframe: bool, captured: Instant) -> Frame {
    let data: Arc<[u8]> = Arc::from([0xfc; 40]);
    let size = keyframe.then_some((640, 360));
    Frame { codec, data, keyframe, after_loss: false, timestamp: 0, captured, size }
}

/// Folder that is removed at the end, and a recording in it.
fn recording() -> (tempfile::TempDir, Recording, Instant) {
    let folder = tempfile::tempdir().unwrap();
    let origin = tokio::time::Instant::now().into_std();
    let recording = Recording::new(folder.path(), "ada".to_owned(), origin, 60_000 * MS);
    (folder, recording, origin)
}

fn names(folder: &tempfile::TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_first_frames_wait_for_those_of_the_other_track() {
    let (folder, mut recording, origin) = recording();
    let (sound, picture) = (track(1), track(2));
    recording.add(sound, "ada");
    recording.add(picture, "ada");

    for at in 0..10 {
        let outcome = recording.write(sound, &frame(Codec::Opus, true, origin + MS * 20 * at));
        assert_eq!(outcome.unwrap(), Outcome::default());
    }
    let outcome = recording.write(picture, &frame(Codec::Vp8, true, origin + MS * 200));

    assert_eq!(outcome.unwrap().begun, Some(folder.path().join("ada-1.webm")));
    recording.finish().unwrap();
    assert_eq!(names(&folder), ["ada-1.webm"]);
}

#[test]
fn sound_alone_is_recorded_after_three_seconds() {
    let (folder, mut recording, origin) = recording();
    let (sound, picture) = (track(1), track(2));
    recording.add(sound, "ada");
    recording.add(picture, "ada");
    let at = |ms| frame(Codec::Opus, true, origin + MS * ms);

    assert_eq!(recording.write(sound, &at(0)).unwrap().begun, None);
    assert!(recording.write(sound, &at(3_020)).unwrap().begun.is_some());

    // With the camera another file begins, which has both.
    let outcome = recording.write(picture, &frame(Codec::Vp8, true, origin + MS * 4_000));
    assert!(outcome.unwrap().begun.is_some());
    recording.finish().unwrap();
    assert_eq!(names(&folder), ["ada-1.webm", "ada-2.webm"]);
}

#[test]
fn a_long_recording_goes_on_in_another_file_with_a_key_frame() {
    let (folder, mut recording, origin) = recording();
    let picture = track(2);
    recording.add(picture, "ada");
    let write = |recording: &mut Recording, keyframe, ms| {
        let frame = frame(Codec::Vp8, keyframe, origin + MS * ms);
        recording.write(picture, &frame).unwrap()
    };
    write(&mut recording, true, 0);
    write(&mut recording, false, 30_000);
    let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();

    let outcome = write(&mut recording, false, 60_001);

    assert_eq!(outcome.wanted, [picture], "it cannot begin with this one");
    assert_eq!(outcome.begun, None);
    write(&mut recording, false, 60_030);
    assert!(write(&mut recording, true, 60_060).begun.is_some());
    recording.finish().unwrap();
    assert!(size("ada-1.webm") > size("ada-2.webm"), "two frames, and one");
}

#[test]
fn no_file_is_written_over() {
    let (folder, mut recording, origin) = recording();
    fs::write(folder.path().join("ada-1.webm"), "mine").unwrap();
    let sound = track(1);
    recording.add(sound, "ada");

    recording.write(sound, &frame(Codec::Opus, true, origin)).unwrap();
    recording.finish().unwrap();

    assert_eq!(fs::read(folder.path().join("ada-1.webm")).unwrap(), b"mine");
    assert_eq!(names(&folder), ["ada-1.webm", "ada-2.webm"]);
}

#[test]
fn a_fault_of_the_disk_pauses_the_recording() {
    let (folder, _, origin) = recording();
    let file = folder.path().join("no folder");
    fs::write(&file, "").unwrap();
    let mut recording = Recording::new(&file, "ada".to_owned(), origin, 60_000 * MS);
    let sound = track(1);
    recording.add(sound, "ada");
    let at = |ms| frame(Codec::Opus, true, origin + MS * ms);

    assert!(recording.write(sound, &at(0)).is_err());
    assert!(recording.write(sound, &at(20)).is_ok(), "it is not tried again at once");
    fs::remove_file(&file).unwrap();
    assert!(recording.write(sound, &at(10_001)).unwrap().begun.is_some());
}

#[test]
fn what_is_held_is_written_when_its_track_ends() {
    let (folder, mut recording, origin) = recording();
    let (sound, picture) = (track(1), track(2));
    recording.add(sound, "ada");
    recording.add(picture, "ada");
    recording.write(sound, &frame(Codec::Opus, true, origin)).unwrap();

    let begun = recording.remove(sound).unwrap();

    assert_eq!(begun, Some(folder.path().join("ada-1.webm")));
    assert!(!recording.is_over());
    recording.remove(picture).unwrap();
    assert!(recording.is_over());
    let bytes = fs::read(folder.path().join("ada-1.webm")).unwrap();
    assert!(bytes.windows(40).any(|it| it == [0xfc; 40]));
}

/// Returns a key frame of H.264 of 640 × 360, or another frame.
fn h264(keyframe: bool, captured: Instant) -> Frame {
    const PARAMETERS: [u8; 27] = [
        0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x61, 0x00, 0x00, 0x03,
        0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x3c, 0x8f, 0x16, 0x2e,
    ];
    let key = [&PARAMETERS[..], &[0, 0, 0, 1, 0x68, 0xeb, 0xe3, 0, 0, 0, 1, 0x65, 9]].concat();
    let data = if keyframe { key } else { vec![0, 0, 0, 1, 0x41, 9] };
    Frame { data: data.into(), size: None, ..frame(Codec::H264, keyframe, captured) }
}

#[test]
fn a_track_that_alternates_its_codec_has_a_file_in_two_seconds() {
    let (folder, mut recording, origin) = recording();
    let picture = track(2);
    recording.add(picture, "ada");

    for turn in 0..300 {
        let at = origin + MS * 33 * turn;
        let frame = if turn % 2 == 0 { frame(Codec::Vp8, true, at) } else { h264(true, at) };
        recording.write(picture, &frame).unwrap();
    }
    recording.finish().unwrap();

    let names = names(&folder);
    assert_eq!(names.len(), 6, "ten seconds: {names:?}");
}

#[test]
fn after_a_change_that_was_left_out_a_key_frame_is_asked_for() {
    let (folder, mut recording, origin) = recording();
    let picture = track(2);
    recording.add(picture, "ada");
    let at = |ms| origin + MS * ms;
    recording.write(picture, &frame(Codec::Vp8, true, at(0))).unwrap();
    assert!(recording.write(picture, &h264(true, at(100))).unwrap().begun.is_some());
    assert_eq!(
        recording.write(picture, &frame(Codec::Vp8, true, at(200))).unwrap(),
        Outcome::default()
    );
    let mut write = |frame: &Frame| recording.write(picture, frame).unwrap();

    assert_eq!(write(&frame(Codec::Vp8, false, at(2_000))), Outcome::default(), "too early");
    assert_eq!(write(&frame(Codec::Vp8, false, at(2_100))).wanted, [picture]);
    let begun = write(&frame(Codec::Vp8, true, at(2_200))).begun;

    assert_eq!(begun, Some(folder.path().join("ada-3.webm")));
    recording.finish().unwrap();
    assert_eq!(names(&folder), ["ada-1.webm", "ada-2.mkv", "ada-3.webm"]);
}

#[test]
fn frames_that_are_held_when_the_codec_changes_are_left_out() {
    let (folder, mut recording, origin) = recording();
    let (sound, picture) = (track(1), track(2));
    recording.add(sound, "ada");
    recording.add(picture, "ada");
    recording.write(picture, &frame(Codec::Vp8, true, origin)).unwrap();
    recording.write(picture, &h264(true, origin + MS * 33)).unwrap();

    let outcome = recording.write(sound, &frame(Codec::Opus, true, origin + MS * 40)).unwrap();

    assert_eq!(outcome, Outcome { begun: Some(folder.path().join("ada-1.mkv")), wanted: vec![] });
    recording.finish().unwrap();
    let bytes = fs::read(folder.path().join("ada-1.mkv")).unwrap();
    let pictures = bytes.windows(40).filter(|it| it == &[0xfc; 40]).count();
    assert_eq!(pictures, 1, "the sound, and no picture of VP8");
}

/// Returns how often these bytes are in a file.
fn count(folder: &tempfile::TempDir, file: &str, bytes: &[u8]) -> usize {
    let contents = fs::read(folder.path().join(file)).unwrap();
    contents.windows(bytes.len()).filter(|it| *it == bytes).count()
}

#[test]
fn the_next_file_says_what_pictures_are_like_by_then() {
    let (folder, mut recording, origin) = recording();
    let (sound, picture) = (track(1), track(2));
    recording.add(sound, "ada");
    recording.add(picture, "ada");
    let at = |ms| origin + MS * ms;
    let larger = |keyframe: bool, at| {
        let size = keyframe.then_some((1_280, 720));
        Frame { size, ..frame(Codec::Vp8, keyframe, at) }
    };
    let mut write = |id, frame: Frame| recording.write(id, &frame).unwrap();
    write(sound, frame(Codec::Opus, true, at(0)));
    assert!(write(picture, frame(Codec::Vp8, true, at(10))).begun.is_some());
    write(picture, larger(true, at(50_000)));

    assert_eq!(write(sound, frame(Codec::Opus, true, at(60_020))).wanted, [picture]);
    assert_eq!(write(picture, larger(false, at(60_030))).wanted, [picture]);
    assert_eq!(write(sound, frame(Codec::Opus, true, at(60_040))).begun, None, "it waits");
    assert!(write(picture, larger(true, at(60_050))).begun.is_some());

    recording.finish().unwrap();
    let (small, large) = ([0xb0, 0x82, 2, 0x80], [0xb0, 0x82, 5, 0]);
    let widths = |file| [small, large].map(|width| count(&folder, file, &width));
    assert_eq!([widths("ada-1.webm"), widths("ada-2.webm")], [[1, 0], [0, 1]]);
    assert_eq!(count(&folder, "ada-2.webm", &[0xfc; 40]), 3, "all sound, and the picture");
}

#[test]
fn the_next_file_has_the_parameters_of_its_own_pictures() {
    let (folder, mut recording, origin) = recording();
    let picture = track(2);
    recording.add(picture, "ada");
    let at = |ms| origin + MS * ms;
    // Another level.
    let other = |at| {
        let frame = h264(true, at);
        let mut data = frame.data.to_vec();
        data[7] = 0x28;
        Frame { data: data.into(), ..frame }
    };
    let mut write = |frame: Frame| recording.write(picture, &frame).unwrap();
    assert!(write(h264(true, at(0))).begun.is_some());
    write(other(at(30_000)));
    write(h264(false, at(60_001)));

    assert!(write(other(at(60_030))).begun.is_some());

    recording.finish().unwrap();
    // The beginning of a configuration, up to its level.
    let of = |file, level| count(&folder, file, &[1, 0x42, 0xc0, level, 0xff, 0xe1]);
    assert_eq!([of("ada-1.mkv", 0x1e), of("ada-1.mkv", 0x28)], [1, 0]);
    assert_eq!([of("ada-2.mkv", 0x1e), of("ada-2.mkv", 0x28)], [0, 1]);
}

#[test]
fn a_camera_whose_key_frame_is_late_costs_no_more_files() {
    let (folder, mut recording, origin) = recording();
    let (sound, picture) = (track(1), track(2));
    recording.add(sound, "ada");
    recording.add(picture, "ada");
    recording.write(sound, &frame(Codec::Opus, true, origin)).unwrap();
    recording.write(picture, &frame(Codec::Vp8, true, origin)).unwrap();

    // Five seconds without one, from the end of the first file on.
    for at in (60_020..65_000).step_by(20) {
        recording.write(sound, &frame(Codec::Opus, true, origin + MS * at)).unwrap();
        let outcome = recording.write(picture, &frame(Codec::Vp8, false, origin + MS * at));
        assert_eq!(outcome.unwrap().wanted, [picture]);
    }
    recording.write(picture, &frame(Codec::Vp8, true, origin + MS * 65_000)).unwrap();
    recording.write(sound, &frame(Codec::Opus, true, origin + MS * 65_000)).unwrap();

    recording.finish().unwrap();
    assert_eq!(names(&folder), ["ada-1.webm", "ada-2.webm", "ada-3.webm"]);
    assert_eq!(count(&folder, "ada-2.webm", &[0xfc; 40]), 249, "all sound");
    assert_eq!(count(&folder, "ada-3.webm", &[0xfc; 40]), 2);
}

/// Creates a file on a disk that is full.
fn full(path: &Path) -> io::Result<File> {
    File::create_new(path)?;
    File::options().write(true).open("/dev/full")
}

#[test]
fn a_full_disk_gets_no_file_each_time_it_is_tried_again() {
    let (folder, mut recording, origin) = recording();
    let create = std::mem::replace(&mut recording.parts.create, full);
    let sound = track(1);
    recording.add(sound, "ada");
    let at = |ms| frame(Codec::Opus, true, origin + MS * ms);

    for turn in 0..100 {
        let fault = recording.write(sound, &at(10_000 * turn)).unwrap_err();
        assert_eq!(fault.error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fault.file, Some((folder.path().join("ada-1.webm"), false)));
        assert_eq!(names(&folder), [""; 0]);
    }

    recording.parts.create = create;
    assert!(recording.write(sound, &at(1_000_000)).unwrap().begun.is_some());
    recording.finish().unwrap();
    assert_eq!(names(&folder), ["ada-1.webm"]);
}

#[test]
fn what_was_written_before_a_fault_of_the_disk_stays() {
    let (folder, mut recording, origin) = recording();
    let sound = track(1);
    recording.add(sound, "ada");
    let mut at = (0..).map(|turn| frame(Codec::Opus, true, origin + MS * 20 * turn));
    let mut write =
        |recording: &mut Recording| recording.write(sound, &at.next().unwrap()).map(|_| ());
    (0..100).for_each(|_| write(&mut recording).unwrap());
    let open = recording.file.as_mut().unwrap();
    open.writer.out.flush().unwrap();
    let mut takes_nothing = File::open(&open.path).unwrap();
    takes_nothing.seek(SeekFrom::End(0)).unwrap();

    open.writer.out = BufWriter::with_capacity(BUFFER, takes_nothing);
    let fault = (0..10_000).find_map(|_| write(&mut recording).err()).unwrap();

    assert_eq!(fault.file, Some((folder.path().join("ada-1.webm"), true)));
    assert_eq!(count(&folder, "ada-1.webm", &[0xfc; 40]), 100);
}
