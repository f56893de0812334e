//! Lines over a real NATS server: it is killed and comes back, and nodes are killed, replaced and stopped.

use std::env;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use callboard_cluster::{
    Cluster, LineError, LineEvent, LineId, Lines, Nats, NatsOptions, NatsWire, NodeId, Served,
};
use callboard_supervision::SupervisorRef;
use integration_tests::{Moment, NatsServer, PATIENCE, network, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Node with lines, in this process.
struct Node {
    cluster: Cluster,
    lines: Lines,
    events: mpsc::UnboundedReceiver<LineEvent>,
    _served: Served,
    _tree: SupervisorRef,
}

impl Node {
    async fn start(server: &str, name: &str, lock: Option<&Path>) -> Self {
        let options = NatsOptions::new().cluster("test");
        let directory = Nats::connect(server, options.clone()).await.unwrap();
        let wire = NatsWire::connect(server, options).await.unwrap();
        let mut builder = Cluster::builder(directory).node(name).hold(HOLD).wire(wire);
        if let Some(lock) = lock {
            builder = builder.lock_file(lock);
        }
        let cluster = builder.build().unwrap();
        let lines = cluster.lines().expect("it has a wire");
        let (tell, events) = mpsc::unbounded_channel();
        let served = lines.serve("test", move |event| _ = tell.send(event)).unwrap();
        let tree = cluster.start().await.unwrap();
        Self { cluster, lines, events, _served: served, _tree: tree }
    }

    fn id(&self) -> NodeId {
        self.cluster.node().clone()
    }

    async fn next(&mut self) -> LineEvent {
        timeout(PATIENCE, self.events.recv())
            .await
            .expect("an event in time")
            .expect("it is served")
    }

    /// Waits until a line to a node is up, and passes over what comes before; returns its number.
    async fn up(&mut self, to: &NodeId) -> LineId {
        self.lines.connect(to);
        loop {
            match self.next().await {
                LineEvent::Up { node, line, .. } if node == *to => return line,
                // The other node may not be there yet.
                LineEvent::Unreachable { node } => self.lines.connect(&node),
                _ => {}
            }
        }
    }

    /// Sends a number, once the window has room.
    async fn send(&self, to: &NodeId, number: u64) {
        until("room in the window", PATIENCE, async || {
            match self.lines.send(to, "test", number.to_be_bytes().to_vec().into()) {
                Ok(()) => Moment::Now(()),
                Err(LineError::Full) => Moment::NotYet("it is full".to_owned()),
                Err(error) => panic!("{error}"),
            }
        })
        .await;
    }

    /// Takes the next frames, which must be these numbers of this node; nothing else may come.
    async fn takes(&mut self, from: &NodeId, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            match self.next().await {
                LineEvent::Frame { node, frame, .. } if node == *from => {
                    assert_eq!(frame[..], number.to_be_bytes());
                }
                other => panic!("{other:?} in place of frame {number}"),
            }
        }
    }
}

async fn server() -> NatsServer {
    network::enter_new_namespace().unwrap_or_else(|error| panic!("{error}"));
    NatsServer::start().await
}

#[actix::test]
async fn three_nodes_have_lines_to_each_other() {
    let server = server().await;
    let mut nodes = Vec::new();
    for name in ["a1", "b2", "c3"] {
        nodes.push(Node::start(&server.url(), name, None).await);
    }
    let ids: Vec<NodeId> = nodes.iter().map(Node::id).collect();
    for (from, to) in [(0, 1), (0, 2), (1, 2)] {
        nodes[from].up(&ids[to]).await;
        nodes[to].up(&ids[from]).await;
    }
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
        for number in 0..1_000 {
            nodes[from].send(&ids[to], number).await;
        }
        nodes[to].takes(&ids[from], 0..1_000).await;
    }
    // The largest that there may be.
    let large = Bytes::from(vec![7; 256 * 1024]);
    nodes[0].lines.send(&ids[1], "test", large.clone()).unwrap();
    let LineEvent::Frame { frame, .. } = nodes[1].next().await else { panic!("no frame") };
    assert_eq!(frame, large);
}

#[actix::test]
async fn frames_that_flow_while_the_server_is_killed_and_restarted_come_in_order_and_once() {
    let mut server = server().await;
    let mut a1 = Node::start(&server.url(), "a1", None).await;
    let mut b2 = Node::start(&server.url(), "b2", None).await;
    let (a1_id, b2_id) = (a1.id(), b2.id());
    a1.up(&b2_id).await;
    b2.up(&a1_id).await;

    // Two thirds of a window while it is away, so that none is refused.
    let flow = async {
        for number in 0..3_000 {
            a1.send(&b2_id, number).await;
            if number % 10 == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let fault = async {
        sleep(Duration::from_millis(300)).await;
        server.restart().await;
        sleep(Duration::from_millis(500)).await;
        server.restart().await;
    };
    futures_util::future::join(flow, fault).await;

    b2.takes(&a1_id, 0..3_000).await;
    let facts = a1.lines.facts();
    assert!(facts[0].resends > 0, "something was lost: {facts:?}");
    assert_eq!(facts[0].downs, 0);
}

/// Node in a process of its own: this test program, which runs [`node`] alone. Killed when dropped.
struct Process {
    child: Child,
    told: tokio::io::Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(server: &NatsServer, name: &str, lock: &Path) -> Self {
        let mut child = Command::new(env::current_exe().expect("the path of this program"))
            .args(["--exact", "lines::node", "--nocapture", "--test-threads=1"])
            .env("LINES_NODE", name)
            .env("LINES_NATS", server.url())
            .env("LINES_LOCK", lock)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("this program starts");
        let told = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, told }
    }

    /// Returns what it was told next.
    async fn next(&mut self) -> String {
        let telling = async {
            loop {
                let line = self.told.next_line().await.expect("it runs").expect("it goes on");
                // Beside what the test harness says.
                if let Some((_, told)) = line.split_once("told: ") {
                    return told.to_owned();
                }
            }
        };
        timeout(PATIENCE, telling).await.expect("it is told something in time")
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("it runs");
        kill(Pid::from_raw(id.cast_signed()), signal).expect("it runs");
    }
}

/// Runs as a node if this program was started as one, and prints what it is told; else there is nothing to do.
#[actix::test]
async fn node() {
    let Ok(name) = env::var("LINES_NODE") else { return };
    let set = |name: &str| env::var(name).expect("the test has set it");
    let lock = set("LINES_LOCK");
    let mut node = Node::start(&set("LINES_NATS"), &name, Some(Path::new(&lock))).await;
    while let Some(event) = node.events.recv().await {
        match event {
            LineEvent::Up { .. } => println!("told: up"),
            LineEvent::Down { .. } => println!("told: down"),
            LineEvent::Frame { frame, .. } => {
                let number = u64::from_be_bytes(frame[..].try_into().expect("a number"));
                println!("told: {number}");
            }
            other => println!("told: {other:?}"),
        }
    }
}

#[actix::test]
async fn a_node_that_is_killed_and_started_again_has_another_line() {
    let server = server().await;
    let lock = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut b2 = Process::start(&server, "b2", lock.path());
    let mut a1 = Node::start(&server.url(), "a1", None).await;
    let b2_id = NodeId::new("b2").unwrap();
    let first = a1.up(&b2_id).await;
    assert_eq!(b2.next().await, "up");
    for number in 0..100 {
        a1.send(&b2_id, number).await;
        assert_eq!(b2.next().await, number.to_string());
    }

    b2.child.kill().await.expect("it can be killed");
    a1.send(&b2_id, 100).await;
    let mut again = Process::start(&server, "b2", lock.path());

    let ended = a1.next().await;
    assert!(matches!(&ended, LineEvent::Down { line, .. } if *line == first), "{ended:?}");
    let second = a1.up(&b2_id).await;
    assert_ne!(second, first);
    assert_eq!(again.next().await, "up");
    a1.send(&b2_id, 101).await;
    assert_eq!(again.next().await, "101", "what was for the first process is not for the second");
}

#[actix::test]
async fn a_node_that_stands_still_loses_its_line_and_gets_nothing_twice() {
    let server = server().await;
    let lock = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut b2 = Process::start(&server, "b2", lock.path());
    let mut a1 = Node::start(&server.url(), "a1", None).await;
    let b2_id = NodeId::new("b2").unwrap();
    a1.up(&b2_id).await;
    assert_eq!(b2.next().await, "up");
    for number in 0..100 {
        a1.send(&b2_id, number).await;
        assert_eq!(b2.next().await, number.to_string());
    }

    b2.signal(Signal::SIGSTOP);
    // Frames of before the end are lost, or come before it: never after.
    for number in 100..200 {
        a1.send(&b2_id, number).await;
    }
    let ended = a1.next().await;
    assert!(matches!(ended, LineEvent::Down { .. }), "{ended:?}");
    // It must find itself that its line is silent.
    sleep(Duration::from_secs(2)).await;
    b2.signal(Signal::SIGCONT);

    assert_eq!(b2.next().await, "down");
    a1.up(&b2_id).await;
    assert_eq!(b2.next().await, "up");
    for number in 200..300 {
        a1.send(&b2_id, number).await;
        assert_eq!(b2.next().await, number.to_string());
    }
}

/// Longer than all pauses of the server and of the nodes here.
const HOLD: Duration = Duration::from_secs(20);
