//! Room of a call, and its members: who is its host, and what a host may do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::web::Query;
use callboard_peer_connection::PeerConnectionState;
use callboard_room_supervisor::{
    AuthData, Member, PeerId, Rejection, Room, RoomContext, RoomHandle,
};
use callboard_signaling::rpc::{HookContext, HookNameError, Hooks};
use callboard_signaling::{EndReason, InitContext, Peer, PeerContext, PeerInit};
use example_pages::bots::Bots;
use serde::Deserialize;
use serde_json::json;

use crate::recordings::Recordings;

/// Room of a call. Its media room opens with the first peer connection. Its host is the member that has been there for
/// the longest time.
pub(crate) struct Call {
    recordings: Arc<Recordings>,
}

impl Room for Call {
    type Options = Arc<Recordings>;
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init(recordings: &Self::Options, _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self { recordings: Arc::clone(recordings) })
    }

    fn on_joined(&mut self, _: PeerId, room: &RoomContext) {
        tell(&room.handle(), &room.members(), &self.recordings);
    }

    fn on_leave(&mut self, _: PeerId, room: &RoomContext) {
        tell(&room.handle(), &room.members(), &self.recordings);
    }
}

/// Tells all members how the call stands: who is its host, whether it is recorded, and whether the host decides that.
fn tell(room: &RoomHandle, members: &[Member], recordings: &Recordings) {
    let (host, recorded) = (host(members), recordings.is_recorded(room));
    let call = json!({ "host": host, "recorded": recorded, "on_demand": recordings.on_demand() });
    if let Err(error) = room.broadcast("call", &call) {
        log::error!("the members of {} are not told of its host: {error}", room.name());
    }
}

/// Begins to record a room, whose members are told if that is given up.
///
/// # Errors
/// As [`Recordings::begin`]
async fn begin(room: &RoomHandle, recordings: &Arc<Recordings>) -> Result<bool, Rejection> {
    let (of, recorded) = (room.clone(), Arc::clone(recordings));
    let given_up = move || tell(&of, &of.members(), &recorded);
    recordings.begin(room, given_up).await
}

fn host(members: &[Member]) -> Option<PeerId> {
    members.iter().min_by_key(|member| turn(member)).map(Member::peer_id)
}

/// Returns the how many-th a member was of all members of all rooms.
fn turn(member: &Member) -> u64 {
    member.public().get(TURN).and_then(|turn| turn.as_u64()).unwrap_or(u64::MAX)
}

/// Someone in a call.
pub(crate) struct Caller {
    recordings: Arc<Recordings>,
    bots: Bots,
}

/// Query of the WebSocket's address.
#[derive(Default, Deserialize)]
struct Introduction {
    #[serde(default)]
    name: String,
}

impl Peer for Caller {
    type Options = (Arc<Recordings>, Bots);

    async fn on_init(
        context: &InitContext,
        auth: &AuthData,
        (recordings, bots): &Self::Options,
    ) -> Result<PeerInit<Self>, Rejection> {
        let query = auth.metadata.as_str().unwrap_or_default();
        let introduction = Query::<Introduction>::from_query(query).map_err(|_| "bad_name")?;
        let name: String = introduction.into_inner().name.chars().take(LONGEST_NAME).collect();
        // One that is restarted after a fault keeps its turn.
        let known = context.room.as_ref().and_then(|room| room.member(context.peer_id));
        let turn = known.map_or_else(|| TURNS.fetch_add(1, Ordering::Relaxed), |it| turn(&it));
        let caller = Self { recordings: Arc::clone(recordings), bots: bots.clone() };
        Ok(PeerInit::from(caller).public("name", name).public(TURN, turn))
    }

    fn on_webrtc_state(
        &mut self,
        state: PeerConnectionState,
        _: Option<&EndReason>,
        context: &PeerContext,
    ) {
        if state != PeerConnectionState::Connected {
            return;
        }
        self.bots.join(&context.room);
        if self.recordings.of_all() {
            let (recordings, room) = (Arc::clone(&self.recordings), context.room.clone());
            actix_web::rt::spawn(async move {
                if begin(&room, &recordings).await.is_ok_and(|is_new| is_new) {
                    tell(&room, &room.members(), &recordings);
                }
            });
        }
    }
}

/// Returns the functions that pages call: `remove(peer)` and `record(on)`, for hosts.
pub(crate) fn hooks(recordings: Arc<Recordings>) -> Result<Hooks, HookNameError> {
    let record = move |on: bool, context: HookContext| {
        let recordings = Arc::clone(&recordings);
        async move {
            only_hosts(&context)?;
            if !recordings.on_demand() {
                return Err(Rejection::new("not_on_demand"));
            }
            if on {
                begin(&context.room, &recordings).await?;
            } else {
                recordings.end(&context.room).await;
            }
            tell(&context.room, &context.room.members(), &recordings);
            Ok(())
        }
    };
    Hooks::builder()
        .plugin("call", |call| call.hook("remove", remove).hook("record", record))
        .build()
}

async fn remove(peer: String, context: HookContext) -> Result<(), Rejection> {
    only_hosts(&context)?;
    let peer = peer.parse().map_err(|_| Rejection::new("no_such_peer"))?;
    let removed = context.room.kick(peer, REMOVED, "removed by the host");
    removed.map_err(|error| Rejection::new(error.to_string()))
}

/// # Errors
/// The caller is not the host.
fn only_hosts(context: &HookContext) -> Result<(), Rejection> {
    let is_host = host(&context.room.members()) == Some(context.peer_id);
    if is_host { Ok(()) } else { Err(Rejection::new("not_the_host")) }
}

/// The next turn.
static TURNS: AtomicU64 = AtomicU64::new(0);
/// Field of a member's public metadata.
const TURN: &str = "turn";
/// Close code of a member that was removed: its page does not come back by itself.
const REMOVED: u16 = 4_001;
/// Longest name, in characters.
const LONGEST_NAME: usize = 40;
