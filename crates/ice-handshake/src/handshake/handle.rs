//! Handle of a running handshake, for its owner.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use callboard_supervision::{
    ChildSpec, Down, ExitReason, MonitorRef, Placement, Restart, Shutdown, StartChildError,
    StartError, SupervisorRef, monitor,
};
use tokio::sync::oneshot;

use super::messages::*;
use super::{ComponentInfo, HandshakeActor, HandshakeFactory, InitData};

/// Specification of a handshake to run.
#[derive(Clone)]
pub struct HandshakeSpec {
    /// Component for which it runs.
    pub component: ComponentInfo,
    /// Factory that creates it.
    pub factory: Arc<dyn HandshakeFactory>,
    /// Longest time from the component's being ready until the handshake fails. Default: 10 s.
    pub deadline: Duration,
    /// Thread on which it runs. Default: its supervisor's. A pool keeps a storm of handshakes away from media.
    pub placement: Placement,
}

impl HandshakeSpec {
    /// Creates a specification for this component, with the defaults.
    pub fn new(component: ComponentInfo, factory: Arc<dyn HandshakeFactory>) -> Self {
        Self { component, factory, deadline: DEADLINE, placement: Placement::Supervisor }
    }

    /// Returns a child spec: temporary, since a handshake that has failed cannot be continued.
    fn child(self, id: &str, owner: Recipient<HandshakeEvent>, lifeline: Lifeline) -> ChildSpec {
        let Self { component, factory, deadline, placement } = self;
        let mut lifeline = Some(lifeline);
        ChildSpec::new(id, move || {
            let (handshake, lifeline) = (factory.new_handshake(&component), lifeline.take());
            HandshakeActor::new(component.id, handshake, deadline, owner.clone(), lifeline)
        })
        .restart(Restart::Temporary)
        // It has nothing to finish; a blocked handshake is abandoned, with its thread.
        .shutdown(Shutdown::Timeout(STOPPING))
        .placement(placement)
    }
}

/// Starts a handshake under a supervisor. Its `owner` gets its events, and one [`Down`] when it ends.
///
/// If the returned future is dropped before it is complete, the handshake closes.
///
/// # Errors
/// [`StartChildError`]: the id is taken, the factory panicked, the supervisor is going down, or the handshake has ended
/// already.
pub async fn start_handshake<O>(
    supervisor: &SupervisorRef,
    id: &str,
    spec: HandshakeSpec,
    owner: &Addr<O>,
) -> Result<HandshakeHandle, StartChildError>
where
    O: Actor + Handler<HandshakeEvent> + Handler<Down>,
    O::Context: actix::dev::ToEnvelope<O, HandshakeEvent> + actix::dev::ToEnvelope<O, Down>,
{
    let (held, lifeline) = oneshot::channel();
    supervisor.start_child(spec.child(id, owner.clone().recipient(), lifeline)).await?;
    // A temporary child that has ended is forgotten, and can no longer be monitored.
    let actor = supervisor.child::<HandshakeActor>(id).ok().and_then(|child| child.addr());
    let actor = actor.ok_or(StartError::Exited(ExitReason::NoProcess))?;
    let monitor = monitor(&actor, owner.clone().recipient());
    let unconfirmed = VecDeque::new();
    Ok(HandshakeHandle { actor, monitor, lifeline: Some(held), sent: 0, lost: 0, unconfirmed })
}

/// Handle of a running handshake: counts the datagrams that are sent to it, so that none is lost at the hand-over.
///
/// Dropping it closes the handshake.
#[derive(Debug)]
pub struct HandshakeHandle {
    actor: Addr<HandshakeActor>,
    monitor: MonitorRef,
    lifeline: Option<oneshot::Sender<Infallible>>,
    sent: u64,
    lost: u64,
    /// Newest datagrams that were sent and are not known to have been processed.
    unconfirmed: VecDeque<Bytes>,
}

impl HandshakeHandle {
    /// Returns the monitor that [`start_handshake`] has set up.
    pub fn monitor(&self) -> &MonitorRef {
        &self.monitor
    }

    /// Reports that the component is ready; its path has this round-trip time, if it is known.
    pub fn connection_ready(&self, round_trip_time: Option<Duration>) {
        // Sent once for each handshake.
        self.actor.do_send(ConnectionReady { round_trip_time });
    }

    /// Passes on the peer's init data, as the application received it.
    pub fn set_remote_init_data(&self, data: InitData) {
        // Sent as often as the application says so, not the peer.
        self.actor.do_send(SetRemoteInitData(data));
    }

    /// Passes on a datagram from the peer. If the handshake is too busy to take it, it is lost as on the network. A
    /// handshake that has ended has already reported its result: datagrams that come before the owner reads that report
    /// belong after the handshake.
    pub fn datagram(&mut self, datagram: Bytes) {
        if let Err(SendError::Full(_)) = self.actor.try_send(Datagram(datagram.clone())) {
            self.lost += 1;
            return;
        }
        self.sent += 1;
        self.unconfirmed.push_back(datagram);
        if self.unconfirmed.len() > UNCONFIRMED {
            self.unconfirmed.pop_front();
        }
    }

    /// Notes that the handshake has processed this many datagrams.
    pub fn confirm(&mut self, consumed: u64) {
        let unseen = usize::try_from(self.sent.saturating_sub(consumed)).unwrap_or(usize::MAX);
        while self.unconfirmed.len() > unseen {
            self.unconfirmed.pop_front();
        }
    }

    /// Returns the datagrams that belong to the session: those that the handshake kept for it, and those that it has
    /// not processed. In order of arrival.
    pub fn replay(&mut self, finished: &mut Finished) -> impl Iterator<Item = Bytes> + use<> {
        self.confirm(finished.consumed);
        let kept = std::mem::take(&mut finished.kept);
        kept.into_iter().chain(std::mem::take(&mut self.unconfirmed))
    }

    /// Returns the number of datagrams for which the handshake had no room.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Closes the handshake, as dropping the handle does.
    pub fn close(&mut self) {
        self.lifeline = None;
    }
}

/// Default deadline, from the component's being ready until its handshake fails.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest time that the actor may take to stop.
const STOPPING: Duration = Duration::from_millis(500);
/// Unconfirmed datagrams kept: as many as the mailbox takes, and those that are being processed.
const UNCONFIRMED: usize = 128;
