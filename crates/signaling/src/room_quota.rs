//! Quota of rooms that an address may open on demand, without I/O.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use callboard_room_supervisor::RoomHandle;
use callboard_websocket::Buckets;

/// Rooms opened by each address: how many of late, and which of them are open.
pub(crate) struct RoomQuota {
    of_late: Buckets<IpAddr>,
    max_held: usize,
    table: Mutex<Table>,
}

struct Table {
    held: HashMap<IpAddr, Held>,
    /// Number of addresses at which those without an open room are forgotten.
    look_at: usize,
}

#[derive(Default)]
struct Held {
    /// Number of waiting requests for each room that is being opened, by name: many may wait for the same room.
    opening: HashMap<String, usize>,
    rooms: Vec<RoomHandle>,
}

/// Reservation of a room that is being opened.
pub(crate) struct Opening {
    quota: Arc<RoomQuota>,
    address: IpAddr,
    name: String,
}

impl RoomQuota {
    pub(crate) fn new(per_minute: u32, max_held: usize) -> Self {
        let every = Duration::from_secs(60) / per_minute.max(1);
        let table = Mutex::new(Table { held: HashMap::new(), look_at: LOOK_AT });
        Self { of_late: Buckets::new(per_minute, every), max_held, table }
    }

    /// Counts one more room of this address, unless the address is already opening the room with this name.
    ///
    /// # Errors
    /// The time to wait; if the address holds too many rooms, the recommended time.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        address: IpAddr,
        name: &str,
        now: Instant,
    ) -> Result<Opening, Duration> {
        let mut table = self.table();
        if table.held.len() >= table.look_at {
            table.held.retain(|_, held| held.count() > 0);
            table.look_at = LOOK_AT.max(2 * table.held.len());
        }
        let held = table.held.get_mut(&address);
        if let Some(waiting) = held.and_then(|held| held.opening.get_mut(name)) {
            *waiting += 1;
        } else {
            if table.held.get_mut(&address).map_or(0, Held::count) >= self.max_held {
                return Err(HELD_RETRY);
            }
            self.of_late.take(address, now)?;
            table.held.entry(address).or_default().opening.insert(name.to_owned(), 1);
        }
        Ok(Opening { quota: Arc::clone(self), address, name: name.to_owned() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change is a count, a push, or leaves a smaller table.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Returns how many rooms are open or being opened.
    fn count(&mut self) -> usize {
        self.rooms.retain(|room| !room.is_closed());
        self.opening.len() + self.rooms.len()
    }
}

impl Opening {
    /// Counts the room as open, until it is closed.
    pub(crate) fn opened(self, room: &RoomHandle) {
        if let Some(held) = self.quota.table().held.get_mut(&self.address) {
            held.rooms.push(room.clone());
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let mut table = self.quota.table();
        if let Some(held) = table.held.get_mut(&self.address) {
            if let Some(waiting) = held.opening.get_mut(&self.name) {
                *waiting -= 1;
                if *waiting == 0 {
                    held.opening.remove(&self.name);
                }
            }
            if held.count() == 0 {
                table.held.remove(&self.address);
            }
        }
    }
}

/// Number of addresses below which they are not searched: about 100 KiB.
const LOOK_AT: usize = 1_024;
/// Recommended wait of an address that holds too many rooms.
const HELD_RETRY: Duration = Duration::from_secs(10);
