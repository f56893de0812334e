//! Tests of connections with each other, in simulated time.

mod accept;
mod batches;
mod channels;
mod details;
mod drain;
mod extensions;
mod forwarding;
mod guards;
mod ice;
mod in_step;
mod keys;
mod makers;
mod media;
mod needed;
mod parses;
mod payload_types;
mod redundant;
mod rest;
mod rollback;
mod rtp;
mod slots;
mod sources;
mod table;

use std::time::Duration;

use super::simulated_pair;

const SECOND: Duration = Duration::from_secs(1);
