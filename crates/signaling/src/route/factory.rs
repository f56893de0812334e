//! Factory of the instances of one peer: the first, those after a crash, and that of a peer of an earlier process.

use std::sync::Arc;
use std::time::Duration;

use callboard_room_supervisor::{AuthData, Membership, Snapshot};
use callboard_supervision::{ChildSpec, Placement, Restart, StartError, catch_panics};
use callboard_websocket::SocketLink;
use tokio::time::{Instant, timeout};

use crate::actor::{Instance, PeerActor};
use crate::counters::Counters;
use crate::kept::{HeldPeer, RunningPeers};
use crate::options::Policy;
use crate::peer::{InitContext, Peer, PeerContext};
use crate::session::Session;

/// Everything that each instance of a peer needs.
pub(super) struct PeerFactory<P: Peer> {
    /// Instance that is created next.
    pub(super) first: First<P>,
    pub(super) custom: P::Options,
    pub(super) policy: Arc<Policy>,
    pub(super) idle_timeout: Duration,
    pub(super) max_message: usize,
    pub(super) context: PeerContext,
    pub(super) membership: Arc<Membership>,
    pub(super) link: Arc<SocketLink>,
    pub(super) counters: Arc<Counters>,
    pub(super) peers: Arc<RunningPeers>,
    /// None if its client cannot come back.
    pub(super) held: Option<HeldPeer>,
}

/// What the next instance of a peer is made of.
pub(super) enum First<P> {
    /// The peer that was created before the socket was opened.
    Accepted(P),
    /// The state of a peer of an earlier process, if it has left any.
    Restored(Option<Snapshot>),
    /// Nothing: it replaces an instance that has crashed.
    Again,
}

impl<P: Peer> PeerFactory<P> {
    /// Returns the child spec of the peer: restarted once, alone, on the thread of its first socket.
    pub(super) fn spec(mut self, here: Placement) -> ChildSpec {
        let id = self.context.peer_id.to_string();
        let spec = ChildSpec::try_new(id, move || {
            // As long as there may be another instance.
            let _held = &self.held;
            let first = std::mem::replace(&mut self.first, First::Again);
            let (custom, policy) = (self.custom.clone(), Arc::clone(&self.policy));
            let (context, membership) = (self.context.clone(), Arc::clone(&self.membership));
            let (link, counters) = (Arc::clone(&self.link), Arc::clone(&self.counters));
            let peers = Arc::clone(&self.peers);
            let (idle_timeout, max_message) = (self.idle_timeout, self.max_message);
            async move {
                let init =
                    InitContext { peer_id: context.peer_id, room: Some(context.room.clone()) };
                let again = || init_again::<P>(&init, &membership, &custom, &policy);
                let (peer, instance) = match first {
                    First::Accepted(peer) => (Ok(peer), Instance::First),
                    First::Again => (again().await, Instance::Again),
                    First::Restored(snapshot) => {
                        let auth = membership.auth();
                        match restored::<P>(&init, auth, &custom, &policy, snapshot).await {
                            Some(peer) => (Ok(peer), Instance::Restored),
                            None => (again().await, Instance::Anew),
                        }
                    }
                };
                let peer = match peer {
                    Ok(peer) => peer,
                    Err(error) => {
                        link.owner_ended();
                        return Err(StartError::failed(error));
                    }
                };
                let now = Instant::now().into_std();
                let session =
                    Session::new(now, Arc::clone(&policy.rules), idle_timeout, max_message);
                Ok(PeerActor::new(peer, context, membership, session, link, counters, policy)
                    .instance(instance, peers))
            }
        });
        spec.restart(Restart::Temporary).retries(RETRIES).placement(here)
    }
}

/// Creates the peer anew after a crash. The client was accepted once, but may have lost its rights meanwhile.
async fn init_again<P: Peer>(
    context: &InitContext,
    membership: &Membership,
    custom: &P::Options,
    policy: &Policy,
) -> Result<P, String> {
    match timeout(policy.init_timeout, P::on_init(context, membership.auth(), custom)).await {
        Ok(Ok(init)) => Ok(init.peer),
        Ok(Err(rejection)) => Err(rejection.code),
        Err(_) => Err("on_init timed out".into()),
    }
}

/// Creates the peer from what it has left in an earlier process; none if it cannot.
async fn restored<P: Peer>(
    context: &InitContext,
    auth: &AuthData,
    custom: &P::Options,
    policy: &Policy,
    snapshot: Option<Snapshot>,
) -> Option<P> {
    let snapshot = snapshot.filter(|snapshot| snapshot.version() <= policy.snapshot_version)?;
    let restoring = async { P::restore(context, auth, custom, snapshot).await };
    let restoring = catch_panics("restore".to_owned(), restoring);
    let error = match timeout(policy.init_timeout, restoring).await {
        Ok(Ok(Ok(peer))) => return Some(peer),
        Ok(Ok(Err(error)) | Err(error)) => error,
        Err(_) => "it took too long".to_owned(),
    };
    log::warn!("peer {} begins anew, it was not restored: {error}", context.peer_id);
    None
}

/// Number of restarts before a peer that crashes is given up.
const RETRIES: u32 = 1;
