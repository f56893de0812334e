//! The room, which numbers what is said in it, and its peers, which are told where they are.

use std::sync::Arc;

use actix_web::rt::spawn;
use actix_web::rt::task::JoinHandle;
use actix_web::{HttpRequest, web};
use callboard_cluster::{Cluster, Presence, PresenceError, Tracked};
use callboard_room_supervisor::{AuthData, Room, RoomContext, RoomHandle, RoomMessage, Snapshot};
use callboard_signaling::{InitContext, JoinRequest, Peer, PeerContext, PeerInit, Rejection};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::select;
use tokio::sync::watch;

/// Room that sends each line to all, with its number: the number shows whether the room is the same as before.
pub(crate) struct Hall {
    lines: u64,
}

/// Line as all members get it.
#[derive(Serialize)]
struct Line<'a> {
    number: u64,
    name: &'a str,
    text: &'a str,
}

impl Room for Hall {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self { lines: 0 })
    }

    fn on_forward(&mut self, message: RoomMessage, room: &RoomContext) -> Option<RoomMessage> {
        if message.event != "say" {
            return Some(message);
        }
        let Ok(text) = serde_json::from_str::<String>(message.data.get()) else { return None };
        let speaker = message.from.and_then(|from| room.member(from));
        let name = speaker.and_then(|member| member.public().get("name"));
        let name = name.as_ref().and_then(Value::as_str).unwrap_or("?");
        self.lines += 1;
        let line = Line { number: self.lines, name, text: &text };
        // Its own author gets it too, from the room's home and back.
        _ = room.broadcast("line", &line);
        None
    }

    fn snapshot(&self) -> Option<Snapshot> {
        Snapshot::of(&self.lines).ok()
    }

    fn restore((): &(), snapshot: &Snapshot, _: &RoomContext) -> Result<Self, String> {
        let lines = snapshot.read().map_err(|error| error.to_string())?;
        Ok(Self { lines })
    }
}

/// Node that a page is connected to, and the others.
#[derive(Clone)]
pub(crate) struct Place {
    cluster: Cluster,
    here: Arc<str>,
    /// Nodes of the cluster, as far as is known here.
    nodes: watch::Receiver<Vec<NodeEntry>>,
    faults: Option<FaultTimes>,
    _tracked: Arc<Tracked>,
}

/// A node, as it tells the others of itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct NodeEntry {
    name: String,
    /// Where clients reach it; empty if they do not by itself.
    url: String,
}

/// Times of the faults that pages may order, in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct FaultTimes {
    /// How long a node stands still, or is cut off.
    pub(crate) lasts: u64,
    /// For how long the session of such a node holds: after that the others take its rooms.
    pub(crate) hold: u64,
}

/// What a page is told of its place.
#[derive(Serialize)]
pub(crate) struct Told {
    /// Node that the page is connected to.
    here: String,
    /// Node that runs the room.
    home: String,
    nodes: Vec<NodeEntry>,
    /// Whether this node reaches the directory of the cluster.
    in_cluster: bool,
    /// Times of the faults, if pages may order them.
    faults: Option<FaultTimes>,
}

impl Place {
    /// Tells the other nodes of this one, and follows who is there. Must be called on a thread of actix.
    pub(crate) fn new(
        cluster: &Cluster,
        url: Option<&str>,
        faults: Option<FaultTimes>,
    ) -> Result<Self, PresenceError> {
        let presence = cluster.presence("nodes")?;
        let here: Arc<str> = cluster.node().as_str().into();
        let tracked = Arc::new(presence.track(&here, url.unwrap_or_default().to_owned())?);
        let (_, mut changes) = presence.watch();
        let (tell, nodes) = watch::channel(entries(&presence));
        spawn(async move {
            // Also after changes that it has missed.
            while tell.send(entries(&presence)).is_ok() {
                _ = changes.next().await;
            }
        });
        Ok(Self { cluster: cluster.clone(), here, nodes, faults, _tracked: tracked })
    }

    /// Returns whether pages may order faults.
    pub(crate) fn has_faults(&self) -> bool {
        self.faults.is_some()
    }

    /// Returns what the pages of a room are told at this time.
    pub(crate) fn told(&self, room: &RoomHandle) -> Told {
        let here = self.here.to_string();
        let home = room.home().map_or_else(|| here.clone(), |home| home.to_string());
        let in_cluster = self.cluster.facts().engine_up && self.cluster.lease().is_some();
        Told { here, home, nodes: self.nodes.borrow().clone(), in_cluster, faults: self.faults }
    }
}

fn entries(presence: &Presence) -> Vec<NodeEntry> {
    let entries = presence.all().into_iter().map(|entry| NodeEntry {
        name: entry.node.to_string(),
        url: String::from_utf8_lossy(&entry.meta).into_owned(),
    });
    let mut entries: Vec<_> = entries.collect();
    entries.sort();
    entries
}

/// Session of a page.
pub(crate) struct Guest {
    place: Place,
    /// Task that tells the page where it is. It ends with the peer.
    telling: Option<Telling>,
}

struct Telling(JoinHandle<()>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Peer for Guest {
    type Options = Place;

    fn parse_request(request: &HttpRequest) -> Result<JoinRequest, Rejection> {
        #[derive(Deserialize)]
        struct Query {
            name: Option<String>,
        }
        let Query { name } = web::Query::<Query>::from_query(request.query_string())?.into_inner();
        let room = request.match_info().query("room").to_owned();
        let name: String = name.unwrap_or_default().chars().take(LONGEST_NAME).collect();
        Ok(JoinRequest { room, metadata: name.trim().into(), ..JoinRequest::default() })
    }

    async fn on_init(
        _: &InitContext,
        auth: &AuthData,
        place: &Place,
    ) -> Result<PeerInit<Self>, Rejection> {
        let name = auth.metadata.as_str().filter(|name| !name.is_empty()).unwrap_or("guest");
        let guest = Self { place: place.clone(), telling: None };
        Ok(PeerInit::from(guest).public("name", name).public("node", &*place.here))
    }

    fn on_joined(&mut self, context: &PeerContext) {
        let (mut place, context) = (self.place.clone(), context.clone());
        self.telling = Some(Telling(spawn(async move {
            loop {
                let home = context.room.home();
                let message = RoomMessage::new("place", &place.told(&context.room));
                if message.is_ok_and(|it| context.client.send_to_client(&it).is_err()) {
                    return;
                }
                select! {
                    changed = place.nodes.changed() => if changed.is_err() { return },
                    () = context.room.home_changed(home.as_ref()) => {}
                }
            }
        })));
    }
}

/// Longest name of a page, in characters.
const LONGEST_NAME: usize = 24;
