//! The `media:wish` of a client: which of the others' pictures it shows, and how large.

use std::collections::BTreeMap;

use callboard_media_rooms::{TrackId, Wish, Wishes};
use callboard_peer_connection::TransceiverId;
use serde::Deserialize;

use crate::error_text::shorten;

/// Reads wishes. All members may be missing; those that are not known are ignored.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn read(data: &str) -> Result<Wishes, String> {
    if !data.starts_with('{') {
        return Err("data must be an object with default, tracks and order".to_owned());
    }
    let read: Fields = serde_json::from_str(data)
        .map_err(|error| shorten(&error.to_string(), LONGEST_DETAIL).to_owned())?;
    let mut wishes = Wishes::default();
    wishes.default = read.default.into();
    wishes.tracks = read.tracks.into_iter().map(|(id, one)| (TrackId(id), one.into())).collect();
    wishes.order = read.order.into_iter().map(TrackId).collect();
    Ok(wishes)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    default: One,
    tracks: BTreeMap<TransceiverId, One>,
    order: Vec<TransceiverId>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct One {
    height: Option<u32>,
    fps: Option<u32>,
    priority: u8,
    pause: bool,
}

impl From<One> for Wish {
    fn from(One { height, fps, priority, pause }: One) -> Self {
        let mut wish = Self::default();
        (wish.height, wish.fps, wish.priority, wish.pause) = (height, fps, priority, pause);
        wish
    }
}

/// Length limit of what is wrong, in bytes: it may hold text of the client's.
const LONGEST_DETAIL: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    const TRACK: &str = "8c1c8d3e-0f5e-4c57-9a6e-2f3a56c0d7a1";

    #[test]
    fn wishes_are_read_and_what_is_missing_is_the_default() {
        let text = format!(
            r#"{{"default":{{"height":180}},"tracks":{{"{TRACK}":{{"fps":15,"priority":9,"pause":true}}}},
                "order":["{TRACK}"],"later":1}}"#
        );

        let wishes = read(&text).unwrap();

        assert_eq!(wishes.default, Wish::height(180));
        let track = wishes.order[0];
        let one = wishes.of(track);
        assert_eq!((one.height, one.fps, one.priority, one.pause), (None, Some(15), 9, true));
        assert_eq!(track.to_string(), TRACK);
        assert_eq!(read("{}"), Ok(Wishes::default()));
    }

    #[test]
    fn what_cannot_be_read_says_what_is_wrong() {
        let long = format!(r#"{{"order":"{}"}}"#, "x".repeat(10_000));
        for (text, detail) in [
            ("null", "data must be an object"),
            ("[1]", "data must be an object"),
            (r#"{"default":{"height":-1}}"#, "invalid value: integer `-1`, expected u32"),
            (r#"{"default":{"height":1.5}}"#, "invalid type: floating point `1.5`, expected u32"),
            (r#"{"default":{"priority":256}}"#, "invalid value: integer `256`, expected u8"),
            (r#"{"default":{"pause":"no"}}"#, "invalid type: string \"no\", expected a boolean"),
            (r#"{"tracks":{"one":{}}}"#, "UUID parsing failed"),
            (r#"{"order":[1]}"#, "invalid type: integer `1`"),
            (&long, "invalid type: string"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(detail) && error.len() <= LONGEST_DETAIL, "{error}");
        }
    }
}
