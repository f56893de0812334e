//! Supervision tree of the whole process.
//!
//! ```text
//! server (rest_for_one)
//! ├─ webrtc      sockets, handshakes, connections
//! ├─ rooms       one supervisor for each room: the room, its peers, their WebRTC peers, and its media
//! └─ http        pages, WebSockets, the tree
//! ```

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use callboard_admin::Admin;
use callboard_peer_connection::{Api, PeerConnectionId, PeerConnections, StartPoolError};
use callboard_room_supervisor::Rooms;
use callboard_signaling::rpc::HookNameError;
use callboard_signaling::{PeerOptions, Run, Signaling, WebRtc};
use callboard_supervision::{
    Flags, StartChildError, StartSupervisorError, SupervisorRef, SupervisorSpec, TreeSnapshot,
};
use callboard_transport::mux::InterfaceFilter;
use example_pages::bots::{BotOptions, Bots};
use example_pages::options::{Network, Web};
use serde_json::{Value, json};

use crate::guest::{Guest, NAME};
use crate::hold::Hold;
use crate::hooks::hooks;
use crate::http::{DRAIN, Listen, Site};
use crate::media::{MEDIA, media_facts};
use crate::operator::Operator;
use crate::room::{MAX_PEERS, RESTARTS};

/// Handles of all parts of a running server.
pub(crate) struct Server {
    pub(crate) tree: SupervisorRef,
    pub(crate) admin: Admin,
    pub(crate) connections: PeerConnections,
    pub(crate) hold: Hold,
    pub(crate) address: SocketAddr,
    rooms: Rooms,
    site: Site,
}

/// Reason why the server does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(transparent)]
    Hooks(#[from] HookNameError),
    #[error(transparent)]
    Sockets(#[from] StartPoolError),
    #[error(transparent)]
    Root(#[from] StartSupervisorError),
    #[error(transparent)]
    Child(#[from] StartChildError),
    #[error("the server has started, but has no address")]
    Nowhere,
}

impl Server {
    /// Starts all parts; the server listens when this resolves.
    ///
    /// # Errors
    /// [`ServerError`]; then no part runs any more.
    pub(crate) async fn start(
        listen: Listen,
        operator: Operator,
        (rooms, bots): (Rooms, BotOptions),
        web: &Web,
        network: &Network,
    ) -> Result<Self, ServerError> {
        let (tell, told) = mpsc::channel();
        let mut options = network.options();
        // In a demonstration, both ends are often on one machine.
        options.sockets.interfaces = InterfaceFilter::with_loopback();
        let webrtc = PeerConnections::child("webrtc", options, move |connections| {
            _ = tell.send(connections)
        })?;
        // Rooms need the connections, and the site needs the rooms: a part that fails takes along all parts after it.
        let flags = Flags::rest_for_one().intensity(RESTARTS, Duration::from_secs(10));
        let tree = SupervisorSpec::new(flags).child(webrtc).start_as("server").await?;
        // The handle stays valid through all restarts.
        let connections = told.recv().map_err(|_| ServerError::Nowhere)?;
        let started =
            Self::start_on(&tree, &connections, listen, operator, (rooms, bots, web, network))
                .await;
        if started.is_err() {
            tree.stop().await;
        }
        started
    }

    async fn start_on(
        tree: &SupervisorRef,
        connections: &PeerConnections,
        listen: Listen,
        operator: Operator,
        (rooms, bots, web, network): (Rooms, BotOptions, &Web, &Network),
    ) -> Result<Self, ServerError> {
        let hold = Hold::default();
        let grace = if rooms.hand_over_path().is_some() { RESTART_GRACE } else { RESUME_GRACE };
        let handshakes = hold.clone();
        let api = Api::default().handshake(move |dtls| handshakes.wrap(dtls));
        let webrtc = WebRtc::new(connections.clone())
            .api(api)
            .configuration(network.configuration())
            .media();
        let peers = PeerOptions::<Guest>::new(Bots::new(bots, webrtc.clone()), rooms.clone())
            .webrtc(webrtc.clone())
            .hooks(hooks(hold.clone(), operator.clone())?)
            .resume_grace(grace)
            // The members of a full room may well share one address.
            .max_connections_per_address(2 * MAX_PEERS);
        let signaling = Signaling::new(web.apply(peers));
        let named = (rooms.clone(), webrtc.clone());
        let forwarded = named.clone();
        let admin = Admin::builder(tree.clone())
            .webrtc(&webrtc)
            .annotate(move |node| called(&named.0, &named.1, node))
            .annotate(move |node| media_facts(&forwarded.0, &forwarded.1, node))
            .trusted_proxies(web.trusted_proxies())
            .counters(signaling.counters());
        let admin = match operator {
            Operator::Local => admin,
            Operator::Token(token) => admin.token(&*token),
            // With an empty token no client is the operator; health is open to all.
            Operator::Nobody => admin.token(""),
        };
        let admin = admin.build();
        let (servers, route_guard) = (network.servers.list.clone(), web.route_guard());
        let site = Site::new(listen, signaling, admin.clone(), servers, route_guard);
        tree.start_child(rooms.child_spec("rooms")).await?;
        tree.start_child(site.child_spec()).await?;
        let address = site.address().ok_or(ServerError::Nowhere)?;
        let (tree, connections) = (tree.clone(), connections.clone());
        Ok(Self { tree, admin, connections, hold, address, rooms, site })
    }

    /// Registers the parts that are shut down at the end of this run.
    pub(crate) fn part_of(&self, run: Run) -> Run {
        let site = self.site.clone();
        run.rooms(&self.rooms)
            .tree(&self.tree)
            .on_shutdown(move || site.leave())
            .grace(DRAIN + FORCE_GRACE)
    }
}

/// Returns the name of a peer, or of its media, for a node in the tree.
fn called(rooms: &Rooms, webrtc: &WebRtc, node: &TreeSnapshot) -> Option<Value> {
    // server, rooms, the room, the peer; or in the room its media, and there the peer's, by its connection
    let mut names = node.path.names().skip(2);
    let (room, child) = (rooms.lookup(names.next()?)?, names.next()?);
    let name_of = |peer| room.member(peer)?.public().get(NAME)?.as_str().map(str::to_owned);
    let name = match (names.next(), names.next()) {
        (None, _) => name_of(child.parse().ok()?)?,
        (Some(connection), None) if child == MEDIA => {
            let connection = PeerConnectionId(connection.parse().ok()?);
            format!("media of {}", name_of(webrtc.peer_of(connection)?)?)
        }
        _ => return None,
    };
    Some(json!({ "name": name }))
}

/// Grace period of a peer that has lost its WebSocket.
const RESUME_GRACE: Duration = Duration::from_secs(10);
/// The same where a process hands its peers over to the next, which may take its time to start.
const RESTART_GRACE: Duration = Duration::from_secs(60);
/// Extra time at shutdown: the site keeps its time itself; this is for parts that are stuck in spite of it.
const FORCE_GRACE: Duration = Duration::from_secs(1);
