//! Smoke tests of every scenario against every server, with little load: they check that it works and reports figures,
//! not how large these are.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use integration_tests::program;
use serde_json::Value;

fn run(scenario: &[&str]) -> BTreeMap<(String, String), f64> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    let output = command
        .args(["run", "--rounds", "1", "--json"])
        .args(scenario)
        .output()
        .expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario:?}: {error}");
    let lines = String::from_utf8(output.stdout).expect("text");
    let lines = lines.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let name = |of: &str| line[of].as_str().expect("a name").to_owned();
        ((name("server"), name("figure")), line["median"].as_f64().expect("a figure"))
    });
    lines.collect()
}

/// Returns this figure of the four servers that signal.
fn of_all(figures: &BTreeMap<(String, String), f64>, figure: &str) -> Vec<f64> {
    of(figures, figure, 4)
}

fn of(figures: &BTreeMap<(String, String), f64>, figure: &str, servers: usize) -> Vec<f64> {
    let found: Vec<f64> =
        figures.iter().filter(|((_, name), _)| name == figure).map(|(_, value)| *value).collect();
    assert_eq!(found.len(), servers, "{figure}: {figures:?}");
    found
}

#[test]
fn actors_are_sent_messages() {
    let figures = run(&["messages", "--seconds", "1"]);
    let of = |server: &str, how: &str| figures[&(server.to_owned(), format!("CPU ns per `{how}`"))];
    for server in ["plain", "supervised"] {
        assert!(of(server, "send") > 0.0 && of(server, "do_send") > 0.0, "{figures:?}");
    }
}

#[test]
fn messages_are_relayed() {
    let figures = run(&["relay", "3", "--seconds", "1"]);
    assert!(of_all(&figures, "messages per second").into_iter().all(|rate| rate > 0.0));
    assert!(of_all(&figures, "round trip p99, ms").into_iter().all(|wait| wait > 0.0));
}

#[test]
fn messages_reach_every_member_of_a_room() {
    let figures = run(&["fanout", "10", "--seconds", "1"]);
    assert!(of_all(&figures, "deliveries per second").into_iter().all(|rate| rate > 0.0));
}

#[test]
fn all_join_at_once() {
    let figures = run(&["storm", "30"]);
    assert!(of_all(&figures, "join p99, ms").into_iter().all(|wait| wait > 0.0));
}

/// Each scenario rests for most of its time, so they rest together.
#[test]
fn peers_and_connections_that_say_nothing_take_memory() {
    thread::scope(|scope| {
        for (scenario, figure, servers) in [
            (&["idle", "200"][..], "KiB of memory per peer", 5),
            (&["idle", "20", "--connections"], "KiB of memory per peer", 2),
            (&["rest", "20"], "KiB of memory per connection", 2),
        ] {
            scope.spawn(move || {
                let figures = run(scenario);
                assert!(of(&figures, figure, servers).into_iter().all(|size| size > 0.0));
            });
        }
    });
}

#[test]
fn peers_who_come_and_go_leave_no_descriptor() {
    let figures = run(&["churn", "10", "--seconds", "2"]);
    assert!(of_all(&figures, "descriptors at the end").into_iter().all(|count| count <= 64.0));
    assert!(of(&figures, "actors kept", 2).into_iter().all(|count| count == 0.0));
}

#[test]
fn connections_are_made() {
    let figures = run(&["connect", "12", "--at-once", "4"]);
    assert!(of(&figures, "until open p99, ms", 2).into_iter().all(|wait| wait > 0.0));
}

#[test]
fn one_talks_while_others_connect() {
    let figures = run(&["bystander", "12"]);
    assert!(of(&figures, "echo p99 during the rush, ms", 2).into_iter().all(|wait| wait > 0.0));
}

#[test]
fn a_crowd_hears_all_that_is_said() {
    let crowd = ["crowd", "20", "--connections", "3", "--seconds", "1", "--servers", "callboard"];

    let figures = run(&crowd);

    for part in ["peers", "connections"] {
        let of = |figure: &str| of(&figures, &format!("{part}: {figure}"), 1)[0];
        assert!(of("delivery p99, ms") > 0.0, "{figures:?}");
        assert_eq!((of("lost"), of("closed")), (0.0, 0.0), "{figures:?}");
    }
}

#[test]
fn the_cost_of_a_message_is_shown_at_each_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rooms.svg");
    let svg = ["--svg", file.to_str().expect("text")];
    let growth = ["growth", "rooms", "--most", "3", "--turns", "1", "--servers", "callboard"];

    let figures = run(&[&growth[..], &svg].concat());

    for size in ["rooms 1", "rooms 3"] {
        assert!(of(&figures, &format!("{size}: CPU µs per message"), 1)[0] > 0.0, "{figures:?}");
    }
    let svg = std::fs::read_to_string(file).expect("a picture");
    assert!(svg.starts_with("<svg") && svg.contains(">callboard</text>"), "{svg}");
}

#[test]
fn an_echo_has_a_cost_too() {
    let growth = ["growth", "connections", "--most", "1", "--turns", "1", "--servers", "callboard"];

    let figures = run(&growth);

    assert!(of(&figures, "connections 1: CPU µs per message", 1)[0] > 0.0, "{figures:?}");
}

#[test]
fn a_delivered_picture_has_a_cost_at_each_size() {
    for (axis, most) in [("viewers", "3"), ("calls", "2")] {
        let figures = run(&["growth", axis, "--most", most, "--turns", "1"]);

        // On a busy machine the cost of a few pictures is lost in that of rest, which is subtracted.
        let cost = format!("{axis} {most}: CPU µs per message");
        assert!(of(&figures, &cost, 3).into_iter().all(f64::is_finite), "{figures:?}");
        let rest = of(&figures, &format!("{axis} {most}: at rest, CPU µs/s of one"), 3);
        assert!(rest.into_iter().all(|rest| rest > 0.0), "{figures:?}");
    }
}

#[test]
fn messages_come_back_on_data_channels() {
    let figures = run(&["data", "--connections", "2", "--window", "4", "--seconds", "1"]);
    let rate = |part: &str, servers| {
        of(&figures, &format!("{part}: messages per second"), servers).into_iter()
    };
    assert!(rate("100 B, 4 × 2", 4).chain(rate("65536 B, 4 × 2", 3)).all(|rate| rate > 0.0));
}

#[test]
fn aiortc_measure_beside_ours() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers/aiortc_echo.py");
    let other = Other::start(Command::new(program::python()).arg(script).arg("127.0.0.1"));

    other.measure_beside_ours("aiortc");
}

#[test]
fn webrtc_rs_measure_beside_ours() {
    let program = program::of_the_machine("webrtc-rs-peer", "nothing: it is built there");
    let other = Other::start(Command::new(program).args(["serve", "127.0.0.1"]));

    other.measure_beside_ours("webrtc-rs");
}

/// Server of another project, which answers offers until its input ends.
struct Other {
    child: Child,
    address: String,
}

impl Other {
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let address = lines.next().expect("it says where it is").expect("text");
        Self { child, address }
    }

    fn measure_beside_ours(mut self, name: &str) {
        let other = format!("{name}=offers@{}#{}", self.address, self.child.id());
        let beside = ["--servers", "callboard", "--other", &other];

        let connects = run(&[&["connect", "4", "--at-once", "2"], &beside[..]].concat());
        let small = ["data", "--connections", "2", "--window", "4", "--seconds", "1"];
        let data = run(&[&small, &beside[..]].concat());

        assert!(connects[&(name.to_owned(), "until open p99, ms".to_owned())] > 0.0);
        let rates = data.iter().filter(|((_, figure), _)| figure.ends_with("messages per second"));
        let rates: Vec<_> = rates.collect();
        assert_eq!(rates.len(), 3 * 2, "{data:?}");
        assert!(rates.into_iter().all(|(_, rate)| *rate > 0.0), "{data:?}");
        assert!(self.child.try_wait().expect("its state").is_none(), "it was left running");
        // It ends with its input.
        drop(self.child.stdin.take());
        self.child.wait().expect("its end");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Also when the test has failed. A process that has ended cannot be killed.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn packets_are_forwarded() {
    let figures = run(&["rtp", "2", "3", "--rate", "100", "--seconds", "1"]);
    assert!(of(&figures, "delivered", 6).into_iter().all(|packets| packets > 500.0));
    assert!(of(&figures, "lost, %", 6).into_iter().all(|part| part < 10.0));
}

#[test]
fn a_viewer_has_a_cost_at_its_beginning_and_takes_memory() {
    let scenario = ["rtp", "1", "4", "--burst", "--seconds", "1", "--servers", "gso,rooms"];
    let figures = run(&scenario);
    for figure in
        ["set-up CPU ms per viewer", "first connection, CPU ms", "KiB of memory per viewer"]
    {
        assert!(of(&figures, figure, 2).into_iter().all(|value| value > 0.0), "{figures:?}");
    }
}

#[test]
fn participants_of_a_call_receive_all_others() {
    let figures = run(&["call", "3", "--seconds", "1"]);
    // Of 1,920; a busy machine may cut off the end.
    let delivered = of(&figures, "delivered", 3);
    assert!(delivered.iter().all(|packets| *packets > 500.0), "{figures:?}");
    assert!(of(&figures, "KiB of memory per participant", 3).into_iter().all(|size| size > 0.0));
}

#[test]
fn a_late_viewer_gets_packets() {
    let figures = run(&["late", "2"]);
    assert!(
        of(&figures, "connected to first packet p50, ms", 3).into_iter().all(|wait| wait > 0.0)
    );
}

#[test]
fn viewers_that_stand_still_take_all_that_a_server_can_send() {
    let figures = run(&["saturate", "4", "--seconds", "1"]);
    assert!(of(&figures, "deliveries per second", 3).into_iter().all(|rate| rate > 0.0));
    let cost = of(&figures, "CPU s per million deliveries", 3);
    assert!(cost.into_iter().all(|cost| cost.is_finite() && cost > 0.0), "{figures:?}");
}

#[test]
fn participants_that_come_and_go_leave_no_actor_and_no_descriptor() {
    let figures = run(&["soak", "4", "--minutes", "0.1"]);
    assert!(of(&figures, "participants", 1)[0] >= 4.0, "{figures:?}");
    for kept in ["actors kept", "descriptors kept"] {
        assert!(of(&figures, kept, 1)[0] <= 0.0, "{figures:?}");
    }
}

#[test]
fn bursts_are_forwarded_and_paced_and_what_is_lost_is_sent_again() {
    let servers = ["--servers", "str0m,gso,callboard"];
    let scenario = ["rtp", "1", "2", "--burst", "--loss", "2", "--estimate", "--seconds", "1"];
    let figures = run(&[&scenario[..], &servers].concat());
    // Of 540; a busy machine may cut off the end.
    let delivered = of(&figures, "delivered", 6);
    assert!(delivered.iter().all(|packets| *packets > 100.0), "{figures:?}");
}

#[test]
fn a_server_that_cannot_do_it_is_refused() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    let output = command.args(["run", "relay", "--servers", "udp"]).output().expect("it starts");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("udp does not support it"));
}

#[test]
fn clients_that_no_fault_affects_lose_nothing() {
    let figures = run(&["recovery", "10", "--seconds", "2"]);
    let of = |figure: &str| figures[&("tree".to_owned(), figure.to_owned())];
    assert!(of("faults") >= 8.0, "{figures:?}");
    for none in
        ["never whole", "failed by themselves", "bystanders' messages lost", "channels: lost"]
    {
        assert_eq!(of(none), 0.0, "{none}: {figures:?}");
    }
    assert!(of("tree whole p99, ms") > 0.0 && of("bystanders p99 meanwhile, ms") > 0.0);
}

#[test]
fn a_call_goes_on_for_all_that_no_fault_affects() {
    let figures = run(&["interrupt", "3", "--seconds", "2"]);
    let of = |figure: &str| figures[&("media".to_owned(), figure.to_owned())];
    for what in ["stage", "subscriber", "publisher", "connection"] {
        assert_eq!(of(&format!("{what} panics: others' packets lost")), 0.0, "{figures:?}");
    }
    for gap in ["subscriber panics: its own", "publisher panics: its viewers'"] {
        assert!(of(&format!("{gap} gap p99, ms")) > 0.0, "{figures:?}");
    }
}

#[test]
fn many_join_a_call_with_an_offer_each() {
    let figures = run(&["gather", "6", "--seconds", "2"]);
    assert_eq!(of(&figures, "offers of a client, most", 1), [1.0]);
    assert!(of(&figures, "join to first packet p95, ms", 1)[0] > 0.0, "{figures:?}");
}

#[test]
fn a_server_that_is_not_there_is_not_measured() {
    let mut gone = Command::new("true").spawn().expect("it starts");
    gone.wait().expect("its end");
    let other = format!("theirs=offers@127.0.0.1:9#{}", gone.id());

    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    let output = command.args(["run", "connect", "2", "--servers", "str0m", "--other", &other]);
    let output = output.output().expect("it starts");

    assert!(!output.status.success());
    let said = format!("load: theirs: process {} is not there", gone.id());
    assert!(String::from_utf8_lossy(&output.stderr).contains(&said));
}

#[test]
fn what_no_machine_can_do_is_refused() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    let output = command.args(["run", "relay", "1000000"]).output().expect("it starts");
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("2000000 clients: from 2 to 20000 can be had")
    );
}
