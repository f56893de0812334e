//! The `media:…` events of a client about its own tracks, as they are written in JSON.

use std::collections::BTreeSet;
use std::sync::Arc;

use callboard_media_rooms::{TrackDescription, TrackSource};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::error_text::{shorten, unreadable};
use crate::json_members::{boolean, fields, kind, string};

/// Reads what `media:publish` says of the tracks of the next offers.
pub(crate) fn published(data: &str) -> Result<Vec<TrackDescription>, String> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, default)]
        tracks: Option<&'a RawValue>,
    }
    let fields: Fields<'_> = fields(data, "an object with tracks")?;
    let list = fields.tracks.ok_or("tracks is missing")?.get();
    if kind(list) != "a list" {
        return Err(format!("tracks must be a list, not {}", kind(list)));
    }
    let list: Vec<&RawValue> =
        serde_json::from_str(list).map_err(|error| format!("tracks is {}", unreadable(&error)))?;
    if list.len() > MOST_TRACKS {
        return Err(format!("{} tracks: more than {MOST_TRACKS}", list.len()));
    }
    let read = list.iter().enumerate().map(|(at, track)| {
        described(track.get()).map_err(|wrong| format!("tracks[{at}]: {wrong}"))
    });
    let read = read.collect::<Result<Vec<_>, _>>()?;
    let mids: BTreeSet<_> = read.iter().map(|track| &track.mid).collect();
    if mids.len() < read.len() {
        return Err("two tracks have the same mid".to_owned());
    }
    Ok(read)
}

fn described(track: &str) -> Result<TrackDescription, String> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, default)]
        mid: Option<&'a RawValue>,
        #[serde(borrow, default)]
        source: Option<&'a RawValue>,
        #[serde(borrow, default)]
        metadata: Option<&'a RawValue>,
        #[serde(borrow, default)]
        muted: Option<&'a RawValue>,
    }
    let fields: Fields<'_> = fields(track, "an object with mid")?;
    let source = match string("source", fields.source)?.as_deref() {
        None => None,
        Some(word) => Some(source(word).ok_or_else(|| {
            let word = shorten(word, LONGEST_WORD);
            format!("source must be camera, microphone or screen, not {word:?}")
        })?),
    };
    let metadata = fields.metadata.filter(|it| it.get() != "null").map(metadata).transpose()?;
    let muted = boolean("muted", fields.muted)?.unwrap_or_default();
    Ok(TrackDescription { mid: mid(fields.mid)?, source, metadata, muted })
}

/// Reads what `media:mute` says: the `mid` of a track, and whether it is muted from now on.
pub(crate) fn muted(data: &str) -> Result<(String, bool), String> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, default)]
        mid: Option<&'a RawValue>,
        #[serde(borrow, default)]
        muted: Option<&'a RawValue>,
    }
    let fields: Fields<'_> = fields(data, "an object with mid and muted")?;
    Ok((mid(fields.mid)?, boolean("muted", fields.muted)?.ok_or("muted is missing")?))
}

fn mid(value: Option<&RawValue>) -> Result<String, String> {
    let mid = string("mid", value)?.ok_or("mid is missing")?;
    if mid.is_empty() || mid.len() > LONGEST_MID {
        return Err(format!("mid must have 1 to {LONGEST_MID} bytes"));
    }
    Ok(mid)
}

/// Returns metadata as JSON that every client can read.
fn metadata(value: &RawValue) -> Result<Arc<str>, String> {
    let value: Value = serde_json::from_str(value.get())
        .map_err(|error| format!("metadata is {}", unreadable(&error)))?;
    let text = value.to_string();
    if text.len() > LONGEST_METADATA {
        return Err(format!("metadata has {} bytes: more than {LONGEST_METADATA}", text.len()));
    }
    Ok(text.into())
}

fn source(word: &str) -> Option<TrackSource> {
    match word {
        "camera" => Some(TrackSource::Camera),
        "microphone" => Some(TrackSource::Microphone),
        "screen" => Some(TrackSource::Screen),
        _ => None,
    }
}

/// Adds what is known of a track beyond its kind to what clients are told of it.
pub(crate) fn describe(told: &mut Value, source: Option<TrackSource>, metadata: Option<&Arc<str>>) {
    let word = match source {
        Some(TrackSource::Camera) => Some("camera"),
        Some(TrackSource::Microphone) => Some("microphone"),
        Some(TrackSource::Screen) => Some("screen"),
        _ => None,
    };
    if let Some(word) = word {
        told["source"] = json!(word);
    }
    if let Some(metadata) = metadata.and_then(|text| serde_json::from_str(text).ok()) {
        told["metadata"] = metadata;
    }
}

/// Most tracks that a client may describe.
const MOST_TRACKS: usize = 16;
/// Longest `a=mid`, in bytes.
const LONGEST_MID: usize = 64;
/// Longest metadata of a track, in bytes of JSON.
const LONGEST_METADATA: usize = 1_024;
/// Length limit of a word from a client in an error, in bytes.
const LONGEST_WORD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_are_read_as_they_are_described() {
        let read = published(
            r#"{"tracks":[{"mid":"1","source":"screen","metadata":{"title":"Plan"},"muted":true},
                {"mid":"0","source":null,"metadata":null,"more":1}]}"#,
        );
        let described = |mid: &str, source, metadata: Option<&str>, muted| TrackDescription {
            mid: mid.into(),
            source,
            metadata: metadata.map(Into::into),
            muted,
        };
        let expected = vec![
            described("1", Some(TrackSource::Screen), Some(r#"{"title":"Plan"}"#), true),
            described("0", None, None, false),
        ];
        assert_eq!(read, Ok(expected));
        assert_eq!(published(r#"{"tracks":[]}"#), Ok(Vec::new()));
        assert_eq!(muted(r#"{"mid":"0","muted":true}"#), Ok(("0".into(), true)));
    }

    #[test]
    fn what_cannot_be_read_says_what_is_wrong() {
        let many = format!(r#"{{"tracks":[{}]}}"#, vec![r#"{"mid":"1"}"#; 17].join(","));
        let of = |track: &str| format!(r#"{{"tracks":[{track}]}}"#);
        let long = of(&format!(r#"{{"mid":"1","metadata":"{}"}}"#, "x".repeat(2_000)));
        for (data, wrong) in [
            ("null", "data must be an object with tracks, not null"),
            ("{}", "tracks is missing"),
            (r#"{"tracks":{}}"#, "tracks must be a list, not an object"),
            (&many, "17 tracks: more than 16"),
            (&of("7"), "tracks[0]: data must be an object with mid, not a number"),
            (&of("{}"), "tracks[0]: mid is missing"),
            (&of(r#"{"mid":""}"#), "tracks[0]: mid must have 1 to 64 bytes"),
            (&of(r#"{"mid":1}"#), "tracks[0]: mid must be a string, not a number"),
            (
                &of(r#"{"mid":"1","source":"film"}"#),
                "tracks[0]: source must be camera, microphone or screen, not \"film\"",
            ),
            (&of(r#"{"mid":"1","muted":1}"#), "tracks[0]: muted must be a boolean, not a number"),
            (&of(r#"{"mid":"1","metadata":"\ud800"}"#), "tracks[0]: metadata is not valid Unicode"),
            (&long, "tracks[0]: metadata has 2002 bytes: more than 1024"),
            (&of(r#"{"mid":"1"},{"mid":"1"}"#), "two tracks have the same mid"),
        ] {
            assert_eq!(published(data), Err(wrong.to_owned()), "{data}");
        }
        for (data, wrong) in [
            ("[]", "data must be an object with mid and muted, not a list"),
            (r#"{"mid":"1"}"#, "muted is missing"),
            (r#"{"muted":true}"#, "mid is missing"),
            (r#"{"mid":"1","muted":"yes"}"#, "muted must be a boolean, not a string"),
        ] {
            assert_eq!(muted(data), Err(wrong.to_owned()), "{data}");
        }
    }
}
