//! Forwarder: rewrites what the slots of one participant carry. Its subscriber decides what that is; its connection
//! takes the packets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context as Task, Poll};

use callboard_peer_connection::messages::{PacketSource, WriteRtp};
use callboard_supervision::catch_panic;

use super::slot::Slot;
use crate::core::layers::OVERHEAD;
use crate::core::traffic::Traffic;
use crate::event::TrackId;
use crate::messages::{MediaPacket, ToSubscriber, Viewer};

/// Slots of a participant, which its subscriber and its connection share.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) all: Vec<Slot>,
    /// Places of those that carry something.
    pub(super) places: HashMap<TrackId, usize>,
    /// Bitrate of what flows beside what is allocated.
    pub(super) beside: Traffic,
    /// The participant is about to be told what flows.
    pub(super) tells: bool,
}

impl Slots {
    /// Adds what the slots carry of these packets, rewritten. Returns whether something flows that the participant does
    /// not know of.
    fn forward(&mut self, batch: &[MediaPacket], packets: &mut Vec<WriteRtp>) -> bool {
        let (mut run, mut has_news): (Option<usize>, _) = (None, false);
        for media in batch {
            // Packets come in runs of one track.
            if run.is_none_or(|place| self.all[place].track != Some(media.track)) {
                self.keep_position(run);
                run = self.places.get(&media.track).copied();
            }
            let Some(slot) = run.map(|place| &mut self.all[place]) else { continue };
            if let Some(packet) = slot.forward(media) {
                has_news |= slot.has_news();
                if !slot.is_measured() {
                    self.beside.add(packet.payload.len() + OVERHEAD);
                }
                packets.push(WriteRtp { sender: slot.sender, packet });
            }
        }
        self.keep_position(run);
        has_news
    }

    /// Notes for the next instance how far a slot's stream has come.
    fn keep_position(&self, place: Option<usize>) {
        if let Some(slot) = place.map(|place| &self.all[place]) {
            *slot.position.lock().unwrap_or_else(PoisonError::into_inner) =
                slot.rewriter.position();
        }
    }
}

/// Returns the slots. What has panicked while it changed them is about to end.
pub(super) fn lock(slots: &Mutex<Slots>) -> MutexGuard<'_, Slots> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Source of the packets of a participant's connection, as long as its subscriber has not ended.
pub(super) struct Forwarder {
    pub(super) slots: Weak<Mutex<Slots>>,
    pub(super) viewer: Arc<Viewer>,
}

impl PacketSource for Forwarder {
    fn poll_packets(&mut self, task: &mut Task<'_>, packets: &mut Vec<WriteRtp>) -> Poll<()> {
        let Some(slots) = self.slots.upgrade() else { return Poll::Ready(()) };
        let mut slots = lock(&slots);
        let mut has_news = false;
        while packets.len() < TOGETHER {
            let Poll::Ready(batch) = self.viewer.lane.poll(task.waker()) else {
                self.tell(&mut slots, has_news);
                return Poll::Pending;
            };
            match catch_panic("forwarder", || slots.forward(&batch, packets)) {
                Ok(news) => has_news |= news,
                // A fault of the slots ends what decides on them, and not the connection.
                Err(message) => {
                    self.viewer.subscriber.do_send(ToSubscriber::Fail(message.into()));
                    return Poll::Ready(());
                }
            }
        }
        self.tell(&mut slots, has_news);
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Forwarder {
    /// Lets the subscriber tell the participant what flows, if there are news of that.
    fn tell(&self, slots: &mut Slots, has_news: bool) {
        if has_news && !slots.tells {
            // One that has no room is told with the next packet.
            slots.tells = self.viewer.subscriber.try_send(ToSubscriber::Tell);
        }
    }
}

/// Packets from which on others wait for the next turn: as many as a connection lets out together.
const TOGETHER: usize = 64;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use actix::prelude::*;
    use callboard_peer_connection::{HeaderExtensions, RtpPacket, TransceiverId};
    use tokio::sync::mpsc;
    use uuid::Uuid;

    use super::*;

    /// Passes on why it should fail.
    struct Told(mpsc::UnboundedSender<Arc<str>>);

    impl Actor for Told {
        type Context = Context<Self>;
    }

    impl Handler<ToSubscriber> for Told {
        type Result = ();

        fn handle(&mut self, told: ToSubscriber, _: &mut Context<Self>) {
            if let ToSubscriber::Fail(why) = told {
                _ = self.0.send(why);
            }
        }
    }

    fn batch(track: TrackId) -> Arc<[MediaPacket]> {
        let packet = RtpPacket {
            transceiver: TransceiverId(Uuid::nil()),
            rid: None,
            payload_type: 96,
            sequence_number: 1,
            timestamp: 0,
            marker: false,
            at: tokio::time::Instant::now().into_std(),
            captured: None,
            payload: [0; 3].into(),
            audio_level: None,
            extensions: HeaderExtensions::default(),
            vp8: None,
        };
        let contents = Ok(Default::default());
        Arc::new([MediaPacket { track, encoding: 0, contents, epoch: 0, packet, plain: None }])
    }

    #[actix::test]
    async fn slots_that_panic_end_their_subscriber_and_no_connection() {
        let (tell, mut told) = mpsc::unbounded_channel();
        let viewer = Arc::new(Viewer::default());
        viewer.subscriber.leads_to(Told(tell).start().recipient());
        let track = TrackId(TransceiverId(Uuid::nil()));
        // A place that there is not.
        let places = HashMap::from([(track, 7)]);
        let slots = Arc::new(Mutex::new(Slots { places, ..Slots::default() }));
        let forwarder = || Forwarder { slots: Arc::downgrade(&slots), viewer: Arc::clone(&viewer) };
        let mut task = Task::from_waker(Waker::noop());
        let mut packets = Vec::new();

        let mut one = forwarder();
        assert_eq!(one.poll_packets(&mut task, &mut packets), Poll::Pending);
        viewer.hand(&batch(track));
        assert_eq!(one.poll_packets(&mut task, &mut packets), Poll::Ready(()));
        assert!(told.recv().await.unwrap().contains("index out of bounds"));

        // The next instance's goes on with what waits; without any, there is nothing to wait for.
        lock(&slots).places.clear();
        let mut next = forwarder();
        viewer.hand(&batch(track));
        assert_eq!(next.poll_packets(&mut task, &mut packets), Poll::Pending);
        drop(slots);
        assert_eq!(next.poll_packets(&mut task, &mut packets), Poll::Ready(()));
        assert!(packets.is_empty());
    }
}
