//! Our peer connections, on threads of their own.

use std::thread;

use actix::prelude::*;
use callboard_peer_connection::*;
use tokio::sync::{mpsc, oneshot};

/// Pool of our peer connections, in the network of the thread that has started it.
pub(crate) struct Ours {
    pub(crate) connections: PeerConnections,
    arbiter: ArbiterHandle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Owner(mpsc::UnboundedSender<ConnectionEvent>);

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<PeerConnectionEvent> for Owner {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, _: &mut Context<Self>) {
        _ = self.0.send(event.event);
    }
}

impl Ours {
    pub(crate) async fn start() -> Self {
        _ = env_logger::builder().is_test(true).try_init();
        let (hand_out, handed) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            System::new().block_on(async move {
                let options = PeerConnectionsOptions {
                    media_threads: 1,
                    ..PeerConnectionsOptions::default()
                };
                let connections =
                    PeerConnections::start(options).await.expect("our connections start");
                _ = hand_out.send((connections.clone(), Arbiter::current()));
                _ = ended.await;
                connections.stop().await;
            });
        });
        let (connections, arbiter) = handed.await.expect("it starts");
        Self { connections, arbiter, end: Some(end), thread: Some(thread) }
    }

    pub(crate) async fn open(
        &self,
        api: &Api,
    ) -> (PeerConnectionHandle, mpsc::UnboundedReceiver<ConnectionEvent>) {
        let (tell, events) = mpsc::unbounded_channel();
        let owner = Owner::start_in_arbiter(&self.arbiter, |_| Owner(tell));
        let connection =
            self.connections.open(api, Configuration::default(), owner.recipient()).await;
        (connection.expect("a connection"), events)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}
