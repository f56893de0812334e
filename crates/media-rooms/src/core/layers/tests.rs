//! Tests of the layers: publishers in virtual time.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::core::allocate::Bitrate;

#[expect(clippy::disallowed_methods, reason = "a start to count from")]
fn start() -> Instant {
    Instant::now()
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Publisher of a track, and what is told of its layers.
struct Publisher {
    now: Instant,
    layers: Layers,
    existing: BTreeSet<usize>,
    told: Vec<Output>,
}

impl Publisher {
    fn new(encodings: usize) -> Self {
        let layers = Layers::new(encodings);
        Self { now: start(), layers, existing: BTreeSet::new(), told: Vec::new() }
    }

    /// Sends frames of two packets of 500 bytes in these encodings, and then waits.
    fn frame(&mut self, interval: Duration, encodings: &[usize], temporal: u8) {
        for &encoding in encodings {
            for ends_frame in [false, true] {
                let height = Some(180 << encoding);
                let packet = Packet { encoding, temporal, bytes: 500, ends_frame, height };
                self.layers.handle_packet(self.now, packet);
            }
            self.listen();
        }
        self.wait(interval);
    }

    fn film(&mut self, duration: Duration, interval: Duration, encodings: &[usize]) {
        let end = self.now + duration;
        while self.now < end {
            self.frame(interval, encodings, 0);
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.layers.poll_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.layers.handle_timeout(self.now);
            self.listen();
            let next = self.layers.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "it makes no progress");
        }
        self.now = end;
    }

    fn listen(&mut self) {
        while let Some(output) = self.layers.poll_output() {
            match output {
                Output::Appeared { encoding } => assert!(self.existing.insert(encoding)),
                Output::Gone { encoding } => assert!(self.existing.remove(&encoding)),
                Output::WantedChanged => {}
            }
            self.told.push(output);
        }
    }

    fn list(&self) -> Vec<Layer> {
        let mut layers = vec![Layer::default(); 3];
        self.layers.list(&mut layers);
        layers
    }

    fn wanted(&self) -> [bool; 3] {
        [0, 1, 2].map(|encoding| self.layers.is_wanted(encoding))
    }

    fn wish(&mut self, heights: &[Option<u32>]) {
        let wishes = heights.iter().map(|&height| Wish { height, ..Wish::default() });
        self.layers.handle_wishes(self.now, wishes);
        self.listen();
    }
}

#[test]
fn layers_exist_once_they_are_heard_and_tell_what_they_cost() {
    let mut publisher = Publisher::new(3);

    publisher.film(ms(5_000), ms(40), &[0, 1]);

    let list = publisher.list();
    assert_eq!(publisher.existing, [0, 1].into());
    assert_eq!(list.iter().map(|layer| layer.encoding).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(list.iter().map(|layer| layer.height).collect::<Vec<_>>(), [Some(180), Some(360)]);
    for layer in list {
        let kbps = layer.bitrate.as_bps() / 1_000;
        assert!((180..=230).contains(&kbps), "{kbps} kbit/s instead of 200");
        assert!((24..=28).contains(&layer.fps.expect("measured")), "{:?}", layer.fps);
    }
}

#[test]
fn a_large_first_frame_does_not_make_a_track_look_dear() {
    let mut publisher = Publisher::new(1);
    let packet = Packet { bytes: 30_000, ends_frame: true, ..Packet::default() };

    publisher.layers.handle_packet(publisher.now, packet);

    assert_eq!(publisher.list()[0].bitrate, Bitrate::from_kbps(480));
}

#[test]
fn a_temporal_layer_costs_what_is_below_it_too() {
    let mut publisher = Publisher::new(1);

    for _ in 0..50 {
        for temporal in [0, 2, 1, 2] {
            publisher.frame(ms(25), &[0], temporal);
        }
    }

    let list = publisher.list();
    assert_eq!(list.iter().map(|layer| layer.temporal).collect::<Vec<_>>(), [0, 1, 2]);
    for (layer, (kbps, fps)) in list.iter().zip([(80, 10), (160, 20), (320, 40)]) {
        let measured = layer.bitrate.as_bps() / 1_000;
        assert!(measured.abs_diff(kbps) <= kbps / 8, "{measured} instead of {kbps}");
        assert!(layer.fps.expect("measured").abs_diff(fps) <= fps / 8, "{:?}", layer.fps);
    }
}

#[test]
fn a_layer_that_is_silent_for_half_a_second_is_gone_and_comes_back() {
    let mut publisher = Publisher::new(2);
    publisher.film(ms(2_000), ms(33), &[0, 1]);

    publisher.film(ms(430), ms(33), &[0]);
    assert_eq!(publisher.existing, [0, 1].into(), "too early");
    publisher.film(ms(100), ms(33), &[0]);
    assert_eq!(publisher.existing, [0].into());
    assert_eq!(publisher.list().len(), 1);

    publisher.film(ms(30), ms(33), &[0, 1]);
    assert_eq!(publisher.existing, [0, 1].into());
}

#[test]
fn a_publisher_that_is_silent_altogether_has_lost_no_layer() {
    let mut publisher = Publisher::new(2);
    publisher.film(ms(2_000), ms(33), &[0, 1]);
    let before = publisher.list();

    publisher.wait(ms(60_000));
    assert_eq!(publisher.existing, [0, 1].into());
    assert_eq!(publisher.list(), before, "the costs stay known");

    publisher.film(ms(2_000), ms(33), &[0, 1]);
    assert_eq!(publisher.told.len(), 2);
}

#[test]
fn a_pause_is_not_part_of_the_rate_after_it() {
    let mut publisher = Publisher::new(1);
    publisher.film(ms(5_000), ms(40), &[0]);

    publisher.wait(ms(60_000));
    publisher.film(ms(1_000), ms(40), &[0]);

    let kbps = publisher.list()[0].bitrate.as_bps() / 1_000;
    assert!((180..=230).contains(&kbps), "{kbps} kbit/s instead of 200");
}

#[test]
fn layers_that_stop_one_after_another_are_not_gone() {
    let mut publisher = Publisher::new(2);
    publisher.film(ms(2_000), ms(33), &[0, 1]);

    publisher.film(ms(200), ms(33), &[0]);
    publisher.wait(ms(60_000));

    assert_eq!(publisher.existing, [0, 1].into());
}

#[test]
fn a_screen_that_does_not_move_keeps_its_layers() {
    let mut publisher = Publisher::new(2);
    publisher.film(ms(2_000), ms(33), &[0, 1]);

    for _ in 0..30 {
        publisher.frame(ms(30), &[0], 0);
        publisher.frame(ms(970), &[1], 0);
    }

    assert_eq!(publisher.told.len(), 2);
}

#[test]
fn a_layer_that_ends_on_a_screen_that_does_not_move_is_gone_after_seconds() {
    let mut publisher = Publisher::new(2);
    publisher.film(ms(2_000), ms(1_000), &[0, 1]);

    publisher.film(ms(5_000), ms(1_000), &[0]);

    assert_eq!(publisher.existing, [0].into());
}

#[test]
fn encodings_are_ordered_by_height_if_all_are_known_and_as_offered_otherwise() {
    let mut publisher = Publisher::new(3);
    let mut send = |encoding, height| {
        let packet = Packet { encoding, bytes: 100, height, ..Packet::default() };
        publisher.layers.handle_packet(publisher.now, packet);
        let list = publisher.list();
        list.iter().map(|layer| layer.encoding).collect::<Vec<_>>()
    };

    send(0, Some(720));
    send(1, Some(180));
    assert_eq!(send(2, None), [0, 1, 2]);
    assert_eq!(send(2, Some(360)), [1, 2, 0]);
    assert_eq!(send(3, Some(90)), [1, 2, 0], "it was not offered");
}

#[test]
fn layers_that_no_viewer_wants_for_five_seconds_are_told_and_wanted_again_at_once() {
    let mut publisher = Publisher::new(3);
    publisher.film(ms(1_000), ms(33), &[0, 1, 2]);
    publisher.told.clear();

    publisher.wish(&[Some(100), Some(300)]);
    publisher.wait(ms(4_999));
    assert_eq!(publisher.wanted(), [true; 3]);
    publisher.wait(ms(1));
    assert_eq!(publisher.wanted(), [true, true, false]);
    assert_eq!(publisher.told, [Output::WantedChanged]);

    publisher.wish(&[Some(100), None]);
    assert_eq!(publisher.wanted(), [true; 3]);
    assert_eq!(publisher.told, [Output::WantedChanged; 2]);

    let paused = Wish { pause: true, ..Wish::default() };
    publisher.layers.handle_wishes(publisher.now, [paused]);
    publisher.wait(ms(5_000));
    assert_eq!(publisher.wanted(), [true, false, false], "the next viewer begins at once");
    assert_eq!(publisher.told, [Output::WantedChanged; 3], "told once");
}

#[test]
fn a_layer_that_is_wanted_again_within_five_seconds_is_not_told() {
    let mut publisher = Publisher::new(3);
    publisher.film(ms(1_000), ms(33), &[0, 1, 2]);
    publisher.told.clear();

    for _ in 0..10 {
        publisher.wish(&[Some(180)]);
        publisher.wait(ms(4_000));
        publisher.wish(&[Some(720)]);
        publisher.wait(ms(4_000));
    }

    assert_eq!(publisher.told, []);
}

#[test]
fn a_layer_that_sleeps_is_wanted_for_the_height_that_it_had() {
    let mut publisher = Publisher::new(3);
    publisher.film(ms(1_000), ms(33), &[0, 1, 2]);
    publisher.wish(&[Some(180)]);
    publisher.film(ms(6_000), ms(33), &[0]);
    assert_eq!(publisher.existing, [0].into());
    assert_eq!(publisher.wanted(), [true, false, false]);

    publisher.wish(&[Some(360)]);

    assert_eq!(publisher.wanted(), [true, true, false]);
}

#[derive(Clone, Debug)]
enum Act {
    Packet(usize, u8, usize, bool, Option<u32>),
    Wish(Vec<Option<u32>>),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let height = || proptest::option::of(0..1_080u32);
    prop_oneof![
        6 => (0..4usize, any::<u8>(), 0..1_500usize, any::<bool>(), height())
            .prop_map(|(at, temporal, bytes, starts, height)| Act::Packet(at, temporal, bytes, starts, height)),
        1 => proptest::collection::vec(height(), 0..4).prop_map(Act::Wish),
        3 => (0..400u64).prop_map(Act::Wait),
        1 => (0..8_000u64).prop_map(Act::Wait),
    ]
}

proptest! {
    #[test]
    fn what_is_told_is_what_exists_and_costs_rise(
        acts in proptest::collection::vec(act(), 1..300),
    ) {
        let mut publisher = Publisher::new(3);
        let mut bytes_sent = 0;

        for act in acts {
            match act {
                Act::Packet(encoding, temporal, bytes, ends_frame, height) => {
                    let packet = Packet { encoding, temporal, bytes, ends_frame, height };
                    publisher.layers.handle_packet(publisher.now, packet);
                    publisher.listen();
                    bytes_sent += bytes as u64;
                }
                Act::Wish(heights) => publisher.wish(&heights),
                Act::Wait(time) => publisher.wait(ms(time)),
            }

            let list = publisher.list();
            for (index, layer) in list.iter().enumerate() {
                prop_assert!(publisher.existing.contains(&layer.encoding));
                prop_assert!(layer.bitrate.as_bps() <= bytes_sent * 8 * 2, "more than was sent");
                let higher = list[index + 1..].iter().filter(|other| other.encoding == layer.encoding);
                for higher in higher {
                    prop_assert!(higher.bitrate >= layer.bitrate && higher.fps >= layer.fps);
                    prop_assert!(higher.temporal > layer.temporal);
                }
            }
        }
    }

    #[test]
    fn a_steady_rate_is_measured_within_a_fifth(
        interval in 10..120u64,
        bytes in 100..20_000usize,
        seconds in 3..20u64,
    ) {
        let mut publisher = Publisher::new(1);
        for _ in 0..seconds * 1_000 / interval {
            let packet = Packet { bytes, ends_frame: true, ..Packet::default() };
            publisher.layers.handle_packet(publisher.now, packet);
            publisher.now += ms(interval);
        }

        let layer = publisher.list()[0];
        let expected = bytes as u64 * 8 * 1_000 / interval;
        let measured = layer.bitrate.as_bps();
        prop_assert!(measured.abs_diff(expected) <= expected / 5, "{} for {}", measured, expected);
        let fps = u64::from(layer.fps.expect("measured"));
        prop_assert!(fps.abs_diff(1_000 / interval) <= 1 + 200 / interval, "{} fps", fps);
    }
}
