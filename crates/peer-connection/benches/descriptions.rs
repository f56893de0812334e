//! Benchmark of offers by their sections: CPU time from the offer to the answer, with a new connection each time.
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use std::time::Duration;

use actix::prelude::*;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::sdp::Sdp;
use callboard_peer_connection::*;

const ROUNDS: usize = 3;
/// Sections that are answered in a round, by a bounded number of connections.
const SECTIONS: usize = 512;
const OFFERS: (usize, usize) = (4, 64);

struct Listener;

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<PeerConnectionEvent> for Listener {
    type Result = ();

    fn handle(&mut self, _: PeerConnectionEvent, _: &mut Context<Self>) {}
}

fn main() {
    System::new().block_on(async {
        let options =
            PeerConnectionsOptions { media_threads: 1, ..PeerConnectionsOptions::default() };
        let pool = PeerConnections::start(options).await.expect("a port");
        let settings = ApiSettings { max_sections: 512, ..ApiSettings::default() };
        let api =
            Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings);
        let owner = Listener.start();
        println!("CPU from the offer to the answer, by sections of video as Chromium writes them");
        let mut one = None;
        for sections in [1, 12, 64, 256] {
            let text = offer(sections);
            let mut rounds = Vec::new();
            for _ in 0..ROUNDS {
                rounds.push(answer(&pool, &api, &owner, (&text, sections)).await);
            }
            rounds.sort_unstable();
            let median = rounds[ROUNDS / 2].as_secs_f64() * 1e3;
            let first = *one.get_or_insert(median);
            let each = (median - first) / (sections - 1).max(1) as f64;
            println!("  {sections:>3}: {median:.2} ms, {each:.3} ms for each further section");
        }
        pool.stop().await;
    });
}

async fn answer(
    pool: &PeerConnections,
    api: &Api,
    owner: &Addr<Listener>,
    (text, sections): (&str, usize),
) -> Duration {
    let offers = (SECTIONS / sections).clamp(OFFERS.0, OFFERS.1);
    let before = cpu_time();
    for _ in 0..offers {
        let owner = owner.clone().recipient();
        let connection = pool.open(api, Configuration::default(), owner).await.expect("one");
        let offer = SetRemoteDescription(SessionDescription::offer(text));
        connection.send(offer).await.expect("it runs").expect("taken");
        connection.send(SetLocalDescription(None)).await.expect("it runs").expect("answered");
        connection.close().await;
    }
    (cpu_time() - before) / offers as u32
}

/// Returns an offer of this many sections of video.
fn offer(sections: usize) -> String {
    let mut sdp = Sdp::parse(include_str!("../tests/sdp/chromium-offer-video.sdp"));
    let section = sdp.media()[0].clone();
    let mids: Vec<String> = (0..sections).map(|at| at.to_string()).collect();
    let named = mids.iter().map(|mid| {
        let mut section = section.clone();
        section.set_attribute("mid", mid);
        section.remove_attributes("ssrc");
        section.remove_attributes("ssrc-group");
        section
    });
    *sdp.media_mut() = named.collect();
    sdp.set_bundle(&mids.iter().map(String::as_str).collect::<Vec<_>>());
    sdp.to_string()
}

/// Returns the CPU time of all threads of this process.
fn cpu_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux lists them");
    let all = threads.flatten().map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        stat.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0)
    });
    Duration::from_nanos(all.sum())
}
