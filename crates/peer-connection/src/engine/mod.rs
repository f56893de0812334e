//! Protocol engine: str0m's `Rtc`, as a peer connection uses it. No other module names str0m.
//!
//! The engine decides nothing. Its callers keep away what str0m would panic at, or lose; each function says what it
//! relies on.

mod channels;
mod codecs;
mod convert;
mod descriptions;
mod events;
mod extension_values;
mod extensions;
mod media;
mod peer_clock;
mod rtc_builder;
mod senders;
mod sources;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use callboard_ice_handshake::handshake::{Certificate, DtlsBridge};
use callboard_transport::Label;
use callboard_transport::mux::Transmit;
pub(crate) use str0m::Candidate;
use str0m::change::SdpPendingOffer;
pub(crate) use str0m::channel::ChannelId as ChannelKey;
use str0m::error::{ProtoError, SctpError};
use str0m::media::Mid;
use str0m::net::{Protocol, Receive};
pub(crate) use str0m::stats::{CandidatePairStats, MediaEgressStats, MediaIngressStats, PeerStats};
use str0m::{Input, Output, Reason, Rtc, RtcError};

use self::rtc_builder::Recipe;
pub(crate) use self::senders::SenderOptions;
use crate::api::ApiInner;
use crate::event::{PeerConnectionId, ReceptionReport, SenderReport};
use crate::id_map::IdMap;
use crate::jsep::engine_mid;
use crate::media::*;
use crate::sctp::SctpReport;

/// Error of an engine that has refused something, or ended.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct EngineError(pub(crate) String);

impl From<RtcError> for EngineError {
    fn from(error: RtcError) -> Self {
        Self(error.to_string())
    }
}

/// Output of an engine.
#[derive(Debug)]
pub(crate) enum EngineOutput {
    Transmit(Transmit<Vec<u8>>),
    Event(EngineEvent),
    /// Nothing more happens before this time.
    Timeout(Instant),
}

/// Event of an engine.
#[derive(Debug)]
pub(crate) enum EngineEvent {
    Ice(IceProgress),
    /// DTLS is complete.
    Connected,
    /// The peer has sent `close_notify`.
    Closed,
    ChannelOpen(ChannelKey),
    ChannelData {
        key: ChannelKey,
        binary: bool,
        data: Vec<u8>,
    },
    ChannelClosed(ChannelKey),
    Sample(ReceivedSample),
    Packet(RtpPacket),
    KeyframeWanted {
        transceiver: TransceiverId,
        rid: Option<Rid>,
        kind: KeyframeRequestKind,
    },
    Paused {
        transceiver: TransceiverId,
        rid: Option<Rid>,
        paused: bool,
    },
    SenderReport(SenderReport),
    ReceptionReport(ReceptionReport),
    Bandwidth {
        bitrate: u64,
        can_probe: bool,
    },
    /// The peer's own estimate of the path to it, in bits per second (REMB).
    ReceiverEstimate(u64),
}

/// Progress of the ICE agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IceProgress {
    New,
    Checking,
    Connected,
    Completed,
    Disconnected,
}

/// Latest measurements of the engine.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) peer: Option<PeerStats>,
    pub(crate) inbound: HashMap<(TransceiverId, Option<Rid>), MediaIngressStats>,
    pub(crate) outbound: HashMap<(TransceiverId, Option<Rid>), MediaEgressStats>,
    pub(crate) frames_received: HashMap<(TransceiverId, Option<Rid>), (u64, u64)>,
}

/// Options of a data channel.
#[derive(Clone, Debug)]
pub(crate) struct ChannelSpec {
    pub(crate) label: String,
    pub(crate) protocol: String,
    pub(crate) ordered: bool,
    pub(crate) max_retransmits: Option<u16>,
    pub(crate) max_packet_life_time: Option<u16>,
    pub(crate) negotiated: Option<u16>,
}

/// One `Rtc`, and the near end of its handshake.
pub(crate) struct Engine {
    id: PeerConnectionId,
    rtc: Rtc,
    bridge: DtlsBridge,
    sctp: Arc<SctpReport>,
    recipe: Recipe,
    /// Whether there is media, or was.
    has_media: bool,
    pending: Option<SdpPendingOffer>,
    /// Next id of a placeholder: a channel that exists only so that there is a section for channels.
    placeholder: u16,
    placeholders: Vec<ChannelKey>,
    /// Streams that the application has declared.
    declared: HashSet<u16>,
    transceivers: HashMap<Mid, TransceiverId>,
    mids: IdMap<TransceiverId, Mid>,
    codecs: HashMap<u8, Arc<RtpCodecCapability>>,
    /// What is needed to send packets through each transceiver.
    outgoing: IdMap<TransceiverId, media::Outgoing>,
    measured: Measured,
    sender_options: IdMap<TransceiverId, senders::SenderOptions>,
    sources: sources::Sources,
    peer_clock: peer_clock::PeerClock,
}

impl Engine {
    pub(crate) fn new(
        id: PeerConnectionId,
        api: Arc<ApiInner>,
        certificate: Certificate,
        now: Instant,
    ) -> Self {
        let (label, names) = (Label::new(id), extensions::Names::default());
        let recipe = Recipe { label, api, certificate, extensions: None, names };
        let (rtc, bridge, sctp) = recipe.build(now);
        Self {
            id,
            rtc,
            bridge,
            sctp,
            recipe,
            has_media: false,
            pending: None,
            placeholder: PLACEHOLDERS,
            placeholders: Vec::new(),
            declared: HashSet::new(),
            transceivers: HashMap::new(),
            mids: IdMap::default(),
            codecs: HashMap::new(),
            outgoing: IdMap::default(),
            measured: Measured::default(),
            sender_options: IdMap::default(),
            sources: sources::Sources::default(),
            peer_clock: peer_clock::PeerClock::default(),
        }
    }

    pub(crate) fn bridge(&self) -> &DtlsBridge {
        &self.bridge
    }

    /// Returns what the guard in front of SCTP has done and seen.
    pub(crate) fn sctp(&self) -> &SctpReport {
        &self.sctp
    }

    /// Returns whether the engine has keys to protect media.
    #[cfg(test)]
    pub(crate) fn has_srtp_keys(&self) -> bool {
        // str0m reports that it is connected once it has keys.
        self.rtc.is_connected()
    }

    /// Notes that there is media from now on. Returns whether that is new; the engine takes it up when it is driven.
    pub(crate) fn expect_media(&mut self) -> bool {
        let news = !std::mem::replace(&mut self.has_media, true);
        if news {
            self.bridge.with_media();
        }
        news
    }

    pub(crate) fn measured(&self) -> &Measured {
        &self.measured
    }

    /// Returns the user fragment of this side that is in force.
    pub(crate) fn local_ufrag(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// Sets which section belongs to which transceiver.
    pub(crate) fn bind<'a>(&mut self, all: impl Iterator<Item = (&'a str, TransceiverId)>) {
        let mut names = HashMap::new();
        self.transceivers.clear();
        for (mid, id) in all {
            let name = Mid::from(&*engine_mid(mid));
            if *name != *mid {
                names.insert(name, mid.into());
            }
            self.transceivers.insert(name, id);
        }
        if self.renames() {
            *self.recipe.names.write().unwrap_or_else(PoisonError::into_inner) = names;
        }
        self.mids = self.transceivers.iter().map(|(mid, id)| (*id, *mid)).collect();
        self.codecs.clear();
        self.peer_clock.keep(|id| self.mids.contains_key(&id));
        self.bind_outgoing();
        self.configure_new_streams();
    }

    /// Creates the `Rtc` again, with nothing negotiated. Candidates and channels must be added again.
    pub(crate) fn rebuild(&mut self, now: Instant) {
        (self.rtc, self.bridge, self.sctp) = self.recipe.build(now);
        if self.has_media {
            self.bridge.with_media();
        }
        self.pending = None;
        self.placeholder = PLACEHOLDERS;
        self.placeholders.clear();
        self.declared.clear();
        self.transceivers.clear();
        self.mids.clear();
        self.codecs.clear();
        self.outgoing.clear();
        self.forget_configured_streams();
        self.sources.clear();
    }

    pub(crate) fn add_local_candidate(&mut self, candidate: Candidate) {
        self.rtc.add_local_candidate(candidate);
    }

    pub(crate) fn remove_local_candidate(&mut self, candidate: &Candidate) {
        self.rtc.direct_api().invalidate_candidate(candidate);
    }

    pub(crate) fn add_remote_candidate(&mut self, candidate: Candidate) {
        self.rtc.add_remote_candidate(candidate);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), EngineError> {
        Ok(self.rtc.handle_input(Input::Timeout(now))?)
    }

    /// Handles a datagram. Returns whether it belongs to this connection, and has a source for which there is room; any
    /// other is ignored.
    pub(crate) fn handle_datagram(
        &mut self,
        received: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        contents: &[u8],
    ) -> Result<bool, EngineError> {
        let Ok(parsed) = contents.try_into() else { return Ok(false) };
        let receive = Receive { proto: Protocol::Udp, source, destination, contents: parsed };
        let input = Input::Receive(received, receive);
        if !self.rtc.accepts(&input) || !self.admit_datagram(received, contents) {
            return Ok(false);
        }
        self.rtc.handle_input(input)?;
        Ok(true)
    }

    /// Closes the DTLS session; poll for the datagrams that must be sent for it.
    pub(crate) fn close(&mut self, now: Instant) {
        if self.rtc.close().is_err() {
            // SCTP is being set up, and cannot be shut down; DTLS can.
            self.bridge.close();
            _ = self.rtc.handle_input(Input::Timeout(now));
        }
    }

    /// Returns whether the last [`EngineOutput::Timeout`] is that of a check of ICE, or of statistics.
    pub(crate) fn only_checks_are_due(&self) -> bool {
        matches!(self.rtc.last_timeout_reason(), Reason::Ice | Reason::Stats)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.rtc.is_alive()
    }

    pub(crate) fn poll_output(&mut self) -> Result<EngineOutput, EngineError> {
        loop {
            let output = match self.rtc.poll_output() {
                // A frame breaks its codec's format, by fault of the peer or the application. Others follow.
                Err(RtcError::Packet(mid, pt, error)) => {
                    let id = self.id;
                    log::debug!("{id}: a frame of {mid}, payload type {pt}, is dropped: {error}");
                    continue;
                }
                // The peer said goodbye while SCTP was being set up, which str0m then fails to shut down.
                Err(RtcError::Sctp(SctpError::Proto(ProtoError::ErrShutdownNonEstablished))) => {
                    return Ok(EngineOutput::Event(EngineEvent::Closed));
                }
                output => output?,
            };
            let event = match output {
                Output::Timeout(at) => return Ok(EngineOutput::Timeout(at)),
                Output::Transmit(transmit) => {
                    return Ok(EngineOutput::Transmit(Transmit {
                        source: transmit.source,
                        destination: transmit.destination,
                        contents: transmit.contents.into(),
                    }));
                }
                Output::Event(event) => event,
            };
            if let Some(event) = self.translate(event) {
                return Ok(EngineOutput::Event(event));
            }
        }
    }
}

/// Negotiated ids from here down are for placeholders, which are never reported: browsers number their channels from 0,
/// and most have 1,024 at most.
const PLACEHOLDERS: u16 = 1_023;
