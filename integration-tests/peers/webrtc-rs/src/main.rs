//! A peer connection of the crate `webrtc`, led by JSON lines: it reads {id, do, ...} and writes {id, ok}, {id, error}
//! and {event, ...}. `browser_peer.js` says what it can be told. It ends with its standard input.
//!
//! With the argument `serve` and an address it answers offers over HTTP instead.

mod media;
mod peer;
mod serve;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> peer::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => execute().await,
        [serve, ip] if serve == "serve" => serve::serve(ip.parse()?).await?,
        _ => return Err("webrtc-rs-peer [serve ADDRESS]".into()),
    }
    Ok(())
}

async fn execute() {
    let peer = Arc::new(peer::Peer::default());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(command) = serde_json::from_str::<Value>(&line) else { continue };
        let peer = Arc::clone(&peer);
        // What waits must not keep others waiting.
        let obeying = tokio::spawn(async move {
            let id = command["id"].clone();
            match peer.execute(&command).await {
                Ok(value) => tell(json!({ "id": id, "ok": value })),
                Err(error) => tell(json!({ "id": id, "error": error.to_string() })),
            }
        });
        drop(obeying);
    }
}

/// Writes a line.
fn tell(what: Value) {
    println!("{what}");
}
