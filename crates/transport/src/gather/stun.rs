//! Query to a STUN server for our address as it sees it (RFC 8489).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use stun_proto::agent::{StunAgent, StunAgentPollRet};
use stun_proto::types::TransportType;
use stun_proto::types::attribute::{ErrorCode, XorMappedAddress};
use stun_proto::types::message::{BINDING, Message, MessageClass, MessageWriteVec};
use stun_proto::types::prelude::MessageWrite;

/// Binding request, repeated until it is answered.
pub(super) struct StunQuery {
    agent: StunAgent,
    server: SocketAddr,
    born: Instant,
}

/// Result of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StunAnswer {
    /// Our address, as the server sees it.
    Mapped(SocketAddr),
    /// Error response of the server.
    Refused(u16, String),
    /// No response.
    TimedOut,
}

impl StunQuery {
    /// Creates a query; the returned request must be sent.
    pub(super) fn new(
        local: SocketAddr,
        server: SocketAddr,
        patience: Duration,
        now: Instant,
    ) -> (Self, Bytes) {
        let mut agent = StunAgent::builder(TransportType::Udp, local)
            .request_retransmits(
                FIRST_RETRANSMISSION,
                LONGEST_RETRANSMISSION,
                RETRANSMISSIONS,
                patience,
            )
            .build();
        let request = Message::builder_request(BINDING, MessageWriteVec::new());
        let request = request.finish();
        let sent = agent.send_request(request, server, stun_proto::Instant::ZERO);
        let packet =
            sent.map(|transmit| Bytes::copy_from_slice(&transmit.data)).unwrap_or_default();
        (Self { agent, server, born: now }, packet)
    }

    /// Returns the answer, if the datagram is one to this query.
    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Option<StunAnswer> {
        if source != self.server {
            return None;
        }
        let message = Message::from_bytes(datagram).ok()?;
        let ours = self.agent.handle_stun_message_with_time(&message, source, self.time(now));
        if !ours {
            return None;
        }
        Some(match message.class() {
            MessageClass::Success => {
                let mapped = message
                    .attribute::<XorMappedAddress>()
                    .map(|mapped| mapped.addr(message.transaction_id()));
                match mapped {
                    Ok(mapped) => StunAnswer::Mapped(mapped),
                    Err(_) => {
                        StunAnswer::Refused(500, "no mapped address in the response".to_owned())
                    }
                }
            }
            _ => match message.attribute::<ErrorCode>() {
                Ok(error) => StunAnswer::Refused(error.code(), error.reason().to_owned()),
                Err(_) => StunAnswer::Refused(500, "an error without a code".to_owned()),
            },
        })
    }

    /// Returns the request again, if it is time.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> (Option<Bytes>, Option<StunAnswer>) {
        let time = self.time(now);
        if let StunAgentPollRet::TransactionTimedOut(_) = self.agent.poll(time) {
            return (None, Some(StunAnswer::TimedOut));
        }
        let packet =
            self.agent.poll_transmit(time).map(|transmit| Bytes::copy_from_slice(transmit.data));
        (packet, None)
    }

    pub(super) fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        match self.agent.poll(self.time(now)) {
            StunAgentPollRet::WaitUntil(at) => {
                Some(self.born + at.saturating_duration_since(stun_proto::Instant::ZERO))
            }
            _ => Some(now),
        }
    }

    fn time(&self, now: Instant) -> stun_proto::Instant {
        time_since(self.born, now)
    }
}

/// Returns the time as the libraries count it, from when they were started.
pub(super) fn time_since(born: Instant, now: Instant) -> stun_proto::Instant {
    let nanos = now.saturating_duration_since(born).as_nanos();
    stun_proto::Instant::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// First retransmission time-out. RFC 8489 §6.2.1 says 500 ms where nothing is known; half of it is what browsers use.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(250);
/// Longest retransmission time-out; it doubles up to this. On a path with much loss, many requests get a response where
/// few do not.
const LONGEST_RETRANSMISSION: Duration = Duration::from_millis(500);
/// Number of retransmissions: as many as fit into 5 s.
const RETRANSMISSIONS: u32 = 12;
