//! Rooms that are linked to an owner actor instead of the rooms' supervisor.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use callboard_supervision::{
    AutoShutdown, ChildSpec, Down, Exit, ExitReason, Flags, Restart, StartError,
    StartSupervisorError, SupervisorSpec, link, monitor,
};

use crate::error::StartRoomError;
use crate::handle::RoomHandle;
use crate::options::RoomOptions;
use crate::registry::RoomRegistry;
use crate::room::Room;

/// Opens a room that is linked to its owner (the original's `start_link`): it is closed when the owner ends, for
/// any cause; and an owner whose room is given up after too many crashes ends with an error.
///
/// The owner must be an actor that is supervised, or started by [`callboard_supervision::spawn`]. The room runs on the
/// current thread, and is found by name in `registry`.
///
/// # Errors
/// [`StartRoomError`]
pub async fn start_linked<R: Room, A: Actor>(
    options: RoomOptions<R>,
    registry: Arc<dyn RoomRegistry>,
    owner: &Addr<A>,
) -> Result<RoomHandle, StartRoomError> {
    let (name, mut options) = (options.name().to_owned(), options.erase());
    options.check()?;
    if registry.lookup(&name).is_some() {
        return Err(StartRoomError::AlreadyStarted);
    }
    options.claim(None, None).await?;
    let (room, node) = options.node(registry, None);
    let (owner, tied) = (owner.clone(), room.clone());
    let owner_link =
        ChildSpec::new("owner", move || OwnerLink { owner: owner.clone(), room: tied.clone() });
    let flags = Flags::one_for_one()
        .intensity(0, Duration::from_secs(1))
        .auto_shutdown(AutoShutdown::AnySignificant);
    SupervisorSpec::new(flags)
        .child(node.significant(true))
        .child(owner_link.restart(Restart::Temporary).significant(true))
        .start_as(format!("linked {name}"))
        .await
        .map_err(|error| match error {
            StartSupervisorError::Child { error, .. } => StartRoomError::Start(error.into()),
            error => StartRoomError::Start(StartError::failed(error.to_string()).into()),
        })?;
    Ok(room)
}

/// Owner link: ends with the owner, and so ends the room; ends abnormally if the room did, and so ends the owner.
struct OwnerLink<A: Actor> {
    owner: Addr<A>,
    room: RoomHandle,
}

impl<A: Actor> Actor for OwnerLink<A> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        monitor(&self.owner, ctx.address().recipient());
        link(&self.owner, &ctx.address());
    }

    fn stopping(&mut self, ctx: &mut Self::Context) -> Running {
        if self.owner.connected() && !self.room.closed_in_good_order() {
            ctx.exit(ExitReason::Error(format!("room {:?} was given up", self.room.name())));
        }
        Running::Stop
    }
}

impl<A: Actor> Handler<Down> for OwnerLink<A> {
    type Result = ();

    fn handle(&mut self, _: Down, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
