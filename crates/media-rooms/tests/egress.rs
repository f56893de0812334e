//! What the checker of all tests that receive RTP finds, and what it lets through.

#[path = "egress/mod.rs"]
mod checker;

use checker::{Coding, Egress, Seen};

/// Frames of two packets with picture ids and TL0PICIDX that wrap, as times do.
fn picture(number: u64) -> (Seen<'static>, Vec<u8>) {
    let frame = number / 2;
    let id = (0x7ff0 + frame) & 0x7fff;
    let payload = vec![0x90, 0xe0, 0x80 | (id >> 8) as u8, id as u8, frame as u8, 0, 1];
    let timestamp = (frame as u32).wrapping_mul(3_000).wrapping_sub(30_000);
    let marker = number % 2 == 1;
    (Seen { number, timestamp, marker, payload: &[], coding: Coding::Vp8 }, payload)
}

/// Checks these numbers of a stream, each after it was changed.
fn check(
    numbers: impl IntoIterator<Item = u64>,
    change: impl Fn(&mut Seen<'static>, &mut Vec<u8>),
) -> Result<(), String> {
    let mut egress = Egress::new();
    for number in numbers {
        let (mut seen, mut payload) = picture(number);
        change(&mut seen, &mut payload);
        egress.check("slot", Seen { payload: &payload, ..seen })?;
    }
    Ok(())
}

#[test]
fn loss_reordering_and_copies_are_no_faults() {
    check((0..20_000).filter(|number| number % 17 != 5), |_, _| {}).unwrap();
    check((0..20_000).map(|number| number ^ 3), |_, _| {}).unwrap();
    check((0..20_000).flat_map(|number| [number; 2]), |_, _| {}).unwrap();
}

#[test]
fn what_breaks_a_stream_is_found() {
    type Change = fn(&mut Seen<'static>, &mut Vec<u8>);
    let faults: [(&str, Change); 8] = [
        ("time goes back", |seen, _| seen.timestamp -= 90_000),
        ("marker", |seen, _| seen.marker ^= true),
        ("number 1000 was", |seen, payload| {
            (seen.number, payload[6]) = (1_000, 7);
            payload.push(1);
        }),
        ("number 6000 after", |seen, _| seen.number = 6_000),
        ("one picture id", |_, payload| payload[3] ^= 1),
        ("picture ids jump", |seen, payload| {
            (seen.timestamp, payload[3]) = (seen.timestamp + 3_000, payload[3].wrapping_add(9));
            seen.number += 1;
        }),
        ("TL0PICIDX", |_, payload| payload[4] = payload[4].wrapping_add(9)),
        ("cut short", |_, payload| payload.truncate(3)),
    ];
    for (rule, fault) in faults {
        let found = check(0..1_100, |seen, payload| {
            if seen.number == 1_001 {
                fault(seen, payload);
            }
        });
        assert!(found.as_ref().is_err_and(|found| found.contains(rule)), "{rule}: {found:?}");
    }

    let high = check(40_000..40_010, |_, _| {});
    assert_eq!(high, Err("stream \"slot\": begins with number 40000".to_owned()));
    let sound = check(0..10, |seen, _| (seen.coding, seen.timestamp) = (Coding::Sound, 7));
    assert!(sound.unwrap_err().contains("two frames of sound have one time"));
}

#[test]
fn an_ssrc_is_of_one_section() {
    let mut egress = Egress::<()>::new();
    let answer = |ssrcs: [u32; 2]| {
        let [one, two] = ssrcs;
        format!("a=mid:a\r\na=ssrc:{one} cname:x\r\na=mid:b\r\na=ssrc:{two} cname:x\r\n")
    };

    egress.answered(&answer([1, 2])).unwrap();
    egress.answered(&answer([1, 2])).unwrap();
    let found = egress.answered(&answer([3, 1]));

    assert_eq!(found, Err("SSRC 1 is of section a, and of b".to_owned()));
}
