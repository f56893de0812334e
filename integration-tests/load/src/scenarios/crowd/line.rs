//! Connection of one client, on which it hears when each message was said.

use std::io;

use crate::client::{Client, To};
use crate::webrtc::{Heard, Peer};

pub(super) enum Line {
    /// Member of a room.
    Peer(Box<Client>),
    /// Connection whose messages the server sends back.
    Channel(Box<Peer>),
}

impl Line {
    pub(super) async fn say(&mut self, stamp: u64) -> io::Result<()> {
        match self {
            Self::Peer(client) => {
                let text = format!("{stamp:0DIGITS$}{:-<1$}", "", SIZE - DIGITS);
                let text = client.message("say", &text, To::All)?;
                client.send(text).await
            }
            Self::Channel(peer) => {
                let mut message = [0; SIZE];
                message[..size_of::<u64>()].copy_from_slice(&stamp.to_be_bytes());
                peer.send(&message)
            }
        }
    }

    /// Returns the stamp of the next message; none if it says something else. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> io::Result<Option<u64>> {
        match self {
            Self::Peer(client) => Ok(stamp_of(&client.next().await?)),
            Self::Channel(peer) => match peer.next().await? {
                Heard::Message(message) => {
                    let stamp = message.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                    stamp.map(Some).ok_or(io::ErrorKind::InvalidData.into())
                }
                Heard::Packet(_) | Heard::KeyframeWanted => Err(io::ErrorKind::InvalidData.into()),
            },
        }
    }
}

/// Returns the stamp in a text of the signaling protocol.
fn stamp_of(text: &str) -> Option<u64> {
    let (_, data) = text.split_once("\"data\":\"")?;
    data.get(..DIGITS)?.parse().ok()
}

/// Size of a message in bytes.
const SIZE: usize = 100;
/// Digits of a stamp: of the largest number.
const DIGITS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_from_what_another_peer_has_said() {
        let said = r#"{"event":"say","data":"00000000000000001234---","from":"a","to":"all"}"#;
        let joined = r#"{"event":"joined","data":{"peer_id":"a"},"from":null,"to":"all"}"#;

        assert_eq!(stamp_of(said), Some(1_234));
        assert_eq!(stamp_of(joined), None);
    }
}
