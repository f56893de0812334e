//! Intake of a peer connection: reads its transport, and settles once what waits has been handled.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

use actix::fut::ActorFuture;
use actix::prelude::*;
use callboard_supervision::Drive;
use callboard_transport::gather::TransportEvents;

use super::PeerConnection;
use crate::messages::WriteRtp;
use crate::session::Session;

/// Future that a peer connection polls whenever it is woken, after its mailbox.
///
/// It is there for as long as the connection: a future for each burst would cost allocations, and another look at the
/// mailbox and at all timers.
pub(super) struct Intake(pub(super) TransportEvents);

impl ActorFuture<PeerConnection> for Intake {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        connection: &mut PeerConnection,
        ctx: &mut Context<PeerConnection>,
        task: &mut Task<'_>,
    ) -> Poll<()> {
        // It takes turns with others by itself. Once the mux is gone there are no more events, and what is under way
        // runs into its timeouts.
        while let Poll::Ready(event) = self.0.poll_event(task) {
            connection.handle_transport(event, ctx);
        }
        connection.take_packets(task, ctx);
        connection.settle_burst(ctx);
        Poll::Pending
    }
}

impl PeerConnection {
    /// Writes what its source of packets has.
    fn take_packets(&mut self, task: &mut Task<'_>, ctx: &mut Context<Self>) {
        let Some(source) = &mut self.packet_source else { return };
        let mut packets = PACKETS.take();
        if source.poll_packets(task, &mut packets).is_ready() {
            self.packet_source = None;
        }
        let count = packets.len();
        self.driver.core_mut().write_packets(packets.drain(..));
        PACKETS.set(packets);
        self.flush_soon(count, ctx);
    }

    /// Lets out what was written, and does what follows from the datagrams that have come: several datagrams leave in
    /// one call, and an owner on another thread is woken once for all of them.
    fn settle_burst(&mut self, ctx: &mut Context<Self>) {
        let settles = std::mem::take(&mut self.settling);
        if std::mem::take(&mut self.written) > 0 {
            self.drive(ctx, Session::flush);
        } else if settles {
            self.drive(ctx, Session::catch_up);
        }
    }
}

thread_local! {
    /// Packets between a source and the engine; the connections of a thread share it.
    static PACKETS: Cell<Vec<WriteRtp>> = const { Cell::new(Vec::new()) };
}
