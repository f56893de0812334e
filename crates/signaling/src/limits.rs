//! Rate limits of everything that a client sends: presets for kinds of applications.

use callboard_websocket::Rate;

/// Rate limits of everything that a client sends, for one kind of application: see
/// [`PeerOptions::limits`](crate::PeerOptions::limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rate limit of the WebSocket. Default: [`Rate::default`].
    pub websocket: Rate,
    /// Rate limit of all data channels together. Default: as for the WebSocket, with 1.6 MiB per second and bursts of
    /// 16 MiB.
    pub data_channels: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        let websocket = Rate::default();
        let (bytes_per_second, burst_bytes) = DATA_BYTES;
        Self { websocket, data_channels: Rate { bytes_per_second, burst_bytes, ..websocket } }
    }
}

impl Limits {
    /// Returns limits for text chat and the signaling of calls: 30 messages per second and bursts of 300 over the
    /// WebSocket, twice as many over data channels; bytes as by default.
    pub fn chat() -> Self {
        let Self { websocket, data_channels } = Self::default();
        Self {
            websocket: Rate { messages_per_second: 30, burst_messages: 300, ..websocket },
            data_channels: Rate { messages_per_second: 60, burst_messages: 600, ..data_channels },
        }
    }

    /// Returns limits for several streams of input and state per client: 1,000 messages and 1 MiB per second over the
    /// WebSocket, 2,000 and 4 MiB over data channels, with bursts of four seconds' worth. A client that floods costs
    /// the server and its room this much before it is closed.
    pub fn game() -> Self {
        let of = |messages_per_second, bytes_per_second| Rate {
            messages_per_second,
            burst_messages: 4 * messages_per_second,
            bytes_per_second,
            burst_bytes: 4 * bytes_per_second,
        };
        Self { websocket: of(1_000, 1 << 20), data_channels: of(2_000, 4 << 20) }
    }
}

/// Bytes of data channels per second, and in a burst.
const DATA_BYTES: (u32, u32) = ((16 << 20) / 10, 16 << 20);
