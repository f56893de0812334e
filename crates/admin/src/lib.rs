//! Admin routes of a running server: the supervision tree as JSON and as a stream, fault injection, recovery times,
//! metrics, liveness and readiness.
//!
//! They are off unless they are mounted. A client with full access can stop any actor, so by default only this machine
//! has it: without a [token](AdminBuilder::token) they answer no other host, no proxy, and no page of another site.
//!
//! It needs no more than a supervisor: see the example `plain_tree`.
//!
//! ```no_run
//! use actix_web::{App, HttpServer};
//! use callboard_admin::Admin;
//! use callboard_supervision::{Flags, SupervisorSpec};
//!
//! # #[actix_web::main]
//! # async fn main() -> std::io::Result<()> {
//! let root = SupervisorSpec::new(Flags::default()).start_as("server").await.expect("no child could fail");
//! let admin = Admin::builder(root).build();
//! println!("{}", callboard_admin::draw(&admin.tree().await));
//! let app = move || App::new().configure(admin.at("/admin"));
//! HttpServer::new(app).bind("127.0.0.1:8080")?.run().await
//! # }
//! ```
//!
//! | route | what |
//! |---|---|
//! | `GET /tree` | the [`Tree`]; `?nodes=all`: of all nodes of the cluster |
//! | `GET /tree/stream` | a WebSocket: the tree when it changes, at most four times a second; events and recoveries at once |
//! | `POST /tree/fault` | inject the fault of a [`FaultOrder`]: 204 |
//! | `GET /tree/recoveries` | the last 256 [`Recovery`]s, with percentiles |
//! | `POST /tree/recoveries/{id}` | add [`Measured`] times: 204 |
//! | `POST /cluster/drain` | begin to [drain](AdminBuilder::drain) this node of a cluster: 202 |
//! | `GET /metrics` | for Prometheus: text, or OpenMetrics if that is asked for |
//! | `GET /healthz` | liveness: 200. Needs no authorization |
//! | `GET /readyz` | readiness: 200, or 503 while the root or one of its permanent children is down. Needs no authorization; only authorized clients see what is down |
//!
//! With the feature `webrtc`, peer connections are shown below the actors that own them, with their details, metrics
//! and faults.

mod access;
mod admin;
mod builder;
#[cfg_attr(not(feature = "cluster"), path = "without_cluster.rs")]
mod cluster;
mod contain_panic;
#[cfg(feature = "webrtc")]
mod details;
mod draw;
mod error;
mod event_counts;
mod exposition;
mod fault;
mod health;
mod inject;
mod metric_values;
mod metrics;
mod other_nodes;
mod recovery;
mod routes;
mod stream;
mod tree;
mod watch;
#[cfg_attr(not(feature = "webrtc"), path = "without_webrtc.rs")]
mod webrtc;

pub use admin::Admin;
pub use builder::AdminBuilder;
pub use draw::{draw, draw_within};
pub use fault::{FaultError, FaultKind, FaultOrder};
pub use health::NotReady;
pub use recovery::{Measured, MeasuredError, Percentiles, Recovery, RecoverySummary};
pub use tree::{LastExit, Tree};
