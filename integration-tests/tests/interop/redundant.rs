//! Sound with copies of earlier frames (RFC 2198).

use callboard_peer_connection::messages::GetTransceivers;
use callboard_peer_connection::*;

use crate::cases::{decoded, exchange};
use crate::table::{Outcome, Table};

/// Returns the template of our connection.
pub(crate) fn api() -> Api {
    let settings = ApiSettings { media_mode: MediaMode::Rtp, ..ApiSettings::default() };
    let engine = MediaEngine::default().codec(Codec::Red);
    Api::with_settings(engine, InterceptorRegistry::default(), settings)
}

/// The peer sends redundant sound, and decodes its own packets, which are sent back.
pub(crate) async fn redundant(table: &mut Table<'_>) -> Outcome<String> {
    exchange(table, &[TrackKind::Audio]).await?;
    let decoded = decoded(table, &[TrackKind::Audio]).await?;
    let transceivers = table.tell(GetTransceivers).await?;
    let mut codecs = transceivers.iter().flat_map(|transceiver| &transceiver.codecs);
    let red = codecs.find(|(_, codec)| codec.mime_type == "audio/red").map(|(number, _)| *number);
    let red = red.ok_or("redundancy was not negotiated")?;
    let is_redundant = |event: &&ConnectionEvent| match event {
        // The first bit says that another block follows.
        ConnectionEvent::Packet(packet) if packet.payload_type == red => {
            packet.payload.first().is_some_and(|first| first & 0x80 != 0)
        }
        _ => false,
    };
    match table.we_told.iter().filter(is_redundant).count() {
        0 => Err("all packets are plain".to_owned()),
        count => Ok(format!("{count} packets with copies; {decoded}")),
    }
}
