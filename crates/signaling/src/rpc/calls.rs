//! Start, limits and end of the RPC calls of one peer, in both directions, and the hooks that run them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use callboard_supervision::{catch_panic, catch_panics};
use futures_util::future::{AbortHandle, Abortable};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::arguments::{self, InvalidArguments};
use super::wire::{self, Call, CallId, Frame};
use super::{Failure, Hook, HookContext, HookLimits, Hooks};
use crate::counters::Counters;

/// Function that sends a reply the way that its call came.
pub(crate) type Answer = Rc<dyn Fn(String)>;

/// Call table of one peer.
pub(crate) struct CallTable {
    hooks: Hooks,
    calls: Mutex<Calls>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Calls {
    next: u64,
    /// Calls by the peer's client.
    running: BTreeMap<u64, Running>,
    /// Calls by the server.
    waiting: BTreeMap<u64, oneshot::Sender<Result<Box<RawValue>, String>>>,
    closed: bool,
}

/// A call by the peer's client.
struct Running {
    id: Option<CallId>,
    plugin: String,
    function: String,
    abort: AbortHandle,
}

/// Reason why a client was not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallRefused {
    TooMany,
    Closed,
}

impl Calls {
    /// Checks whether the client may run one more call.
    fn may_begin(&self, limits: &HookLimits) -> Result<(), Failure> {
        if self.closed || self.running.len() >= limits.concurrency {
            return Err(Failure::Overloaded);
        }
        Ok(())
    }
}

impl CallTable {
    pub(crate) fn new(hooks: Hooks, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self { hooks, calls: Mutex::default(), counters })
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        // Every change is one insertion or removal.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles a frame of the client, whose text has this many bytes, on the thread of its peer.
    pub(crate) fn handle(
        self: &Arc<Self>,
        frame: Frame<'_>,
        bytes: usize,
        context: impl FnOnce() -> HookContext,
        answer: &Answer,
    ) {
        let is_large = bytes > self.hooks.limits().call;
        match frame {
            Frame::Call(call) => {
                let begun = match is_large {
                    true => Err(Failure::TooLarge),
                    false => self.begin(&call, context, answer),
                };
                if let Err(failure) = begun {
                    let Call { id, plugin, function, .. } = &call;
                    answer(wire::error(id.as_ref(), plugin, function, &failure));
                }
            }
            Frame::Cancel(id) => self.cancel(&id),
            Frame::Outcome { id, outcome } => {
                let too_large = || Err(Failure::TooLarge.to_string());
                self.ended(&id, if is_large { too_large() } else { outcome });
            }
        }
    }

    /// Handles the outcome of a call to the client. Its caller may be gone.
    fn ended(&self, id: &CallId, outcome: Result<Box<RawValue>, String>) {
        let waiting = id.of_server().and_then(|number| self.calls().waiting.remove(&number));
        if let Some(waiting) = waiting {
            _ = waiting.send(outcome);
        }
    }

    /// Tells the client that what it sent is not a frame.
    pub(crate) fn refuse_malformed(answer: &Answer) {
        answer(wire::error(None, "", "", &Failure::Malformed));
    }

    /// Tells the client that what it sent is too large, by its id if it is a call that has one. `frame` is none if it
    /// is no frame.
    pub(crate) fn refuse_large(&self, frame: Option<Frame<'_>>, answer: &Answer) {
        match frame {
            Some(Frame::Call(Call { id, plugin, function, .. })) => {
                answer(wire::error(id.as_ref(), &plugin, &function, &Failure::TooLarge));
            }
            Some(Frame::Outcome { id, .. }) => {
                self.ended(&id, Err(Failure::TooLarge.to_string()));
            }
            _ => answer(wire::error(None, "", "", &Failure::TooLarge)),
        }
    }

    fn begin(
        self: &Arc<Self>,
        call: &Call<'_>,
        context: impl FnOnce() -> HookContext,
        answer: &Answer,
    ) -> Result<(), Failure> {
        let limits = *self.hooks.limits();
        let hook = self.hooks.find(&call.plugin, &call.function)?;
        // Checked first: arguments take many times more memory as values than as text.
        self.calls().may_begin(&limits)?;
        let args = call.args.map_or("[]", RawValue::get);
        let invalid = |detail: &str| Failure::InvalidArgs(InvalidArguments::all(detail));
        let args = arguments::values(args).map_err(Failure::InvalidArgs)?;
        let Some(list) = args.as_array() else { return Err(invalid("args must be a list")) };
        if list.len() > limits.arguments {
            let (count, limit) = (list.len(), limits.arguments);
            return Err(invalid(&format!("{count} arguments, at most {limit} are taken")));
        }
        let (abort, registration) = AbortHandle::new_pair();
        let number = {
            let mut calls = self.calls();
            calls.may_begin(&limits)?;
            calls.next += 1;
            let number = calls.next;
            let running = Running {
                id: call.id.clone(),
                plugin: call.plugin.clone().into_owned(),
                function: call.function.clone().into_owned(),
                abort: abort.clone(),
            };
            calls.running.insert(number, running);
            number
        };

        let deadline = hook.deadline.unwrap_or(limits.deadline).min(HookLimits::LONGEST_DEADLINE);
        let (done, outcome) = oneshot::channel();
        let (context, Hook { run, .. }) = (context(), hook);
        let name = format!("hook {}.{}", call.plugin, call.function);
        self.hooks.threads().next().spawn_fn(move || {
            let running = catch_panic(&name, || run(args, context));
            actix::spawn(async move {
                let Ok(running) = running else {
                    _ = done.send(Err(Failure::Internal));
                    return;
                };
                let running = catch_panics(name, running);
                // A cancelled call gets no answer.
                if let Ok(outcome) = Abortable::new(running, registration).await {
                    _ = done.send(outcome.unwrap_or(Err(Failure::Internal)));
                }
            });
        });

        // The deadline is watched from here, so that a hook that blocks its thread gets an answer as well.
        let (call_table, answer) = (Arc::clone(self), Rc::clone(answer));
        let (id, plugin, function) =
            (call.id.clone(), call.plugin.clone().into_owned(), call.function.clone().into_owned());
        let began = Instant::now();
        actix::spawn(async move {
            let outcome = match timeout(deadline, outcome).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(Failure::Internal),
                Err(_) => Err(Failure::Timeout),
            };
            // No caller waits for a cancelled call.
            if call_table.calls().running.remove(&number).is_none() {
                return;
            }
            abort.abort();
            call_table.counters.hooks.add(began.elapsed());
            let outcome = outcome.and_then(|reply| match reply.get().len() <= limits.reply {
                true => Ok(reply),
                false => Err(Failure::TooLarge),
            });
            answer(match outcome {
                Ok(reply) => wire::reply(id.as_ref(), &plugin, &function, &reply),
                Err(failure) => wire::error(id.as_ref(), &plugin, &function, &failure),
            });
        });
        Ok(())
    }

    fn cancel(&self, id: &CallId) {
        let mut calls = self.calls();
        let found = calls.running.iter().find(|(_, running)| running.id.as_ref() == Some(id));
        if let Some(number) = found.map(|(number, _)| *number)
            && let Some(running) = calls.running.remove(&number)
        {
            running.abort.abort();
        }
    }

    /// Calls a function of the client: returns the text to send, and a handle to wait for the outcome.
    pub(crate) fn call_client(
        self: &Arc<Self>,
        function: &str,
        args: &RawValue,
    ) -> Result<(String, PendingCall), CallRefused> {
        let mut calls = self.calls();
        if calls.closed {
            return Err(CallRefused::Closed);
        }
        if calls.waiting.len() >= self.hooks.limits().calls_to_client {
            return Err(CallRefused::TooMany);
        }
        calls.next += 1;
        let (number, (tell, outcome)) = (calls.next, oneshot::channel());
        calls.waiting.insert(number, tell);
        drop(calls);
        let waiting = PendingCall { call_table: Arc::clone(self), number, outcome };
        Ok((wire::call(number, function, args), waiting))
    }

    /// Returns how many calls of the client are running.
    pub(crate) fn running(&self) -> usize {
        self.calls().running.len()
    }

    /// Drops all running calls, because the peer ends; no new ones are started.
    pub(crate) fn close(&self) {
        let (running, waiting) = {
            let mut calls = self.calls();
            calls.closed = true;
            (std::mem::take(&mut calls.running), std::mem::take(&mut calls.waiting))
        };
        running.into_values().for_each(|running| running.abort.abort());
        drop(waiting);
    }

    /// Ends all running calls with an error, because the process ends; no new ones are started. They may have run.
    pub(crate) fn interrupt(&self, answer: &Answer) {
        let running = {
            let mut calls = self.calls();
            calls.closed = true;
            std::mem::take(&mut calls.running)
        };
        for Running { id, plugin, function, abort } in running.into_values() {
            abort.abort();
            answer(wire::error(id.as_ref(), &plugin, &function, &Failure::ServerRestarted));
        }
    }

    /// Allows calls again after the peer has crashed and was restarted; [`close`](Self::close) has dropped the old
    /// ones.
    pub(crate) fn reopen(&self) {
        self.calls().closed = false;
    }
}

/// A call that waits for its client; dropping it forgets the call.
pub(crate) struct PendingCall {
    call_table: Arc<CallTable>,
    number: u64,
    outcome: oneshot::Receiver<Result<Box<RawValue>, String>>,
}

/// Reason why a call of a client has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoOutcome {
    Gone,
    TimedOut,
}

impl PendingCall {
    pub(crate) async fn wait(
        &mut self,
        deadline: Duration,
    ) -> Result<Result<Box<RawValue>, String>, NoOutcome> {
        match timeout(deadline, &mut self.outcome).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) => Err(NoOutcome::Gone),
            Err(_) => Err(NoOutcome::TimedOut),
        }
    }

    /// Returns the text that tells the client that the call is cancelled.
    pub(crate) fn cancel_text(&self) -> String {
        wire::cancel(self.number)
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        self.call_table.calls().waiting.remove(&self.number);
    }
}
