//! Entry point of the fuzz target: a text of a client.

use callboard_room_supervisor::MessageLimits;
use serde::de::IgnoredAny;

use crate::client_text::ClientText;
use crate::control::Control;

/// Reads a text of a client, with messages of at most 1,000 bytes, and what is for its peer on the server. Panics if
/// something larger is taken for a message, or if what is wrong is told at length.
pub fn read_client_text(text: &str) {
    match ClientText::parse(text, &MessageLimits::default(), MOST) {
        ClientText::Message(_) | ClientText::Malformed(_) => assert!(text.len() <= MOST),
        ClientText::TooLarge => assert!(text.len() > MOST),
        ClientText::Control(event) => {
            assert!(serde_json::from_str::<IgnoredAny>(event.data).is_ok(), "it is JSON");
            if let Control::Unread { detail, .. } = Control::read(event) {
                assert!(detail.len() < LONGEST_DETAIL, "{detail}");
            }
        }
        #[cfg(feature = "rpc")]
        ClientText::Rpc(_) => {}
    }
}

const MOST: usize = 1_000;
/// Length that no explanation reaches, in bytes.
const LONGEST_DETAIL: usize = 300;

#[cfg(test)]
mod tests {
    use super::read_client_text;

    /// The check of the fuzz target, without the fuzzer: texts of clients with random changes.
    #[test]
    fn a_text_with_any_changes_is_read_or_refused() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..20_000 {
            let mut bytes = TEXTS[round % TEXTS.len()].as_bytes().to_vec();
            for _ in 0..random.usize(0..4) {
                let at = random.usize(0..bytes.len());
                match random.u8(0..3) {
                    0 => bytes[at] = random.choice(*b"\"\\{}[]:,0.un \x7f").unwrap_or_default(),
                    1 => _ = bytes.remove(at),
                    _ => bytes.extend_from_within(at..),
                }
            }
            read_client_text(&String::from_utf8_lossy(&bytes));
        }
    }

    const TEXTS: [&str; 7] = [
        r#"{"event":"webrtc:offer","data":{"type":"offer","sdp":"v=0\r\n"}}"#,
        r#"{"event":"webrtc:ice","data":{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0}}"#,
        r#"{"event":"webrtc:send","data":{"channel":"chat","data":"hi"}}"#,
        r#"{"event":"media:wish","data":{"default":{"height":180},"order":[]}}"#,
        r#"{"event":"media:publish","data":{"tracks":[{"mid":"1","source":"camera","metadata":1}]}}"#,
        r#"{"event":"media:mute","data":{"mid":"1","muted":false}}"#,
        r#"{"event":"chat","data":{"text":"hi"},"to":"all"}"#,
    ];
}
