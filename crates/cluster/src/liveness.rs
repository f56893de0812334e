//! Sign of life of a process: a listener that ends when the process does, and what connecting to one tells.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::core::Probed;
use crate::error::BuildError;
use crate::node_id::NodeId;

/// Listener of this process. Only the kernel closes it, once no thread of the process runs any more, or the last use of
/// the cluster is over.
pub(crate) struct Liveness {
    listener: StdListener,
    address: SocketAddr,
    node: NodeId,
    process: Uuid,
    /// Whether it does not listen any more, though the process lives.
    failed: AtomicBool,
}

impl Liveness {
    /// Listens at an address of this machine.
    pub(crate) fn listen(
        address: SocketAddr,
        node: &NodeId,
        process: Uuid,
    ) -> Result<Self, BuildError> {
        let listen = || {
            let ip = address.ip();
            if ip.is_unspecified() || ip.is_multicast() {
                // Others must know where to connect.
                let error = "it is not the address of one machine";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
            }
            let listener = StdListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) =
            listen().map_err(|error| BuildError::Liveness { address, error })?;
        let (node, failed) = (node.clone(), AtomicBool::new(false));
        Ok(Self { listener, address, node, process, failed })
    }

    /// Returns the address, with the port that it has; none if it does not listen there any more.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        (!self.failed.load(Ordering::Relaxed)).then_some(self.address)
    }

    /// Says to each who connects who it is, one after the other, and reads nothing. Ends if the listener has failed.
    pub(crate) async fn answer(&self) -> io::Error {
        let error = self.answer_until_failed().await;
        self.failed.store(true, Ordering::Relaxed);
        error
    }

    async fn answer_until_failed(&self) -> io::Error {
        let listener = match self.listener.try_clone().and_then(TcpListener::from_std) {
            Ok(listener) => listener,
            Err(error) => return error,
        };
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let greeting = self.greeting(&stream, from);
                    // It takes that at once, without blocking: nothing else is on its way. If not, there is no answer.
                    _ = stream.into_std().and_then(|mut stream| stream.write(greeting.as_bytes()));
                    sleep(BETWEEN_ANSWERS).await;
                }
                Err(error) if is_failure(&error) => return error,
                // Of this connection, or because the process has no descriptors left: those that wait get no answer.
                Err(_) => sleep(BEFORE_RETRY).await,
            }
        }
    }

    /// Returns who this process is, and the addresses of both ends of this connection as it sees them.
    fn greeting(&self, stream: &TcpStream, from: SocketAddr) -> String {
        let Self { node, process, .. } = self;
        let at = stream.local_addr().map_or_else(|_| String::new(), |at| at.to_string());
        format!("{NAME} {node} {process} {at} {from}\n")
    }
}

/// Returns whether a listener that says this does not listen any more.
fn is_failure(error: &io::Error) -> bool {
    let errors = [Errno::EBADF, Errno::EINVAL, Errno::ENOTSOCK];
    error.raw_os_error().is_some_and(|error| errors.map(|errno| errno as i32).contains(&error))
}

/// Looks whether a process listens at an address.
pub(crate) async fn probe(address: SocketAddr) -> Probed {
    let connected = timeout(LONGEST_LOOK, TcpStream::connect(address)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Probed::Refused;
        }
        Ok(Err(_)) | Err(_) => return Probed::Silent,
    };
    let answered = timeout(LONGEST_LOOK, greeted(stream, address)).await;
    answered.ok().flatten().map_or(Probed::Mute, |(node, process)| Probed::Answered(node, process))
}

/// Reads who answers; none if that is not said, or if the other end sees other addresses: then something stands in
/// between, which could refuse connections in its place.
async fn greeted(stream: TcpStream, address: SocketAddr) -> Option<(NodeId, Uuid)> {
    let here = stream.local_addr().ok()?;
    let mut greeting = Vec::new();
    stream.take(LONGEST_GREETING).read_to_end(&mut greeting).await.ok()?;
    let greeting = std::str::from_utf8(&greeting).ok()?;
    let mut words = greeting.strip_suffix('\n')?.split(' ');
    let mut next = || words.next();
    let (name, node, process, at, from) = (next()?, next()?, next()?, next()?, next()?);
    let direct = at == address.to_string() && from == here.to_string();
    if name != NAME || next().is_some() || !direct {
        return None;
    }
    Some((NodeId::new(node).ok()?, Uuid::try_parse(process).ok()?))
}

/// First word of a greeting.
const NAME: &str = "callboard";
/// Longest greeting, in bytes: two IPv6 addresses have 94.
const LONGEST_GREETING: u64 = 256;
/// Longest time for a connection, and for the greeting after it.
const LONGEST_LOOK: Duration = Duration::from_secs(1);
/// A flood of connections takes no more of the node's thread than this leaves. Those that have no place in the kernel's
/// queue are not refused by Linux: they have no answer.
const BETWEEN_ANSWERS: Duration = Duration::from_millis(1);
const BEFORE_RETRY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Shutdown};
    use std::os::fd::OwnedFd;

    use tokio::io::{AsyncWriteExt, copy_bidirectional};
    use tokio::task::JoinSet;

    use super::*;
    use crate::{Cluster, Embedded, Hold};

    const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    const PROCESS: Uuid = Uuid::from_u128(7);

    fn node() -> NodeId {
        NodeId::new("a1").unwrap()
    }

    fn listen() -> (Liveness, SocketAddr) {
        let liveness = Liveness::listen(LOCAL, &node(), PROCESS).unwrap();
        let address = liveness.address().unwrap();
        (liveness, address)
    }

    /// Answers each who connects with this, and closes the connection.
    async fn answer_with(text: &'static str) -> (JoinSet<()>, SocketAddr) {
        let listener = TcpListener::bind(LOCAL).await.unwrap();
        let (mut answering, address) = (JoinSet::new(), listener.local_addr().unwrap());
        answering.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                _ = stream.write_all(text.as_bytes()).await;
            }
        });
        (answering, address)
    }

    #[tokio::test]
    async fn a_process_says_who_it_is_until_it_does_not_listen_any_more() {
        let (liveness, address) = listen();
        let answered = tokio::select! {
            probed = probe(address) => probed,
            error = liveness.answer() => panic!("{error}"),
        };
        assert_eq!(answered, Probed::Answered(node(), PROCESS));

        drop(liveness);

        assert_eq!(probe(address).await, Probed::Refused);
    }

    /// The kernel accepts for a process that stands still.
    #[tokio::test]
    async fn a_process_that_does_not_answer_is_not_refused() {
        let (_liveness, address) = listen();

        assert_eq!(probe(address).await, Probed::Mute);
    }

    #[tokio::test]
    async fn what_stands_between_two_nodes_gives_no_answer() {
        let (liveness, address) = listen();
        let proxy = TcpListener::bind(LOCAL).await.unwrap();
        let front = proxy.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { _ = liveness.answer().await });
        tasks.spawn(async move {
            while let Ok((mut from, _)) = proxy.accept().await {
                let mut to = TcpStream::connect(address).await.unwrap();
                _ = copy_bidirectional(&mut from, &mut to).await;
            }
        });

        assert_eq!(probe(front).await, Probed::Mute);
        assert_eq!(probe(address).await, Probed::Answered(node(), PROCESS));
    }

    #[tokio::test]
    async fn an_answer_of_another_kind_is_none() {
        let long: &'static str = "x".repeat(10_000).leak();
        for text in ["", "\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "callboard a1 7\n", long] {
            let (_answering, address) = answer_with(text).await;

            assert_eq!(probe(address).await, Probed::Mute, "{text:.20}");
        }
    }

    #[tokio::test]
    async fn clients_that_send_much_or_never_close_keep_no_other_waiting() {
        let (liveness, address) = listen();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { _ = liveness.answer().await });
        let mut open = Vec::new();
        for _ in 0..50 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            _ = stream.write_all(&[b'x'; 4_096]).await;
            open.push(stream);
        }

        assert_eq!(probe(address).await, Probed::Answered(node(), PROCESS));
    }

    #[tokio::test]
    async fn a_listener_that_fails_says_so() {
        let (liveness, _) = listen();
        let failing = async {
            tokio::task::yield_now().await;
            stop_listening(&liveness);
        };
        let answering = timeout(Duration::from_secs(10), liveness.answer());

        let (error, ()) = tokio::join!(answering, failing);

        let error = error.expect("it is seen");

        assert!(is_failure(&error), "{error}");
        assert_eq!(liveness.address(), None);
    }

    #[actix::test]
    async fn a_node_whose_listener_fails_holds_nothing_until_it_has_entered_without_one() {
        let builder = Cluster::builder(Embedded::new()).node("a1").liveness(LOCAL);
        let cluster = builder.build().unwrap();
        let _tree = cluster.start().await.unwrap();
        assert!(cluster.liveness().is_some());
        let hold = claim(&cluster).await;

        stop_listening(cluster.shared().name.liveness.as_ref().unwrap());

        timeout(Duration::from_secs(10), hold.over()).await.expect("it is over");
        assert!(!hold.is_good());
        assert_eq!(cluster.liveness(), None);
        assert!(claim(&cluster).await.epoch() > hold.epoch());
    }

    async fn claim(cluster: &Cluster) -> Hold {
        let claiming = async {
            loop {
                match cluster.claim("demo").await {
                    Ok(hold) => return hold,
                    Err(_) => sleep(Duration::from_millis(10)).await,
                }
            }
        };
        timeout(Duration::from_secs(10), claiming).await.expect("it can be had")
    }

    /// As `ss --kill` does.
    fn stop_listening(liveness: &Liveness) {
        let listener: OwnedFd = liveness.listener.try_clone().unwrap().into();
        std::net::TcpStream::from(listener).shutdown(Shutdown::Both).unwrap();
    }

    #[test]
    fn addresses_that_are_not_of_one_machine_or_not_of_this_one_are_refused() {
        for address in ["0.0.0.0:0", "[::]:0", "224.0.0.1:0", "192.0.2.1:0"] {
            let address = address.parse().unwrap();
            let listened = Liveness::listen(address, &node(), PROCESS);
            assert!(matches!(listened, Err(BuildError::Liveness { .. })), "{address}");
        }
        let (_liveness, taken) = listen();
        assert!(Liveness::listen(taken, &node(), PROCESS).is_err());
    }
}
