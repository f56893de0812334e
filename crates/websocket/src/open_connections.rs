//! Count of open connections by port, and the wait for their end.

use std::collections::HashMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use tokio::sync::watch;

/// Waits until no connection to these addresses is open; without addresses, until no connection at all is open. If
/// there has been no connection, it waits for ever, because it is not known whether they are counted. Connections of
/// servers that are [tuned](crate::tune) or served by [`http_service`](crate::http_service) are counted.
///
/// For servers that are being stopped: actix-server checks once a second whether its connections have ended. A server
/// whose `Server` is dropped when this is ready ends at once.
///
/// ```no_run
/// # use actix_web::{App, HttpServer};
/// use callboard_websocket::{connections_ended, tune};
///
/// # #[actix_web::main]
/// # async fn main() -> std::io::Result<()> {
/// let server = tune(HttpServer::new(App::new)).bind("127.0.0.1:8080")?;
/// let addresses = server.addrs();
/// let server = server.run();
/// let stopping = server.handle().stop(true);
/// tokio::select! {
///     ended = server => ended,
///     () = connections_ended(&addresses) => Ok(()),
/// }
/// # }
/// ```
pub async fn connections_ended(addresses: &[SocketAddr]) {
    let ended = |open: &HashMap<u16, usize>| {
        let of_these =
            |port: &u16| addresses.is_empty() || addresses.iter().any(|it| it.port() == *port);
        let mut counts = open.iter().filter(|(port, _)| of_these(port)).map(|(_, open)| *open);
        let first = counts.next();
        first.is_some_and(|first| first + counts.sum::<usize>() == 0)
    };
    if OPEN.subscribe().wait_for(ended).await.is_err() {
        pending::<()>().await;
    }
}

/// One open connection, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    port: u16,
}

impl Open {
    /// Counts a connection to this port.
    pub(crate) fn new(port: u16) -> Arc<Self> {
        OPEN.send_modify(|open| *open.entry(port).or_default() += 1);
        Arc::new(Self { port })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.send_modify(|open| {
            if let Some(open) = open.get_mut(&self.port) {
                *open -= 1;
            }
        });
    }
}

/// Makes the open connections of [`http_service`](crate::http_service) end after their current request.
pub fn drain() {
    DRAINS.send_modify(|drains| *drains += 1);
}

/// Waits for the next [`drain`].
pub(crate) fn draining() -> impl Future<Output = ()> {
    let mut drains = DRAINS.subscribe();
    async move {
        if drains.changed().await.is_err() {
            pending::<()>().await;
        }
    }
}

/// Number of open connections by port; it has entries only for ports that servers of this process have listened at.
static OPEN: LazyLock<watch::Sender<HashMap<u16, usize>>> =
    LazyLock::new(|| watch::Sender::new(HashMap::new()));
/// Number of calls of [`drain`].
static DRAINS: LazyLock<watch::Sender<u64>> = LazyLock::new(|| watch::Sender::new(0));

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_last_connection_to_an_address_is_waited_for_and_not_others() {
        // No port is 0, and no other test counts there.
        let (here, elsewhere) = ([SocketAddr::from(([127, 0, 0, 1], 0))], Open::new(1));
        let ended = || timeout(Duration::from_secs(60), connections_ended(&here));
        assert!(ended().await.is_err(), "none has been counted");

        let (first, second) = (Open::new(0), Open::new(0));
        assert!(ended().await.is_err());
        drop(first);
        assert!(ended().await.is_err());
        drop(second);

        assert!(ended().await.is_ok());
        drop(elsewhere);
    }
}
