//! The cable between a browser and the server, to be pulled.

use std::net::Ipv4Addr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Forwards TCP connections to a server.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    cable: watch::Sender<Cable>,
    accepting: AbortHandle,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cable {
    /// How often all connections were ended without a goodbye.
    cuts: u32,
    /// Nothing goes through, and nobody is told.
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

    /// Ends all connections without a goodbye. New ones are carried.
    pub(crate) fn cut(&self) {
        self.cable.send_modify(|cable| cable.cuts += 1);
    }

    /// Ends all connections without a goodbye. New ones are carried to another server.
    pub(crate) fn cut_and_lead_to(&self, server: u16) {
        self.cable.send_modify(|cable| {
            cable.cuts += 1;
            cable.server = server;
        });
    }

    /// From now on nothing goes through, neither on the connections that there are nor on new ones.
    pub(crate) fn get_stuck(&self) {
        self.cable.send_modify(|cable| cable.stuck = true);
    }

    /// New connections are carried again; those that were stuck stay so.
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
    // What is stuck stays open until it is cut, or nobody can cut it any more.
    _ = cable.wait_for(|now| now.cuts != before.cuts).await;
}
