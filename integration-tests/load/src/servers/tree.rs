//! Callboard with rooms, peers, WebRTC peers, connections, and the admin routes that inject faults into them.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use actix_web::{App, HttpServer};
use callboard_admin::Admin;
use callboard_peer_connection::{DataChannelMessage, PeerConnections, PeerConnectionsOptions};
use callboard_room_supervisor::{AuthData, OutboxLimits, RoomOptions, Rooms};
use callboard_signaling::*;
use callboard_supervision::{Flags, SupervisorSpec, install_panic_hook};
use callboard_transport::mux::{InterfaceFilter, UdpMuxOptions};

use super::callboard::Open;
use super::pages;

/// Sends back what its client says on a data channel.
struct Echo;

impl Peer for Echo {
    type Options = ();

    async fn on_init(_: &InitContext, _: &AuthData, (): &()) -> Result<PeerInit<Self>, Rejection> {
        Ok(Self.into())
    }

    fn on_data(&mut self, channel: &str, data: DataChannelMessage, context: &PeerContext) {
        // The load generator counts what does not come back.
        _ = context.client.send_data(channel, data);
    }
}

/// What it offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offers {
    /// Connections whose messages come back.
    Echo,
    /// Media: clients hear and see each other through the server.
    Media,
    /// Media, and a page for browsers, which take no loopback addresses for it; at this port.
    Page(u16),
}

pub(super) fn serve(offers: Offers) -> io::Result<()> {
    let _panics = install_panic_hook();
    actix_web::rt::System::new().block_on(async {
        let interfaces = match offers {
            Offers::Page(_) => InterfaceFilter::default(),
            _ => InterfaceFilter::with_loopback().only(|_, ip| ip.is_loopback()),
        };
        let options = PeerConnectionsOptions {
            sockets: UdpMuxOptions { interfaces, ..UdpMuxOptions::default() },
            ..PeerConnectionsOptions::default()
        };
        let (tell, told) = mpsc::channel();
        let webrtc = PeerConnections::child("webrtc", options, move |connections| {
            _ = tell.send(connections)
        });
        let rooms = Rooms::builder()
            .on_demand(|name: &str| {
                let room = RoomOptions::<Open>::new(name, ()).close_when_empty(true);
                Some(room.intensity(RESTARTS, PERIOD).into())
            })
            .build();
        let root = SupervisorSpec::new(Flags::rest_for_one().intensity(RESTARTS, PERIOD))
            .child(webrtc.map_err(io::Error::other)?)
            .child(rooms.child_spec("rooms"))
            .start_as("server")
            .await
            .map_err(io::Error::other)?;
        let connections = told.recv().map_err(io::Error::other)?;
        let limits = WebRtcLimits {
            data: Rate::UNLIMITED,
            offers: Rate::UNLIMITED,
            candidates: Rate::UNLIMITED,
            ..WebRtcLimits::default()
        };
        let webrtc = WebRtc::new(connections).limits(limits);
        // A machine that is busy with the clients as well looks like a narrow path, and what does not fit is paused.
        let webrtc = match offers {
            Offers::Echo => webrtc,
            Offers::Media | Offers::Page(_) => webrtc.media().first_estimate(None),
        };
        let admin = Admin::builder(root).webrtc(&webrtc).build();
        let options = PeerOptions::<Echo>::new((), rooms)
            .webrtc(webrtc)
            .rate(Rate::UNLIMITED)
            .outbox(OutboxLimits { messages: 1 << 20, bytes: 1 << 30 })
            // The clients send no Origin, and are all from one address.
            .max_connections(1 << 20)
            .max_connections_per_address(1 << 20)
            .max_rooms_per_address(1 << 20)
            .rooms_per_minute_per_address(u32::MAX);
        let signaling = Signaling::new(options);
        let app = move || {
            let app = App::new().configure(signaling.at(&["/socket/{room}"]));
            let app = app.configure(admin.at(""));
            app.configure(|app| {
                if let Offers::Page(_) = offers {
                    pages::configure(app)
                }
            })
        };
        let address = match offers {
            Offers::Page(port) => (Ipv4Addr::UNSPECIFIED, port),
            _ => (Ipv4Addr::LOCALHOST, 0),
        };
        let listener = TcpListener::bind(address)?;
        super::announce((Ipv4Addr::LOCALHOST, listener.local_addr()?.port()).into());
        let server = match offers {
            // Without the 16 KiB of buffers that `HttpServer` keeps for each WebSocket.
            Offers::Media => actix_server::Server::build()
                .disable_signals()
                .listen("http", listener, move || http_service(app.clone()))?
                .run(),
            _ => tune(HttpServer::new(app)).disable_signals().listen(listener)?.run(),
        };
        tokio::select! {
            ended = server => ended,
            () = super::parent_gone() => Ok(()),
        }
    })
}

/// More restarts than there are faults in this time.
const RESTARTS: u32 = 1_000;
const PERIOD: Duration = Duration::from_secs(10);
