//! Rooms that other nodes give to this one: how they arrive.

use std::sync::Arc;
use std::time::Duration;

use callboard_cluster::{Epoch, Expected, NodeId};
use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use super::guests::Guests;
use crate::arrivals::{Arrival, RoomState};
use crate::handle::RoomHandle;
use crate::link::{Assembly, Link, Parts, ToEdge, ToHome};
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// Function that finds a room of this name here, or opens it.
pub(crate) type FindRoom = dyn Fn(String) -> BoxFuture<'static, Option<RoomHandle>> + Send + Sync;

/// Room that a node is about to give to this one.
pub(super) struct Prepare {
    pub(super) room: String,
    /// Number of the node's hold.
    pub(super) epoch: Epoch,
    /// Version of the room's snapshots there.
    pub(super) version: u32,
}

/// Gets a room from another node, over this link; ends when it is here and its former home is an edge of it, or when it
/// does not come.
pub(super) async fn arrive(
    find: &FindRoom,
    prepare: Prepare,
    (link, mut parts, own): (Link, Parts, u64),
) {
    match arrived(find, prepare, &link, &mut parts).await {
        Ok(room) => {
            let spec = Guests::spec(own, link, room.clone(), parts);
            if let Err(error) = room.start_peer(spec).await {
                log::warn!("room {:?} does not take its former home: {error}", room.name());
            }
        }
        Err(reason) => {
            log::info!("node {} does not give a room to this one: {reason}", link.node());
            link.send(&ToEdge::Unwilling(reason), &[]);
        }
    }
}

/// Room that is expected here. Dropped, it is so no more.
struct Expecting(Arc<Shared>);

impl Drop for Expecting {
    fn drop(&mut self) {
        self.0.arrivals.end();
        self.0.notify();
        // An edge that has become empty meanwhile ends now.
        self.0.say_that_one_left();
    }
}

async fn arrived(
    find: &FindRoom,
    Prepare { room: name, epoch, version }: Prepare,
    link: &Link,
    parts: &mut Parts,
) -> Result<RoomHandle, String> {
    // Until it is here, its peers here are those of an edge.
    let room = find(name).await.ok_or("it has no such room")?;
    let shared = &room.shared;
    // It may be about to follow the room there.
    let is_there = |room: &Shared| {
        room.away().is_some_and(|away| away.node() == link.node() && away.epoch() == epoch)
    };
    let is_closed = |room: &Shared| room.roster().is_closed();
    let follows = shared.wait_until(|room| is_there(room) || is_closed(room));
    let follows = timeout(FOLLOWING, follows).await;
    let tenure = shared.tenure().filter(|_| follows.is_ok() && !room.is_closed());
    let tenure = tenure.ok_or("it finds the room elsewhere")?;
    if version > shared.snapshot_version() {
        return Err("it has an older version of the room".to_owned());
    }
    let expected = tenure.cluster.expect(room.name(), epoch).await;
    let mut expected = expected.map_err(|error| error.to_string())?;
    if !shared.arrivals.expect() {
        return Err("it expects the room already".to_owned());
    }
    let expecting = Expecting(Arc::clone(shared));
    link.send(&ToEdge::Ready, &[]);
    let said = tokio::select! {
        said = timeout(STOPPING, next(parts)) => said,
        // So that the room does not wait at its home for this node, which is perhaps being stopped.
        () = shared.wait_until(is_closed) => return Err("it has closed the room".to_owned()),
    };
    let state = match said {
        Ok(Some(ToHomeOf::State(state))) => state,
        _ => return Err("it was not sent the room".to_owned()),
    };
    link.send(&ToEdge::Ready, &[]);
    let hold = hold(&mut expected, parts).await.ok_or("it was not given the room")?;
    shared.arrivals.arrive(Arrival { hold, state });
    shared.notify();
    // Its actor goes on here once it has heard all that the former home has said.
    let is_here = shared.wait_until(|room| room.away().is_none() || room.roster().is_closed());
    let came = timeout(COMING, is_here).await.is_ok() && !room.is_closed();
    drop(expecting);
    came.then_some(room).ok_or_else(|| "its actor does not take it".to_owned())
}

/// Waits until this node has the room, by the word of its home or by the directory; none if the home keeps it.
async fn hold(expected: &mut Expected, parts: &mut Parts) -> Option<callboard_cluster::Hold> {
    tokio::select! {
        hold = expected.hold() => return hold,
        said = next(parts) => match said {
            Some(ToHomeOf::Given(given)) => expected.given(given),
            // It keeps the room.
            Some(_) => return None,
            // The line has ended: the directory says what has become of the room.
            None => {}
        },
    }
    tokio::select! {
        hold = expected.hold() => hold,
        () = sleep(TOLD) => None,
    }
}

/// What a home says of a room that it gives away.
enum ToHomeOf {
    State(RoomState),
    Given(callboard_cluster::Given),
    Nothing,
}

/// Returns what the home says next; none if the line to it has ended.
async fn next(parts: &mut Parts) -> Option<ToHomeOf> {
    let mut assembly = Assembly::default();
    loop {
        let (message, payload) = match assembly.add(parts.recv().await?) {
            Ok(Some(said)) => said,
            Ok(None) => continue,
            Err(error) => {
                log::warn!("the home of a room sends what cannot be read: {error}");
                return Some(ToHomeOf::Nothing);
            }
        };
        return Some(match message {
            ToHome::HandOver { members, nodes } => {
                let snapshot: Option<Snapshot> = match payload.is_empty() {
                    true => None,
                    // One that cannot be read is not what was sent.
                    false => match serde_json::from_slice(&payload) {
                        Ok(snapshot) => Some(snapshot),
                        Err(_) => return Some(ToHomeOf::Nothing),
                    },
                };
                ToHomeOf::State(RoomState { snapshot, members, nodes })
            }
            ToHome::Given(given) => ToHomeOf::Given(given),
            _ => ToHomeOf::Nothing,
        });
    }
}

/// Returns whether the room that a link is asked for is about to be here: then that waits.
pub(super) async fn comes(room: &RoomHandle, asks: &NodeId) -> bool {
    let shared = &room.shared;
    if shared.away().is_some() && shared.arrivals.is_expected() {
        log::debug!("node {asks} waits for room {:?}", room.name());
        let decided = shared.wait_until(|it| it.away().is_none() || !it.arrivals.is_expected());
        _ = timeout(COMING, decided).await;
    }
    shared.away().is_none()
}

/// Time limit for this node to have a link to the room's home.
const FOLLOWING: Duration = Duration::from_secs(2);
/// Time limit for the room to stop at its home.
const STOPPING: Duration = Duration::from_secs(5);
/// Time limit for the directory to say what has become of a room whose home says nothing more.
const TOLD: Duration = Duration::from_secs(10);
/// Time limit for the room's actor to go on here.
const COMING: Duration = Duration::from_secs(10);
