//! Tests of the page's server as its users run it, from outside, without a browser.

#[path = "../../pages/tests/common/mod.rs"]
mod common;

use std::process::{Command, Stdio};

use common::{OFFER, Program, free_udp_port, ipv4_candidates};

#[test]
fn candidates_carry_the_address_that_is_announced_and_the_port_that_is_fixed() {
    let port = free_udp_port().to_string();
    let network =
        ["--announce", "203.0.113.7", "--udp-port", &port, "--ice-server", "stun:127.0.0.1:9"];
    let program = start(&network);

    let answer = program.ask("POST", "/offer", &offer());

    let ipv4 = ipv4_candidates(&answer);
    assert_eq!(ipv4.len(), 1, "{answer}");
    assert!(ipv4[0].contains(&format!(" 203.0.113.7 {port} typ host")), "{answer}");
    let servers = program.ask("GET", "/ice-servers", "");
    assert!(servers.ends_with(r#"[{"urls":["stun:127.0.0.1:9"]}]"#), "{servers}");
}

#[test]
fn behind_a_proxy_the_origin_that_is_named_is_let_in_and_no_other() {
    let program = start(&["--origin", "https://call.example"]);
    for (site, status) in [("call.example", 200), ("evil.com", 403)] {
        let headers =
            format!("Host: {site}\r\nOrigin: https://{site}\r\nContent-Type: application/json\r\n");
        let answer = program.send("POST", "/offer", &headers, &offer());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[test]
fn each_client_behind_a_trusted_proxy_has_limits_of_its_own() {
    let program = start(&["--trusted-proxy", "127.0.0.1"]);
    let ask = |client: &str| {
        let headers = format!(
            "Host: {}\r\nContent-Type: application/json\r\nX-Forwarded-For: {client}\r\n",
            program.address
        );
        program.send("POST", "/offer", &headers, "{}")
    };
    let is_refused = |client| ask(client).starts_with("HTTP/1.1 429 ");

    assert!((0..400).any(|_| is_refused("192.0.2.1")));
    assert!(!is_refused("192.0.2.2"));
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
        (&format!("localhost:{port}.evil.com"), json, "Accept: */*", 403, "forbidden_host"),
        (&here, json, "Origin: http://evil.com", 403, "forbidden_origin"),
        (&here, "text/plain", "Origin: null", 403, "forbidden_origin"),
        (&here, "text/plain", "Accept: */*", 400, "Content type"),
        (&here, json, &own_page, 200, "a=candidate:"),
    ] {
        let headers = format!("Host: {host}\r\nContent-Type: {kind}\r\n{header}\r\n");
        let answer = program.send("POST", "/offer", &headers, &offer());
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected) && answer.contains(word), "{headers}{answer}");
    }
}

#[test]
fn a_client_that_offers_without_end_is_told_to_wait_and_the_page_is_still_there() {
    let program = start(&[]);
    let refused = |_: &usize| program.ask("POST", "/offer", "{}").starts_with("HTTP/1.1 429 ");

    let at = (0..400).find(refused).expect("it is refused");

    assert!(at >= 32, "{at}");
    assert!(program.ask("GET", "/", "").starts_with("HTTP/1.1 200 "));
}

fn start(arguments: &[&str]) -> Program {
    Program::run(command(arguments))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_custom-handshake"));
    command.args(["browser", "127.0.0.1:0"]).args(arguments);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Returns the body that the page sends.
fn offer() -> String {
    format!(r#"{{"name":"carol","offer":{OFFER}}}"#)
}
