//! Messages of an endpoint: its commands, its errors and its events.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use callboard_supervision::ExitReason;
use callboard_transport::gather::{CandidateError, CheckRemoteError};
use is::IceCreds;

use crate::handshake::{ComponentId, HandshakeData, HandshakeError, InitData};

/// Command: gather candidates.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct GatherCandidates;

/// Command: use these credentials of the peer. If they differ from those before, the peer has restarted ICE, which this
/// side answers with [credentials](EndpointEvent::LocalCredentials) and candidates of its own.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), CredentialsError>")]
pub struct SetRemoteCredentials(pub Credentials);

/// Command: add a candidate of the peer, as in `a=candidate` (RFC 8839 §5.1), with or without the `a=`.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), SetRemoteCandidateError>")]
pub struct SetRemoteCandidate {
    /// Component to which the candidate belongs.
    pub component: ComponentId,
    /// Text of the candidate.
    pub candidate: String,
}

/// Command: use the peer's credentials and candidates in the lines of an SDP: `a=ice-ufrag`, `a=ice-pwd`,
/// `a=candidate`. Other lines are skipped. The result is the number of candidates accepted.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<usize, ParseRemoteSdpError>")]
pub struct ParseRemoteSdp(pub String);

/// Notice that the peer has no more candidates for this component: when this side has none to come either and no pair
/// works, the component fails without waiting for its time-out.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RemoteCandidatesDone(pub ComponentId);

/// Command: use the peer's [handshake init data](EndpointEvent::HandshakeInitData), as the application received it.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SetRemoteHandshakeInitData {
    /// Component for which it is; `None` for all.
    pub component: Option<ComponentId>,
    /// Init data of the peer.
    pub data: InitData,
}

/// Command: send a payload.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), SendPayloadError>")]
pub struct SendPayload {
    /// Component to send on.
    pub component: ComponentId,
    /// Payload of one datagram.
    pub payload: Bytes,
}

/// Command: restart ICE (RFC 8445 §9) with new credentials, because the network has changed or the peer does not answer
/// any more. The connected pair stays in use until a better one is selected.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RestartEndpointIce;

/// Command: close every component and stop.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct CloseEndpoint;

/// ICE credentials (RFC 8445 §5.3).
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Credentials {
    /// User fragment.
    pub ufrag: String,
    /// Password.
    pub password: String,
}

impl Credentials {
    /// Creates credentials of a user fragment and a password.
    ///
    /// # Errors
    /// [`CredentialsError`] if one of them has another length or other characters than RFC 8839 §5.4 allows.
    pub fn new(
        ufrag: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Self, CredentialsError> {
        let (ufrag, password) = (ufrag.into(), password.into());
        let is_ice_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        if !(4..=256).contains(&ufrag.len()) || !ufrag.bytes().all(is_ice_char) {
            return Err(CredentialsError::Ufrag);
        }
        if !(22..=256).contains(&password.len()) || !password.bytes().all(is_ice_char) {
            return Err(CredentialsError::Password);
        }
        Ok(Self { ufrag, password })
    }

    pub(super) fn random() -> Self {
        let IceCreds { ufrag, pass: password } = IceCreds::new();
        Self { ufrag, password }
    }

    pub(super) fn to_creds(&self) -> IceCreds {
        IceCreds { ufrag: self.ufrag.clone(), pass: self.password.clone() }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// Reason for which credentials are not accepted (RFC 8839 §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The user fragment must have 4 to 256 of the characters `A–Z a–z 0–9 + /`.
    #[error("the user fragment is not of 4 to 256 ICE characters")]
    Ufrag,
    /// The password must have 22 to 256 of the same characters.
    #[error("the password is not of 22 to 256 ICE characters")]
    Password,
}

/// Reason for which a candidate is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetRemoteCandidateError {
    /// The text is no candidate.
    #[error("not a candidate: {0}")]
    Malformed(String),
    /// The candidate belongs to another component, or this endpoint has no such component.
    #[error("of another component")]
    OtherComponent,
    /// The candidate's transport is not UDP.
    #[error("not of UDP")]
    NotUdp,
    /// The candidate has a multicast DNS name, which is not looked up: the peer's checks reach us nevertheless.
    #[error("a multicast DNS name")]
    Mdns,
    /// Nothing is sent to the candidate's address.
    #[error("nothing is sent to {0}")]
    Remote(CheckRemoteError),
    /// The peer has named 64 candidates already.
    #[error("too many candidates")]
    TooMany,
}

/// Reason for which an SDP is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseRemoteSdpError {
    /// There are no credentials in the SDP.
    #[error("no a=ice-ufrag and a=ice-pwd")]
    NoCredentials,
    /// The credentials are not valid.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The SDP is longer than 1 MiB.
    #[error("longer than 1 MiB")]
    TooLong,
}

/// Reason for which a payload was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SendPayloadError {
    /// This endpoint has no such component, or the component has failed.
    #[error("there is no such component")]
    NoComponent,
    /// The handshake of the component is not complete.
    #[error("the component is not ready")]
    NotReady,
    /// Nothing is received from the peer: nothing may be sent to it without its consent (RFC 7675).
    #[error("the peer does not answer")]
    Disconnected,
    /// The payload could not be sealed, or the system did not take it.
    #[error("dropped")]
    Dropped,
}

/// Reason for which a component failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// No pair of candidates has worked within this time, after which the time-out came or no pair was left to try.
    #[error("not connected within {0:?}")]
    NotConnected(Duration),
    /// Nothing was received from the peer for this long.
    #[error("nothing was received from the peer for {0:?}")]
    ConsentExpired(Duration),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The actor of the component ended.
    #[error("the component's actor ended: {0}")]
    ActorEnded(ExitReason),
}

/// Event of an endpoint, for its owner.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub enum EndpointEvent {
    /// Init data of a component's handshake, for the peer; sent for every component before any other event.
    HandshakeInitData {
        /// Component of the handshake.
        component: ComponentId,
        /// Init data for the peer.
        data: InitData,
    },
    /// Credentials of this side, for the peer; sent again at an ICE restart.
    LocalCredentials(Credentials),
    /// Candidate of this side, for the peer: `candidate:…`.
    NewCandidate {
        /// Component to which it belongs.
        component: ComponentId,
        /// Text of the candidate.
        candidate: String,
    },
    /// A STUN or TURN server gave no candidate.
    CandidateError {
        /// Component for which the server was asked.
        component: ComponentId,
        /// Reason for which it gave none.
        error: CandidateError,
    },
    /// All components have all their candidates.
    CandidateGatheringDone,
    /// A component uses this pair from now on.
    NewSelectedPair {
        /// Component that uses it.
        component: ComponentId,
        /// Local address that we send from.
        local: SocketAddr,
        /// Remote address that we send to.
        remote: SocketAddr,
    },
    /// A component can send and receive; its handshake begins.
    ComponentReady(ComponentId),
    /// Nothing is received from the peer on this component; it may return by itself, or by an ICE restart.
    ComponentDisconnected(ComponentId),
    /// Datagrams of the peer are received on this component again.
    ComponentReconnected(ComponentId),
    /// The handshake of a component is complete: payloads go both ways.
    HandshakeFinished {
        /// Component of the handshake.
        component: ComponentId,
        /// Result of the handshake.
        data: HandshakeData,
    },
    /// A payload came from the peer.
    Payload {
        /// Component on which it came.
        component: ComponentId,
        /// Payload of one datagram.
        payload: Bytes,
    },
    /// A [`SendPayload`] failed.
    CouldNotSendPayload {
        /// Component of the payload.
        component: ComponentId,
        /// Reason for which it was not sent.
        error: SendPayloadError,
    },
    /// The peer has closed this component.
    ComponentClosed(ComponentId),
    /// A component has failed. After [`ComponentError::NotConnected`] and [`ComponentError::ConsentExpired`] an ICE
    /// restart can revive it.
    ComponentFailed {
        /// Component that failed.
        component: ComponentId,
        /// Reason for the failure.
        error: ComponentError,
    },
}
