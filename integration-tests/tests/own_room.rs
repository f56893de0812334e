//! The README's own room and peer: the text, and the running program.

use futures_util::{SinkExt, StreamExt};
use integration_tests::{PATIENCE, Readme, on_a_stage_of_its_own};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

#[test]
fn the_readme_shows_the_program_as_it_is_in_under_sixty_lines() {
    let readme = include_str!("../../README.md");
    let program = include_str!("../../examples/own-room/src/main.rs");

    assert!(readme.contains(program), "copy examples/own-room/src/main.rs into README.md");
    assert!(program.lines().count() < 60);
}

#[test]
fn the_room_and_the_peer_do_what_they_say() {
    for folder in [".", "examples/own-room"] {
        on_a_stage_of_its_own(async || do_what_the_readme_says(folder).await);
    }
}

async fn do_what_the_readme_says(folder: &str) {
    let readme = Readme::in_folder(folder);
    let server = readme.serve("own-room", &[]).await;
    let address = readme.address("ws://127.0.0.1:8081/");
    assert!(address.starts_with(server.address()), "{address} is not at {}", server.address());

    let wrong = address.replace("sesame", "barley");
    assert!(tokio_tungstenite::connect_async(wrong).await.is_err());
    let (mut player, _) = tokio_tungstenite::connect_async(address).await.expect("admitted");
    let id = next(&mut player).await["data"]["peer_id"].clone();
    let players = next(&mut player).await;
    assert_eq!((&players["event"], &players["data"]), (&json!("players"), &json!(1)));
    for event in ["solution", "guess"] {
        let message = json!({ "event": event, "to": [id] }).to_string();
        player.send(Message::text(message)).await.expect("open");
    }

    assert_eq!(next(&mut player).await["event"], "guess", "and no solution before it");
}

/// A request whose body never comes ends with its connection, whether it has a route or not.
#[test]
fn a_body_that_does_not_come_is_cut() {
    on_a_stage_of_its_own(async || {
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

async fn next(
    player: &mut (impl StreamExt<Item = Result<Message, impl std::fmt::Debug>> + Unpin),
) -> Value {
    let next = tokio::time::timeout(PATIENCE, player.next()).await;
    let message = next.expect("in time").expect("open").expect("a message");
    serde_json::from_str(message.to_text().expect("text")).expect("JSON")
}
