//! Forced switches between the layers of a picture, as its viewer sees them.

use std::io;
use std::time::Duration;

use integration_tests::{Browser, Kind};

use super::{Switched, Viewer, at_home, call, open, parts, waits};
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
        let viewer = open(viewer.kind(), page, "watch").await;
        warm_up(&viewer).await?;
        let mut all = Switched::default();
        for part in parts(times) {
            let part: Switched = call(&viewer, "switches", part).await?;
            all.freezes.extend(part.freezes);
            all.took.extend(part.took);
            all.missed += part.missed;
            all.errors += part.errors;
            all.dropped += part.dropped;
        }
        viewer.close().await;
        sender.close().await;
        Ok(all)
    });
    let all = all.await?;
    let (freezes, took) = (waits(&all.freezes), waits(&all.took));
    Ok(Measured::default()
        .with("freeze p50, ms", freezes.percentile(50.0))
        .with("freeze p95, ms", freezes.percentile(95.0))
        .with("longest freeze, ms", freezes.percentile(100.0))
        .with("key frames that the decoder asked for", all.errors.into())
        .with("switches that did not come", all.missed.into())
        .with("frames dropped", all.dropped.into())
        .with("time to switch p50, ms", took.percentile(50.0))
        .with("time to switch p95, ms", took.percentile(95.0)))
}

/// Switches until all come: the sender's estimate has to rise until it sends both layers.
async fn warm_up(viewer: &Browser) -> io::Result<()> {
    for _ in 0..WARM_UPS {
        if call::<Switched>(viewer, "switches", WARM_UP).await?.missed == 0 {
            return Ok(());
        }
    }
    Err(io::Error::other("the sender does not send both layers"))
}

/// Switches that are not measured.
const WARM_UP: u32 = 6;
/// How often they are tried.
const WARM_UPS: u32 = 5;
