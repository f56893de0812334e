//! The states of a connection, by W3C's names.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[expect(clippy::exhaustive_enums, reason = "W3C's")]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Returns W3C's name of the state.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    )*};
}

states! {
    /// Stage of a round of offer and answer (W3C `RTCSignalingState`).
    SignalingState {
        /// No round is under way.
        Stable = "stable",
        /// An offer of this side is under way.
        HaveLocalOffer = "have-local-offer",
        /// An offer of the peer is under way.
        HaveRemoteOffer = "have-remote-offer",
        /// An offer of the peer is under way, with a provisional answer of this side.
        HaveLocalPranswer = "have-local-pranswer",
        /// An offer of this side is under way, with a provisional answer of the peer.
        HaveRemotePranswer = "have-remote-pranswer",
        /// The connection is closed.
        Closed = "closed",
        /// In Specter's list of states; never used.
        Unspecified = "unspecified",
    }
    /// Progress of gathering candidates (W3C `RTCIceGatheringState`).
    IceGatheringState {
        /// Gathering has not begun.
        New = "new",
        /// Candidates are being gathered.
        Gathering = "gathering",
        /// All candidates have been gathered.
        Complete = "complete",
        /// In Specter's list of states; never used.
        Unspecified = "unspecified",
    }
    /// Progress of the search for a path to the peer (W3C `RTCIceConnectionState`).
    IceConnectionState {
        /// The search has not begun.
        New = "new",
        /// Pairs of candidates are being checked.
        Checking = "checking",
        /// A pair works.
        Connected = "connected",
        /// A pair works, and there is none better.
        Completed = "completed",
        /// Nothing has come from the peer for 5 s (by default).
        Disconnected = "disconnected",
        /// No pair works. An ICE restart may help.
        Failed = "failed",
        /// The connection is closed.
        Closed = "closed",
        /// In Specter's list of states; never used.
        Unspecified = "unspecified",
    }
    /// Progress of the handshake (W3C `RTCDtlsTransportState`).
    DtlsTransportState {
        /// The handshake has not begun.
        New = "new",
        /// The handshake is under way.
        Connecting = "connecting",
        /// The handshake is complete.
        Connected = "connected",
        /// The peer, or this side, has sent `close_notify`.
        Closed = "closed",
        /// The handshake has failed.
        Failed = "failed",
    }
    /// State of the whole connection (W3C `RTCPeerConnectionState`).
    PeerConnectionState {
        /// Nothing has begun.
        New = "new",
        /// ICE or DTLS is under way.
        Connecting = "connecting",
        /// ICE and DTLS are complete.
        Connected = "connected",
        /// Nothing has come from the peer for 5 s (by default).
        Disconnected = "disconnected",
        /// ICE or DTLS has failed.
        Failed = "failed",
        /// The connection is closed, for good.
        Closed = "closed",
        /// In Specter's list of states; never used.
        Unspecified = "unspecified",
    }
}

impl PeerConnectionState {
    /// Returns the state that follows from the states of the two transports (W3C §4.3.3).
    pub fn of(closed: bool, ice: IceConnectionState, dtls: DtlsTransportState) -> Self {
        use DtlsTransportState as Dtls;
        use IceConnectionState as Ice;
        match (ice, dtls) {
            _ if closed => Self::Closed,
            (Ice::Failed, _) | (_, Dtls::Failed) => Self::Failed,
            (Ice::Disconnected, _) => Self::Disconnected,
            (Ice::New | Ice::Closed, Dtls::New | Dtls::Closed) => Self::New,
            (Ice::New | Ice::Checking, _) | (_, Dtls::New | Dtls::Connecting) => Self::Connecting,
            _ => Self::Connected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_state_follows_w3cs_table() {
        use DtlsTransportState as Dtls;
        use IceConnectionState as Ice;
        use PeerConnectionState as State;
        for (ice, dtls, state) in [
            (Ice::New, Dtls::New, State::New),
            (Ice::Checking, Dtls::New, State::Connecting),
            (Ice::Connected, Dtls::New, State::Connecting),
            (Ice::Connected, Dtls::Connecting, State::Connecting),
            (Ice::Completed, Dtls::Connected, State::Connected),
            (Ice::Connected, Dtls::Connected, State::Connected),
            (Ice::Checking, Dtls::Connected, State::Connecting),
            (Ice::Disconnected, Dtls::Connected, State::Disconnected),
            (Ice::Disconnected, Dtls::Connecting, State::Disconnected),
            (Ice::Failed, Dtls::Connected, State::Failed),
            (Ice::Connected, Dtls::Failed, State::Failed),
            (Ice::Disconnected, Dtls::Failed, State::Failed),
        ] {
            assert_eq!(State::of(false, ice, dtls), state, "{ice} {dtls}");
            assert_eq!(State::of(true, ice, dtls), State::Closed);
        }
    }
}
