//! Names of events that only the server sends.

/// Returns whether clients may not send events of this name, because other clients would take them for the server's
/// own: `authenticated`, `joined`, `left`, `resumed`, `moved`, `room_restarted`, `room_members` and `error`, and all
/// names that begin with `webrtc:` or `media:`.
///
/// Clients of the original protocol do not check `from`: any member could make them add and remove peers.
pub fn is_reserved_event(event: &str) -> bool {
    RESERVED.contains(&event) || RESERVED_PREFIXES.iter().any(|prefix| event.starts_with(prefix))
}

/// Names of the server's own events.
const RESERVED: [&str; 8] = [
    "authenticated",
    "joined",
    "left",
    "resumed",
    "moved",
    "room_restarted",
    "room_members",
    "error",
];
/// Prefixes of events between one client and the server only: its peer connection, and media.
const RESERVED_PREFIXES: [&str; 2] = ["webrtc:", "media:"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_events_are_reserved_and_no_others() {
        for event in RESERVED.into_iter().chain(["webrtc:offer", "webrtc:", "media:anything"]) {
            assert!(is_reserved_event(event), "{event}");
        }
        for event in ["", "offer", "Joined", "joined ", "webrtc", "media", "my:webrtc:offer"] {
            assert!(!is_reserved_event(event), "{event}");
        }
    }
}
