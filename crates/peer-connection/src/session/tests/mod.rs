//! Connections with each other, in simulated time.

mod channels;
mod guards;
mod ice;
mod media;
mod needed;
mod pair;
mod rollback;
mod table;

use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
