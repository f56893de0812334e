//! Errors of this crate, one enum for each operation that can fail.

use std::time::Duration;

use actix::prelude::*;
use thiserror::Error;

use crate::exit::ExitReason;

/// Error of the start of an actor.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// The actor declines the start and any further attempt: its spec stays, no instance runs (OTP: `ignore`).
    #[error("the start was declined")]
    Ignore,
    /// The actor gave this reason.
    #[error("{0}")]
    Failed(String),
    /// The factory or the actor's `started` panicked with this message.
    #[error("panicked: {0}")]
    Panicked(String),
    /// The actor ended before its start was complete.
    #[error("ended while it was starting: {0}")]
    Exited(ExitReason),
    /// The start took longer than [`ChildSpec::start_timeout`](crate::ChildSpec::start_timeout).
    #[error("not started after {0:?}")]
    TimedOut(Duration),
    /// The arbiter on which the actor should run is gone.
    #[error("its arbiter has stopped")]
    ArbiterGone,
    /// The supervisor is shutting down.
    #[error("the supervisor is shutting down")]
    ShuttingDown,
    /// A child supervisor did not start.
    #[error("{0}")]
    Supervisor(Box<StartSupervisorError>),
}

impl StartError {
    /// Creates the error of a start that failed for this reason.
    pub fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}

/// Error in a child's specification or a supervisor's flags.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpecError {
    /// The period is zero (OTP: `invalid_period`).
    #[error("the period must be longer than zero")]
    InvalidPeriod,
    /// Two children have the same id (OTP: `duplicate_child_name`).
    #[error("two children have the id `{0}`")]
    DuplicateChild(String),
    /// A child is significant, but [`AutoShutdown`](crate::AutoShutdown) is never (OTP: `bad_combination`).
    #[error("child `{0}` is significant, but its supervisor never shuts down by itself")]
    SignificantNever(String),
    /// A child is significant and permanent, so it never ends for good (OTP: `bad_combination`).
    #[error("child `{0}` is significant and permanent, so its end would never count")]
    SignificantPermanent(String),
    /// A dynamic supervisor has another strategy or a start list; it restarts one child at a time and starts with none.
    #[error("a dynamic supervisor is one_for_one and starts without children")]
    Dynamic,
}

/// Error of the start of a supervisor.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartSupervisorError {
    /// The flags, or the specification of one of the children, are wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// This child did not start; those before it have been stopped (OTP: `failed_to_start_child`).
    #[error("child `{id}` did not start: {error}")]
    Child {
        /// Id of the child.
        id: String,
        /// Error of its start.
        error: StartError,
    },
    /// The supervisor ended before its start was complete.
    #[error("ended while it was starting: {0}")]
    Exited(ExitReason),
}

/// Error of [`start_child`](crate::SupervisorRef::start_child).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartChildError {
    /// A child with this id runs.
    #[error("already started")]
    AlreadyStarted,
    /// A child with this id is known but does not run.
    #[error("already present")]
    AlreadyPresent,
    /// The specification is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The child did not start; its spec is not kept.
    #[error("start failed: {0}")]
    Start(#[from] StartError),
    /// The supervisor is gone.
    #[error(transparent)]
    NoSupervisor(#[from] NoSupervisorError),
}

/// Error of [`restart_child`](crate::SupervisorRef::restart_child).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartChildError {
    /// No child has this id.
    #[error("not found")]
    NotFound,
    /// The child runs.
    #[error("running")]
    Running,
    /// The supervisor is restarting the child.
    #[error("restarting")]
    Restarting,
    /// Children of a dynamic supervisor have no spec to start from (OTP: `simple_one_for_one`).
    #[error("a dynamic supervisor keeps no specifications")]
    Dynamic,
    /// The child did not start; its spec is kept.
    #[error("start failed: {0}")]
    Start(#[from] StartError),
    /// The supervisor is gone.
    #[error(transparent)]
    NoSupervisor(#[from] NoSupervisorError),
}

/// Error of [`terminate_child`](crate::SupervisorRef::terminate_child).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TerminateChildError {
    /// No child has this id.
    #[error("not found")]
    NotFound,
    /// The supervisor is gone.
    #[error(transparent)]
    NoSupervisor(#[from] NoSupervisorError),
}

/// Error of [`delete_child`](crate::SupervisorRef::delete_child).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeleteChildError {
    /// No child has this id.
    #[error("not found")]
    NotFound,
    /// The child runs.
    #[error("running")]
    Running,
    /// The supervisor is restarting the child.
    #[error("restarting")]
    Restarting,
    /// Children of a dynamic supervisor have no spec to delete (OTP: `simple_one_for_one`).
    #[error("a dynamic supervisor keeps no specifications")]
    Dynamic,
    /// The supervisor is gone.
    #[error(transparent)]
    NoSupervisor(#[from] NoSupervisorError),
}

/// Error: the supervisor is not running.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the supervisor is not running")]
pub struct NoSupervisorError;

/// Error of a lookup by id or path.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LookupError {
    /// No child has this id.
    #[error("no child `{0}`")]
    NotFound(String),
    /// The child at this path has no children, because it is no supervisor.
    #[error("child `{0}` is no supervisor")]
    NoSupervisor(String),
    /// The child with this id is an actor of another type.
    #[error("child `{id}` is a `{found}`")]
    OtherType {
        /// Id of the child.
        id: String,
        /// Type of its actor.
        found: &'static str,
    },
}

/// Error: a word that is not one of OTP's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("invalid {what}: `{word}`")]
#[non_exhaustive]
pub struct ParsePolicyError {
    /// Kind of word that was expected, such as `strategy`.
    pub what: &'static str,
    /// The word that was found.
    pub word: String,
}

/// Error of a call to a child.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The actor is not running now: it is being restarted, was stopped, or has been given up.
    #[error("the actor is not running")]
    NotRunning,
    /// The actor ended before it answered; whether it acted on the message is unknown.
    #[error("the actor ended before it answered")]
    Ended,
    /// The actor's mailbox is full.
    #[error("the actor's mailbox is full")]
    Full,
    /// The actor did not answer in time.
    #[error("the actor did not answer in time")]
    TimedOut,
}

impl From<MailboxError> for CallError {
    fn from(error: MailboxError) -> Self {
        match error {
            MailboxError::Closed => Self::Ended,
            MailboxError::Timeout => Self::TimedOut,
        }
    }
}

impl<M> From<SendError<M>> for CallError {
    fn from(error: SendError<M>) -> Self {
        match error {
            SendError::Full(_) => Self::Full,
            SendError::Closed(_) => Self::NotRunning,
        }
    }
}
