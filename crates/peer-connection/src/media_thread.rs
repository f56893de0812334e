//! A media thread: where connections run.

use callboard_supervision::ArbiterPool;
use callboard_transport::mux::MuxHandle;

/// A media thread, with its sockets.
#[derive(Clone, Debug)]
pub(crate) struct MediaThread {
    /// Its place among the threads of the pool.
    pub(crate) index: usize,
    pub(crate) pool: ArbiterPool,
    pub(crate) mux: MuxHandle,
}
