//! What the cluster costs a node that is alone, with a directory in its memory.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use integration_tests::Namespace;
use tokio::time::{sleep, timeout};

use super::Figure;
use super::traffic::{ROUNDS, join, median, play};
use crate::client::Client;
use crate::cluster::process::Process;
use crate::cluster::stage::ask;
use crate::measure::{Family, Usage};

/// Measures nodes with and without a cluster in turn.
pub(super) async fn measure(folder: &Path, seconds: u64) -> io::Result<Vec<Figure>> {
    let (mut memory, mut cpu) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let without = one(folder, &["--alone".to_owned()], 2 * round, seconds).await?;
        let with = one(folder, &[], 2 * round + 1, seconds).await?;
        memory.push(with.0 - without.0);
        cpu.push(with.1 / without.1);
    }
    Ok(vec![
        Figure::new("cluster of one node, added memory per peer", median(&memory), "KiB")
            .at_most(0.1),
        Figure::new("cluster of one node ÷ none, CPU per message", median(&cpu), "×").at_most(1.02),
    ])
}

/// Returns the memory of a peer in KiB, and the CPU time of a message.
async fn one(
    folder: &Path,
    options: &[String],
    number: usize,
    seconds: u64,
) -> io::Result<(f64, f64)> {
    let port = 9_000 + u16::try_from(number).expect("few rounds");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let log = folder.join("alone.log");
    let mut node = Process::new(&Namespace::current(), std::env::current_exe()?, log);
    let mut arguments = vec!["node".to_owned(), "alone".to_owned(), address.to_string()];
    arguments.extend_from_slice(options);
    node.start(&arguments)?;
    let up = async {
        while ask(address, "/healthz").await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(START, up).await?;
    let family = Family::of(node.id().ok_or(io::ErrorKind::NotFound)?)?;
    let pairs = try_join_all((0..PAIRS).map(|pair| pair_in(address, pair))).await?;
    // Once all that it needs for anything is there.
    let played = |pairs: Vec<(Client, Client)>, seconds| async move {
        let playing = pairs.into_iter().map(|(a, b)| tokio::spawn(play(a, b, seconds)));
        let played = try_join_all(playing).await.map_err(io::Error::other)?;
        let mut count = 0;
        for waits in played {
            count += waits?.count() * 2;
        }
        io::Result::Ok(count)
    };
    let before: Usage = family.usage()?;
    let messages = played(pairs, seconds).await?;
    let cpu = family.usage()?.cpu_since(&before).as_secs_f64() / messages as f64;
    let rooms: Vec<String> = (0..PEERS).map(|peer| format!("idle-{}", peer / 5)).collect();
    let before = family.usage()?;
    let joining = rooms.iter().map(|room| join(address, room));
    let idle: Vec<Client> = stream::iter(joining).buffer_unordered(20).try_collect().await?;
    let grown = family.usage()?.rss.saturating_sub(before.rss);
    drop(idle);
    node.kill().await?;
    Ok((grown as f64 / 1_024.0 / PEERS as f64, cpu))
}

async fn pair_in(address: SocketAddr, pair: usize) -> io::Result<(Client, Client)> {
    let room = format!("pair-{pair}");
    Ok((join(address, &room).await?, join(address, &room).await?))
}

const PAIRS: usize = 20;
const PEERS: usize = 1_000;
const START: Duration = Duration::from_secs(30);
