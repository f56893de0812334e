//! What may be told to an endpoint, and what it tells.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use callboard_supervision::ExitReason;
use callboard_transport::gather::{CandidateError, RemoteRefused};
use is::IceCreds;

use crate::handshake::{ComponentId, HandshakeData, HandshakeError, InitData};

/// Begin to gather candidates.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct GatherCandidates;

/// The peer's credentials. Others than before are an ICE restart by the peer, which this side answers with
/// [credentials](EndpointEvent::LocalCredentials) and candidates of its own.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), BadCredentials>")]
pub struct SetRemoteCredentials(pub Credentials);

/// A candidate of the peer, as in `a=candidate` (RFC 8839 §5.1), with or without the `a=`.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), CandidateRefused>")]
pub struct SetRemoteCandidate {
    /// For which component.
    pub component: ComponentId,
    /// It.
    pub candidate: String,
}

/// The peer's credentials and candidates in the lines of an SDP: `a=ice-ufrag`, `a=ice-pwd`, `a=candidate`. Other lines
/// are skipped. Tells how many candidates were taken.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<usize, BadSdp>")]
pub struct ParseRemoteSdp(pub String);

/// The peer has no more candidates for this component: when this side has none to come either and no pair works, the
/// component fails without waiting for its time-out.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RemoteCandidatesDone(pub ComponentId);

/// What the application learnt of the peer's [handshake init data](EndpointEvent::HandshakeInitData).
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SetRemoteHandshakeInitData {
    /// For this component; none for all.
    pub component: Option<ComponentId>,
    /// It.
    pub data: InitData,
}

/// Send a payload.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), SendPayloadError>")]
pub struct SendPayload {
    /// On which component.
    pub component: ComponentId,
    /// It; one datagram.
    pub payload: Bytes,
}

/// Restart ICE (RFC 8445 §9) with new credentials: the network has changed, or the peer is not heard any more.
/// What was connected stays in use until something better is.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RestartIce;

/// Say goodbye on every component and stop.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct CloseEndpoint;

/// ICE credentials (RFC 8445 §5.3).
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Credentials {
    /// The user fragment.
    pub ufrag: String,
    /// The password.
    pub password: String,
}

impl Credentials {
    /// Of these.
    ///
    /// # Errors
    /// [`BadCredentials`]
    pub fn new(
        ufrag: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Self, BadCredentials> {
        let (ufrag, password) = (ufrag.into(), password.into());
        let is_ice_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        if !(4..=256).contains(&ufrag.len()) || !ufrag.bytes().all(is_ice_char) {
            return Err(BadCredentials::Ufrag);
        }
        if !(22..=256).contains(&password.len()) || !password.bytes().all(is_ice_char) {
            return Err(BadCredentials::Password);
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

/// Why credentials are not accepted (RFC 8839 §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadCredentials {
    /// The user fragment must be 4 to 256 of `A–Z a–z 0–9 + /`.
    #[error("the user fragment is not of 4 to 256 ICE characters")]
    Ufrag,
    /// The password must be 22 to 256 of the same.
    #[error("the password is not of 22 to 256 ICE characters")]
    Password,
}

/// Why a candidate is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CandidateRefused {
    /// It is no candidate.
    #[error("not a candidate: {0}")]
    Malformed(String),
    /// Its component is another one, or this endpoint has no such component.
    #[error("of another component")]
    OtherComponent,
    /// Its transport is not UDP.
    #[error("not of UDP")]
    NotUdp,
    /// A name to be found by multicast DNS, which is not looked up: the peer's checks reach us nevertheless.
    #[error("a multicast DNS name")]
    Mdns,
    /// Nothing is sent there.
    #[error("nothing is sent to {0}")]
    Remote(RemoteRefused),
    /// The peer has named 64.
    #[error("too many candidates")]
    TooMany,
}

/// Why an SDP is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSdp {
    /// There are no credentials in it.
    #[error("no a=ice-ufrag and a=ice-pwd")]
    NoCredentials,
    /// They are not valid.
    #[error(transparent)]
    Credentials(#[from] BadCredentials),
    /// Longer than 1 MiB.
    #[error("longer than 1 MiB")]
    TooLong,
}

/// Why a payload was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SendPayloadError {
    /// This endpoint has no such component, or it has failed.
    #[error("there is no such component")]
    NoComponent,
    /// Its handshake is not complete.
    #[error("the component is not ready")]
    NotReady,
    /// The peer is not heard: it may not be sent to without its consent (RFC 7675).
    #[error("the peer is not heard")]
    Disconnected,
    /// It could not be sealed, or the system did not take it.
    #[error("dropped")]
    Dropped,
}

/// Why a component failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// No pair of candidates has worked within this time; or until there was none left to try.
    #[error("not connected within {0:?}")]
    NotConnected(Duration),
    /// The peer was not heard for so long.
    #[error("the peer was not heard for {0:?}")]
    ConsentExpired(Duration),
    /// Its handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// Its actor ended.
    #[error("the component's actor ended: {0}")]
    ActorEnded(ExitReason),
}

/// What an endpoint tells its owner.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub enum EndpointEvent {
    /// What a component's handshake has for the peer; told for every component before anything else.
    HandshakeInitData {
        /// Whose.
        component: ComponentId,
        /// What.
        data: InitData,
    },
    /// This side's credentials, for the peer; again at an ICE restart.
    LocalCredentials(Credentials),
    /// A candidate of this side, for the peer: `candidate:…`.
    NewCandidate {
        /// For which component.
        component: ComponentId,
        /// It.
        candidate: String,
    },
    /// A STUN or TURN server gave no candidate.
    CandidateError {
        /// For which component.
        component: ComponentId,
        /// Why.
        error: CandidateError,
    },
    /// All components have all their candidates.
    CandidateGatheringDone,
    /// A component goes over this pair from now on.
    NewSelectedPair {
        /// Which.
        component: ComponentId,
        /// From where we send.
        local: SocketAddr,
        /// To where.
        remote: SocketAddr,
    },
    /// A component can send and receive; its handshake begins.
    ComponentReady(ComponentId),
    /// The peer is not heard on this component; it may come back by itself, or by an ICE restart.
    ComponentDisconnected(ComponentId),
    /// It is heard again.
    ComponentReconnected(ComponentId),
    /// A component's handshake is complete: payloads go both ways.
    HandshakeFinished {
        /// Whose.
        component: ComponentId,
        /// What it has yielded.
        data: HandshakeData,
    },
    /// A payload from the peer.
    Payload {
        /// On which component.
        component: ComponentId,
        /// It.
        payload: Bytes,
    },
    /// A [`SendPayload`] could not be done.
    CouldNotSendPayload {
        /// On which component.
        component: ComponentId,
        /// Why.
        error: SendPayloadError,
    },
    /// The peer has closed this component.
    ComponentClosed(ComponentId),
    /// A component has failed. After [`ComponentError::NotConnected`] and [`ComponentError::ConsentExpired`] it can be
    /// revived by an ICE restart.
    ComponentFailed {
        /// Which.
        component: ComponentId,
        /// Why.
        error: ComponentError,
    },
}
