//! Counters of a mux: datagrams received, sent, and dropped by reason.

use std::sync::atomic::{AtomicU64, Ordering};

/// Reason for which a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// Received: of no class of RFC 7983, and from an address that no connection has validated.
    Unclassified,
    /// Received: its first byte says STUN and it is not, from an address that no connection has validated.
    MalformedStun,
    /// Received: a STUN request whose user name belongs to no connection.
    UnknownUfrag,
    /// Received: a STUN response to no request that is under way.
    UnknownTransaction,
    /// Received: from an address that no connection has validated.
    UnknownSource,
    /// Received: the receive queue of its connection was full, and this was the oldest datagram in it.
    InboxFull,
    /// Outgoing: the system's buffer was full.
    SendBufferFull,
    /// Outgoing: longer than the path allows.
    TooLong,
    /// Outgoing: there is no socket of that address family.
    NoSocket,
    /// The system reported an error: no route, no permission, no memory.
    SystemError,
}

/// Counters of a mux since it was bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MuxCounters {
    /// Datagrams received.
    pub received: u64,
    /// Bytes in the datagrams received.
    pub received_bytes: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Bytes in the datagrams sent.
    pub sent_bytes: u64,
    /// Datagrams dropped for [`DropReason::Unclassified`].
    pub unclassified: u64,
    /// Datagrams dropped for [`DropReason::MalformedStun`].
    pub malformed_stun: u64,
    /// Datagrams dropped for [`DropReason::UnknownUfrag`].
    pub unknown_ufrag: u64,
    /// Datagrams dropped for [`DropReason::UnknownTransaction`].
    pub unknown_transaction: u64,
    /// Datagrams dropped for [`DropReason::UnknownSource`].
    pub unknown_source: u64,
    /// Datagrams dropped for [`DropReason::InboxFull`].
    pub inbox_full: u64,
    /// Datagrams dropped for [`DropReason::SendBufferFull`].
    pub send_buffer_full: u64,
    /// Datagrams dropped for [`DropReason::TooLong`].
    pub too_long: u64,
    /// Datagrams dropped for [`DropReason::NoSocket`].
    pub no_socket: u64,
    /// Datagrams dropped for [`DropReason::SystemError`].
    pub system_errors: u64,
}

/// Atomic form of [`MuxCounters`], to which every thread may add.
#[derive(Debug, Default)]
pub(super) struct AtomicCounters {
    received: AtomicU64,
    received_bytes: AtomicU64,
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    dropped: [AtomicU64; 10],
}

impl AtomicCounters {
    pub(super) fn received(&self, datagrams: u64, bytes: u64) {
        self.received.fetch_add(datagrams, Ordering::Relaxed);
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, datagrams: u64, bytes: u64) {
        self.sent.fetch_add(datagrams, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, reason: DropReason) {
        self.dropped[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> MuxCounters {
        let dropped = |reason: DropReason| self.dropped[reason as usize].load(Ordering::Relaxed);
        MuxCounters {
            received: self.received.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            unclassified: dropped(DropReason::Unclassified),
            malformed_stun: dropped(DropReason::MalformedStun),
            unknown_ufrag: dropped(DropReason::UnknownUfrag),
            unknown_transaction: dropped(DropReason::UnknownTransaction),
            unknown_source: dropped(DropReason::UnknownSource),
            inbox_full: dropped(DropReason::InboxFull),
            send_buffer_full: dropped(DropReason::SendBufferFull),
            too_long: dropped(DropReason::TooLong),
            no_socket: dropped(DropReason::NoSocket),
            system_errors: dropped(DropReason::SystemError),
        }
    }
}
