//! A WebRTC peer connection as an actor.

mod actor;
pub mod api;
mod candidate;
mod channels;
mod description;
mod engine;
pub mod error;
mod event;
mod handshake;
mod home;
mod jsep;
mod media;
pub mod messages;
mod outbox;
pub mod sdp;
mod session;
mod state;
mod stats;

pub use actor::PeerConnection;
pub use api::*;
pub use candidate::IceCandidate;
pub use channels::{DataChannelId, DataChannelInfo, DataChannelOptions, DataChannelState};
pub use description::{SdpType, SessionDescription};
pub use event::*;
pub use home::*;
pub use media::*;
pub use session::Counters;
pub use state::*;
pub use stats::StatsReport;
