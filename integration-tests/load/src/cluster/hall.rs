//! Room that writes its history.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{io, mem};

use callboard_room_supervisor::*;
use integration_tests::history::{Event, OnLapse as Lapse, Recorder, now};

/// Room whose messages go through its actor, or directly.
pub(crate) struct Hall<const DIRECT: bool> {
    book: Arc<Book>,
    life: u64,
    /// All that the room knows; it goes with it to other nodes.
    members: BTreeSet<String>,
}

/// What the rooms of a node write to.
pub(crate) struct Book {
    recorder: Option<Recorder>,
    lives: AtomicU64,
}

impl Book {
    /// Creates the book of a node; without a file nothing is written.
    pub(crate) fn new(node: &str, file: Option<&Path>) -> io::Result<Self> {
        let recorder = file.map(|file| Recorder::create(file, node)).transpose()?;
        Ok(Self { recorder, lives: AtomicU64::new(0) })
    }
}

/// Returns the options of a room, by its name.
pub(crate) fn options(name: &str, book: &Arc<Book>) -> AnyRoomOptions {
    let on_lapse = if closes(name) { OnLapse::Close } else { OnLapse::ShutDoor };
    let book = Arc::clone(book);
    match name.starts_with("direct") {
        true => RoomOptions::<Hall<true>>::new(name, book).on_lapse(on_lapse).into(),
        false => RoomOptions::<Hall<false>>::new(name, book).on_lapse(on_lapse).into(),
    }
}

fn closes(room: &str) -> bool {
    room.starts_with("strict")
}

impl<const DIRECT: bool> Hall<DIRECT> {
    fn open(book: &Arc<Book>, members: BTreeSet<String>, room: &RoomContext) -> Self {
        let life = book.lives.fetch_add(1, Ordering::Relaxed);
        let listed = members.iter().cloned().collect();
        let hall = Self { book: Arc::clone(book), life, members };
        let epoch = room.epoch().map_or(0, |epoch| epoch.0);
        hall.write(Event::Opened { room: room.name().to_owned(), life, epoch, members: listed });
        if hall.book.recorder.is_some() {
            room.every(BETWEEN_LOOKS);
        }
        hall
    }

    fn write(&self, event: Event) {
        if let Some(recorder) = &self.book.recorder {
            recorder.record(event);
        }
    }

    fn peer(&self, peer: PeerId, room: &RoomContext) -> (String, u64, String) {
        (room.name().to_owned(), self.life, peer.to_string())
    }
}

impl<const DIRECT: bool> Room for Hall<DIRECT> {
    type Options = Arc<Book>;
    const FORWARDS_DIRECTLY: bool = DIRECT;

    fn on_init(book: &Arc<Book>, room: &RoomContext) -> Result<Self, Rejection> {
        let members = room.members();
        let members = members.iter().map(|member| member.peer_id().to_string()).collect();
        Ok(Self::open(book, members, room))
    }

    async fn on_join(&mut self, auth: &AuthData, room: &RoomContext) -> Result<(), Rejection> {
        let (room, life, peer) = self.peer(auth.peer_id, room);
        self.members.insert(peer.clone());
        self.write(Event::Admitted { room, life, peer });
        Ok(())
    }

    fn on_leave(&mut self, peer: PeerId, room: &RoomContext) {
        let (room, life, peer) = self.peer(peer, room);
        self.members.remove(&peer);
        self.write(Event::Departed { room, life, peer });
    }

    /// Shows at which times the room did something, and took joins: these have passed when they are written.
    fn on_tick(&mut self, room: &RoomContext) {
        let (Some(recorder), Some(epoch)) = (&self.book.recorder, room.epoch()) else { return };
        let (t, name, epoch) = (now(), room.name().to_owned(), epoch.0);
        let on_lapse = if closes(&name) { Lapse::Close } else { Lapse::ShutDoor };
        recorder.record_at(t, Event::Live { room: name.clone(), epoch, on_lapse });
        let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
        let probe = NewMember::new(AuthData::new(PeerId::random()), outbox);
        if room.handle().reserve(probe).map(mem::drop).is_ok() {
            recorder.record_at(t, Event::Door { room: name, epoch });
        }
    }

    fn snapshot(&self) -> Option<Snapshot> {
        Snapshot::of(&self.members).ok()
    }

    fn restore(book: &Arc<Book>, snapshot: &Snapshot, room: &RoomContext) -> Result<Self, String> {
        let members = snapshot.read().map_err(|error| error.to_string())?;
        Ok(Self::open(book, members, room))
    }

    fn on_terminate(&mut self, room: &RoomContext) {
        self.write(Event::Closed { room: room.name().to_owned(), life: self.life });
    }
}

/// Time between two looks at the door.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
