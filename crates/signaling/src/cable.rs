//! The connection under a WebSocket: cut when its client does not take the close frame.
//!
//! actix-http polls a response body, and so the WebSocket, only while there is room to write. A client that does not
//! read therefore blocks its WebSocket for as long as it likes: it hears of no close, and no timer in it fires. So
//! the connection is cut from outside, by shutting its socket down.

use std::any::Any;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::prelude::*;
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use nix::sys::socket::{Shutdown, shutdown};

use crate::counters::{Count, Counters};

/// Note a connection's file descriptor, so that it can be cut. For
/// [`HttpServer::on_connect`](actix_web::HttpServer::on_connect); [`tune`](crate::tune) sets it.
pub fn on_connect(connection: &dyn Any, extensions: &mut Extensions) {
    let fd = if let Some(tcp) = connection.downcast_ref::<TcpStream>() {
        tcp.as_raw_fd()
    } else if let Some(tls) = connection.downcast_ref::<TlsStream<TcpStream>>() {
        tls.get_ref().0.as_raw_fd()
    } else {
        return;
    };
    extensions.insert(Descriptor(fd));
}

/// A connection's file descriptor, valid as long as the connection is served.
#[derive(Clone, Copy)]
pub(crate) struct Descriptor(RawFd);

/// The connection under one WebSocket.
pub(crate) struct Cable {
    descriptor: Option<Descriptor>,
    /// The connection's own.
    thread: ArbiterHandle,
    /// Lowered by the connection's own thread before the descriptor is closed.
    whole: AtomicBool,
    /// It is to be cut.
    doomed: AtomicBool,
}

impl Cable {
    /// On the connection's own thread.
    pub(crate) fn new(descriptor: Option<Descriptor>) -> Arc<Self> {
        let (whole, doomed) = (AtomicBool::new(true), AtomicBool::new(false));
        Arc::new(Self { descriptor, thread: Arbiter::current(), whole, doomed })
    }

    /// The connection has ended.
    pub(crate) fn ended(&self) {
        self.whole.store(false, Ordering::Relaxed);
    }

    /// Cut the connection on its own thread, if it has not ended by then; and then do this. The first time counts.
    pub(crate) fn cut_after(
        self: &Arc<Self>,
        grace: Duration,
        counters: Arc<Counters>,
        then: impl FnOnce() + Send + 'static,
    ) {
        if !self.whole.load(Ordering::Relaxed) || self.doomed.swap(true, Ordering::Relaxed) {
            return;
        }
        let cable = Arc::clone(self);
        // False only when the thread has ended, and all its connections with it.
        self.thread.spawn(async move {
            actix_web::rt::time::sleep(grace).await;
            if cable.whole.load(Ordering::Relaxed) {
                counters.add(Count::Cut);
                cable.cut();
                then();
            }
        });
    }

    /// Only on the connection's own thread: nothing can close the descriptor between the check and the call.
    fn cut(&self) {
        match self.descriptor {
            Some(Descriptor(fd)) => {
                if let Err(error) = shutdown(fd, Shutdown::Both) {
                    log::debug!("could not cut a connection: {error}");
                }
            }
            None => log::warn!(
                "a client is stuck and the server is not tuned to cut it (callboard_signaling::tune)"
            ),
        }
    }
}
