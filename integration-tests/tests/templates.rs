//! The templates for `cargo generate`: each becomes a program that builds, passes its tests, and serves.

use std::collections::BTreeMap;
use std::process::Command;

use callboard_client::{ChannelData, Client, ClientEvent, ClientOptions};
use integration_tests::program::{self, OfTemplate};
use integration_tests::{
    Browser, Camera, Kind, Moment, PATIENCE, Server, in_network_namespace, until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[test]
fn a_call_of_the_template_tells_its_members_each_others_names() {
    let made = program::of_a_template("call");
    passes_its_tests(&made);
    in_network_namespace(async || {
        let (_server, host) = serve(&made, "<title>Call</title>").await;
        let mut ann = join(&host, "demo?name=Ann").await;
        let bob = join(&host, "demo?name=Bob").await;
        let Some(ClientEvent::Joined(joined)) = next(&mut ann).await else { panic!() };
        assert_eq!((joined.peer_id, &joined.metadata["name"]), (bob.peer_id(), &"Bob".into()));
        drop((ann, bob));

        let page = format!("http://{host}/");
        let browser = Browser::start(Kind::Chromium).await;
        browser.go_to(&page).await;
        let first = browser.tab().await;
        fills_in(&browser, "Cleo").await;
        browser.shows("You are in. Nobody else is here yet.").await;
        browser.open_tab(&page).await;
        fills_in(&browser, "Dora").await;
        browser.shows("In a call with Cleo.").await;
        plays(&browser, "Cleo").await;
        browser.show(&first).await;
        browser.shows("In a call with Dora.").await;
        plays(&browser, "Dora").await;

        // Without a camera one sees the others, and is told why they do not see oneself.
        let without = Browser::start_with(Kind::Chromium, Camera::Missing).await;
        without.go_to(&page).await;
        fills_in(&without, "Ella").await;
        without.shows("No camera with a microphone was found: you see and hear the others").await;
        plays(&without, "Dora").await;
        without.close().await;
        browser.close().await;
    });
}

#[test]
fn a_game_of_the_template_sends_the_places_of_all() {
    let made = program::of_a_template("game");
    passes_its_tests(&made);
    in_network_namespace(async || {
        let (_server, host) = serve(&made, "<title>Game</title>").await;
        let mut ann = join(&host, "field?name=Ann").await;
        // Without a data channel they come over the WebSocket.
        let Some(ClientEvent::Data { channel, data: ChannelData::Text(world) }) =
            next(&mut ann).await
        else {
            panic!()
        };
        assert_eq!(channel, "world");
        let world: BTreeMap<String, serde_json::Value> = serde_json::from_str(&world).unwrap();
        assert_eq!(world["players"][0][0], ann.peer_id());
        drop(ann);

        let browser = Browser::start(Kind::Chromium).await;
        browser.go_to(&format!("http://{host}/")).await;
        fills_in(&browser, "Cleo").await;
        browser.shows("Twenty times a second, over a data channel.").await;
        browser.shows("Cleo: 0").await;
        browser.close().await;
    });
}

#[test]
fn telemetry_of_the_template_sums_up_what_is_pushed_and_has_admin_routes() {
    let made = program::of_a_template("telemetry");
    passes_its_tests(&made);
    in_network_namespace(async || {
        let (_server, host) = serve(&made, "<title>Telemetry</title>").await;
        let mut device = join(&host, "site").await;
        device.call("telemetry", "push", ("temperature", 21.5)).await.expect("it is taken");
        let Some(ClientEvent::Message(summary)) = next(&mut device).await else { panic!() };
        assert_eq!(summary.data["temperature"]["mean"], 21.5);
        let tree = get(&host, "/admin/tree").await;
        assert!(tree.contains("\"site\""), "{tree}");

        let browser = Browser::start(Kind::Chromium).await;
        browser.go_to(&format!("http://{host}/")).await;
        browser.shows("Connected.").await;
        browser.click("button").await;
        browser.shows("temperature").await;
        browser.shows("button\t1\t").await;
        browser.close().await;
    });
}

/// Runs the tests of a program, which are built already.
fn passes_its_tests(made: &OfTemplate) {
    let output = Command::new(env!("CARGO"))
        .args(["test", "--workspace", "--offline", "--quiet", "--manifest-path"])
        .arg(&made.manifest)
        .args(["--bin", &made.name])
        .env("CARGO_TARGET_DIR", &made.target)
        .output()
        .expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("test result: ok."), "{said}");
}

/// Starts a program, and checks that it serves its page; returns its host.
async fn serve(made: &OfTemplate, title: &str) -> (Server, String) {
    let server = Server::at(&made.program, &["127.0.0.1:0"], &[]).await;
    let host = server.listen().to_owned();
    let page = get(&host, "/").await;
    assert!(page.contains(title), "{page}");
    assert!(get(&host, "/callboard.js").await.contains("export"));
    says_that_it_cannot_listen(made, &host);
    (server, host)
}

/// Starts the program at an address that is taken: it says so in one line.
fn says_that_it_cannot_listen(made: &OfTemplate, taken: &str) {
    let output = Command::new(&made.program).arg(taken).env_remove("RUST_LOG").output();
    let output = output.expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let line = format!("Error: cannot listen on {taken}: Address already in use");
    assert!(said.starts_with(&line) && said.lines().count() == 1, "{said}");
    assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
}

/// Fills in the form of the page, and sends it.
async fn fills_in(browser: &Browser, name: &str) {
    browser.type_into("input[name=name]", name).await;
    browser.click("form button").await;
}

/// Waits until the other's picture plays.
async fn plays(browser: &Browser, name: &str) {
    until(&format!("a picture of {name}"), PATIENCE, async || {
        let look = "const figures = [...document.querySelectorAll('figure')];
            const figure = figures.find((one) => one.textContent === arguments[0]);
            const time = figure?.firstChild.currentTime;
            return [time > 0, time, figures.map((one) => one.textContent)]";
        let seen = browser.evaluate(look, vec![name.into()]).await;
        if seen[0] == true { Moment::Now(()) } else { Moment::NotYet(seen.to_string()) }
    })
    .await;
}

async fn join(host: &str, room: &str) -> Client {
    let address = format!("ws://{host}/socket/{room}");
    Client::connect(&address, ClientOptions::new()).await.expect("it is admitted")
}

async fn next(client: &mut Client) -> Option<ClientEvent> {
    tokio::time::timeout(PATIENCE, client.next_event()).await.expect("in time")
}

/// Returns the body of an answer.
async fn get(host: &str, path: &str) -> String {
    let mut connection = TcpStream::connect(host).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("an answer in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
    body.to_owned()
}
