//! Measurements of what users see: real browsers on a network of their own, some milliseconds away from the server.

mod arrivals;
mod restarts;
mod switches;

use std::fmt;
use std::io;
use std::time::Duration;

use clap::ValueEnum;
use integration_tests::{Browser, DelayLine, Kind, Namespace};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::block_in_place;

pub(super) use self::arrivals::measure as arrivals;
pub(super) use self::restarts::measure as restarts;
pub(super) use self::switches::measure as switches;
use crate::measure::Waits;
use crate::servers::Process;

/// Browser that watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Viewer {
    Chromium,
    Firefox,
}

impl Viewer {
    pub(crate) const ALL: [Self; 2] = [Self::Chromium, Self::Firefox];

    fn kind(self) -> Kind {
        match self {
            Self::Chromium => Kind::Chromium,
            Self::Firefox => Kind::Firefox,
        }
    }
}

impl fmt::Display for Viewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
        })
    }
}

/// Runs a script in the network of the browsers, which is this round trip away from that of the server. The calling
/// thread is in the server's.
async fn at_home<T: Send>(
    server: &Process,
    round_trip: Duration,
    script: impl AsyncFnOnce(&str) -> io::Result<T> + Send,
) -> io::Result<T> {
    let (here, home) = (Namespace::current(), Namespace::new());
    let (near, far) = (("path0", "10.20.0.1/24"), ("path1", "10.20.0.2/24"));
    let _line = match round_trip.is_zero() {
        true => {
            here.connect(near, &home, far);
            None
        }
        false => Some(DelayLine::connect((&here, near), (&home, far), round_trip / 2).await),
    };
    // Without one, Firefox gathers nothing.
    home.ip("route add default dev path1");
    let page = format!("http://10.20.0.1:{}/", server.address.port());
    block_in_place(|| {
        home.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(script(&page))
        })
    })
}

/// Opens the page in a browser, and lets it begin with one of the functions of `window.bench`.
async fn open(kind: Kind, page: &str, begin: &str) -> Browser {
    let browser = Browser::start(kind).await;
    browser.go_to(page).await;
    browser.evaluate(&format!("await window.bench.{begin}()"), vec![]).await;
    browser
}

/// Calls a function of `window.bench`.
async fn call<T: DeserializeOwned>(
    browser: &Browser,
    function: &str,
    argument: impl Into<Value>,
) -> io::Result<T> {
    let body = format!("return await window.bench.{function}(arguments[0])");
    Ok(serde_json::from_value(browser.evaluate(&body, vec![argument.into()]).await)?)
}

/// Returns the times, which are in milliseconds.
fn waits(milliseconds: &[f64]) -> Waits {
    let mut waits = Waits::new();
    for time in milliseconds {
        waits.add(Duration::try_from_secs_f64(time / 1e3).unwrap_or_default());
    }
    waits
}

/// Splits so many into parts that a browser does each before the time of a script is up.
fn parts(times: u32) -> impl Iterator<Item = u32> {
    (0..times.div_ceil(PART)).map(move |part| PART.min(times - part * PART))
}

/// What is done in one call.
const PART: u32 = 25;

/// Figures of a page: each has times in milliseconds.
#[derive(Debug, Default, Deserialize)]
struct Switched {
    /// Longest time between two frames, around each switch.
    freezes: Vec<f64>,
    /// Time until the other layer was shown.
    took: Vec<f64>,
    /// Switches that did not come.
    missed: u32,
    /// How often the decoder has asked for a key frame.
    errors: u32,
    /// Frames that were not shown.
    dropped: u32,
}

#[derive(Debug, Default, Deserialize)]
struct Arrived {
    /// Time from the beginning until the first frame was shown.
    joined: Vec<f64>,
    /// Time from the connected path.
    connected: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_split_into_parts_that_are_few() {
        assert_eq!(parts(60).collect::<Vec<_>>(), [25, 25, 10]);
        assert_eq!(parts(25).collect::<Vec<_>>(), [25]);
        assert_eq!(parts(1).collect::<Vec<_>>(), [1]);
    }
}
