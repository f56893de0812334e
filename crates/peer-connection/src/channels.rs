//! The data channels of one connection (W3C §6, RFC 8831, RFC 8832).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::data_channel::{DataChannelId, DataChannelInfo, DataChannelOptions, DataChannelState};
use crate::engine::{ChannelKey, ChannelSpec, Engine, EngineError};
use crate::error::{CreateDataChannelError, SendDataError};
use crate::event::{ConnectionEvent, DataChannelMessage};

/// Counters of a channel's messages and bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) messages_sent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) messages_received: u64,
    pub(crate) bytes_received: u64,
}

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) spec: ChannelSpec,
    pub(crate) state: DataChannelState,
    pub(crate) stream: Option<u16>,
    pub(crate) traffic: Traffic,
    key: ChannelKey,
    by_peer: bool,
    queue: VecDeque<DataChannelMessage>,
    queued: usize,
    low_threshold: usize,
    /// Whether more bytes than the threshold wait.
    above: bool,
    /// Receipts that are due, by the number of bytes that the peer then has of this channel.
    receipts: VecDeque<(u64, ReceiptId)>,
}

/// Number of a message whose sender wants to know whether it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReceiptId(u64);

/// All channels of a connection.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    /// Boxed, since the map keeps room for more entries than it has.
    all: HashMap<DataChannelId, Box<Channel>>,
    by_key: HashMap<ChannelKey, DataChannelId>,
    /// Channels that were closed before they were open: the engine may still open them.
    stillborn: HashSet<ChannelKey>,
    next: u32,
    most: usize,
    most_buffered: usize,
    /// Channels that have something to send or an event to report.
    busy: Vec<DataChannelId>,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) requested: u64,
    pub(crate) accepted: u64,
    /// Channels of the peer that were refused, because there were too many.
    pub(crate) refused: u64,
    /// Number of receipts that were ever asked for.
    receipts: u64,
    /// Messages whose delivery is decided: arrived, or lost.
    settled: VecDeque<(ReceiptId, bool)>,
}

impl Channels {
    pub(crate) fn new(most: usize, most_buffered: usize) -> Self {
        Self { most, most_buffered, ..Self::default() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (DataChannelId, &Channel)> {
        self.all.iter().map(|(id, channel)| (*id, &**channel))
    }

    /// Returns whether no channel waits to be opened or closed, or has anything that it reports when it is sent.
    pub(crate) fn are_idle(&self) -> bool {
        self.busy.is_empty()
    }

    pub(crate) fn info(&self, engine: &mut Engine, id: DataChannelId) -> Option<DataChannelInfo> {
        let channel = self.all.get(&id)?;
        let ChannelSpec {
            label,
            protocol,
            ordered,
            max_retransmits,
            max_packet_life_time,
            negotiated,
        } = channel.spec.clone();
        Some(DataChannelInfo {
            id,
            stream: channel.stream,
            label,
            protocol,
            ordered,
            max_retransmits,
            max_packet_life_time,
            negotiated: negotiated.is_some(),
            by_peer: channel.by_peer,
            state: channel.state,
            buffered_amount: channel.queued + engine.channel_buffered(channel.key),
        })
    }

    pub(crate) fn create(
        &mut self,
        engine: &mut Engine,
        label: String,
        options: DataChannelOptions,
    ) -> Result<DataChannelId, CreateDataChannelError> {
        use CreateDataChannelError as Error;
        if options.max_retransmits.is_some() && options.max_packet_life_time.is_some() {
            return Err(Error::BothLimits);
        }
        if label.len() + options.protocol.len() > LONGEST_NAMES {
            return Err(Error::TooLong);
        }
        if self.all.len() >= self.most {
            return Err(Error::TooMany);
        }
        if let Some(id) = options.negotiated {
            if id == NO_STREAM {
                return Err(Error::BadId(id));
            }
            if engine.has_stream(id) || self.all.values().any(|one| one.spec.negotiated == Some(id))
            {
                return Err(Error::IdTaken(id));
            }
        }
        let spec = ChannelSpec {
            label,
            protocol: options.protocol,
            ordered: options.ordered,
            max_retransmits: options.max_retransmits,
            max_packet_life_time: options.max_packet_life_time,
            negotiated: options.negotiated,
        };
        let key = engine.create_channel(&spec);
        self.requested += 1;
        Ok(self.insert(key, spec, false, options.buffered_amount_low_threshold))
    }

    fn insert(
        &mut self,
        key: ChannelKey,
        spec: ChannelSpec,
        by_peer: bool,
        low_threshold: usize,
    ) -> DataChannelId {
        let id = DataChannelId(self.next);
        self.next += 1;
        self.by_key.insert(key, id);
        let channel = Channel {
            spec,
            state: DataChannelState::Connecting,
            stream: None,
            traffic: Traffic::default(),
            key,
            by_peer,
            queue: VecDeque::new(),
            queued: 0,
            low_threshold,
            above: false,
            receipts: VecDeque::new(),
        };
        self.all.insert(id, Box::new(channel));
        // A channel that both sides have declared may be open already, and is then never reported as opened.
        self.busy.push(id);
        id
    }

    /// Creates the channels again in an engine that was created again.
    pub(crate) fn rebuild(&mut self, engine: &mut Engine) {
        self.by_key.clear();
        for (id, channel) in &mut self.all {
            channel.key = engine.create_channel(&channel.spec);
            self.by_key.insert(channel.key, *id);
        }
    }

    /// Handles a channel that is open; the peer's channels are new.
    pub(crate) fn opened(
        &mut self,
        engine: &mut Engine,
        key: ChannelKey,
    ) -> Option<ConnectionEvent> {
        if let Some(id) = self.by_key.get(&key).copied() {
            return self.open(engine, id);
        }
        if self.stillborn.remove(&key) {
            engine.close_channel(key);
            return None;
        }
        let spec = engine.channel_spec(key)?;
        if self.all.len() >= self.most {
            self.refused += 1;
            engine.close_channel(key);
            return None;
        }
        let id = self.insert(key, spec, true, 0);
        self.open(engine, id);
        self.accepted += 1;
        Some(ConnectionEvent::DataChannelAdded(Arc::new(self.info(engine, id)?)))
    }

    fn open(&mut self, engine: &mut Engine, id: DataChannelId) -> Option<ConnectionEvent> {
        let channel = self.all.get_mut(&id)?;
        if channel.stream.is_some() {
            return None;
        }
        channel.stream = engine.stream_of(channel.key);
        if channel.state == DataChannelState::Connecting {
            channel.state = DataChannelState::Open;
        }
        self.opened += 1;
        self.busy.push(id);
        Some(ConnectionEvent::DataChannelOpened(id))
    }

    pub(crate) fn received(
        &mut self,
        key: ChannelKey,
        binary: bool,
        data: Vec<u8>,
    ) -> Option<ConnectionEvent> {
        let id = *self.by_key.get(&key)?;
        let channel = self.all.get_mut(&id)?;
        channel.traffic.messages_received += 1;
        channel.traffic.bytes_received += data.len() as u64;
        let message = if binary {
            DataChannelMessage::Binary(Bytes::from(data))
        } else {
            let text = String::from_utf8(data);
            DataChannelMessage::Text(
                text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
            )
        };
        Some(ConnectionEvent::DataChannelMessage { channel: id, message })
    }

    pub(crate) fn closed(&mut self, key: ChannelKey) -> Option<ConnectionEvent> {
        let id = self.by_key.remove(&key)?;
        let channel = self.all.remove(&id)?;
        self.lose(&channel);
        self.closed += 1;
        Some(ConnectionEvent::DataChannelClosed(id))
    }

    /// Closes all channels, after the transport is gone.
    pub(crate) fn close_all(&mut self) -> Vec<ConnectionEvent> {
        self.by_key.clear();
        let mut ids: Vec<DataChannelId> = self.all.keys().copied().collect();
        ids.sort_unstable();
        for id in &ids {
            let channel = self.all.remove(id);
            channel.iter().for_each(|channel| self.lose(channel));
        }
        self.closed += ids.len() as u64;
        ids.into_iter().map(ConnectionEvent::DataChannelClosed).collect()
    }

    /// Notes that what a channel has not delivered may never arrive.
    fn lose(&mut self, channel: &Channel) {
        self.settled.extend(channel.receipts.iter().map(|(_, receipt)| (*receipt, false)));
    }

    /// Asks for a receipt of the last message that was sent on a channel.
    pub(crate) fn ask_receipt(&mut self, id: DataChannelId) -> ReceiptId {
        let receipt = ReceiptId(self.receipts);
        self.receipts += 1;
        match self.all.get_mut(&id) {
            Some(channel) => {
                let end = channel.traffic.bytes_sent + channel.queued as u64;
                channel.receipts.push_back((end, receipt));
                self.busy.push(id);
            }
            None => self.settled.push_back((receipt, false)),
        }
        receipt
    }

    /// Returns a message whose delivery has been decided.
    pub(crate) fn poll_receipt(&mut self) -> Option<(ReceiptId, bool)> {
        let settled = self.settled.pop_front();
        // Most connections have none for a long time.
        if settled.is_none() {
            self.settled = VecDeque::new();
        }
        settled
    }

    /// Closes a channel once what waits has been sent.
    pub(crate) fn close(&mut self, id: DataChannelId) -> Option<()> {
        let channel = self.all.get_mut(&id)?;
        channel.state = DataChannelState::Closing;
        self.busy.push(id);
        Some(())
    }

    pub(crate) fn set_low_threshold(&mut self, id: DataChannelId, threshold: usize) -> Option<()> {
        self.all.get_mut(&id)?.low_threshold = threshold;
        Some(())
    }

    pub(crate) fn send(
        &mut self,
        engine: &mut Engine,
        id: DataChannelId,
        message: DataChannelMessage,
        limit: usize,
    ) -> Result<Result<(), SendDataError>, EngineError> {
        let Some(channel) = self.all.get_mut(&id) else { return Ok(Err(SendDataError::NotFound)) };
        let size = message.len();
        let refused = if channel.state != DataChannelState::Open {
            Some(SendDataError::NotOpen)
        } else if size == 0 {
            Some(SendDataError::Empty)
        } else if size > limit {
            Some(SendDataError::TooLarge { size, limit })
        } else {
            None
        };
        if let Some(error) = refused {
            return Ok(Err(error));
        }
        let waits = if channel.queue.is_empty() {
            !engine.write_channel(channel.key, is_binary(&message), message.as_bytes())?
        } else {
            true
        };
        if waits {
            if channel.queued + size > self.most_buffered {
                return Ok(Err(SendDataError::BufferFull));
            }
            channel.queued += size;
            channel.queue.push_back(message);
        } else {
            channel.count_sent(size);
        }
        if !channel.above {
            channel.above =
                channel.queued + engine.channel_buffered(channel.key) > channel.low_threshold;
            if waits || channel.above {
                self.busy.push(id);
            }
        }
        Ok(Ok(()))
    }

    /// Does what has become possible; returns whether the engine then has something to do.
    pub(crate) fn flush(
        &mut self,
        engine: &mut Engine,
        events: &mut Vec<ConnectionEvent>,
    ) -> Result<bool, EngineError> {
        let mut written = false;
        let mut at = 0;
        while at < self.busy.len() {
            let id = self.busy[at];
            let Some(channel) = self.all.get_mut(&id) else {
                self.busy.swap_remove(at);
                continue;
            };
            if channel.state == DataChannelState::Connecting
                && channel.spec.negotiated.is_some()
                && engine.is_channel_open(channel.key)
            {
                let event = self.open(engine, id);
                events.extend(event);
                continue;
            }
            while let Some(message) = channel.queue.front() {
                if !engine.write_channel(channel.key, is_binary(message), message.as_bytes())? {
                    break;
                }
                let size = message.len();
                channel.queue.pop_front();
                channel.queued -= size;
                channel.count_sent(size);
                written = true;
            }
            let unconfirmed = engine.channel_buffered(channel.key);
            let confirmed = channel.traffic.bytes_sent.saturating_sub(unconfirmed as u64);
            self.settled.extend(channel.take_receipts(confirmed).map(|receipt| (receipt, true)));
            let buffered = channel.queued + unconfirmed;
            if channel.above && buffered <= channel.low_threshold {
                channel.above = false;
                events.push(ConnectionEvent::BufferedAmountLow(id));
            }
            if channel.state == DataChannelState::Closing && buffered == 0 {
                let (key, was_open) = (channel.key, channel.stream.is_some());
                engine.close_channel(key);
                if !was_open {
                    events.extend(self.closed(key));
                    self.stillborn.insert(key);
                }
                self.busy.swap_remove(at);
                written = true;
                continue;
            }
            let waits_to_open =
                channel.state == DataChannelState::Connecting && channel.spec.negotiated.is_some();
            if channel.above
                || !channel.queue.is_empty()
                || !channel.receipts.is_empty()
                || waits_to_open
                || channel.state == DataChannelState::Closing
            {
                at += 1;
            } else {
                self.busy.swap_remove(at);
            }
        }
        self.busy.sort_unstable();
        self.busy.dedup();
        Ok(written)
    }
}

impl Channel {
    /// Takes the receipts of messages that end within this many bytes.
    fn take_receipts(&mut self, confirmed: u64) -> impl Iterator<Item = ReceiptId> {
        let due = self.receipts.iter().take_while(|(end, _)| *end <= confirmed).count();
        self.receipts.drain(..due).map(|(_, receipt)| receipt)
    }

    fn count_sent(&mut self, size: usize) {
        self.traffic.messages_sent += 1;
        self.traffic.bytes_sent += size as u64;
    }
}

fn is_binary(message: &DataChannelMessage) -> bool {
    matches!(message, DataChannelMessage::Binary(_))
}

/// Reserved stream id (RFC 8832 §6).
const NO_STREAM: u16 = 65_535;
/// Most bytes of label and protocol together. str0m panics at 1,488, where the message that opens a channel does not
/// fit its buffer.
const LONGEST_NAMES: usize = 1_200;
