//! A link that is cut to 1 Mbit/s and freed, between a media room and a viewer of three.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::report::Measured;
use crate::servers::Process;
use crate::servers::link::Cut;

pub(super) async fn measure(server: &Process) -> io::Result<Measured> {
    let mut line = BufReader::new(TcpStream::connect(server.address).await?);
    line.write_all(b"run\n").await?;
    let mut told = String::new();
    tokio::time::timeout(PATIENCE, line.read_line(&mut told)).await??;
    if told.is_empty() {
        return Err(io::Error::other("the run has failed"));
    }
    let cut: Cut = serde_json::from_str(&told)?;
    Ok(Measured::default()
        .with("estimate of the narrow link after, s", cut.estimated)
        .with("pinned track paused", f64::from(u8::from(cut.was_paused)))
        .with("pinned track, longest time without a packet, s", cut.longest_gap)
        .with("highest layers back after, s", cut.wide_again))
}

/// Longer than all that a run waits for.
const PATIENCE: Duration = Duration::from_secs(1_200);
