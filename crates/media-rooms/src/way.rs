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

    /// Returns whether there has been an instance.
    pub(crate) fn leads(&self) -> bool {
        self.0.load().is_some()
    }

    /// Sends a message if there is an instance and its mailbox has room. Returns whether it was sent.
    pub(crate) fn try_send(&self, message: M) -> bool {
        self.0.load().as_ref().is_some_and(|actor| actor.try_send(message).is_ok())
    }

    /// Sends a message that must arrive if there is an instance; the next one reads the state by itself.
    pub(crate) fn do_send(&self, message: M) {
        if let Some(actor) = &*self.0.load() {
            actor.do_send(message);
        }
    }
}
