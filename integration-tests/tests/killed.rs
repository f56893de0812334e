//! Report of the server on the connection of a browser that was killed.

use std::process::Stdio;
use std::time::Duration;

use integration_tests::{Browser, Kind, Moment, PATIENCE, in_network_namespace, program, until};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

#[test]
fn chromium_that_is_killed_is_disconnected_failed_and_closed() {
    in_network_namespace(async || is_killed(Kind::Chromium).await);
}

#[test]
fn firefox_that_is_killed_is_disconnected_failed_and_closed() {
    in_network_namespace(async || is_killed(Kind::Firefox).await);
}

async fn is_killed(kind: Kind) {
    let mut server = Command::new(program::of_the_workspace("echo"))
        .arg("127.0.0.1:0")
        .env("RUST_LOG", "info")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(server.stdout.take().expect("a pipe")).lines();
    let mut log = BufReader::new(server.stderr.take().expect("a pipe")).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await;
    let first = first.expect("in time").expect("text").expect("a line");
    let address = first.strip_prefix("listening on ").expect("an address").to_owned();

    let browser = Browser::start(kind).await;
    browser.go_to(&address).await;
    browser.click("#start").await;
    until("an open channel", PATIENCE, async || {
        match browser
            .evaluate("return document.querySelector('#say button').disabled", vec![])
            .await
        {
            disabled if disabled == false => Moment::Now(()),
            _ => Moment::NotYet(browser.text().await),
        }
    })
    .await;

    // Kills all its processes by SIGKILL.
    drop(browser);

    let mut said = Vec::new();
    let told = async {
        while let Some(line) = log.next_line().await.expect("text") {
            let over = line.contains(": closed: ");
            said.push(line);
            if over {
                break;
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(150), told).await;
    assert!(told.is_ok(), "it is not closed: {said:#?}");

    let states: Vec<&str> = said
        .iter()
        .filter_map(|line| line.rsplit(": ").next())
        .filter(|state| STATES.contains(state))
        .collect();
    let connected = states.iter().position(|state| *state == "connected").expect("it connected");
    assert_eq!(states[connected + 1..], ["disconnected", "failed"], "{said:#?}");
    let reason = |line: &&String| line.contains(": failed: nothing has come from the peer for ");
    assert!(said.iter().any(|line| reason(&line)), "{said:#?}");
    assert!(said.last().is_some_and(|line| line.contains("nothing has come")), "{said:#?}");
}

const STATES: [&str; 5] = ["connecting", "connected", "disconnected", "failed", "closed"];
