//! As many pictures as a page shows at most, each where it belongs.

use integration_tests::recording::encoded;
use integration_tests::{CallPage, Kind, Server, alone_in_network_namespace};
use serde_json::json;

use crate::holds;
use crate::ours::Ours;
use crate::pictures::UNLIMITED;
use crate::sender::{Film, Manner, Sender};

/// The picture of each sender shows its own number, and its tile has its name. The one that comes when another has left
/// takes the slot of that one, and no frame of that one is shown in its tile: callboard.js keeps it black until there
/// is one of its own.
#[test]
fn a_page_shows_25_others_each_with_its_own_picture_and_none_with_that_of_another() {
    alone_in_network_namespace(async || {
        let frames = encoded("bars").await;
        let films: Vec<Film> = frames.chunks(10).map(Film::from).collect();
        let server = Server::of("media-room", &UNLIMITED).await;
        // Each from a port of its own: by their addresses connections are distinguished.
        let send = async |number: usize| {
            let ours = Ours::start().await;
            let name = format!("Camera{number}");
            let manner = Manner { film: films[number].clone(), rate: 5, ..Manner::default() };
            (Sender::join(&ours, &server, ("demo", &name), manner).await, ours)
        };
        let mut senders = Vec::new();
        for number in 1..=25 {
            senders.push(send(number).await);
        }
        for (kind, next) in [(Kind::Chromium, 26), (Kind::Firefox, 27)] {
            let page = CallPage::open("page", kind, &server, "demo?synthetic").await;
            page.browser().resize(1_600, 2_400).await;
            page.browser().evaluate(READ, vec![]).await;
            holds(page.browser(), SEES_EACH, vec![json!(25)]).await;

            drop(senders.remove(0));
            holds(page.browser(), SEES_EACH, vec![json!(24)]).await;
            senders.push(send(next).await);
            holds(page.browser(), SEES_EACH, vec![json!(25)]).await;
            page.close().await;
        }
    });
}

/// Notes the numbers that pictures show, by the names in their tiles, from their first frames on.
const READ: &str = "
    window.seen = new Map();
    const canvas = Object.assign(document.createElement('canvas'), { width: 5, height: 1 });
    const pen = canvas.getContext('2d', { willReadFrequently: true });
    const watched = new WeakSet();
    const watch = (video) => {
        if (watched.has(video)) return;
        watched.add(video);
        const shown = () => {
            video.requestVideoFrameCallback(shown);
            pen.clearRect(0, 0, 5, 1);
            pen.drawImage(video, 0, 0, video.videoWidth, video.videoHeight / 2, 0, 0, 5, 1);
            const { data } = pen.getImageData(0, 0, 5, 1);
            const number = [0, 1, 2, 3, 4].reduce((sum, bit) => sum + (data[4 * bit] > 128 ? 1 << bit : 0), 0);
            // There is no picture yet, or no more.
            if (number === 0) return;
            const name = video.parentElement?.querySelector('figcaption span').textContent.split(' ')[0];
            const numbers = window.seen.get(name) ?? new Map();
            window.seen.set(name, numbers.set(number, (numbers.get(number) ?? 0) + 1));
        };
        video.requestVideoFrameCallback(shown);
    };
    const look = () => document.querySelectorAll('video[data-peer]').forEach(watch);
    new MutationObserver(look).observe(document.getElementById('grid'), { childList: true });
    look();";

/// Tells whether so many have shown their own number, in five frames at least, and no other.
const SEES_EACH: &str = "
    const { peers } = window.callState;
    const seen = Object.fromEntries(peers.map(({ name }) => {
        const [camera] = name.split(' ');
        return [camera, Object.fromEntries(window.seen.get(camera) ?? [])];
    }));
    const own = ([name, numbers]) => numbers[name.slice('Camera'.length)] >= 5;
    const [count] = arguments;
    const wrong = Object.entries(seen).filter(([name, numbers]) =>
        Object.keys(numbers).some((number) => `Camera${number}` !== name));
    if (wrong.length > 0) throw new Error(JSON.stringify(wrong));
    return peers.length === count && Object.entries(seen).every(own) || JSON.stringify(seen)";
