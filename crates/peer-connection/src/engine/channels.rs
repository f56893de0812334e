//! Data channels of the engine.

use str0m::channel::{ChannelConfig, Reliability};

use super::{ChannelKey, ChannelSpec, Engine, EngineError, PLACEHOLDERS};

impl Engine {
    /// Creates a channel. A negotiated id must be free: str0m panics at one that is taken, see [`Self::has_stream`].
    pub(crate) fn create_channel(&mut self, spec: &ChannelSpec) -> ChannelKey {
        self.declared.extend(spec.negotiated);
        if let Some(stream) = spec.negotiated {
            self.sctp.declare(stream);
        }
        let reliability = match (spec.max_retransmits, spec.max_packet_life_time) {
            (Some(retransmits), _) => Reliability::MaxRetransmits { retransmits },
            (None, Some(lifetime)) => Reliability::MaxPacketLifetime { lifetime },
            (None, None) => Reliability::Reliable,
        };
        self.rtc.direct_api().create_data_channel(ChannelConfig {
            label: spec.label.clone(),
            ordered: spec.ordered,
            reliability,
            negotiated: spec.negotiated,
            protocol: spec.protocol.clone(),
        })
    }

    /// Returns whether a stream has a channel; placeholders count.
    pub(crate) fn has_stream(&mut self, id: u16) -> bool {
        self.rtc.direct_api().channel_id_by_sctp_stream_id(id).is_some()
            || (self.placeholder < id && id <= PLACEHOLDERS && !self.placeholders.is_empty())
    }

    pub(crate) fn close_channel(&mut self, key: ChannelKey) {
        self.rtc.direct_api().close_data_channel(key);
    }

    /// Returns whether a channel can be written to.
    pub(crate) fn is_channel_open(&mut self, key: ChannelKey) -> bool {
        self.rtc.channel(key).is_some()
    }

    pub(crate) fn stream_of(&mut self, key: ChannelKey) -> Option<u16> {
        self.rtc.direct_api().sctp_stream_id_by_channel_id(key)
    }

    /// Returns the options of a channel that the peer has created.
    pub(crate) fn channel_spec(&mut self, key: ChannelKey) -> Option<ChannelSpec> {
        let channel = self.rtc.channel(key)?;
        let config = channel.config()?;
        let (max_retransmits, max_packet_life_time) = match config.reliability {
            Reliability::Reliable => (None, None),
            Reliability::MaxRetransmits { retransmits } => (Some(retransmits), None),
            Reliability::MaxPacketLifetime { lifetime } => (None, Some(lifetime)),
        };
        Some(ChannelSpec {
            label: config.label.clone(),
            protocol: config.protocol.clone(),
            ordered: config.ordered,
            max_retransmits,
            max_packet_life_time,
            negotiated: config.negotiated,
        })
    }

    /// Writes a message, which must not be empty: after an empty one str0m would never send anything again. Returns
    /// whether there was room.
    pub(crate) fn write_channel(
        &mut self,
        key: ChannelKey,
        binary: bool,
        data: &[u8],
    ) -> Result<bool, EngineError> {
        match self.rtc.channel(key) {
            Some(mut channel) if !data.is_empty() => Ok(channel.write(binary, data)?),
            _ => Ok(false),
        }
    }

    pub(crate) fn channel_buffered(&mut self, key: ChannelKey) -> usize {
        self.rtc.channel(key).map_or(0, |mut channel| channel.buffered_amount())
    }
}
