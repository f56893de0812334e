//! Data channels as an application sees them: ids, options, states (W3C §6).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Identifier of a data channel in its connection. It is a number of this crate: the id of the SCTP stream
/// ([`DataChannelInfo::stream`]) is not known before the channel is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DataChannelId(pub u32);

impl fmt::Display for DataChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Options of a new data channel (W3C `RTCDataChannelInit`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataChannelOptions {
    /// Whether messages arrive in the order in which they were sent. Default: yes.
    pub ordered: bool,
    /// Number of retransmissions after which a message is given up. Default: never given up.
    pub max_retransmits: Option<u16>,
    /// Milliseconds after which a message is given up. Default: never given up.
    pub max_packet_life_time: Option<u16>,
    /// Name of the application's protocol on the channel. Default: empty.
    pub protocol: String,
    /// Id of a channel that both sides declare, so that it is not announced to the peer. Default: none, and it is
    /// announced.
    pub negotiated: Option<u16>,
    /// Number of waiting bytes at which
    /// [`ConnectionEvent::BufferedAmountLow`](crate::ConnectionEvent::BufferedAmountLow) is sent. Default: 0.
    pub buffered_amount_low_threshold: usize,
}

impl Default for DataChannelOptions {
    fn default() -> Self {
        Self {
            ordered: true,
            max_retransmits: None,
            max_packet_life_time: None,
            protocol: String::new(),
            negotiated: None,
            buffered_amount_low_threshold: 0,
        }
    }
}

/// State of a data channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DataChannelInfo {
    /// Identifier of the channel.
    pub id: DataChannelId,
    /// The id of its SCTP stream (W3C `id`), once it is open.
    pub stream: Option<u16>,
    /// Its label.
    pub label: String,
    /// Name of the application's protocol on the channel.
    pub protocol: String,
    /// Whether messages arrive in order.
    pub ordered: bool,
    /// Number of retransmissions after which a message is given up.
    pub max_retransmits: Option<u16>,
    /// Milliseconds after which a message is given up.
    pub max_packet_life_time: Option<u16>,
    /// Whether both sides have declared it.
    pub negotiated: bool,
    /// Whether the peer has created it.
    pub by_peer: bool,
    /// Stage of its life.
    pub state: DataChannelState,
    /// Bytes that wait to be sent.
    pub buffered_amount: usize,
}

/// Stage of a channel's life (W3C `RTCDataChannelState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "W3C's")]
pub enum DataChannelState {
    /// Not open yet.
    Connecting,
    /// Open.
    Open,
    /// The channel is being closed; what waits is still sent.
    Closing,
}
