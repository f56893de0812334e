//! The page of the mesh call, used as a person uses it. The names of its elements are in the page's own first comment.

use serde_json::{Value, json};

use crate::PATIENCE;
use crate::browser::{Browser, Kind};
use crate::server::Server;
use crate::wait::{Moment, until};

/// Browser that shows the page of a room.
#[derive(Debug)]
pub struct CallPage {
    browser: Browser,
    name: String,
}

impl CallPage {
    /// Opens the page of a room; `name` appears in the messages of a failing test.
    pub async fn open(name: &str, kind: Kind, server: &Server, room: &str) -> Self {
        let browser = Browser::start(kind).await;
        browser.go_to(&server.page(room)).await;
        Self { browser, name: name.to_owned() }
    }

    /// Opens the page and enters with the credentials that the server knows.
    pub async fn enter(name: &str, kind: Kind, server: &Server, room: &str) -> Self {
        let page = Self::open(name, kind, server, room).await;
        page.log_in("USERNAME", "PASSWORD").await;
        page
    }

    /// Fills in the form and presses the button.
    pub async fn log_in(&self, username: &str, password: &str) {
        self.browser
            .evaluate(
                "for (const id of ['username', 'password']) document.getElementById(id).value = ''",
                vec![],
            )
            .await;
        self.browser.type_into("#username", username).await;
        self.browser.type_into("#password", password).await;
        self.browser.click("#login-form button[type=submit]").await;
    }

    /// Waits until the page is in this state, and shows it; returns the words that it shows.
    pub async fn shows(&self, status: &str) -> String {
        self.waits(&format!("the status {status:?}"), "return document.getElementById('status').dataset.status === arguments[0] && document.getElementById('status').textContent", vec![
            json!(status),
        ])
        .await
        .as_str()
        .unwrap_or_default()
        .to_owned()
    }

    /// Waits until the page is in a call with this many others.
    pub async fn is_with(&self, others: usize) {
        self.waits(
            &format!("a call with {others} others"),
            "const { peers } = window.callState;
             return peers.length === arguments[0]
                 && document.querySelectorAll('video[data-peer]').length === arguments[0]
                 && document.querySelectorAll('#people li[data-peer]').length === arguments[0]
                 && peers.every(({ connection, channel }) => connection === 'connected' && channel === 'open')",
            vec![json!(others)],
        )
        .await;
    }

    /// Waits until the picture of every other member moves.
    pub async fn sees_everyone_move(&self) {
        self.browser.sees_pictures_move("video[data-peer]").await;
    }

    /// Sends a line of chat to all members.
    pub async fn says(&self, text: &str) {
        self.browser.type_into("#chat-input", text).await;
        self.browser.evaluate("document.getElementById('chat-form').requestSubmit()", vec![]).await;
    }

    /// Waits for a line of the chat that ends with `text`.
    pub async fn reads(&self, text: &str) {
        self.waits(
            &format!("the line {text:?}"),
            "return [...document.querySelectorAll('#chat-log li')].some(({ textContent }) => textContent.endsWith(arguments[0]))",
            vec![json!(text)],
        )
        .await;
    }

    /// Waits until every name that the chat and the pictures show is one of the list of people.
    pub async fn calls_everyone_by_one_name(&self) {
        self.waits(
            "one name for each",
            "const texts = (selector) => [...document.querySelectorAll(selector)].map(({ textContent }) => textContent);
             const listed = texts('#people li[data-peer] span:first-child');
             const shown = [...texts('#chat-log [data-peer]'), ...texts('#stage .tile[data-peer] .name')];
             return listed.length > 0 && listed.every((name) => name.startsWith('USERNAME ('))
                 && shown.length >= listed.length && shown.every((name) => listed.includes(name))",
            vec![],
        )
        .await;
    }

    /// Returns the browser.
    pub fn browser(&self) -> &Browser {
        &self.browser
    }

    /// Closes the browser.
    pub async fn close(self) {
        self.browser.close().await;
    }

    /// Waits until a script returns something that is neither false nor empty, and returns it.
    async fn waits(&self, what: &str, script: &str, arguments: Vec<Value>) -> Value {
        until(&format!("{what} at {}", self.name), PATIENCE, async || {
            match self.browser.evaluate(script, arguments.clone()).await {
                Value::Null | Value::Bool(false) => Moment::NotYet(self.situation().await),
                value => Moment::Now(value),
            }
        })
        .await
    }

    async fn situation(&self) -> String {
        let state = self.browser.evaluate(SITUATION, vec![]).await;
        format!("{state:#}")
    }
}

const SITUATION: &str = "return {
    state: window.callState,
    status: document.getElementById('status')?.textContent,
    chat: [...document.querySelectorAll('#chat-log li')].map(({ textContent }) => textContent),
}";
