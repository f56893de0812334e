//! Handle of a child by its name, which leads to the child's current instance.

use std::fmt;
use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::prelude::*;
use arc_swap::ArcSwapOption;

use crate::error::CallError;
use crate::tree::InstanceId;

/// Handle of a child by its name: leads to the current instance's address, through all restarts of the child and of the
/// supervisors above it.
///
/// A supervisor that is restarted starts the children of its start list, and their handles lead to them again. A child
/// that was added at run time is gone then, and a child whose spec was dropped ([temporary](crate::Restart::Temporary),
/// or [deleted](crate::SupervisorRef::delete_child)) is gone as well: its handle leads nowhere, also when a child of
/// the same name is added later.
///
/// A restart is a new actor with a new mailbox, so an [`Addr`] that was kept leads nowhere afterwards. Nothing is
/// replayed: a call in flight when the actor ends fails with [`CallError::Ended`], one made while it is down with
/// [`CallError::NotRunning`].
pub struct ChildRef<A: Actor> {
    slot: Arc<Slot<A>>,
}

impl<A: Actor> ChildRef<A> {
    pub(crate) fn new(slot: Arc<Slot<A>>) -> Self {
        Self { slot }
    }

    /// Returns the current instance's address; none while the child is down.
    pub fn addr(&self) -> Option<Addr<A>> {
        self.slot.current.load().as_ref().map(|current| current.addr.clone())
    }

    /// Returns whether an instance runs now.
    pub fn is_running(&self) -> bool {
        self.slot.current.load().is_some()
    }

    /// Sends a message to the current instance and waits for its answer.
    ///
    /// # Errors
    /// [`CallError::NotRunning`] if there is none, [`CallError::Ended`] if it ended before it answered.
    pub async fn send<M>(&self, message: M) -> Result<M::Result, CallError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        let request = match &*self.slot.current.load() {
            Some(current) => current.addr.send(message),
            None => return Err(CallError::NotRunning),
        };
        Ok(request.await?)
    }

    /// Sends a message to the current instance if its mailbox has room.
    ///
    /// # Errors
    /// [`CallError::NotRunning`] if there is none, [`CallError::Full`] if its mailbox is full.
    pub fn try_send<M>(&self, message: M) -> Result<(), CallError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        match &*self.slot.current.load() {
            Some(current) => Ok(current.addr.try_send(message)?),
            None => Err(CallError::NotRunning),
        }
    }

    /// Sends a message to the current instance whether its mailbox has room or not; the caller bounds how many.
    ///
    /// # Errors
    /// [`CallError::NotRunning`] if there is none.
    pub fn do_send<M>(&self, message: M) -> Result<(), CallError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        match &*self.slot.current.load() {
            Some(current) => {
                current.addr.do_send(message);
                Ok(())
            }
            None => Err(CallError::NotRunning),
        }
    }
}

impl<A: Actor> Clone for ChildRef<A> {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot) }
    }
}

impl<A: Actor> fmt::Debug for ChildRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instance = self.slot.current.load().as_ref().map(|current| current.instance);
        f.debug_struct("ChildRef").field("instance", &instance).finish()
    }
}

/// Shared place of the current address of a child.
pub(crate) struct Slot<A: Actor> {
    current: ArcSwapOption<Current<A>>,
}

struct Current<A: Actor> {
    instance: InstanceId,
    addr: Addr<A>,
}

impl<A: Actor> Slot<A> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { current: ArcSwapOption::empty() })
    }

    /// Publishes the address of this instance, unless a later instance is already published: an abandoned instance may
    /// come up late.
    pub(crate) fn set(&self, instance: InstanceId, addr: Addr<A>) {
        let ours = Arc::new(Current { instance, addr });
        self.current.rcu(|current| {
            let later = current.as_ref().filter(|current| current.instance > instance);
            Some(Arc::clone(later.unwrap_or(&ours)))
        });
    }
}

/// Slot for any actor type.
pub(crate) trait Vacate: Send + Sync {
    /// Removes the address of this instance, if it is the current one.
    fn vacate(&self, instance: InstanceId);
}

impl<A: Actor> Vacate for Slot<A> {
    fn vacate(&self, instance: InstanceId) {
        self.current.rcu(|current| {
            current.as_ref().filter(|current| current.instance != instance).cloned()
        });
    }
}
