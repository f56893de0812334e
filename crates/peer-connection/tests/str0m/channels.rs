//! Tests of str0m's data channels.

use std::panic::{AssertUnwindSafe, catch_unwind};

use str0m::channel::{ChannelConfig, Reliability};
use str0m::{Event, Rtc, RtcError};

use crate::text::{sections, value};
use crate::wire::{Wire, millis, secs};

#[test]
fn a_negotiated_id_taken_twice_panics() {
    let (mut wire, _) = Wire::with_data();
    wire.left.open_channel(negotiated(7));
    wire.run_for(secs(1));

    assert!(panics_on_negotiated(&mut wire.left.rtc, 7));
}

#[test]
fn a_negotiated_id_that_an_in_band_channel_has_panics() {
    let (mut wire, chat) = Wire::with_data();
    let taken = wire.left.rtc.direct_api().sctp_stream_id_by_channel_id(chat).unwrap();

    assert!(panics_on_negotiated(&mut wire.left.rtc, taken));
}

#[test]
fn a_negotiated_id_of_an_abandoned_offer_panics() {
    let mut wire = Wire::new();
    let (_, pending, _) = wire.left.offer(|api| api.add_channel_with_config(negotiated(7)));
    drop(pending);

    assert!(panics_on_negotiated(&mut wire.left.rtc, 7));
}

#[test]
fn a_negotiated_id_panics_right_after_close_and_not_once_the_close_was_told() {
    let (mut wire, _) = Wire::with_data();
    let first = wire.left.open_channel(negotiated(7));
    wire.run_for(secs(1));

    wire.left.rtc.direct_api().close_data_channel(first);
    assert!(panics_on_negotiated(&mut wire.left.rtc, 7));

    wire.run_until(secs(5), |wire| wire.left.told(|event| *event == Event::ChannelClose(first)));
    assert!(!panics_on_negotiated(&mut wire.left.rtc, 7));
}

#[test]
fn the_negotiated_id_65535_is_taken_without_complaint() {
    let (mut wire, _) = Wire::with_data();

    assert!(!panics_on_negotiated(&mut wire.left.rtc, u16::MAX));
    wire.run_for(secs(1));

    assert!(wire.left.rtc.is_alive());
    assert!(wire.left.errors.is_empty());
}

/// Therefore labels and protocols are measured before str0m has to write them into its 1500 bytes.
#[test]
fn a_label_and_a_protocol_of_more_than_1488_bytes_panic_when_the_channel_opens() {
    for (label, protocol, panics) in
        [(1_488, 0, false), (488, 1_000, false), (1_489, 0, true), (489, 1_000, true)]
    {
        let (mut wire, _) = Wire::with_data();
        let long = ChannelConfig {
            label: "x".repeat(label),
            protocol: "y".repeat(protocol),
            ..Default::default()
        };
        wire.left.open_channel(long);

        let opened = catch_unwind(AssertUnwindSafe(|| wire.run_for(secs(1))));

        assert_eq!(opened.is_err(), panics, "{label} and {protocol} bytes");
        assert_eq!(wire.right.opened().len(), if panics { 1 } else { 2 });
    }
}

/// The peer can cause it too.
#[test]
fn a_negotiated_id_under_which_the_peer_opened_a_channel_panics() {
    let (mut wire, chat) = Wire::with_data();
    let taken = wire.left.rtc.direct_api().sctp_stream_id_by_channel_id(chat).unwrap();

    assert!(panics_on_negotiated(&mut wire.right.rtc, taken));
}

/// Therefore the check before it sees the peer's channels too.
#[test]
fn an_id_that_is_taken_is_known_by_its_stream_id_once_the_channel_is_open() {
    let (mut wire, chat) = Wire::with_data();
    let stream = wire.left.rtc.direct_api().sctp_stream_id_by_channel_id(chat).unwrap();

    assert_eq!(wire.left.rtc.direct_api().channel_id_by_sctp_stream_id(stream), Some(chat));
    let theirs = wire.right.channel("chat");
    assert_eq!(wire.right.rtc.direct_api().channel_id_by_sctp_stream_id(stream), Some(theirs));
}

/// Therefore this crate keeps the ids that were asked for.
#[test]
fn a_negotiated_id_is_not_known_by_its_stream_id_before_the_next_timeout() {
    let (mut wire, _) = Wire::with_data();
    let channel = wire.left.open_channel(negotiated(7));

    assert_eq!(wire.left.rtc.direct_api().channel_id_by_sctp_stream_id(7), None);

    wire.run_for(secs(1));
    assert_eq!(wire.left.rtc.direct_api().channel_id_by_sctp_stream_id(7), Some(channel));
}

/// No panic, no error, no event.
#[test]
fn a_negotiated_id_that_an_earlier_channel_draws_before_the_association_is_up_never_opens() {
    let mut wire = Wire::new();
    wire.left.open_channel(ChannelConfig { label: "drawn".into(), ..Default::default() });
    // The offerer takes even ids, from 0 on.
    let waiting = wire.left.open_channel(negotiated(0));

    let (mut wire, _) = wire.connected_by(|api| api.add_channel_with_config(negotiated(1023)));
    wire.run_for(secs(60));

    assert_eq!(wire.left.opened(), ["negotiated", "drawn"]);
    let drawn = wire.left.channel("drawn");
    assert_eq!(wire.left.rtc.direct_api().sctp_stream_id_by_channel_id(drawn), Some(0));
    assert_eq!(wire.left.rtc.direct_api().sctp_stream_id_by_channel_id(waiting), None);
    assert!(wire.left.errors.is_empty());
}

#[test]
fn an_in_band_channel_that_draws_an_id_the_peer_has_negotiated_is_closed_and_the_peers_too() {
    let mut wire = Wire::new();
    wire.left.open_channel(ChannelConfig { label: "drawn".into(), ..Default::default() });
    wire.right.open_channel(negotiated(0));

    let (wire, _) = wire.connected_by(|api| api.add_channel_with_config(negotiated(1023)));

    assert_eq!(wire.left.opened(), ["negotiated"]);
    assert!(wire.left.told(|event| matches!(event, Event::ChannelClose(_))));
    assert!(wire.right.told(|event| matches!(event, Event::ChannelClose(_))));
}

#[test]
fn channels_made_before_the_first_offer_open_by_a_placeholder_that_the_peer_never_sees() {
    let mut wire = Wire::new();
    let channels = [
        ChannelConfig { label: "reliable".into(), ..Default::default() },
        ChannelConfig {
            label: "retransmits".into(),
            ordered: false,
            reliability: Reliability::MaxRetransmits { retransmits: 3 },
            protocol: "game".into(),
            ..Default::default()
        },
        ChannelConfig {
            label: "lifetime".into(),
            reliability: Reliability::MaxPacketLifetime { lifetime: 250 },
            ..Default::default()
        },
    ];
    for config in &channels {
        wire.left.open_channel(config.clone());
    }

    let (mut wire, _) = wire.connected_by(|api| api.add_channel_with_config(negotiated(1023)));

    let mut opened = wire.right.opened();
    opened.sort();
    assert_eq!(opened, ["lifetime", "reliable", "retransmits"]);
    assert!(wire.left.opened().contains(&"negotiated"));
    for wanted in &channels {
        let id = wire.right.channel(&wanted.label);
        let channel = wire.right.rtc.channel(id).unwrap();
        let config = channel.config().unwrap();
        assert_eq!(
            (config.ordered, config.reliability, &config.protocol),
            (wanted.ordered, wanted.reliability, &wanted.protocol),
            "{}",
            wanted.label
        );
    }
}

#[test]
fn a_placeholder_of_a_dropped_offer_is_no_hindrance_to_one_with_a_fresh_id() {
    let mut wire = Wire::new();
    wire.left.open_channel(ChannelConfig { label: "kept".into(), ..Default::default() });
    let (_, abandoned, _) = wire.left.offer(|api| api.add_channel_with_config(negotiated(1023)));
    drop(abandoned);

    let (mut wire, _) = wire.connected_by(|api| api.add_channel_with_config(negotiated(1022)));

    assert_eq!(wire.right.opened(), ["kept"]);
    let kept = wire.left.channel("kept");
    assert!(wire.carries(kept, b"hello"));
}

#[test]
fn a_channel_made_on_an_open_association_needs_no_offer() {
    let (mut wire, _) = Wire::with_data();

    let late = wire.left.open_channel(ChannelConfig { label: "late".into(), ..Default::default() });

    assert!(wire.carries_when_open(late));
    assert_eq!(wire.right.opened(), ["chat", "late"]);
}

#[test]
fn a_write_past_128_kilobytes_of_buffer_is_not_taken_until_it_drained() {
    let (mut wire, chat) = Wire::with_data();
    let message = vec![0; 16_000];

    let mut taken = 0;
    while wire.left.rtc.channel(chat).unwrap().write(true, &message).unwrap() {
        taken += message.len();
    }
    assert_eq!(taken, 128_000);

    wire.run_for(secs(5));
    assert!(wire.left.rtc.channel(chat).unwrap().write(true, &message).unwrap());
}

#[test]
fn a_message_larger_than_the_whole_buffer_is_never_taken_and_no_error() {
    let (mut wire, chat) = Wire::with_data();

    for _ in 0..3 {
        let taken = wire.left.rtc.channel(chat).unwrap().write(true, &vec![0; 300_000]).unwrap();
        assert!(!taken);
        wire.run_for(secs(1));
    }
}

#[test]
fn a_message_larger_than_the_peer_takes_is_an_error_and_no_harm_to_the_channel() {
    let right = crate::wire::config().set_sctp_max_message_size(1_000);
    let mut wire = Wire::with_configs(crate::wire::config(), right);
    let chat = wire.negotiate_left(|api| api.add_channel("chat".into()));
    wire.expect_connected();

    assert!(wire.left.rtc.channel(chat).unwrap().write(true, &[1; 1_000]).unwrap());
    let refused = wire.left.rtc.channel(chat).unwrap().write(true, &[1; 1_001]);

    assert!(matches!(refused, Err(RtcError::Sctp(_))), "{refused:?}");
    assert!(wire.carries(chat, b"after"));
}

#[test]
fn buffered_amount_low_is_told_of_a_channel_that_was_not_written_to() {
    let (wire, chat) = Wire::with_data();

    assert!(
        wire.left.told(|event| matches!(event, Event::ChannelBufferedAmountLow(id) if *id == chat))
    );
}

#[test]
fn a_negotiated_channel_declared_after_the_peer_wrote_is_usable_but_never_told_open() {
    let (mut wire, _) = Wire::with_data();
    let left = wire.left.open_channel(negotiated(9));
    wire.run_for(secs(1));
    assert!(!wire.carries(left, b"too early"));

    let right = wire.right.open_channel(negotiated(9));
    wire.run_for(secs(1));

    assert!(!wire.right.opened().contains(&"negotiated"));
    assert!(wire.right.rtc.channel(right).is_some());
    assert!(wire.carries(left, b"in time"));
    assert!(!wire.right.messages().contains(&b"too early".to_vec()));
}

/// The same in the usual order, for comparison.
#[test]
fn a_negotiated_channel_declared_on_both_sides_in_time_is_told_open_on_both() {
    let (mut wire, _) = Wire::with_data();
    let left = wire.left.open_channel(negotiated(9));
    wire.right.open_channel(negotiated(9));
    wire.run_for(secs(1));

    assert!(wire.left.opened().contains(&"negotiated"));
    assert!(wire.right.opened().contains(&"negotiated"));
    assert!(wire.carries(left, b"hello"));
}

#[test]
fn an_empty_message_mutes_an_ordered_channel_for_ever_and_no_other() {
    let (mut wire, chat) = Wire::with_data();
    let other =
        wire.left.open_channel(ChannelConfig { label: "other".into(), ..Default::default() });
    wire.run_for(secs(1));
    assert!(wire.carries(chat, b"before"));

    let taken = wire.left.rtc.channel(chat).unwrap().write(false, b"").unwrap();

    assert!(taken);
    assert!(!wire.carries(chat, b"after"));
    wire.run_for(secs(60));
    assert!(!wire.right.messages().contains(&b"after".to_vec()));
    assert!(wire.carries(other, b"elsewhere"));
    assert!(wire.left.errors.is_empty());
}

#[test]
fn an_empty_message_is_the_only_one_lost_on_an_unordered_channel() {
    let (mut wire, _) = Wire::with_data();
    let loose = wire.left.open_channel(ChannelConfig {
        label: "loose".into(),
        ordered: false,
        ..Default::default()
    });
    wire.run_for(secs(1));

    assert!(wire.left.rtc.channel(loose).unwrap().write(false, b"").unwrap());

    assert!(wire.carries(loose, b"after"));
    assert!(!wire.right.messages().contains(&Vec::new()));
}

/// An empty message would have to be sent like this, if there were a way to name its PPID.
#[test]
fn a_single_zero_byte_goes_through_as_it_is() {
    let (mut wire, chat) = Wire::with_data();

    assert!(wire.carries(chat, &[0]));
}

#[test]
fn the_channel_of_an_abandoned_offer_leaks_its_stream_id() {
    let mut wire = Wire::new();
    let (_, abandoned, _) = wire.left.offer(|api| api.add_channel("abandoned".into()));
    drop(abandoned);

    let (mut wire, chat) = wire.connected_by(|api| api.add_channel("chat".into()));

    // The offerer is the DTLS client here, whose ids are even: 0 is lost, 2 is next.
    assert_eq!(wire.left.rtc.direct_api().sctp_stream_id_by_channel_id(chat), Some(2));
}

/// Both sides report that a channel is closed, and what was queued is lost.
#[test]
fn closing_a_channel_is_told_on_both_sides_and_frees_its_id() {
    let (mut wire, chat) = Wire::with_data();
    let stream = wire.left.rtc.direct_api().sctp_stream_id_by_channel_id(chat);

    wire.left.rtc.direct_api().close_data_channel(chat);
    wire.run_for(secs(2));

    assert!(wire.left.told(|event| matches!(event, Event::ChannelClose(_))));
    assert!(wire.right.told(|event| matches!(event, Event::ChannelClose(_))));
    let next = wire.left.open_channel(ChannelConfig { label: "next".into(), ..Default::default() });
    assert!(wire.carries_when_open(next));
    assert_eq!(wire.left.rtc.direct_api().sctp_stream_id_by_channel_id(next), stream);
}

/// The description announces `set_sctp_max_message_size`.
#[test]
fn the_description_announces_the_largest_message_taken() {
    let config = crate::wire::config().set_sctp_max_message_size(65_536);
    let mut wire = Wire::with_configs(config, crate::wire::config());

    let (offer, ..) = wire.left.offer(|api| api.add_channel("chat".into()));

    assert_eq!(value(&sections(&offer)[0], "a=max-message-size:"), "65536");
}

impl Wire {
    fn carries_when_open(&mut self, channel: str0m::channel::ChannelId) -> bool {
        self.run_for(millis(500));
        self.carries(channel, b"over the new channel")
    }
}

fn negotiated(id: u16) -> ChannelConfig {
    ChannelConfig { label: "negotiated".into(), negotiated: Some(id), ..Default::default() }
}

fn panics_on_negotiated(rtc: &mut Rtc, id: u16) -> bool {
    catch_unwind(AssertUnwindSafe(|| rtc.direct_api().create_data_channel(negotiated(id)))).is_err()
}
