//! Path of an actor in its tree.

use std::fmt;
use std::sync::Arc;

use crate::policy::ChildId;

/// Path of an actor: the names from the root of a tree to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ActorPath(Arc<[ChildId]>);

impl ActorPath {
    pub(crate) fn root(id: ChildId) -> Self {
        Self(Arc::new([id]))
    }

    pub(crate) fn join(&self, id: &ChildId) -> Self {
        Self(self.0.iter().chain([id]).cloned().collect())
    }

    /// Returns the names, the root's first.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator {
        self.0.iter().map(|id| &**id)
    }

    /// Returns the last name.
    pub fn name(&self) -> &str {
        self.last()
    }

    pub(crate) fn last(&self) -> &ChildId {
        self.0.last().expect("a path begins with the root's name")
    }
}

impl fmt::Display for ActorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            let slash = if index == 0 { "" } else { "/" };
            write!(f, "{slash}{name}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ActorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
