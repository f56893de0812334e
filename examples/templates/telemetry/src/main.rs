//! Telemetry: devices push values, a room sums them up for those who watch, and an operator sees the server's tree.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use callboard::admin::Admin;
use callboard::prelude::*;
use callboard::rooms::{RoomsBuilder, Tell};
use callboard::signaling::rpc::{HookContext, HookNameError, Hooks};
use callboard::signaling::{Run, client_script};
use callboard::supervision::MainError;
use serde::Serialize;

/// A site with its devices: it tells those who watch once in a second what has come.
#[derive(Default)]
struct Site {
    series: BTreeMap<String, Summary>,
    changed: bool,
}

/// What is kept of all values of one name.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Summary {
    count: u64,
    least: f64,
    most: f64,
    mean: f64,
}

impl Room for Site {
    type Options = ();
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init((): &(), room: &RoomContext) -> Result<Self, Rejection> {
        room.every(EVERY);
        Ok(Self::default())
    }

    fn on_tick(&mut self, room: &RoomContext) {
        if std::mem::take(&mut self.changed) {
            _ = room.broadcast("summary", &self.series);
        }
    }
}

/// A value that a device has pushed.
struct Sample {
    name: String,
    value: f64,
}

impl Tell<Sample> for Site {
    fn on_tell(&mut self, Sample { name, value }: Sample, _: &RoomContext) {
        // Devices choose the names, so there must be a bound.
        if self.series.len() >= MAX_SERIES && !self.series.contains_key(&name) {
            return;
        }
        let fresh = Summary { count: 0, least: value, most: value, mean: 0.0 };
        let summary = self.series.entry(name).or_insert(fresh);
        summary.count += 1;
        summary.least = summary.least.min(value);
        summary.most = summary.most.max(value);
        summary.mean += (value - summary.mean) / summary.count as f64;
        self.changed = true;
    }
}

/// A device or a page that watches.
struct Device;

impl Peer for Device {
    type Options = ();

    /// Admits everyone. A server of yours would look at a token here.
    async fn on_init(_: &InitContext, _: &AuthData, (): &()) -> Result<PeerInit<Self>, Rejection> {
        Ok(Self.into())
    }
}

/// Takes a value: devices call `telemetry.push("temperature", 21.5)`.
async fn push((name, value): (String, f64), caller: HookContext) -> Result<(), Rejection> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err("bad_name".into());
    }
    // A room that is too busy says so, and the device may try again.
    caller.room.tell::<Site, _>(Sample { name, value }).map_err(|_| Rejection::from("busy"))
}

fn rooms(builder: RoomsBuilder) -> Rooms {
    let site = || vec![RoomOptions::<Site>::new("site", ()).max_peers(MAX_PEERS).into()];
    builder.open_at_start(site).build()
}

fn signaling(rooms: &Rooms) -> Result<Signaling<Device>, HookNameError> {
    let hooks = Hooks::builder().plugin("telemetry", |plugin| plugin.hook("push", push)).build()?;
    Ok(Signaling::new(PeerOptions::<Device>::new((), rooms.clone()).hooks(hooks)))
}

async fn page() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(include_str!("page.html"))
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
    let rooms = rooms(Rooms::builder());
    let tree = rooms.start().await?;
    let signaling = signaling(&rooms)?;
    // Only this machine has access to it, unless it gets a token.
    let admin = Admin::builder(tree.clone()).counters(signaling.counters()).build();
    let app = move || {
        App::new()
            .configure(client_script("/callboard.js"))
            .configure(signaling.at(&["/socket/{room}"]))
            .configure(admin.at("/admin"))
            .route("/", web::get().to(page))
    };
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let bound = tune(HttpServer::new(app)).bind(&listen);
    let server = bound.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(Run::new()?.rooms(&rooms).tree(&tree).serve(server).await?)
}

/// Time between two summaries.
const EVERY: Duration = Duration::from_secs(1);
/// Number of names that a site keeps.
const MAX_SERIES: usize = 1_000;
/// Longest name, in bytes.
const MAX_NAME: usize = 100;
/// Number of devices and pages at one site.
const MAX_PEERS: usize = 1_000;

#[cfg(test)]
mod tests {
    use callboard_client::{ClientEvent, ClientOptions};
    use callboard_test_kit::{TestServer, single_threaded_rooms};

    use super::*;

    #[actix_web::test]
    async fn what_devices_push_is_summed_up_for_those_who_watch() {
        let rooms = rooms(single_threaded_rooms());
        rooms.start().await.unwrap();
        let signaling = signaling(&rooms).unwrap();
        let server =
            TestServer::start(|| App::new().configure(signaling.at(&["/socket/{room}"]))).await;
        let device = server.client("/socket/site", ClientOptions::new()).await.unwrap();
        let mut page = server.client("/socket/site", ClientOptions::new()).await.unwrap();

        for value in [20.0, 22.0] {
            device.call("telemetry", "push", ("temperature", value)).await.unwrap();
        }
        let nameless = device.call("telemetry", "push", ("", 1.0)).await;

        assert!(nameless.is_err());
        // Two summaries, if a second ended between the two values.
        let summary = loop {
            let Some(ClientEvent::Message(message)) = page.next_event().await else { continue };
            assert_eq!(message.event, "summary");
            if message.data["temperature"]["count"] == 2 {
                break message.data;
            }
        };
        assert_eq!(summary["temperature"]["mean"], 21.0);
        assert_eq!(summary["temperature"]["most"], 22.0);
    }
}
