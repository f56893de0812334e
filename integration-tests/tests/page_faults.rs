//! Tests of the check that pages of browser tests have no faults: every kind is caught, in both browsers.

use integration_tests::{
    Browser, FaultKind, Kind, Moment, PATIENCE, in_network_namespace, program, until,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

#[test]
fn every_kind_of_fault_fails_the_test_when_chromium_closes() {
    every_kind_of_fault_fails_the_test(Kind::Chromium);
}

#[test]
fn every_kind_of_fault_fails_the_test_when_firefox_closes() {
    every_kind_of_fault_fails_the_test(Kind::Firefox);
}

#[test]
fn a_browser_that_is_dropped_is_judged_and_expected_faults_are_none() {
    let said = failure_of(async || {
        let browser = Browser::start(Kind::Chromium).await;
        let site = serve().await;
        browser.expect_fault(FaultKind::ConsoleError, &["written"]);
        browser.expect_fault(FaultKind::FailedRequest, &["/nothing", "404"]);
        // Expectations with other words, or of another kind.
        browser.expect_fault(FaultKind::Uncaught, &["thrown", "/nowhere"]);
        browser.expect_fault(FaultKind::ConsoleError, &["thrown"]);

        visit(&browser, &site, &["error", "throw", "fetch"]).await;
    });

    assert!(said.contains("Uncaught: Error: thrown"), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
}

fn every_kind_of_fault_fails_the_test(kind: Kind) {
    let said = failure_of(async || {
        let browser = Browser::start(kind).await;
        let site = serve().await;

        visit(&browser, &site, &PAGES.map(|(name, ..)| name)).await;
        browser.close().await;
    });

    for (_, _, words) in PAGES {
        assert!(said.lines().any(|line| line.contains(words)), "no {words} in {said}");
    }
}

/// Opens these pages in turn and waits for the fault of each.
async fn visit(browser: &Browser, site: &str, pages: &[&str]) {
    for (page, _, words) in PAGES.iter().filter(|(name, ..)| pages.contains(name)) {
        browser.go_to(&format!("{site}/{page}")).await;
        until(&format!("the fault of {page}"), PATIENCE, async || {
            let told = browser.faults();
            match told.iter().any(|fault| fault.to_string().contains(words)) {
                true => Moment::Now(()),
                false => Moment::NotYet(format!("{told:?}")),
            }
        })
        .await;
    }
}

/// Returns the message of a test that fails.
fn failure_of(test: impl AsyncFnOnce() + Send) -> String {
    let outcome = catch_unwind(AssertUnwindSafe(|| in_network_namespace(test)));
    let panic = outcome.expect_err("it fails");
    panic.downcast_ref::<String>().expect("a text").clone()
}

/// Serves the pages with faults; all other requests get a 404.
async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    // The test has the network to itself, so this port stays free.
    let nobody = format!("127.0.0.1:{}", program::free_port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let nobody = nobody.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(&mut stream).lines();
                // A browser may connect and then send no request.
                let Ok(Some(asked)) = lines.next_line().await else { return };
                while let Ok(Some(line)) = lines.next_line().await
                    && !line.is_empty()
                {}
                let name = asked.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
                let page = PAGES.iter().find(|(page, ..)| *page == name);
                let (status, body) = match page {
                    Some((_, body, _)) => ("200 OK", body.replace("NOBODY", &nobody)),
                    None => ("404 Not Found", String::new()),
                };
                let icon = if name == "icon" { "" } else { "<link rel=icon href='data:,'>" };
                let page = format!("<!doctype html><title>{name}</title>{icon}<body>{body}");
                let head =
                    format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\nConnection: close");
                let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len());
                _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

/// Pages by name, each with one fault, and a part of its report.
const PAGES: [(&str, &str, &str); 7] = [
    ("error", "<script>console.error('written')</script>", "ConsoleError: written"),
    ("throw", "<script>throw new Error('thrown')</script>", "Uncaught: Error: thrown"),
    ("reject", "<script>Promise.reject(Error('rejected'))</script>", "Uncaught: Error: rejected"),
    ("fetch", "<script>fetch('/nothing')</script>", "/nothing 404"),
    ("refused", "<script>fetch('http://NOBODY/refused').catch(() => {})</script>", "/refused "),
    ("socket", "<script>new WebSocket('ws://NOBODY/')</script>", "ws://"),
    // Browsers ask for an icon by themselves.
    ("icon", "<p>no icon", "/favicon.ico"),
];
