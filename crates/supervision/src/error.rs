//! One enum for each operation that can fail.

use std::time::Duration;

use actix::prelude::*;
use thiserror::Error;

use crate::exit::ExitReason;

/// Why an actor did not start.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// It asks not to be started, and not to be asked again: its spec stays, no instance runs (OTP: `ignore`).
    #[error("the start was declined")]
    Ignore,
    /// It gave this reason.
    #[error("{0}")]
    Failed(String),
    /// Its factory or its `started` panicked with this message.
    #[error("panicked: {0}")]
    Panicked(String),
    /// It ended before its start was complete.
    #[error("ended while it was starting: {0}")]
    Exited(ExitReason),
    /// Its start took longer than [`ChildSpec::start_timeout`](crate::ChildSpec::start_timeout).
    #[error("not started after {0:?}")]
    TimedOut(Duration),
    /// The arbiter that it was to run on is gone.
    #[error("its arbiter is gone")]
    ArbiterGone,
    /// Its supervisor is shutting down.
    #[error("the supervisor is shutting down")]
    ShuttingDown,
    /// A supervisor below it did not start.
    #[error("{0}")]
    Supervisor(Box<StartSupervisorError>),
}

impl StartError {
    /// A start that failed for this reason.
    pub fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}

/// What is wrong with a child's specification or a supervisor's flags.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpecError {
    /// The period is zero (OTP: `invalid_period`).
    #[error("the period must be longer than zero")]
    InvalidPeriod,
    /// Two children have the same id (OTP: `duplicate_child_name`).
    #[error("two children have the id `{0}`")]
    DuplicateChild(String),
    /// A significant child where [`AutoShutdown`](crate::AutoShutdown) is never (OTP: `bad_combination`).
    #[error("child `{0}` is significant, but its supervisor never shuts down by itself")]
    SignificantNever(String),
    /// A significant child that is permanent, so never ends for good (OTP: `bad_combination`).
    #[error("child `{0}` is significant and permanent, so its end would never count")]
    SignificantPermanent(String),
    /// A dynamic supervisor restarts one child at a time and starts with none.
    #[error("a dynamic supervisor is one_for_one and starts without children")]
    Dynamic,
}

/// Why a supervisor did not start.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartSupervisorError {
    /// Its flags or one of its children's specifications are wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// This child did not start; those before it have been stopped (OTP: `failed_to_start_child`).
    #[error("child `{id}` did not start: {error}")]
    Child {
        /// Which.
        id: String,
        /// Why.
        error: StartError,
    },
    /// It ended before its start was complete.
    #[error("ended while it was starting: {0}")]
    Exited(ExitReason),
}

/// Why [`start_child`](crate::SupervisorRef::start_child) started none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartChildError {
    /// A child of this id runs.
    #[error("already started")]
    AlreadyStarted,
    /// A child of this id is known but does not run.
    #[error("already present")]
    AlreadyPresent,
    /// The specification is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// It did not start; nothing is kept.
    #[error("start failed: {0}")]
    Start(#[from] StartError),
    /// The supervisor is gone.
    #[error(transparent)]
    NoSupervisor(#[from] NoSupervisor),
}

/// Why [`restart_child`](crate::SupervisorRef::restart_child) restarted none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartChildError {
    /// No child has this id.
    #[error("not found")]
    NotFound,
    /// It runs.
    #[error("running")]
    Running,
    /// The supervisor is restarting it.
    #[error("restarting")]
    Restarting,
    /// Children of a dynamic supervisor have no spec to start from (OTP: `simple_one_for_one`).
    #[error("a dynamic supervisor keeps no specifications")]
    Dynamic,
    /// It did not start; its spec is kept.
    #[error("start failed: {0}")]
    Start(#[from] StartError),
    /// The supervisor is gone.
    #[error(transparent)]
    NoSupervisor(#[from] NoSupervisor),
}

/// Why [`terminate_child`](crate::SupervisorRef::terminate_child) stopped none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TerminateChildError {
    /// No child has this id.
    #[error("not found")]
    NotFound,
    /// The supervisor is gone.
    #[error(transparent)]
    NoSupervisor(#[from] NoSupervisor),
}

/// Why [`delete_child`](crate::SupervisorRef::delete_child) deleted none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeleteChildError {
    /// No child has this id.
    #[error("not found")]
    NotFound,
    /// It runs.
    #[error("running")]
    Running,
    /// The supervisor is restarting it.
    #[error("restarting")]
    Restarting,
    /// Children of a dynamic supervisor have no spec to delete (OTP: `simple_one_for_one`).
    #[error("a dynamic supervisor keeps no specifications")]
    Dynamic,
    /// The supervisor is gone.
    #[error(transparent)]
    NoSupervisor(#[from] NoSupervisor),
}

/// The supervisor that was asked is not running.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the supervisor is not running")]
pub struct NoSupervisor;

/// Why a name did not lead to a child.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LookupError {
    /// No child has this id.
    #[error("no child `{0}`")]
    NotFound(String),
    /// The child at this path has no children, for it is no supervisor.
    #[error("child `{0}` is no supervisor")]
    NoSupervisor(String),
    /// The child of this id is an actor of another type.
    #[error("child `{id}` is a `{found}`")]
    OtherType {
        /// Which child.
        id: String,
        /// Its actor's type.
        found: &'static str,
    },
}

/// Why a child did not answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// It is not running now: it is being restarted, was stopped, or has been given up.
    #[error("the actor is not running")]
    NotRunning,
    /// It ended before it answered; whether it acted on the message is unknown.
    #[error("the actor ended before it answered")]
    Ended,
    /// Its mailbox is full.
    #[error("the actor's mailbox is full")]
    Full,
    /// It did not answer in time.
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
