//! Promises of the READMEs to a new user, tested literally: their commands, the addresses that
//! these print, a new profile.

use integration_tests::{
    Browser, Kind, Moment, PATIENCE, Readme, Server, in_network_namespace, until,
};

#[test]
fn two_tabs_of_chromium_at_the_printed_address_of_supervisor_tree_are_in_a_call() {
    in_network_namespace(async || two_tabs_are_in_a_call(Kind::Chromium).await);
}

#[test]
fn two_tabs_of_firefox_at_the_printed_address_of_supervisor_tree_are_in_a_call() {
    in_network_namespace(async || two_tabs_are_in_a_call(Kind::Firefox).await);
}

async fn two_tabs_are_in_a_call(kind: Kind) {
    let readme = Readme::in_folder("examples/supervisor-tree");
    let server = readme.serve("supervisor-tree", &[]).await;
    let address = printed(&server, &readme, "http://127.0.0.1:8080");
    let front_page = Readme::in_folder(".");
    assert!(front_page.says(&format!("prints `listening on {address}`. Open it in two tabs")));

    let browser = Browser::start(kind).await;
    browser.go_to(&address).await;
    let first = browser.tab().await;
    browser.shows("You are in. Nobody else is here yet.").await;
    browser.open_tab(&address).await;
    browser.shows("In a call with 1 other.").await;
    shows_the_other(&browser).await;
    browser.show(&first).await;
    browser.shows("In a call with 1 other.").await;
    shows_the_other(&browser).await;
    // A camera takes a while to open, in which the other has offered already.
    browser.click("#camera").await;
    browser.shows("In a call with 1 other.").await;
    shows_the_other(&browser).await;
    // The tree beside the call shows the connection that carries it.
    browser.shows("PeerConnection").await;
    browser.close().await;
}

#[test]
fn two_tabs_of_chromium_at_the_address_of_mesh_call_are_in_a_call() {
    in_network_namespace(async || two_tabs_log_in(Kind::Chromium).await);
}

#[test]
fn two_tabs_of_firefox_at_the_address_of_mesh_call_are_in_a_call() {
    in_network_namespace(async || two_tabs_log_in(Kind::Firefox).await);
}

async fn two_tabs_log_in(kind: Kind) {
    let readme = Readme::in_folder("examples/mesh-call");
    assert!(readme.says("in two tabs or on two machines and log in as `USERNAME` with `PASSWORD`"));
    let server = readme.serve("mesh-call", &[]).await;
    let address = printed(&server, &readme, "http://127.0.0.1:8080");

    let browser = Browser::start(kind).await;
    browser.go_to(&address).await;
    let first = browser.tab().await;
    browser.type_into("#username", "USERNAME").await;
    browser.type_into("#password", "PASSWORD").await;
    browser.click("#login-form button[type=submit]").await;
    browser.shows("You are in. Waiting for someone to join…").await;
    // The second tab has the cookie of the first.
    browser.open_tab(&address).await;
    browser.shows("In a call with 1 other.").await;
    browser.show(&first).await;
    browser.shows("In a call with 1 other.").await;
    browser.close().await;
}

#[test]
fn two_tabs_of_chromium_at_the_address_of_media_room_are_in_a_call() {
    in_network_namespace(async || two_tabs_in_a_media_room(Kind::Chromium).await);
}

#[test]
fn two_tabs_of_firefox_at_the_address_of_media_room_are_in_a_call() {
    in_network_namespace(async || two_tabs_in_a_media_room(Kind::Firefox).await);
}

async fn two_tabs_in_a_media_room(kind: Kind) {
    let readme = Readme::in_folder("examples/media-room");
    let arguments = ["--bots", "3", "--record-on-demand", "recordings"];
    let server = readme.serve("media-room", &arguments).await;
    let address = printed(&server, &readme, "http://127.0.0.1:8080/demo");

    let browser = Browser::start(kind).await;
    browser.go_to(&address).await;
    let first = browser.tab().await;
    browser.resize(1_200, 1_600).await;
    shows_pictures(&browser, 3).await;
    browser.open_tab(&address).await;
    shows_pictures(&browser, 4).await;
    // It was hidden meanwhile, and got no pictures.
    browser.show(&first).await;
    shows_pictures(&browser, 4).await;
    browser.close().await;
}

/// Waits until pictures of these many others are shown, and move.
async fn shows_pictures(browser: &Browser, others: usize) {
    browser.shows(&format!("In a call with {others} others.")).await;
    browser.evaluate("window.before = window.callState.peers", vec![]).await;
    until("pictures of the others", PATIENCE, async || {
        let look = "const { peers } = window.callState;
            const before = (id) => window.before.find((one) => one.id === id)?.time ?? 0;
            return [peers.every(({ id, width, time }) => width > 0 && time > before(id)), peers]";
        let told = browser.evaluate(look, vec![]).await;
        if told[0] == true { Moment::Now(()) } else { Moment::NotYet(told.to_string()) }
    })
    .await;
}

/// Waits until the picture of the other moves.
async fn shows_the_other(browser: &Browser) {
    until("a picture of the other", PATIENCE, async || {
        let look = "const { peers, frames } = window.demo;
            const before = window.framesBefore ?? frames;
            window.framesBefore = before;
            return [peers.length === 1 && peers[0].media === 'connected' && frames > before, peers, frames]";
        let told = browser.evaluate(look, vec![]).await;
        if told[0] == true { Moment::Now(()) } else { Moment::NotYet(told.to_string()) }
    })
    .await;
}

/// Returns the address in the README, which is the one that the server has printed.
fn printed(server: &Server, readme: &Readme, beginning: &str) -> String {
    let address = readme.address(beginning);
    assert!(address.starts_with(server.address()), "{address} is not at {}", server.address());
    address
}
