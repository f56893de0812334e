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
    assert!(outcome.begun.is_some());
    write(&mut recording, false, 60_030);
    assert_eq!(write(&mut recording, true, 60_060), Outcome::default());
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
