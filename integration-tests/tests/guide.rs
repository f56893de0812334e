//! The guide: each chapter's program runs, and does for clients and browsers what the chapter says, by its commands.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use callboard_client::{
    CallFunctionError, Client, ClientEvent, ClientMessage, ClientOptions, ConnectError, Recipients,
};
use integration_tests::{
    Browser, Kind, Moment, NatsServer, PATIENCE, Server, in_network_namespace, program, until,
};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

/// Chapter of the guide.
struct Chapter {
    text: String,
}

impl Chapter {
    fn of(name: &str) -> Self {
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/callboard/guide/src");
        Self { text: fs::read_to_string(guide.join(name)).expect("a chapter") }
    }

    /// Asserts that the chapter has these words, and returns them.
    fn says<'a>(&self, words: &'a str) -> &'a str {
        let text: Vec<_> = self.text.split_whitespace().collect();
        assert!(text.join(" ").contains(words), "the chapter does not say {words:?}");
        words
    }

    /// Runs the commands under `<!-- run: NAME -->`; returns what they print.
    async fn run(&self, name: &str) -> String {
        let (_, block) =
            self.text.split_once(&format!("<!-- run: {name} -->\n```sh\n")).expect(name);
        let commands = block.split_once("```").expect("the end of the block").0;
        let mut shell = Command::new("sh");
        shell.args(["-euc", commands]).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(PATIENCE, shell.output()).await.expect("in time").expect("a shell");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {printed}{errors}");
        printed
    }
}

async fn join(path: &str, options: ClientOptions) -> Client {
    Client::connect(&address(path), options).await.expect("it is admitted")
}

fn address(path: &str) -> String {
    format!("ws://127.0.0.1:8080{path}")
}

async fn next(client: &mut Client) -> ClientEvent {
    let next = timeout(PATIENCE, client.next_event()).await.expect("in time");
    next.expect("the client is open")
}

async fn message(client: &mut Client) -> ClientMessage {
    loop {
        if let ClientEvent::Message(message) = next(client).await {
            return message;
        }
    }
}

async fn status(path: &str, options: ClientOptions) -> (u16, Value) {
    match Client::connect(&address(path), options).await.err() {
        Some(ConnectError::Refused(refusal)) => (refusal.status, refusal.detail),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_pages_of_the_guide_do_what_their_chapters_say() {
    in_network_namespace(async || {
        let browser = Browser::start(Kind::Chromium).await;
        first_room(&browser).await;
        log_in(&browser).await;
        data_channels(&browser).await;
        calls(&browser).await;
        handshake(&browser).await;
        browser.close().await;
    });
}

const PAGE: &str = "http://127.0.0.1:8080";

/// Leaves the page, then ends its server: a page whose server is gone reports that it tries again.
async fn leave(browser: &Browser, server: Server) {
    browser.go_to("about:blank").await;
    assert_eq!(server.terminate(PATIENCE).await.code(), Some(0));
}

async fn first_room(browser: &Browser) {
    let chapter = Chapter::of("first-room.md");
    let server = Server::of("guide", &["first_room"]).await;
    assert_eq!(server.address(), PAGE);
    browser.go_to(PAGE).await;
    let first = browser.tab().await;
    browser.shows("1 here").await;
    let second = browser.open_tab(PAGE).await;
    browser.shows(chapter.says("2 here")).await;
    browser.type_into("input", "hello").await;
    browser.click("button").await;
    browser.shows("you: hello").await;
    browser.show(&first).await;
    browser.shows(": hello").await;
    browser.shows("2 here").await;
    browser.close_tab(second).await;
    browser.show(&first).await;
    browser.shows(chapter.says("1 here")).await;
    leave(browser, server).await;
}

async fn log_in(browser: &Browser) {
    let chapter = Chapter::of("authentication.md");
    let server = Server::of("guide", &["authentication"]).await;
    let curl = chapter.run("log in").await;
    assert!(curl.starts_with("401\nHTTP/1.1 204 "), "{curl}");
    let cookie = curl.split_once("set-cookie: ").expect("a cookie").1;
    let cookie = cookie.split_once(';').expect("its attributes").0;
    let ann = ClientOptions::new().header("cookie", cookie);
    let mut ann = join("/socket/lobby", ann).await;
    for path in ["/socket/lobby", "/socket/unknown"] {
        assert_eq!(status(path, ClientOptions::new()).await, (401, json!("log_in_first")));
    }

    browser.go_to(PAGE).await;
    browser.type_into("[name=user]", "Bob").await;
    browser.type_into("[name=password]", chapter.says("sesame")).await;
    browser.click("button").await;
    browser.shows("You are in. The others: ann.").await;
    let ClientEvent::Joined(bob) = next(&mut ann).await else { panic!("Bob has joined") };
    assert_eq!(bob.metadata, json!({ "name": "Bob" }));

    let same = ClientOptions::new().header("cookie", cookie);
    let same = Client::connect(&address("/socket/lobby"), same).await.err();
    assert_eq!(same, Some(ConnectError::Rejected(json!("name_taken"))));
    leave(browser, server).await;
}

async fn data_channels(browser: &Browser) {
    let chapter = Chapter::of("data-channels.md");
    let server = Server::of("guide", &["data_channels"]).await;
    // A client without a peer connection: the WebSocket replaces its channels.
    let mut other = join("/socket/board", ClientOptions::new()).await;
    for place in ["no place", "1,99999", "30,40"] {
        other.send_data("pointers", place).await.expect("sent");
    }
    browser.go_to(PAGE).await;
    until("both pointers, over a data channel", PATIENCE, async || {
        let moved = "document.querySelector('svg').dispatchEvent(
            new PointerEvent('pointermove', { clientX: 100, clientY: 100 })); return 0";
        browser.evaluate(moved, vec![]).await;
        let text = browser.text().await;
        let both = chapter.says("2 on the board, over a data channel");
        if text.contains(both) { Moment::Now(()) } else { Moment::NotYet(text) }
    })
    .await;
    let places = loop {
        if let ClientEvent::Data { channel, data } = next(&mut other).await {
            assert_eq!(channel, "pointers");
            break format!("{data:?}");
        }
    };
    assert!(!places.contains("99999") && !places.contains("no place"), "{places}");
    leave(browser, server).await;
}

async fn calls(browser: &Browser) {
    let chapter = Chapter::of("rpc.md");
    let server = Server::of("guide", &["rpc"]).await;
    let client = join("/socket/table", ClientOptions::new()).await;
    client.register("guess", async |_| Ok::<_, String>("a cat"));
    let rolled = client.call("dice", "roll", (6,)).await.expect("a number");
    assert!((1..=6).contains(&rolled.as_u64().expect("a number")), "{rolled}");
    let CallFunctionError::Hook { error, .. } =
        client.call("dice", "roll", (1,)).await.unwrap_err()
    else {
        panic!("no error of the hook")
    };
    assert_eq!(error, chapter.says("no_such_die"));

    browser.go_to(PAGE).await;
    browser.shows("Ready.").await;
    browser.click("#roll").await;
    browser.shows("Answer: ").await;
    browser.type_into("#sides", "1.5").await;
    browser.click("#roll").await;
    browser.shows(chapter.says("Error: invalid_args")).await;
    browser.click("#poll").await;
    browser.shows("a hat (What is it?)").await;
    browser.shows("a cat").await;
    leave(browser, server).await;
}

async fn handshake(browser: &Browser) {
    let chapter = Chapter::of("handshake.md");
    let server = Server::of("guide", &["handshake"]).await;
    browser.go_to(PAGE).await;
    browser.shows(": connected").await;
    let shown = browser.text().await;
    let peer = shown.split_once(": connected").expect("shown").0;
    until("the server's line", PATIENCE, async || {
        let written = server.written();
        let line = written.iter().find(|line| line.starts_with(peer));
        match line.is_some_and(|line| line.contains(" packets sent, sha-256 ")) {
            true => Moment::Now(()),
            false => Moment::NotYet(format!("{written:?}")),
        }
    })
    .await;
    chapter.says("a fingerprint such as `sha-256 8F:1C:…`");
    leave(browser, server).await;
}

#[test]
fn a_camera_is_seen_in_all_browsers_through_a_server_peer() {
    in_network_namespace(async || {
        let chapter = Chapter::of("tracks.md");
        let server = Server::of("guide", &["tracks"]).await;
        let chromium = Browser::start(Kind::Chromium).await;
        let firefox = Browser::start(Kind::Firefox).await;
        for (camera, viewer) in [(&chromium, &firefox), (&firefox, &chromium)] {
            camera.go_to(PAGE).await;
            viewer.go_to(PAGE).await;
            camera.click("button").await;
            for page in [camera, viewer] {
                page.shows(chapter.says("A picture of")).await;
                page.sees_pictures_move("video").await;
            }
            // One that comes later begins with a key frame of its own.
            viewer.go_to("about:blank").await;
            viewer.go_to(PAGE).await;
            viewer.sees_pictures_move("video").await;
        }
        for browser in [chromium, firefox] {
            browser.go_to("about:blank").await;
            browser.close().await;
        }
        assert_eq!(server.terminate(PATIENCE).await.code(), Some(0));
    });
}

/// Each program ends with one line that names the address and the reason.
#[test]
fn a_taken_port_is_said_in_one_line_by_each_program_of_the_guide() {
    in_network_namespace(async || {
        let _taken = std::net::TcpListener::bind(("127.0.0.1", 8080)).expect("a free port");
        let guide = program::of_the_workspace("guide");
        let all = Command::new(&guide).output().await.expect("it starts");
        let all = String::from_utf8(all.stderr).expect("text");
        let programs = all.trim().split_once(": ").expect("a list").1.split(", ");
        assert_eq!(programs.clone().count(), 11, "{all}");
        for program in programs {
            let mut run = Command::new(&guide);
            run.arg(program).env_remove("RUST_LOG").kill_on_drop(true);
            run.env("JWT_SECRET", "a secret of the login server, 32 bytes or more");
            let output =
                timeout(PATIENCE, run.output()).await.expect("it ends").expect("it starts");
            let said = String::from_utf8(output.stderr).expect("text");
            assert!(said.starts_with(TAKEN) && said.lines().count() == 1, "{program}: {said}");
            assert_eq!((output.status.code(), output.stdout), (Some(1), vec![]), "{program}");
        }
    });
}

const TAKEN: &str = "Error: cannot listen on 127.0.0.1:8080: Address already in use";

#[test]
fn the_commands_of_the_chapter_on_the_tree_break_a_room_and_find_its_recovery() {
    in_network_namespace(async || {
        let chapter = Chapter::of("tree.md");
        let _server = Server::of("guide", &["tree"]).await;
        let mut client = join("/socket/lobby", ClientOptions::new()).await;
        let tree: Value = serde_json::from_str(&chapter.run("look").await).expect("JSON");
        assert!(tree.to_string().contains(r#""path":"server/rooms/lobby/room""#), "{tree}");
        assert!(tree.to_string().contains(&client.peer_id()), "{tree}");

        assert_eq!(chapter.run("break").await, "");

        assert_eq!(next(&mut client).await, ClientEvent::RoomRestarted);
        chapter.says("room_restarted");
        until("the recovery", PATIENCE, async || {
            let recoveries = chapter.run("recoveries").await;
            let json: Value = serde_json::from_str(&recoveries).expect("JSON");
            let recovery = &json["recoveries"][0];
            match recovery["fault"] == "panic" && recovery["whole_ms"].is_f64() {
                true => Moment::Now(()),
                false => Moment::NotYet(recoveries),
            }
        })
        .await;
        let metrics = chapter.run("metrics").await;
        assert!(metrics.contains("callboard_peers 1\n"), "{metrics}");
        assert!(metrics.ends_with("200\n200\n"), "{metrics}");
    });
}

#[test]
fn a_client_sends_as_much_as_the_chapter_on_limits_says() {
    in_network_namespace(async || {
        let chapter = Chapter::of("limits.md");
        chapter.says("let a client send 2,000 messages as fast as another takes them");
        let _server = Server::of("guide", &["limits"]).await;
        let mut receiver = join("/socket/any", ClientOptions::new()).await;
        let mut sender = join("/socket/any", ClientOptions::new()).await;
        let receiver_id = receiver.peer_id();
        for hundred in 0..20 {
            // A room that has more than 1,024 messages to do drops what comes then, at any rate.
            for number in 0..100 {
                sender.send(&receiver_id, "input", 100 * hundred + number).expect("room for it");
            }
            for number in 0..100 {
                assert_eq!(message(&mut receiver).await.data, 100 * hundred + number);
            }
        }
        assert_eq!(sender.try_next_event(), None, "no error");
    });
}

#[test]
fn a_token_that_is_signed_as_the_chapter_says_opens_the_room() {
    in_network_namespace(async || {
        let chapter = Chapter::of("jwt.md");
        let secret = "a secret of the login server, 32 bytes or more";
        chapter.says(&format!("export JWT_SECRET='{secret}'"));
        let server = Server::of_with("guide", &["jwt"], &[("JWT_SECRET", secret)]).await;
        let token = chapter.run("sign").await;
        let token = token.trim();
        let header =
            |token: &str| ClientOptions::new().header("authorization", format!("Bearer {token}"));
        let offer = |token: &str| {
            ClientOptions::new().protocol("callboard").protocol(format!("bearer.{token}"))
        };

        let mut first = join("/socket/lobby", header(token)).await;
        let second = join("/socket/lobby", offer(token)).await;

        let ClientEvent::Joined(joined) = next(&mut first).await else { panic!("no newcomer") };
        assert_eq!((joined.peer_id, joined.metadata), (second.peer_id(), json!({ "sub": "ann" })));
        let line = format!("{} is ann", first.peer_id());
        until(&line, PATIENCE, async || match server.written().contains(&line) {
            true => Moment::Now(()),
            false => Moment::NotYet(format!("{:?}", server.written())),
        })
        .await;
        second.send(Recipients::All, "chat", "hello").expect("room for it");
        assert_eq!(message(&mut first).await.data, "hello");

        let missing = status("/socket/lobby", ClientOptions::new()).await;
        assert_eq!(missing, (401, json!(chapter.says("no token"))));
        let (signed, signature) = token.rsplit_once('.').expect("a signature");
        let letter = if signature.starts_with('a') { "b" } else { "a" };
        let forged = format!("{signed}.{letter}{}", &signature[1..]);
        let wrong = status("/socket/lobby", header(&forged)).await;
        assert_eq!(wrong, (401, json!(chapter.says("wrong signature"))));
    });
}

#[test]
fn a_server_that_is_deployed_as_the_chapter_says_is_ready_and_ends_in_good_order() {
    in_network_namespace(async || {
        let chapter = Chapter::of("deploying.md");
        let settings = [
            ("ADMIN_TOKEN", "a-long-random-text"),
            ("ORIGIN", "https://call.example"),
            ("TRUSTED_PROXY", "127.0.0.1"),
            ("UDP_PORT", "40000"),
            ("ANNOUNCE", "192.0.2.7"),
        ];
        for (name, value) in settings {
            chapter.says(&format!("{name}={value}"));
        }
        let server = Server::of_with("guide", &["deploying"], &settings).await;
        let asked = chapter.run("ask").await;
        assert!(asked.starts_with("healthz 200\nreadyz 200\nmetrics 401\n"), "{asked}");
        assert!(asked.contains("callboard_rooms 1\n"), "{asked}");
        let page = |origin: &str| ClientOptions::new().header("origin", origin);
        assert_eq!(status("/socket/lobby", page("https://evil.example")).await.0, 403);
        let forwarded = page("https://call.example").header("x-forwarded-for", "203.0.113.9");
        let mut client = join("/socket/lobby", forwarded).await;

        let ended = server.terminate(PATIENCE).await;

        assert_eq!(ended.code(), Some(0));
        let ClientEvent::Error(error) = next(&mut client).await else { panic!("no word of it") };
        assert_eq!((&*error.code, error.details), ("room_closed", json!("shutdown")));
    });
}

#[test]
fn clients_of_three_nodes_are_in_one_room_as_the_chapter_on_many_nodes_says() {
    in_network_namespace(async || {
        let chapter = Chapter::of("many-nodes.md");
        let nats = NatsServer::start().await;
        let mut servers = Vec::new();
        for (node, listen) in [("a1", "8080"), ("b2", "8081"), ("c3", "8082")] {
            let listen = format!("127.0.0.1:{listen}");
            chapter.says(&format!("NODE={node} LISTEN={listen} cargo run"));
            let settings = [("NODE", node), ("LISTEN", &listen), ("NATS", &nats.url())];
            servers.push(Server::of_with("guide", &["many_nodes"], &settings).await);
        }
        let mut clients: Vec<Client> = Vec::new();
        for server in &servers {
            let url = format!("ws://{}/socket/lobby", server.listen());
            let joined = until("a place in the lobby", PATIENCE, async || {
                match Client::connect(&url, ClientOptions::new()).await {
                    Ok(client) => Moment::Now(client),
                    Err(error) => Moment::NotYet(error.to_string()),
                }
            });
            clients.push(joined.await);
            for client in &mut clients {
                // Of the peers before it.
                while message(client).await.event != "here" {}
            }
        }
        assert_eq!(clients[2].peers().len(), 2);
        let line = format!("{} joins here at b2, the room is at a1", clients[1].peer_id());
        until(&line, PATIENCE, async || match servers[1].written().contains(&line) {
            true => Moment::Now(()),
            false => Moment::NotYet(format!("{:?}", servers[1].written())),
        })
        .await;

        let _home = servers.remove(0).terminate(PATIENCE).await;
        let _gone = clients.remove(0);

        until("both in one room", PATIENCE, async || {
            let others: Vec<_> = clients.iter().map(|client| client.peers().len()).collect();
            if others == [1, 1] { Moment::Now(()) } else { Moment::NotYet(format!("{others:?}")) }
        })
        .await;
        clients[0].send(Recipients::All, "chat", "still here").expect("room for it");
        loop {
            let told = message(&mut clients[1]).await;
            if told.event == "chat" {
                break assert_eq!(told.data, "still here");
            }
        }
    });
}
