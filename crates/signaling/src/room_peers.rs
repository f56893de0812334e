//! What a room reaches of the clients behind its members: their handles, and their data channels.

#[cfg(feature = "webrtc")]
use actix_web::web::Bytes;
#[cfg(feature = "webrtc")]
use callboard_peer_connection::DataChannelMessage;
#[cfg(feature = "webrtc")]
use callboard_room_supervisor::To;
use callboard_room_supervisor::{Member, PeerId, RoomContext, RoomHandle};

use crate::moves::{Move, MoveError};
use crate::peer_ref::{Client, PeerRef};

/// The clients of a room's members, for callbacks of a room ([`RoomContext`]) and for code that has a [`RoomHandle`].
///
/// ```
/// use callboard_room_supervisor::*;
/// use callboard_signaling::RoomPeers;
///
/// struct Arena {
///     positions: Vec<u8>,
/// }
///
/// impl Room for Arena {
///     type Options = ();
///
///     fn on_init((): &(), room: &RoomContext) -> Result<Self, Rejection> {
///         room.every(std::time::Duration::from_millis(50));
///         Ok(Self { positions: Vec::new() })
///     }
///
///     fn on_tick(&mut self, room: &RoomContext) {
///         room.send_bytes("positions", To::All, self.positions.clone());
///     }
/// }
/// ```
pub trait RoomPeers {
    /// Returns the handle of a member's client; none if the peer is no member, or not behind a
    /// [`Signaling`](crate::Signaling) route.
    fn peer(&self, peer: PeerId) -> Option<PeerRef>;

    /// Returns the handles of all members' clients.
    fn clients(&self) -> Vec<PeerRef>;

    /// Moves all members' clients to the server at this address, as [`PeerRef::move_to`] does. Returns the number of
    /// clients that were told.
    ///
    /// # Errors
    /// [`MoveError::Url`]: none was told.
    fn move_to(&self, url: &str) -> Result<usize, MoveError> {
        let to = Move::to(url);
        to.check()?;
        Ok(self.clients().iter().filter(|client| client.move_by(&to).is_ok()).count())
    }

    /// Sends to members on their data channels with this label, as [`PeerRef::send_data`] does: text goes over the
    /// WebSocket of a client without such a channel. Returns the number of clients to which the message was handed;
    /// delivery is not reported. An empty message is handed to none.
    #[cfg(feature = "webrtc")]
    fn send_data(&self, label: &str, to: impl Into<To>, message: DataChannelMessage) -> usize {
        let clients = addressees(self, to.into());
        let sent = clients.iter().filter(|client| client.send_data(label, message.clone()).is_ok());
        sent.count()
    }

    /// Sends to members on their data channels with this label, as [`PeerRef::send_lossy`] does: to none for which more
    /// than `max_buffered_amount` bytes wait, so that one on a slow path gets fewer messages instead of old ones, and
    /// none is held up. Clients without such a channel get nothing. Returns the number of clients to whose connections
    /// the message was handed.
    #[cfg(feature = "webrtc")]
    fn send_lossy(
        &self,
        label: &str,
        to: impl Into<To>,
        message: DataChannelMessage,
        max_buffered_amount: usize,
    ) -> usize {
        let clients = addressees(self, to.into());
        let sent = clients.iter().filter(|client| {
            client.send_lossy(label, message.clone(), max_buffered_amount).is_ok()
        });
        sent.count()
    }

    /// Sends bytes to members, as [`send_data`](Self::send_data) does; clients without such a channel get nothing.
    #[cfg(feature = "webrtc")]
    fn send_bytes(&self, label: &str, to: impl Into<To>, bytes: impl Into<Bytes>) -> usize {
        self.send_data(label, to, DataChannelMessage::Binary(bytes.into()))
    }
}

#[cfg(feature = "webrtc")]
fn addressees(room: &(impl RoomPeers + ?Sized), to: To) -> Vec<PeerRef> {
    match to {
        To::All => room.clients(),
        To::Peers(peers) => peers.into_iter().filter_map(|peer| room.peer(peer)).collect(),
    }
}

impl RoomPeers for RoomContext {
    fn peer(&self, peer: PeerId) -> Option<PeerRef> {
        self.member(peer).as_ref().and_then(peer_ref)
    }

    fn clients(&self) -> Vec<PeerRef> {
        self.members().iter().filter_map(peer_ref).collect()
    }
}

impl RoomPeers for RoomHandle {
    fn peer(&self, peer: PeerId) -> Option<PeerRef> {
        self.member(peer).as_ref().and_then(peer_ref)
    }

    fn clients(&self) -> Vec<PeerRef> {
        self.members().iter().filter_map(peer_ref).collect()
    }
}

fn peer_ref(member: &Member) -> Option<PeerRef> {
    member.handle::<Client>().map(PeerRef::new)
}
