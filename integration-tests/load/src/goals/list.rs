//! List of the goals, with the measurement that shows each.

use std::borrow::Cow;

use crate::protocol::Protocol;
use crate::scenarios::growth::Axis;
use crate::scenarios::{Scenario, largest_crowd};
use crate::servers::Server::{self, *};
use crate::subject::{Other, Subject};

/// Measurement that shows one goal, or several.
pub(super) struct Part {
    pub(super) scenario: Scenario,
    pub(super) goals: Vec<Goal>,
}

#[derive(Clone)]
pub(super) struct Goal {
    pub(super) what: Cow<'static, str>,
    /// The baseline; none if the goal is for the figure itself.
    pub(super) baseline: Option<Subject>,
    /// Servers of ours that have to meet it.
    pub(super) ours: Vec<Subject>,
    /// Part of the run, in front of the names of its figures; empty for all of them.
    part: &'static str,
    /// Prefix of the names of its figures, without the part. The worst of all of them counts.
    figures: &'static str,
    /// Upper limit: of the figure, or of its ratio to the baseline.
    pub(super) most: f64,
    /// Whether no round may exceed it, in place of the median.
    pub(super) always: bool,
    pub(super) unit: &'static str,
}

impl Part {
    /// Returns all that are measured, the baselines first.
    pub(super) fn subjects(&self) -> Vec<Subject> {
        let baselines = self.goals.iter().filter_map(|goal| goal.baseline.as_ref());
        let mut subjects = Vec::new();
        for subject in baselines.chain(self.goals.iter().flat_map(|goal| &goal.ours)) {
            if !subjects.contains(subject) {
                subjects.push(subject.clone());
            }
        }
        subjects
    }
}

impl Goal {
    /// Creates a goal for a ratio to the baseline of its part; without one, the figure is a ratio.
    pub(super) fn ratio(
        what: impl Into<Cow<'static, str>>,
        figures: &'static str,
        most: f64,
    ) -> Self {
        let (baseline, ours) = (None, vec![Subject::Ours(Callboard)]);
        let (what, part, always, unit) = (what.into(), "", false, "×");
        Self { what, baseline, ours, part, figures, most, always, unit }
    }

    /// Creates a goal for a figure with a unit.
    pub(super) fn figure(
        what: impl Into<Cow<'static, str>>,
        figures: &'static str,
        most: f64,
        unit: &'static str,
    ) -> Self {
        Self { unit, ..Self::ratio(what, figures, most) }
    }

    fn of(self, ours: &[Server]) -> Self {
        self.of_subjects(ours.iter().copied().map(Subject::Ours))
    }

    pub(super) fn of_subjects(self, ours: impl IntoIterator<Item = Subject>) -> Self {
        Self { ours: ours.into_iter().collect(), ..self }
    }

    /// Compares it with another subject than the other goals of its part.
    pub(super) fn to(self, baseline: Subject) -> Self {
        Self { baseline: Some(baseline), ..self }
    }

    /// Has it met in each round.
    pub(super) fn always(self) -> Self {
        Self { always: true, ..self }
    }

    pub(super) fn part(self, part: &'static str) -> Self {
        Self { part, ..self }
    }

    /// Returns whether this is one of its figures.
    pub(super) fn counts(&self, name: &str) -> bool {
        let figure = name.rsplit(": ").next().unwrap_or(name);
        name.starts_with(self.part) && figure.starts_with(self.figures)
    }
}

fn part(
    scenario: Scenario,
    baseline: Option<Server>,
    goals: impl IntoIterator<Item = Goal>,
) -> Part {
    let baseline = || baseline.map(Subject::Ours);
    let goals = goals.into_iter().map(|goal| Goal { baseline: baseline(), ..goal }).collect();
    Part { scenario, goals }
}

/// Returns all measurements, and what cannot be measured without further servers.
///
/// # Errors
///
/// If there is no goal beside one of `others`: it was given by mistake.
pub(super) fn parts(
    others: &[Other],
    long: bool,
) -> Result<(Vec<Part>, Vec<&'static str>), String> {
    let mut parts = signaling();
    parts.extend(connections());
    if long {
        parts.extend(large());
    }
    let (mut janus, mut webrtc_rs) = (false, false);
    for other in others {
        let subject = Subject::Other(other.clone());
        match (other.protocol(), subject.to_string().as_str()) {
            (Protocol::Janus, _) => {
                janus = true;
                parts.push(beside_janus(subject));
            }
            (Protocol::Offers, "webrtc-rs") => {
                webrtc_rs = true;
                parts.push(beside_webrtc_rs(subject));
            }
            (_, name) => return Err(format!("{name}: there is no goal beside it")),
        }
    }
    let mut missing = Vec::new();
    if !long {
        missing.push("growth, and a crowd; `--long` measures them, in ten minutes more");
    }
    if !janus {
        missing
            .push("beside Janus; `integration-tests/load/peers/run goals` installs and starts it");
    }
    if !webrtc_rs {
        missing.push(
            "beside webrtc-rs; `integration-tests/load/peers/run goals` builds and starts it",
        );
    }
    Ok((parts, missing))
}

fn signaling() -> Vec<Part> {
    const DELIVERIES: &str = "CPU s per million deliveries";
    const MEMORY: &str = "KiB of memory per peer";
    vec![
        part(
            Scenario::Relay { pairs: 50, seconds: 2 },
            Some(Tokio),
            [Goal::ratio(
                "relay, CPU per message, to the hand-written relay",
                "CPU s per million messages",
                1.1,
            )],
        ),
        part(
            Scenario::Fanout { receivers: 1_000, seconds: 2 },
            Some(Tokio),
            [Goal::ratio("fan-out to 1,000, CPU, to the hand-written relay", DELIVERIES, 1.0)],
        ),
        part(
            Scenario::Fanout { receivers: 100, seconds: 2 },
            None,
            [Goal::figure("fan-out to 100, p99", "delivery p99, ms", 2.0, "ms")],
        ),
        part(
            Scenario::Storm { peers: 1_000 },
            Some(Tokio),
            [Goal::ratio(
                "1,000 join one room, CPU, to the hand-written relay",
                "CPU s per million `joined`",
                0.5,
            )],
        ),
        part(
            Scenario::Idle { peers: 10_000, connections: false },
            None,
            [
                Goal::figure("idle peer in a room, memory", MEMORY, 6.0, "KiB"),
                Goal::figure("the same under `HttpServer`", MEMORY, 12.0, "KiB").of(&[Tuned]),
            ],
        ),
        part(
            Scenario::Messages { seconds: 3 },
            Some(Plain),
            [Goal::ratio("message to a supervised actor, CPU, to a plain one", "CPU ns per", 1.05)
                .of(&[Supervised])],
        ),
        part(
            Scenario::Recovery { peers: 50, seconds: 12, busy: 2 },
            None,
            [Goal::figure(
                "killed actor, until the tree is whole, p99, busy",
                "tree whole p99, ms",
                10.0,
                "ms",
            )
            .of(&[Tree])],
        ),
    ]
}

fn connections() -> Vec<Part> {
    vec![
        part(
            Scenario::Connect { peers: 200, at_once: 10 },
            Some(Str0m),
            [Goal::ratio("connect, CPU, to bare str0m", "CPU ms per connect", 0.8)],
        ),
        part(
            // One after the other: the time of a connect, not that of a queue.
            Scenario::Connect { peers: 100, at_once: 1 },
            Some(Str0m),
            [Goal::ratio(
                "offer to open channel, median, to bare str0m",
                "until open p50, ms",
                1.5,
            )],
        ),
        part(
            Scenario::Data {
                connections: 4,
                window: 32,
                sizes: vec![100, 1_024, 65_536],
                seconds: 1,
            },
            Some(Str0m),
            // Wherever the owners of connections run.
            [Goal::ratio("data-channel echo, CPU per message, to bare str0m", ECHO, 0.9)
                .of(&[Callboard, Far])],
        ),
        part(
            Scenario::Bystander { peers: 200 },
            None,
            [Goal::ratio("echo p99 while 200 connect, to p99 at rest", "p99, rush to rest", 2.0)],
        ),
        part(
            Scenario::Rest { peers: 500 },
            Some(Str0m),
            [
                Goal::ratio(
                    "connection at rest, memory, to bare str0m",
                    "KiB of memory per connection",
                    1.1,
                ),
                Goal::ratio(
                    "connection at rest, CPU per second, to bare str0m",
                    "CPU µs per connection and second",
                    1.2,
                ),
            ],
        ),
    ]
}

fn large() -> Vec<Part> {
    // Or as many as this machine allows one process.
    let peers = largest_crowd(20_000);
    let growth = |axis, what| {
        let scenario = Scenario::Growth { of: Some(axis), most: None, turns: 2, svg: None };
        part(scenario, None, [Goal::ratio(what, "dearest size, to a smaller one", 1.1)])
    };
    vec![
        growth(Axis::Peers, "CPU per message, from 10 to 10,000 peers"),
        growth(Axis::Rooms, "CPU per message, from 1 to 1,000 rooms"),
        growth(Axis::Connections, "CPU per message, from 1 to 2,000 connections"),
        part(
            Scenario::Crowd { peers, connections: 2_000, seconds: 10 },
            None,
            [
                Goal::figure(
                    format!("{peers} peers, 2000 connections talk, p99"),
                    "delivery p99, ms",
                    20.0,
                    "ms",
                ),
                Goal::figure("of these, closed", "closed", 0.0, ""),
            ],
        ),
    ]
}

fn beside_janus(janus: Subject) -> Part {
    Part {
        // Janus does not send back 64 KiB.
        scenario: Scenario::Data {
            connections: 4,
            window: 32,
            sizes: vec![100, 1_024],
            seconds: 1,
        },
        goals: vec![
            Goal::ratio("data-channel echo, CPU per message, to Janus", ECHO, 1.2)
                .of(&[Callboard, Far])
                .to(janus),
        ],
    }
}

fn beside_webrtc_rs(webrtc_rs: Subject) -> Part {
    Part {
        scenario: Scenario::Data {
            connections: 4,
            window: 32,
            sizes: vec![100, 60_000],
            seconds: 1,
        },
        goals: vec![
            Goal::ratio("echo of 100 B, CPU per message, to webrtc-rs", ECHO, 1.0)
                .part("100 B,")
                .to(webrtc_rs.clone()),
            Goal::ratio("echo of 60 kB, CPU per message, to webrtc-rs", ECHO, 1.0)
                .part("60000 B,")
                .to(webrtc_rs),
        ],
    }
}

const ECHO: &str = "CPU s per million";

#[cfg(test)]
mod tests {
    use super::super::media;
    use super::*;

    #[test]
    fn every_goal_is_of_servers_that_its_scenario_measures() {
        let others = ["janus=janus@127.0.0.1:1#1", "webrtc-rs=offers@127.0.0.1:2#2"];
        let others = others.map(|text| text.parse::<Other>().unwrap());

        let (parts, missing) = parts(&others, true).unwrap();

        assert!(missing.is_empty());
        let media = media::parts(&[]).unwrap().into_iter().chain(media::in_browsers());
        for part in parts.into_iter().chain(media) {
            for subject in part.subjects() {
                if let Subject::Ours(server) | Subject::Estimating(server) = subject {
                    part.scenario.check(&[server]).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_server_without_a_goal_is_refused() {
        let other: Other = "aiortc=offers@127.0.0.1:1#1".parse().unwrap();

        assert_eq!(parts(&[other], true).err().unwrap(), "aiortc: there is no goal beside it");
    }

    #[test]
    fn media_rooms_are_measured_beside_forwarders_alone() {
        let others = [
            "pion=forwards@127.0.0.1:1#1",
            "janus=janus@127.0.0.1:2#1",
            "aiortc=offers@127.0.0.1:3#1",
        ];
        let [pion, janus, aiortc] = others.map(|text| text.parse::<Other>().unwrap());

        let others = [pion, janus];
        let parts = media::parts(&others).unwrap();
        let of = |other: &Other| {
            let subject = Some(Subject::Other(other.clone()));
            parts
                .iter()
                .filter(|part| part.goals.iter().any(|goal| goal.baseline == subject))
                .map(|part| (other.protocol().serves(&part.scenario), part.scenario.to_string()))
                .collect::<Vec<_>>()
        };
        for other in &others {
            let [a, b, d] = &of(other)[..] else { panic!("{other:?}: {:?}", of(other)) };
            assert_eq!(a, &(true, "rtp 1 → 20, 1000/s, 4 s".to_owned()));
            assert_eq!(b, &(true, "rtp 1 → 20, in bursts, 4 s".to_owned()));
            assert_eq!(d, &(true, "call 10 × 9, 4 s".to_owned()));
        }
        assert_eq!(media::parts(&[aiortc]).err().unwrap(), "aiortc: there is no goal beside it");
        let missing = media::missing(&others[..1]);
        assert!(missing.iter().any(|what| what.starts_with("beside Janus")), "{missing:?}");
        assert!(!missing.iter().any(|what| what.starts_with("beside Pion")), "{missing:?}");
    }

    #[test]
    fn a_goal_may_be_of_one_part_of_a_run() {
        let goal = Goal::ratio("", ECHO, 1.0).part("100 B,");

        assert!(goal.counts("100 B, 32 × 4: CPU s per million"));
        assert!(!goal.counts("100 B, 32 × 4: round trip p99, ms"));
        assert!(!goal.counts("60000 B, 4 × 4: CPU s per million"));
    }
}
