//! What can be told of lines.

use std::time::Duration;

use uuid::Uuid;

use super::core::Line;
use crate::node_id::NodeId;

/// What has happened on the lines to a node since the first of them. It is forgotten when there has been no line for a
/// while.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineFacts {
    /// Node that the lines lead to.
    pub node: NodeId,
    /// Process that the line leads to; none if it is not up.
    pub process: Option<Uuid>,
    /// Frames that were sent, each counted once.
    pub frames_sent: u64,
    /// Bytes of their bodies.
    pub bytes_sent: u64,
    /// Frames that have come, each counted once.
    pub frames_received: u64,
    /// Bytes of their bodies.
    pub bytes_received: u64,
    /// Frames that were sent again.
    pub resends: u64,
    /// Lines that have ended.
    pub downs: u64,
    /// Frames that were dropped because they were of an earlier line, which has ended here.
    pub stale_frames: u64,
    /// Frames that are not acknowledged, 4,096 at most.
    pub backlog_frames: usize,
    /// Bytes of their datagrams, 4 MiB at most.
    pub backlog_bytes: usize,
    /// Time from here to the other process and back, measured every 3 s; none if it is not known yet.
    pub round_trip_time: Option<Duration>,
}

impl LineFacts {
    pub(super) fn of(node: &NodeId, line: &Line) -> Self {
        let (counts, (backlog_frames, backlog_bytes)) = (line.counts(), line.backlog());
        Self {
            node: node.clone(),
            process: line.up().map(|(_, process)| process),
            frames_sent: counts.frames_sent,
            bytes_sent: counts.bytes_sent,
            frames_received: counts.frames_received,
            bytes_received: counts.bytes_received,
            resends: counts.resends,
            downs: counts.downs,
            stale_frames: counts.stale_frames,
            backlog_frames,
            backlog_bytes,
            round_trip_time: line.rtt(),
        }
    }
}
