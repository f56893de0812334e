//! Tests of datagrams that are processed together.

use super::SECOND;
use super::simulated_pair::{Pair, bytes};
use crate::*;

fn connected() -> (Pair, DataChannelId) {
    let mut pair = Pair::new();
    let channel = pair.channel("first", DataChannelOptions::default());
    pair.negotiate();
    pair.connect();
    pair.pass(SECOND / 2);
    (pair, channel)
}

/// Writes messages of one byte, each in a datagram of its own, that all arrive at once.
fn send(pair: &mut Pair, channel: DataChannelId, messages: usize) {
    let now = pair.now;
    for _ in 0..messages {
        pair.a.send(now, channel, bytes(1)).unwrap();
    }
}

fn sent_by_b(pair: &Pair) -> u64 {
    pair.b.session.counters().datagrams_sent
}

#[test]
fn datagrams_that_come_together_are_acknowledged_together() {
    let (mut pair, channel) = connected();
    let before = sent_by_b(&pair);

    send(&mut pair, channel, 20);
    assert!(pair.until(SECOND, |pair| pair.b.messages().len() == 20));

    // Alone, each second one would be acknowledged at once.
    let sent = sent_by_b(&pair) - before;
    assert!(sent <= 4, "{sent} datagrams");
}

#[test]
fn what_fits_no_datagram_goes_out_in_several_at_once() {
    let (mut pair, channel) = connected();
    let (before, now) = (pair.a.session.counters().datagrams_sent, pair.now);
    pair.a.send(now, channel, bytes(4_000)).unwrap();
    let sent = pair.a.session.counters().datagrams_sent - before;

    assert_eq!(sent, 4);
    assert!(pair.until(SECOND, |pair| pair.b.messages().len() == 1));
    assert_eq!(pair.b.messages()[0], bytes(4_000));
}

/// The engine keeps what it is given until it is polled, and has little room.
#[test]
fn forged_records_between_those_of_the_peer_disturb_nothing() {
    let (mut pair, channel) = connected();
    let (from, to) = (pair.a.address, pair.b.address);
    for round in 0..10 {
        send(&mut pair, channel, 7);
        // Records of DTLS 1.2 in the clear: a change of ciphers, an alert, a handshake message and data.
        let contents: [(u8, &[u8]); 4] =
            [(20, &[1]), (21, &[1, 0]), (22, &[14, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0]), (23, &[1])];
        for number in 0..5 {
            for (kind, contents) in contents {
                let number = 100 + 5 * round + number;
                let mut record = vec![kind, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, number];
                record.extend((contents.len() as u16).to_be_bytes());
                record.extend(contents);
                let now = pair.now;
                pair.b.session.handle_datagram(now, now, from, to, false, &record);
            }
        }
        let expected = 7 * (usize::from(round) + 1);
        assert!(pair.until(SECOND, |pair| pair.b.messages().len() == expected), "{round}");
    }
    assert!(pair.connected());
}
