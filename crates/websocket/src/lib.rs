//! WebSocket edge of an actix server: upgrade requests, sockets, socket links, request checks, TLS.
//!
//! It knows no peer and no room. An application opens a socket with an [`Upgrade`], ties it to an actor of its own by a
//! [`SocketLink`], and sends through the link's [`Outbox`]. The link survives the socket: with a grace period, the
//! client may come back with another one. This is the only crate that names actix-web-actors.
//!
//! A server that has connections over TLS needs the feature `tls`, which is on by default: also one that calls
//! [`HttpServer::bind_rustls_0_23`](https://docs.rs/actix-web) itself.

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
    EdgeTexts, LinkOptions, Presence, ResumeError, ResumeOffer, ResumeTokens, SocketLink,
};
pub use messages::{FromSocket, NewSocket, SocketEvent, ToSocket};
pub use metrics::{ActorKind, MetricSource, NamedDurations};
pub use open_connections::{connections_ended, drain};
pub use origin::{ForeignHost, ForeignOrigin, Hosts, Origins, origin_list, shown};
pub use proxies::{
    ForwardedError, TrustedProxies, TrustedProxiesError, is_forwarded, peer_address,
};
pub use rate::{Rate, RateMeter, RateVerdict};
pub use refusal_log::RefusalLog;
pub use request_body::{BODY_TIME, body_within, no_body_within};
pub use resume_tokens::{TokenDigest, TokenTable};
pub use route_guard::{Place, RouteGuard};
pub use server::{Serve, tune};
pub use socket::{OpenedSocket, Upgrade};
pub use tcp_connection::on_connect;
pub use token_buckets::{Buckets, Guesses};
pub use upgrade::{UpgradeError, check_upgrade, offer_websocket, whole_seconds};
pub use upgrade_service::http_service;
#[cfg(feature = "tls")]
pub use upgrade_service::https_service;
