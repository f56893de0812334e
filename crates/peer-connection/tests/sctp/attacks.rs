//! Attacks, and the behaviour of an honest peer.

use str0m::channel::{ChannelConfig, Reliability};

use crate::attacker::*;
use crate::packets::*;

/// Opens forty channels of four kinds, and sends large messages and small ones until all of the reliable ones are
/// echoed.
pub(crate) fn honest(peer: &mut Attacker) {
    peer.be_honest();
    peer.loss = 50;
    let kinds = [
        (true, Reliability::Reliable),
        (false, Reliability::Reliable),
        (true, Reliability::MaxRetransmits { retransmits: 0 }),
        (false, Reliability::MaxPacketLifetime { lifetime: 50 }),
    ];
    let kinds = kinds.iter().cycle().take(40);
    let channels: Vec<_> = kinds
        .map(|(ordered, reliability)| {
            let (ordered, reliability) = (*ordered, *reliability);
            let config = ChannelConfig { ordered, reliability, ..ChannelConfig::default() };
            (peer.rtc.direct_api().create_data_channel(config), reliability)
        })
        .collect();
    peer.until(|peer| channels.iter().all(|(id, _)| peer.opened.contains(id)));

    let mut expected = Vec::new();
    for round in 0..3 {
        for (number, (id, reliability)) in channels.iter().enumerate() {
            let size = if number == round { 256 << 10 } else { 5_000 * (round % 2) + 1 + number };
            let message = vec![7; size];
            peer.until_done(|peer| peer.rtc.channel(*id).unwrap().write(true, &message).unwrap());
            if *reliability == Reliability::Reliable {
                expected.push((*id, size));
            }
        }
    }
    peer.until(|peer| expected.iter().all(|echo| peer.heard.contains(echo)));
    assert!(peer.forwards() > 0, "what is lost of the others is skipped");
}

/// Sends 14 MB with a TSN left out: then that one is sent, and everything goes on.
pub(crate) fn hole(attacker: &mut Attacker) {
    let missing = attacker.next_tsn();
    let payload = [7; 1_150];
    for number in 1..12_000 {
        attacker.say(&[data(7, missing.wrapping_add(number), 0, 0, &payload)]);
        if number % 32 == 0 {
            attacker.rest();
        }
    }
    assert_eq!(attacker.sack().0.wrapping_add(1), missing);
    attacker.say(&[data(7, missing, 0, 0, b"x")]);
    attacker.until(|attacker| attacker.sack().0.wrapping_sub(missing) < 1 << 31);
    attacker.rest();
}

/// Leaves gaps. An acknowledgement names each of them.
pub(crate) fn holes(attacker: &mut Attacker) {
    let missing = attacker.next_tsn();
    for number in 0..5_000 {
        attacker.say(&[data(7, missing.wrapping_add(2 * number + 1), 0, 0, b"x")]);
        if number % 32 == 31 {
            attacker.rest();
        }
    }
}

/// Sends fragments of one byte, each in a packet of 1,200.
pub(crate) fn fragments(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| {
        vec![data(if number == 0 { 2 } else { 0 }, tsn, 0, 1, b"x"), heartbeat(1_150)]
    });
}

pub(crate) fn beginnings(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| {
        vec![data(2, tsn, (number % 100) as u16, 1, b"x"), heartbeat(1_150)]
    });
}

pub(crate) fn out_of_order(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| {
        vec![data(3, tsn, 0, 5_u16.wrapping_add(number as u16), b"x"), heartbeat(1_150)]
    });
}

pub(crate) fn streams(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| {
        vec![message(50, 3, tsn, number as u16 + 1, 0, &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])]
    });
}

pub(crate) fn strays(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| vec![data(3, tsn, 100, number as u16, b"x")]);
}

pub(crate) fn openings(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| vec![message(50, 3, tsn, number as u16 + 10, 0, b"open!")]);
}

/// Answers that the stream is reset, and goes on sending.
pub(crate) fn late(attacker: &mut Attacker) {
    attacker.acknowledge();
    attacker.until(|attacker| attacker.last_reset() != 0);
    let answer = answer(attacker.last_reset());
    attacker.say(&[answer]);
    let first = attacker.next_tsn();
    for number in 0..5_000 {
        let tsn = first.wrapping_add(number);
        attacker.say(&[data(7, tsn, 0, 0, b"late")]);
        if paced(attacker, number, tsn) {
            return;
        }
    }
}

pub(crate) fn aborts(attacker: &mut Attacker) {
    // Out of resources (RFC 9260 §3.3.10.4).
    attacker.say(&[chunk(6, 0, &[0, 4, 0, 4])]);
    attacker.until(Attacker::is_over);
}

/// Opens and resets channels, and does not wait until this side has reset them too.
pub(crate) fn reopened(attacker: &mut Attacker) {
    let first = attacker.next_tsn();
    for number in 0..20_000 {
        let tsn = first.wrapping_add(number);
        let open = message(50, 3, tsn, 1, 0, &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let reset = reset(attacker.resets(), tsn, 1);
        attacker.say(&[open, reset]);
        if paced(attacker, number, tsn) {
            return;
        }
    }
}

/// Begins messages, and never ends them.
pub(crate) fn torn(attacker: &mut Attacker) {
    let first = attacker.next_tsn();
    for number in 0..20_000 {
        let tsn = first.wrapping_add(number);
        let reset = reset(attacker.resets(), tsn, 1);
        attacker.say(&[data(2, tsn, 1, 0, b"x"), reset, heartbeat(1_000)]);
        if paced(attacker, number, tsn) {
            return;
        }
    }
}

pub(crate) fn stuck(attacker: &mut Attacker) {
    let tsn = attacker.next_tsn();
    attacker.say(&[data(2, tsn, 1, 0, b"x")]);
    for number in 0..70_000 {
        let reset = reset(attacker.resets(), tsn, 1);
        attacker.say(&[reset]);
        if paced(attacker, number, tsn) {
            return;
        }
    }
}

pub(crate) fn large(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| {
        vec![data(if number == 0 { 2 } else { 0 }, tsn, 1, 0, &[7; 1_150])]
    });
}

pub(crate) fn filled(attacker: &mut Attacker) {
    flood(attacker, |tsn, number| vec![data(2, tsn, (number % 100) as u16, 1, &[7; 1_150])]);
}

/// Sends FORWARD-TSN far ahead, one after the other, each for many streams.
pub(crate) fn forwards(attacker: &mut Attacker) {
    let first = attacker.next_tsn();
    let skipped: Vec<(u16, u16)> = (0..200).map(|stream| (stream, 9)).collect();
    for number in 0..5_000_u32 {
        let tsn = first.wrapping_add(number * 50_000);
        attacker.say(&[forward_tsn(tsn, &skipped[..(number % 200) as usize])]);
        if number % 32 == 31 {
            attacker.rest();
        }
    }
    attacker.rest();
}

pub(crate) fn inits(attacker: &mut Attacker) {
    for number in 1..=5_000 {
        attacker.say_raw(init(number));
        if number % 32 == 31 {
            attacker.rest();
        }
    }
}

/// Sends unknown chunks, lengths that do not fit, and DATA hidden behind a SACK's end.
pub(crate) fn garbage(attacker: &mut Attacker) {
    let tsn = attacker.next_tsn();
    let mut hidden = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    hidden.extend(data(7, tsn.wrapping_add(9), 0, 0, b"hidden"));
    let shapes = [
        chunk(77, 0, b"what?"),
        chunk(194, 0, &[0; 12]),
        chunk(192, 0, &[0; 5]),
        chunk(3, 0, &hidden),
        chunk(4, 0, &[0, 2, 0, 4]),
        chunk(9, 0, &[0, 1, 0, 2]),
        chunk(130, 0, &[0, 14, 0, 4]),
        chunk(0, 3, &[0; 5]),
        vec![0, 3, 0, 2],
    ];
    for number in 0..4_500 {
        attacker.say(&[shapes[number % shapes.len()].clone()]);
        if number % 32 == 31 {
            attacker.rest();
        }
    }
}

pub(crate) fn duplicates(attacker: &mut Attacker) {
    let tsn = attacker.next_tsn();
    for number in 0..3_000 {
        attacker.say(&[data(7, tsn, 0, 0, b"again"), heartbeat(1_000)]);
        if number % 32 == 31 {
            attacker.rest();
        }
    }
    attacker.until(|attacker| attacker.sack().0 == tsn);
}

/// Sends what `make` returns, until the connection has ended.
fn flood(attacker: &mut Attacker, make: impl Fn(u32, u32) -> Vec<Vec<u8>>) {
    let first = attacker.next_tsn();
    for number in 0..20_000 {
        let tsn = first.wrapping_add(number);
        attacker.say(&make(tsn, number));
        if paced(attacker, number, tsn) {
            return;
        }
    }
}

/// Waits now and then, so that nothing is lost on the way. Returns whether the connection has ended.
fn paced(attacker: &mut Attacker, number: u32, tsn: u32) -> bool {
    if number % 32 == 31 {
        attacker.rest();
        attacker.settle(|attacker| attacker.is_over() || attacker.sack().0 == tsn);
    }
    attacker.is_over()
}
