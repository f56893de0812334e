//! WebSocket edge of an actix server: upgrade requests, sockets, socket links, request checks, TLS.
//!
//! It knows no peer and no room. An application opens a socket with an [`Upgrade`], ties it to an actor of its own by a
//! [`SocketLink`], and sends through the link's [`Outbox`]. The link survives the socket: with a grace period, the
//! client may come back with another one. This is the only crate that names actix-web-actors.
//!
//! A server that has connections over TLS needs the feature `tls`, which is on by default: also one that calls
//! [`HttpServer::bind_rustls_0_23`](https://docs.rs/actix-web) itself.
//!
//! A server that sends every text back:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use actix::prelude::*;
//! use actix_web::web::{self, Payload};
//! use actix_web::{App, HttpRequest, HttpResponse, HttpServer, error};
//! use callboard_websocket::{
//!     ConnectionCount, FromSocket, LinkOptions, OutboxLimits, Presence, ResumeTokens, SocketCounters, SocketEvent,
//!     SocketLink, ToSocket, Upgrade, peer_address, tune,
//! };
//!
//! /// Sends every text back to its client.
//! struct Echo(Arc<SocketLink>);
//!
//! impl Actor for Echo {
//!     type Context = Context<Self>;
//!
//!     fn started(&mut self, ctx: &mut Context<Self>) {
//!         let Presence::Here(socket) = self.0.register(ctx.address().recipient()) else { return ctx.stop() };
//!         self.0.send_to_socket(socket, ToSocket::Attach(ctx.address().recipient()));
//!         self.0.send_to_socket(socket, ToSocket::Flow);
//!     }
//! }
//!
//! impl Handler<FromSocket> for Echo {
//!     type Result = ();
//!
//!     fn handle(&mut self, input: FromSocket, _: &mut Context<Self>) {
//!         if let SocketEvent::Text { text, .. } = input.event {
//!             // A client that is being closed gets nothing more.
//!             _ = self.0.outbox().push(text);
//!         }
//!     }
//! }
//!
//! impl Handler<Presence> for Echo {
//!     type Result = ();
//!
//!     fn handle(&mut self, presence: Presence, ctx: &mut Context<Self>) {
//!         if presence == Presence::Gone {
//!             ctx.stop();
//!         }
//!     }
//! }
//!
//! async fn open(
//!     request: HttpRequest,
//!     payload: Payload,
//!     connections: web::Data<Arc<ConnectionCount>>,
//! ) -> actix_web::Result<HttpResponse> {
//!     let (address, counters) = (peer_address(&request), Arc::new(SocketCounters::default()));
//!     let admission = connections.admit(address, 10_000, 100).map_err(error::ErrorTooManyRequests)?;
//!     let upgrade = Upgrade { max_frame: 64 << 10, protocols: &[], counters: Arc::clone(&counters) };
//!     let opened = upgrade.open(&request, payload).map_err(error::ErrorBadRequest)?;
//!     let options = LinkOptions {
//!         address,
//!         outbox: OutboxLimits::default(),
//!         resume_grace: Duration::ZERO,
//!         close_grace: Duration::from_secs(5),
//!         max_frame: 64 << 10,
//!         requested: tokio::time::Instant::now(),
//!     };
//!     let tokens = Arc::new(ResumeTokens::default());
//!     let (link, number) = SocketLink::new(options, (), opened.socket(), tokens, counters);
//!     Echo(Arc::clone(&link)).start();
//!     Ok(opened.respond(link, number, admission))
//! }
//!
//! # #[actix_web::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let connections = web::Data::new(Arc::new(ConnectionCount::default()));
//! let app = move || App::new().app_data(connections.clone()).route("/echo", web::get().to(open));
//! let server = tune(HttpServer::new(app)).bind("127.0.0.1:0")?;
//! # let address = server.addrs()[0];
//! # let server = server.workers(1).disable_signals().run();
//! # let handle = server.handle();
//! # actix_web::rt::spawn(server);
//! # use futures_util::{SinkExt, StreamExt};
//! # let (mut client, _) = tokio_tungstenite::connect_async(format!("ws://{address}/echo")).await?;
//! # client.send("hello".into()).await?;
//! # assert_eq!(client.next().await.expect("an answer")?.into_text()?, "hello");
//! # drop(client);
//! # handle.stop(false).await;
//! # Ok(())
//! # }
//! ```

mod admission;
mod authority;
mod counters;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod histogram;
mod link;
mod messages;
mod metrics;
mod open_connections;
mod origin;
mod proxies;
mod rate;
mod refusal_log;
mod request_body;
mod resume_tokens;
mod route_guard;
mod server;
mod socket;
mod tcp_connection;
#[cfg(feature = "tls")]
pub mod tls;
mod token_buckets;
mod upgrade;
mod upgrade_service;

pub use admission::{Admission, ConnectionCount, TooMany, subscriber};
pub use authority::{Authority, BadHost, Host, PageOrigin};
pub use callboard_outbox::{
    CloseFrame, Deliver, Outbox, OutboxClosedError, OutboxLimits, OutboxReady, SocketNumber,
};
pub use counters::{SocketCount, SocketCounters};
pub use histogram::{Durations, Histogram};
pub use link::{
    EdgeTexts, LinkOptions, Presence, ResumeError, ResumeOffer, ResumeTokens, Resumption,
    SocketLink,
};
pub use messages::{FromSocket, NewSocket, SocketEvent, ToSocket};
pub use metrics::{ActorKind, MetricSource, NamedCounters, NamedDurations, NamedGauges};
pub use open_connections::{connections_ended, drain};
pub use origin::{ForeignHost, ForeignOrigin, Hosts, Origins, origin_list, shown};
pub use proxies::{
    ForwardedError, TrustedProxies, TrustedProxiesError, is_forwarded, peer_address,
};
pub use rate::{Rate, RateMeter, RateVerdict};
pub use refusal_log::RefusalLog;
pub use request_body::{BODY_TIME, body_within, no_body_within};
pub use resume_tokens::{TokenDigest, TokenTable, prefix_of_token, token_prefix};
pub use route_guard::{Place, RouteGuard};
pub use server::{Serve, tune};
pub use socket::{OpenedSocket, Upgrade};
pub use tcp_connection::on_connect;
pub use token_buckets::{Buckets, Guesses};
pub use upgrade::{UpgradeError, check_upgrade, offer_websocket, whole_seconds};
pub use upgrade_service::http_service;
#[cfg(feature = "tls")]
pub use upgrade_service::https_service;
