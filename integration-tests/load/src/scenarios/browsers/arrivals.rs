//! Late viewers in a browser: the time until each sees the first frame.

use std::io;
use std::time::Duration;

use integration_tests::Kind;

use super::{Arrived, Viewer, at_home, call, open, parts, waits};
use crate::report::Measured;
use crate::servers::Process;

pub(in crate::scenarios) async fn measure(
    server: &Process,
    viewer: Viewer,
    times: u32,
    round_trip: Duration,
) -> io::Result<Measured> {
    let all = at_home(server, round_trip, async |page| {
        let sender = open(Kind::Chromium, page, "send").await;
        // What a browser does once for all pages counts for no viewer.
        let viewer = open(viewer.kind(), page, "watch").await;
        let mut all = Arrived::default();
        for part in parts(times) {
            let part: Arrived = call(&viewer, "arrive", part).await?;
            all.joined.extend(part.joined);
            all.connected.extend(part.connected);
        }
        viewer.close().await;
        sender.close().await;
        Ok(all)
    });
    let all = all.await?;
    let (joined, connected) = (waits(&all.joined), waits(&all.connected));
    Ok(Measured::default()
        .with("connected to first frame p50, ms", connected.percentile(50.0))
        .with("connected to first frame p95, ms", connected.percentile(95.0))
        .with("join to first frame p50, ms", joined.percentile(50.0))
        .with("join to first frame p95, ms", joined.percentile(95.0)))
}
