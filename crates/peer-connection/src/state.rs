//! The states of a connection, by W3C's names.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// W3C's name of it.
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
    /// Where a round of offer and answer is (W3C `RTCSignalingState`).
    SignalingState {
        /// None is under way.
        Stable = "stable",
        /// An offer of ours is.
        HaveLocalOffer = "have-local-offer",
        /// One of the peer.
        HaveRemoteOffer = "have-remote-offer",
        /// One of the peer, that we have answered for now.
        HaveLocalPranswer = "have-local-pranswer",
        /// One of ours, that the peer has answered for now.
        HaveRemotePranswer = "have-remote-pranswer",
        /// The connection is closed.
        Closed = "closed",
        /// Of Specter's list; never the case.
        Unspecified = "unspecified",
    }
    /// Whether candidates are being looked for (W3C `RTCIceGatheringState`).
    IceGatheringState {
        /// Not yet.
        New = "new",
        /// They are.
        Gathering = "gathering",
        /// All that can be found have been.
        Complete = "complete",
        /// Of Specter's list; never the case.
        Unspecified = "unspecified",
    }
    /// How the search for a path to the peer goes (W3C `RTCIceConnectionState`).
    IceConnectionState {
        /// It has not begun.
        New = "new",
        /// Pairs of candidates are being checked.
        Checking = "checking",
        /// One works.
        Connected = "connected",
        /// One works, and there is none better.
        Completed = "completed",
        /// Nothing has come from the peer for 5 s.
        Disconnected = "disconnected",
        /// No pair works. An ICE restart may help.
        Failed = "failed",
        /// The connection is closed.
        Closed = "closed",
        /// Of Specter's list; never the case.
        Unspecified = "unspecified",
    }
    /// How the handshake goes (W3C `RTCDtlsTransportState`).
    DtlsTransportState {
        /// It has not begun.
        New = "new",
        /// It is under way.
        Connecting = "connecting",
        /// It is complete.
        Connected = "connected",
        /// The peer, or this side, has said goodbye.
        Closed = "closed",
        /// It has failed.
        Failed = "failed",
    }
    /// All of it in one word (W3C `RTCPeerConnectionState`).
    PeerConnectionState {
        /// Nothing has begun.
        New = "new",
        /// ICE or DTLS is under way.
        Connecting = "connecting",
        /// Both are done.
        Connected = "connected",
        /// Nothing has come from the peer for 5 s.
        Disconnected = "disconnected",
        /// ICE or DTLS has failed.
        Failed = "failed",
        /// It is closed, for good.
        Closed = "closed",
        /// Of Specter's list; never the case.
        Unspecified = "unspecified",
    }
}

impl PeerConnectionState {
    /// What follows from the two transports (W3C §4.3.3).
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
