//! Names of sections: mids, and the engine's names for them.

use std::borrow::Cow;

use crate::sdp::Section;

/// Returns the engine's name for the section of this mid. The engine takes 1 to 16 letters, digits and underscores, and
/// alters other mids: these get a name that is derived from them.
pub(crate) fn engine_mid(mid: &str) -> Cow<'_, str> {
    let plain = (1..=16).contains(&mid.len())
        && mid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain {
        return Cow::Borrowed(mid);
    }
    // FNV-1a: if two names still collide, the description is refused before the engine sees it.
    let hash = mid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // 60 bits of it, in 15 digits.
    Cow::Owned(format!("m{:015x}", hash >> 4))
}

/// Returns the engine's name for a section.
pub(super) fn section_name(at: usize, section: &Section) -> String {
    match section.mid() {
        Some(mid) => engine_mid(mid).into_owned(),
        // Not a token, so that no mid can be the same.
        None => engine_mid(&format!("section {at}")).into_owned(),
    }
}

/// Returns whether a text is a token of RFC 8866 §9.
pub(super) fn is_token(text: &str) -> bool {
    let token = |one: u8| one.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&one);
    !text.is_empty() && text.bytes().all(token)
}
