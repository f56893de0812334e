//! Messages of the application to its rooms, of types of its own.

use std::any::{Any, TypeId};
use std::sync::Arc;

use crate::command::RoomCommand;
use crate::context::RoomContext;
use crate::credit::Credit;
use crate::error::TellError;
use crate::handle::RoomHandle;
use crate::room::Room;

/// Handling of messages of type `T`, which the application sends to its rooms
/// ([`RoomHandle::tell`](crate::RoomHandle::tell), [`Rooms::tell`](crate::Rooms::tell)).
///
/// ```
/// use callboard_room_supervisor::*;
///
/// struct NextQuestion(String);
///
/// # struct Quiz;
/// # impl Room for Quiz {
/// #     type Options = ();
/// #     fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> { Ok(Self) }
/// # }
/// impl Tell<NextQuestion> for Quiz {
///     fn on_tell(&mut self, NextQuestion(text): NextQuestion, room: &RoomContext) {
///         _ = room.broadcast("question", &text);
///     }
/// }
///
/// fn from_anywhere(rooms: &Rooms) -> Result<(), TellError> {
///     rooms.tell::<Quiz, _>("quiz", NextQuestion("What is a callboard?".into()))
/// }
/// ```
pub trait Tell<T>: Room {
    /// Handles a message of the application.
    fn on_tell(&mut self, message: T, room: &RoomContext);
}

impl RoomHandle {
    /// Sends a message of the application to the room, which must be of type `R`. It waits in the room's mailbox behind
    /// what was sent before; those that wait while the room crashes are lost.
    ///
    /// # Errors
    /// [`TellError`]
    pub fn tell<R: Tell<T>, T: Send + 'static>(&self, message: T) -> Result<(), TellError> {
        if !self.shared.is_of(TypeId::of::<R>()) {
            return Err(TellError::OtherType);
        }
        if self.home().is_some() {
            return Err(TellError::Elsewhere);
        }
        // Until it is sent: what the room has not handled when it goes to another node cannot follow it.
        let roster = self.shared.roster();
        if roster.is_moving() {
            return Err(TellError::RoomUnavailable);
        }
        let mailbox = self.shared.mailbox().ok_or(TellError::RoomUnavailable)?;
        let credit = Credit::new(Arc::clone(&self.shared)).ok_or(TellError::TooManyInFlight)?;
        let on_tell = Box::new(move |room: &mut dyn Any, context: &dyn Any| {
            if let (Some(room), Some(context)) = (room.downcast_mut::<R>(), context.downcast_ref())
            {
                room.on_tell(message, context);
            }
            drop(credit);
        });
        // Bounded by the credit, which goes with the callback.
        mailbox.do_send(RoomCommand::Tell(on_tell));
        drop(roster);
        Ok(())
    }
}
