//! Trees of all nodes of a cluster, and faults in those of others: this node asks them, and answers them.

use std::sync::Weak;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{StreamExt, unfold};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::admin::{Admin, Inner};
use crate::cluster::{OtherNode, Questions};
use crate::error::AdminError;
use crate::fault::{FaultError, FaultKind, FaultOrder};
use crate::inject::MOVE_TIME;
use crate::tree::Tree;

/// Question to another node.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Tree,
    Fault(FaultOrder),
}

/// Answer about a tree; the stream of the tree has the same.
#[derive(Deserialize)]
#[serde(untagged)]
enum Sampled {
    Tree {
        tree: Box<Tree>,
    },
    /// It is longer than an answer may be.
    TooLarge {
        actors: usize,
    },
}

/// Answer about a fault: nothing, or why it was not injected.
#[derive(Default, Serialize, Deserialize)]
struct Outcome {
    refused: Option<Refused>,
}

#[derive(Serialize, Deserialize)]
struct Refused {
    status: u16,
    error: String,
    detail: String,
}

impl Admin {
    /// Returns the trees of all nodes of the cluster, below a root `cluster` that is no actor: each node by its name,
    /// with its tree as [`tree`](Self::tree) returns it there. A node that has not answered within 300 ms is `silent`,
    /// with the time in its details (`silent_ms`). None if other nodes are not shown (`AdminBuilder::all_nodes`).
    pub async fn tree_of_all_nodes(&self) -> Option<Tree> {
        let here = self.inner.nodes.here()?.to_owned();
        // One at a time, and for all that ask within a quarter of a second.
        let mut kept = self.inner.all_nodes.lock().await;
        if let Some((at, tree)) = &*kept
            && at.elapsed() < KEPT
        {
            return Some(tree.clone());
        }
        let others = self.inner.nodes.others();
        let asked = join_all(others.into_iter().map(|node| self.ask_for_tree(node)));
        let (own, mut nodes) = futures_util::future::join(self.tree(), asked).await;
        let mut details = Map::from_iter([("here".to_owned(), true.into())]);
        add_faults(&mut details, self.inner.nodes.faults());
        nodes.push(Tree::above(here, "Node", "running", details, vec![own]));
        nodes.sort_by(|one, other| one.id.cmp(&other.id));
        let tree = Tree::above("cluster".to_owned(), "Cluster", "running", Map::new(), nodes);
        *kept = Some((Instant::now(), tree.clone()));
        Some(tree)
    }

    async fn ask_for_tree(&self, node: OtherNode) -> Tree {
        let answer = self.ask(&node, &Question::Tree, TREE_TIME).await;
        let (name, mut details) = (node.name().to_owned(), Map::new());
        add_faults(&mut details, node.faults());
        match answer.map(|answer| serde_json::from_slice::<Sampled>(&answer)) {
            Ok(Ok(Sampled::TooLarge { actors })) => {
                details.insert("actors".to_owned(), actors.into());
                Tree::above(name, "Node", "too large", details, Vec::new())
            }
            Ok(Ok(Sampled::Tree { tree })) => {
                Tree::above(name, "Node", "running", details, vec![*tree])
            }
            Ok(Err(error)) => {
                log::warn!("node {name} answers what cannot be read: {error}");
                Tree::above(name, "Node", "unreadable", details, Vec::new())
            }
            Err(silent) => {
                let silent = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
                details.insert("silent_ms".to_owned(), silent.into());
                Tree::above(name, "Node", "silent", details, Vec::new())
            }
        }
    }

    /// Injects a fault into the tree of a node, this one or another.
    pub(crate) async fn inject_at(&self, node: &str, order: &FaultOrder) -> Result<(), FaultError> {
        let here = self.inner.nodes.here().ok_or(FaultError::OneNode)?;
        if here == node {
            return self.inject_here(order).await;
        }
        let others = self.inner.nodes.others();
        let found = others.into_iter().find(|other| other.name() == node);
        let other = found.ok_or_else(|| FaultError::NoSuchNode(node.to_owned()))?;
        let no_answer = || FaultError::NoAnswer(node.to_owned());
        let question = Question::Fault(FaultOrder { node: None, ..order.clone() });
        let within =
            if order.fault == FaultKind::Move { MOVE_TIME + FAULT_TIME } else { FAULT_TIME };
        let answer = self.ask(&other, &question, within).await.map_err(|_| no_answer())?;
        let outcome = serde_json::from_slice::<Outcome>(&answer).map_err(|_| no_answer())?;
        outcome.refused.map_or(Ok(()), |refused| {
            let Refused { status, error, detail } = refused;
            Err(FaultError::Elsewhere { status, error, detail })
        })
    }

    async fn ask(
        &self,
        node: &OtherNode,
        question: &Question,
        within: Duration,
    ) -> Result<Vec<u8>, Duration> {
        let question = serde_json::to_string(question).unwrap_or_default();
        self.inner.nodes.ask(node, &question, within).await
    }

    async fn answer(&self, question: &[u8]) -> Option<String> {
        match serde_json::from_slice(question).ok()? {
            Question::Tree => {
                let tree = self.sample(false).await.1;
                if tree.len() <= LONGEST {
                    return Some(tree.to_string());
                }
                Some(json!({ "actors": self.tree().await.count() }).to_string())
            }
            Question::Fault(order) => {
                let refused = self.inject_here(&order).await.err().map(|error| {
                    let error = AdminError::from(error);
                    let (status, detail) = (error.status().as_u16(), error.to_string());
                    Refused { status, error: error.name().to_owned(), detail }
                });
                if refused.is_none() {
                    log::warn!("the fault {:?} was injected into {}", order.fault, order.target());
                }
                serde_json::to_string(&Outcome { refused }).ok()
            }
        }
    }
}

/// Adds to the details of a node which faults of it as a whole it allows.
fn add_faults(details: &mut Map<String, Value>, faults: Vec<String>) {
    if !faults.is_empty() {
        details.insert("faults".to_owned(), faults.into());
    }
}

/// Answers other nodes until the last [`Admin`] is dropped: several at once, because a room that is moved takes its
/// time.
pub(crate) async fn serve(inner: Weak<Inner>, questions: Questions) {
    let questions = unfold(questions, async |mut questions| {
        let asked = questions.next().await?;
        Some((asked, questions))
    });
    let answers = questions.for_each_concurrent(AT_ONCE, |asked| {
        let inner = inner.upgrade();
        async move {
            let Some(inner) = inner else { return };
            match (Admin { inner }).answer(asked.body()).await {
                Some(answer) => asked.answer(answer.as_bytes()),
                None => log::warn!("another node asks what cannot be read"),
            }
        }
    });
    answers.await;
}

/// Longest answer, in bytes: that of `Requests` of `callboard-cluster`.
const LONGEST: usize = 1 << 20;
/// Questions that are answered at once; more of them wait.
const AT_ONCE: usize = 64;
/// Longest time for the tree of a node.
const TREE_TIME: Duration = Duration::from_millis(300);
/// Longest time for a fault at a node.
const FAULT_TIME: Duration = Duration::from_secs(2);
/// Time for which the trees of all nodes are kept.
const KEPT: Duration = Duration::from_millis(250);
