//! Way to an actor that leads to its current instance.

use std::sync::Arc;

use actix::prelude::*;
use arc_swap::ArcSwapOption;

/// Way to the current instance of an actor.
pub(crate) struct Way<M: Message + Send + 'static>(ArcSwapOption<Recipient<M>>)
where
    M::Result: Send;

impl<M: Message<Result = ()> + Send> Default for Way<M> {
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}

impl<M: Message<Result = ()> + Send> Way<M> {
    /// Lets the way lead to this instance.
    pub(crate) fn leads_to(&self, actor: Recipient<M>) {
        self.0.store(Some(Arc::new(actor)));
    }

    /// Sends a message if there is an instance and its mailbox has room.
    pub(crate) fn try_send(&self, message: M) {
        if let Some(actor) = &*self.0.load() {
            _ = actor.try_send(message);
        }
    }

    /// Sends a message that must arrive if there is an instance; the next one reads the state by itself.
    pub(crate) fn do_send(&self, message: M) {
        if let Some(actor) = &*self.0.load() {
            actor.do_send(message);
        }
    }
}
