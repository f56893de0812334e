//! Texts of a batch, each once.

use std::collections::HashMap;

use bytestring::ByteString;

/// Texts of a batch, each once.
#[derive(Default)]
pub(super) struct Texts {
    pub(super) texts: Vec<ByteString>,
    /// Places in the list by address and length: texts of a broadcast are the same memory.
    places: HashMap<(usize, usize), usize>,
    pub(super) bytes: usize,
}

impl Texts {
    /// Adds a text, and returns its place.
    pub(super) fn add(&mut self, text: ByteString) -> usize {
        let key = (text.as_ptr().addr(), text.len());
        self.bytes += PER_PLACE;
        *self.places.entry(key).or_insert_with(|| {
            self.bytes += text.len() + PER_TEXT;
            self.texts.push(text);
            self.texts.len() - 1
        })
    }
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
}
