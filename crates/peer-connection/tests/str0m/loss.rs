//! Tests on a wire that loses, reorders and duplicates datagrams, always in the same way.

use str0m::IceConnectionState;
use str0m::channel::{ChannelConfig, Reliability};
use str0m_netem::{GilbertElliot, NetemConfig, Probability, RandomLoss};

use crate::wire::{LATENCY, Wire, millis, secs};

#[test]
fn peers_connect_over_a_wire_that_loses_every_tenth_datagram() {
    for seed in 0..5 {
        let mut wire = Wire::new();
        wire.degrade(lossy(0.1), seed);
        wire.negotiate_left(|api| api.add_channel("chat".into()));

        let connected = wire.run_until(secs(60), |wire| {
            wire.left.rtc.is_connected() && wire.right.rtc.is_connected()
        });

        assert!(connected, "seed {seed}");
    }
}

#[test]
fn an_ordered_channel_delivers_everything_in_order_over_a_bad_wire() {
    let (mut wire, chat) = Wire::with_data();
    wire.degrade(lossy(0.1).jitter(millis(4)).duplicate(Probability::new(0.05)).reorder_gap(7), 7);
    let messages: Vec<_> = (0..200_u32).map(|number| number.to_be_bytes().to_vec()).collect();

    for message in &messages {
        assert!(wire.left.rtc.channel(chat).unwrap().write(true, message).unwrap());
        wire.run_for(millis(10));
    }
    wire.run_for(secs(60));

    assert_eq!(wire.right.messages(), messages);
}

#[test]
fn an_unreliable_channel_loses_some_and_repeats_none() {
    let (mut wire, _) = Wire::with_data();
    let loose = wire.left.open_channel(ChannelConfig {
        label: "loose".into(),
        ordered: false,
        reliability: Reliability::MaxRetransmits { retransmits: 0 },
        ..Default::default()
    });
    wire.run_for(secs(1));
    wire.degrade(lossy(0.2).duplicate(Probability::new(0.2)), 11);

    for number in 0..200_u32 {
        assert!(wire.left.rtc.channel(loose).unwrap().write(true, &number.to_be_bytes()).unwrap());
        wire.run_for(millis(10));
    }
    wire.run_for(secs(60));

    let mut arrived = wire.right.messages();
    assert!((100..200).contains(&arrived.len()), "{}", arrived.len());
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived.len(), wire.right.messages().len());
}

#[test]
fn bursts_of_loss_leave_ice_connected() {
    let (mut wire, _) = Wire::with_data();
    wire.degrade(NetemConfig::new().latency(LATENCY).loss(GilbertElliot::wifi_lossy()), 3);

    wire.run_for(secs(300));

    assert!(wire.left.disconnected_at().is_none());
    assert!(wire.right.disconnected_at().is_none());
}

/// Therefore this crate tells a bad wire from a dead one itself.
#[test]
fn a_third_of_all_datagrams_lost_leaves_ice_connected_for_minutes() {
    let (mut wire, chat) = Wire::with_data();
    wire.degrade(lossy(0.33), 5);

    wire.run_for(secs(300));

    assert_ne!(wire.left.ice_states().last().unwrap().1, IceConnectionState::Disconnected);
    wire.degrade(NetemConfig::new().latency(LATENCY), 0);
    assert!(wire.carries(chat, b"still there"));
}

/// SCTP never gives up by itself, so a message survives any silence.
#[test]
fn a_message_under_way_arrives_after_a_quarter_of_an_hour_without_a_wire() {
    let (mut wire, chat) = Wire::with_data();
    wire.cut();
    assert!(wire.left.rtc.channel(chat).unwrap().write(true, b"late").unwrap());
    wire.run_for(secs(900));
    assert!(wire.left.rtc.is_alive());

    wire.mend();
    wire.run_for(secs(120));

    assert_eq!(wire.right.messages(), [b"late"]);
    assert_eq!(wire.right.ice_states().last().unwrap().1, IceConnectionState::Disconnected);
}

fn lossy(share: f32) -> NetemConfig {
    NetemConfig::new().latency(LATENCY).loss(RandomLoss::new(Probability::new(share)))
}
