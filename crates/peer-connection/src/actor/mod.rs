//! Actor of a peer connection.
#![allow(clippy::disallowed_methods, reason = "actors tell their cores the time")]

mod commands;
mod intake;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::prelude::*;
use callboard_ice_handshake::handshake::{
    ComponentId, ComponentInfo, Fingerprint, HandshakeError, HandshakeEvent, HandshakeFactory,
    HandshakeOutput, HandshakeOwner, HandshakeSlot, HandshakeSpec, InitData, Role,
};
use callboard_supervision::{
    Core, Down, Drive, Driver, Exit, ExitReason, Placement, SupervisorRef,
};
use callboard_transport::Label;
use callboard_transport::gather::{Transport, TransportEvent, TransportOptions};
use callboard_transport::mux::PacketClass;
use tokio::sync::oneshot;

use self::intake::Intake;
use crate::api::{Api, Configuration};
use crate::batch::Batch;
use crate::channels::ReceiptId;
use crate::default_handshake::{DefaultHandshake, dtls};
use crate::error::DeliverDataError;
use crate::event::{CloseReason, ConnectionEvent, PeerConnectionEvent, PeerConnectionId};
use crate::loss_injection::Loss;
use crate::media_sink::MediaSink;
use crate::media_thread::MediaThread;
use crate::messages::PacketSource;
use crate::owner_queue::{Delivery, OwnerQueue};
use crate::session::{Session, SessionOutput};

/// A WebRTC peer connection (W3C `RTCPeerConnection`).
///
/// Opened by [`PeerConnections::open`](crate::PeerConnections::open); commanded by [`messages`](crate::messages), and
/// answers each; reports to its owner by [`PeerConnectionEvent`]s. It ends when either side closes it, and when
/// its owner ends.
pub struct PeerConnection {
    driver: Driver<Session>,
    transport: Option<Transport>,
    /// Options of the transport, until it is started.
    transport_options: Option<TransportOptions>,
    thread: MediaThread,
    id: PeerConnectionId,
    /// Where its handshake runs, and what makes it.
    host: HandshakeHost,
    factory: Arc<dyn HandshakeFactory>,
    handshake: HandshakeSlot,
    owner_queue: OwnerQueue,
    media_sink: MediaSink,
    packet_source: Option<Box<dyn PacketSource>>,
    /// Whether it settles once the waiting datagrams have been handled.
    settling: bool,
    batch: Batch,
    /// Number of messages and packets that were written and not yet let out.
    written: usize,
    /// Those who wait for a receipt.
    receipts: HashMap<ReceiptId, oneshot::Sender<Result<(), DeliverDataError>>>,
    /// Injected loss, if any.
    loss: Option<Loss>,
}

impl PeerConnection {
    pub(crate) fn new(
        api: &Api,
        configuration: &Configuration,
        thread: MediaThread,
        host: HandshakeHost,
        id: PeerConnectionId,
        owner: Recipient<PeerConnectionEvent>,
    ) -> Result<Self, callboard_ice_handshake::handshake::CertificateError> {
        use callboard_ice_handshake::handshake::Certificate;
        let certificate = match &configuration.certificate {
            Some(certificate) => certificate.clone(),
            None => Certificate::generate()?,
        };
        let settings = api.settings();
        let factory = match (&configuration.handshake, &api.inner.handshake) {
            (Some(factory), _) => Arc::clone(factory),
            (None, Some(make)) => make(dtls(certificate.clone(), settings)),
            (None, None) => Arc::new(DefaultHandshake::new(certificate.clone(), settings)),
        };
        Ok(Self {
            driver: Driver::new(Session::new(
                id,
                Arc::clone(&api.inner),
                certificate,
                Instant::now(),
                SystemTime::now(),
            )),
            transport: None,
            transport_options: Some(TransportOptions {
                servers: if settings.ice_lite {
                    Vec::new()
                } else {
                    configuration.ice_servers.clone()
                },
                policy: configuration.ice_transport_policy,
                route: settings.route,
                label: Label::new(id),
                ..TransportOptions::default()
            }),
            thread,
            id,
            host,
            factory,
            handshake: HandshakeSlot::default(),
            owner_queue: OwnerQueue::new(id, owner, settings.max_unread),
            media_sink: MediaSink::new(id),
            packet_source: None,
            settling: false,
            batch: Batch::default(),
            written: 0,
            receipts: HashMap::new(),
            loss: None,
        })
    }

    /// Lets written messages and packets out once everything in the mailbox has been written, or enough for one call.
    fn flush_soon(&mut self, written: usize, ctx: &mut Context<Self>) {
        self.written += written;
        if self.written >= WRITTEN {
            self.written = 0;
            self.drive(ctx, Session::flush);
        }
    }

    /// Handles what comes from the transport. What follows from packets waits for the others that are there.
    fn handle_transport(&mut self, event: TransportEvent, ctx: &mut Context<Self>) {
        match event {
            TransportEvent::Datagram(_) if self.loses() => {}
            TransportEvent::Datagram(datagram) => {
                let soon = matches!(datagram.class, PacketClass::Rtp | PacketClass::Dtls);
                self.feed(ctx, |session, now| {
                    session.handle_datagram(
                        now,
                        datagram.received,
                        datagram.source,
                        datagram.destination,
                        datagram.class == PacketClass::Stun,
                        &datagram.contents,
                    );
                });
                if soon {
                    self.settling = true;
                } else {
                    self.settle(ctx);
                }
            }
            TransportEvent::Candidate(found) => {
                self.drive(ctx, |session, now| session.add_local_candidate(now, found))
            }
            TransportEvent::CandidateError(error) => {
                self.drive(ctx, |session, _| session.candidate_error(error))
            }
            TransportEvent::CandidateLost(candidate) => {
                self.drive(ctx, |session, now| session.remove_local_candidate(now, &candidate))
            }
            TransportEvent::GatheringDone => self.drive(ctx, Session::gathered),
        }
    }

    /// Closes while outputs are carried out: those of the close follow.
    fn close_now(&mut self, reason: CloseReason) {
        self.driver.core_mut().close(Instant::now(), reason);
    }

    /// Returns whether injected loss drops the next datagram.
    fn loses(&mut self) -> bool {
        let lost = self.loss.as_mut().is_some_and(Loss::next);
        if lost {
            self.driver.core_mut().datagram_lost();
        }
        lost
    }

    fn start_handshake(
        &mut self,
        role: Role,
        fingerprints: Vec<Fingerprint>,
        ctx: &mut Context<Self>,
    ) {
        let component = ComponentInfo::new(COMPONENT, role == Role::Server)
            .with_role(role)
            .with_label(Label::new(self.id));
        let mut spec = HandshakeSpec::new(component, Arc::clone(&self.factory));
        spec.deadline = self.host.deadline;
        spec.placement = self.host.placement.clone();
        self.handshake.set_remote_init_data(InitData::Fingerprints(fingerprints));
        self.handshake.start(&self.host.supervisor, self.id.to_string(), spec, ctx);
    }

    /// Delivers what the owner has no room for, as it handles the events before.
    fn wait_for_owner(&mut self, ctx: &mut Context<Self>) {
        let Some(handled) = self.owner_queue.wait_for_room() else { return };
        ctx.spawn(handled.into_actor(self).map(|(), this, ctx| {
            this.owner_queue.room_found();
            this.settle(ctx);
        }));
    }
}

impl Drive<Session> for PeerConnection {
    fn driver(&mut self) -> &mut Driver<Session> {
        &mut self.driver
    }

    fn carry_out(&mut self, output: SessionOutput, ctx: &mut Context<Self>) {
        match output {
            SessionOutput::Transmit(transmit) => {
                if self.loses() {
                    return;
                }
                if let Some(transport) = &self.transport {
                    self.batch.add(transport, transmit);
                }
            }
            SessionOutput::Event(ConnectionEvent::Packet(packet)) if self.media_sink.is_set() => {
                let dropped = self.media_sink.push(packet);
                self.driver.core_mut().media_dropped(dropped);
            }
            SessionOutput::Event(ConnectionEvent::SenderReport(report))
                if self.media_sink.is_set() =>
            {
                self.media_sink.push_report(report);
            }
            SessionOutput::Event(event) => match self.owner_queue.send(event) {
                Delivery::Accepted => {}
                Delivery::Dropped => self.driver.core_mut().media_dropped(1),
                Delivery::Full => self.close_now(CloseReason::OwnerTooSlow),
                Delivery::NoOwner => self.close_now(CloseReason::Closed),
            },
            SessionOutput::AddUfrag(ufrag) => {
                // Credentials are random: no other connection has them.
                if let Some(transport) = &self.transport
                    && transport.add_ufrag(&ufrag).is_err()
                {
                    log::warn!("{}: a user fragment is taken: {ufrag}", self.id);
                }
            }
            SessionOutput::RemoveUfrag(ufrag) => {
                if let Some(transport) = &self.transport {
                    transport.remove_ufrag(&ufrag);
                }
            }
            SessionOutput::Validate(address) => {
                if let Some(transport) = &self.transport {
                    transport.validate(address);
                }
            }
            SessionOutput::Gather => {
                if let Some(transport) = &self.transport {
                    transport.gather();
                }
            }
            SessionOutput::StartHandshake(role, fingerprints) => {
                self.start_handshake(role, fingerprints, ctx)
            }
            SessionOutput::HandshakeReady(round_trip_time) => {
                self.handshake.connection_ready(round_trip_time, ctx);
            }
            SessionOutput::Handshake(datagram) => self.handshake.datagram(datagram),
            SessionOutput::Receipt(receipt, is_delivered) => {
                if let Some(told) = self.receipts.remove(&receipt) {
                    // Who has sent it may wait no more.
                    _ = told.send(if is_delivered { Ok(()) } else { Err(DeliverDataError::Lost) });
                }
            }
            SessionOutput::Ended => {
                self.handshake.close();
                ctx.exit(ExitReason::Normal);
            }
        }
    }

    /// Sends the core's datagrams, and its events to the owner.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        if let Some(transport) = &self.transport {
            self.batch.flush(transport);
        }
        let dropped = self.media_sink.flush();
        self.driver.core_mut().media_dropped(dropped);
        // ICE alone drives it every few seconds: so a lost owner is noticed.
        let has_owner = self.owner_queue.flush() && self.owner_queue.has_owner();
        if !has_owner && !self.driver.core().is_closed() {
            return self.drive(ctx, |session, now| session.close(now, CloseReason::Closed));
        }
        self.wait_for_owner(ctx);
        self.schedule(ctx);
    }
}

/// Supervisor, placement and deadline of handshakes.
#[derive(Clone)]
pub(crate) struct HandshakeHost {
    pub(crate) supervisor: SupervisorRef,
    pub(crate) placement: Placement,
    pub(crate) deadline: Duration,
}

impl Actor for PeerConnection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        let options = self.transport_options.take().unwrap_or_default();
        let (transport, events) = Transport::open(&self.thread.mux, options);
        self.transport = Some(transport);
        ctx.spawn(Intake(events));
        self.drive(ctx, Session::handle_timeout);
    }

    fn stopping(&mut self, ctx: &mut Context<Self>) -> Running {
        // However it is stopped, the peer is told.
        self.drive(ctx, |session, now| session.close(now, CloseReason::Stopped));
        Running::Stop
    }
}

impl HandshakeOwner for PeerConnection {
    fn handshake_slot(&mut self) -> &mut HandshakeSlot {
        &mut self.handshake
    }

    fn handle_handshake(&mut self, output: HandshakeOutput, ctx: &mut Context<Self>) {
        let error = match output {
            // The descriptions already say what it is.
            HandshakeOutput::InitData { .. } => return,
            HandshakeOutput::Transmit { packets, .. } => {
                return self.drive(ctx, |session, now| session.transmit_handshake(now, packets));
            }
            HandshakeOutput::Finished(finished) => {
                return self.drive(ctx, |session, now| session.finish_handshake(now, finished));
            }
            HandshakeOutput::Failed(error) => error,
            HandshakeOutput::Closed => HandshakeError::ClosedByPeer,
        };
        self.drive(ctx, |session, now| session.fail_handshake(now, &error));
    }
}

impl Handler<HandshakeEvent> for PeerConnection {
    type Result = ();

    fn handle(&mut self, event: HandshakeEvent, ctx: &mut Context<Self>) {
        HandshakeSlot::handle_event(self, event, ctx);
    }
}

impl Handler<Down> for PeerConnection {
    type Result = ();

    fn handle(&mut self, down: Down, ctx: &mut Context<Self>) {
        HandshakeSlot::handle_down(self, down, ctx);
    }
}

/// A peer connection has one component, since RTCP is multiplexed.
const COMPONENT: ComponentId = ComponentId(1);
/// Mailbox capacity, for the application's commands; it waits for each, or gets an error that there is no room.
const MAILBOX: usize = 1_024;
/// Most messages and packets that are let out together: as many datagrams as one call takes.
const WRITTEN: usize = 64;
