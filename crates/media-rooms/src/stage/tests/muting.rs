//! What stays muted when a client goes on over another connection.

use super::*;

#[test]
fn what_the_application_mutes_stays_so_over_the_connections_of_a_client() {
    let mut stage = Stage::default();
    let (viewer, [first, second, third]) = (participant(9), [1, 2, 3].map(participant));
    let of = |id, client: &str| ParticipantOptions::new("ada").client(client).info(id);
    let is = |mid: &str, source| {
        let (mid, source) = (mid.to_owned(), Some(source));
        TrackDescription { mid, source, metadata: None, muted: false }
    };
    let muted = |stage: &Stage, id| -> Vec<_> {
        stage.tracks_of(id).filter(|it| it.info.muted).map(|it| it.info.mid.clone()).collect()
    };
    stage.join(info(viewer));
    stage.join(of(first, "ada"));
    stage.describe(first, vec![is("0", TrackSource::Camera), is("1", TrackSource::Screen)]);
    stage.negotiated(first, &[0, 1].map(|mid| section(1, mid, Video, true, false)));
    let screen = stage.tracks_of(first).find(|it| it.info.mid == "1").unwrap().info.id;
    stage.mute(screen, true);

    // The connection is lost before the next one comes, which has it in another section.
    stage.leave(first);
    stage.join(of(participant(4), "bob"));
    stage.negotiated(participant(4), &[section(4, 1, Video, true, false)]);
    assert!(muted(&stage, participant(4)).is_empty(), "another client's");
    stage.join(of(second, "ada"));
    _ = told(&mut stage, second);
    stage.describe(second, vec![is("0", TrackSource::Screen), is("1", TrackSource::Camera)]);
    stage.negotiated(second, &[0, 1].map(|mid| section(2, mid, Video, true, false)));
    assert_eq!(muted(&stage, second), ["0"]);
    let own = told(&mut stage, second);
    assert!(
        own.iter().any(
            |it| matches!(it, MediaEvent::OwnTrackMuted { mid, muted: true, .. } if mid == "0")
        )
    );

    // Another one comes while this one is there, is lost before it publishes, and so is the next.
    stage.join(of(third, "ada"));
    stage.leave(second);
    stage.leave(third);
    stage.join(of(participant(5), "ada"));
    stage.describe(participant(5), vec![is("0", TrackSource::Screen)]);
    stage.negotiated(participant(5), &[section(5, 0, Video, true, false)]);
    assert_eq!(muted(&stage, participant(5)), ["0"]);

    // Once that was ended, it stays so.
    stage.mute(TrackId(section(5, 0, Video, true, false).transceiver), false);
    stage.leave(participant(5));
    stage.join(of(participant(6), "ada"));
    stage.describe(participant(6), vec![is("0", TrackSource::Screen)]);
    stage.negotiated(participant(6), &[section(6, 0, Video, true, false)]);
    assert!(muted(&stage, participant(6)).is_empty());
}

#[test]
fn of_two_tracks_alike_the_one_in_the_same_section_stays_muted() {
    let mut stage = Stage::default();
    let (one, two) = (participant(1), participant(2));
    stage.join(info(one));
    stage.negotiated(one, &[0, 1].map(|mid| section(1, mid, Video, true, false)));
    stage.mute(stage.tracks()[1].info.id, true);

    stage.join(ParticipantOptions::new("").replaces(one).info(two));
    stage.negotiated(two, &[0, 1].map(|mid| section(2, mid, Video, true, false)));

    let muted: Vec<_> = stage.tracks_of(two).map(|it| it.info.muted).collect();
    assert_eq!(muted, [false, true]);
}

#[test]
fn muted_tracks_of_a_bounded_number_of_clients_are_remembered() {
    let mut stage = Stage::default();
    for number in 1..=300 {
        let id = participant(number);
        stage.join(ParticipantOptions::new("").client(number.to_string()).info(id));
        stage.negotiated(id, &[section(number, 0, Video, true, false)]);
        stage.mute(TrackId(section(number, 0, Video, true, false).transceiver), true);
        stage.leave(id);
    }
    let comes_back = |stage: &mut Stage, number: u128| {
        let id = participant(1_000 + number);
        stage.join(ParticipantOptions::new("").client(number.to_string()).info(id));
        stage.negotiated(id, &[section(1_000 + number, 0, Video, true, false)]);
        stage.tracks_of(id).all(|it| it.info.muted)
    };

    assert!(
        !comes_back(&mut stage, 44) && comes_back(&mut stage, 45) && comes_back(&mut stage, 300)
    );
}
