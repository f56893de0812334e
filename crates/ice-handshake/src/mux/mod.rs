//! Sockets: one UDP port for all connections of a thread.
