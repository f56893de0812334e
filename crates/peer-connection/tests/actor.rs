//! Tests of connections as actors, over real sockets.

mod peers;

use std::task::Poll;

use actix::prelude::*;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use peers::*;
use tokio::sync::mpsc;

#[actix::test]
async fn two_connections_meet_and_talk() {
    let pool = pool().await;
    let api = Api::default();
    let mut a = Peer::open(&pool, &api).await;
    let mut b = Peer::open(&pool, &api).await;
    let channel = a.send(CreateDataChannel::new("chat")).await.unwrap();
    negotiate(&mut a, &mut b).await;
    connect(&mut a, &mut b).await;
    a.until(opened).await;

    a.send(SendData::text(channel, "hello")).await.unwrap();
    assert_eq!(b.until(message).await, DataChannelMessage::Text("hello".to_owned()));

    assert!(pool.exists(a.connection.id()));
    a.connection.close().await;
    assert_eq!(a.until(closed).await, CloseReason::Closed);
    assert_eq!(b.until(closed).await, CloseReason::ClosedByPeer);
    pool.stop().await;
    assert!(!pool.exists(b.connection.id()));
}

#[actix::test]
async fn an_offer_is_accepted_by_one_command() {
    let pool = pool().await;
    let api = Api::default();
    let mut a = Peer::open(&pool, &api).await;
    let mut b = Peer::open(&pool, &api).await;
    let channel = a.send(CreateDataChannel::new("chat")).await.unwrap();
    let offer = a.send(CreateOffer::default()).await.unwrap();
    a.send(SetLocalDescription(Some(offer.clone()))).await.unwrap();

    let AcceptedOffer { answer, sections, .. } = b.send(AcceptOffer(offer)).await.unwrap();

    assert_eq!(answer.kind, SdpType::Answer);
    assert_eq!((sections.taken, sections.is_nothing()), (1, false));
    assert_eq!(b.send(CurrentLocalDescription).await, Some(answer.clone()));
    a.send(SetRemoteDescription(answer)).await.unwrap();
    connect(&mut a, &mut b).await;
    a.until(opened).await;
    a.send(SendData::text(channel, "hello")).await.unwrap();
    b.until(message).await;
    pool.stop().await;
}

/// Opens two connections in RTP mode. The first one sends a video track.
async fn sending(pool: &PeerConnections) -> (Peer, Peer, SenderId) {
    let settings = ApiSettings { media_mode: MediaMode::Rtp, ..ApiSettings::default() };
    let api = Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings);
    let mut a = Peer::open(pool, &api).await;
    let mut b = Peer::open(pool, &api).await;
    let track = LocalTrack::new(RtpCodecCapability::new("video/VP8"), "v", "s");
    let sender = a.send(AddTrack(track)).await.unwrap();
    let channel = a.send(CreateDataChannel::new("chat")).await.unwrap();
    negotiate(&mut a, &mut b).await;
    connect(&mut a, &mut b).await;
    assert_eq!(a.until(opened).await, channel);
    (a, b, sender)
}

fn packet(transceiver: TransceiverId, payload_type: u8, sequence_number: u64) -> RtpPacket {
    RtpPacket {
        transceiver,
        rid: None,
        payload_type,
        sequence_number,
        timestamp: 3_000,
        marker: true,
        at: tokio::time::Instant::now().into_std(),
        captured: None,
        payload: vec![1; 100].into(),
        audio_level: None,
        extensions: HeaderExtensions::default(),
        vp8: None,
    }
}

#[actix::test]
async fn packets_are_written_and_received_in_batches() {
    let pool = pool().await;
    let (a, mut b, sender) = sending(&pool).await;
    let transceiver = a.send(GetTransceivers).await[0].clone();
    let payload_type = transceiver.codecs[0].0;
    let write = |numbers: std::ops::Range<u64>| {
        let packet = |number| packet(transceiver.id, payload_type, number);
        WriteRtpBatch(numbers.map(|at| WriteRtp { sender, packet: packet(at) }).collect())
    };
    let (tell, mut told) = mpsc::unbounded_channel();
    let sink = Sink(tell).start();
    b.send(SetMediaSink(Some(sink.clone().recipient()))).await;

    a.send(write(1_000..1_040)).await;
    let mut bad = write(1_040..1_043);
    bad.0[1].packet.payload_type = 1;
    a.send(bad).await;

    let mut numbers = Vec::new();
    while numbers.last() != Some(&1_042) {
        let batch: PacketBatch =
            tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
        assert_eq!(batch.connection, b.connection.id());
        numbers.extend(batch.packets.iter().map(|packet| packet.sequence_number));
    }
    let expected: Vec<u64> = (1_000..1_043).filter(|number| *number != 1_041).collect();
    assert_eq!(numbers, expected);
    assert_eq!(a.send(GetCounters).await.writes_refused, 1);
    let is_packet = |event: &&ConnectionEvent| matches!(event, ConnectionEvent::Packet(_));
    assert_eq!(b.told.iter().find(is_packet).map(|_| ()), None, "the owner gets none");

    // Without the sink, the owner gets them.
    b.send(SetMediaSink(None)).await;
    a.send(write(1_043..1_045)).await;
    let number = |event: &ConnectionEvent| match event {
        ConnectionEvent::Packet(packet) => Some(packet.sequence_number),
        _ => None,
    };
    assert_eq!(b.until(number).await, 1_043);
    pool.stop().await;
}

/// Passes batches on.
struct Sink(mpsc::UnboundedSender<PacketBatch>);

impl Actor for Sink {
    type Context = Context<Self>;
}

impl Handler<PacketBatch> for Sink {
    type Result = ();

    fn handle(&mut self, batch: PacketBatch, _: &mut Context<Self>) {
        _ = self.0.send(batch);
    }
}

/// Source of packets with these numbers, in runs; it ends after the last.
struct Numbered {
    write: Box<dyn Fn(u64) -> WriteRtp + Send>,
    runs: mpsc::UnboundedReceiver<std::ops::Range<u64>>,
    /// Told when it is dropped.
    _dropped: tokio::sync::oneshot::Sender<()>,
}

impl PacketSource for Numbered {
    fn poll_packets(
        &mut self,
        task: &mut std::task::Context<'_>,
        packets: &mut Vec<WriteRtp>,
    ) -> Poll<()> {
        loop {
            match self.runs.poll_recv(task) {
                Poll::Ready(Some(run)) => packets.extend(run.map(&self.write)),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[actix::test]
async fn packets_are_taken_from_a_source_until_it_ends() {
    let pool = pool().await;
    let (a, mut b, sender) = sending(&pool).await;
    let transceiver = a.send(GetTransceivers).await[0].clone();
    let payload_type = transceiver.codecs[0].0;
    let make = || {
        let write = move |at| WriteRtp { sender, packet: packet(transceiver.id, payload_type, at) };
        let (say, runs) = mpsc::unbounded_channel();
        let (held, dropped) = tokio::sync::oneshot::channel();
        let source = Numbered { write: Box::new(write), runs, _dropped: held };
        (say, dropped, SetPacketSource(Some(Box::new(source))))
    };
    let number = |event: &ConnectionEvent| match event {
        ConnectionEvent::Packet(packet) => Some(packet.sequence_number),
        _ => None,
    };
    let is =
        |wanted| move |event: &ConnectionEvent| number(event).filter(|number| *number == wanted);

    let (say, dropped, source) = make();
    say.send(1_000..1_001).unwrap();
    a.send(source).await;
    b.until(is(1_000)).await;
    say.send(1_001..1_010).unwrap();
    say.send(1_010..1_011).unwrap();
    b.until(is(1_010)).await;
    drop(say);
    assert!(dropped.await.is_err());

    // Another one takes its place, and both messages and sources may be used.
    let (say, first_dropped, first) = make();
    a.send(first).await;
    let (say_second, _dropped, second) = make();
    a.send(second).await;
    assert!(first_dropped.await.is_err());
    assert!(say.send(0..1).is_err());
    say_second.send(1_011..1_012).unwrap();
    b.until(is(1_011)).await;
    let packet = packet(transceiver.id, payload_type, 1_012);
    a.send(WriteRtpBatch(vec![WriteRtp { sender, packet }])).await;
    b.until(is(1_012)).await;
    let numbers: Vec<u64> = b.told.iter().filter_map(number).collect();
    assert_eq!(numbers, (1_000..=1_012).collect::<Vec<_>>());
    pool.stop().await;
}

#[actix::test]
async fn what_is_written_without_waiting_and_refused_is_counted() {
    let pool = pool().await;
    let (a, mut b, sender) = sending(&pool).await;
    let transceiver = a.send(GetTransceivers).await[0].clone();
    let agreed: Vec<u8> = transceiver.codecs.iter().map(|(number, _)| *number).collect();
    let other = (96..128).find(|number| !agreed.contains(number)).unwrap();
    let packet = |payload_type| packet(transceiver.id, payload_type, 1);
    let channel = a.send(GetDataChannels).await[0].id;

    let refused = a.send(WriteRtp { sender, packet: packet(other) }).await;
    assert_eq!(refused, Err(error::WriteError::NotNegotiated));
    assert_eq!(a.send(GetCounters).await.writes_refused, 1);

    // These answers are not waited for. Commands take effect in their order.
    a.connection.try_send(WriteRtp { sender, packet: packet(other) }).unwrap();
    a.connection.try_send(WriteRtp { sender, packet: packet(agreed[0]) }).unwrap();
    a.connection.try_send(SendData::text(channel, "")).unwrap();
    a.connection.try_send(SendData::text(channel, "hello")).unwrap();
    a.connection.try_send(InsertDtmf::new(sender, "1")).unwrap();
    let sample = Sample::new(vec![1], std::time::Duration::from_millis(20));
    a.connection.try_send(WriteSample { sender, sample }).unwrap();

    assert_eq!(a.send(GetCounters).await.writes_refused, 5);
    assert_eq!(b.until(message).await, DataChannelMessage::Text("hello".to_owned()));
    pool.stop().await;
}
