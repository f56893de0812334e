//! The supervisor tree: a call that goes on while faults are injected into every part that carries it.

mod hand_over;
mod page;
mod telling;

use std::process::Stdio;

use callboard_client::{Client, ClientHandle, ClientOptions};
use integration_tests::{FaultKind, Kind, PATIENCE, Server, in_network_namespace, program};
use tokio::process::Command;

use crate::page::{Injection, Page};

#[test]
fn a_call_of_chromium_and_firefox_goes_on_after_each_fault() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let (ann, bob) = tokio::join!(
            Page::open("Ann", Kind::Chromium, &server),
            Page::open("Bob", Kind::Firefox, &server)
        );
        let pages = [&ann, &bob];
        ann.talks().await;
        bob.talks().await;

        ann.chats_with(&bob).await;
        bob.chats_with(&ann).await;
        ann.calls_hooks().await;
        bob.calls_hooks().await;
        for page in pages {
            page.sees_in_the_tree(&["Ann", "Bob", "demo", "room", "http", "udp 0"]).await;
            page.sees_in_the_tree(&["media of Ann", "media of Bob", "stage"]).await;
        }
        ann.reads_of("media of Bob", "Publisher", r"sends .*\d+ kbit/s").await;
        let picture = r"picture of Bob .*\d+ kbit/s, [1-9]\d* key frames? asked for";
        ann.reads_of("media of Ann", "Subscriber", picture).await;
        ann.reads_of("media of Ann", "Subscriber", "sound of Bob").await;
        ann.picture("a call").await;

        // Faults after which the peers keep their ids.
        for (page, injection) in [
            (&ann, Injection { owner: "Ann", actor: "PeerConnection", fault: "kill" }),
            (&bob, Injection { owner: "Ann", actor: "PeerConnection", fault: "panic" }),
            (&ann, Injection { owner: "Bob", actor: "PeerConnection", fault: "fail_handshake" }),
            (&bob, Injection { owner: "Bob", actor: "ServerPeer", fault: "panic" }),
            (&ann, Injection { owner: "Ann", actor: "PeerActor", fault: "panic" }),
            (&bob, Injection { owner: "Bob", actor: "PeerActor", fault: "unplug" }),
            (&ann, Injection { owner: "room", actor: "RoomActor", fault: "panic" }),
            (&bob, Injection { owner: "stage", actor: "RoomActor", fault: "panic" }),
            (&ann, Injection { owner: "media of Ann", actor: "Publisher", fault: "panic" }),
            (&bob, Injection { owner: "media of Bob", actor: "Subscriber", fault: "kill" }),
            (&ann, Injection { owner: "media", actor: "Supervisor", fault: "kill" }),
            (&bob, Injection { owner: "udp 0", actor: "UdpMux", fault: "panic" }),
        ] {
            let before = [ann.peer_id().await, bob.peer_id().await];
            page.injects(&injection, &pages).await;
            assert_eq!([ann.peer_id().await, bob.peer_id().await], before, "{injection:?}");
        }
        // Faults after which they come back as new peers, and the call begins anew. Until the server listens again
        // their requests fail.
        for page in pages {
            for words in [
                &["/socket/demo"][..],
                &["/tree/recoveries", "_CONNECTION_REFUSED"],
                &["/tree/stream"],
            ] {
                page.browser.expect_fault(FaultKind::FailedRequest, words);
            }
        }
        for (page, injection) in [
            (&ann, Injection { owner: "Bob", actor: "PeerActor", fault: "stop" }),
            (&bob, Injection { owner: "demo", actor: "Supervisor", fault: "kill" }),
            (&ann, Injection { owner: "http", actor: "Http", fault: "panic" }),
            (&bob, Injection { owner: "rooms", actor: "Supervisor", fault: "panic" }),
        ] {
            let before = bob.peer_id().await;
            page.injects(&injection, &pages).await;
            assert_ne!(bob.peer_id().await, before, "{injection:?}");
        }
        ann.chats_with(&bob).await;

        let status = server.terminate(PATIENCE).await;
        assert_eq!(status.code(), Some(0), "the server ended with {status}");
    });
}

#[test]
fn two_browsers_and_three_bots_hold_a_call_that_goes_on() {
    in_network_namespace(async || {
        let arguments = ["--listen", "127.0.0.1:0", "--bots", "3"];
        let server = Server::of("supervisor-tree", &arguments).await;
        let (ann, bob) = tokio::join!(
            Page::open("Ann", Kind::Chromium, &server),
            Page::open("Bob", Kind::Firefox, &server)
        );
        let mark = "window.marks = new Map([...document.querySelectorAll('video[data-peer]')]
            .map((video) => [video, video.currentTime]))";
        let moving = "const videos = [...document.querySelectorAll('video[data-peer]')];
             return videos.length === 4
                 && videos.every((video) => video.videoWidth > 0 && video.currentTime > (marks.get(video) ?? 0) + 0.5)";
        let pages = [&ann, &bob];
        for page in pages {
            page.talks().await;
            page.says("In a call with 4 others.").await;
            for name in ["Bot 1", "Bot 2", "Bot 3"] {
                page.browser.shows(name).await;
            }
        }
        for (owner, actor, fault) in [
            ("room", "RoomActor", "panic"),
            ("stage", "RoomActor", "panic"),
            ("media of Ann", "Subscriber", "panic"),
            ("media", "Supervisor", "kill"),
        ] {
            ann.presses(owner, actor, fault).await;
            for page in pages {
                page.browser.evaluate(mark, vec![]).await;
                page.waits("four pictures that move", moving).await;
                page.talks().await;
            }
        }
        ann.picture("a call with bots").await;
    });
}

#[test]
fn messages_go_on_while_a_fifth_of_the_datagrams_is_lost() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let (ann, bob) = tokio::join!(
            Page::open("Ann", Kind::Chromium, &server),
            Page::open("Bob", Kind::Chromium, &server)
        );
        ann.talks().await;
        bob.talks().await;

        ann.presses("Ann", "PeerConnection", "lose").await;
        ann.waits("lost datagrams", "return /[0-9]+ datagrams lost on purpose/.test(tree())").await;
        ann.chats_with(&bob).await;
        bob.chats_with(&ann).await;
        ann.picture("a fifth is lost").await;
        ann.presses("Ann", "PeerConnection", "lose").await;
        ann.talks().await;
    });
}

#[test]
fn two_hundred_peers_can_be_looked_through() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let crowd = Crowd::join(&server, 200).await;
        let page = Page::open("Ann", Kind::Chromium, &server).await;

        // This many nodes are folded until the user asks for them.
        page.waits(
            "a folded room",
            "return /20[0-9] below/.test(row('demo')?.textContent ?? '') && !row('robot 7')",
        )
        .await;
        page.browser.type_into("#tree-search", "robot 7").await;
        page.waits("eleven robots", "return names().filter((name) => name.startsWith('robot 7')).length === 11 && !row('robot 8')").await;
        page.picture("a crowd").await;
        drop(crowd);
    });
}

#[test]
fn in_a_crowd_without_pictures_those_who_send_one_see_each_other() {
    in_network_namespace(async || {
        let server = Server::of("supervisor-tree", &["--listen", "127.0.0.1:0"]).await;
        let crowd = Crowd::join(&server, 8).await;
        let ann = Page::open("Ann", Kind::Chromium, &server).await;
        ann.says("In a room with 8 others; pictures of none.").await;
        let bob = Page::open("Bob", Kind::Chromium, &server).await;
        for page in [&ann, &bob] {
            page.says("In a room with 9 others; pictures of 1.").await;
            page.waits("a picture", "return window.demo.frames > 0").await;
        }
        drop(crowd);
        for page in [&ann, &bob] {
            page.says("In a call with 1 other.").await;
        }
    });
}

#[test]
fn the_script_without_browsers_recovers_from_every_fault() {
    in_network_namespace(async || {
        let output = Command::new(program::of_the_workspace("supervisor-tree"))
            .args(["--headless", "--seconds", "10"])
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, output).await;
        let output = output.expect("it ends").expect("it starts");

        let said = String::from_utf8_lossy(&output.stdout);
        let shown = format!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{shown}");
        assert!(said.contains("All recovered."), "{shown}");
        assert!(said.contains("handshake fails") && said.contains("room panics"), "{shown}");
    });
}

/// Peers that join, send one message, and do nothing more.
struct Crowd {
    /// Their events are not taken, so these are dropped.
    _clients: Vec<ClientHandle>,
}

impl Crowd {
    async fn join(server: &Server, peers: usize) -> Self {
        let mut clients = Vec::new();
        for number in 0..peers {
            let url = format!("ws://{}/socket/demo?name=robot%20{number}", server.listen());
            let client = Client::connect(&url, ClientOptions::new()).await;
            let client = client.expect("a place in the room");
            client.send_data("cursor", "{\"t\":0}").await.expect("an open socket");
            clients.push(client.handle());
        }
        Self { _clients: clients }
    }
}
