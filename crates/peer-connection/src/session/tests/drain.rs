//! Tests of what an engine has to do while packets are written to it, and is not asked for after each of them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::SECOND;
use super::rtp::{in_rtp_mode, packets, packets_of, waiting};
use super::simulated_pair::Pair;
use crate::engine::EngineOutput;
use crate::*;

const STEP: Duration = Duration::from_millis(10);

#[test]
fn packets_keep_nothing_else_from_its_time() {
    let mut pair = Pair::with(in_rtp_mode(), in_rtp_mode());
    let channel = pair.channel("chat", DataChannelOptions::default());
    let losing = Rc::new(Cell::new(false));
    let loses = Rc::clone(&losing);
    pair.conditions = Box::new(move |_| match loses.get() {
        true => Vec::new(),
        false => vec![STEP],
    });
    let (sender, packet) = packets_of(&mut pair);
    pair.pass(SECOND);
    let mut unasked = 0;
    for at in 0..700 {
        let now = pair.now;
        // Each packet is written where others are lost, messages are sent, and timers fire.
        losing.set(at % 50 == 7);
        if at % 50 == 20 {
            pair.a.text(now, channel, "hello").unwrap();
        }
        pair.a.session.write_packet(sender, packet(at, now)).unwrap();
        pair.a.session.flush(now);
        assert_eq!(waiting(&pair.a, 500), 1, "{at}");

        let (quiet, due) = (pair.a.session.quiet_until, pair.a.session.engine_timeout);
        if at % 2 == 0 && quiet.is_some() {
            // It has nothing else to say, and nothing to do earlier.
            unasked += 1;
            match pair.a.session.engine.poll_output() {
                Ok(EngineOutput::Timeout(next)) => assert!(Some(next) >= due, "{at}"),
                other => panic!("{at}: {other:?}"),
            }
        }
        pair.settle();
        losing.set(false);
        pair.pass(STEP);
    }
    pair.pass(SECOND);

    assert!(unasked > 300, "{unasked}");
    assert_eq!(packets(&pair.b).len(), 700, "what was lost is sent again");
    assert_eq!(pair.b.messages().len(), 14);
    assert!(pair.connected());
    let count = |peer: &super::simulated_pair::Peer, is: fn(&ConnectionEvent) -> bool| {
        peer.events.iter().filter(|event| is(event)).count()
    };
    let reports = count(&pair.b, |event| matches!(event, ConnectionEvent::SenderReport(_)));
    assert!((6..=10).contains(&reports), "{reports} in 8 s");
    let receptions = count(&pair.a, |event| matches!(event, ConnectionEvent::ReceptionReports(_)));
    assert!((5..=10).contains(&receptions), "{receptions} in 8 s");
}
