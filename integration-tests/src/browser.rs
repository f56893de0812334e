//! Real browsers, driven through WebDriver.

use std::fs;

use fantoccini::error::CmdError;
use fantoccini::wd::{Capabilities, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::PATIENCE;
use crate::faults::{Fault, FaultCollector, FaultKind};
use crate::program::{self, ProcessGroup};
use crate::wait::{Moment, until};

/// Kind of browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Debian's chromium with its chromedriver.
    Chromium,
    /// Debian's firefox-esr with geckodriver.
    Firefox,
}

/// Camera of a browser, with its microphone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Camera {
    /// A fake one; pages may use it without asking.
    Fake,
    /// None, beside a fake microphone. Chromium alone.
    Missing,
    /// A fake one that no page may use. Chromium alone.
    Forbidden,
}

/// Running browser with a new profile, without a window, with a fake camera and microphone. It fails the test when a
/// page has a [`Fault`] that the test does not expect.
#[derive(Debug)]
pub struct Browser {
    // Fields are dropped in this order: the pages are judged while they are there, the profile goes when no process
    // writes to it any more.
    faults: FaultCollector,
    client: Client,
    driver: ProcessGroup,
    home: TempDir,
}

impl Browser {
    /// Starts a browser of this kind.
    ///
    /// # Panics
    ///
    /// When the browser or its driver is missing or does not come up.
    pub async fn start(kind: Kind) -> Self {
        Self::start_with(kind, Camera::Fake).await
    }

    /// Starts a browser of this kind with this camera.
    ///
    /// # Panics
    ///
    /// When the browser or its driver is missing or does not come up, or has no such camera.
    pub async fn start_with(kind: Kind, camera: Camera) -> Self {
        let home = tempfile::Builder::new()
            .prefix("callboard-browser-")
            .tempdir()
            .expect("a folder for the profile");
        let log = home.path().join("driver.log");
        let port = program::free_port();
        let (driver, arguments) = match kind {
            Kind::Chromium => {
                let driver = program::of_the_machine("chromedriver", "chromium-driver");
                (driver, vec![format!("--port={port}")])
            }
            Kind::Firefox => {
                let driver = program::of_the_machine("geckodriver", "geckodriver with cargo");
                let websocket_port = program::free_port();
                (
                    driver,
                    vec![format!("--port={port}"), format!("--websocket-port={websocket_port}")],
                )
            }
        };
        let capabilities = kind.capabilities(camera, &home);
        let driver =
            ProcessGroup::start(&driver, arguments, home.path(), &log).expect("the driver starts");

        let address = format!("http://127.0.0.1:{port}");
        let client = until(&format!("a session with {kind:?}"), PATIENCE, async || {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            match builder.capabilities(capabilities.clone()).connect(&address).await {
                Ok(client) => Moment::Now(client),
                Err(error) => {
                    let log = fs::read_to_string(&log).unwrap_or_default();
                    Moment::NotYet(format!("{error}; the driver wrote:\n{log}"))
                }
            }
        })
        .await;
        let bidi = client.capabilities().and_then(|all| all.get("webSocketUrl")?.as_str());
        let bidi = bidi.expect("the address of WebDriver BiDi").to_owned();
        let session = client.session_id().await.ok().flatten().expect("a session has an id");
        let log = match kind {
            Kind::Chromium => Some((port, format!("/session/{session}/se/log"))),
            Kind::Firefox => None,
        };
        let faults = FaultCollector::start(bidi, log);
        Self { faults, client, driver, home }
    }

    /// Expects faults of this kind whose text contains all these words, as often as they come. Every other fault in any
    /// of its pages fails the test when the browser is closed or dropped.
    pub fn expect_fault(&self, kind: FaultKind, words: &[&str]) {
        self.faults.expect(kind, words);
    }

    /// Expects that the other side ends a peer connection of its pages before they have closed it, which Firefox
    /// reports as an error where it notices.
    pub fn expect_lost_connections(&self) {
        self.expect_fault(FaultKind::Uncaught, &["WebRTC: ICE failed"]);
    }

    /// Returns all faults of its pages until now.
    pub fn faults(&self) -> Vec<Fault> {
        self.faults.all()
    }

    /// Opens one more tab, goes there and waits until the page has loaded.
    ///
    /// # Panics
    ///
    /// When the browser cannot.
    pub async fn open_tab(&self, address: &str) -> Tab {
        let opened = self.client.new_window(true).await.expect("one more tab");
        let tab = Tab(opened.handle);
        self.show(&tab).await;
        self.go_to(address).await;
        tab
    }

    /// Closes this tab; another must be shown next.
    ///
    /// # Panics
    ///
    /// When it has been closed already.
    pub async fn close_tab(&self, tab: Tab) {
        self.show(&tab).await;
        self.client.close_window().await.expect("an open tab");
    }

    /// Returns the tab that is shown.
    ///
    /// # Panics
    ///
    /// When it has been closed.
    pub async fn tab(&self) -> Tab {
        Tab(self.client.window().await.expect("a tab"))
    }

    /// Shows this tab: all that is done to the browser is done there from now on.
    ///
    /// # Panics
    ///
    /// When it has been closed.
    pub async fn show(&self, tab: &Tab) {
        let shown = self.client.switch_to_window(tab.0.clone()).await;
        shown.unwrap_or_else(|error| panic!("cannot show {tab:?}: {error}"));
    }

    /// Goes to an address and waits until the page has loaded.
    ///
    /// # Panics
    ///
    /// When the browser cannot.
    pub async fn go_to(&self, address: &str) {
        self.client
            .goto(address)
            .await
            .unwrap_or_else(|error| panic!("{address} does not load: {error}"));
    }

    /// Evaluates a function body in the page, with `arguments` as its `arguments`, and returns its
    /// result; a promise is awaited.
    ///
    /// # Panics
    ///
    /// When the script throws.
    pub async fn evaluate(&self, body: &str, arguments: Vec<Value>) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             (async (...arguments) => {{ {body} }})(...[...arguments].slice(0, -1)).then(
                 (value) => done({{ value }}), (error) => done({{ error: String(error) }}));"
        );
        let answer = self.client.execute_async(&script, arguments).await;
        let mut answer = answer.unwrap_or_else(|error| panic!("{body}: {error}"));
        assert!(answer.get("error").is_none(), "{body}: {}", answer["error"]);
        answer["value"].take()
    }

    /// Types into the element that a CSS selector finds.
    ///
    /// # Panics
    ///
    /// When there is no such element, or it cannot be typed into.
    pub async fn type_into(&self, selector: &str, text: &str) {
        let typed: Result<(), CmdError> =
            async { self.client.find(Locator::Css(selector)).await?.send_keys(text).await }.await;
        typed.unwrap_or_else(|error| panic!("cannot type into {selector}: {error}"));
    }

    /// Clicks the element that a CSS selector finds.
    ///
    /// # Panics
    ///
    /// When there is no such element, or it cannot be clicked.
    pub async fn click(&self, selector: &str) {
        let clicked: Result<(), CmdError> =
            async { self.client.find(Locator::Css(selector)).await?.click().await }.await;
        clicked.unwrap_or_else(|error| panic!("cannot click {selector}: {error}"));
    }

    /// Returns the text that a user sees in the page.
    pub async fn text(&self) -> String {
        let text = self.evaluate("return document.body.innerText", vec![]).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page shows this text.
    ///
    /// # Panics
    ///
    /// When it does not within [`PATIENCE`].
    pub async fn shows(&self, words: &str) {
        until(&format!("{words:?}"), PATIENCE, async || {
            let text = self.text().await;
            if text.contains(words) { Moment::Now(()) } else { Moment::NotYet(text) }
        })
        .await;
    }

    /// Waits until all videos that this selector finds move from now on: their clocks run, new frames are shown, and
    /// they differ.
    pub async fn sees_pictures_move(&self, selector: &str) {
        self.evaluate(WATCH, vec![json!(selector)]).await;
        until("moving pictures", PATIENCE, async || match self.evaluate(MOVES, vec![]).await {
            Value::Bool(true) => Moment::Now(()),
            watched => Moment::NotYet(format!("{watched:#} of {}", self.text().await)),
        })
        .await;
    }

    /// Makes the window this large, in pixels, with its frame.
    ///
    /// # Panics
    ///
    /// When the browser cannot.
    pub async fn resize(&self, width: u32, height: u32) {
        self.client.set_window_size(width, height).await.expect("a window of another size");
    }

    /// Takes a picture of the page and returns it as PNG.
    ///
    /// # Panics
    ///
    /// When the browser takes none.
    pub async fn picture(&self) -> Vec<u8> {
        self.client.screenshot().await.expect("a screenshot")
    }

    /// Closes the browser as its user does.
    ///
    /// # Panics
    ///
    /// When there was a fault in its pages that the test does not expect.
    pub async fn close(self) {
        let Self { faults, client, driver, home } = self;
        drop(faults);
        // A browser that does not close by itself is ended with its driver.
        let _ = client.close().await;
        drop(driver);
        drop(home);
    }
}

/// Tab of a browser.
#[derive(Clone, Debug)]
pub struct Tab(WindowHandle);

impl Kind {
    fn capabilities(self, camera: Camera, home: &TempDir) -> Capabilities {
        let capabilities = match self {
            Self::Chromium => {
                let mut arguments = CHROMIUM_ARGUMENTS.map(str::to_owned).to_vec();
                arguments
                    .push(format!("--user-data-dir={}", home.path().join("profile").display()));
                arguments.extend(camera.chromium_arguments().map(str::to_owned));
                let binary = program::of_the_machine("chromium", "chromium");
                json!({
                    "goog:chromeOptions": { "binary": binary, "args": arguments },
                    "goog:loggingPrefs": { "browser": "ALL" },
                })
            }
            Self::Firefox => {
                assert_eq!(camera, Camera::Fake, "Firefox has a fake camera alone");
                let binary = program::of_the_machine("firefox-esr", "firefox-esr");
                let preferences: serde_json::Map<_, _> = FIREFOX_PREFERENCES
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), json!(value)))
                    .collect();
                json!({ "moz:firefoxOptions": { "binary": binary, "args": ["-headless"], "prefs": preferences } })
            }
        };
        let Value::Object(mut capabilities) = capabilities else {
            unreachable!("both are objects")
        };
        // WebDriver BiDi, by which the browser reports the faults of its pages.
        capabilities.insert("webSocketUrl".into(), json!(true));
        capabilities.insert("timeouts".into(), json!({ "script": 120_000, "pageLoad": 120_000 }));
        capabilities
    }
}

impl Camera {
    fn chromium_arguments(self) -> [&'static str; 2] {
        match self {
            Self::Fake => ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
            Self::Missing => [
                "--use-fake-device-for-media-stream=device-count=0",
                "--use-fake-ui-for-media-stream",
            ],
            Self::Forbidden => {
                ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream=deny"]
            }
        }
    }
}

const CHROMIUM_ARGUMENTS: [&str; 11] = [
    "--headless=new",
    // The sandbox does not start as root.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    // Nothing outside the test's network can be reached, so the browser should not try.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    // Addresses in candidates are shown as they are: mDNS names are not resolved here.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
];

const FIREFOX_PREFERENCES: [(&str, bool); 5] = [
    ("media.navigator.streams.fake", true),
    ("media.navigator.permission.disabled", true),
    ("media.autoplay.block-webaudio", false),
    ("media.peerconnection.ice.obfuscate_host_addresses", false),
    ("network.captive-portal-service.enabled", false),
];

/// Script that counts, for each picture, the frames shown from now on, and how many of them look different.
const WATCH: &str = "
    window.watched = [];
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width: 32, height: 18 });
    const pen = canvas.getContext('2d', { willReadFrequently: true });
    for (const video of document.querySelectorAll(arguments[0])) {
        const now = video.currentTime;
        const seen = { of: video.dataset.peer, frames: 0, looks: new Set(), from: now, to: now };
        window.watched.push(seen);
        const frameShown = () => {
            seen.frames += 1;
            seen.to = video.currentTime;
            pen.drawImage(video, 0, 0, canvas.width, canvas.height);
            const look = pen.getImageData(0, 0, canvas.width, canvas.height).data;
            if (seen.looks.size < 100) seen.looks.add(String(look));
            video.requestVideoFrameCallback(frameShown);
        };
        video.requestVideoFrameCallback(frameShown);
    }";

/// Script that returns whether all of these move, or what they did.
const MOVES: &str = "
    const watched = window.watched.map(({ of, frames, looks, from, to }) =>
        ({ of, frames, looks: looks.size, seconds: to - from }));
    const move = ({ frames, looks, seconds }) => frames >= 20 && looks >= 3 && seconds >= 0.5;
    return (watched.length > 0 && watched.every(move)) || watched;";
