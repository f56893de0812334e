//! What the page shows: bots, the speaker view, screens, what is switched off.

use integration_tests::{CallPage, Kind, Server, alone_in_network_namespace};
use serde_json::json;

use crate::pictures::UNLIMITED;
use crate::{holds, sees, server};

#[test]
fn two_browsers_and_three_bots_hold_a_call() {
    alone_in_network_namespace(async || {
        let arguments = [&UNLIMITED[..], &["--bots", "3"]].concat();
        let server = Server::of("media-room", &arguments).await;
        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo?name=Ann").await;
        let bob = CallPage::open("Bob", Kind::Firefox, &server, "demo?name=Bob").await;
        for page in [&ann, &bob] {
            page.browser().resize(1_200, 1_600).await;
            sees(page, 4).await;
            for name in ["Bot 1", "Bot 2", "Bot 3"] {
                page.browser().shows(name).await;
            }
            // Their sound comes as well.
            let heard = "return [...document.querySelectorAll('video[data-peer]')]
                .every(({ srcObject }) => srcObject?.getAudioTracks().length === 1)";
            holds(page.browser(), heard, vec![]).await;
        }
        // They play on, also for those who come later.
        let eve = CallPage::open("Eve", Kind::Chromium, &server, "demo").await;
        eve.browser().resize(1_200, 1_600).await;
        sees(&eve, 5).await;
        sees(&ann, 5).await;
        for page in [ann, bob, eve] {
            page.close().await;
        }
    });
}

#[test]
fn the_speaker_view_shows_one_large_and_the_others_small() {
    alone_in_network_namespace(async || {
        let server = server().await;
        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo?name=Ann").await;
        let bob = CallPage::open("Bob", Kind::Firefox, &server, "demo?name=Bob&synthetic").await;
        let eve = CallPage::open("Eve", Kind::Chromium, &server, "demo?name=Eve").await;
        for page in [&ann, &bob, &eve] {
            page.browser().resize(1_300, 1_200).await;
            sees(page, 2).await;
        }
        let large = "const { view, large, peers } = window.callState;
             const shown = document.querySelectorAll('.tile.large');
             const one = peers.find(({ id }) => id === large);
             return view === 'speaker' && shown.length === 1 && one?.name.startsWith(arguments[0])
                 && one.flow?.state === 'flowing'
                 && shown[0].clientHeight > 2 * document.querySelector('.tile:not(.large)').clientHeight";
        let pin = "[...document.querySelectorAll('.tile')].find(({ textContent }) =>
            textContent.includes(arguments[0])).querySelector(arguments[1]).click()";
        // A click on a picture pins it, a button as well, and the last one lets the speaker be large again.
        for (name, what) in [("Ann (", "video"), ("Eve (", ".pin"), ("Ann (", ".pin")] {
            bob.browser().evaluate(pin, vec![json!(name), json!(what)]).await;
            holds(bob.browser(), large, vec![json!(name)]).await;
        }
        bob.browser().evaluate(pin, vec![json!("Ann ("), json!(".pin")]).await;
        holds(bob.browser(), "return document.querySelector('.tile.large') !== null", vec![]).await;
        sees(&bob, 2).await;
        bob.browser().click("#view").await;
        holds(bob.browser(), "return window.callState.large === null", vec![]).await;
        sees(&bob, 2).await;

        // What is out of sight is paused, and comes back.
        let paused = "return window.callState.peers.some(({ flow }) => flow?.state === 'paused')";
        bob.browser()
            .evaluate("document.querySelector('main').style.marginTop = '3000px'", vec![])
            .await;
        holds(bob.browser(), paused, vec![]).await;
        bob.browser().shows("paused").await;
        bob.browser().evaluate("document.querySelector('main').style.marginTop = ''", vec![]).await;
        sees(&bob, 2).await;
        for page in [ann, bob, eve] {
            page.close().await;
        }
    });
}

#[test]
fn sound_and_picture_are_switched_and_a_screen_is_shared_beside_them() {
    alone_in_network_namespace(async || {
        let server = server().await;
        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo?name=Ann").await;
        let bob = CallPage::open("Bob", Kind::Firefox, &server, "demo").await;
        for page in [&ann, &bob] {
            page.browser().resize(1_200, 1_600).await;
            sees(page, 1).await;
        }

        for button in ["#mute", "#camera"] {
            ann.browser().click(button).await;
        }
        bob.browser().shows("muted, camera off").await;
        // Who comes later is told too.
        let eve = CallPage::open("Eve", Kind::Chromium, &server, "demo").await;
        eve.browser().shows("muted, camera off").await;
        eve.close().await;
        for button in ["#mute", "#camera"] {
            ann.browser().click(button).await;
        }
        let told =
            "return window.callState.peers.length === 1 && window.callState.peers[0].state === ''";
        holds(bob.browser(), told, vec![]).await;
        sees(&bob, 1).await;

        // The button of the browser's own window cannot be pressed here.
        let screen = "const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 480 });
             const pen = canvas.getContext('2d');
             setInterval(() => {
                 pen.fillStyle = `hsl(${performance.now() / 10} 50% 50%)`;
                 pen.fillRect(0, 0, 320, 480);
             }, 50);
             navigator.mediaDevices.getDisplayMedia = async () => canvas.captureStream(20);";
        ann.browser().evaluate(screen, vec![]).await;
        let whole = "const { videoWidth = 0, videoHeight = 0 } = document.querySelector('video[data-screen]') ?? {};
             const [screen] = window.callState.screens;
             const fit = (video) => getComputedStyle(video).objectFit;
             return videoWidth > 0 && videoWidth < videoHeight && screen.name.startsWith('Screen of Ann (')
                 && fit(document.querySelector('video[data-screen]')) === 'contain'";
        let gone = "return window.callState.screens.length === 0 && !document.querySelector('video[data-screen]')";
        // Twice: another screen takes the place of the first.
        for _ in 0..2 {
            ann.browser().click("#screen").await;
            holds(bob.browser(), whole, vec![]).await;
            bob.browser().shows("shares a screen.").await;
            ann.browser().shows("You share your screen.").await;
            // The camera stays.
            sees(&bob, 1).await;
            // In the speaker view it is the screen that is large.
            bob.browser().click("#view").await;
            let large = "return window.callState.large?.endsWith(' screen') === true";
            holds(bob.browser(), large, vec![]).await;
            bob.browser().click("#view").await;
            ann.browser().click("#screen").await;
            holds(bob.browser(), gone, vec![]).await;
            sees(&bob, 1).await;
        }
        ann.close().await;
        bob.close().await;
    });
}
