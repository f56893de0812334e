//! Nodes as processes of their own, which are killed and stopped.

use std::env;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use callboard_cluster::{ClaimError, Cluster, Nats, NatsOptions};
use integration_tests::{Moment, NatsServer, PATIENCE, network, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

/// A node in a process of its own: this test program, which runs [`node`] alone. Killed when dropped.
pub(super) struct Process {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(server: &NatsServer, name: &str, hold: Duration, lock: Option<&Path>) -> Self {
        let lock = lock.map(|lock| ("CLUSTER_LOCK", lock.display().to_string()));
        Self::with(server, name, hold, lock)
    }

    /// Starts a node that listens at this address as long as it lives.
    pub(super) fn listening(server: &NatsServer, name: &str, address: &str) -> Self {
        Self::with(server, name, LONG, Some(("CLUSTER_LIVENESS", address.to_owned())))
    }

    fn with(server: &NatsServer, name: &str, hold: Duration, more: Option<(&str, String)>) -> Self {
        let mut command = Command::new(env::current_exe().expect("the path of this program"));
        command
            .args(["--exact", "processes::node", "--nocapture", "--test-threads=1"])
            .env("CLUSTER_NODE", name)
            .env("CLUSTER_NATS", server.url())
            .env("CLUSTER_HOLD", hold.as_secs().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command.envs(more);
        let mut child = command.spawn().expect("this program starts");
        let orders = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, orders, answers }
    }

    /// Gives an order, and returns the answer.
    pub(super) async fn ask(&mut self, order: &str) -> String {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.expect("it runs");
        loop {
            let line = self.answers.next_line().await.expect("it runs").expect("it answers");
            // Beside what the test harness says.
            if let Some((_, answer)) = line.split_once("node: ") {
                return answer.to_owned();
            }
        }
    }

    /// Asks for the room until the answer begins like this; returns what follows.
    pub(super) async fn claim_until(&mut self, wanted: &str) -> String {
        until(wanted, PATIENCE, async || {
            let answer = self.ask("claim").await;
            match answer.strip_prefix(wanted) {
                Some(rest) => Moment::Now(rest.trim().to_owned()),
                None => Moment::NotYet(answer),
            }
        })
        .await
    }

    pub(super) async fn held(&mut self) -> u64 {
        self.claim_until("held").await.parse().expect("an epoch")
    }

    pub(super) fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("it runs");
        kill(Pid::from_raw(id.cast_signed()), signal).expect("it runs");
    }

    pub(super) async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }
}

/// Runs as a node if this program was started as one; else there is nothing to do.
#[actix::test]
async fn node() {
    let Ok(name) = env::var("CLUSTER_NODE") else { return };
    let set = |name: &str| env::var(name).expect("the test has set it");
    let options = NatsOptions::new().cluster("test");
    let directory = Nats::connect(&set("CLUSTER_NATS"), options).await.unwrap();
    let hold = Duration::from_secs(set("CLUSTER_HOLD").parse().unwrap());
    let mut builder = Cluster::builder(directory).node(name).hold(hold);
    if let Ok(lock) = env::var("CLUSTER_LOCK") {
        builder = builder.lock_file(lock);
    }
    if let Ok(address) = env::var("CLUSTER_LIVENESS") {
        builder = builder.liveness(address.parse().unwrap());
    }
    let cluster = builder.build().unwrap();
    let _tree = cluster.start().await.unwrap();
    let mut kept = None;
    let (tell, mut orders) = mpsc::channel(1);
    // It ends with the process.
    thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| tell.blocking_send(line))
    });
    while let Some(order) = orders.recv().await {
        let answer = match order.as_str() {
            "claim" => match cluster.claim("demo").await {
                Ok(hold) => {
                    let answer = format!("held {}", hold.epoch());
                    kept = Some(hold);
                    answer
                }
                Err(ClaimError::Elsewhere(there)) => format!("elsewhere {}", there.node),
                Err(error) => error.to_string(),
            },
            "watched" => cluster.facts().watched.to_string(),
            "refusals" => cluster.facts().refusals.to_string(),
            "good" => format!("{:?}", kept.as_ref().map(|hold| hold.is_good())),
            other => panic!("{other:?} is no order"),
        };
        println!("node: {answer}");
    }
}

pub(super) async fn server() -> NatsServer {
    network::enter_new_namespace().unwrap_or_else(|error| panic!("{error}"));
    NatsServer::start().await
}

#[actix::test]
async fn the_rooms_of_a_node_that_is_killed_are_taken_by_one_of_the_others() {
    let server = server().await;
    let [mut a1, mut b2, mut c3] =
        ["a1", "b2", "c3"].map(|name| Process::start(&server, name, SHORT, None));
    let first = a1.held().await;
    assert_eq!(b2.claim_until("elsewhere").await, "a1");

    a1.kill().await;

    let second = b2.held().await;
    assert!(second > first, "{second} after {first}");
    assert_eq!(c3.claim_until("elsewhere").await, "b2");
}

/// With a hold of ten minutes, no one waits until the node is silent for too long.
#[actix::test]
async fn a_node_that_is_started_again_proves_that_it_has_died() {
    let server = server().await;
    let lock = tempfile::NamedTempFile::new().expect("a temporary file");
    let start = |name, lock| Process::start(&server, name, LONG, lock);
    let (mut a1, mut b2) = (start("a1", Some(lock.path())), start("b2", None));
    let first = a1.held().await;
    assert_eq!(b2.claim_until("elsewhere").await, "a1");

    a1.kill().await;
    let mut again = start("a1", Some(lock.path()));

    let second = b2.held().await;
    assert!(second > first, "{second} after {first}");
    assert_eq!(again.claim_until("elsewhere").await, "b2");
}

#[actix::test]
async fn a_node_that_stood_still_is_fenced_before_its_first_step() {
    let server = server().await;
    let [mut a1, mut b2] = ["a1", "b2"].map(|name| Process::start(&server, name, SHORT, None));
    let first = a1.held().await;
    assert_eq!(a1.ask("good").await, "Some(true)");

    a1.signal(Signal::SIGSTOP);
    let second = b2.held().await;
    assert!(second > first, "{second} after {first}");
    a1.signal(Signal::SIGCONT);

    assert_eq!(a1.ask("good").await, "Some(false)");
    assert_eq!(a1.claim_until("elsewhere").await, "b2");
    assert_eq!(b2.ask("good").await, "Some(true)");
}

const SHORT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(600);
