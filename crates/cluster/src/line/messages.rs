//! Messages to the actor of lines.

use actix::Message;

/// Look at the lines: something has changed.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WakeUp;
