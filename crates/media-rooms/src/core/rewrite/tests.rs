use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Frames of three packets, at 30 a second of a clock of 90 kHz.
fn packet(now: Instant, number: u64) -> Incoming {
    let frame = number / 3;
    Incoming {
        number,
        timestamp: (frame as u32).wrapping_mul(3_000).wrapping_add(0xffff_0000),
        marker: number % 3 == 2,
        picture_id: Some(PictureId { value: (frame % 0x8000) as u16, bits: 15 }),
        tl0: Some(frame as u8),
        at: now + Duration::from_millis(33) * (frame % 100_000) as u32,
        captured: None,
    }
}

#[test]
fn a_stream_begins_low_even_if_its_source_does_not() {
    let mut rewriter = Rewriter::new(0xffff);
    let now = now();

    let first = rewriter.begin(&packet(now, 70_000), 90_000);
    let next = rewriter.forward(&packet(now, 70_001)).unwrap();

    assert_eq!((first.number, next.number), (0x7fff, 0x8000));
}

#[test]
fn another_source_goes_on_where_the_last_one_was() {
    let mut rewriter = Rewriter::new(7);
    let now = now();
    rewriter.begin(&packet(now, 0), 90_000);
    rewriter.forward(&packet(now, 1));
    let last = rewriter.forward(&packet(now, 2)).unwrap();

    let other = Incoming { at: now + Duration::from_secs(1), ..packet(now, 90_000) };
    let first = rewriter.begin(&other, 90_000);

    assert_eq!(first.number, last.number + 1);
    assert_eq!(first.timestamp, last.timestamp.wrapping_add(90_000), "as much later as it came");
    assert_eq!(first.picture_id.unwrap(), last.picture_id.unwrap() + 1);
    assert_eq!(first.tl0.unwrap(), last.tl0.unwrap() + 1);
}

#[test]
fn times_of_two_encodings_are_one_clock_and_what_is_too_much_does_not_add_up() {
    let mut rewriter = Rewriter::new(7);
    let now = now();
    let clock = now + Duration::from_secs(1 << 20);
    let ms = Duration::from_millis;
    // Each encoding has times of its own, and its packets are late by another time.
    let frame = |encoding: u32, number: u32| Incoming {
        number: u64::from(number),
        timestamp: (encoding * 1_000_000).wrapping_add(number * 3_000),
        marker: true,
        at: now + ms(u64::from(encoding * 11 + number * 100 / 3)),
        captured: Some(clock + Duration::from_micros(u64::from(number) * 1_000_000 / 30)),
        ..packet(now, 0)
    };
    let start = rewriter.begin(&frame(1, 0), 90_000).timestamp;
    let mut last = start;

    for number in 1..3_000u32 {
        // Every third picture comes in two encodings, one after the other.
        let twice = number % 3 == 0;
        for encoding in [1 + number % 2, 2 - number % 2].into_iter().take(1 + usize::from(twice)) {
            let begun = rewriter.begin(&frame(encoding, number), 90_000).timestamp;
            assert!(begun.wrapping_sub(last).cast_signed() >= 1_800, "{number}");
            last = begun;
            let late = begun.wrapping_sub(start).cast_signed() - (number * 3_000).cast_signed();
            assert!((0..=1_800).contains(&late), "{number}: {late}");
        }
    }

    // Without reports, and by those of a clock that was set, it is as much later as it came later.
    let next = Incoming { at: frame(2, 2_999).at + ms(50), ..frame(2, 3_000) };
    let later = |rewriter: &Rewriter, packet: &Incoming| {
        rewriter.clone().begin(packet, 90_000).timestamp.wrapping_sub(last)
    };
    assert_eq!(later(&rewriter, &next), 3_000);
    for captured in [None, Some(clock)] {
        assert_eq!(later(&rewriter, &Incoming { captured, ..next }), 4_500);
    }
    rewriter.forget_clock();
    assert_eq!(later(&rewriter, &next), 4_500);
}

#[test]
fn a_frame_that_was_cut_short_leaves_a_gap() {
    let mut rewriter = Rewriter::new(7);
    let now = now();
    rewriter.begin(&packet(now, 0), 90_000);
    let last = rewriter.forward(&packet(now, 1)).unwrap();

    let first = rewriter.begin(&packet(now, 90_000), 90_000);

    assert_eq!(first.number, last.number + 2);
}

#[test]
fn what_comes_late_from_before_the_first_packet_is_not_forwarded() {
    let mut rewriter = Rewriter::new(7);
    let now = now();
    rewriter.begin(&packet(now, 10), 90_000);

    assert_eq!(rewriter.forward(&packet(now, 9)), None);
    assert!(rewriter.forward(&packet(now, 12)).is_some());
    assert!(rewriter.forward(&packet(now, 11)).is_some());
}

#[test]
fn picture_ids_keep_their_width() {
    let mut rewriter = Rewriter::new(7);
    let now = now();
    let short = |number, value| Incoming {
        picture_id: Some(PictureId { value, bits: 7 }),
        ..packet(now, number)
    };
    rewriter.begin(&Incoming { marker: true, ..short(0, 126) }, 90_000);

    let ids = [127, 0, 1].map(|id| {
        let packet = short(u64::from((id as u8).wrapping_add(130) & 0x7f), id);
        rewriter.forward(&packet).unwrap().picture_id.unwrap()
    });
    let wide = rewriter.begin(&packet(now, 90_000), 90_000);

    assert_eq!(ids, [127, 0, 1]);
    assert_eq!(wide.picture_id, Some(130));
}

#[test]
fn another_rewriter_goes_on_from_a_position() {
    let mut rewriter = Rewriter::new(7);
    let now = now();
    rewriter.begin(&packet(now, 0), 90_000);
    let last = rewriter.forward(&packet(now, 2)).unwrap();

    let mut other = Rewriter::resume(rewriter.position().unwrap());
    let first = other.begin(&packet(now, 3), 90_000);

    assert_eq!(first.number, last.number + 1);
    assert_eq!(first.picture_id.unwrap(), last.picture_id.unwrap() + 1);
}

#[test]
fn a_sender_that_begins_anew_is_another_source() {
    let mut rewriter = Rewriter::new(7);
    let now = now();
    let sound = Incoming { picture_id: None, tl0: None, ..packet(now, 90_000) };
    assert!(!rewriter.continues(&sound), "nothing flows yet");
    rewriter.begin(&sound, 90_000);

    assert!(rewriter.continues(&Incoming { number: 90_001, ..sound }));
    assert!(rewriter.continues(&Incoming { number: 89_000, ..sound }), "late");
    for number in [0, 20_000, 80_000, 100_000, 200_000] {
        assert!(!rewriter.continues(&Incoming { number, ..sound }), "{number}");
    }
    assert!(!rewriter.continues(&packet(now, 90_001)), "it has picture ids now");
}

#[test]
fn a_source_without_picture_ids_has_none() {
    let mut rewriter = Rewriter::new(7);
    let now = now();
    let sound = Incoming { picture_id: None, tl0: None, ..packet(now, 5) };

    let first = rewriter.begin(&sound, 90_000);
    let next = rewriter.forward(&Incoming { number: 6, ..sound }).unwrap();

    assert_eq!([first.picture_id, next.picture_id], [None; 2]);
}

/// A network: which packets of a source arrive, in which order.
#[derive(Clone, Debug)]
struct Network {
    first: u64,
    /// For each packet: lost, duplicated, late by so many.
    packets: Vec<(bool, bool, usize)>,
    /// Every frame whose number divides by this is sent on; 1 for all.
    every: u64,
}

impl Network {
    fn any() -> impl Strategy<Value = Self> {
        let packet = (prop::bool::weighted(0.1), prop::bool::weighted(0.05), 0usize..12);
        let first = prop_oneof![0u64..200_000, Just(65_530), Just(32_760), Just(98_300)];
        let packets = prop::collection::vec(packet, 1..400);
        (first, packets, 1u64..4).prop_map(|(first, packets, every)| Self { first, packets, every })
    }

    fn arrivals(&self) -> Vec<u64> {
        let mut arrivals = Vec::new();
        for (index, &(lost, twice, late)) in self.packets.iter().enumerate() {
            let number = self.first + index as u64;
            // The first one is what a stream begins with.
            if index == 0 || !lost {
                arrivals.push((if index == 0 { 0 } else { index + late }, number));
            }
            if twice && index > 0 {
                arrivals.push((index + late + 3, number));
            }
        }
        arrivals.sort_by_key(|&(at, _)| at);
        arrivals.into_iter().map(|(_, number)| number).collect()
    }
}

proptest! {
    #[test]
    fn a_receiver_sees_one_stream(networks in prop::collection::vec(Network::any(), 1..5)) {
        let (mut rewriter, now) = (Rewriter::new(30_000), now());
        let (mut before, mut picture_before) = (None, None);
        for network in networks {
            let mut sent = BTreeMap::new();
            for (index, number) in network.arrivals().into_iter().enumerate() {
                let packet = packet(now, number);
                let rewritten = if index == 0 {
                    Some(rewriter.begin(&packet, 90_000))
                } else if number / 3 % network.every == network.first / 3 % network.every {
                    rewriter.forward(&packet)
                } else {
                    rewriter.leave_out(&packet, true);
                    None
                };
                if let Some(rewritten) = rewritten {
                    prop_assert_eq!(*sent.entry(number).or_insert(rewritten), rewritten, "twice");
                }
            }
            let mut last: Option<(u64, Rewritten)> = None;
            for (&number, &rewritten) in &sent {
                match last {
                    None => {
                        let after = rewritten.number.checked_sub(before.unwrap_or(29_999));
                        prop_assert!(matches!(after, Some(1 | 2)), "{:?} {:?}", after, before);
                        if let Some(picture) = picture_before {
                            prop_assert_eq!(rewritten.picture_id.unwrap(), (picture + 1) % 0x8000);
                        }
                    }
                    Some((other, earlier)) => {
                        prop_assert!(rewritten.number > earlier.number, "order");
                        prop_assert!(rewritten.number - earlier.number <= number - other, "gap");
                        let (frame, before) = (number / 3, other / 3);
                        let time = rewritten.timestamp.wrapping_sub(earlier.timestamp);
                        prop_assert_eq!(time as u64, (frame - before) * 3_000, "time");
                        let pictures = rewritten.picture_id.unwrap()
                            .wrapping_sub(earlier.picture_id.unwrap()) & 0x7fff;
                        prop_assert_eq!(pictures == 0, frame == before, "pictures");
                        prop_assert!(u64::from(pictures) <= frame - before, "pictures");
                    }
                }
                last = Some((number, rewritten));
            }
            let (_, highest) = last.unwrap();
            before = Some(highest.number);
            picture_before = highest.picture_id;
        }
    }

    /// Picture ids of 7 and of 15 bits, TL0PICIDX, sequence numbers and times wrap, each several times or once.
    #[test]
    fn padding_is_closed_up_and_what_wraps_goes_on(
        bits in prop_oneof![Just(7u8), Just(15)],
        first in prop_oneof![Just(65_000u64), Just(32_600), Just(98_000), 0u64..200_000],
        start in any::<u16>(),
        padded in prop::collection::vec(any::<bool>(), 40),
    ) {
        let (mut rewriter, now) = (Rewriter::new(start), now());
        let range = 1u16 << bits;
        // One picture in each packet, or none: some are padding, of no use to viewers.
        let media = |number: u64, picture: u64| Incoming {
            number,
            timestamp: (picture as u32).wrapping_mul(3_000).wrapping_sub(600_000),
            marker: true,
            picture_id: Some(PictureId { value: (picture % u64::from(range)) as u16, bits }),
            tl0: Some(picture as u8),
            at: now,
            captured: None,
        };
        let pictures_from = u64::from(range) - 20;
        let mut last = rewriter.begin(&media(first, pictures_from), 90_000);
        prop_assert!(last.number < 1 << 15);
        let mut picture = pictures_from;
        for number in first + 1..first + 1_500 {
            if padded[(number % 40) as usize] {
                let padding = Incoming { picture_id: None, tl0: None, ..media(number, picture) };
                rewriter.leave_out(&padding, true);
                // Also where it comes twice.
                rewriter.leave_out(&padding, true);
                continue;
            }
            picture += 1;
            let next = rewriter.forward(&media(number, picture)).unwrap();
            prop_assert_eq!(next.number, last.number + 1);
            prop_assert_eq!(next.timestamp.wrapping_sub(last.timestamp), 3_000);
            let following = last.picture_id.map(|id| (id + 1) % range);
            prop_assert_eq!(next.picture_id, following);
            prop_assert_eq!(next.tl0, last.tl0.map(|tl0| tl0.wrapping_add(1)));
            last = next;
        }
    }

    #[test]
    fn without_loss_there_are_no_gaps(every in 1u64..5, first in 0u64..200_000) {
        let (mut rewriter, now) = (Rewriter::new(0), now());
        let first = first / 3 * 3;
        let mut next = rewriter.begin(&packet(now, first), 90_000);
        for number in first + 1..first + 2_000 {
            let packet = packet(now, number);
            if number / 3 % every != first / 3 % every {
                rewriter.leave_out(&packet, true);
                continue;
            }
            let rewritten = rewriter.forward(&packet).unwrap();
            prop_assert_eq!(rewritten.number, next.number + 1);
            let pictures = u16::from(number % 3 == 0);
            prop_assert_eq!(rewritten.picture_id, next.picture_id.map(|id| (id + pictures) % 0x8000));
            next = rewritten;
        }
    }
}
