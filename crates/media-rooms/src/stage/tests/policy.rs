//! Policy, and what viewers are told when a participant changes.

use super::*;

/// Lets `mutes` publish nothing, hides each track of `hidden`, and panics for `broken`.
#[derive(Clone, Default)]
struct Rules(Arc<Mutex<RulesOf>>);

#[derive(Default)]
struct RulesOf {
    mutes: Option<ParticipantId>,
    hidden: Option<(ParticipantId, ParticipantId)>,
    broken: Option<ParticipantId>,
}

impl crate::MediaPolicy for Rules {
    fn may_publish(&self, publisher: &ParticipantInfo, _: &TrackInfo) -> bool {
        self.0.lock().unwrap().mutes != Some(publisher.id)
    }

    fn may_receive(
        &self,
        viewer: &ParticipantInfo,
        publisher: &ParticipantInfo,
        _: &TrackInfo,
    ) -> bool {
        let (hidden, broken) = {
            let rules = self.0.lock().unwrap();
            (rules.hidden, rules.broken)
        };
        assert_ne!(broken, Some(viewer.id), "a fault");
        hidden != Some((viewer.id, publisher.id))
    }
}

/// Returns a stage with these rules and three participants: the first sends a picture, all have a slot.
fn with_rules(rules: &Rules) -> (Stage, [ParticipantId; 3]) {
    let mut stage = Stage::default();
    stage.set_policy(Policy::new(Arc::new(rules.clone())));
    let all = [1, 2, 3].map(participant);
    for id in all {
        stage.join(info(id));
    }
    stage.negotiated(all[1], &[section(2, 0, Video, false, true)]);
    stage.negotiated(all[2], &[section(3, 0, Video, false, true)]);
    stage.negotiated(all[0], &[section(1, 0, Video, true, false)]);
    (stage, all)
}

/// Returns all that applications are told, each by what it is about.
fn all_told(stage: &mut Stage) -> Vec<(ParticipantId, &'static str)> {
    let outputs = std::iter::from_fn(|| stage.poll_output());
    let told = outputs.filter_map(|output| match output {
        Output::Tell(to, event) => Some((
            to,
            match event {
                MediaEvent::TrackAdded(_) => "added",
                MediaEvent::TrackRemoved(_) => "removed",
                MediaEvent::TrackMuted(..) => "muted",
                MediaEvent::OwnTrackMuted { .. } => "own muted",
                MediaEvent::Refused { .. } => "refused",
                MediaEvent::SlotBound { .. } => "bound",
                MediaEvent::SlotUnbound { .. } => "unbound",
                _ => "else",
            },
        )),
        _ => None,
    });
    told.collect()
}

#[test]
fn what_the_policy_refuses_is_not_published_until_it_allows_it() {
    let rules = Rules::default();
    rules.0.lock().unwrap().mutes = Some(participant(1));
    let (mut stage, [one, two, three]) = with_rules(&rules);
    assert_eq!(all_told(&mut stage), [(one, "refused")]);
    assert!(stage.tracks().is_empty());
    stage.review();
    assert_eq!(all_told(&mut stage), [], "once");

    rules.0.lock().unwrap().mutes = None;
    stage.review();
    let told = [(two, "added"), (three, "added"), (two, "bound"), (three, "bound")];
    assert_eq!(all_told(&mut stage), told);

    rules.0.lock().unwrap().mutes = Some(one);
    stage.review();
    let told = all_told(&mut stage);
    let of = |id| told.iter().filter(|(to, _)| *to == id).map(|(_, it)| *it).collect::<Vec<_>>();
    assert_eq!((of(one), of(two)), (vec!["refused"], vec!["unbound", "removed"]));
    assert!(stage.tracks().is_empty() && stage.viewers_of(one).is_empty());
}

#[test]
fn who_may_not_receive_a_track_learns_nothing_of_it() {
    let rules = Rules::default();
    rules.0.lock().unwrap().hidden = Some((participant(2), participant(1)));
    let (mut stage, [one, two, three]) = with_rules(&rules);
    assert_eq!(all_told(&mut stage), [(three, "added"), (three, "bound")]);
    let track = stage.tracks()[0].info.id;
    assert_eq!(stage.hidden(), BTreeSet::from([track]));
    assert_eq!(stage.viewers_of(one), [three]);
    stage.mute(track, true);
    assert_eq!(all_told(&mut stage), [(one, "own muted"), (one, "muted"), (three, "muted")]);

    // One that comes later is asked about as well.
    rules.0.lock().unwrap().hidden = Some((participant(4), one));
    stage.join(info(participant(4)));
    assert_eq!(all_told(&mut stage), []);

    stage.review();
    assert_eq!(all_told(&mut stage), [(two, "added"), (two, "bound")]);
    rules.0.lock().unwrap().hidden = Some((two, one));
    stage.review();
    let told = [(two, "unbound"), (two, "removed"), (participant(4), "added")];
    assert_eq!(all_told(&mut stage), told);
    stage.leave(one);
    let told = [(three, "unbound"), (three, "removed"), (participant(4), "removed")];
    assert_eq!(all_told(&mut stage), told);
}

#[test]
fn a_policy_that_panics_has_refused() {
    let rules = Rules::default();
    rules.0.lock().unwrap().broken = Some(participant(2));
    let (mut stage, [one, _, three]) = with_rules(&rules);
    assert_eq!(all_told(&mut stage), [(three, "added"), (three, "bound")]);
    assert_eq!(stage.viewers_of(one), [three]);
}

#[test]
fn a_participants_new_role_is_what_the_policy_is_asked_about() {
    struct Teachers;

    impl crate::MediaPolicy for Teachers {
        fn may_publish(&self, publisher: &ParticipantInfo, _: &TrackInfo) -> bool {
            publisher.metadata["role"] == "teacher"
        }
    }

    let (mut stage, [one, two, three]) = with_rules(&Rules::default());
    stage.set_policy(Policy::new(Arc::new(Teachers)));
    assert!(stage.tracks().is_empty());
    _ = all_told(&mut stage);

    assert!(stage.set_metadata(one, Arc::new(serde_json::json!({ "role": "teacher" }))));
    let told = [(two, "added"), (three, "added"), (two, "bound"), (three, "bound")];
    assert_eq!(all_told(&mut stage), told);
    assert!(!stage.set_metadata(participant(9), Arc::default()));
}

/// Its viewers could not read the new payload types.
#[test]
fn other_codecs_of_a_track_are_read_by_its_viewers() {
    let (mut stage, [one, two, three]) = with_rules(&Rules::default());
    let sends = |codec: &str| {
        let codecs = [(96, RtpCodecCapability::new(codec))];
        Section { codecs: Arc::new(codecs), ..section(1, 0, Video, true, false) }
    };
    stage.negotiated(one, &[sends("video/VP8")]);
    let assigned = |stage: &mut Stage| {
        let outputs = std::iter::from_fn(|| stage.poll_output());
        let assigned = outputs.filter_map(|output| match output {
            Output::Assign(id) => Some(id),
            _ => None,
        });
        assigned.collect::<BTreeSet<_>>()
    };
    _ = assigned(&mut stage);

    stage.negotiated(one, &[sends("video/VP8")]);
    assert_eq!(assigned(&mut stage), BTreeSet::from([one]), "nothing is new to viewers");
    stage.negotiated(one, &[sends("video/VP9")]);
    assert_eq!(assigned(&mut stage), BTreeSet::from([one, two, three]));
}

/// It would hear and see itself.
#[test]
fn a_client_gets_nothing_of_itself_while_its_connection_is_replaced() {
    let (mut stage, [one, two, _]) = with_rules(&Rules::default());
    _ = all_told(&mut stage);
    let new = participant(11);
    stage.join(ParticipantInfo { replaces: Some(one), ..info(new) });
    stage.negotiated(one, &[section(1, 0, Video, true, true)]);
    let sections = [section(11, 0, Video, true, false), section(11, 1, Video, false, true)];
    stage.negotiated(new, &sections);

    let told = all_told(&mut stage);
    let itself = told.iter().filter(|(to, _)| [one, new].contains(to));
    assert_eq!(itself.count(), 0, "{told:?}");
    assert!(told.contains(&(two, "added")));
    stage.leave(one);
    assert!(all_told(&mut stage).iter().all(|(to, _)| *to != new));
}
