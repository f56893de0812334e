//! Servers with an app on both kinds of HTTP server, and a client that sends any bytes.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod frame_header;
pub(crate) mod raw;
