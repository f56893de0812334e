//! The names that every server with rooms needs: at most 20, and none that is in actix's prelude.

pub use callboard_room_supervisor::{
    AuthData, PeerId, Rejection, Room, RoomContext, RoomMessage, RoomOptions, Rooms, To,
};
pub use callboard_signaling::{
    InitContext, JoinRequest, Peer, PeerContext, PeerInit, PeerOptions, PeerRef, RoomPeers,
    Signaling, run, tune,
};
