//! Directory: where the nodes of a cluster keep their sessions and claims.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use thiserror::Error;

use crate::node_id::NodeId;
use crate::record::{Claim, Revision, Session};

/// Store of sessions and claims that all nodes of a cluster share, with compare-and-swap and a stream of changes.
///
/// What a node may do follows from the outcome of a compare-and-swap alone. An implementation may be slow, may answer
/// that the outcome is unknown, may carry out a call long after that, and its changes may come late or not at all: all
/// this costs time, and no correctness. It must not carry out a change at any other revision than the one that the call
/// names.
pub trait Directory: Send + Sync + 'static {
    /// Enters a session, in place of the node's record of revision `was`; none if there must be no record.
    fn enter(
        &self,
        session: Session,
        was: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>>;

    /// Renews a session whose record has the revision `was`.
    fn renew(
        &self,
        session: Session,
        was: Revision,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>>;

    /// Writes the last record of a session ([`Sealed`](crate::SessionState::Sealed)), in place of that of revision
    /// `was`; none if there must be no record.
    fn seal(
        &self,
        session: Session,
        was: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>>;

    /// Writes the claim of a room, or that it is released, in place of that of revision `was`; none if there must be
    /// no record.
    fn claim(
        &self,
        room: Arc<str>,
        claim: Claim,
        was: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>>;

    /// Removes a record of revision `was` that is of no use any more.
    fn forget(&self, key: Key, was: Revision) -> BoxFuture<'_, Result<(), DirectoryError>>;

    /// Returns the changes: first all that there is ([`Change::Whole`]), then each change in order. After
    /// [`Change::Lost`] all that there is comes again. The stream may end; then the node asks for another. So it does
    /// if the stream does not say what there is within 2 renewals (each is a fifth of a hold), then 4, then 8; and if
    /// it does not say within 2 renewals what the node itself has written, or has met in a conflict.
    fn changes(&self) -> BoxStream<'static, Change>;

    /// Returns for how long a renewal holds, longer than the directory's longest pause in normal operation: the
    /// election of a leader, for example. Default: 15 s.
    fn hold(&self) -> Duration {
        HOLD
    }
}

/// Name of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "each directory must know every kind of record")]
pub enum Key {
    /// Session of this node.
    Node(NodeId),
    /// Claim of this room.
    Room(Arc<str>),
}

/// Error of a call to a directory.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a node must know every kind of outcome")]
pub enum DirectoryError {
    /// The record has another revision than the call names, or there is one and should be none. Nothing was changed.
    #[error("the record has changed")]
    Conflict,
    /// The outcome is not known, for this reason: the change may have been made, or may be made later.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

/// Change in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a node must know every kind of change")]
pub enum Change {
    /// All records that there are.
    Whole(Whole),
    /// A session has this record now.
    Session(Session, Revision),
    /// A room has this claim now.
    Claim(Arc<str>, Claim, Revision),
    /// There is no such record any more.
    Forgotten(Key, Revision),
    /// Changes have been missed, or may have been.
    Lost,
}

/// All records of a directory at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Whole {
    /// Number that differs once the directory was made anew, and has lost its records.
    pub generation: u64,
    /// Revision of the last change.
    pub revision: u64,
    /// Sessions.
    pub sessions: Vec<(Session, Revision)>,
    /// Claims by room.
    pub claims: Vec<(Arc<str>, Claim, Revision)>,
}

impl Whole {
    /// Creates the state of an empty directory.
    pub fn new(generation: u64, revision: Revision) -> Self {
        Self { generation, revision: revision.0, ..Self::default() }
    }
}

/// Time for which a renewal holds, unless the directory says otherwise.
const HOLD: Duration = Duration::from_secs(15);
