//! Commands to a room's actor: from its handle, and from the memberships of its peers.

use std::any::Any;

use actix::prelude::*;
use callboard_cluster::Gave;
use callboard_outbox::CloseFrame;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::arrivals::RoomState;
use crate::credit::Credit;
use crate::error::{ForwardError, JoinError};
use crate::link::{Link, Parts, Progress};
use crate::member::Member;
use crate::message::RoomMessage;
use crate::peer_id::PeerId;
use crate::roster::Origin;
use crate::snapshot::Snapshot;

/// Command to a room's actor. One type, so that a [`Recipient`] of it reaches the actor: the actor's own type knows the
/// context of the room, and so the handle that sends these.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum RoomCommand {
    /// Admits a peer that has a membership.
    Join { peer: PeerId, answer: oneshot::Sender<Result<(), JoinError>> },
    /// Forwards a message of a peer. One of this node has the number 0.
    ForwardFrom { origin: Origin, message: RoomMessage, credit: Credit<Member> },
    /// Forwards a message of the server.
    Forward { message: RoomMessage, answer: oneshot::Sender<Result<(), ForwardError>> },
    /// Handles a message of the application.
    Tell(Box<OnTell>),
    /// Announces the end of a membership.
    Depart,
    /// Sends the list of members to those to whom it is [owed](crate::roster::Roster::owe_list).
    ListMembers,
    /// Adopts the members of an earlier home that another node has offered.
    AdoptOffered,
    /// Takes a snapshot of the room's state, and works no further command before its fate is decided.
    Freeze { answer: oneshot::Sender<Option<Snapshot>>, fate: oneshot::Receiver<Fate> },
    /// Ends the seat of a peer of this node at the room's home, to which it goes on from another node. Answered when
    /// all has come that was sent to it here.
    Detach { member: Member, answer: oneshot::Sender<Progress> },
    /// Takes the seat at the room's home of a peer that has come from another node.
    Adopt { member: Member, progress: Progress, answer: oneshot::Sender<Result<(), JoinError>> },
    /// Stops where it is, because the room is about to go to another node.
    Leave(Leave),
    /// Says that all commands before this one were handled.
    Mark(oneshot::Sender<()>),
    /// Tells all peers that the room closes, runs `on_terminate`, and ends.
    Stop { details: Value, close: CloseFrame, done: oneshot::Sender<()> },
}

impl RoomCommand {
    /// Answers the command of a room that has ended.
    pub(crate) fn refuse(self) {
        match self {
            Self::Join { answer, .. } | Self::Adopt { answer, .. } => {
                _ = answer.send(Err(JoinError::RoomUnavailable))
            }
            Self::Forward { answer, .. } => _ = answer.send(Err(ForwardError::RoomUnavailable)),
            Self::Stop { done, .. } => _ = done.send(()),
            // A caller that waits for the answer learns that there is none.
            Self::Freeze { .. } | Self::Detach { .. } | Self::Leave(_) => {}
            Self::ForwardFrom { .. }
            | Self::Tell(_)
            | Self::Depart
            | Self::ListMembers
            | Self::AdoptOffered
            | Self::Mark(_) => {}
        }
    }
}

/// What a room is asked that is about to go to another node.
pub(crate) struct Leave {
    /// Answered with what goes with it.
    pub(crate) answer: oneshot::Sender<Result<RoomState, CannotMove>>,
    /// The room goes once this says so. Dropped, the room goes on.
    pub(crate) fate: oneshot::Receiver<Departure>,
}

/// Reason why a room does not go to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CannotMove {
    /// It is being restarted or closed, or adopts members.
    Busy,
    /// It would begin anew, and lose its members by that.
    NoSnapshot,
}

/// Room that another node has now, and the link to it.
pub(crate) struct Departure {
    pub(crate) gave: Gave,
    pub(crate) link: Link,
    pub(crate) parts: Parts,
}

/// What becomes of a frozen room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on where it has stopped.
    Thaw,
    /// Another process goes on with its state: it ends here, and no callback is called any more.
    HandedOver,
}

/// Callback with a message of the application in it. It gets the room and its [`RoomContext`](crate::RoomContext), both
/// as values of any type.
pub(crate) type OnTell = dyn FnOnce(&mut dyn Any, &dyn Any) + Send;

/// Sends a command that has an answer, and waits for that.
///
/// # Errors
/// [`MailboxError`] if the room has ended without an answer.
pub(crate) async fn ask<T>(
    mailbox: &Recipient<RoomCommand>,
    command: impl FnOnce(oneshot::Sender<T>) -> RoomCommand,
) -> Result<T, MailboxError> {
    let (answer, answered) = oneshot::channel();
    mailbox.send(command(answer)).await?;
    answered.await.map_err(|_| MailboxError::Closed)
}
