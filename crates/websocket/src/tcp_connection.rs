//! Connection under a WebSocket, which can be cut when its client does not take the close frame.
//!
//! actix-http polls a response body, and so the WebSocket, only while there is room to write. A client that does not
//! read therefore blocks its WebSocket for as long as it likes: no close reaches the WebSocket, and none of its timers
//! fires. So the connection is cut from outside, by shutting its socket down.

use std::any::Any;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use actix::prelude::*;
#[cfg(feature = "tls")]
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use nix::sys::socket::{Shutdown, shutdown};

use crate::counters::{SocketCount, SocketCounters};
use crate::open_connections::Open;

/// Counts a connection while it is open, and stores its file descriptor, so that it can be cut. For
/// [`HttpServer::on_connect`](actix_web::HttpServer::on_connect); [`tune`](crate::tune) sets it. It recognises
/// connections over TLS only with the feature `tls`.
pub fn on_connect(connection: &dyn Any, extensions: &mut Extensions) {
    let Some((tcp, tls)) = tcp_under(connection) else { return };
    // A connection without an address has ended already.
    let open = Open::new(tcp.local_addr().map_or(0, |address| address.port()));
    extensions.insert(TcpDescriptor { fd: tcp.as_raw_fd(), tls, connection: Arc::default(), open });
}

/// Returns the TCP connection, and whether TLS runs over it.
fn tcp_under(connection: &dyn Any) -> Option<(&TcpStream, bool)> {
    #[cfg(feature = "tls")]
    if let Some(tls) = connection.downcast_ref::<TlsStream<TcpStream>>() {
        return Some((tls.get_ref().0, true));
    }
    Some((connection.downcast_ref()?, false))
}

/// File descriptor of a connection, valid as long as the connection is served.
pub(crate) struct TcpDescriptor {
    fd: RawFd,
    tls: bool,
    /// Dropped before the descriptor is closed.
    connection: Arc<()>,
    open: Arc<Open>,
}

impl TcpDescriptor {
    /// Returns the counted connection, for holders that outlive the descriptor.
    pub(crate) fn open(&self) -> Arc<Open> {
        Arc::clone(&self.open)
    }
}

/// The connection under one WebSocket.
pub(crate) struct TcpConnection {
    fd: Option<RawFd>,
    tls: bool,
    /// Lives as long as actix-http's part in the connection: as long as a connection of `HttpServer`, but shorter than
    /// one that [`http_service`](crate::http_service) has taken over.
    connection: Weak<()>,
    /// The connection's own thread.
    thread: ArbiterHandle,
    /// The response's body is alive. It is dropped on the connection's own thread, before the descriptor is closed.
    answering: AtomicBool,
    /// The connection will be cut.
    doomed: AtomicBool,
}

impl TcpConnection {
    /// Creates the handle, on the connection's own thread.
    pub(crate) fn new(descriptor: Option<&TcpDescriptor>) -> Arc<Self> {
        Arc::new(Self {
            fd: descriptor.map(|it| it.fd),
            tls: descriptor.is_some_and(|it| it.tls),
            connection: descriptor.map_or_else(Weak::new, |it| Arc::downgrade(&it.connection)),
            thread: Arbiter::current(),
            answering: AtomicBool::new(true),
            doomed: AtomicBool::new(false),
        })
    }

    /// Marks the end of the response's body; not all of it may have been written.
    pub(crate) fn answered(&self) {
        self.answering.store(false, Ordering::Relaxed);
    }

    /// Ends reading from a client that has sent its last frame: otherwise actix-http and `http_service` read on for a
    /// second before they close the connection (RFC 6455 §7.1.1). Works only while the response's body is alive, on the
    /// connection's own thread.
    pub(crate) fn end_reading(&self) {
        // With TLS, actix-http takes that for a violation, and would not close gracefully.
        let ends_well = !self.tls || self.connection.strong_count() == 0;
        if let Some(fd) = self.fd.filter(|_| ends_well) {
            // It fails only if the client has ended the connection.
            _ = shutdown(fd, Shutdown::Read);
        }
    }

    /// Returns whether the descriptor is certainly the connection's. Reliable only on the connection's own thread.
    fn is_whole(&self) -> bool {
        self.answering.load(Ordering::Relaxed) || self.connection.strong_count() > 0
    }

    /// Cuts the connection on its own thread, if it has not ended within `grace`; then calls `then`. Only the first
    /// call has an effect.
    pub(crate) fn cut_after(
        self: &Arc<Self>,
        grace: Duration,
        counters: Arc<SocketCounters>,
        then: impl FnOnce() + Send + 'static,
    ) {
        if !self.is_whole() || self.doomed.swap(true, Ordering::Relaxed) {
            return;
        }
        let tcp = Arc::clone(self);
        // False only when the thread has ended, and all its connections with it.
        self.thread.spawn(async move {
            actix_web::rt::time::sleep(grace).await;
            if tcp.is_whole() {
                counters.add(SocketCount::Cut);
                tcp.cut();
                then();
            }
        });
    }

    /// Cuts the connection, on its own thread only: there nothing can close the descriptor between the check and the
    /// call.
    fn cut(&self) {
        match self.fd {
            Some(fd) => {
                if let Err(error) = shutdown(fd, Shutdown::Both) {
                    log::debug!("could not cut a connection: {error}");
                }
            }
            // Clients can be stuck as often as they like, so it is logged once.
            None => UNTUNED.call_once(|| {
                log::warn!(
                    "a client does not read, and this server cannot cut its connection (see callboard_websocket::tune)"
                );
            }),
        }
    }
}

/// Whether it has been logged that the server is not tuned.
static UNTUNED: Once = Once::new();

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;

    /// Returns whether a connection is cut while these parts of it are alive.
    async fn is_cut(body: bool, dispatcher: bool) -> bool {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let connection = Arc::default();
        let (fd, open) = (ours.as_raw_fd(), Open::new(2));
        let descriptor = TcpDescriptor { fd, tls: false, connection, open };
        let tcp = TcpConnection::new(Some(&descriptor));
        tcp.cut_after(Duration::ZERO, Arc::default(), || {});
        if !body {
            tcp.answered();
        }
        let descriptor = dispatcher.then_some(descriptor);
        // What was spawned before has run when this has.
        let (done, ran) = mpsc::channel();
        Arbiter::current().spawn(async move {
            actix_web::rt::time::sleep(Duration::from_millis(5)).await;
            _ = done.send(());
        });
        while ran.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        drop(descriptor);
        theirs.read(&mut [0]).is_ok_and(|read| read == 0)
    }

    #[actix::test]
    async fn a_connection_is_cut_while_anything_of_it_is_there_and_not_after_it() {
        assert!(is_cut(true, true).await);
        assert!(is_cut(true, false).await, "http_service has taken it over");
        assert!(is_cut(false, true).await, "what its body said last was not written");
        assert!(!is_cut(false, false).await, "the descriptor may be another's");
    }
}
