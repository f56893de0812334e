//! A media room in networks of its own, with a link between them that is cut and freed, controlled over TCP. Its
//! clients are in the same process: what is measured is what flows over the link, not what it costs.

use std::io;

use integration_tests::narrow_link::LinkCut;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Result of a run.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Cut {
    /// Time from the cut until the estimate was that of the link, in seconds.
    pub(crate) estimated: f64,
    /// Longest time without a packet of the pinned track, in seconds.
    pub(crate) longest_gap: f64,
    /// Whether the pinned track was paused, or nothing of it came.
    pub(crate) was_paused: bool,
    /// Time from the end of the cut until all tracks were in their highest layer again, in seconds.
    pub(crate) wide_again: f64,
}

impl From<LinkCut> for Cut {
    fn from(cut: LinkCut) -> Self {
        Self {
            estimated: cut.estimated.as_secs_f64(),
            longest_gap: cut.longest_gap.as_secs_f64(),
            was_paused: cut.was_paused || cut.packets == 0,
            wide_again: cut.wide_again.as_secs_f64(),
        }
    }
}

pub(super) fn serve() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        super::announce(listener.local_addr()?);
        let answer = async {
            loop {
                let (tcp, _) = listener.accept().await?;
                execute(tcp).await?;
            }
        };
        tokio::select! {
            ended = answer => ended,
            () = super::parent_gone() => Ok(()),
        }
    })
}

/// Answers each line with the result of a run.
async fn execute(tcp: TcpStream) -> io::Result<()> {
    let mut tcp = BufReader::new(tcp);
    let mut line = String::new();
    while tcp.read_line(&mut line).await? > 0 {
        let cut = tokio::task::spawn_blocking(LinkCut::run).await.map_err(io::Error::other)?;
        let cut = serde_json::to_string(&Cut::from(cut))?;
        tcp.write_all(format!("{cut}\n").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}
