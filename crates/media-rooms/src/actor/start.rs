//! Start of a participant's actors.

use std::sync::Arc;
use std::time::Duration;

use callboard_supervision::{ChildSpec, Flags, Restart, StartChildError, SupervisorSpec};

use super::publisher::Publisher;
use super::subscriber::Subscriber;
use crate::event::ParticipantId;
use crate::shared::Shared;

/// Starts the actors of a participant below the room.
///
/// # Errors
/// [`StartChildError`], also if they run already.
pub(crate) async fn start(shared: &Arc<Shared>, id: ParticipantId) -> Result<(), StartChildError> {
    let (supervisor, thread) = (shared.supervisor()?, shared.placement());
    let shared = Arc::clone(shared);
    let spec = ChildSpec::supervisor(id.to_string(), move || {
        let (publisher, subscriber) = (Arc::clone(&shared), Arc::clone(&shared));
        let publisher = ChildSpec::new("publisher", move || Publisher::new(&publisher, id));
        let subscriber = ChildSpec::new("subscriber", move || Subscriber::new(&subscriber, id));
        SupervisorSpec::new(Flags::one_for_one().intensity(RESTARTS, WITHIN))
            .child(subscriber.placement(shared.placement()))
            .child(publisher.placement(shared.placement()))
    });
    let spec = spec.restart(Restart::Temporary).placement(thread);
    supervisor.start_child(spec).await.map(|_| ())
}

/// Restarts of a participant's actors before its media is given up …
const RESTARTS: u32 = 3;
/// … within this time.
const WITHIN: Duration = Duration::from_secs(10);
