//! Voices of a room: which sound is forwarded. Participants are compared, each by the loudest of its tracks, so that
//! one with several takes one place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::speaker::{Loudness, Output, Speakers};

/// Voices of one room: tracks `T` of participants `P`.
#[derive(Debug)]
pub(crate) struct Voices<T, P> {
    speakers: Speakers<P>,
    tracks: BTreeMap<T, Voice<P>>,
    /// Tracks that were quiet before this, until it is known which are loud.
    quiet_before: BTreeSet<T>,
}

/// Track of sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sound<P> {
    pub(crate) participant: P,
    /// By itself or by the application.
    pub(crate) muted: bool,
    /// Some may not hear it. It is not compared: for those it would make others quiet, and they would learn of it. It
    /// is forwarded to all others.
    pub(crate) hidden: bool,
}

#[derive(Clone, Copy, Debug)]
struct Voice<P> {
    sound: Sound<P>,
    told: Option<(Instant, Loudness)>,
}

impl<T: Copy + Ord, P: Copy + Ord> Voices<T, P> {
    /// Creates the voices of an empty room; those of these tracks that come are quiet until voices are compared.
    pub(crate) fn new(quiet: BTreeSet<T>) -> Self {
        let (speakers, tracks) = (Speakers::new(LOUDEST), BTreeMap::new());
        Self { speakers, tracks, quiet_before: quiet }
    }

    /// Sets which tracks there are. Returns whether something has changed.
    pub(crate) fn set_tracks(&mut self, now: Instant, tracks: &BTreeMap<T, Sound<P>>) -> bool {
        let known = self.tracks.iter().map(|(track, voice)| (track, &voice.sound));
        if known.eq(tracks) {
            return false;
        }
        let before = self.compared();
        let told = |track: &T| self.tracks.get(track).and_then(|voice| voice.told);
        let voices = tracks.iter().map(|(track, sound)| {
            let told = told(track).filter(|_| !sound.muted);
            (*track, Voice { sound: *sound, told })
        });
        self.tracks = voices.collect();
        let compared = self.compared();
        before.difference(&compared).for_each(|&gone| self.speakers.remove(now, gone));
        for participant in compared {
            let is_muted = self.of(participant).all(|voice| voice.sound.muted);
            self.speakers.add(participant);
            self.speakers.set_muted(now, participant, is_muted);
        }
        true
    }

    /// Handles how loud a track is.
    pub(crate) fn handle_loudness(&mut self, now: Instant, track: T, loudness: Loudness) {
        let Some(voice) = self.tracks.get_mut(&track) else { return };
        if voice.sound.muted || voice.sound.hidden {
            return;
        }
        voice.told = Some((now, loudness));
        let participant = voice.sound.participant;
        let told = self.of(participant).filter_map(|voice| voice.told);
        let fresh = told.filter(|(at, _)| now.saturating_duration_since(*at) < TOGETHER);
        let loudest = fresh.map(|(_, loudness)| loudness).max_by_key(|it| (it.speech, it.level));
        if let Some(loudest) = loudest {
            self.speakers.handle_loudness(now, participant, loudest);
        }
    }

    /// Returns the tracks that are not forwarded, because others are louder: none in a small room.
    pub(crate) fn quiet(&self) -> BTreeSet<T> {
        if self.compared().len() <= ALL_HEARD {
            return BTreeSet::new();
        }
        let tracks = self.tracks.iter().filter(|(_, voice)| !voice.sound.hidden);
        if !self.quiet_before.is_empty() {
            let before = tracks.filter(|(track, _)| self.quiet_before.contains(track));
            return before.map(|(&track, _)| track).collect();
        }
        let loudest = self.speakers.loudest();
        let quiet = tracks.filter(|(_, voice)| !loudest.contains(&voice.sound.participant));
        quiet.map(|(&track, _)| track).collect()
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.speakers.poll_timeout()
    }

    /// Compares the voices, if it is time.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.speakers.handle_timeout(now);
    }

    /// Returns the next output, until there is none. After [`Heard`](Output::Heard) and [`Unheard`](Output::Unheard),
    /// other tracks may be [quiet](Self::quiet).
    pub(crate) fn poll_output(&mut self) -> Option<Output<P>> {
        let output = self.speakers.poll_output()?;
        if !matches!(output, Output::Report(_)) {
            self.quiet_before.clear();
        }
        Some(output)
    }

    /// Returns the participants that are compared.
    fn compared(&self) -> BTreeSet<P> {
        let tracks = self.tracks.values().filter(|voice| !voice.sound.hidden);
        tracks.map(|voice| voice.sound.participant).collect()
    }

    fn of(&self, participant: P) -> impl Iterator<Item = &Voice<P>> {
        let tracks = self.tracks.values().filter(|voice| !voice.sound.hidden);
        tracks.filter(move |voice| voice.sound.participant == participant)
    }
}

/// Participants up to which all are heard.
const ALL_HEARD: usize = 6;
/// Participants that are heard if there are more.
const LOUDEST: usize = 3;
/// For how long what was told of one track of a participant counts beside what is told of another: three times as long
/// as it takes until it is told again.
const TOGETHER: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    const VOICE: Loudness = Loudness { level: -20, speech: 40 };

    /// Returns so many participants, each with these tracks of `tracks`: `participant * 10 + place`.
    fn room(participants: u32, tracks: impl Fn(u32) -> u32) -> BTreeMap<u32, Sound<u32>> {
        let of = |participant| {
            let sound = Sound { participant, muted: false, hidden: false };
            (0..tracks(participant)).map(move |place| (participant * 10 + place, sound))
        };
        (1..=participants).flat_map(of).collect()
    }

    /// Lets these tracks be so loud for two seconds. Returns the participants that were reported.
    fn talk(
        voices: &mut Voices<u32, u32>,
        now: &mut Instant,
        loud: &[(u32, Loudness)],
    ) -> BTreeSet<u32> {
        let mut reported = BTreeSet::new();
        for _ in 0..20 {
            *now += Duration::from_millis(100);
            for &(track, loudness) in loud {
                voices.handle_loudness(*now, track, loudness);
            }
            voices.handle_timeout(*now);
            while let Some(output) = voices.poll_output() {
                if let Output::Report(report) = output {
                    reported.extend(report.levels.iter().map(|(who, _)| *who));
                    reported.extend(report.dominant);
                }
            }
        }
        reported
    }

    #[test]
    fn a_participant_with_many_tracks_takes_one_place() {
        let (mut voices, mut now) =
            (Voices::new(BTreeSet::new()), tokio::time::Instant::now().into_std());
        let tracks = room(7, |participant| if participant == 1 { 4 } else { 1 });
        assert!(voices.set_tracks(now, &tracks));
        let loudest = Loudness { level: 0, speech: 60 };
        let loud = [(10, loudest), (11, loudest), (12, loudest), (13, loudest)];
        talk(&mut voices, &mut now, &[&loud[..], &[(20, VOICE), (30, VOICE)]].concat());

        assert_eq!(voices.quiet(), BTreeSet::from([40, 50, 60, 70]));
    }

    #[test]
    fn many_tracks_do_not_make_a_room_large() {
        let (mut voices, mut now) =
            (Voices::new(BTreeSet::new()), tokio::time::Instant::now().into_std());
        voices.set_tracks(now, &room(6, |_| 4));
        talk(&mut voices, &mut now, &[(10, VOICE), (20, VOICE), (30, VOICE), (40, VOICE)]);
        assert_eq!(voices.quiet(), BTreeSet::new());
    }

    #[test]
    fn a_participant_speaks_while_any_of_its_tracks_does() {
        let (mut voices, mut now) =
            (Voices::new(BTreeSet::new()), tokio::time::Instant::now().into_std());
        voices.set_tracks(now, &room(7, |_| 2));
        let told = talk(&mut voices, &mut now, &[(10, VOICE), (11, Loudness::SILENT)]);
        assert_eq!(told, BTreeSet::from([1]));
        assert!(!voices.quiet().contains(&10) && !voices.quiet().contains(&11));
    }

    #[test]
    fn what_some_may_not_hear_is_neither_compared_nor_reported() {
        let (mut voices, mut now) =
            (Voices::new(BTreeSet::new()), tokio::time::Instant::now().into_std());
        let mut tracks = room(10, |_| 1);
        for hidden in [10, 20, 30] {
            tracks.get_mut(&hidden).unwrap().hidden = true;
        }
        voices.set_tracks(now, &tracks);
        let loud = [10, 20, 30].map(|track| (track, Loudness { level: 0, speech: 60 }));
        let told = talk(&mut voices, &mut now, &[&loud[..], &[(40, VOICE)]].concat());

        assert_eq!(told, BTreeSet::from([4]));
        assert_eq!(voices.quiet(), BTreeSet::from([50, 60, 70, 80, 90, 100]));
    }

    #[test]
    fn what_was_quiet_before_stays_so_until_voices_are_compared() {
        let before = BTreeSet::from([50, 60, 70, 999]);
        let (mut voices, mut now) = (Voices::new(before), tokio::time::Instant::now().into_std());
        voices.set_tracks(now, &room(7, |_| 1));
        assert_eq!(voices.quiet(), BTreeSet::from([50, 60, 70]));

        talk(&mut voices, &mut now, &[(70, VOICE)]);
        assert_eq!(voices.quiet(), BTreeSet::from([10, 20, 30, 40, 50, 60]));
    }

    #[test]
    fn a_muted_participant_gives_its_place_back() {
        let (mut voices, mut now) =
            (Voices::new(BTreeSet::new()), tokio::time::Instant::now().into_std());
        let mut tracks = room(7, |_| 1);
        voices.set_tracks(now, &tracks);
        talk(&mut voices, &mut now, &[(10, VOICE), (20, VOICE)]);
        tracks.get_mut(&10).unwrap().muted = true;
        assert!(voices.set_tracks(now, &tracks));
        assert!(!voices.set_tracks(now, &tracks), "nothing new");
        let told = talk(&mut voices, &mut now, &[(10, VOICE), (20, VOICE)]);

        assert!(told.iter().all(|&who| who == 2), "{told:?}");
        assert!(voices.quiet().contains(&10));
    }
}
