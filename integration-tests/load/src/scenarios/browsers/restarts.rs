//! A server that is killed and started again: the time until browsers see each other again.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use integration_tests::faults::FaultKind;
use integration_tests::{Browser, Moment, PATIENCE, until};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Viewer, at_home, call, open, waits};
use crate::report::Measured;
use crate::servers::Process;

pub(in crate::scenarios) async fn measure(
    server: &Process,
    times: u32,
    round_trip: Duration,
) -> io::Result<Measured> {
    let back = at_home(server, round_trip, async |page| {
        let mut callers = Vec::new();
        for viewer in Viewer::ALL {
            let browser = open(viewer.kind(), page, "call").await;
            browser.expect_lost_connections();
            // While there is no server.
            browser.expect_fault(FaultKind::FailedRequest, &["/socket/"]);
            browser.expect_fault(FaultKind::ConsoleError, &["/socket/"]);
            browser.expect_fault(FaultKind::Uncaught, &["/socket/"]);
            callers.push(browser);
        }
        for browser in &callers {
            browser.evaluate("await window.viewer.until(() => true)", vec![]).await;
        }
        let mut back = Vec::new();
        for _ in 0..times {
            // A connection that has lasted for a while begins anew without delay.
            sleep(LASTS).await;
            let killed = server.kill_child()?;
            for browser in &callers {
                back.push(sees_again(browser, killed).await?);
            }
        }
        for browser in callers {
            browser.close().await;
        }
        Ok(back)
    });
    let back = waits(&back.await?);
    Ok(Measured::default()
        .with("killed to pictures p50, ms", back.percentile(50.0))
        .with("killed to pictures, worst, ms", back.percentile(100.0)))
}

/// Waits until a caller sees another again; returns the time since the server was killed, in milliseconds.
async fn sees_again(browser: &Browser, killed: SystemTime) -> io::Result<f64> {
    let since_epoch = killed.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    let killed = since_epoch.as_secs_f64() * 1e3;
    let seen = until("a picture again", PATIENCE, async || {
        match call::<Value>(browser, "back", json!(killed)).await {
            Ok(Value::Null) => Moment::NotYet("none".to_owned()),
            Ok(at) => Moment::Now(at),
            Err(error) => Moment::NotYet(error.to_string()),
        }
    });
    let seen = seen.await.as_f64().ok_or(io::ErrorKind::InvalidData)?;
    Ok(seen - killed)
}

/// Time for which a connection lasts that does not count as failed to `callboard.js`, and a second more.
const LASTS: Duration = Duration::from_secs(6);
