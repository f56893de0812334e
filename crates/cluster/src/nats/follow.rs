//! Changes of the bucket.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::{Entry, Operation, Watch};
use async_nats::jetstream::stream::Info;
use futures_util::stream::StreamExt;
use tokio::sync::mpsc::Sender;
use tokio::time::{interval, sleep, timeout};

use super::{CALL, Shared, record};
use crate::directory::{Change, Whole};
use crate::record::Revision;

/// Tells all that there is in the bucket, and its changes; all anew after each gap. Ends when no one listens.
pub(super) async fn follow(shared: Arc<Shared>, tell: Sender<Change>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let mut begun = false;
        let cause = tokio::select! {
            () = tell.closed() => return,
            cause = follow_once(&shared, &tell, &mut begun) => cause,
        };
        log::debug!("the changes of NATS are followed anew: {}", cause.unwrap_or_default());
        if tell.send(Change::Lost).await.is_err() {
            return;
        }
        pause = if begun { FIRST_PAUSE } else { (2 * pause).min(LONGEST_PAUSE) };
        // So that many nodes do not come at once.
        tokio::select! {
            () = tell.closed() => return,
            () = sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())) => {}
        }
    }
}

/// Tells all that there is, and then the changes, until one may be missed. Returns why; none if no one listens.
async fn follow_once(shared: &Shared, tell: &Sender<Change>, begun: &mut bool) -> Option<String> {
    let mut losses = shared.losses.clone();
    losses.mark_unchanged();
    let store = match shared.open().await {
        Ok(store) => store,
        Err(cause) => return Some(cause),
    };
    // Begins with the last value of each key; `watch_all` would begin with what comes next.
    let watch = match timeout(CALL, store.watch_with_history(">")).await {
        Ok(Ok(watch)) => watch,
        Ok(Err(error)) => return Some(error.to_string()),
        Err(_) => return Some("NATS does not answer".to_owned()),
    };
    // Asked for after the watch has begun: what was written since comes by it.
    let info = match info(shared).await {
        Ok(info) => info,
        Err(cause) => return Some(cause),
    };
    let mut following = Following { watch, generation: generation(&info), last: 0, due: 0 };
    let whole = match timeout(WHOLE, following.whole(&info)).await {
        Ok(Ok(whole)) => whole,
        Ok(Err(cause)) => return Some(cause),
        Err(_) => return Some("NATS does not tell what there is".to_owned()),
    };
    tell.send(Change::Whole(whole)).await.ok()?;
    *begun = true;
    let mut look = interval(LOOK);
    loop {
        tokio::select! {
            entry = following.watch.next() => match entry {
                Some(Ok(entry)) => if let Some(change) = following.change(&entry) {
                    tell.send(change).await.ok()?;
                },
                Some(Err(error)) => return Some(error.to_string()),
                None => return Some("the watch has ended".to_owned()),
            },
            // What was written before may be lost with the server.
            _ = losses.changed() => return Some("the connection was lost".to_owned()),
            _ = look.tick() => if let Err(cause) = following.look(shared).await {
                return Some(cause);
            },
        }
    }
}

/// A watch of the bucket, and what is known of it.
struct Following {
    watch: Watch,
    generation: u64,
    /// Revision that the watch has come to.
    last: u64,
    /// Revision that it must have come to when it is looked at the next time.
    due: u64,
}

impl Following {
    /// Reads all that there is.
    async fn whole(&mut self, info: &Info) -> Result<Whole, String> {
        let mut changes = BTreeMap::new();
        // An empty bucket tells nothing.
        let mut complete = info.state.messages == 0;
        while !complete {
            let entry = self.watch.next().await.ok_or("the watch has ended")?;
            let entry = entry.map_err(|error| error.to_string())?;
            complete = entry.seen_current;
            if let Some(change) = self.change(&entry) {
                changes.insert(entry.key, change);
            }
        }
        self.last = self.last.max(info.state.last_sequence);
        let mut whole = Whole::new(self.generation, Revision(self.last));
        for change in changes.into_values() {
            match change {
                Change::Session(session, revision) => whole.sessions.push((session, revision)),
                Change::Claim(room, claim, revision) => whole.claims.push((room, claim, revision)),
                _ => {}
            }
        }
        Ok(whole)
    }

    /// Returns the change that an entry is; none if it is not ours.
    fn change(&mut self, entry: &Entry) -> Option<Change> {
        let revision = Revision(entry.revision);
        self.last = self.last.max(entry.revision);
        let key = record::parse_key(&entry.key)?;
        let change = match entry.operation {
            Operation::Put => record::change(key, &entry.value, revision),
            Operation::Delete | Operation::Purge => Some(Change::Forgotten(key, revision)),
        };
        if change.is_none() {
            log::warn!("the bucket's record {:?} cannot be read", entry.key);
        }
        change
    }

    /// Checks that the bucket is the same, and that the watch follows: it may be silent though there are changes.
    async fn look(&mut self, shared: &Shared) -> Result<(), String> {
        let info = match info(shared).await {
            Ok(info) => info,
            Err(cause) if cause == MISSING => return Err(cause),
            // The election of a leader: the watch may well go on after it.
            Err(_) => return Ok(()),
        };
        if generation(&info) != self.generation {
            return Err("the bucket is another".to_owned());
        }
        if self.last < self.due {
            return Err("the watch is silent".to_owned());
        }
        self.due = info.state.last_sequence;
        Ok(())
    }
}

async fn info(shared: &Shared) -> Result<Info, String> {
    let stream = shared.jetstream.get_stream(format!("KV_{}", shared.bucket));
    match timeout(CALL, stream).await {
        Ok(Ok(stream)) => Ok(stream.cached_info().clone()),
        Ok(Err(error)) if super::is_missing(&error) => Err(MISSING.to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("NATS does not answer".to_owned()),
    }
}

/// Returns a number that differs once the bucket was made anew.
fn generation(info: &Info) -> u64 {
    let mut hasher = DefaultHasher::new();
    info.created.hash(&mut hasher);
    hasher.finish()
}

const MISSING: &str = "the bucket is gone";
/// Pauses before changes are followed anew: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// Time limit for reading all that there is.
const WHOLE: Duration = Duration::from_secs(5);
/// Time between two looks at the bucket.
const LOOK: Duration = Duration::from_secs(3);
