//! Names of rooms.

use thiserror::Error;

/// Error: a name that no room can have, because no client could join it; see [`is_room_name`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is no name for a room: 1 to 256 bytes of letters, digits, spaces and _-.~@:+, no dot first"
)]
pub struct RoomNameError(pub String);

/// Returns whether a room can have this name: 1 to 256 bytes of letters and digits of any script, spaces and `_-.~@:+`,
/// not beginning with a dot. No name is a path, a control character, or only looks like another; and each can be
/// requested over HTTP.
pub fn is_room_name(name: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || " _-.~@:+".contains(c);
    (1..=MAX_ROOM_NAME).contains(&name.len()) && !name.starts_with('.') && name.chars().all(allowed)
}

pub(crate) fn check(name: &str) -> Result<(), RoomNameError> {
    if is_room_name(name) { Ok(()) } else { Err(RoomNameError(name.to_owned())) }
}

/// Longest room name, in bytes.
const MAX_ROOM_NAME: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_client_can_ask_for() {
        for name in ["a", "Küche 2", "客厅", "a.b~c@d:e+f_-", &"x".repeat(256)] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for name in ["", ".", "..", ".hidden", "a/b", "a?b", "a\nb", "a\0", "<b>", &"x".repeat(257)]
        {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
