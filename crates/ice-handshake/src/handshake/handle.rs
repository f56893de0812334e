//! A handshake as its owner holds it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use callboard_supervision::{
    ChildSpec, Down, ExitReason, MonitorRef, Placement, Restart, Shutdown, StartChildError,
    StartError, SupervisorRef, monitor,
};

use super::messages::*;
use super::{ComponentInfo, HandshakeActor, HandshakeFactory, InitData};

/// Which handshake to run, and how.
#[derive(Clone)]
pub struct HandshakeSpec {
    /// For which component.
    pub component: ComponentInfo,
    /// Makes it.
    pub factory: Arc<dyn HandshakeFactory>,
    /// From the component's being ready until it fails. Default: 10 s.
    pub deadline: Duration,
    /// On which thread it runs. Default: its supervisor's. A pool keeps a storm of handshakes away from media.
    pub placement: Placement,
}

impl HandshakeSpec {
    /// A handshake for this component, with the defaults.
    pub fn new(component: ComponentInfo, factory: Arc<dyn HandshakeFactory>) -> Self {
        Self { component, factory, deadline: DEADLINE, placement: Placement::Supervisor }
    }

    /// It as a child of a supervisor: temporary, since a handshake that has failed cannot be taken up again.
    pub fn child(
        self,
        id: impl Into<callboard_supervision::ChildId>,
        owner: Recipient<HandshakeEvent>,
    ) -> ChildSpec {
        let Self { component, factory, deadline, placement } = self;
        ChildSpec::new(id, move || {
            HandshakeActor::new(
                component.id,
                factory.new_handshake(&component),
                deadline,
                owner.clone(),
            )
        })
        .restart(Restart::Temporary)
        // It has nothing to finish; one that is blocked is given up, with its thread.
        .shutdown(Shutdown::Timeout(STOPPING))
        .arbiter(placement)
    }
}

/// Start a handshake under a supervisor. Its `owner` gets its events, and one [`Down`] when it ends.
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
    supervisor.start_child(spec.child(id, owner.clone().recipient())).await?;
    // A temporary child that has ended is forgotten, and can no longer be monitored.
    let actor = supervisor.child::<HandshakeActor>(id).ok().and_then(|child| child.addr());
    let actor = actor.ok_or(StartError::Exited(ExitReason::NoProcess))?;
    let monitor = monitor(&actor, owner.clone().recipient());
    Ok(HandshakeHandle { monitor: Some(monitor), ..HandshakeHandle::new(actor) })
}

/// A handshake as its owner holds it: numbers what is sent to it, so that nothing is lost at the hand-over.
#[derive(Debug)]
pub struct HandshakeHandle {
    actor: Addr<HandshakeActor>,
    monitor: Option<MonitorRef>,
    sent: u64,
    lost: u64,
    /// The newest of what was sent and is not known to have been seen.
    unconfirmed: VecDeque<Bytes>,
}

impl HandshakeHandle {
    /// A handle of an actor that was started some other way.
    pub fn new(actor: Addr<HandshakeActor>) -> Self {
        Self { actor, monitor: None, sent: 0, lost: 0, unconfirmed: VecDeque::new() }
    }

    /// The monitor that [`start_handshake`] has set up.
    pub fn monitor(&self) -> Option<&MonitorRef> {
        self.monitor.as_ref()
    }

    /// The component is ready; its path has this round-trip time, if it is known.
    pub fn connection_ready(&self, round_trip_time: Option<Duration>) {
        // Once for each handshake.
        self.actor.do_send(ConnectionReady { round_trip_time });
    }

    /// What the application learnt of the peer's init data.
    pub fn set_remote_init_data(&self, data: InitData) {
        // As often as the application says so, not the peer.
        self.actor.do_send(SetRemoteInitData(data));
    }

    /// A datagram from the peer. When the handshake is too busy to take it, it is lost as on the network. One that has
    /// ended has told what came of it: whatever comes until that is looked at came behind it.
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

    /// The handshake has seen this many.
    pub fn confirm(&mut self, consumed: u64) {
        let unseen = usize::try_from(self.sent.saturating_sub(consumed)).unwrap_or(usize::MAX);
        while self.unconfirmed.len() > unseen {
            self.unconfirmed.pop_front();
        }
    }

    /// What belongs to the session: what the handshake kept for it, and what it has not seen. In order of arrival.
    pub fn replay(&mut self, finished: &mut Finished) -> impl Iterator<Item = Bytes> + use<> {
        self.confirm(finished.consumed);
        let kept = std::mem::take(&mut finished.kept);
        kept.into_iter().chain(std::mem::take(&mut self.unconfirmed))
    }

    /// Datagrams for which the handshake had no room.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Say goodbye.
    pub fn close(&self) {
        // Once.
        self.actor.do_send(Close);
    }
}

/// From the component's being ready until its handshake fails.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take to stop.
const STOPPING: Duration = Duration::from_millis(500);
/// As many as its mailbox takes, and those it is busy with.
const UNCONFIRMED: usize = 128;
