//! A WebRTC peer connection as an actor.
