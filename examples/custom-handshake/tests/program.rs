//! The server of the page as its users run it, from outside, without a browser.

#[path = "../../pages/tests/common/mod.rs"]
mod common;

use std::process::{Command, Stdio};

use common::{OFFER, Program};

#[test]
fn pages_of_other_sites_are_refused() {
    let program = start();
    let here = program.address.clone();
    let port = here.rsplit_once(':').expect("a port").1;
    let (evil, evil_page) = (format!("evil.com:{port}"), format!("Origin: http://evil.com:{port}"));
    let own_page = format!("Origin: http://{here}");
    let json = "application/json";
    let offer = format!(r#"{{"name":"carol","offer":{OFFER}}}"#);

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
        let answer = program.send("POST", "/offer", &headers, &offer);
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected) && answer.contains(word), "{headers}{answer}");
    }
}

#[test]
fn a_client_that_offers_without_end_is_told_to_wait_and_the_page_is_still_there() {
    let program = start();
    let refused = |_: &usize| program.ask("POST", "/offer", "{}").starts_with("HTTP/1.1 429 ");

    let at = (0..400).find(refused).expect("it is refused");

    assert!(at >= 32, "{at}");
    assert!(program.ask("GET", "/", "").starts_with("HTTP/1.1 200 "));
}

fn start() -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_custom-handshake"));
    command.args(["browser", "127.0.0.1:0"]).stdin(Stdio::null());
    Program::run(command)
}
