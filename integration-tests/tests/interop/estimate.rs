//! Estimate of the bandwidth to real peers.

use callboard_peer_connection::messages::SetBitrate;
use callboard_peer_connection::*;

use crate::cases::media;
use crate::table::{Outcome, Table};

/// Returns the template of our connection in a case.
pub(crate) fn api(name: &str) -> Api {
    if name != "estimate" {
        return Api::default();
    }
    let registry = InterceptorRegistry {
        bandwidth_estimation: Some(FIRST_ESTIMATE),
        ..InterceptorRegistry::default()
    };
    Api::new(MediaEngine::default(), registry)
}

/// Media flows through the pacer, and what the peer says of its arrival moves the estimate of bandwidth.
pub(crate) async fn estimate(table: &mut Table<'_>) -> Outcome<String> {
    let decoded = media(table).await?;
    let wanted = SetBitrate { minimum: 0, desired: 4 * FIRST_ESTIMATE };
    if !table.tell(wanted).await? {
        return Err("nothing is estimated".to_owned());
    }
    let highest = |table: &Table<'_>| {
        let bitrate = |event: &ConnectionEvent| match event {
            ConnectionEvent::BandwidthEstimate { bitrate, can_probe: true } => Some(*bitrate),
            _ => None,
        };
        table.we_told.iter().filter_map(bitrate).max().unwrap_or_default()
    };
    table.until("higher estimate", |table| highest(table) > 2 * FIRST_ESTIMATE).await?;
    Ok(format!("{} kbit/s; {decoded}", highest(table) / 1_000))
}

/// Estimate of bandwidth to begin with, in bits per second.
const FIRST_ESTIMATE: u64 = 300_000;
