//! A call through a media room of the server, in `media-room` as its users run it.

#[path = "../../../crates/media-rooms/tests/egress/mod.rs"]
mod egress;
mod host;
mod lips;
mod loss;
#[path = "../interop/ours.rs"]
mod ours;
mod pictures;
mod sender;
mod slots;
mod stacks;
mod stage;

use std::time::Duration;

use integration_tests::recording::decoded;
use integration_tests::{
    Browser, CallPage, Camera, Kind, Moment, PATIENCE, Server, alone_in_network_namespace,
    in_network_namespace, until,
};
use pictures::UNLIMITED;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

pub(crate) async fn server() -> Server {
    Server::of("media-room", &["--listen", "127.0.0.1:0"]).await
}

/// Waits until the page shows so many others, each with a picture that moves from now on.
pub(crate) async fn sees(page: &CallPage, others: usize) {
    holds(
        page.browser(),
        "const { status, peers } = window.callState;
         return peers.length === arguments[0] && status.startsWith(`In a call with ${arguments[0]} other`)
             && peers.every(({ width }) => width > 0)
             && document.querySelectorAll('video[data-peer]').length === arguments[0]",
        vec![json!(others)],
    )
    .await;
    page.sees_everyone_move().await;
}

/// Waits until this script returns true in a page that has started.
pub(crate) async fn holds(browser: &Browser, script: &str, arguments: Vec<Value>) {
    let script = &format!("if (!window.callState) return 'not started'; {script}");
    until(script, PATIENCE, async || match browser.evaluate(script, arguments.clone()).await {
        Value::Bool(true) => Moment::Now(()),
        other => {
            let state = browser.evaluate("return window.callState", vec![]).await;
            Moment::NotYet(format!("{other}: {state:#}"))
        }
    })
    .await;
}

/// Lets a page keep its peer connection to the server in `window.connection`.
pub(crate) async fn keep_connection(page: &CallPage) {
    page.browser().evaluate(KEEP_CONNECTION, vec![]).await;
    page.browser().click("#details").await;
    holds(page.browser(), "return window.connection !== undefined", vec![]).await;
}

#[test]
fn three_browsers_see_each_other() {
    alone_in_network_namespace(async || {
        let server = server().await;
        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo?name=Ann").await;
        ann.browser().shows("You are in. Nobody else is here yet.").await;
        let bob = CallPage::open("Bob", Kind::Firefox, &server, "demo").await;
        let eve = CallPage::open("Eve", Kind::Chromium, &server, "demo").await;
        let elsewhere = CallPage::open("Joe", Kind::Chromium, &server, "other").await;
        for page in [&ann, &bob, &eve] {
            sees(page, 2).await;
        }
        bob.browser().shows("Ann (").await;
        elsewhere.browser().shows("You are in. Nobody else is here yet.").await;
        elsewhere.close().await;

        // Two at once, and one.
        eve.close().await;
        sees(&ann, 1).await;
        sees(&bob, 1).await;
        for page in [&ann, &bob] {
            // A page that is loaded again is another member.
            page.browser().go_to(&server.page("demo")).await;
            sees(&ann, 1).await;
            sees(&bob, 1).await;
        }
        ann.browser().resize(400, 900).await;
        let fits = "const { scrollWidth, clientWidth } = document.scrollingElement;
            return innerWidth <= 500 && scrollWidth <= clientWidth";
        holds(ann.browser(), fits, vec![]).await;

        for page in [ann, bob] {
            page.close().await;
        }
        let status = server.terminate(Duration::from_secs(10)).await;
        assert_eq!(status.code(), Some(0), "the server ended with {status}");
    });
}

#[test]
fn pictures_come_in_the_layer_that_their_tiles_need() {
    in_network_namespace(async || {
        let server = Server::of("media-room", &UNLIMITED).await;
        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo?name=Ann").await;
        // Until a decoded picture is as wide as this layer of a camera of 1280 by 720, or of what a busy browser makes
        // of it.
        let shows = "const ann = window.callState.peers.find(({ name }) => name.startsWith('Ann'));
             const [column, wanted, least, most] = arguments, grid = document.getElementById('grid');
             if (grid.style.gridTemplateColumns !== column) grid.style.gridTemplateColumns = column;
             const { state, layer } = ann?.flow ?? {};
             return state === 'flowing' && layer === wanted && ann.width >= least && ann.width <= most";
        let [q, h, f] =
            [("150px", "q", 1, 400), ("400px", "h", 1, 700), ("900px", "f", 700, 1_280)];
        // One after the other: a browser that shares two cores with others sends its camera smaller.
        for kind in [Kind::Firefox, Kind::Chromium] {
            let viewer = CallPage::open("viewer", kind, &server, "demo?synthetic").await;
            // What is out of sight is paused.
            viewer.browser().resize(1_000, 2_400).await;
            sees(&viewer, 1).await;
            for (column, layer, least, most) in [q, f, q, h] {
                let wanted = [json!(column), json!(layer), json!(least), json!(most)];
                holds(viewer.browser(), shows, wanted.into()).await;
                sees(&viewer, 1).await;
            }
            viewer.close().await;
        }
        ann.close().await;
    });
}

#[test]
fn pictures_go_on_after_each_fault_in_the_media_room() {
    in_network_namespace(async || {
        let server = server().await;
        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo").await;
        let bob = CallPage::open("Bob", Kind::Firefox, &server, "demo").await;
        let both = async || {
            sees(&ann, 1).await;
            sees(&bob, 1).await;
        };
        both().await;
        let ids = "return [window.callState.peerId, window.callState.peers[0].id]";
        let before = ann.browser().evaluate(ids, vec![]).await;
        for what in ["stage", "publisher", "subscriber"] {
            let tree: Value =
                serde_json::from_str(&ask(&server, "GET", "/tree", "").await).unwrap();
            let mut paths = Vec::new();
            collect(&tree, what, &mut paths);
            assert_eq!(paths.len(), if what == "stage" { 1 } else { 2 }, "{tree:#}");
            for path in paths {
                let fault = json!({ "path": path, "fault": "panic" }).to_string();
                ask(&server, "POST", "/tree/fault", &fault).await;
            }
            both().await;
        }
        // No one has left, or come anew.
        assert_eq!(ann.browser().evaluate(ids, vec![]).await, before);
        ann.close().await;
        bob.close().await;
    });
}

#[test]
fn a_connection_that_ends_is_replaced_for_its_owner_and_the_others() {
    in_network_namespace(async || {
        let server = server().await;
        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo").await;
        let bob = CallPage::open("Bob", Kind::Firefox, &server, "demo").await;
        bob.browser().expect_lost_connections();
        sees(&ann, 1).await;
        sees(&bob, 1).await;
        for (page, fault) in [(&ann, "panic"), (&bob, "kill")] {
            let peer = id_of(page).await;
            let before = connection(&tree(&server).await, &peer).expect("it is connected");

            let order = json!({ "path": before, "fault": fault }).to_string();
            let (began, _) = (Instant::now(), ask(&server, "POST", "/tree/fault", &order).await);

            // Another one of the same member, so what moves from then on is new.
            until("another connection", PATIENCE, async || {
                match connection(&tree(&server).await, &peer) {
                    Some(path) if path != before => Moment::Now(()),
                    other => Moment::NotYet(format!("{other:?}")),
                }
            })
            .await;
            sees(page, 1).await;
            println!("{fault}: the owner sees the other move again after {:?}", began.elapsed());
            sees(&ann, 1).await;
            sees(&bob, 1).await;
            println!("{fault}: all see each other move again after {:?}", began.elapsed());
            assert_eq!(id_of(page).await, peer, "the member has stayed");
        }
        ann.close().await;
        bob.close().await;
    });
}

#[test]
fn media_that_was_given_up_comes_back_when_asked_and_text_goes_on() {
    in_network_namespace(async || {
        let server = server().await;
        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo").await;
        let bob = CallPage::open("Bob", Kind::Firefox, &server, "demo").await;
        sees(&ann, 1).await;
        sees(&bob, 1).await;
        let alone = "const [peer, ...more] = window.callState.peers;
             return peer?.state === 'connecting…' && more.length === 0";
        // callboard.js begins it again by itself at first; so the page may be alone for a moment only.
        let note = "window.alone = 0;
             const grid = document.getElementById('grid');
             const look = () => { if (grid.textContent.includes('connecting…')) window.alone += 1 };
             new MutationObserver(look)
                 .observe(grid, { subtree: true, childList: true, characterData: true })";
        ann.browser().evaluate(note, vec![]).await;
        for time in 1..=3 {
            let peer = id_of(&ann).await;
            give_up(&server, |tree| subscriber(tree, &peer)).await;
            holds(ann.browser(), "return window.alone > 0", vec![]).await;
            if time < 3 {
                sees(&ann, 1).await;
                sees(&bob, 1).await;
                ann.browser().evaluate("window.alone = 0", vec![]).await;
            }
        }
        holds(ann.browser(), alone, vec![]).await;
        holds(bob.browser(), alone, vec![]).await;

        // What the server tells in texts: another member.
        let before = id_of(&bob).await;
        bob.browser().go_to(&server.page("demo")).await;
        let other = "const [peer, ...more] = window.callState.peers;
            return peer && more.length === 0 && peer.id !== arguments[0]";
        holds(ann.browser(), other, vec![json!(before)]).await;
        holds(ann.browser(), alone, vec![]).await;

        ann.browser().evaluate("document.getElementById('retry').click()", vec![]).await;

        sees(&ann, 1).await;
        sees(&bob, 1).await;
        ann.close().await;
        bob.close().await;
    });
}

/// Lets the actor with this path in the tree panic until it is given up.
async fn give_up(server: &Server, path: impl Fn(&Value) -> Option<String>) {
    until("its end", PATIENCE, async || {
        match path(&tree(server).await) {
            None => Moment::Now(()),
            Some(path) => {
                let order = json!({ "path": path, "fault": "panic" }).to_string();
                // While it is being restarted there is nothing to hit.
                _ = request(server, "POST", "/tree/fault", &order).await;
                Moment::NotYet(format!("{path} runs"))
            }
        }
    })
    .await
}

async fn id_of(page: &CallPage) -> String {
    let id = page.browser().evaluate("return window.callState.peerId", vec![]).await;
    id.as_str().expect("a member's id").to_owned()
}

async fn tree(server: &Server) -> Value {
    serde_json::from_str(&ask(server, "GET", "/tree", "").await).expect("a tree")
}

/// Returns the path of a member's connection.
fn connection(tree: &Value, peer: &str) -> Option<String> {
    let path = &find(tree, &format!("webrtc:{peer}"))?["children"][0]["path"];
    path.as_str().map(str::to_owned)
}

/// Returns the path of a member's subscriber, which is below its part of the media room.
fn subscriber(tree: &Value, peer: &str) -> Option<String> {
    let connection = connection(tree, peer)?;
    let (_, id) = connection.rsplit_once('/')?;
    path_of(find(find(tree, "media")?, id)?, "subscriber")
}

/// Returns the path of the first actor of this name.
fn path_of(tree: &Value, id: &str) -> Option<String> {
    find(tree, id)?["path"].as_str().map(str::to_owned)
}

/// Returns the first actor of this name.
fn find<'a>(tree: &'a Value, id: &str) -> Option<&'a Value> {
    if tree["id"] == id {
        return Some(tree);
    }
    tree["children"].as_array()?.iter().find_map(|child| find(child, id))
}

/// Adds the paths of all actors of this name.
fn collect<'a>(tree: &'a Value, id: &str, paths: &mut Vec<&'a str>) {
    if tree["id"] == id {
        paths.extend(tree["path"].as_str());
    }
    for child in tree["children"].as_array().into_iter().flatten() {
        collect(child, id, paths);
    }
}

/// Asks an admin route, and returns the body of the answer.
async fn ask(server: &Server, method: &str, path: &str, body: &str) -> String {
    let answer = request(server, method, path, body).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 20"), "{path}: {answer}");
    body.to_owned()
}

/// Asks an admin route, and returns the whole answer.
async fn request(server: &Server, method: &str, path: &str, body: &str) -> String {
    let (host, length) = (server.listen(), body.len());
    let request = format!(
        "{method} /admin{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let mut connection = TcpStream::connect(host).await.expect("it listens");
    connection.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("an answer in UTF-8");
    answer
}

#[test]
fn a_recorded_call_is_decoded_by_ffmpeg() {
    in_network_namespace(async || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let arguments = ["--listen", "127.0.0.1:0", "--record", folder.path().to_str().unwrap()];
        let server = Server::of("media-room", &arguments).await;
        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo").await;
        let bob = CallPage::open("Bob", Kind::Chromium, &server, "demo").await;
        sees(&ann, 1).await;
        sees(&bob, 1).await;
        // Enough for a report of each sender on its clocks, and for the pictures to move.
        for _ in 0..3 {
            sees(&ann, 1).await;
            sees(&bob, 1).await;
        }
        ann.close().await;
        bob.close().await;
        // It completes the files.
        let status = server.terminate(Duration::from_secs(20)).await;
        assert_eq!(status.code(), Some(0), "the server ended with {status}");

        let files = std::fs::read_dir(folder.path()).expect("the recordings");
        let mut whole = 0;
        for file in files {
            let file = file.unwrap().path();
            let recording = decoded(&file).await;
            let streams = recording["streams"].as_array().expect("streams");
            let seen = format!("{}: {recording:#}", file.display());
            println!("{seen}");
            for stream in streams {
                assert!(stream["frames"].as_u64() > Some(0), "{seen}");
            }
            if streams.len() < 2 {
                // A microphone that was faster than its camera by far.
                continue;
            }
            whole += 1;
            let of = |kind: &str| streams.iter().find(|it| it["type"] == kind).expect(kind).clone();
            let (sound, picture) = (of("audio"), of("video"));
            assert_eq!((&sound["codec"], &picture["codec"]), (&json!("opus"), &json!("vp8")));
            let last = |stream: &Value| stream["last"].as_f64().unwrap();
            assert!((last(&sound) - last(&picture)).abs() < 10.0, "on one clock: {seen}");
            let duration = recording["duration"].as_f64().expect("a duration");
            assert!((duration - last(&sound)).abs() < 10.0, "{seen}");
        }
        assert!(whole >= 2, "one of each participant at least");
    });
}

#[test]
fn who_has_no_camera_sends_a_drawn_picture_and_is_told_so() {
    in_network_namespace(async || {
        let server = server().await;
        let ann = CallPage::open("Ann", Kind::Firefox, &server, "demo").await;
        for (camera, words) in [
            (Camera::Missing, "There is no camera that can be used"),
            (Camera::Forbidden, "The browser does not allow this page to use camera"),
        ] {
            let browser = Browser::start_with(Kind::Chromium, camera).await;
            browser.go_to(&server.page("demo")).await;
            browser.shows(words).await;
            sees(&ann, 1).await;
            browser.close().await;
        }
        ann.close().await;
    });
}

/// Its details ask for figures of the connection.
const KEEP_CONNECTION: &str = "
    const { getStats } = RTCPeerConnection.prototype;
    RTCPeerConnection.prototype.getStats = function (...all) {
        window.connection = this;
        return getStats.apply(this, all);
    };";
