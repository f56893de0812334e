//! Run without browsers: injects faults into the sessions of synthetic clients in turn, and
//! measures their recovery times.

mod client;
mod flow;
mod injection;

mod table;

use std::time::Duration;

use callboard_admin::{FaultError, FaultKind, FaultOrder, Measured, Tree};
use tokio::time::{Instant, sleep};

use self::client::Client;
use self::injection::{INJECTIONS, Injection, Target, What};
use self::table::Table;
use crate::process::Server;

/// Reason why the run could not start, or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeadlessError {
    #[error("after {WARM_UP:?} messages do not flow yet")]
    NeverFlowed,
    #[error("{0}: there is no actor of this kind")]
    NoTarget(&'static str),
    #[error("{0}: {1}")]
    NotInjected(&'static str, FaultError),
}

/// Injects faults for this time, and at least one into each kind of actor; returns whether all recovered in time.
///
/// # Errors
/// [`HeadlessError`]
pub(crate) async fn run(
    server: &Server,
    peers: u16,
    seconds: Duration,
) -> Result<bool, HeadlessError> {
    let clients: Vec<(Client, &'static str)> = (0..peers)
        .map(|number| {
            let room = ROOMS[usize::from(number) % ROOMS.len()];
            // At least two in a room, so that each receives messages of another.
            let room = if peers < 4 { ROOMS[0] } else { room };
            (Client::start(server.address, room, &format!("robot{number}")), room)
        })
        .collect();
    let script = Script { server, clients };
    let began = Instant::now();
    if script.flows_again(began, WARM_UP).await.is_none() {
        return Err(HeadlessError::NeverFlowed);
    }
    println!(
        "{peers} peers talk to each other through {}, after {:.0?}",
        server.address,
        began.elapsed()
    );
    let played = script.play(seconds).await;
    drop(script);
    let table = played?;
    print!("{table}");
    Ok(table.all_recovered())
}

struct Script<'a> {
    server: &'a Server,
    clients: Vec<(Client, &'static str)>,
}

impl Script<'_> {
    async fn play(&self, seconds: Duration) -> Result<Table, HeadlessError> {
        let mut table = Table::default();
        let began = Instant::now();
        for (number, injection) in INJECTIONS.iter().cycle().enumerate() {
            if number >= INJECTIONS.len() && began.elapsed() >= seconds {
                break;
            }
            let (victim, room) = &self.clients[number % self.clients.len()];
            let (whole, messages) = self.inject_and_measure(injection, victim, room).await?;
            table.add(injection.name, whole, messages);
        }
        Ok(table)
    }

    /// Injects a fault; returns the times until the tree was whole again, and until the messages of
    /// all clients flowed again.
    async fn inject_and_measure(
        &self,
        injection: &Injection,
        victim: &Client,
        room: &'static str,
    ) -> Result<(Time, Time), HeadlessError> {
        let admin = &self.server.admin;
        let before = admin.recoveries().last().map(|row| row.id);
        let peer = victim.peer_id().unwrap_or_default();
        let tree = admin.tree().await;
        let connection = tree.find(&|node| node.id.strip_prefix("webrtc:") == Some(&peer));
        let connection =
            connection.and_then(|node| node.children.first()).map(|it| it.path.clone());
        let target = Target { peer: &peer, room, connection: connection.as_deref() };
        let mut at = Instant::now();
        let path = match injection.what {
            What::Node(fault, is_it) => {
                let found = tree.find(&|node: &Tree| is_it(node, &target));
                let path = found.ok_or(HeadlessError::NoTarget(injection.name))?.path.clone();
                self.inject(injection, FaultOrder::new(&path, fault)).await?;
                Some(path)
            }
            What::Handshake => {
                let path = connection.ok_or(HeadlessError::NoTarget(injection.name))?;
                self.server.hold.next();
                self.inject(injection, FaultOrder::new(&path, FaultKind::Kill)).await?;
                let path =
                    self.held_handshake().await.ok_or(HeadlessError::NoTarget(injection.name))?;
                at = Instant::now();
                self.inject(injection, FaultOrder::new(&path, FaultKind::FailHandshake)).await?;
                Some(path)
            }
            What::WebSocket => {
                victim.unplug();
                None
            }
        };
        let messages = self.flows_again(at, LONGEST).await;
        let Some(path) = path else { return Ok((Time::None, messages.into())) };
        let whole = self.whole_again(before, &path, at).await;
        if let (Some((id, _)), Some(messages)) = (whole, messages) {
            let messages_ms = Some(messages.as_secs_f64() * 1_000.0);
            // A recovery that the server has forgotten needs no time.
            _ = admin.measured(id, Measured { messages_ms, media_ms: None });
        }
        Ok((whole.map(|(_, time)| time).into(), messages.into()))
    }

    /// Returns the path of the handshake that is held: no other lasts so long.
    async fn held_handshake(&self) -> Option<String> {
        let began = Instant::now();
        while began.elapsed() < LONGEST {
            let running = self.server.connections.handshakes().snapshot();
            let running = running.children.first().map(|it| (it.path.to_string(), it.uptime));
            if let Some((path, Some(uptime))) = running
                && uptime >= HELD
            {
                return Some(path);
            }
            sleep(LOOK).await;
        }
        None
    }

    async fn inject(&self, injection: &Injection, order: FaultOrder) -> Result<(), HeadlessError> {
        let injected = self.server.admin.inject(&order).await;
        injected.map_err(|error| HeadlessError::NotInjected(injection.name, error))
    }

    async fn flows_again(&self, at: Instant, longest: Duration) -> Option<Duration> {
        while at.elapsed() < longest {
            let (injected, now) = (at.into_std(), Instant::now().into_std());
            let times = self.clients.iter().map(|(client, _)| client.recovered(injected, now));
            if let Some(times) = times.collect::<Option<Vec<_>>>() {
                return times.into_iter().max();
            }
            sleep(LOOK).await;
        }
        None
    }

    /// Returns the recovery that the server has recorded for this path, and its time.
    async fn whole_again(
        &self,
        before: Option<u64>,
        path: &str,
        at: Instant,
    ) -> Option<(u64, Duration)> {
        loop {
            let rows = self.server.admin.recoveries();
            let new = rows.iter().filter(|row| Some(row.id) > before);
            let row = new.filter(|row| row.path.starts_with(path)).find_map(|row| {
                Some((row.id, Duration::from_secs_f64(row.whole_ms?.max(0.0) / 1_000.0)))
            });
            if row.is_some() || at.elapsed() >= LONGEST {
                return row;
            }
            sleep(LOOK).await;
        }
    }
}

/// Measured time, or the reason why there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Time {
    /// There was nothing to measure.
    None,
    Took(Duration),
    /// It did not recover in time.
    Never,
}

impl From<Option<Duration>> for Time {
    fn from(time: Option<Duration>) -> Self {
        time.map_or(Self::Never, Self::Took)
    }
}

const ROOMS: [&str; 2] = ["north", "south"];
/// Longest time until messages flow between all clients, also in a debug build.
const WARM_UP: Duration = Duration::from_secs(20);
/// Longest recovery time.
const LONGEST: Duration = Duration::from_secs(10);
/// Age of a handshake that must be a held one: others in this process take less.
const HELD: Duration = Duration::from_millis(100);
/// Interval of checks: short beside the measured times.
const LOOK: Duration = Duration::from_millis(10);
