//! Cut of a node from its directory and its wire: a fault that is injected on purpose.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{BoxStream, StreamExt};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::directory::{Change, Directory, DirectoryError, Key};
use crate::node_id::NodeId;
use crate::record::{Claim, Revision, Session};
use crate::wire::{Arrival, Wire};

/// Whether a node is cut off. Its clones are one.
#[derive(Clone)]
pub(crate) struct Cut {
    /// Number of cuts that have not ended.
    cuts: Arc<watch::Sender<usize>>,
}

impl Cut {
    pub(crate) fn new() -> Self {
        Self { cuts: Arc::new(watch::Sender::new(0)) }
    }

    /// Cuts the node off for this time. Needs a runtime of Tokio.
    pub(crate) fn cut_off(&self, time: Duration) {
        self.cuts.send_modify(|cuts| *cuts += 1);
        let cuts = Arc::clone(&self.cuts);
        tokio::spawn(async move {
            sleep(time).await;
            cuts.send_modify(|cuts| *cuts -= 1);
        });
    }

    fn is_cut(&self) -> bool {
        *self.cuts.borrow() > 0
    }

    /// Waits until the node is not cut off.
    async fn mended(&self) {
        // It fails for a sender that is gone, which this holds.
        _ = self.cuts.subscribe().wait_for(|cuts| *cuts == 0).await;
    }
}

/// Directory from which a node may be cut off: then calls are not made, and changes come later.
pub(crate) struct CutDirectory {
    pub(crate) directory: Box<dyn Directory>,
    pub(crate) cut: Cut,
}

impl CutDirectory {
    fn pass<'a, T: 'a>(
        &'a self,
        call: BoxFuture<'a, Result<T, DirectoryError>>,
    ) -> BoxFuture<'a, Result<T, DirectoryError>> {
        if !self.cut.is_cut() {
            return call;
        }
        // The node gives up waiting before, as it does if the directory does not answer.
        async {
            self.cut.mended().await;
            call.await
        }
        .boxed()
    }
}

impl Directory for CutDirectory {
    fn enter(
        &self,
        session: Session,
        was: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        self.pass(self.directory.enter(session, was))
    }

    fn renew(
        &self,
        session: Session,
        was: Revision,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        self.pass(self.directory.renew(session, was))
    }

    fn seal(
        &self,
        session: Session,
        was: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        self.pass(self.directory.seal(session, was))
    }

    fn claim(
        &self,
        room: Arc<str>,
        claim: Claim,
        was: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        self.pass(self.directory.claim(room, claim, was))
    }

    fn forget(&self, key: Key, was: Revision) -> BoxFuture<'_, Result<(), DirectoryError>> {
        self.pass(self.directory.forget(key, was))
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        let (cut, changes) = (self.cut.clone(), self.directory.changes());
        let in_time = move |change| {
            let cut = cut.clone();
            async move {
                if cut.is_cut() {
                    cut.mended().await;
                }
                change
            }
        };
        changes.then(in_time).boxed()
    }

    fn hold(&self) -> Duration {
        self.directory.hold()
    }
}

/// Wire from which a node may be cut off: then datagrams are lost, in both directions.
pub(crate) struct CutWire {
    pub(crate) wire: Arc<dyn Wire>,
    pub(crate) cut: Cut,
}

impl Wire for CutWire {
    fn arrivals(&self, here: &NodeId) -> BoxStream<'static, Arrival> {
        let cut = self.cut.clone();
        let arrives = move |_: &Arrival| std::future::ready(!cut.is_cut());
        self.wire.arrivals(here).filter(arrives).boxed()
    }

    fn send(&self, from: &NodeId, to: &NodeId, datagram: Bytes) {
        if !self.cut.is_cut() {
            self.wire.send(from, to, datagram);
        }
    }

    fn broadcast(&self, from: &NodeId, datagram: Bytes) {
        if !self.cut.is_cut() {
            self.wire.broadcast(from, datagram);
        }
    }
}
