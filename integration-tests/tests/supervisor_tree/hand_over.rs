//! A server that is replaced while a call goes on: `--hand-over`.

use std::path::Path;
use std::time::Duration;

use callboard_client::{Client, ClientEvent, ClientOptions, ClientState, Recipients};
use futures_util::StreamExt;
use integration_tests::{FaultKind, Kind, Moment, PATIENCE, Server, in_network_namespace, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::page::Page;

/// Starts the server with this file, at the address of another one if there is one.
async fn start(file: &Path, listen: &str) -> Server {
    let file = file.to_str().expect("a plain name");
    Server::of("supervisor-tree", &["--listen", listen, "--hand-over", file]).await
}

/// Replaces the server; returns the next one at the same address, and how long there was none.
async fn replace(server: Server, file: &Path) -> (Server, Duration) {
    let (listen, told) = (server.listen().to_owned(), Instant::now());
    let status = server.terminate(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "the server ended with {status}");
    assert!(file.exists(), "what is handed over");
    let next = start(file, &listen).await;
    assert!(!file.exists(), "it is read once");
    (next, told.elapsed())
}

#[test]
fn a_call_of_chromium_and_firefox_outlives_its_server() {
    in_network_namespace(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("rooms");
        let mut server = start(&file, "127.0.0.1:0").await;
        let (ann, bob) = tokio::join!(
            Page::open("Ann", Kind::Chromium, &server),
            Page::open("Bob", Kind::Firefox, &server)
        );
        for page in [&ann, &bob] {
            page.talks().await;
            for words in [&["/socket/demo"][..], &["/tree/recoveries"], &["/tree/stream"]] {
                page.browser.expect_fault(FaultKind::FailedRequest, words);
            }
            // Each change of who is here, and the longest times without a picture and without a WebSocket.
            let watch = "
                window.members = new Set();
                window.gaps = { picture: 0, socket: 0, webrtc: 0 };
                let frames = demo.frames;
                let [shown, open, connected] = Array(3).fill(performance.now());
                setInterval(() => {
                    const now = performance.now();
                    const { peerId, peers, status, webrtc } = demo;
                    members.add(JSON.stringify([peerId, peers.map(({ id }) => id).sort()]));
                    if (demo.frames !== frames) [frames, shown] = [demo.frames, now];
                    if (status === 'in') open = now;
                    if (webrtc === 'connected') connected = now;
                    gaps.picture = Math.max(gaps.picture, now - shown);
                    gaps.socket = Math.max(gaps.socket, now - open);
                    gaps.webrtc = Math.max(gaps.webrtc, now - connected);
                }, 10);
                window.first = demo.peerId";
            page.browser.evaluate(watch, vec![]).await;
        }

        for round in 1..=2 {
            let (next, gap) = replace(server, &file).await;
            server = next;
            let back = Instant::now();
            for page in [&ann, &bob] {
                let back = "const notes = [...document.querySelectorAll('#chat-log li')];
                    const back = ({ textContent }) => textContent.includes('The WebSocket was lost and is back');
                    return notes.filter(back).length === arguments[0]";
                page.waits_for("a resumed session", back, vec![json!(round)]).await;
                page.talks().await;
            }
            println!("round {round}: no server for {gap:?}, a call {:?} later", back.elapsed());
            for page in [&ann, &bob] {
                let seen = page.browser.evaluate(
                    "const seen = { members: members.size, same: demo.peerId === first, gaps: { ...gaps } };
                     Object.assign(gaps, { picture: 0, socket: 0, webrtc: 0 });
                     return seen",
                    vec![],
                );
                let seen = seen.await;
                println!("{} in ms: {}", page.name, seen["gaps"]);
                assert_eq!((&seen["members"], &seen["same"]), (&json!(1), &json!(true)));
            }
            ann.chats_with(&bob).await;
            bob.chats_with(&ann).await;
        }
    });
}

#[test]
fn programs_resume_with_the_next_server_and_miss_nothing() {
    in_network_namespace(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("rooms");
        let mut server = start(&file, "127.0.0.1:0").await;
        let mut ann = connect(&server, "Ann").await;
        let mut bob = connect(&server, "Bob").await;
        let mut sent = 0;

        for _ in 0..3 {
            for _ in 0..50 {
                ann.send(Recipients::All, "news", sent).expect("a place in the queue");
                sent += 1;
            }
            let (next, gap) = replace(server, &file).await;
            server = next;
            println!("no server for {gap:?}");
            resumed(&mut ann).await;
        }
        ann.send(Recipients::All, "news", sent).expect("a place in the queue");

        let mut expected = 0;
        while expected <= sent {
            match next(&mut bob).await {
                ClientEvent::Message(message) => {
                    assert_eq!(message.data, json!(expected));
                    expected += 1;
                }
                ClientEvent::State(_) | ClientEvent::Resumed => {}
                other => panic!("{other:?}"),
            }
        }
        drop(server);
    });
}

async fn connect(server: &Server, name: &str) -> Client {
    let url = format!("ws://{}/socket/demo?name={name}", server.listen());
    let options = ClientOptions::new().first_delay(Duration::from_millis(50));
    Client::connect(&url, options).await.expect("a place in the room")
}

async fn next(client: &mut Client) -> ClientEvent {
    timeout(PATIENCE, client.next_event()).await.expect("in time").expect("it is not closed")
}

/// Waits until the session is resumed; nothing but states comes before, and others that join.
async fn resumed(client: &mut Client) {
    loop {
        match next(client).await {
            ClientEvent::Resumed => break,
            ClientEvent::State(_) | ClientEvent::Joined(_) => {}
            other => panic!("{other:?}"),
        }
    }
    while client.state() != ClientState::Open {
        next(client).await;
    }
}

#[test]
fn a_server_that_cannot_write_the_file_shuts_down_as_ever_and_says_so() {
    in_network_namespace(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let server = start(&folder.path().join("no/folder/rooms"), "127.0.0.1:0").await;
        let address = format!("ws://{}/socket/demo", server.listen());
        let (mut client, _) = tokio_tungstenite::connect_async(address).await.expect("a socket");
        let pid = Pid::from_raw(server.id().cast_signed());

        kill(pid, Signal::SIGTERM).expect("the server runs");

        let mut said = Vec::new();
        loop {
            match timeout(PATIENCE, client.next()).await.expect("in time") {
                Some(Ok(Message::Text(text))) => {
                    said.push(
                        serde_json::from_str::<Value>(&text).expect("JSON")["data"]["details"]
                            .clone(),
                    );
                }
                Some(Ok(Message::Close(close))) => {
                    assert_eq!(close.map(|close| u16::from(close.code)), Some(1001));
                    break;
                }
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(said.last(), Some(&json!("shutdown")));
        let told = |line: &String| line.contains("ERROR") && line.contains("not handed over");
        // What it writes is read beside what it sends.
        until("its word", PATIENCE, async || match server.written().iter().any(told) {
            true => Moment::Now(()),
            false => Moment::NotYet(format!("{:#?}", server.written())),
        })
        .await;
        assert_eq!(server.terminate(PATIENCE).await.code(), Some(0));
    });
}

#[test]
fn a_second_sigterm_ends_a_server_at_once_that_still_waits_for_clients() {
    in_network_namespace(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("rooms");
        let server = start(&file, "127.0.0.1:0").await;
        let address = format!("ws://{}/socket/demo", server.listen());
        let (mut deaf, _) = tokio_tungstenite::connect_async(address).await.expect("a socket");
        // It has joined, and reads nothing more: the server waits a second for its answer.
        while !matches!(deaf.next().await, Some(Ok(Message::Text(text))) if text.contains("authenticated"))
        {
        }
        let pid = Pid::from_raw(server.id().cast_signed());

        kill(pid, Signal::SIGTERM).expect("the server runs");
        // A signal within a quarter of a second counts as the same one.
        sleep(Duration::from_millis(400)).await;
        let status = server.terminate(PATIENCE).await;

        assert_eq!(status.code(), Some(1));
        assert!(!file.exists());
        _ = deaf.close(None).await;
    });
}
