//! Faults that pages order: a node passes an order on to the launcher, which has started all nodes.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::nats::Way;

/// Fault of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Its process is killed. It is started again.
    Kill,
    /// Its process stands still for a while, and knows nothing of it.
    Stop,
    /// Nothing passes between it and NATS for a while, and no connection ends.
    Cut,
    /// Its clients go to other nodes, as for a deploy, and its process ends. It is started again.
    Drain,
}

/// Order for a fault, as a node passes it on: a line of its output.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    node: String,
    fault: Fault,
}

impl Order {
    /// Passes an order on, to the program that has started this node.
    pub(crate) fn pass_on(node: String, fault: Fault) -> io::Result<()> {
        let order = serde_json::to_string(&Self { node, fault })?;
        let mut output = io::stdout().lock();
        writeln!(output, "{MARK}{order}")?;
        output.flush()
    }

    /// Reads an order in a line of a node's output.
    pub(crate) fn in_line(line: &str) -> Option<Self> {
        serde_json::from_str(line.strip_prefix(MARK)?).ok()
    }
}

/// What the launcher needs to inject faults into nodes. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Nodes(Arc<Mutex<HashMap<String, Node>>>);

struct Node {
    way: Way,
    process: Option<Pid>,
}

impl Nodes {
    /// Adds a node, and its way to NATS.
    pub(crate) fn add(&self, name: &str, way: Way) {
        self.nodes().insert(name.to_owned(), Node { way, process: None });
    }

    /// Notes the process of a node.
    pub(crate) fn runs(&self, name: &str, process: Option<Pid>) {
        if let Some(node) = self.nodes().get_mut(name) {
            node.process = process;
        }
    }

    /// Injects a fault. Must be called on a thread of actix.
    pub(crate) fn inject(&self, Order { node: name, fault }: Order) {
        log::warn!("{fault:?} of {name} was ordered");
        let Some((way, process)) = self.node(&name) else { return };
        match (fault, process) {
            (Fault::Kill, Some(process)) => send(process, Signal::SIGKILL),
            (Fault::Drain, Some(process)) => send(process, Signal::SIGTERM),
            (Fault::Stop, Some(process)) => {
                send(process, Signal::SIGSTOP);
                let nodes = self.clone();
                actix::spawn(async move {
                    sleep(Duration::from_secs(LASTS)).await;
                    // Another may have its number by now.
                    if nodes.node(&name).is_some_and(|(_, now)| now == Some(process)) {
                        send(process, Signal::SIGCONT);
                    }
                });
            }
            (Fault::Cut, _) => {
                way.cut(true);
                actix::spawn(async move {
                    sleep(Duration::from_secs(LASTS)).await;
                    way.cut(false);
                });
            }
            (_, None) => {}
        }
    }

    fn node(&self, name: &str) -> Option<(Way, Option<Pid>)> {
        self.nodes().get(name).map(|node| (node.way.clone(), node.process))
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<String, Node>> {
        // Every change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a signal to a process that may have ended.
pub(crate) fn send(process: Pid, signal: Signal) {
    if let Err(error) = kill(process, signal) {
        log::warn!("{signal} does not reach process {process}: {error}");
    }
}

/// Beginning of a line with an order.
const MARK: &str = "fault ";
/// How long a node stands still, or is cut off, in seconds: longer than its session holds, and than a line may be
/// silent.
pub(crate) const LASTS: u64 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_order_or_not() {
        let order = Order { node: "b2".to_owned(), fault: Fault::Kill };
        assert_eq!(Order::in_line(r#"fault {"node":"b2","fault":"kill"}"#), Some(order));
        for line in ["listening on http://127.0.0.1:8101/", "fault", "fault {}", "fault kill b2"] {
            assert_eq!(Order::in_line(line), None, "{line}");
        }
    }
}
