//! The main use: browsers in a call through the server's rooms.

use std::time::Duration;

use integration_tests::{Browser, CallPage, FaultKind, Kind, Server, in_network_namespace};

#[test]
fn two_chromiums_see_each_other_and_chat() {
    in_network_namespace(async || a_call_between(Kind::Chromium, Kind::Chromium).await);
}

#[test]
fn chromium_and_firefox_see_each_other_and_chat() {
    in_network_namespace(async || a_call_between(Kind::Chromium, Kind::Firefox).await);
}

#[test]
fn a_third_browser_learns_that_the_room_is_full() {
    in_network_namespace(async || {
        let server = Server::start().await;
        let (ann, bob) = two_in_a_call(&server, Kind::Chromium, Kind::Chromium).await;

        let eve = CallPage::enter("Eve", Kind::Chromium, &server, "room").await;
        let words = eve.shows("full").await;

        assert!(words.contains("full"), "the page said {words:?}");
        ann.is_with(1).await;
        bob.is_with(1).await;

        // The place is free again after a member has left.
        bob.close().await;
        ann.is_with(0).await;
        eve.browser().click("#leave").await;
        eve.is_with(1).await;
    });
}

#[test]
fn a_server_that_ends_tells_the_pages_and_a_new_one_gets_them_back() {
    in_network_namespace(async || {
        let server = Server::start().await;
        let listen = server.listen().to_owned();
        let (ann, bob) = two_in_a_call(&server, Kind::Chromium, Kind::Firefox).await;
        for page in [&ann, &bob] {
            // Pages ask until the server answers.
            let words = ["/check/room", "_CONNECTION_REFUSED"];
            page.browser().expect_fault(FaultKind::FailedRequest, &words);
        }

        let status = server.terminate(DRAIN_TIME).await;

        assert_eq!(status.code(), Some(0), "the server ended with {status}");
        for page in [&ann, &bob] {
            let words = page.shows("reconnecting").await;
            assert!(words.contains("Reconnecting"), "the page said {words:?}");
        }

        let _server = Server::start_with(&["--listen", &listen]).await;

        for page in [&ann, &bob] {
            page.shows("in-call").await;
            page.is_with(1).await;
            page.sees_everyone_move().await;
        }
    });
}

#[test]
fn wrong_credentials_are_told_and_right_ones_enter_after_them() {
    in_network_namespace(async || {
        let server = Server::start().await;
        let page = CallPage::open("Ann", Kind::Chromium, &server, "room").await;

        page.browser().expect_fault(FaultKind::FailedRequest, &["/check/room", "401"]);
        page.log_in("USERNAME", "not the password").await;
        let words = page.shows("wrong-credentials").await;
        assert!(words.contains("Wrong user name or password"), "the page said {words:?}");

        page.log_in("USERNAME", "PASSWORD").await;
        page.shows("waiting").await;
    });
}

#[test]
fn a_room_that_does_not_exist_is_a_404_page() {
    in_network_namespace(async || {
        let server = Server::start().await;
        let browser = Browser::start(Kind::Chromium).await;

        browser.expect_fault(FaultKind::FailedRequest, &["/nowhere", "404"]);
        browser.go_to(&server.page("nowhere")).await;

        let status = "return performance.getEntriesByType('navigation')[0].responseStatus";
        assert_eq!(browser.evaluate(status, vec![]).await, 404);
        let text = browser.text().await;
        assert!(text.contains("no such room"), "the page said {text:?}");
    });
}

async fn a_call_between(one: Kind, other: Kind) {
    let server = Server::start().await;
    let (ann, bob) = two_in_a_call(&server, one, other).await;

    ann.sees_everyone_move().await;
    bob.sees_everyone_move().await;

    // A page learns that a member has joined before it learns its name.
    for page in [&ann, &bob] {
        page.calls_everyone_by_one_name().await;
    }

    ann.says("Hello from Ann").await;
    bob.reads("Hello from Ann").await;
    bob.says("Hello from Bob").await;
    ann.reads("Hello from Bob").await;

    bob.close().await;
    ann.reads(" left").await;
    ann.is_with(0).await;
    ann.shows("waiting").await;
}

async fn two_in_a_call(server: &Server, one: Kind, other: Kind) -> (CallPage, CallPage) {
    let (ann, bob) = tokio::join!(
        CallPage::enter("Ann", one, server, "room"),
        CallPage::enter("Bob", other, server, "room")
    );
    ann.is_with(1).await;
    bob.is_with(1).await;
    (ann, bob)
}

/// Longest time in which the server says goodbye to all clients.
const DRAIN_TIME: Duration = Duration::from_secs(10);
