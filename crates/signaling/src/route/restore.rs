//! Hand-over of a route's peers to the process that replaces this one, and their start there.

use std::future::ready;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix_web::http::StatusCode;
use callboard_room_supervisor::{
    CloseFrame, GivenPeer, KeptPeer, PeerKeeper, RestoredPeer, TakePeerError,
};
use callboard_supervision::Placement;
use callboard_websocket::{SocketLink, TokenDigest, prefix_of_token, token_prefix};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::factory::{First, PeerFactory};
use super::refusal::Refusal;
use super::{PeerTexts, UpgradeRoute, start_peer};
use crate::kept::{Kept, PeerCommand};
use crate::peer::{Peer, PeerContext};
use crate::peer_ref::PeerRef;

impl<P: Peer> PeerKeeper for UpgradeRoute<P> {
    fn disconnect(&self) -> BoxFuture<'static, ()> {
        let (peers, starting) = (Arc::clone(&self.peers), Arc::clone(&self.starting));
        self.leaving.store(true, Ordering::Release);
        async move {
            // A process that is replaced right after its start has the peers of the one before.
            _ = timeout(START, starting.write()).await;
            let gone = peers.all().into_iter().map(|peer| {
                let (done, gone) = oneshot::channel();
                // One for each peer.
                peer.do_send(PeerCommand::Disconnect(done));
                gone
            });
            join_all(gone).await;
        }
        .boxed()
    }

    fn keep(&self) -> BoxFuture<'static, Vec<KeptPeer>> {
        let kept = self.peers.all().into_iter().map(|peer| {
            let (answer, kept) = oneshot::channel();
            // One for each peer.
            peer.do_send(PeerCommand::Keep(answer));
            // One that blocks its thread must not cost the others their sessions.
            timeout(ANSWER, kept)
        });
        let all = join_all(kept).map(|all| all.into_iter().filter_map(|kept| kept.ok()?.ok()?));
        all.map(Iterator::collect).boxed()
    }

    fn give(&self, token: &str) -> BoxFuture<'static, Option<GivenPeer>> {
        let token = TokenDigest::try_from(token.to_owned()).ok();
        let link = token.and_then(|token| self.tokens.find(token));
        let (Some(token), Some(link)) = (token, link) else { return ready(None).boxed() };
        let peers = Arc::clone(&self.peers);
        async move {
            // One that has just come from another node, or has crashed, is about to run.
            let peer = timeout(START, peers.started(&link)).await.ok()?;
            let (answer, given) = oneshot::channel();
            // Few for each token: it is good for one.
            peer.do_send(PeerCommand::Give(token, answer));
            given.await.ok().flatten()
        }
        .boxed()
    }

    fn left(&self) -> BoxFuture<'static, ()> {
        let peers = Arc::clone(&self.peers);
        async move { peers.left().await }.boxed()
    }

    fn go_on(&self) {
        self.leaving.store(false, Ordering::Release);
        // One for each peer.
        self.peers.all().into_iter().for_each(|peer| peer.do_send(PeerCommand::GoOn));
    }
}

impl<P: Peer> UpgradeRoute<P> {
    /// Lets the clients of an earlier process come back from now on, and starts their peers when their rooms are open.
    pub(crate) fn restore(self: &Arc<Self>, peers: Vec<RestoredPeer>) {
        for peer in peers {
            match serde_json::from_value::<Kept>(peer.data().clone()) {
                Ok(kept) => self.restore_one(peer, kept),
                Err(error) => log::error!("peer {} is not restored: {error}", peer.peer_id()),
            }
        }
    }

    /// Takes over the peer of a token of another node, if it is one: its client has come here.
    pub(super) async fn take(
        self: &Arc<Self>,
        token: &str,
    ) -> Result<Option<Arc<SocketLink>>, Refusal> {
        let Some(cluster) = self.rooms.cluster() else { return Ok(None) };
        let Some(prefix) = prefix_of_token(token) else { return Ok(None) };
        // One of this node, that has gone to another, is known here as well.
        let nodes = cluster.nodes().into_iter().map(|node| node.node);
        let mut nodes = nodes.chain([cluster.node().clone()]);
        let node = nodes.find(|node| token_prefix(node.as_str()) == prefix);
        let Some(node) = node else { return Ok(None) };
        let Ok(_turn) = self.taking.try_acquire() else {
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
        };
        let keeper: Arc<dyn PeerKeeper> = Arc::clone(self) as _;
        let (keeper, token): (Weak<_>, _) = (Arc::downgrade(&keeper), TokenDigest::of(token));
        let taken = self.rooms.take_peer(&keeper, &node, &String::from(token)).await;
        let peer = match taken {
            Ok(peer) => peer,
            Err(TakePeerError::NoSuchPeer) => return Ok(None),
            // It may be there when the client comes again.
            Err(error) => {
                let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "session_unavailable");
                let refusal = refusal.noted(format!("node {node}: {error}"));
                return Err(refusal.retry_after(TAKE_AGAIN));
            }
        };
        match serde_json::from_value::<Kept>(peer.data().clone()) {
            Ok(kept) => self.restore_one(peer, kept),
            Err(error) => log::error!("peer {} is not taken over: {error}", peer.peer_id()),
        }
        Ok(self.tokens.find(token))
    }

    fn restore_one(self: &Arc<Self>, peer: RestoredPeer, kept: Kept) {
        let Kept { address, idle_timeout_ms, max_message, resumption, snapshot } = kept;
        let (peer_id, until, outbox) = (peer.peer_id(), peer.until(), Arc::clone(peer.outbox()));
        let options = self.link_options(address, max_message);
        // It had its place before: the limits of today do not count.
        let admission = self.connections.admit(address, usize::MAX, usize::MAX).ok();
        let (tokens, counters) = (Arc::clone(&self.tokens), Arc::clone(&self.counters.sockets));
        let link = SocketLink::restored(
            options,
            PeerTexts(peer_id),
            (outbox, admission),
            (resumption, until),
            tokens,
            counters,
        );
        let client = self.client(peer_id, address, &link);
        peer.set_handle(Arc::clone(&client));
        let (route, held) = (Arc::clone(self), self.peers.hold());
        let starting = Arc::clone(&self.starting).try_read_owned();
        self.rooms.spawn(async move {
            let _starting = starting;
            let Some(membership) = peer.membership().await else {
                link.owner_ended();
                return link.outbox().close(CloseFrame::ROOM_FAILED);
            };
            // Applications may ask others about each peer.
            let Ok(_turn) = route.restoring.acquire().await else { return };
            let (room, membership) = (membership.room().clone(), Arc::new(membership));
            let factory = PeerFactory::<P> {
                first: First::Restored(snapshot),
                custom: route.custom.clone(),
                policy: Arc::clone(&route.policy),
                idle_timeout: Duration::from_millis(idle_timeout_ms),
                max_message,
                context: PeerContext { room: room.clone(), peer_id, client: PeerRef::new(client) },
                membership: Arc::clone(&membership),
                link: Arc::clone(&link),
                counters: Arc::clone(&route.counters),
                peers: Arc::clone(&route.peers),
                held: Some(held),
            };
            let spec = factory.spec(Placement::Pool(route.threads().clone()));
            start_peer(room, spec, membership).await;
        });
    }
}

/// Time after which a client may come again whose session could not be fetched.
const TAKE_AGAIN: Duration = Duration::from_secs(1);
/// Number of peers of other nodes that are taken over at once.
pub(super) const TAKEN_AT_ONCE: usize = 256;
/// Time limit for a peer to handle what it has received.
const ANSWER: Duration = Duration::from_millis(1_500);
/// Time limit for the peers of an earlier process to start, before they are handed over again.
const START: Duration = Duration::from_secs(1);
/// Number of peers of an earlier process that are started at once.
pub(super) const RESTORED_AT_ONCE: usize = 64;
