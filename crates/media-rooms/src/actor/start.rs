//! Start of a participant's actors.

use std::sync::Arc;
use std::time::Duration;

use callboard_supervision::{
    ChildSpec, Flags, Restart, StartChildError, SupervisorRef, SupervisorSpec,
};

use super::publisher::Publisher;
use super::relay::Relay;
use super::subscriber::Subscriber;
use crate::event::ParticipantId;
use crate::shared::Shared;

/// Starts the actors of a participant below the room.
///
/// # Errors
/// [`StartChildError`], also if they run already.
pub(crate) async fn start(shared: &Arc<Shared>, id: ParticipantId) -> Result<(), StartChildError> {
    let supervisor = shared.supervisor()?;
    let thread = shared.seat(id).map_or(shared.thread, |seat| seat.thread);
    if thread != shared.thread {
        // Publishers on either thread may have viewers on the other.
        start_relay(shared, supervisor, shared.thread).await?;
        start_relay(shared, supervisor, thread).await?;
    }
    let placement = shared.placement(thread);
    let shared = Arc::clone(shared);
    let spec = ChildSpec::supervisor(id.to_string(), move || {
        let (publisher, subscriber) = (Arc::clone(&shared), Arc::clone(&shared));
        let publisher = ChildSpec::new("publisher", move || Publisher::new(&publisher, id));
        let subscriber = ChildSpec::new("subscriber", move || Subscriber::new(&subscriber, id));
        SupervisorSpec::new(Flags::one_for_one().intensity(RESTARTS, WITHIN))
            .child(subscriber.placement(shared.placement(thread)))
            .child(publisher.placement(shared.placement(thread)))
    });
    let spec = spec.restart(Restart::Temporary).placement(placement);
    supervisor.start_child(spec).await.map(|_| ())
}

/// Starts the relay of a thread, if it does not run.
///
/// # Errors
/// [`StartChildError`]
async fn start_relay(
    shared: &Arc<Shared>,
    supervisor: &SupervisorRef,
    thread: usize,
) -> Result<(), StartChildError> {
    let relayed = Arc::clone(shared);
    let relay = ChildSpec::new(format!("relay-{thread}"), move || Relay::new(&relayed, thread));
    match supervisor.start_child(relay.placement(shared.placement(thread))).await {
        Ok(_) | Err(StartChildError::AlreadyStarted) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Restarts of a participant's actors before its media is given up …
const RESTARTS: u32 = 3;
/// … within this time.
const WITHIN: Duration = Duration::from_secs(10);
