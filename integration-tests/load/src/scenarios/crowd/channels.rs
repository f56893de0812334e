//! Clients with a data channel, in a process of their own: one process may not have descriptors for all clients.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::line::Line;
use super::{Crowd, Summary};
use crate::protocol::{Endpoint, Protocol};
use crate::webrtc::{Peer, Wish};

/// Process whose clients are connected.
pub(super) struct Channels {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Channels {
    pub(super) async fn connect(
        server: SocketAddr,
        connections: usize,
        time: Duration,
    ) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let arguments = [connections.to_string(), time.as_secs().to_string()];
        command.arg("talk").arg(server.to_string()).args(arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let input = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let output = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut output = BufReader::new(output).lines();
        match output.next_line().await?.as_deref() {
            Some(CONNECTED) => Ok(Self { _process: process, input, output }),
            _ => Err(io::Error::other("the connections of the crowd did not come about")),
        }
    }

    pub(super) async fn talk(mut self) -> io::Result<Summary> {
        self.input.write_all(b"talk\n").await?;
        let line = self.output.next_line().await?.unwrap_or_default();
        serde_json::from_str(&line)
            .map_err(|_| io::Error::other("nothing was delivered on the connections of the crowd"))
    }
}

/// Connects these clients, and prints a line; after a line of input, lets them talk, and prints a summary.
pub(crate) fn talk_on_channels(
    address: SocketAddr,
    connections: usize,
    time: Duration,
) -> io::Result<()> {
    let server = Endpoint { protocol: Protocol::Offers, address };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let connect = || async move {
            let connecting = tokio::spawn(Peer::connect(server, Wish::Echo));
            connecting.await.map_err(io::Error::other)?
        };
        let connecting = (0..connections).map(|_| connect());
        let mut connecting = pin!(stream::iter(connecting).buffer_unordered(AT_ONCE));
        let mut crowd = Crowd::new();
        while let Some(peer) = connecting.try_next().await? {
            crowd.add(Line::Channel(Box::new(peer)));
        }
        println!("{CONNECTED}");
        // Nothing else is read here: the thread of a longer wait could not be ended.
        let told = tokio::task::spawn_blocking(|| io::stdin().read_line(&mut String::new()));
        if told.await.map_err(io::Error::other)?? > 0 {
            let summary = crowd.talk(time).await?;
            println!("{}", serde_json::to_string(&summary).map_err(io::Error::other)?);
        }
        Ok(())
    })
}

const CONNECTED: &str = "connected";
/// Clients that connect at the same time.
const AT_ONCE: usize = 16;
