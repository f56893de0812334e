//! The connection's side of its handshake.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_ice_handshake::handshake::{
    DtlsData, Fingerprint, Finished, HandshakeData, HandshakeError, Role, SrtpProfile, Version,
};

use super::{HandshakeProgress, Session, SessionOutput};
use crate::event::{ConnectionEvent, FailureReason};
use crate::state::*;

/// Result of a handshake, without its keys, which only the engine has.
#[derive(Debug)]
pub(super) struct Negotiated {
    pub(super) version: Version,
    pub(super) role: Role,
    pub(super) srtp_profile: Option<SrtpProfile>,
    pub(super) peer_certificate: Option<Vec<u8>>,
    pub(super) peer_fingerprint: Option<Fingerprint>,
}

impl Negotiated {
    fn of(data: &DtlsData) -> Self {
        Self {
            version: data.version,
            role: data.role,
            srtp_profile: data.srtp.as_ref().map(|keys| keys.profile),
            peer_certificate: data.peer_certificate.clone(),
            peer_fingerprint: data.peer_fingerprint.clone(),
        }
    }
}

impl Session {
    /// Handles that there is a path to the peer: the handshake can go on, and old user fragments are no longer needed.
    pub(super) fn path_found(&mut self) {
        if let HandshakeProgress::Started { ready: false } = self.handshake {
            self.handshake = HandshakeProgress::Started { ready: true };
            self.states.dtls = DtlsTransportState::Connecting;
            self.output.push_back(SessionOutput::HandshakeReady(self.round_trip.measured));
        }
        while self.ufrags.len() > 1 && self.remote.is_some() && !self.jsep.offers_restart() {
            let old = self.ufrags.pop_front();
            self.output.extend(old.map(SessionOutput::RemoveUfrag));
        }
    }

    /// Begins the handshake after a round of negotiation, if it has not begun.
    pub(super) fn start_handshake(&mut self) {
        if self.handshake != HandshakeProgress::Waiting {
            return;
        }
        let (Some(role), Some(remote)) = (self.engine.bridge().role(), &self.remote) else {
            return;
        };
        self.handshake = HandshakeProgress::Started { ready: false };
        self.output.push_back(SessionOutput::StartHandshake(role, remote.fingerprints.clone()));
        if self.states.has_path() {
            self.path_found();
        }
    }

    /// Sends packets of the handshake.
    pub(crate) fn transmit_handshake(&mut self, now: Instant, packets: Vec<Bytes>) {
        self.engine.bridge().transmit(packets);
        self.step(now);
    }

    /// Handles the end of the handshake. Its kept packets are those that the engine gets first.
    pub(crate) fn finish_handshake(&mut self, now: Instant, mut finished: Finished) {
        if self.handshake == HandshakeProgress::Over {
            return;
        }
        self.handshake = HandshakeProgress::Over;
        let taken = match &finished.data {
            HandshakeData::Dtls(data) => self.verify(data).map(|()| Negotiated::of(data)),
            _ => Err(HandshakeError::custom("a peer connection takes only DTLS handshakes")),
        };
        let taken = taken.and_then(|data| {
            // Packets that the engine was given meanwhile come after those that the handshake was given.
            let waiting = self.engine.bridge().take_received();
            let behind = std::mem::take(&mut finished.kept).into_iter().chain(waiting);
            self.engine.bridge().finish(finished, behind)?;
            Ok(data)
        });
        match taken {
            Ok(data) => {
                self.output.push_back(SessionOutput::Event(ConnectionEvent::HandshakeFinished {
                    version: data.version,
                    role: data.role,
                    srtp_profile: data.srtp_profile,
                }));
                self.negotiated = Some(data);
                self.round_trip = RoundTrip::default();
                self.candidates.shrink();
                let result = self.engine.handle_timeout(now);
                self.after(now, result);
            }
            Err(error) => self.fail_handshake_now(now, &error),
        }
    }

    /// Checks that the peer is the one of the descriptions (RFC 8122 §6.2), whichever handshake was used.
    fn verify(&self, data: &DtlsData) -> Result<(), HandshakeError> {
        let fingerprints = self.remote.iter().flat_map(|remote| &remote.fingerprints);
        match &data.peer_certificate {
            Some(certificate) if fingerprints.clone().any(|one| one.matches(certificate)) => Ok(()),
            certificate => Err(HandshakeError::FingerprintMismatch {
                found: certificate
                    .as_ref()
                    .map_or_else(|| "none".to_owned(), |one| Fingerprint::of(one).to_string()),
            }),
        }
    }

    /// Handles that the handshake has failed, or that its actor has ended.
    pub(crate) fn fail_handshake(&mut self, now: Instant, error: &HandshakeError) {
        if self.handshake != HandshakeProgress::Over {
            self.handshake = HandshakeProgress::Over;
            self.fail_handshake_now(now, error);
        }
    }

    fn fail_handshake_now(&mut self, now: Instant, error: &HandshakeError) {
        self.engine.bridge().fail(error);
        // The engine ends with an error that says less.
        _ = self.engine.handle_timeout(now);
        self.fail(FailureReason::Handshake(error.clone()));
        self.update_states(now);
    }
}

/// Round-trip time of a connectivity check: the handshake's timers depend on it, and the engine reports it too late.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    /// Checks without an answer, with their transaction ids.
    checks: VecDeque<([u8; 12], Instant)>,
    pub(super) measured: Option<Duration>,
}

impl RoundTrip {
    pub(super) fn sent(&mut self, now: Instant, datagram: &[u8]) {
        if let ([0, 1, ..], Some(transaction)) = (datagram, transaction(datagram)) {
            if self.checks.len() >= CHECKS {
                self.checks.pop_front();
            }
            self.checks.push_back((transaction, now));
        }
    }

    pub(super) fn received(&mut self, received: Instant, datagram: &[u8]) {
        if let ([1, 1, ..], Some(transaction)) = (datagram, transaction(datagram))
            && let Some(at) = self.checks.iter().position(|(check, _)| *check == transaction)
            && let Some((_, sent)) = self.checks.remove(at)
        {
            self.measured = Some(received.saturating_duration_since(sent));
        }
    }
}

/// Returns the transaction id of a STUN message (RFC 8489 §5).
fn transaction(datagram: &[u8]) -> Option<[u8; 12]> {
    datagram.get(8..20)?.try_into().ok()
}

/// Most checks that may be on their way at once.
const CHECKS: usize = 32;
