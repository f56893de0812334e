//! TCP proxy between a browser and the server, whose connections can be cut.

use std::net::Ipv4Addr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Proxy that forwards TCP connections to a server.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    cable: watch::Sender<Cable>,
    accepting: AbortHandle,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cable {
    /// How often all connections were cut without a goodbye.
    cuts: u32,
    /// Whether nothing is forwarded, without any error.
    stuck: bool,
    /// The server's port.
    server: u16,
}

impl Proxy {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("a bound socket").port();
        let (cable, state) = watch::channel(Cable { server, ..Cable::default() });
        let accepting = tokio::spawn(async move {
            while let Ok((browser, _)) = listener.accept().await {
                tokio::spawn(carry(browser, state.clone()));
            }
        });
        Self { port, cable, accepting: accepting.abort_handle() }
    }

    /// Cuts all connections without a goodbye. New ones are forwarded.
    pub(crate) fn cut(&self) {
        self.cable.send_modify(|cable| cable.cuts += 1);
    }

    /// Cuts all connections without a goodbye. New ones are forwarded to another server.
    pub(crate) fn cut_and_lead_to(&self, server: u16) {
        self.cable.send_modify(|cable| {
            cable.cuts += 1;
            cable.server = server;
        });
    }

    /// Stops forwarding from now on, on existing connections and on new ones.
    pub(crate) fn get_stuck(&self) {
        self.cable.send_modify(|cable| cable.stuck = true);
    }

    /// Forwards new connections again; stuck ones stay stuck.
    pub(crate) fn work_again(&self) {
        self.cable.send_modify(|cable| cable.stuck = false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(mut browser: TcpStream, mut cable: watch::Receiver<Cable>) {
    let before = *cable.borrow();
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, before.server)).await else {
        return;
    };
    if !before.stuck {
        tokio::select! {
            _ = copy_bidirectional(&mut browser, &mut server) => return,
            _ = cable.wait_for(|now| *now != before) => {}
        }
    }
    // A stuck connection stays open until it is cut, or the proxy ends.
    _ = cable.wait_for(|now| now.cuts != before.cuts).await;
}
