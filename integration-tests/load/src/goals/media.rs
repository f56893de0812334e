//! List of the goals of media rooms.

use super::list::{Goal, Part};
use crate::protocol::Protocol;
use crate::scenarios::Scenario;
use crate::scenarios::browsers::Viewer;
use crate::scenarios::growth::Axis;
use crate::servers::Server::{self, *};
use crate::subject::{Other, Subject};

/// Returns a measurement of so many publishers, whose packets go to 20 each.
fn rtp(publishers: usize, rate: u32, burst: bool) -> Scenario {
    let (receivers, loss, estimate, seconds) = (20, 0.0, false, 4);
    Scenario::Rtp { publishers, receivers, rate, burst, loss, estimate, seconds }
}

/// Returns a measurement of a call of ten.
fn call() -> Scenario {
    Scenario::Call { participants: 10, estimate: false, seconds: 4 }
}

/// Returns the goals beside forwarders of other makers, in a call or from one to many.
///
/// # Errors
///
/// If there is no goal beside one of them: it was given by mistake.
fn beside(others: &[Other], what: &str, in_a_call: bool) -> Result<Vec<Goal>, String> {
    let goal = |other: &Other| {
        let subject = Subject::Other(other.clone());
        let most = match (other.protocol(), in_a_call) {
            (Protocol::Forwards, false) => 0.45,
            (Protocol::Forwards, true) => 0.55,
            (Protocol::Janus, false) => 0.35,
            (Protocol::Janus, true) => 0.4,
            _ => return Err(format!("{subject}: there is no goal beside it")),
        };
        let what = format!("{what}: CPU of a packet, to {subject}");
        Ok(rooms(Goal::ratio(what, COST, most)).to(subject))
    };
    others.iter().map(goal).collect()
}

/// Returns what is not measured for lack of one of these.
pub(super) fn missing(others: &[Other]) -> Vec<&'static str> {
    let all = [
        (
            Protocol::Forwards,
            "beside Pion; `integration-tests/load/peers/run goals --media` builds and starts it",
        ),
        (
            Protocol::Janus,
            "beside Janus; `integration-tests/load/peers/run goals --media` installs and starts it",
        ),
    ];
    let lacks = |protocol| others.iter().all(|other| other.protocol() != protocol);
    let mut missing: Vec<_> =
        all.into_iter().filter(|(protocol, _)| lacks(*protocol)).map(|(_, what)| what).collect();
    missing.push("beside mediasoup, whose worker is in no package: see the README");
    missing
}

/// Returns all measurements, with those of `others`.
///
/// # Errors
///
/// If there is no goal beside one of `others`: it was given by mistake.
pub(super) fn parts(others: &[Other]) -> Result<Vec<Part>, String> {
    let mut evenly = forwarding("A, 1 → 20, 1,000 packets/s", rtp(1, 1_000, false));
    evenly.goals.extend(beside(others, "A", false)?);
    let mut bursts = forwarding("B, 1 → 20, video in bursts", rtp(1, 1_000, true));
    bursts.goals.extend([
        rooms(Goal::ratio("B: latency p50, to bare str0m", "latency p50, ms", 1.0)).to(bare(Str0m)),
        rooms(Goal::figure("B: memory per viewer", "KiB of memory per viewer", 300.0, "KiB")),
        rooms(Goal::figure("B: set-up of a viewer, CPU", "set-up CPU ms per viewer", 4.5, "ms")),
        rooms(Goal::figure("B: the first connection, CPU", "first connection, CPU ms", 15.0, "ms")),
    ]);
    bursts.goals.extend(beside(others, "B", false)?);
    let several = forwarding("C, 5 → 20, 100 packets/s each", rtp(5, 100, false));
    let mut call = forwarding("D, 10 × 9, video and sound", call());
    call.goals.push(rooms(Goal::figure(
        "D: memory per participant",
        "KiB of memory per participant",
        1.8 * 1_024.0,
        "KiB",
    )));
    call.goals.extend(beside(others, "D", true)?);
    let growth = |axis, what: &str| {
        let rise = |what: String| Goal::ratio(what, "dearest size, to a smaller one", 1.1);
        let all = [bare(Media), bare(Rooms)];
        Part {
            scenario: Scenario::Growth { of: Some(axis), most: None, turns: 2, svg: None },
            goals: vec![
                rise(what.to_owned()).of_subjects(all.clone()),
                rise("of that, what bare str0m does not rise by".to_owned())
                    .of_subjects(all)
                    .to(bare(Gso)),
            ],
        }
    };
    Ok(vec![
        evenly,
        bursts,
        several,
        call,
        late(),
        idle(false, 30.0),
        idle(true, 100.0),
        gather(),
        interrupt(),
        growth(Axis::Viewers, "CPU per delivery, from 2 to 200 viewers"),
        growth(Axis::Calls, "CPU per delivery, from 1 to 200 calls"),
        two_threads(),
        cut(),
    ])
}

/// Returns the measurements in browsers.
pub(super) fn in_browsers() -> Vec<Part> {
    let mut parts = Vec::new();
    for viewer in Viewer::ALL {
        let figure = |what, figure, most, unit| {
            Goal::figure(format!("{viewer}: {what}"), figure, most, unit).of_subjects([bare(Pages)])
        };
        parts.push(Part {
            scenario: Scenario::Switches { viewer, times: 200, round_trip: 20 },
            goals: vec![
                figure("200 layer switches, freeze p95", "freeze p95", 250.0, "ms"),
                figure("of these, the longest freeze", "longest freeze", 1_000.0, "ms").always(),
                figure("of these, decoder asks for key frame", "key frames that", 0.0, "").always(),
                figure("of these, did not come", "switches that did not", 0.0, "").always(),
            ],
        });
        parts.push(Part {
            scenario: Scenario::Arrivals { viewer, times: 20, round_trip: 0 },
            goals: vec![figure(
                "late viewer, path to first frame, p95",
                "connected to first frame p95",
                300.0,
                "ms",
            )],
        });
    }
    let goal = Goal::figure("server killed, until pictures are back", "killed to", 1_500.0, "ms");
    parts.push(Part {
        scenario: Scenario::Restarts { times: 3, round_trip: 0 },
        goals: vec![goal.of_subjects([bare(Pages)])],
    });
    parts
}

/// Measures a room of 200 viewers on two media threads beside one on one.
fn two_threads() -> Part {
    let spread = |what, figure, most| {
        Goal::ratio(what, figure, most).of_subjects([bare(Spread)]).to(bare(Rooms))
    };
    Part {
        scenario: Scenario::Saturate { viewers: 200, seconds: 2 },
        goals: vec![
            // 1.8 times the throughput.
            spread("200 viewers on two threads, time, to one", "seconds for a million", 0.555),
            spread("of these, CPU per delivery", "CPU s per million", 1.15),
        ],
    }
}

fn cut() -> Part {
    let link =
        |what, figure, most, unit| Goal::figure(what, figure, most, unit).of_subjects([bare(Link)]);
    Part {
        scenario: Scenario::Cut,
        goals: vec![
            link("link cut to 1 Mbit/s, until estimated", "estimate of the narrow link", 10.0, "s"),
            link("of that, the pinned picture is paused", "pinned track paused", 0.0, "").always(),
            link("link freed, until highest layers are back", "highest layers back", 20.0, "s"),
        ],
    }
}

/// Measures a media room and bare str0m that sends bursts in one system call, and the room with an estimate of
/// bandwidth.
fn forwarding(what: &str, scenario: Scenario) -> Part {
    let estimating = Subject::Estimating(Rooms);
    let all = [bare(Rooms), estimating.clone()];
    let goals = vec![
        rooms(Goal::ratio(format!("{what}: CPU, to str0m with GSO"), COST, 1.0)).to(bare(Gso)),
        Goal::ratio(format!("{}: CPU with estimate, to without", &what[..1]), COST, 1.5)
            .of_subjects([estimating])
            .to(bare(Rooms)),
        Goal::figure(
            format!("{}: lost, with estimate or without", &what[..1]),
            "lost, %",
            0.0,
            "%",
        )
        .of_subjects(all),
    ];
    Part { scenario, goals }
}

fn late() -> Part {
    let goals = vec![
        rooms(Goal::figure(
            "late viewer, path to first packet, p50",
            "connected to first packet p50",
            20.0,
            "ms",
        )),
        rooms(Goal::figure(
            "late viewer, path to first packet, worst of 20",
            "connected to first packet, worst",
            60.0,
            "ms",
        )),
    ];
    Part { scenario: Scenario::Late { viewers: 20 }, goals }
}

fn idle(connections: bool, most: f64) -> Part {
    let what = match connections {
        false => "idle participant, WebSocket alone, memory",
        true => "idle participant with a connection, memory",
    };
    let peers = if connections { 200 } else { 2_000 };
    let goal = Goal::figure(what, "KiB of memory per peer", most, "KiB");
    Part { scenario: Scenario::Idle { peers, connections }, goals: vec![media(goal)] }
}

fn gather() -> Part {
    let goals = [
        Goal::figure(
            "50 join a call, first packet, p95",
            "join to first packet p95",
            1_000.0,
            "ms",
        ),
        Goal::figure("of these, offers of a client", "offers of a client", 4.0, ""),
        Goal::figure("key frame requests of a track in a second", "key frame requests", 2.0, ""),
        Goal::figure("packets lost at those already in", "packets lost", 0.0, ""),
    ];
    Part {
        scenario: Scenario::Gather { participants: 50, seconds: 10 },
        goals: goals.map(media).into(),
    }
}

fn interrupt() -> Part {
    let gap = |what, part, figure, most| Goal::figure(what, figure, most, "ms").part(part);
    let goals = [
        Goal::figure("the room panics, packets lost", "others' packets lost", 0.0, "")
            .part("stage panics"),
        gap("subscriber panics, its gap, p99", "subscriber panics", "its own gap p99", 500.0),
        gap(
            "publisher panics, viewers' gap, p99",
            "publisher panics",
            "its viewers' gap p99",
            500.0,
        ),
        gap("connection panics, its gap, p99", "connection panics", "its own gap p99", 2_500.0),
        gap("the same, viewers' gap, p99", "connection panics", "its viewers' gap p99", 1_000.0),
        Goal::figure("any of them panics, packets lost of others", "others' packets lost", 0.0, ""),
    ];
    Part {
        scenario: Scenario::Interrupt { participants: 5, seconds: 12, busy: 0 },
        goals: goals.map(media).into(),
    }
}

fn media(goal: Goal) -> Goal {
    goal.of_subjects([bare(Media)])
}

fn rooms(goal: Goal) -> Goal {
    goal.of_subjects([bare(Rooms)])
}

fn bare(server: Server) -> Subject {
    Subject::Ours(server)
}

const COST: &str = "CPU s per million forwarded";
