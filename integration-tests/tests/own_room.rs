//! The README's own room and peer: the text, and the running program.

use callboard_client::{Client, ClientEvent, ClientMessage, ClientOptions, ConnectError};
use integration_tests::{Moment, PATIENCE, Readme, in_network_namespace, program, until};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn the_readme_shows_the_program_as_it_is_in_under_sixty_lines() {
    let readme = include_str!("../../README.md");
    let program = include_str!("../../examples/own-room/src/main.rs");

    assert!(readme.contains(program), "copy examples/own-room/src/main.rs into README.md");
    assert!(program.lines().count() < 60);
    let blocks = readme.split("```rust\n").skip(1).map(|block| block.split("```").next().unwrap());
    for block in blocks {
        assert!(program.contains(block), "not a part of examples/own-room/src/main.rs:\n{block}");
    }
}

#[test]
fn the_room_and_the_peer_do_what_they_say() {
    for folder in [".", "examples/own-room"] {
        in_network_namespace(async || do_what_the_readme_says(folder).await);
    }
}

async fn do_what_the_readme_says(folder: &str) {
    let readme = Readme::in_folder(folder);
    let server = readme.serve("own-room", &[]).await;
    let address = readme.address("ws://127.0.0.1:8081/");
    assert!(address.starts_with(server.address()), "{address} is not at {}", server.address());

    let wrong = address.replace("sesame", "barley");
    let refused = Client::connect(&wrong, ClientOptions::new()).await;
    assert!(
        matches!(&refused, Err(ConnectError::Refused(refusal)) if refusal.status == 401),
        "{refused:?}"
    );
    until("a line of its log", PATIENCE, async || {
        let written = server.written();
        match written.iter().any(|line| line.contains("/quiz refused")) {
            true => Moment::Now(()),
            false => Moment::NotYet(format!("{written:?}")),
        }
    })
    .await;
    let mut player = Client::connect(&address, ClientOptions::new()).await.expect("it is admitted");
    let players = message(&mut player).await;
    assert_eq!((&*players.event, players.data), ("players", json!(1)));
    for event in ["solution", "guess"] {
        player.send(player.peer_id(), event, ()).expect("room for it");
    }

    assert_eq!(message(&mut player).await.event, "guess", "and no solution before it");
}

async fn message(player: &mut Client) -> ClientMessage {
    let next = tokio::time::timeout(PATIENCE, player.next_event()).await.expect("in time");
    let Some(ClientEvent::Message(message)) = next else { panic!("{next:?}") };
    message
}

/// A request whose body never comes ends with its connection, whether it has a route or not.
#[test]
fn a_body_that_does_not_come_is_cut() {
    in_network_namespace(async || {
        let server = Readme::in_folder(".").serve("own-room", &[]).await;
        let host = server.address().trim_start_matches("ws://").trim_end_matches('/');
        let sizes =
            [("content-length: 10", "hello"), ("transfer-encoding: chunked", "5\r\nhello\r\n")];
        let posts = ["/quiz", "/no/where"].iter().flat_map(|path| sizes.map(|size| (path, size)));
        let posts = posts.map(async |(path, (size, some))| {
            let mut client = tokio::net::TcpStream::connect(host).await.expect("open");
            let request = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\n{size}\r\n\r\n{some}");
            client.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = String::new();
            let ended = tokio::time::timeout(PATIENCE, client.read_to_string(&mut answer)).await;
            ended.expect("the connection ends").expect("without an error");
            assert!(answer.starts_with("HTTP/1.1 4"), "{path}, {size}: {answer}");
        });
        futures_util::future::join_all(posts).await;
    });
}

/// A program that cannot start says why in one line, and not that it listens.
#[test]
fn what_keeps_it_from_starting_is_said_in_one_line() {
    in_network_namespace(async || {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let taken = listener.local_addr().expect("an address").to_string();
        for listen in [taken.as_str(), "nonsense"] {
            let program = program::of_the_workspace("own-room");
            let run = tokio::process::Command::new(program).arg(listen).kill_on_drop(true).output();
            let output =
                tokio::time::timeout(PATIENCE, run).await.expect("it ends").expect("it starts");

            let said = String::from_utf8_lossy(&output.stderr);
            let line = format!("Error: cannot listen on {listen}: ");
            assert!(said.starts_with(&line) && said.lines().count() == 1, "{said}");
            assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
        }
    });
}
