//! Registration of a room's name.

use std::sync::Arc;

use callboard_outbox::CloseFrame;
use callboard_supervision::{ChildSpec, Restart, StartError, SupervisorSpec};
use tokio::sync::OwnedSemaphorePermit;

use crate::hand_over::{HandOver, InheritedRoom};
use crate::handle::RoomHandle;
use crate::registry::RoomRegistry;
use crate::shared::Shared;

/// Registration of a room's name: from its start until nothing of it runs any more.
pub(crate) struct NameRegistration {
    pub(crate) shared: Arc<Shared>,
    pub(crate) registry: Arc<dyn RoomRegistry>,
    /// Whether a client could join the room.
    pub(crate) checked: Result<(), StartError>,
    pub(crate) inherited: Option<Arc<HandOver>>,
    pub(crate) _place: Option<OwnedSemaphorePermit>,
}

impl NameRegistration {
    /// Returns the spec of the node that keeps this registration.
    pub(crate) fn node(self, children: impl Fn() -> SupervisorSpec + Send + 'static) -> ChildSpec {
        let name = Arc::clone(&self.shared.name);
        let registration = Arc::new(self);
        let node = ChildSpec::async_supervisor(name, move |node| {
            let (registration, children) = (Arc::clone(&registration), children());
            async move {
                registration.begin().await?;
                registration.shared.reopen();
                registration.shared.set_supervisor(node);
                Ok(children)
            }
        });
        node.restart(Restart::Temporary)
    }

    /// Claims the name, and registers it, unless it is registered for this room already.
    async fn begin(&self) -> Result<(), StartError> {
        self.checked.clone()?;
        let name = &self.shared.name;
        if self.shared.away().is_none()
            && let Some(tenure) = self.shared.tenure()
            && let Err(error) = tenure.begin(name).await
        {
            log::info!("room {name:?} is not opened here: {error}");
            return Err(StartError::Ignore);
        }
        if self.holds_name() {
            return Ok(());
        }
        let room = RoomHandle { shared: Arc::clone(&self.shared) };
        self.shared.set_registered(true);
        self.registry.register(&self.shared.name, room).map_err(|error| {
            self.shared.set_registered(false);
            StartError::failed(error.to_string())
        })?;
        self.inherit();
        Ok(())
    }

    /// Begins with what an earlier process has handed over of the room, if it has.
    fn inherit(&self) {
        let inherited = self.inherited.as_ref().and_then(|it| it.take_room(&self.shared.name));
        let Some(InheritedRoom { snapshot, members, departed }) = inherited else { return };
        let all = members.iter().map(|(member, _)| member.clone()).collect();
        self.shared.inherit(snapshot, all, departed);
        for (member, tell) in members {
            if tell.send(RoomHandle { shared: Arc::clone(&self.shared) }).is_err() {
                // Its keeper is not there any more.
                self.shared.leave(&member);
            }
        }
    }

    fn holds_name(&self) -> bool {
        let registered = self.registry.lookup(&self.shared.name);
        registered.is_some_and(|room| Arc::ptr_eq(&room.shared, &self.shared))
    }
}

impl Drop for NameRegistration {
    fn drop(&mut self) {
        if self.holds_name() {
            self.registry.unregister(&self.shared.name);
        }
        self.shared.set_registered(false);
        // No peers are left here if the room was closed in good order.
        self.shared.give_up(&"crashed".into(), CloseFrame::ROOM_FAILED);
        // Nothing of the room runs any more: another node may have it.
        if let Some(tenure) = self.shared.tenure() {
            tenure.end();
        }
    }
}
