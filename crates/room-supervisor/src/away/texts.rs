//! Texts of a batch, each once.

use std::collections::{BTreeMap, HashMap};

use bytestring::ByteString;

use crate::link::Seat;

/// Texts of a batch, each once.
#[derive(Default)]
pub(super) struct Texts {
    pub(super) texts: Vec<ByteString>,
    /// Places in the list by address and length, once there are two: texts of a broadcast are the same memory.
    places: HashMap<(usize, usize), usize>,
    /// The text that was added last, and its place: mostly the next is the same.
    last: Option<((usize, usize), usize)>,
    pub(super) bytes: usize,
}

/// Guests of a batch by the texts that they get.
#[derive(Default)]
pub(super) struct SameTexts {
    guests: BTreeMap<Vec<usize>, Vec<Seat>>,
    /// Those who came last, one after the other, with the same texts.
    last: (Vec<usize>, Vec<Seat>),
}

impl Texts {
    /// Adds a text, and returns its place.
    pub(super) fn add(&mut self, text: ByteString) -> usize {
        let key = key(&text);
        self.bytes += PER_PLACE;
        if let Some((last, place)) = self.last
            && last == key
        {
            return place;
        }
        // Most batches have one.
        let place = match self.texts.is_empty() {
            true => None,
            false => self.places().get(&key).copied(),
        };
        let place = place.unwrap_or_else(|| {
            self.bytes += text.len() + PER_TEXT;
            let place = self.texts.len();
            if place > 0 {
                self.places.insert(key, place);
            }
            self.texts.push(text);
            place
        });
        self.last = Some((key, place));
        place
    }

    /// Returns the places of all texts.
    fn places(&mut self) -> &HashMap<(usize, usize), usize> {
        if self.places.is_empty()
            && let Some(first) = self.texts.first()
        {
            self.places.insert(key(first), 0);
        }
        &self.places
    }
}

impl SameTexts {
    /// Adds a guest, and the places of its texts.
    pub(super) fn add(&mut self, seat: Seat, places: &[usize]) {
        if places != self.last.0 {
            self.put_last();
            self.last.0.extend_from_slice(places);
        }
        if !places.is_empty() {
            self.last.1.push(seat);
        }
    }

    fn put_last(&mut self) {
        let (places, seats) = std::mem::take(&mut self.last);
        if !seats.is_empty() {
            self.guests.entry(places).or_default().extend(seats);
        }
    }

    /// Returns the guests that get the same texts, and the places of these.
    pub(super) fn into_frames(mut self) -> Vec<(Vec<Seat>, Vec<usize>)> {
        if self.guests.is_empty() {
            // Mostly they get the same.
            let (places, seats) = self.last;
            return if seats.is_empty() { Vec::new() } else { vec![(seats, places)] };
        }
        self.put_last();
        self.guests.into_iter().map(|(places, seats)| (seats, places)).collect()
    }
}

fn key(text: &ByteString) -> (usize, usize) {
    (text.as_ptr().addr(), text.len())
}

/// Bytes that a text counts beside its own, so that the number of texts has a bound.
pub(super) const PER_TEXT: usize = 64;
/// Bytes that a text counts for each guest: its place in the list.
const PER_PLACE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_many_guests_is_in_a_batch_once() {
        let (broadcast, mut texts) = (ByteString::from("to all"), Texts::default());

        let places = [broadcast.clone(), "to one".into(), broadcast.clone(), "to all".into()];
        let places = places.map(|text| texts.add(text));

        assert_eq!(places, [0, 1, 0, 2]);
        assert_eq!(texts.texts, ["to all", "to one", "to all"]);
    }

    #[test]
    fn guests_with_the_same_texts_are_named_together() {
        let mut same = SameTexts::default();

        for (seat, places) in [(1, &[0][..]), (2, &[0]), (3, &[]), (4, &[0, 1]), (6, &[0])] {
            same.add(seat, places);
        }

        assert_eq!(same.into_frames(), [(vec![1, 2, 6], vec![0]), (vec![4], vec![0, 1])]);
    }
}
