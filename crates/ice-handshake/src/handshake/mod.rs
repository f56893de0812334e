//! Handshakes: what makes a connected pair of addresses a secured session.
