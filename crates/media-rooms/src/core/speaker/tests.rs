//! Tests of the meter and of the comparison of voices, in virtual time.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[expect(clippy::disallowed_methods, reason = "a start to count from")]
fn start() -> Instant {
    Instant::now()
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Room in which each participant sends a packet every 20 ms.
struct Room {
    now: Instant,
    speakers: Speakers<u32>,
    meters: BTreeMap<u32, Meter>,
    heard: BTreeSet<u32>,
    reports: Vec<(Instant, Report<u32>)>,
}

impl Room {
    fn new(participants: u32, most: usize) -> Self {
        let mut room = Self {
            now: start(),
            speakers: Speakers::new(most),
            meters: (0..participants).map(|key| (key, Meter::default())).collect(),
            heard: BTreeSet::new(),
            reports: Vec::new(),
        };
        for key in 0..participants {
            room.speakers.add(key);
        }
        room
    }

    /// Lets these participants speak at these levels, and the others be silent.
    fn speak(&mut self, duration: Duration, levels: &[(u32, u8)]) {
        let end = self.now + duration;
        while self.now < end {
            for (&key, meter) in &mut self.meters {
                let level = levels.iter().find(|(speaker, _)| *speaker == key);
                let level = level.map_or(127, |&(_, level)| level);
                if let Some(loudness) = meter.handle_level(self.now, level, None) {
                    self.speakers.handle_loudness(self.now, key, loudness);
                }
            }
            self.run();
            self.now += ms(20);
        }
    }

    fn run(&mut self) {
        self.speakers.handle_timeout(self.now);
        while let Some(output) = self.speakers.poll_output() {
            match output {
                Output::Heard(key) => assert!(self.heard.insert(key), "heard twice"),
                Output::Unheard(key) => assert!(self.heard.remove(&key), "not heard"),
                Output::Report(report) => self.reports.push((self.now, report)),
            }
        }
    }
}

#[test]
fn who_speaks_first_is_dominant() {
    let mut room = Room::new(3, 3);

    room.speak(ms(300), &[(1, 30)]);

    assert_eq!(room.speakers.dominant(), Some(1));
}

#[test]
fn the_dominant_speaker_stays_so_in_silence() {
    let mut room = Room::new(3, 3);

    room.speak(ms(2_000), &[(1, 30)]);
    room.speak(ms(60_000), &[]);

    assert_eq!(room.speakers.dominant(), Some(1));
}

#[test]
fn a_cough_does_not_take_over() {
    let mut room = Room::new(3, 3);
    room.speak(ms(5_000), &[(0, 30)]);

    room.speak(ms(200), &[(1, 5)]);
    room.speak(ms(600), &[]);

    assert_eq!(room.speakers.dominant(), Some(0));
}

#[test]
fn a_louder_voice_does_not_interrupt_one_that_goes_on() {
    let mut room = Room::new(3, 3);
    room.speak(ms(3_000), &[(0, 40)]);

    room.speak(ms(10_000), &[(0, 40), (1, 15)]);

    assert_eq!(room.speakers.dominant(), Some(0));
}

#[test]
fn the_next_speaker_takes_over_within_a_second_and_a_half() {
    let mut room = Room::new(3, 3);
    room.speak(ms(30_000), &[(0, 30)]);

    room.speak(ms(800), &[(1, 40)]);
    assert_eq!(room.speakers.dominant(), Some(0), "too early");

    room.speak(ms(700), &[(1, 40)]);
    assert_eq!(room.speakers.dominant(), Some(1));
}

#[test]
fn a_remark_of_less_than_a_second_does_not_take_over() {
    let mut room = Room::new(3, 3);
    room.speak(ms(5_000), &[(0, 30)]);

    room.speak(ms(900), &[(1, 30)]);
    room.speak(ms(3_000), &[]);

    assert_eq!(room.speakers.dominant(), Some(0));
}

#[test]
fn a_speaker_who_is_heard_every_half_second_keeps_the_floor() {
    let mut room = Room::new(3, 3);
    room.speak(ms(3_000), &[(0, 30)]);

    for _ in 0..20 {
        room.speak(ms(100), &[(0, 30), (1, 30)]);
        room.speak(ms(400), &[(1, 30)]);
        assert_eq!(room.speakers.dominant(), Some(0));
    }
}

#[test]
fn pauses_between_words_do_not_lose_the_floor() {
    let mut room = Room::new(3, 3);
    room.speak(ms(3_000), &[(0, 30)]);

    for _ in 0..20 {
        room.speak(ms(400), &[(0, 30), (1, 30)]);
        room.speak(ms(200), &[(1, 30)]);
        assert_eq!(room.speakers.dominant(), Some(0));
    }
}

#[test]
fn a_muted_or_gone_speaker_is_replaced_at_once() {
    let mut room = Room::new(3, 3);
    room.speak(ms(3_000), &[(0, 20), (1, 30), (2, 40)]);
    assert_eq!(room.speakers.dominant(), Some(0));

    room.speakers.set_muted(room.now, 0, true);
    assert!(!room.speakers.loudest().contains(&0));
    room.speak(ms(200), &[(0, 20), (1, 30), (2, 40)]);
    assert_eq!(room.speakers.dominant(), Some(1));

    room.speakers.remove(room.now, 1);
    room.meters.remove(&1);
    room.speak(ms(200), &[(0, 20), (2, 40)]);
    assert_eq!(room.speakers.dominant(), Some(2));
    assert_eq!(room.heard, [2].into());
}

#[test]
fn a_room_that_sleeps_tells_that_its_speaker_is_gone() {
    let mut room = Room::new(2, 3);
    room.speak(ms(1_000), &[(0, 20)]);
    room.speak(ms(5_000), &[]);
    assert_eq!(room.speakers.poll_timeout(), None);

    room.speakers.remove(room.now, 0);
    room.speak(ms(1_000), &[]);

    let (_, last) = room.reports.last().expect("reports");
    assert_eq!(*last, Report { dominant: None, levels: vec![] });
}

#[test]
fn a_voice_is_heard_from_its_first_packet_if_a_place_is_free() {
    let mut room = Room::new(5, 3);
    room.speak(ms(1_000), &[(0, 30), (1, 30)]);

    room.speak(ms(20), &[(0, 30), (1, 30), (4, 35)]);

    assert_eq!(room.heard, [0, 1, 4].into());
}

#[test]
fn a_click_takes_a_free_place_for_two_seconds() {
    let mut room = Room::new(5, 3);
    room.speak(ms(1_000), &[]);

    room.speak(ms(20), &[(4, 35)]);
    room.speak(ms(1_800), &[]);
    assert_eq!(room.heard, [4].into());

    room.speak(ms(400), &[]);
    assert!(room.heard.is_empty());
    assert_eq!(room.speakers.dominant(), None);
}

#[test]
fn a_fourth_voice_is_heard_if_it_is_clearly_louder_for_some_time() {
    let mut room = Room::new(5, 3);
    let three = [(0, 30), (1, 30), (2, 34)];
    room.speak(ms(2_000), &three);

    room.speak(ms(2_000), &[three[0], three[1], three[2], (3, 30)]);
    assert_eq!(room.heard, [0, 1, 2].into(), "4 dB are not clear");

    room.speak(ms(200), &[three[0], three[1], three[2], (3, 15)]);
    assert_eq!(room.heard, [0, 1, 2].into(), "200 ms are not long");

    room.speak(ms(600), &[three[0], three[1], three[2], (3, 15)]);
    assert_eq!(room.heard, [0, 1, 3].into());
}

#[test]
fn a_fourth_voice_is_heard_soon_if_one_of_the_three_has_stopped() {
    let mut room = Room::new(5, 3);
    room.speak(ms(2_000), &[(0, 20), (1, 20), (2, 20)]);

    room.speak(ms(800), &[(0, 20), (1, 20), (3, 40)]);

    assert_eq!(room.heard, [0, 1, 3].into());
}

#[test]
fn a_silent_voice_is_forwarded_for_two_seconds_and_the_room_sleeps_then() {
    let mut room = Room::new(3, 3);
    room.speak(ms(1_000), &[(0, 30)]);

    room.speak(ms(1_800), &[]);
    assert_eq!(room.heard, [0].into());
    assert!(room.speakers.poll_timeout().is_some());

    room.speak(ms(500), &[]);
    assert!(room.heard.is_empty());
    assert_eq!(room.speakers.poll_timeout(), None);
    let (_, last) = room.reports.last().expect("reports");
    assert_eq!(*last, Report { dominant: Some(0), levels: vec![] }, "silence is told");
}

#[test]
fn a_participant_whose_meter_tells_nothing_more_is_silent() {
    let mut room = Room::new(2, 3);
    room.speak(ms(1_000), &[(0, 30)]);

    room.meters.remove(&0);
    room.speak(ms(2_600), &[]);

    assert!(room.heard.is_empty());
    assert_eq!(room.speakers.poll_timeout(), None);
}

#[test]
fn a_long_delay_costs_no_more_steps_than_the_windows_have() {
    let mut room = Room::new(2, 3);
    room.speak(ms(1_000), &[(0, 30)]);

    room.now += Duration::from_secs(86_400 * 365);
    room.run();

    assert!(room.heard.is_empty());
    assert_eq!(room.speakers.poll_timeout(), None);
}

#[test]
fn the_loudest_five_are_reported_at_most_twice_a_second() {
    let mut room = Room::new(8, 3);

    for second in 0..10 {
        let levels: Vec<_> = (0..8).map(|key| (key, 20 + key as u8 + second)).collect();
        room.speak(ms(1_000), &levels);
    }

    let times: Vec<_> = room.reports.iter().map(|(at, _)| *at).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= REPORT_INTERVAL));
    assert!(times.len() >= 10, "{}", times.len());
    let (_, last) = room.reports.last().expect("reports");
    assert_eq!(last.levels, [(0, -29), (1, -30), (2, -31), (3, -32), (4, -33)]);
}

#[test]
fn constant_noise_is_no_speech_and_music_is() {
    let mut meter = Meter::default();
    let mut now = start();
    let mut tell = |level, seconds| {
        let mut told = None;
        for _ in 0..50 * seconds {
            told = meter.handle_level(now, level, None).or(told);
            now += ms(20);
        }
        told
    };

    tell(50, 60);
    let fan = tell(50, 10);
    let music = tell(20, 120);

    assert_eq!(fan, None);
    assert!(music.is_some_and(Loudness::is_speech));
}

#[test]
fn what_a_sender_that_marks_voice_does_not_mark_is_no_speech() {
    let mut meter = Meter::default();
    let mut now = start();

    for _ in 0..10 {
        meter.handle_level(now, 20, Some(true));
        now += ms(20);
    }
    let mut last = None;
    for _ in 0..20 {
        last = meter.handle_level(now, 20, Some(false)).or(last);
        now += ms(20);
    }

    assert_eq!(last, Some(Loudness { level: -20, speech: 0 }));
}

#[derive(Clone, Debug)]
enum Act {
    Tell(u32, u8, u8),
    Wait(u64),
    Mute(u32, bool),
    Add(u32),
    Remove(u32),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..8u32, any::<u8>(), any::<u8>()).prop_map(|(key, level, gap)| Act::Tell(key, level, gap)),
        3 => (0..3_000u64).prop_map(Act::Wait),
        1 => (0..8u32, any::<bool>()).prop_map(|(key, muted)| Act::Mute(key, muted)),
        1 => (0..8u32).prop_map(Act::Add),
        1 => (0..8u32).prop_map(Act::Remove),
    ]
}

proptest! {
    #[test]
    fn only_present_unmuted_voices_are_heard_and_never_too_many(
        most in 0..4usize,
        acts in proptest::collection::vec(act(), 1..200),
    ) {
        let mut room = Room::new(8, most);
        let mut muted = BTreeSet::new();
        let mut present: BTreeSet<_> = (0..8).collect();

        for act in acts {
            match act {
                Act::Tell(key, level, gap) => {
                    let meter = room.meters.get_mut(&key).expect("one of eight");
                    if let Some(loudness) = meter.handle_level(room.now, level, None) {
                        room.speakers.handle_loudness(room.now, key, loudness);
                    }
                    room.now += ms(u64::from(gap) / 8);
                }
                Act::Wait(time) => room.now += ms(time),
                Act::Mute(key, is_muted) => {
                    room.speakers.set_muted(room.now, key, is_muted);
                    if !is_muted {
                        muted.remove(&key);
                    } else if present.contains(&key) {
                        muted.insert(key);
                    }
                }
                Act::Add(key) => {
                    room.speakers.add(key);
                    present.insert(key);
                }
                Act::Remove(key) => {
                    room.speakers.remove(room.now, key);
                    present.remove(&key);
                    muted.remove(&key);
                }
            }
            room.run();

            let loudest: BTreeSet<_> = room.speakers.loudest().iter().copied().collect();
            prop_assert_eq!(&loudest, &room.heard, "outputs tell all");
            prop_assert!(loudest.len() <= most);
            let allowed = |key: &u32| present.contains(key) && !muted.contains(key);
            prop_assert!(loudest.iter().all(allowed));
            prop_assert!(room.speakers.dominant().iter().all(allowed));
        }

        room.now += ms(10_000);
        room.run();
        prop_assert!(room.heard.is_empty(), "no one speaks any more");
        prop_assert_eq!(room.speakers.poll_timeout(), None);
        if let Some((_, last)) = room.reports.last() {
            let current = Report { dominant: room.speakers.dominant(), levels: vec![] };
            prop_assert_eq!(last, &current, "the end is told");
        }
        for pair in room.reports.windows(2) {
            prop_assert!(pair[1].0 - pair[0].0 >= REPORT_INTERVAL);
        }
    }
}
