//! Side of a link: peer connections on a thread in a network of its own.

use std::sync::{Arc, OnceLock};
use std::thread;

use actix::prelude::*;
use callboard_media_rooms::{MediaEvent, Participant, ParticipantEvent};
use callboard_peer_connection::*;
use tokio::sync::{mpsc, oneshot};

use crate::Namespace;

/// Pool of peer connections in one network, each on a thread and a port of its own.
pub(crate) struct Side {
    pub(crate) connections: PeerConnections,
    arbiter: ArbiterHandle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Event of a connection, or of the room for its participant.
#[derive(Debug)]
pub(crate) enum Heard {
    Connection(ConnectionEvent),
    Room(MediaEvent),
}

/// Owner that passes its events on; of a connection in a room through its participant.
pub(crate) struct Owner {
    participant: Arc<OnceLock<Participant>>,
    tell: mpsc::UnboundedSender<Heard>,
}

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<PeerConnectionEvent> for Owner {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, _: &mut Context<Self>) {
        let event = match self.participant.get() {
            Some(participant) => participant.handle(event.event),
            None => Some(event.event),
        };
        if let Some(event) = event {
            _ = self.tell.send(Heard::Connection(event));
        }
    }
}

impl Handler<ParticipantEvent> for Owner {
    type Result = ();

    fn handle(&mut self, event: ParticipantEvent, _: &mut Context<Self>) {
        _ = self.tell.send(Heard::Room(event.event));
    }
}

impl Side {
    pub(crate) async fn start(namespace: &Namespace, threads: usize) -> Self {
        let (hand_out, handed) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let namespace = namespace.clone();
        let thread = thread::spawn(move || {
            namespace.enter();
            System::new().block_on(async move {
                let options = PeerConnectionsOptions {
                    media_threads: threads,
                    ..PeerConnectionsOptions::default()
                };
                let connections = PeerConnections::start(options).await.expect("they start");
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
        thread: usize,
        api: &Api,
        participant: &Arc<OnceLock<Participant>>,
    ) -> (PeerConnectionHandle, mpsc::UnboundedReceiver<Heard>, Addr<Owner>) {
        let (tell, heard) = mpsc::unbounded_channel();
        let participant = Arc::clone(participant);
        let owner = Owner::start_in_arbiter(&self.arbiter, |_| Owner { participant, tell });
        let (configuration, events) = (Configuration::default(), owner.clone().recipient());
        let connection = self.connections.open_on(thread, api, configuration, events).await;
        (connection.expect("a connection"), heard, owner)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}
