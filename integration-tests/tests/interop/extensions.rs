//! Header extensions that are agreed on only where they are chosen.

use callboard_peer_connection::*;
use serde_json::json;

use crate::cases::{decoded, exchange};
use crate::table::{Outcome, Table};

/// Returns the template of our connection.
pub(crate) fn api() -> Api {
    let settings = ApiSettings {
        media_mode: MediaMode::Rtp,
        extensions: vec![
            HeaderExtension::AudioLevel,
            HeaderExtension::AbsoluteSendTime,
            HeaderExtension::AbsoluteCaptureTime,
            HeaderExtension::PlayoutDelay,
            HeaderExtension::VideoLayersAllocation,
            HeaderExtension::DependencyDescriptor,
        ],
        ..ApiSettings::default()
    };
    Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings)
}

/// The peer sends what was agreed on, and knows when its own packets, which are sent back, were captured.
pub(crate) async fn extensions(table: &mut Table<'_>) -> Outcome<String> {
    table.command(json!({ "do": "all_extensions" })).await?;
    exchange(table, &[TrackKind::Audio, TrackKind::Video]).await?;
    let decoded = decoded(table, &[TrackKind::Audio, TrackKind::Video]).await?;
    table.until("extensions", |table| counts(table).iter().all(|count| *count > 0)).await?;
    let mut captured = table.command(json!({ "do": "captured" })).await?;
    while captured != json!(true) {
        let before = counts(table)[0];
        table.until("more times", |table| counts(table)[0] > before).await?;
        captured = table.command(json!({ "do": "captured" })).await?;
    }
    let [times, layers, dependencies] = counts(table);
    Ok(format!("{times} capture times, {layers} layers, {dependencies} descriptors; {decoded}"))
}

/// Returns how many packets have come with each extension that the peer sends.
fn counts(table: &Table<'_>) -> [usize; 3] {
    let packets = table.we_told.iter().filter_map(|event| match event {
        ConnectionEvent::Packet(packet) => Some(&packet.extensions),
        _ => None,
    });
    let layers = |one: &HeaderExtensions| {
        let layers = one.video_layers.as_deref().and_then(VideoLayers::parse);
        layers.is_some_and(|it| it.layers.iter().any(|one| one.bitrates.iter().any(|it| *it > 0)))
    };
    packets.fold([0; 3], |[times, all_layers, dependencies], one| {
        [
            times + usize::from(one.capture_time.is_some()),
            all_layers + usize::from(layers(one)),
            dependencies + usize::from(one.dependency_descriptor.is_some()),
        ]
    })
}
