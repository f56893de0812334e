//! Tests of data channels.

use super::SECOND;
use super::simulated_pair::{Pair, bytes};
use crate::error::{CreateDataChannelError, CreateOfferError, SendDataError};
use crate::*;

fn connected(options: DataChannelOptions) -> (Pair, DataChannelId) {
    let mut pair = Pair::new();
    let channel = pair.channel("first", options);
    pair.negotiate();
    pair.connect();
    pair.pass(SECOND / 2);
    (pair, channel)
}

#[test]
fn text_and_bytes_of_every_size_arrive_in_order() {
    let (mut pair, channel) = connected(DataChannelOptions::default());
    let sizes = [1, 2, 1_000, 1_200, 16_384, 65_536, 262_144];
    let now = pair.now;
    pair.a.text(now, channel, "text").unwrap();
    for size in sizes {
        pair.a.send(now, channel, bytes(size)).unwrap();
    }

    assert!(pair.until(20 * SECOND, |pair| pair.b.messages().len() == sizes.len() + 1));
    let received = pair.b.messages();
    assert_eq!(received[0], DataChannelMessage::Text("text".to_owned()));
    assert!(received[1..].iter().zip(sizes).all(|(message, size)| *message == bytes(size)));
}

#[test]
fn a_channel_is_made_at_any_time_with_its_options() {
    let options = DataChannelOptions {
        ordered: false,
        max_retransmits: Some(3),
        protocol: "chess".to_owned(),
        ..DataChannelOptions::default()
    };
    let (mut pair, _) = connected(options.clone());
    let later =
        DataChannelOptions { max_packet_life_time: Some(500), ..DataChannelOptions::default() };
    pair.channel("second", later);
    let now = pair.now;
    pair.b
        .session
        .create_data_channel(now, "third".to_owned(), DataChannelOptions::default())
        .unwrap();
    pair.pass(SECOND);

    let of_b = pair.b.session.data_channels();
    let find = |label: &str| of_b.iter().find(|one| one.label == label).unwrap();
    let first = find("first");
    assert_eq!(
        (first.ordered, first.max_retransmits, first.protocol.as_str()),
        (false, Some(3), "chess")
    );
    assert_eq!(find("second").max_packet_life_time, Some(500));
    assert!(find("first").by_peer && !find("third").by_peer);
    assert!(of_b.iter().all(|one| one.state == DataChannelState::Open && one.stream.is_some()));
    assert_eq!(pair.a.session.data_channels().len(), 3);
}

#[test]
fn a_channel_that_both_declare_needs_no_word() {
    let mut pair = Pair::new();
    let options = || DataChannelOptions { negotiated: Some(7), ..DataChannelOptions::default() };
    let of_a = pair.channel("both", options());
    let now = pair.now;
    pair.b.session.create_data_channel(now, "both".to_owned(), options()).unwrap();
    pair.negotiate();
    pair.connect();
    pair.pass(SECOND);

    let now = pair.now;
    pair.a.text(now, of_a, "without a word").unwrap();
    assert!(pair.until(SECOND, |pair| !pair.b.messages().is_empty()));
    assert_eq!(pair.b.session.data_channels().len(), 1);
    assert_eq!(pair.b.session.data_channels()[0].stream, Some(7));
}

/// The engine never reports that such a channel is open.
#[test]
fn a_channel_that_is_declared_late_opens() {
    let (mut pair, _) = connected(DataChannelOptions::default());
    let options = || DataChannelOptions { negotiated: Some(40), ..DataChannelOptions::default() };
    let of_a = pair.channel("late", options());
    let now = pair.now;
    pair.b.session.create_data_channel(now, "late".to_owned(), options()).unwrap();
    pair.pass(SECOND);

    let now = pair.now;
    pair.a.text(now, of_a, "late").unwrap();
    assert!(pair.until(SECOND, |pair| !pair.b.messages().is_empty()));
}

#[test]
fn what_a_channel_cannot_be_is_refused() {
    use CreateDataChannelError as Error;
    let (mut pair, _) = connected(DataChannelOptions::default());
    let now = pair.now;
    let mut create =
        |label: String, options| pair.a.session.create_data_channel(now, label, options);
    let negotiated =
        |id| DataChannelOptions { negotiated: Some(id), ..DataChannelOptions::default() };
    let both = DataChannelOptions {
        max_retransmits: Some(1),
        max_packet_life_time: Some(1),
        ..DataChannelOptions::default()
    };

    assert_eq!(create(String::new(), both), Err(Error::BothLimits));
    assert_eq!(create("x".repeat(1_201), DataChannelOptions::default()), Err(Error::TooLong));
    assert_eq!(create(String::new(), negotiated(65_535)), Err(Error::BadId(65_535)));
    create("mine".to_owned(), negotiated(9)).unwrap();
    assert_eq!(create("again".to_owned(), negotiated(9)), Err(Error::IdTaken(9)));
    // The id of the channel that was negotiated in band, and that of the placeholder.
    let taken = [0, 1, 1_023].map(|id| create("taken".to_owned(), negotiated(id)).is_err());
    assert_eq!(
        taken.iter().filter(|taken| **taken).count(),
        2,
        "one stream and the placeholder: {taken:?}"
    );
}

#[test]
fn what_cannot_be_sent_is_refused_and_nothing_else_is_disturbed() {
    let (mut pair, channel) = connected(DataChannelOptions::default());
    let now = pair.now;
    let unknown = DataChannelId(99);
    assert_eq!(pair.a.text(now, unknown, "x"), Err(SendDataError::NotFound));
    assert_eq!(pair.a.text(now, channel, ""), Err(SendDataError::Empty));
    let large = pair.a.send(now, channel, bytes(262_145));
    assert_eq!(large, Err(SendDataError::TooLarge { size: 262_145, limit: 262_144 }));

    pair.a.text(now, channel, "still here").unwrap();
    assert!(pair.until(SECOND, |pair| !pair.b.messages().is_empty()));
}

/// A message that the engine never takes would hold up its channel for ever.
#[test]
fn a_message_is_sent_or_refused_though_the_peer_takes_any() {
    for (ours, most) in [(1_000, 262_144), (262_144, 262_144), (1 << 20, 1 << 20)] {
        let ours = Api::default().max_message_size(ours);
        let mut pair = Pair::with(ours, Api::default().max_message_size(0));
        let channel = pair.channel("x", DataChannelOptions::default());
        pair.negotiate();
        pair.connect();
        pair.pass(SECOND);
        let now = pair.now;
        let large = pair.a.send(now, channel, bytes(most + 1));
        assert_eq!(large, Err(SendDataError::TooLarge { size: most + 1, limit: most }));
        pair.a.send(now, channel, bytes(most)).unwrap();
        assert!(pair.until(10 * SECOND, |pair| pair.b.messages().len() == 1), "{most}");
    }
}

#[test]
fn a_channel_that_is_not_open_does_not_send() {
    let mut pair = Pair::new();
    let channel = pair.channel("x", DataChannelOptions::default());
    let now = pair.now;
    assert_eq!(pair.a.text(now, channel, "x"), Err(SendDataError::NotOpen));
    assert!(pair.a.session.close_data_channel(now, channel));
    pair.settle();
    assert_eq!(pair.a.text(now, channel, "x"), Err(SendDataError::NotFound));
    pair.negotiate();
    pair.connect();
    pair.pass(SECOND);
    assert_eq!(pair.b.session.data_channels().len(), 0, "it was closed before it was open");
}

#[test]
fn a_full_buffer_says_so_and_tells_when_there_is_room() {
    let (mut pair, channel) = connected(DataChannelOptions::default());
    let now = pair.now;
    let mut sent = 0;
    let full = loop {
        match pair.a.send(now, channel, bytes(100_000)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 1_000, "no limit");
    };
    assert_eq!(full, SendDataError::BufferFull);
    assert!(pair.a.session.data_channel(channel).unwrap().buffered_amount > 4_000_000);

    let low = |pair: &Pair| {
        pair.a.events.iter().any(|event| matches!(event, ConnectionEvent::BufferedAmountLow(_)))
    };
    assert!(pair.until(120 * SECOND, |pair| low(pair) && pair.b.messages().len() == sent));
    assert_eq!(pair.a.session.data_channel(channel).unwrap().buffered_amount, 0);
}

#[test]
fn a_lossy_message_is_dropped_where_too_much_waits() {
    let (mut pair, channel) = connected(DataChannelOptions::default());
    let (now, most) = (pair.now, 1_000);
    let lossy = |pair: &mut Pair, now| pair.a.session.send_lossy(now, channel, bytes(600), most);
    assert_eq!(lossy(&mut pair, now), Ok(()));
    assert_eq!(lossy(&mut pair, now), Ok(()), "600 bytes wait");
    assert_eq!(lossy(&mut pair, now), Err(SendDataError::BufferFull), "1,200 do");
    assert_eq!(pair.a.send(now, channel, bytes(600)), Ok(()), "others are sent");

    assert!(pair.until(10 * SECOND, |pair| pair.b.messages().len() == 3));
    pair.pass(SECOND);
    assert_eq!(pair.a.session.data_channel(channel).unwrap().buffered_amount, 0);
    let now = pair.now;
    assert_eq!(lossy(&mut pair, now), Ok(()));
}

#[test]
fn the_threshold_is_told_once_when_it_is_crossed() {
    let options = DataChannelOptions {
        buffered_amount_low_threshold: 50_000,
        ..DataChannelOptions::default()
    };
    let (mut pair, channel) = connected(options);
    let count = |pair: &Pair| {
        pair.a
            .events
            .iter()
            .filter(|event| matches!(event, ConnectionEvent::BufferedAmountLow(_)))
            .count()
    };
    assert_eq!(count(&pair), 0, "nothing was sent");
    let now = pair.now;
    pair.a.send(now, channel, bytes(10_000)).unwrap();
    pair.pass(SECOND);
    assert_eq!(count(&pair), 0, "it was below all the time");
    for _ in 0..4 {
        let now = pair.now;
        pair.a.send(now, channel, bytes(30_000)).unwrap();
    }
    pair.pass(10 * SECOND);
    assert_eq!(count(&pair), 1);
}

#[test]
fn a_message_is_delivered_once_the_peer_has_it() {
    let (mut pair, channel) = connected(DataChannelOptions::default());
    let now = pair.now;
    let mut asked = Vec::new();
    for size in [1, 200_000, 1_000] {
        asked.push(pair.a.session.deliver_data(now, channel, bytes(size)).unwrap());
        pair.a.session.flush(now);
    }
    pair.settle();
    assert_eq!(pair.a.receipts, [], "nothing has arrived");

    for (at, receipt) in asked.iter().enumerate() {
        assert!(pair.until(60 * SECOND, |pair| pair.a.receipts.len() > at));
        assert_eq!(pair.a.receipts[at], (*receipt, true));
        assert!(pair.b.messages().len() > at, "{:?}", pair.a.receipts);
    }
}

#[test]
fn a_message_is_lost_if_its_channel_ends_before_the_peer_has_it() {
    let (mut pair, channel) = connected(DataChannelOptions::default());
    let now = pair.now;
    let arrives = pair.a.session.deliver_data(now, channel, bytes(1_000)).unwrap();
    pair.a.session.flush(now);
    pair.pass(SECOND);
    pair.conditions = Box::new(|_| Vec::new());
    let now = pair.now;
    let lost = pair.a.session.deliver_data(now, channel, bytes(1_000)).unwrap();
    pair.a.session.flush(now);
    pair.pass(SECOND);
    assert_eq!(pair.a.receipts, [(arrives, true)]);

    let now = pair.now;
    pair.a.session.close(now, CloseReason::Closed);
    pair.settle();
    assert_eq!(pair.a.receipts, [(arrives, true), (lost, false)]);
    let late = pair.a.session.deliver_data(now, channel, bytes(1));
    assert_eq!(late, Err(SendDataError::NotFound));
}

/// The closing side lets everything out first, so the peer has it.
#[test]
fn what_a_closing_channel_still_sends_is_delivered() {
    let (mut pair, channel) = connected(DataChannelOptions::default());
    let now = pair.now;
    let receipt = pair.a.session.deliver_data(now, channel, bytes(200_000)).unwrap();
    assert!(pair.a.session.close_data_channel(now, channel));

    assert!(pair.until(60 * SECOND, |pair| !pair.a.receipts.is_empty()));
    assert_eq!(pair.a.receipts, [(receipt, true)]);
    assert_eq!(pair.b.messages().len(), 1);
}

#[test]
fn a_channel_is_closed_by_either_side_after_what_waits() {
    let (mut pair, channel) = connected(DataChannelOptions::default());
    for _ in 0..20 {
        let now = pair.now;
        pair.a.send(now, channel, bytes(50_000)).unwrap();
    }
    let now = pair.now;
    assert!(pair.a.session.close_data_channel(now, channel));
    assert_eq!(pair.a.text(now, channel, "too late"), Err(SendDataError::NotOpen));

    let closed = |peer: &super::simulated_pair::Peer| {
        peer.events.iter().any(|event| matches!(event, ConnectionEvent::DataChannelClosed(_)))
    };
    assert!(pair.until(60 * SECOND, |pair| closed(&pair.a) && closed(&pair.b)));
    assert_eq!(pair.b.messages().len(), 20);
    assert_eq!(pair.a.session.data_channels().len(), 0);

    // Its stream can be used again, also by the other side.
    let now = pair.now;
    let second = pair
        .b
        .session
        .create_data_channel(now, "second".to_owned(), DataChannelOptions::default())
        .unwrap();
    pair.pass(SECOND);
    let now = pair.now;
    pair.b.session.close_data_channel(now, second);
    pair.pass(SECOND);
    assert_eq!(
        (pair.a.session.data_channels().len(), pair.b.session.data_channels().len()),
        (0, 0)
    );
}

#[test]
fn a_peer_has_no_more_channels_than_it_may() {
    let settings = ApiSettings { max_data_channels: 4, ..ApiSettings::default() };
    let few = Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings);
    let mut pair = Pair::with(Api::default(), few);
    for at in 0..10 {
        pair.channel(&at.to_string(), DataChannelOptions::default());
    }
    pair.negotiate();
    pair.connect();
    pair.pass(5 * SECOND);

    assert_eq!(pair.b.session.data_channels().len(), 4);
    let now = pair.now;
    let more =
        pair.b.session.create_data_channel(now, "x".to_owned(), DataChannelOptions::default());
    assert_eq!(more, Err(CreateDataChannelError::TooMany));
    assert!(pair.until(10 * SECOND, |pair| {
        pair.a
            .events
            .iter()
            .filter(|event| matches!(event, ConnectionEvent::DataChannelClosed(_)))
            .count()
            == 6
    }));
}

#[test]
fn a_placeholder_is_never_a_stream_that_was_declared() {
    for (id, offers) in [(1_020, 6), (1_016, 12)] {
        let mut pair = Pair::new();
        let now = pair.now;
        let options = DataChannelOptions { negotiated: Some(id), ..DataChannelOptions::default() };
        pair.a.session.create_data_channel(now, "x".to_owned(), options).unwrap();
        for _ in 0..offers {
            pair.a.session.create_offer(false).unwrap();
        }
    }
}

#[test]
fn offers_that_are_never_answered_run_out_with_an_error() {
    let mut pair = Pair::new();
    let now = pair.now;
    let low = DataChannelOptions { negotiated: Some(1), ..DataChannelOptions::default() };
    pair.a.session.create_data_channel(now, "x".to_owned(), low).unwrap();
    let made = (0..1_100).map_while(|_| pair.a.session.create_offer(false).ok()).count();
    assert_eq!(made, 1_022, "all streams from 1,023 down but the one that was declared");
    assert_eq!(pair.a.session.create_offer(false), Err(CreateOfferError::TooMany));
}
