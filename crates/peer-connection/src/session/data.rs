//! Data channels of a connection.

use std::time::Instant;

use super::Session;
use crate::channels::ReceiptId;
use crate::data_channel::{DataChannelId, DataChannelInfo, DataChannelOptions};
use crate::error::{CreateDataChannelError, SendDataError};
use crate::event::DataChannelMessage;

impl Session {
    pub(crate) fn create_data_channel(
        &mut self,
        now: Instant,
        label: String,
        options: DataChannelOptions,
    ) -> Result<DataChannelId, CreateDataChannelError> {
        if self.is_closed() || self.broken.is_some() {
            return Err(CreateDataChannelError::Closed);
        }
        let id = self.channels.create(&mut self.engine, label, options)?;
        self.jsep.want_data();
        self.step(now);
        Ok(id)
    }

    /// Sends a message. It goes out with the next [`Self::flush`], together with others. A refused one is counted.
    pub(crate) fn send_data(
        &mut self,
        now: Instant,
        channel: DataChannelId,
        message: DataChannelMessage,
    ) -> Result<(), SendDataError> {
        let taken = self.take_message(now, channel, message);
        taken.inspect_err(|_| self.counters.writes_refused += 1)
    }

    /// Sends a message like [`Self::send_data`], unless more than `most` bytes wait before it.
    pub(crate) fn send_lossy(
        &mut self,
        now: Instant,
        channel: DataChannelId,
        message: DataChannelMessage,
        most: usize,
    ) -> Result<(), SendDataError> {
        if self.data_channel(channel).is_some_and(|it| it.buffered_amount > most) {
            self.counters.writes_refused += 1;
            return Err(SendDataError::BufferFull);
        }
        self.send_data(now, channel, message)
    }

    fn take_message(
        &mut self,
        now: Instant,
        channel: DataChannelId,
        message: DataChannelMessage,
    ) -> Result<(), SendDataError> {
        self.quiet_until = None;
        let sent = self.end_rest(now).and_then(|()| {
            self.channels.send(&mut self.engine, channel, message, self.largest_message)
        });
        match sent {
            Ok(result) => result,
            Err(error) => {
                self.after(now, Err(error));
                Err(SendDataError::NotOpen)
            }
        }
    }

    /// Sends a message like [`Self::send_data`]; [`SessionOutput::Receipt`] says whether it has arrived.
    pub(crate) fn deliver_data(
        &mut self,
        now: Instant,
        channel: DataChannelId,
        message: DataChannelMessage,
    ) -> Result<ReceiptId, SendDataError> {
        self.send_data(now, channel, message)?;
        Ok(self.channels.ask_receipt(channel))
    }

    pub(crate) fn close_data_channel(&mut self, now: Instant, channel: DataChannelId) -> bool {
        let found = self.channels.close(channel).is_some();
        self.step(now);
        found
    }

    pub(crate) fn set_buffered_amount_low_threshold(
        &mut self,
        channel: DataChannelId,
        threshold: usize,
    ) -> bool {
        self.channels.set_low_threshold(channel, threshold).is_some()
    }

    pub(crate) fn data_channel(&mut self, channel: DataChannelId) -> Option<DataChannelInfo> {
        self.channels.info(&mut self.engine, channel)
    }

    pub(crate) fn data_channels(&mut self) -> Vec<DataChannelInfo> {
        let mut ids: Vec<DataChannelId> = self.channels.iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.channels.info(&mut self.engine, id)).collect()
    }
}
