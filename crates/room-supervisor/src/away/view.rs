//! What clients of an away room have been told of its members: views, which most of them share.

use std::sync::Arc;

use serde::Deserialize;
use tokio::time::Instant;

use crate::peer_id::PeerId;
use crate::roster::View;
use crate::told_left::ToldLeft;

/// What a text tells its receiver of the members.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Joined(PeerId),
    Left(PeerId),
    /// These are the members.
    All(Vec<PeerId>),
}

/// Reads what a text tells of the members; none if it tells nothing of them, as most do.
pub(super) fn told(text: &str) -> Option<Told> {
    #[derive(Deserialize)]
    struct Message {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        peer_id: Option<PeerId>,
        peers: Option<Vec<PeerId>>,
    }
    let event = text.strip_prefix(r#"{"event":""#)?.split('"').next()?;
    let of_members = ["joined", "left", "authenticated", "room_restarted", "room_members"];
    if !of_members.contains(&event) {
        return None;
    }
    let Message { data: Data { peer_id, peers } } = serde_json::from_str(text).ok()?;
    match event {
        "joined" => peer_id.map(Told::Joined),
        "left" => peer_id.map(Told::Left),
        _ => {
            let mut all = peers?;
            all.extend(peer_id);
            Some(Told::All(all))
        }
    }
}

/// Views of the clients of one room. Those that are equal are kept once, as long as clients are told the same.
#[derive(Default)]
pub(super) struct Views {
    latest: View,
    /// View that was changed last by the present text, and what became of it.
    changed: Option<(View, View)>,
    /// Peers that have left, as clients were told.
    pub(super) left: ToldLeft,
}

impl Views {
    /// Notes who has left, by what clients are told.
    pub(super) fn hear<'a>(&mut self, told: impl Iterator<Item = &'a Told>) {
        for told in told {
            match told {
                Told::Left(peer) => self.left.note(*peer, Instant::now()),
                Told::Joined(peer) => self.left.forget(*peer),
                Told::All(peers) => peers.iter().for_each(|peer| self.left.forget(*peer)),
            }
        }
    }

    /// Begins with another text.
    pub(super) fn next_text(&mut self) {
        self.changed = None;
    }

    /// Returns what becomes of a view by a text.
    pub(super) fn update(&mut self, view: &View, told: &Told) -> View {
        if let Some((before, after)) = &self.changed
            && Arc::ptr_eq(before, view)
        {
            return Arc::clone(after);
        }
        let mut peers = match told {
            Told::All(_) => Vec::new(),
            _ => view.to_vec(),
        };
        match told {
            Told::Joined(peer) => {
                if let Err(place) = peers.binary_search(peer) {
                    peers.insert(place, *peer);
                }
            }
            Told::Left(peer) => peers.retain(|it| it != peer),
            Told::All(all) => {
                peers.clone_from(all);
                peers.sort_unstable();
                peers.dedup();
            }
        }
        if peers != *self.latest {
            self.latest = Arc::new(peers);
        }
        self.changed = Some((Arc::clone(view), Arc::clone(&self.latest)));
        Arc::clone(&self.latest)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::PublicMetadata;
    use crate::message::{RoomMessage, To};

    #[test]
    fn a_text_of_the_server_tells_of_members_and_no_other_does() {
        let (own, other) = (PeerId::random(), PeerId::random());
        let public = PublicMetadata::default();
        let read = |message: RoomMessage| told(&message.encode());

        assert_eq!(read(RoomMessage::joined(other, &public)), Some(Told::Joined(other)));
        assert_eq!(read(RoomMessage::left(other)), Some(Told::Left(other)));
        let welcome = RoomMessage::authenticated(own, [(other, &public)], None);
        assert_eq!(read(welcome), Some(Told::All(vec![other, own])));
        assert_eq!(read(RoomMessage::room_restarted(&[own])), Some(Told::All(vec![own])));
        let list = RoomMessage::room_members([(own, &public), (other, &public)]);
        assert_eq!(read(list), Some(Told::All(vec![own, other])));
        let said = RoomMessage::new("hello", &json!({ "peer_id": other })).unwrap().to(To::All);
        assert_eq!(read(said), None);
    }

    #[test]
    fn clients_that_are_told_the_same_share_their_view() {
        let [one, two, three] = [1, 2, 3].map(|_| PeerId::random());
        let mut views = Views::default();
        let all = views.update(&View::default(), &Told::All(vec![two, one]));
        views.next_text();

        let (ann, bob) =
            (views.update(&all, &Told::Joined(three)), views.update(&all, &Told::Joined(three)));
        views.next_text();
        let later = views.update(&all, &Told::Joined(three));
        views.next_text();
        let left = views.update(&ann, &Told::Left(one));

        assert!(Arc::ptr_eq(&ann, &bob) && Arc::ptr_eq(&ann, &later));
        assert_eq!(ann.len(), 3);
        assert!(ann.is_sorted() && left.is_sorted() && !left.contains(&one));
    }
}
