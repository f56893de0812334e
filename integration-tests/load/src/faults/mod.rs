//! Fault suite: three nodes, three NATS servers, clients that talk across the nodes, and faults from a seed. The
//! history of the run is checked.

mod balancer;
mod moves;
mod plan;
mod suite;
mod talker;
mod tap;
mod views;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use std::{fs, io};

use clap::Args;
use clap::builder::PossibleValuesParser;
use integration_tests::history::{Bounds, Event, Phase, Recorder};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use self::plan::{Fault, Plan};
use self::suite::{Counts, NODES, Suite, local_room};
use self::talker::{Order, Talker};
use self::views::Writer;
use crate::check;
use crate::cluster::stage::{self, Stage};

#[derive(Args)]
pub(crate) struct FaultOptions {
    /// Number that chooses the faults, their lengths, and what the clients do.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how many minutes faults happen; some seconds come before, and up to a minute after.
    #[arg(long, default_value_t = 20)]
    minutes: u64,
    /// For how many seconds, in place of minutes.
    #[arg(long, conflicts_with = "minutes")]
    seconds: Option<u64>,
    /// Which faults happen, by their names, such as `Drain,Move`. Default: all.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(Fault::NAMES))]
    only: Vec<String>,
    /// Folder for the histories and logs, which is made. By default they are kept in a new folder if something is
    /// wrong.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// For how many seconds a node's session holds; many faults last between a third of that and all of it.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(3..=60))]
    hold: u64,
    /// In how many seconds all must agree after a fault, messages arrive, and clients be told something. A machine that
    /// is busy with other things needs more.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=120))]
    wait: u64,
}

/// Runs the suite, and checks its history.
pub(crate) fn run(options: &FaultOptions) -> Result<(), Box<dyn Error>> {
    let (folder, is_kept) = match &options.keep {
        Some(folder) => (folder.clone(), true),
        None => {
            let name = format!("callboard-faults-{}-{}", options.seed, std::process::id());
            (std::env::temp_dir().join(name), false)
        }
    };
    fs::create_dir_all(&folder)?;
    let length = Duration::from_secs(options.seconds.unwrap_or(60 * options.minutes));
    // A thread that moves to other networks, and whose end ends all that it has started.
    let ran = thread::scope(|scope| {
        let running = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(act(options, length, &folder))
        });
        running.join()
    });
    let ran = ran.unwrap_or_else(|_| Err(io::Error::other("it has failed")));
    ran.map_err(|error| format!("{error}; histories and logs are in {}", folder.display()))?;
    let checked = check::run(&histories(&folder)?);
    if checked.is_err() || is_kept {
        println!("seed {}: histories and logs are in {}", options.seed, folder.display());
    } else {
        fs::remove_dir_all(&folder)?;
    }
    checked
}

/// Returns the histories in a folder.
fn histories(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let files = fs::read_dir(folder)?.map(|file| file.map(|file| file.path()));
    let mut files = files.collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|end| end == "jsonl"));
    Ok(files)
}

/// Lets the nodes run, the clients talk, and the faults happen.
async fn act(options: &FaultOptions, length: Duration, folder: &Path) -> io::Result<()> {
    let recorder = Recorder::create(&folder.join("run.jsonl"), "run")?;
    let bounds = Bounds {
        wait_ms: options.wait * 1_000,
        left_ms: options.wait * 2_000,
        latency_ms: options.wait * 200,
    };
    recorder.record(Event::Bounds(bounds));
    let wait = Duration::from_secs(options.wait);
    let mut suite = Suite::start(folder, options.hold, wait, recorder.clone()).await?;
    suite.warm().await?;
    let counts = count(&suite, &recorder, None).await;
    let (order, orders) = (suite.order.clone(), suite.order.subscribe());
    let mut random = fastrand::Rng::with_seed(options.seed);
    let views = suite.views.clone();
    let talkers = talkers(&suite, &recorder, wait)
        .map(|talker| tokio::spawn(talker.run(orders.clone(), random.u64(..))));
    let talking: Vec<JoinHandle<()>> = talkers.collect();
    let health = probe_health(&suite.stage, &recorder);
    let calm = async |longest: Duration| {
        let until = Instant::now() + longest;
        while !views.agree() && Instant::now() < until {
            sleep(BETWEEN_LOOKS).await;
        }
        recorder.record(Event::Calm);
    };
    calm(LONGEST_START).await;

    let began = Instant::now();
    let is_wanted = |fault: &Fault| {
        options.only.is_empty() || options.only.iter().any(|one| *one == fault.name())
    };
    for fault in Plan::new(options.seed, options.hold).filter(is_wanted) {
        if began.elapsed() >= length {
            break;
        }
        log::info!("{fault}");
        order.send_replace(Order::Churn);
        suite.suffer(fault).await?;
        order.send_replace(Order::Talk);
        calm(wait).await;
    }

    order.send_replace(Order::Listen);
    // Until the last messages must have arrived.
    sleep(wait.min(LAST_MESSAGES)).await;
    calm(wait).await;
    order.send_replace(Order::Leave);
    for talker in talking {
        // Its panic is ours.
        timeout(LONGEST_LEAVE, talker).await??;
    }
    health.abort();
    count(&suite, &recorder, Some(&counts)).await;
    Ok(())
}

/// Returns clients at all nodes: some of each room that all nodes share, and some of rooms of one node.
fn talkers(suite: &Suite, recorder: &Recorder, wait: Duration) -> impl Iterator<Item = Talker> {
    let nodes: Vec<(String, _)> =
        suite.stage.nodes().iter().map(|node| (node.name.to_owned(), node.address)).collect();
    let mut all = Vec::new();
    for (number, room) in SHARED.iter().enumerate() {
        for at in 0..nodes.len() {
            let mut nodes = nodes.clone();
            // Its home is where the first asks.
            nodes.rotate_left((at + number) % NODES.len());
            all.push(((*room).to_owned(), nodes, false));
        }
    }
    for (at, (node, _)) in nodes.iter().enumerate() {
        for _ in 0..2 {
            let mut nodes = nodes.clone();
            nodes.rotate_left(at);
            all.push((local_room(node), nodes, true));
        }
    }
    let (recorder, views) = (recorder.clone(), suite.views.clone());
    let balancer = suite.balancer.clone();
    all.into_iter().enumerate().map(move |(number, (room, nodes, is_local))| {
        let name = format!("{number} in {room}");
        let writer = Writer::new(&recorder, &name, &views);
        Talker { name, room, nodes, is_local, balancer: balancer.clone(), writer, wait }
    })
}

/// Asks all nodes again and again whether they live.
fn probe_health(stage: &Stage, recorder: &Recorder) -> JoinHandle<()> {
    let addresses: Vec<_> = stage.nodes().iter().map(|node| (node.name, node.address)).collect();
    let recorder = recorder.clone();
    tokio::spawn(async move {
        let mut ticks = interval(Duration::from_millis(500));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for (name, address) in &addresses {
                let alive = stage::ask(*address, "/healthz").await.is_ok();
                let node = (*name).to_owned();
                recorder.record(Event::Health { node, status: alive.then_some(200) });
            }
        }
    })
}

/// Counts what must not become more; at the end, once it is no more than at the start, or after a while.
async fn count(suite: &Suite, recorder: &Recorder, before: Option<&Counts>) -> Counts {
    let until = Instant::now() + LONGEST_REST;
    loop {
        let counts = suite.counts().await;
        let is_more = |(what, number): (_, &u64)| {
            before.and_then(|before| before.get(what)).is_some_and(|start| number > start)
        };
        if !counts.iter().any(is_more) || Instant::now() > until {
            let phase = if before.is_some() { Phase::End } else { Phase::Start };
            for ((by, what), number) in &counts {
                let of = BTreeMap::from([((*what).to_owned(), *number)]);
                recorder.named(by).record(Event::Counts { phase, of });
            }
            return counts;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Rooms whose clients are at all nodes.
const SHARED: [&str; 3] = ["shared", "direct", "strict"];
/// Time after the last message in which it should arrive.
const LAST_MESSAGES: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Longest time until all clients are in their rooms.
const LONGEST_START: Duration = Duration::from_secs(60);
/// Longest wait until there is no more of anything than at the start: NATS keeps a consumer of a process that was
/// killed for half a minute.
const LONGEST_REST: Duration = Duration::from_secs(60);
const LONGEST_LEAVE: Duration = Duration::from_secs(30);
