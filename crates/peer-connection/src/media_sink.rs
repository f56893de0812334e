//! Batches of received packets, for the actor that takes a connection's media.

use actix::prelude::*;

use crate::event::{PacketBatch, PeerConnectionId, SenderReport};
use crate::media::RtpPacket;

/// Delivers the packets of a wake-up in one message to the sink, if there is one. Packets for which it has no room are
/// dropped: they would only be late.
pub(crate) struct MediaSink {
    connection: PeerConnectionId,
    sink: Option<Recipient<PacketBatch>>,
    waiting: Vec<RtpPacket>,
    reports: Vec<SenderReport>,
}

impl MediaSink {
    pub(crate) fn new(connection: PeerConnectionId) -> Self {
        Self { connection, sink: None, waiting: Vec::new(), reports: Vec::new() }
    }

    /// Sets the sink of all later packets. Returns how many packets were dropped.
    pub(crate) fn set(&mut self, sink: Option<Recipient<PacketBatch>>) -> u64 {
        let dropped = self.flush();
        self.sink = sink;
        dropped
    }

    /// Returns whether packets go to a sink, be it one that has ended.
    pub(crate) fn is_set(&self) -> bool {
        self.sink.is_some()
    }

    /// Adds a packet to those of this wake-up. Returns how many packets were dropped.
    pub(crate) fn push(&mut self, packet: RtpPacket) -> u64 {
        self.waiting.push(packet);
        if self.waiting.len() < TOGETHER { 0 } else { self.flush() }
    }

    /// Adds a report to the packets of this wake-up; at most one comes for each stream in a datagram.
    pub(crate) fn push_report(&mut self, report: SenderReport) {
        self.reports.push(report);
    }

    /// Sends what has come in this wake-up. Returns how many packets were dropped.
    pub(crate) fn flush(&mut self) -> u64 {
        if self.waiting.is_empty() && self.reports.is_empty() {
            return 0;
        }
        let packets = std::mem::take(&mut self.waiting);
        let reports = std::mem::take(&mut self.reports);
        let count = packets.len() as u64;
        let batch = PacketBatch { connection: self.connection, packets, reports };
        match self.sink.as_ref().map(|sink| sink.try_send(batch)) {
            Some(Ok(())) => 0,
            _ => count,
        }
    }
}

/// Most packets of a message: some frames of large pictures.
const TOGETHER: usize = 256;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a time for packets")]
mod tests {
    use std::time::Instant;

    use tokio::sync::{mpsc, oneshot};
    use uuid::Uuid;

    use super::*;
    use crate::header_extensions::HeaderExtensions;
    use crate::media::TransceiverId;

    /// Sink that keeps its first message until it is let go, with a mailbox for two.
    struct Slow {
        gate: Option<oneshot::Receiver<()>>,
        heard: mpsc::UnboundedSender<Vec<u64>>,
    }

    impl Actor for Slow {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Context<Self>) {
            ctx.set_mailbox_capacity(2);
        }
    }

    impl Handler<PacketBatch> for Slow {
        type Result = ();

        fn handle(&mut self, batch: PacketBatch, ctx: &mut Context<Self>) {
            let numbers = batch.packets.iter().map(|packet| packet.sequence_number).collect();
            _ = self.heard.send(numbers);
            if let Some(gate) = self.gate.take() {
                ctx.wait(gate.into_actor(self).map(|_, _, _| ()));
            }
        }
    }

    fn packet(sequence_number: u64) -> RtpPacket {
        RtpPacket {
            transceiver: TransceiverId(Uuid::nil()),
            rid: None,
            payload_type: 96,
            sequence_number,
            timestamp: 0,
            marker: false,
            at: Instant::now(),
            captured: None,
            payload: [0; 3].into(),
            audio_level: None,
            extensions: HeaderExtensions::default(),
            vp8: None,
        }
    }

    #[actix::test]
    async fn a_sink_gets_the_packets_of_a_wake_up_together_and_none_that_it_has_no_room_for() {
        let (let_go, gate) = oneshot::channel();
        let (tell, mut heard) = mpsc::unbounded_channel();
        let slow = Slow { gate: Some(gate), heard: tell }.start();
        let mut sink = MediaSink::new(PeerConnectionId(Uuid::nil()));
        assert!(!sink.is_set());
        assert_eq!(sink.set(Some(slow.clone().recipient())), 0);
        let mut send = |numbers: std::ops::Range<u64>| {
            let pushed: u64 = numbers.map(|number| sink.push(packet(number))).sum();
            pushed + sink.flush()
        };

        assert_eq!(send(0..3), 0);
        assert_eq!(heard.recv().await.unwrap(), [0, 1, 2]);
        // It does not come to more: one after the other is dropped, whole.
        let dropped: Vec<u64> = (3..20).map(|number| send(number..number + 1)).collect();
        assert_eq!(dropped.last(), Some(&1), "{dropped:?}");
        let kept = dropped.iter().filter(|dropped| **dropped == 0).count() as u64;
        let_go.send(()).unwrap();
        for number in 3..3 + kept {
            assert_eq!(heard.recv().await.unwrap(), [number]);
        }

        // A message has an end, too.
        assert_eq!(send(100..100 + TOGETHER as u64 + 1), 0);
        assert_eq!(heard.recv().await.unwrap().len(), TOGETHER);
        assert_eq!(heard.recv().await.unwrap().len(), 1);
    }

    #[actix::test]
    async fn packets_for_a_sink_that_has_ended_are_dropped() {
        let (tell, _heard) = mpsc::unbounded_channel();
        let slow = Slow { gate: None, heard: tell }.start();
        let mut sink = MediaSink::new(PeerConnectionId(Uuid::nil()));
        sink.set(Some(slow.clone().recipient()));
        slow.do_send(Stop);
        let ended = async {
            while slow.connected() {
                tokio::task::yield_now().await;
            }
        };
        ended.await;

        assert_eq!(sink.push(packet(1)), 0);
        assert_eq!(sink.flush(), 1);
        assert!(sink.is_set(), "they do not go to the owner");
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Stop;

    impl Handler<Stop> for Slow {
        type Result = ();

        fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
            ctx.stop();
        }
    }
}
