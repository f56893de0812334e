//! The README's own room and peer: as it stands there, and as it runs.

use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use integration_tests::program;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;

#[test]
fn the_readme_shows_the_program_as_it_is_in_under_sixty_lines() {
    let readme = include_str!("../../README.md");
    let program = include_str!("../../examples/own-room/src/main.rs");

    assert!(readme.contains(program), "copy examples/own-room/src/main.rs into README.md");
    assert!(program.lines().count() < 60);
}

#[tokio::test]
async fn the_room_and_the_peer_do_what_they_say() {
    let mut server = Command::new(program::of_the_workspace("own-room"))
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(server.stdout.take().expect("a pipe")).lines();
    let first = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await;
    let first = first.expect("in time").expect("text").expect("a line");
    let address = first.strip_prefix("listening on ").expect("an address");

    assert!(tokio_tungstenite::connect_async(format!("{address}/quiz?open=barley")).await.is_err());
    let (mut player, _) = tokio_tungstenite::connect_async(format!("{address}/quiz?open=sesame"))
        .await
        .expect("let in");
    let id = next(&mut player).await["data"]["peer_id"].clone();
    for event in ["solution", "guess"] {
        let message = json!({ "event": event, "to": [id] }).to_string();
        player.send(Message::text(message)).await.expect("open");
    }

    assert_eq!(next(&mut player).await["event"], "guess", "and no solution before it");
}

async fn next(
    player: &mut (impl StreamExt<Item = Result<Message, impl std::fmt::Debug>> + Unpin),
) -> Value {
    let next = tokio::time::timeout(Duration::from_secs(20), player.next()).await;
    let message = next.expect("in time").expect("open").expect("a message");
    serde_json::from_str(message.to_text().expect("text")).expect("JSON")
}
