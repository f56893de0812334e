//! The echo example, as a user sees it in a browser.

use integration_tests::{Browser, Kind, Moment, PATIENCE, Readme, in_network_namespace, until};

#[test]
fn chromium_sees_and_hears_itself() {
    in_network_namespace(async || echoes(Kind::Chromium).await);
}

#[test]
fn firefox_sees_and_hears_itself() {
    in_network_namespace(async || echoes(Kind::Firefox).await);
}

#[test]
fn its_program_stays_short() {
    assert!(include_str!("../../examples/echo/src/main.rs").lines().count() < 150);
}

async fn echoes(kind: Kind) {
    let server = Readme::in_folder("examples/echo").serve("echo", &[]).await;
    let browser = Browser::start(kind).await;
    browser.go_to(server.address()).await;
    browser.click("#start").await;

    until("an open channel", PATIENCE, async || {
        match browser
            .evaluate("return document.querySelector('#say button').disabled", vec![])
            .await
        {
            disabled if disabled == false => Moment::Now(()),
            _ => Moment::NotYet(browser.text().await),
        }
    })
    .await;
    browser.type_into("#text", "hello").await;
    browser.click("#say button").await;
    until("the echo of a message", PATIENCE, async || {
        let text = browser.text().await;
        if text.contains("hello – back after") { Moment::Now(()) } else { Moment::NotYet(text) }
    })
    .await;
    let mut before = None;
    until("moving pictures from the server", PATIENCE, async || {
        // What it shows now, as a sum of its pixels.
        let shown = "const video = document.getElementById('back');
            if (!video.videoWidth) return null;
            const canvas = new OffscreenCanvas(64, 48);
            const context = canvas.getContext('2d');
            context.drawImage(video, 0, 0, 64, 48);
            return context.getImageData(0, 0, 64, 48).data.reduce((sum, one, at) => (sum * 31 + one * at) % 1000003, 0)";
        let shown = browser.evaluate(shown, vec![]).await;
        let moves = before.as_ref().is_some_and(|before| *before != shown) && !shown.is_null();
        before = Some(shown.clone()).filter(|shown| !shown.is_null());
        if moves { Moment::Now(()) } else { Moment::NotYet(shown.to_string()) }
    })
    .await;

    // The server ends: the page says so, sends no more, and can be started again without a reload.
    assert_eq!(server.terminate(PATIENCE).await.code(), Some(0));
    until("the end of the connection", PATIENCE, async || {
        let ended = "const disabled = (button) => document.querySelector(button).disabled;
            return !disabled('#start') && disabled('#say button') && document.querySelector('#state').textContent === 'closed'";
        if browser.evaluate(ended, vec![]).await == true {
            Moment::Now(())
        } else {
            Moment::NotYet(browser.text().await)
        }
    })
    .await;
    browser.close().await;
}
