//! Header extensions (RFC 8285) under the peer's ids, and mids that the engine cannot hold.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use str0m::media::Mid;
use str0m::rtp::{Extension, ExtensionMap, ExtensionSerializer, ExtensionValues};

use super::extension_values::{Carrier, DEPENDENCIES, LAYERS};
use crate::header_extensions::HeaderExtension;
use crate::jsep::{Chosen, Extensions, MID, engine_mid};

/// Mids of the peer, by the engine's names for them. Only those that differ.
pub(super) type Names = Arc<RwLock<HashMap<Mid, Box<str>>>>;

/// Returns the extensions that were chosen, under the ids at which they are offered.
pub(super) fn choose(chosen: Chosen) -> ExtensionMap {
    let mut all = ExtensionMap::standard();
    all.set(5, Extension::AbsoluteCaptureTime);
    all.set(6, Extension::PlayoutDelay);
    let layers = HeaderExtension::VideoLayersAllocation.uri();
    all.set(7, Extension::with_serializer(layers, Carrier::<LAYERS>));
    let dependencies = HeaderExtension::DependencyDescriptor.uri();
    all.set(8, Extension::with_serializer(dependencies, Carrier::<DEPENDENCIES>));
    let mut map = ExtensionMap::empty();
    for (id, extension) in all.iter() {
        if chosen.uris().any(|uri| uri == extension.as_uri()) {
            map.set(id, extension.clone());
        }
    }
    map
}

/// Puts the extensions of `map` under the peer's ids; those that the peer has not asked for get free ids.
pub(super) fn place(map: &mut ExtensionMap, wanted: &Extensions, names: &Names) {
    let known: Vec<Extension> = map.iter().map(|(_, extension)| extension.clone()).collect();
    let mut placed = ExtensionMap::empty();
    for (id, uri) in &wanted.ids {
        if let Some(extension) = known.iter().find(|extension| extension.as_uri() == *uri) {
            placed.set(*id, extension.clone());
        }
    }
    for extension in known {
        let missing = placed.id_of(extension.clone()).is_none();
        if let Some(free) = (1..=LARGEST_ID).find(|id| missing && placed.lookup(*id).is_none()) {
            placed.set(free, extension);
        }
    }
    if wanted.renames {
        let names = RenamedMid(Arc::clone(names));
        let renamed = Extension::with_serializer(RENAMED_MID, names);
        for id in 1..=LARGEST_ID {
            if placed.lookup(id) == Some(&Extension::RtpMid) {
                placed.set(id, renamed.clone());
            }
        }
    }
    *map = placed;
}

/// Rewrites a description for an engine that has other names for mids.
pub(super) fn to_engine(text: &str) -> String {
    text.replace(MID, RENAMED_MID)
}

/// Rewrites a description from such an engine.
pub(super) fn from_engine(text: &str) -> String {
    text.replace(RENAMED_MID, MID)
}

/// Extension that carries a mid (RFC 9143 §15), where the engine has other names for sections than the peer.
#[derive(Debug)]
struct RenamedMid(Names);

impl ExtensionSerializer for RenamedMid {
    fn write_to(&self, buffer: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(mid) = values.mid else { return 0 };
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let name = names.get(&mid).map_or(&*mid, |name| name);
        match buffer.get_mut(..name.len()) {
            Some(room) => {
                room.copy_from_slice(name.as_bytes());
                name.len()
            }
            None => 0,
        }
    }

    fn parse_value(&self, buffer: &[u8], values: &mut ExtensionValues) -> bool {
        let Ok(name) = str::from_utf8(buffer) else { return false };
        values.mid = Some(Mid::from(&*engine_mid(name)));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        true
    }
}

/// Name under which the engine leaves the mid extension to this crate: the URI that it knows, it reads only in its own
/// way.
const RENAMED_MID: &str = "urn:callboard:renamed-mid";
/// Highest id that the engine has room for.
const LARGEST_ID: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsep::KNOWN_EXTENSIONS;

    fn all() -> ExtensionMap {
        use HeaderExtension::*;
        let others = [
            AudioLevel,
            AbsoluteSendTime,
            VideoOrientation,
            AbsoluteCaptureTime,
            PlayoutDelay,
            VideoLayersAllocation,
            DependencyDescriptor,
        ];
        choose(Chosen::new(&others, true))
    }

    #[test]
    fn the_engine_has_what_is_agreed_on() {
        let all = all();
        let mut known: Vec<&str> = all.iter().map(|(_, one)| one.as_uri()).collect();
        let mut ours = KNOWN_EXTENSIONS;
        known.sort_unstable();
        ours.sort_unstable();
        assert_eq!(known, ours);
        // Unless others are chosen, it is as str0m has it.
        assert_eq!(choose(Chosen::default()), ExtensionMap::standard());
    }

    #[test]
    fn an_extension_may_have_two_ids() {
        let mut map = all();
        let wanted = Extensions { ids: vec![(1, MID), (4, MID)], renames: false };
        place(&mut map, &wanted, &Names::default());
        assert_eq!(map.lookup(1), Some(&Extension::RtpMid));
        assert_eq!(map.lookup(4), Some(&Extension::RtpMid));
        // The other extensions can still be offered.
        assert_eq!(map.iter().count(), KNOWN_EXTENSIONS.len() + 1);
    }
}
