//! List of the goals of media rooms.

use super::list::{Goal, Part};
use crate::scenarios::Scenario;
use crate::scenarios::growth::Axis;
use crate::servers::Server::{self, *};
use crate::subject::Subject;

/// Returns all measurements.
pub(super) fn parts() -> Vec<Part> {
    let rtp = |publishers, rate, burst| Scenario::Rtp {
        publishers,
        receivers: 20,
        rate,
        burst,
        loss: 0.0,
        estimate: false,
        seconds: 4,
    };
    let evenly = forwarding("A, 1 → 20, 1,000 packets/s", rtp(1, 1_000, false));
    let mut bursts = forwarding("B, 1 → 20, video in bursts", rtp(1, 1_000, true));
    bursts.goals.extend([
        rooms(Goal::ratio("B: latency p50, to bare str0m", "latency p50, ms", 1.0)).to(bare(Str0m)),
        rooms(Goal::figure("B: memory per viewer", "KiB of memory per viewer", 300.0, "KiB")),
        rooms(Goal::figure("B: set-up of a viewer, CPU", "set-up CPU ms per viewer", 4.5, "ms")),
        rooms(Goal::figure("B: the first connection, CPU", "first connection, CPU ms", 15.0, "ms")),
    ]);
    let several = forwarding("C, 5 → 20, 100 packets/s each", rtp(5, 100, false));
    let call = Scenario::Call { participants: 10, estimate: false, seconds: 4 };
    let mut call = forwarding("D, 10 × 9, video and sound", call);
    call.goals.push(rooms(Goal::figure(
        "D: memory per participant",
        "KiB of memory per participant",
        1.8 * 1_024.0,
        "KiB",
    )));
    let growth = |axis, what| Part {
        scenario: Scenario::Growth { of: Some(axis), most: None, turns: 2, svg: None },
        goals: vec![media(Goal::ratio(what, "dearest size, to a smaller one", 1.1))],
    };
    vec![
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
    ]
}

/// Measures a media room and bare str0m that sends bursts in one system call, and the room with an estimate of
/// bandwidth.
fn forwarding(what: &str, scenario: Scenario) -> Part {
    const COST: &str = "CPU s per million forwarded";
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
