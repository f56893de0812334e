//! Tests of the program as its users run it, from outside, without a browser.

#[path = "../../pages/tests/common/mod.rs"]
mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use common::{OFFER, Program, free_udp_port, ipv4_candidates};

#[test]
fn candidates_carry_the_address_that_is_announced_and_the_port_that_is_fixed() {
    let port = free_udp_port().to_string();
    let arguments =
        ["--announce", "203.0.113.7", "--udp-port", &port, "--ice-server", "stun:127.0.0.1:9"];
    let program = start(&arguments);

    let answer = program.ask("POST", "/offer", OFFER);

    let ipv4 = ipv4_candidates(&answer);
    assert_eq!(ipv4.len(), 1, "{answer}");
    assert!(ipv4[0].contains(&format!(" 203.0.113.7 {port} typ host")), "{answer}");
    let servers = program.ask("GET", "/ice-servers", "");
    assert!(servers.ends_with(r#"[{"urls":["stun:127.0.0.1:9"]}]"#), "{servers}");
}

/// Tests requests that a browser on this machine sends for other sites: by DNS rebinding, forms and scripts.
#[test]
fn pages_of_other_sites_are_refused() {
    let program = start(&[]);
    let here = program.address.clone();
    let port = here.rsplit_once(':').expect("a port").1;
    let (evil, evil_page) = (format!("evil.com:{port}"), format!("Origin: http://evil.com:{port}"));
    let own_page = format!("Origin: http://{here}");
    let json = "application/json";

    for (host, kind, header, status, word) in [
        (&evil, json, &*evil_page, 403, "forbidden_host"),
        (&evil, json, "Accept: */*", 403, "forbidden_host"),
        (&format!("[::1].evil.com:{port}"), json, "Accept: */*", 403, "forbidden_host"),
        (&here, json, "Origin: http://evil.com", 403, "forbidden_origin"),
        (&here, json, "Origin: null", 403, "forbidden_origin"),
        (&here, "text/plain", "Origin: http://evil.com", 403, "forbidden_origin"),
        // A form can send this content type, but not JSON.
        (&here, "text/plain", "Accept: */*", 400, "Content type"),
        (&here, json, &own_page, 200, "a=candidate:"),
        (&format!("localhost:{port}"), json, "Accept: */*", 200, "a=candidate:"),
    ] {
        let headers = format!("Host: {host}\r\nContent-Type: {kind}\r\n{header}\r\n");
        let answer = program.send("POST", "/offer", &headers, OFFER);
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected) && answer.contains(word), "{headers}{answer}");
    }
    // Other sites cannot read anything either: the servers may have passwords.
    for path in ["/", "/ice-servers"] {
        let answer = program.send("GET", path, &format!("Host: {evil}\r\n"), "");
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
}

#[test]
fn behind_a_proxy_the_origin_that_is_named_is_let_in_and_no_other() {
    let program = start(&["--origin", "https://call.example"]);
    for (site, status) in [("call.example", 200), ("evil.com", 403)] {
        let headers =
            format!("Host: {site}\r\nOrigin: https://{site}\r\nContent-Type: application/json\r\n");
        let answer = program.send("POST", "/offer", &headers, OFFER);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[test]
fn a_client_that_offers_without_end_is_told_to_wait_and_the_page_is_still_there() {
    let program = start(&[]);
    let refused = |_: &usize| program.ask("POST", "/offer", "{}").starts_with("HTTP/1.1 429 ");
    let at = (0..400).find(refused).expect("it is refused");
    assert!(at >= 32, "{at}");
    let answer = program.ask("POST", "/offer", OFFER);
    if answer.starts_with("HTTP/1.1 429 ") {
        assert!(answer.contains("retry-after: ") && answer.contains("too_many_requests"));
    }
    assert!(program.ask("GET", "/", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn what_makes_no_sense_is_said_at_once() {
    for arguments in [&["--announce", "example.org"][..], &["--udp-port", "0"], &["--nonsense"]] {
        let output = command(arguments).output().expect("it starts");

        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(arguments[0]));
    }
}

#[test]
fn requests_that_make_no_sense_fill_no_log_unless_one_asks_for_them() {
    for (log, expected) in [(None, 0), (Some("error"), 3)] {
        let mut command = command(&["127.0.0.1:0"]);
        command.env_remove("RUST_LOG").envs(log.map(|log| ("RUST_LOG", log)));
        let mut program = Program::run(command);
        for _ in 0..3 {
            let mut tcp = TcpStream::connect(&program.address).expect("it listens");
            tcp.write_all(b"GET / HTTP/1.1\r\nno header\r\n\r\n").expect("open");
            let mut answer = String::new();
            tcp.read_to_string(&mut answer).expect("text");
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        }

        program.child.kill().expect("it runs");
        let (mut lines, mut output) = (String::new(), program.child.stderr.take().expect("a pipe"));
        output.read_to_string(&mut lines).expect("text");
        assert_eq!(lines.matches("ERROR").count(), expected, "{lines}");
    }
}

fn start(arguments: &[&str]) -> Program {
    Program::run(command(&[&["127.0.0.1:0"], arguments].concat()))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo"));
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
    command
}
