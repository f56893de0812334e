//! Other implementations of WebRTC as members of a media room, beside browsers.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use integration_tests::{CallPage, Kind, PATIENCE, Peer, PeerKind, Server, in_network_namespace};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::egress::Egress;
use super::server;

/// Waits until the picture of the only other is this wide, and its clock has run for a second.
async fn sees_picture(page: &CallPage, member: &mut Member, width: u32) {
    let script = "const [peer, ...more] = window.callState.peers;
         return more.length === 0 && peer?.width === arguments[0] && peer.time >= 1";
    let browser = page.browser();
    let sees = async |_: &mut Member| {
        browser.evaluate(script, vec![json!(width)]).await == Value::Bool(true)
    };
    member.until("picture in the browser", sees).await;
}

#[test]
fn aiortc_sends_to_browsers_and_receives_from_them() {
    in_network_namespace(async || {
        let server = server().await;
        for kind in [Kind::Chromium, Kind::Firefox] {
            let room = format!("{kind:?}");
            let page = CallPage::open("page", kind, &server, &room).await;
            let mut other = Member::join(PeerKind::Aiortc, &server, &room).await;
            other.receives(20).await;
            sees_picture(&page, &mut other, 640).await;
            other.receives(20).await;
            page.close().await;
        }
    });
}

/// It does not decode: it counts pictures that are whole, from a key frame on.
#[test]
fn pion_sends_to_browsers_and_receives_from_them() {
    in_network_namespace(async || {
        let server = server().await;
        for kind in [Kind::Chromium, Kind::Firefox] {
            let room = format!("{kind:?}");
            let page = CallPage::open("page", kind, &server, &room).await;
            let mut other = Member::join(PeerKind::Pion, &server, &room).await;
            other.receives(20).await;
            sees_picture(&page, &mut other, 320).await;
            other.receives(20).await;
            page.close().await;
        }
    });
}

/// It has no codecs: what it sends looks like VP8 and Opus, and it counts frames that are whole, from a key frame on.
#[test]
fn webrtc_rs_sends_to_others_and_receives_from_them() {
    in_network_namespace(async || {
        let server = server().await;
        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo").await;
        let mut one = Member::join(PeerKind::WebrtcRs, &server, "demo").await;
        one.receives(20).await;
        let flows = "return window.callState.peers[0]?.flow?.state === 'flowing'";
        let flows =
            async |_: &mut Member| ann.browser().evaluate(flows, vec![]).await == Value::Bool(true);
        one.until("picture that flows to the browser", flows).await;
        ann.close().await;

        let mut two = Member::join(PeerKind::WebrtcRs, &server, "demo").await;
        two.receives(20).await;
        one.receives(20).await;
    });
}

/// Member that sends a picture and a voice, and receives those of one other in the same sections.
struct Member {
    peer: Peer,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What the server has said, for messages of failing tests.
    heard: Vec<Value>,
    egress: Egress<()>,
}

/// What comes to a member.
enum Come {
    Text(Value),
    Event(Value),
}

impl Member {
    async fn join(kind: PeerKind, server: &Server, room: &str) -> Self {
        let address = format!("ws://{}/socket/{room}?name={kind}", server.listen());
        let (socket, _) = tokio_tungstenite::connect_async(address).await.expect("it is let in");
        let mut member = Self {
            peer: Peer::start(kind).await,
            socket,
            heard: Vec::new(),
            egress: Egress::new(),
        };
        member.until("its admission", async |it| it.has_heard("authenticated")).await;
        member.command(json!({ "do": "new" })).await;
        for kind in ["audio", "video"] {
            member.command(json!({ "do": "media", "kind": kind })).await;
        }
        let offer = member.command(json!({ "do": "offer" })).await;
        member.say("webrtc:offer", offer).await;
        member
    }

    /// Waits until it has received so many more frames of both kinds, decoded if it can decode.
    async fn receives(&mut self, frames: u64) {
        for kind in ["audio", "video"] {
            let before = self.decoded(kind).await;
            let what = format!("{frames} frames of {kind}");
            self.until(&what, async |it| it.decoded(kind).await >= before + frames).await;
        }
    }

    async fn decoded(&mut self, kind: &str) -> u64 {
        let frames = self.command(json!({ "do": "decoded", "kind": kind })).await;
        frames.as_u64().expect("a number")
    }

    fn has_heard(&self, event: &str) -> bool {
        self.heard.iter().any(|heard| heard["event"] == event)
    }

    async fn command(&mut self, command: Value) -> Value {
        self.peer.command(command).await.expect("it can do that")
    }

    async fn say(&mut self, event: &str, data: Value) {
        let text = json!({ "event": event, "data": data }).to_string();
        self.socket.send(Message::text(text)).await.expect("it is open");
    }

    /// Passes on what server and peer say until this holds.
    async fn until(&mut self, what: &str, holds: impl AsyncFn(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self).await {
            assert!(
                Instant::now() < deadline,
                "{}: no {what}: {:#?}",
                self.peer.kind(),
                self.heard
            );
            // Frames come without a word: look again after a while.
            let look = Instant::now() + LOOK;
            while let Ok(come) = timeout_at(look, self.next()).await {
                self.pass_on(come).await;
            }
        }
    }

    /// Returns what comes next; nothing is lost if it is dropped before.
    async fn next(&mut self) -> Come {
        loop {
            tokio::select! {
                event = self.peer.event() => return Come::Event(event.expect("it runs")),
                message = self.socket.next() => {
                    if let Message::Text(text) = message.expect("it is open").expect("a message") {
                        return Come::Text(serde_json::from_str(&text).expect("JSON"));
                    }
                }
            }
        }
    }

    async fn pass_on(&mut self, come: Come) {
        match come {
            Come::Event(event) if event["event"] == "candidate" => {
                self.say("webrtc:ice", event["candidate"].clone()).await;
            }
            Come::Event(_) => {}
            Come::Text(heard) => {
                assert_ne!(heard["event"], "error", "{heard}");
                let data = heard["data"].clone();
                match heard["event"].as_str() {
                    Some("webrtc:answer") => {
                        let sdp = data["sdp"].as_str().expect("a description");
                        self.egress.answered(sdp).expect("SSRCs of one section each");
                        self.command(json!({ "do": "remote", "description": data })).await;
                    }
                    Some("webrtc:ice") => {
                        self.command(json!({ "do": "candidate", "candidate": data })).await;
                    }
                    _ => {}
                }
                self.heard.push(heard);
            }
        }
    }
}

/// Time between two looks at what a peer has received.
const LOOK: Duration = Duration::from_millis(100);
