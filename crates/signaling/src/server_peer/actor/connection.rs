//! Events of the peer connection: its state, candidates, data channels and tracks.

use actix::prelude::*;
use callboard_peer_connection::messages::CloseDataChannel;
use callboard_peer_connection::{
    ConnectionEvent, DataChannelId, DataChannelMessage, IceCandidate, PeerConnectionEvent,
    PeerConnectionHandle, PeerConnectionState,
};
use tokio::time::Instant;

use super::super::tracks::NewClientTrack;
use super::super::usage::DataVerdict;
use super::super::*;
use super::ServerPeer;

impl Handler<PeerConnectionEvent> for ServerPeer {
    type Result = ();

    fn handle(
        &mut self,
        PeerConnectionEvent { connection, event, .. }: PeerConnectionEvent,
        ctx: &mut Self::Context,
    ) {
        if self.connection.as_ref().map(PeerConnectionHandle::id) != Some(connection) {
            return; // from a peer connection that was let go
        }
        let event = match &self.participant {
            Some(participant) => participant.handle(event),
            None => Some(event),
        };
        let Some(event) = event else { return };
        match event {
            ConnectionEvent::IceCandidate(candidate) => {
                // W3C reports the end twice, of a generation and of all: the client gets it once.
                if candidate.as_ref().is_some_and(IceCandidate::is_end_of_candidates) {
                    return;
                }
                self.tell(ServerPeerEvent::Ice(candidate));
            }
            ConnectionEvent::NegotiationNeeded => self.offer(ctx),
            ConnectionEvent::Failed(reason) => self.tell(ServerPeerEvent::Failed(reason)),
            // The closed state is reported with the reason, which comes last.
            ConnectionEvent::ConnectionStateChange(PeerConnectionState::Closed) => {}
            ConnectionEvent::ConnectionStateChange(state) => self.set_state(state),
            ConnectionEvent::DataChannelAdded(channel) => {
                self.channel_opened(channel.id, channel.label.clone(), ctx);
            }
            ConnectionEvent::DataChannelOpened(id) => self.own_channel_opened(id, ctx),
            ConnectionEvent::DataChannelMessage { channel, message } => {
                self.data_received(channel, message, ctx)
            }
            ConnectionEvent::DataChannelClosed(id) => {
                self.own.remove(&id);
                if let Some(label) = self.channels.closed(id) {
                    self.tell(ServerPeerEvent::ChannelClosed { id, label });
                }
            }
            ConnectionEvent::TrackAdded { transceiver, kind, mid, track, streams, encodings } => {
                let name = track;
                let new = NewClientTrack { transceiver, kind, mid, name, streams, encodings };
                self.track_added(new, ctx);
            }
            ConnectionEvent::TrackRemoved { transceiver }
            | ConnectionEvent::TransceiverStopped { transceiver } => {
                self.track_removed(transceiver)
            }
            ConnectionEvent::Sample(sample) => self.sample_received(sample),
            ConnectionEvent::KeyframeRequested { transceiver, .. } => {
                self.keyframe_requested(transceiver);
            }
            ConnectionEvent::Closed(reason) => self.end(reason.into(), ctx),
            _ => {}
        }
    }
}

impl ServerPeer {
    fn data_received(
        &mut self,
        channel: DataChannelId,
        message: DataChannelMessage,
        ctx: &mut Context<Self>,
    ) {
        let now = Instant::now().into_std();
        let verdict = self.account.data(now, message.len());
        let Some(label) = self.channels.label(channel) else { return };
        match verdict {
            DataVerdict::Pass => self.tell(ServerPeerEvent::Data { label, message }),
            DataVerdict::Drop => {}
            DataVerdict::TellRate => {
                self.tell(ServerPeerEvent::Refused(LimitExceededError::RateLimited))
            }
            DataVerdict::TellLarge => self.tell(ServerPeerEvent::TooLarge { label, message }),
            DataVerdict::Close => self.end(EndReason::RateLimited, ctx),
        }
    }

    /// Handles a new channel. A channel that opens and closes counts against the rate like a message.
    fn channel_opened(&mut self, id: DataChannelId, label: String, ctx: &mut Context<Self>) {
        match self.account.data(Instant::now().into_std(), label.len()) {
            DataVerdict::Pass | DataVerdict::TellLarge => {}
            DataVerdict::Drop => return self.close_channel(id),
            DataVerdict::TellRate => {
                self.close_channel(id);
                return self.tell(ServerPeerEvent::Refused(LimitExceededError::RateLimited));
            }
            DataVerdict::Close => return self.end(EndReason::RateLimited, ctx),
        }
        if self.channels.count() - self.own.len() >= self.account.limits().channels {
            self.close_channel(id);
            return self.tell(ServerPeerEvent::Refused(LimitExceededError::TooManyChannels));
        }
        self.channels.opened(id, &label);
        self.tell(ServerPeerEvent::ChannelOpen { id, label });
    }

    fn close_channel(&self, id: DataChannelId) {
        if let Some(connection) = &self.connection {
            // One whose mailbox is full is closed soon.
            _ = connection.try_send(CloseDataChannel(id));
        }
    }

    pub(super) fn set_state(&mut self, state: PeerConnectionState) {
        if self.state != state {
            self.state = state;
            if let Some(entry) = &self.entry {
                entry.in_state(state);
            }
            self.tell(ServerPeerEvent::ConnectionState(state));
        }
    }
}
