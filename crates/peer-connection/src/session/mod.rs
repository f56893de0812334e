//! Core of a peer connection. It takes messages, datagrams and the time, and returns outputs.

mod candidates;
mod data;
mod drain;
mod ending;
mod handshake;
mod media;
mod negotiation;
mod rest;
#[cfg(any(test, fuzzing))]
pub(crate) mod simulated_pair;
mod slots;
mod states;
mod statistics;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use callboard_ice_handshake::handshake::{Certificate, Fingerprint, Role};
use callboard_supervision::Core;
use callboard_transport::mux::Transmit;

use self::candidates::Candidates;
use self::drain::is_dtls;
use self::handshake::{Negotiated, RoundTrip};
use self::media::Senders;
use self::rest::Rest;
use self::states::States;
pub use self::statistics::PeerConnectionCounters;
use crate::api::ApiInner;
use crate::channels::{Channels, ReceiptId};
use crate::engine::{Engine, EngineError, EngineEvent, IceProgress};
use crate::event::{ConnectionEvent, FailureReason, PeerConnectionId, ReceptionReport};
use crate::jsep::{Jsep, JsepEvent, RemoteTransport, Settings};
use crate::state::*;

/// Output of a connection's core.
#[derive(Debug)]
pub(crate) enum SessionOutput {
    Transmit(Transmit<Vec<u8>>),
    Event(ConnectionEvent),
    /// Route STUN requests for this user fragment to this connection.
    AddUfrag(String),
    /// Stop routing STUN requests for this user fragment.
    RemoveUfrag(String),
    /// The peer has proved that it owns this address.
    Validate(SocketAddr),
    /// Gather candidates, again after a restart.
    Gather,
    /// Start the handshake, in this side's negotiated role, with the peer that has these fingerprints.
    StartHandshake(Role, Vec<Fingerprint>),
    /// There is a path for the handshake, with this round-trip time.
    HandshakeReady(Option<Duration>),
    Handshake(Bytes),
    /// The peer has the message of this receipt, or may never get it.
    Receipt(ReceiptId, bool),
    /// The connection is over; its owner has the reason.
    Ended,
}

/// Core of a peer connection.
pub(crate) struct Session {
    id: PeerConnectionId,
    api: Arc<ApiInner>,
    jsep: Jsep,
    engine: Engine,
    channels: Channels,
    candidates: Candidates,
    states: States,
    rest: Rest,
    senders: Senders,
    certificate: Certificate,
    /// The peer's transport, as the engine knows it.
    remote: Option<Arc<RemoteTransport>>,
    /// Record for undoing the answer that was created.
    undo: Option<negotiation::Undo>,
    handshake: HandshakeProgress,
    negotiated: Option<Negotiated>,
    /// User fragments that are routed to this connection: the latest last.
    ufrags: VecDeque<String>,
    validated: VecDeque<SocketAddr>,
    /// Largest message that this side sends on a data channel, in bytes.
    largest_message: usize,
    round_trip: RoundTrip,
    /// Number of packets that were written and that the engine has not let out.
    packets_wait: usize,
    /// Time until which the engine does nothing unless it is given something; none if it may have outputs.
    quiet_until: Option<Instant>,
    /// Number of datagrams of DTLS that the engine was given since it was last polled.
    unpolled: usize,
    engine_timeout: Option<Instant>,
    engine_ended: bool,
    /// Time at which an answer was set that stopped the section of the BUNDLE tag.
    tag_stopped: Option<Instant>,
    /// Reason why nothing more can be negotiated.
    broken: Option<FailureReason>,
    /// Monotonic and calendar time at which the connection began.
    started: (Instant, SystemTime),
    output: VecDeque<SessionOutput>,
    /// Reports of the peer that are told together.
    receptions: Vec<ReceptionReport>,
    counters: PeerConnectionCounters,
    /// Estimated bits per second of the path, while it can rise by probing.
    estimate: Option<u64>,
}

/// Progress of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandshakeProgress {
    Waiting,
    /// The handshake has begun, and may know its path.
    Started {
        ready: bool,
    },
    Over,
}

impl Core for Session {
    type Output = SessionOutput;

    fn poll_output(&mut self) -> Option<SessionOutput> {
        let output = self.output.pop_front().or_else(|| {
            let (receipt, is_delivered) = self.channels.poll_receipt()?;
            Some(SessionOutput::Receipt(receipt, is_delivered))
        });
        // All outputs are taken, and there may be no more for a long time, unless there is media.
        if output.is_none() {
            self.output.shrink_to(if self.jsep.has_media() { OUTPUTS } else { 0 });
        }
        output
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        if self.is_closed() {
            return None;
        }
        [self.engine_timeout, self.states.poll_timeout(), self.senders.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.play_tones(now);
        self.give_time(now);
    }
}

impl Session {
    pub(crate) fn new(
        id: PeerConnectionId,
        api: Arc<ApiInner>,
        certificate: Certificate,
        now: Instant,
        calendar: SystemTime,
    ) -> Self {
        let mut engine = Engine::new(id, Arc::clone(&api), certificate.clone(), now);
        let settings = &api.settings;
        let jsep = Jsep::new(Settings {
            max_sections: settings.max_sections,
            lite: settings.ice_lite,
            answer_active: settings.answering_role == Role::Client,
            offer_active: settings.offer_active,
            estimates: api.registry.bandwidth_estimation.is_some(),
            extensions: api.extensions(),
        });
        let ufrag = engine.local_ufrag();
        let mut session = Self {
            id,
            jsep,
            channels: Channels::new(settings.max_data_channels, settings.max_buffered_amount),
            candidates: Candidates::default(),
            states: States::new(settings),
            rest: Rest::new(settings.disconnected_timeout),
            senders: Senders::default(),
            certificate,
            remote: None,
            undo: None,
            handshake: HandshakeProgress::Waiting,
            negotiated: None,
            ufrags: VecDeque::new(),
            validated: VecDeque::new(),
            largest_message: 0,
            round_trip: RoundTrip::default(),
            packets_wait: 0,
            quiet_until: None,
            unpolled: 0,
            engine_timeout: None,
            engine_ended: false,
            tag_stopped: None,
            broken: None,
            started: (now, calendar),
            output: VecDeque::new(),
            receptions: Vec::new(),
            counters: PeerConnectionCounters::default(),
            estimate: None,
            engine,
            api,
        };
        session.add_ufrag(ufrag);
        session
    }

    /// Gives the engine the time after a command, and does what follows.
    fn step(&mut self, now: Instant) {
        self.rest.stir(now);
        self.give_time(now);
    }

    /// Gives the engine the time, and does what follows.
    fn give_time(&mut self, now: Instant) {
        let result = match &self.broken {
            None => self.engine.handle_timeout(now),
            Some(_) => Ok(()),
        };
        self.after(now, result);
    }

    /// Handles a datagram. What follows from one with data may wait for others that are there already, or for
    /// [`Self::catch_up`]: the engine goes through all that is under way whenever it is polled, and acknowledges all
    /// that it got since together.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        received: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        stun: bool,
        contents: &[u8],
    ) {
        if self.is_closed() || self.broken.is_some() {
            return;
        }
        let accepted = self.engine.handle_datagram(received, source, destination, contents);
        match accepted {
            Ok(false) => self.counters.datagrams_refused += 1,
            Ok(true) => {
                if stun && self.handshake != HandshakeProgress::Over {
                    self.round_trip.received(received, contents);
                }
                self.counters.datagrams_received += 1;
                self.counters.bytes_received += contents.len() as u64;
                self.heard(now, stun);
                // Only a packet that ICE has authenticated proves the owner of an address.
                if stun && !self.validated.contains(&source) {
                    self.rest.stir(now);
                    self.validated.push_back(source);
                    if self.validated.len() > VALIDATED {
                        self.validated.pop_front();
                    }
                    self.output.push_back(SessionOutput::Validate(source));
                }
                if is_dtls(contents) && self.handshake == HandshakeProgress::Over {
                    self.quiet_until = None;
                    self.unpolled += 1;
                    if self.unpolled < UNPOLLED {
                        return;
                    }
                }
                self.after(now, Ok(()));
            }
            Err(error) => self.after(now, Err(error)),
        }
    }

    /// Does what follows from the datagrams that came last. Call it once no others wait.
    pub(crate) fn catch_up(&mut self, now: Instant) {
        if self.unpolled > 0 {
            self.after(now, Ok(()));
        }
    }

    /// Does what follows from any input. All inputs end here.
    fn after(&mut self, now: Instant, result: Result<(), EngineError>) {
        self.unpolled = 0;
        let result = match &self.broken {
            None if self.jsep.has_media() && self.engine.expect_media() => {
                result.and_then(|()| self.engine.handle_timeout(now)).and_then(|()| self.drain(now))
            }
            None => result.and_then(|()| self.drain(now)),
            Some(_) => Ok(()),
        };
        if let Err(error) = result {
            self.fail(FailureReason::Engine(error.0));
        }
        self.tell_jsep();
        self.update_states(now);
        self.end_what_failed(now);
    }

    fn handle_engine_event(&mut self, now: Instant, event: EngineEvent) {
        let event = match event {
            EngineEvent::Ice(progress) => {
                self.states.progress(now, progress);
                if matches!(progress, IceProgress::Connected | IceProgress::Completed) {
                    self.path_found();
                }
                return;
            }
            EngineEvent::Connected => {
                self.states.dtls = DtlsTransportState::Connected;
                return;
            }
            EngineEvent::Closed => {
                self.engine.sctp().engine_ended();
                self.engine_ended = true;
                return;
            }
            EngineEvent::ChannelOpen(key) => self.channels.opened(&mut self.engine, key),
            EngineEvent::ChannelData { key, binary, data } => {
                self.channels.received(key, binary, data)
            }
            EngineEvent::ChannelClosed(key) => self.channels.closed(key),
            EngineEvent::Sample(sample) => self.sample_received(sample),
            EngineEvent::Packet(packet) => self.packet_received(packet),
            EngineEvent::KeyframeWanted { transceiver, rid, kind } => {
                Some(ConnectionEvent::KeyframeRequested { transceiver, rid, kind })
            }
            EngineEvent::Paused { transceiver, rid, paused } => {
                Some(ConnectionEvent::EncodingPaused { transceiver, rid, paused })
            }
            EngineEvent::SenderReport(report) => self.report_received(report),
            EngineEvent::ReceptionReport(report) => {
                self.receptions.push(report);
                return;
            }
            EngineEvent::Bandwidth { bitrate, can_probe } => {
                self.estimate = can_probe.then_some(bitrate);
                Some(ConnectionEvent::BandwidthEstimate { bitrate, can_probe })
            }
            // That of this side is better.
            EngineEvent::ReceiverEstimate(_) if self.estimate.is_some() => None,
            EngineEvent::ReceiverEstimate(bitrate) => {
                Some(ConnectionEvent::BandwidthEstimate { bitrate, can_probe: false })
            }
        };
        self.output.extend(event.map(SessionOutput::Event));
    }

    fn tell_jsep(&mut self) {
        while let Some(event) = self.jsep.poll_event() {
            let event = match event {
                JsepEvent::SignalingState(state) => ConnectionEvent::SignalingStateChange(state),
                JsepEvent::TrackAdded { transceiver, kind, mid, track, streams, encodings } => {
                    ConnectionEvent::TrackAdded {
                        transceiver,
                        kind,
                        mid,
                        track,
                        streams,
                        encodings,
                    }
                }
                JsepEvent::TrackRemoved { transceiver } => {
                    ConnectionEvent::TrackRemoved { transceiver }
                }
                JsepEvent::TransceiverEnded { transceiver } => {
                    ConnectionEvent::TransceiverStopped { transceiver }
                }
                JsepEvent::NegotiationNeeded => ConnectionEvent::NegotiationNeeded,
            };
            self.output.push_back(SessionOutput::Event(event));
        }
    }

    fn add_ufrag(&mut self, ufrag: String) {
        if self.ufrags.contains(&ufrag) {
            return;
        }
        if self.ufrags.len() >= UFRAGS {
            let old = self.ufrags.pop_front();
            self.output.extend(old.map(SessionOutput::RemoveUfrag));
        }
        self.ufrags.push_back(ufrag.clone());
        self.output.push_back(SessionOutput::AddUfrag(ufrag));
    }

    pub(crate) fn media_dropped(&mut self, count: u64) {
        self.counters.media_dropped += count;
    }

    pub(crate) fn datagram_lost(&mut self) {
        self.counters.datagrams_lost += 1;
    }

    pub(crate) fn counters(&self) -> PeerConnectionCounters {
        PeerConnectionCounters {
            sctp_packets_dropped: self.engine.sctp().dropped(),
            data_channels_refused: self.channels.refused,
            ..self.counters
        }
    }

    pub(crate) fn states(&self) -> &States {
        &self.states
    }

    pub(crate) fn jsep(&self) -> &Jsep {
        &self.jsep
    }
}

/// Most datagrams of DTLS that the engine is given until it is polled: it has room for twelve.
const UNPOLLED: usize = 8;
/// Outputs for which there is room as long as there is media: the packets of a frame.
const OUTPUTS: usize = 16;
/// Most validated addresses: as many as the mux keeps.
const VALIDATED: usize = 32;
/// Most user fragments: the one in force, the one of a restart, and the one before, which a peer uses in checks until
/// it knows the new one.
const UFRAGS: usize = 3;

#[cfg(test)]
mod tests;
