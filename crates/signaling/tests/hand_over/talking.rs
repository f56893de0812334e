//! Clients that talk while their server is replaced.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::{Client, GRACE, Notes, Process};

/// Sends numbered messages to all until the server says goodbye; returns what has come, by sender, and when the client
/// has answered the goodbye: none if the server has not waited for that.
async fn converse(
    client: &mut Client,
    sent: &mut u64,
    until: u64,
    random: &mut fastrand::Rng,
) -> (Vec<(String, u64)>, Option<Instant>) {
    let mut heard = Vec::new();
    let hear = |heard: &mut Vec<(String, u64)>, text: &str| {
        let message: Value = serde_json::from_str(text).unwrap();
        if message["event"] == "said" {
            let from = message["from"].as_str().unwrap().to_owned();
            heard.push((from, message["data"].as_u64().unwrap()));
        } else {
            // Of the members it is told when it has come back.
            assert!(
                message["event"] == "joined" || message["event"] == "room_members",
                "{message}"
            );
        }
    };
    loop {
        let busy = *sent < until && random.u8(..) > 20;
        tokio::select! {
            biased;
            frame = client.socket.next(), if !busy || random.bool() => match frame {
                Some(Ok(Frame::Text(text))) => hear(&mut heard, &text),
                Some(Ok(Frame::Close(Some(close)))) => {
                    assert_eq!(u16::from(close.code), 1001);
                    let answered = Instant::now();
                    while let Some(Ok(_)) = client.socket.next().await {}
                    return (heard, Some(answered));
                }
                Some(Ok(_)) => {}
                // It was too late.
                Some(Err(_)) | None => return (heard, None),
            },
            () = tokio::task::yield_now(), if busy => {
                let text = json!({ "event": "said", "data": *sent, "to": "all" }).to_string();
                // Once the server has given it up, it fails: what comes before that is read in any case.
                *sent += u64::from(client.socket.send(Frame::text(text)).await.is_ok());
            }
        }
    }
}

/// Messages come once and in order, over three hand-overs at random moments. All that was sent before the client had
/// read the goodbye does, unless a client has read that so late that the server did not wait. Returns whether none has.
async fn nothing_is_lost<const DIRECT: bool>(seed: u64) -> bool {
    let (folder, notes) = (tempfile::tempdir().unwrap(), Notes::default());
    let (file, mut random) = (folder.path().join("rooms"), fastrand::Rng::with_seed(seed));
    let mut process = Process::start::<DIRECT>(&file, &notes, GRACE).await;
    let (mut clients, mut in_time) = (Vec::new(), true);
    for name in ["Ann", "Bob", "Cat", "Dan"] {
        clients.push((process.join(name).await, 0, Vec::new(), random.fork()));
    }
    for round in 1..=3 {
        let pause = Duration::from_millis(random.u64(0..60));
        let talking = clients.iter_mut().map(|(client, sent, heard, random)| async move {
            let (more, answered) = converse(client, sent, round * 400, random).await;
            heard.extend(more);
            answered
        });
        let replacing = async {
            // At any moment of the conversation.
            tokio::time::sleep(pause).await;
            (Instant::now(), process.replace().await)
        };
        let ((began, handed_over), answered) = tokio::join!(replacing, join_all(talking));
        assert_eq!(handed_over.peers, 4, "seed {seed}");
        let is_late = |answered: Option<Instant>| answered.is_none_or(|at| at - began > WAITS / 2);
        in_time &= !answered.into_iter().any(is_late);
        process = Process::start::<DIRECT>(&file, &notes, GRACE).await;
        for (client, ..) in &mut clients {
            client.resume(process.address).await;
        }
    }
    for (client, _, heard, _) in &mut clients {
        let id = client.id.clone();
        client.send("end", Value::Null, json!([id])).await;
        loop {
            let message = client.message().await;
            match message["event"].as_str().unwrap() {
                "said" => {
                    let from = message["from"].as_str().unwrap().to_owned();
                    heard.push((from, message["data"].as_u64().unwrap()));
                }
                "joined" => {}
                event => break assert_eq!(event, "end"),
            }
        }
    }
    let sent: BTreeMap<String, u64> =
        clients.iter().map(|(client, sent, ..)| (client.id.clone(), *sent)).collect();
    for (client, _, heard, _) in clients {
        let mut by_sender: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (from, number) in heard {
            by_sender.entry(from).or_default().push(number);
        }
        for (from, sent) in sent.iter().filter(|(from, _)| **from != client.id) {
            let heard = by_sender.remove(from).unwrap_or_default();
            let all = heard.iter().copied().eq(0..*sent);
            let once = heard.is_sorted_by(|one, next| one < next);
            assert!(all || !in_time && once, "seed {seed}: {sent} sent, heard {heard:?}");
        }
    }
    in_time
}

#[actix::test]
async fn nothing_is_lost_told_twice_or_out_of_order() {
    for seed in 0..4 {
        // On a busy machine clients are late: once more, then.
        for _ in 0..3 {
            if nothing_is_lost::<false>(seed).await && nothing_is_lost::<true>(seed).await {
                break;
            }
        }
    }
}

/// Time for which the server waits for the goodbye of a client that is silent.
const WAITS: Duration = Duration::from_secs(1);
