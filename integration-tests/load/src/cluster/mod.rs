//! Cluster of nodes as processes, each in a network of its own, around three real NATS servers.

pub(crate) mod bed;
pub(crate) mod figures;
pub(crate) mod hall;
pub(crate) mod nats;
pub(crate) mod node;
pub(crate) mod process;
pub(crate) mod stage;
pub(crate) mod wall_clock;
