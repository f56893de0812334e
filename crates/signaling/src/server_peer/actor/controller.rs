//! Controller of a server peer: the actor that gets its events, and with which it ends.

use std::convert::Infallible;
use std::sync::Arc;

use actix::prelude::*;
use callboard_room_supervisor::OutboxClosed;
use callboard_supervision::{Down, MonitorRef, monitor};
use tokio::sync::oneshot;

use super::super::*;
use super::ServerPeer;

/// The actor that gets the events of a server peer.
#[derive(Clone)]
pub(crate) struct Controller {
    pub(super) events: Recipient<ServerPeerEvent>,
    /// Monitors it; none if it holds a [`ServerPeerHandle`].
    monitor: Option<Arc<Monitor>>,
}

type Monitor = dyn Fn(Recipient<Down>) -> MonitorRef + Send + Sync;

impl Controller {
    /// Creates a controller that can be monitored.
    pub(crate) fn monitored<A>(controller: Addr<A>) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<ServerPeerEvent>,
    {
        Self {
            events: controller.clone().recipient(),
            monitor: Some(Arc::new(move |told| monitor(&controller, told))),
        }
    }

    /// Creates a controller that holds the handle of its server peer.
    pub(super) fn holding_handle(events: Recipient<ServerPeerEvent>) -> Self {
        Self { events, monitor: None }
    }
}

/// Handle of a server peer without a supervisor. When it is dropped, the server peer ends.
#[derive(Debug)]
pub struct ServerPeerHandle {
    pub(super) addr: Addr<ServerPeer>,
    pub(super) _lifeline: oneshot::Sender<Infallible>,
}

impl ServerPeerHandle {
    /// Returns the address of the server peer.
    pub fn addr(&self) -> &Addr<ServerPeer> {
        &self.addr
    }
}

/// Lifeline of a server peer to its [`ServerPeerHandle`]: it resolves when the handle is dropped.
pub(super) type Lifeline = oneshot::Receiver<Infallible>;

/// Monitor of the controller; none while there is no controller.
#[derive(Default)]
pub(super) struct Watch(Option<MonitorRef>);

impl Drop for Watch {
    /// Removes the monitor: a controller may outlive many server peers.
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(MonitorRef::demonitor);
    }
}

/// Registration of a new controller in place of the previous one.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Control(pub(crate) Controller);

impl Handler<Control> for ServerPeer {
    type Result = ();

    fn handle(&mut self, Control(controller): Control, ctx: &mut Self::Context) {
        self.controller = controller;
        self.watch_controller(ctx);
        self.tell_tracks();
    }
}

impl Handler<Down> for ServerPeer {
    type Result = ();

    fn handle(&mut self, down: Down, ctx: &mut Self::Context) {
        if self.watch.0.take_if(|monitor| monitor.id == down.monitor).is_none() {
            return; // an earlier controller
        }
        match &self.client {
            // A controller that has crashed is restarted soon, and registers again. If it is not, its client is closed.
            Some(client) => client.watch(ctx.address().recipient()),
            None => self.end(EndReason::Closed, ctx),
        }
    }
}

impl Handler<OutboxClosed> for ServerPeer {
    type Result = ();

    fn handle(&mut self, _: OutboxClosed, ctx: &mut Self::Context) {
        // The end of a controller that has registered since is reported as well.
        if self.watch.0.is_none() {
            self.end(EndReason::Closed, ctx);
        }
    }
}

impl ServerPeer {
    pub(super) fn watch_controller(&mut self, ctx: &mut Context<Self>) {
        let monitor = self.controller.monitor.as_ref();
        let monitor = monitor.map(|monitor| monitor(ctx.address().recipient()));
        let before = std::mem::replace(&mut self.watch.0, monitor);
        before.into_iter().for_each(MonitorRef::demonitor);
    }

    /// Ends when the handle that holds the other end of this lifeline is dropped.
    pub(super) fn hold_lifeline(&mut self, lifeline: Lifeline, ctx: &mut Context<Self>) {
        ctx.spawn(lifeline.into_actor(self).map(|_, this, ctx| this.end(EndReason::Closed, ctx)));
    }
}

#[cfg(test)]
mod tests {
    use callboard_room_supervisor::{CloseFrame, Outbox, OutboxLimits};
    use callboard_supervision::spawn;
    use callboard_transport::mux::{InterfaceFilter, UdpMuxOptions};

    use super::*;

    struct Idle;

    impl Actor for Idle {
        type Context = Context<Self>;
    }

    impl Handler<ServerPeerEvent> for Idle {
        type Result = ();

        fn handle(&mut self, _: ServerPeerEvent, _: &mut Context<Self>) {}
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Stop;

    impl Handler<Stop> for Idle {
        type Result = ();

        fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
            ctx.stop();
        }
    }

    /// Says once that something has ended.
    struct Told(Option<oneshot::Sender<()>>);

    impl Actor for Told {
        type Context = Context<Self>;
    }

    impl Handler<Down> for Told {
        type Result = ();

        fn handle(&mut self, _: Down, _: &mut Context<Self>) {
            self.0.take().map(|tell| tell.send(()));
        }
    }

    /// Starts a server peer; returns it with what tells that it has ended.
    async fn start(
        controller: &Addr<Idle>,
        client: Option<Arc<Outbox>>,
    ) -> (Addr<ServerPeer>, oneshot::Receiver<()>) {
        let interfaces = InterfaceFilter::with_loopback().only(|_, ip| ip.is_loopback());
        let sockets = UdpMuxOptions { interfaces, ..UdpMuxOptions::default() };
        let options = callboard_peer_connection::PeerConnectionsOptions {
            media_threads: 1,
            sockets,
            ..Default::default()
        };
        let pool = PeerConnections::start(options).await.expect("a port");
        let mut peer = ServerPeer::new(ServerPeerOptions::new("alice", pool), controller);
        peer.client = client;
        let peer = spawn(peer);
        let ended = end_of(&peer);
        (peer, ended)
    }

    /// Returns what tells that this actor has ended.
    fn end_of<A: Actor>(actor: &Addr<A>) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        monitor(actor, Told(Some(tell)).start().recipient());
        told
    }

    async fn in_time(told: oneshot::Receiver<()>) {
        let told = tokio::time::timeout(Duration::from_secs(60), told).await;
        told.expect("it ends").expect("the witness runs");
    }

    #[actix::test]
    async fn a_server_peer_is_told_that_its_controller_has_ended_and_ends() {
        let (first, second) = (spawn(Idle), spawn(Idle));
        let (peer, ended) = start(&first, None).await;

        // The first one's end is of no account once there is another.
        peer.send(Control(Controller::monitored(second.clone()))).await.expect("it runs");
        first.send(Stop).await.expect("it runs");
        assert_eq!(peer.send(ConnectionState).await, Ok(PeerConnectionState::New));

        second.send(Stop).await.expect("it runs");
        in_time(ended).await;
    }

    #[actix::test]
    async fn a_server_peer_waits_for_another_controller_until_its_client_is_closed() {
        let client = Arc::new(Outbox::new(OutboxLimits::default()));
        let (first, second) = (spawn(Idle), spawn(Idle));
        let (peer, ended) = start(&first, Some(Arc::clone(&client))).await;
        let first_ended = end_of(&first);

        first.send(Stop).await.expect("it runs");
        in_time(first_ended).await;
        peer.send(Control(Controller::monitored(second.clone()))).await.expect("it waits");
        let second_ended = end_of(&second);
        second.send(Stop).await.expect("it runs");
        in_time(second_ended).await;
        assert_eq!(peer.send(ConnectionState).await, Ok(PeerConnectionState::New), "it waits");

        client.close(CloseFrame::FAILED);
        in_time(ended).await;
    }

    #[actix::test]
    async fn a_server_peer_whose_client_is_closed_ends_with_its_controller() {
        let client = Arc::new(Outbox::new(OutboxLimits::default()));
        let controller = spawn(Idle);
        let (peer, ended) = start(&controller, Some(Arc::clone(&client))).await;

        client.close(CloseFrame::FAILED);
        assert_eq!(peer.send(ConnectionState).await, Ok(PeerConnectionState::New));
        controller.send(Stop).await.expect("it runs");

        in_time(ended).await;
    }
}
