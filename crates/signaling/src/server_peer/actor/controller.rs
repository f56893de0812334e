//! Controller of a server peer: the actor that gets its events, and with which it ends.

use std::sync::Arc;

use actix::prelude::*;
use callboard_supervision::{Down, MonitorRef, monitor};

use super::super::*;
use super::ServerPeer;

/// The actor that gets the events of a server peer.
#[derive(Clone)]
pub(crate) struct Controller {
    pub(super) events: Recipient<ServerPeerEvent>,
    /// Monitors it; none if its end cannot be told, because it has no supervisor.
    monitor: Option<Arc<Monitor>>,
}

type Monitor = dyn Fn(Recipient<Down>) -> MonitorRef + Send + Sync;

impl Controller {
    /// Creates a controller that has a supervisor.
    pub(crate) fn supervised<A>(controller: Addr<A>) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<ServerPeerEvent>,
    {
        Self {
            events: controller.clone().recipient(),
            monitor: Some(Arc::new(move |told| monitor(&controller, told))),
        }
    }
}

impl From<Recipient<ServerPeerEvent>> for Controller {
    fn from(events: Recipient<ServerPeerEvent>) -> Self {
        Self { events, monitor: None }
    }
}

/// State of the watch over the controller.
#[derive(Default)]
pub(super) struct Watch {
    monitor: Option<MonitorRef>,
    /// Timer that looks whether the controller is gone for good.
    timer: Option<SpawnHandle>,
}

impl Drop for Watch {
    /// Removes the monitor: a controller may outlive many server peers.
    fn drop(&mut self) {
        self.monitor.take().into_iter().for_each(MonitorRef::demonitor);
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
    }
}

/// A controller that has crashed is restarted soon, and registers again.
impl Handler<Down> for ServerPeer {
    type Result = ();

    fn handle(&mut self, down: Down, ctx: &mut Self::Context) {
        if self.watch.monitor.take_if(|monitor| monitor.id == down.monitor).is_some() {
            self.end_without_controller(ctx);
        }
    }
}

impl ServerPeer {
    pub(super) fn watch_controller(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.watch.timer.take() {
            ctx.cancel_future(timer);
        }
        let Some(monitor) = self.controller.monitor.clone() else {
            return self.end_without_controller(ctx);
        };
        let before = self.watch.monitor.replace(monitor(ctx.address().recipient()));
        before.into_iter().for_each(MonitorRef::demonitor);
    }

    /// Ends if the controller is gone for good; else looks again after a while.
    fn end_without_controller(&mut self, ctx: &mut Context<Self>) {
        let gone = self.client.as_ref().is_none_or(|client| client.is_closed());
        if gone && !self.controller.events.connected() {
            return self.end(EndReason::Closed, ctx);
        }
        self.watch.timer = Some(ctx.run_later(LOOK, Self::end_without_controller));
    }
}

/// Time after which a look is taken again whether the controller is gone.
const LOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use callboard_supervision::spawn;
    use callboard_transport::mux::{InterfaceFilter, UdpMuxOptions};
    use tokio::sync::oneshot;

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

    #[actix::test]
    async fn a_server_peer_is_told_that_its_controller_has_ended_and_ends() {
        let interfaces = InterfaceFilter::with_loopback().only(|_, ip| ip.is_loopback());
        let sockets = UdpMuxOptions { interfaces, ..UdpMuxOptions::default() };
        let options = callboard_peer_connection::PeerConnectionsOptions {
            media_threads: 1,
            sockets,
            ..Default::default()
        };
        let pool = PeerConnections::start(options).await.expect("a port");
        let (first, second) = (spawn(Idle), spawn(Idle));
        let peer = spawn(ServerPeer::controlled_by(
            ServerPeerOptions::new("alice", pool),
            Controller::supervised(first.clone()),
        ));
        let (tell, told) = oneshot::channel();
        let witness = Told(Some(tell)).start();
        let _monitor = monitor(&peer, witness.recipient());

        // The first one's end is of no account once there is another.
        peer.send(Control(Controller::supervised(second.clone()))).await.expect("it runs");
        first.send(Stop).await.expect("it runs");
        assert_eq!(peer.send(ConnectionState).await, Ok(PeerConnectionState::New));

        second.send(Stop).await.expect("it runs");
        let told = tokio::time::timeout(Duration::from_secs(60), told).await;
        told.expect("it ends").expect("the witness runs");
    }
}
