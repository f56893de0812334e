//! Peer connections of a client, as its handles see them.

use std::collections::HashMap;

use callboard_peer_connection::{DataChannelId, PeerConnectionHandle};
use tokio::sync::mpsc;

use crate::core::Signal;

/// Peer connections of a client, one at a time.
#[derive(Default)]
pub(crate) struct Connections {
    opened: u64,
    pub(crate) current: Option<Link>,
}

impl Connections {
    /// Opens a connection that takes these signals; returns its number.
    pub(super) fn open(&mut self, signals: mpsc::Sender<Signal>) -> u64 {
        self.opened += 1;
        let number = self.opened;
        self.current = Some(Link { number, signals, channels: HashMap::new() });
        number
    }

    /// Returns the open channel with this label.
    pub(super) fn open_channel(
        &self,
        label: &str,
    ) -> Option<(PeerConnectionHandle, DataChannelId)> {
        self.current.as_ref()?.channels.get(label).cloned()
    }

    /// Returns the channels of this connection, if it is still the client's.
    pub(super) fn channels_of(
        &mut self,
        number: u64,
    ) -> Option<&mut HashMap<String, (PeerConnectionHandle, DataChannelId)>> {
        let link = self.current.as_mut().filter(|link| link.number == number)?;
        Some(&mut link.channels)
    }

    /// Records that a connection is over.
    pub(super) fn end(&mut self, number: u64) {
        self.current.take_if(|link| link.number == number);
    }
}

/// A client's peer connection, as its handles see it.
pub(crate) struct Link {
    number: u64,
    signals: mpsc::Sender<Signal>,
    /// The open channels, by label.
    channels: HashMap<String, (PeerConnectionHandle, DataChannelId)>,
}

impl Link {
    /// Passes on what the server has said. If the connection does not keep up, it times out.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.signals.try_send(signal).is_err() {
            log::debug!("a peer connection does not keep up with its signaling");
        }
    }
}
