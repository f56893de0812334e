//! Names of nodes, and of their runs.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use uuid::Uuid;

/// Name of a node: 1 to 32 lower-case letters of ASCII, digits and hyphens, no hyphen first. No two nodes of a cluster
/// have the same one at a time. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

/// Error: a text that is no name for a node.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is no name for a node: 1 to 32 lower-case letters, digits and hyphens, no hyphen first"
)]
pub struct NodeIdError(pub String);

impl NodeId {
    /// Creates the name of a node.
    ///
    /// # Errors
    /// [`NodeIdError`]
    pub fn new(name: impl AsRef<str>) -> Result<Self, NodeIdError> {
        let name = name.as_ref();
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let good = (1..=MAX_NODE_ID).contains(&name.len())
            && !name.starts_with('-')
            && name.chars().all(allowed);
        if good { Ok(Self(name.into())) } else { Err(NodeIdError(name.to_owned())) }
    }

    /// Returns the name as a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::new(name).map_err(serde::de::Error::custom)
    }
}

/// One run of a node, from the time that it enters the cluster until its session has lapsed. A node that lapsed enters
/// again with the next term of the same process; one that was restarted, with another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Incarnation {
    /// Process: a random number that it draws when it starts.
    pub process: Uuid,
    /// Number of the session among those of this process, from 1.
    pub term: u64,
}

impl Incarnation {
    /// Creates the incarnation of this process and term.
    pub fn new(process: Uuid, term: u64) -> Self {
        Self { process, term }
    }
}

/// Longest name of a node, in bytes.
const MAX_NODE_ID: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_any_engine_can_have_in_a_key() {
        for name in ["a1", "eu-west-1-b2", "7", &"x".repeat(32)] {
            assert_eq!(NodeId::new(name).unwrap().as_str(), name);
        }
        for name in ["", "-a", "A1", "a.b", "a b", "a>", "*", "ä", &"x".repeat(33)] {
            assert_eq!(NodeId::new(name), Err(NodeIdError(name.to_owned())));
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused_where_it_is_read() {
        assert!(serde_json::from_str::<NodeId>("\"a1\"").is_ok());
        assert!(serde_json::from_str::<NodeId>("\"a.*\"").is_err());
    }
}
