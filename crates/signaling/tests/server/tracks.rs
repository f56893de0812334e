//! Tracks of clients at the application, and tracks that the application sends to clients.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use callboard_room_supervisor::{AuthData, Rejection, RoomMessage, Rooms};
use callboard_signaling::server_peer::{ConnectionState, ServerPeer};
use callboard_signaling::*;
use callboard_supervision::Fault;
use serde_json::json;

use crate::common::Server;
use crate::common::rtc::{RtcClient, webrtc};

/// What all clients see: the camera that was added last.
#[derive(Clone, Default)]
struct Show(Arc<Mutex<Stage>>);

#[derive(Default)]
struct Stage {
    camera: Option<ClientTrack>,
    screens: Vec<ServerTrack>,
    /// What the peers were told, in order.
    told: Vec<String>,
}

impl Show {
    fn stage(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the peers were told this so many times.
    async fn told(&self, what: &str, times: usize) {
        let told = || self.stage().told.iter().filter(|told| *told == what).count();
        crate::common::eventually(&format!("{what} {times} times"), || told() == times).await;
    }
}

struct Guest(Show);

impl Peer for Guest {
    type Options = Show;

    async fn on_init(
        _: &InitContext,
        _: &AuthData,
        show: &Show,
    ) -> Result<PeerInit<Self>, Rejection> {
        Ok(Self(show.clone()).into())
    }

    fn on_joined(&mut self, context: &PeerContext) {
        // After a crash of the peer it is still there.
        self.0.stage().screens.extend(context.client.add_track(vp8("screen")));
    }

    fn on_receive(&mut self, message: RoomMessage, _: &PeerContext) -> Option<RoomMessage> {
        assert_ne!(message.event, "explode_peer");
        Some(message)
    }

    fn on_track(&mut self, event: TrackEvent<'_>, _: &PeerContext) {
        let mut stage = self.0.stage();
        match event {
            TrackEvent::Added(track) => {
                stage.told.push(format!("added {}", track.name()));
                stage.camera = Some(track.clone());
            }
            TrackEvent::Removed(track) => stage.told.push(format!("removed {}", track.name())),
            _ => {}
        }
    }

    fn on_sample(&mut self, _: &ClientTrack, sample: &ReceivedSample, _: &PeerContext) {
        for screen in &self.0.stage().screens {
            _ = screen.forward(sample);
        }
    }

    fn on_keyframe_request(&mut self, _: &ServerTrack, _: &PeerContext) {
        if let Some(camera) = &self.0.stage().camera {
            camera.request_keyframe();
        }
    }
}

fn vp8(id: &str) -> LocalTrack {
    LocalTrack::new(RtpCodecCapability::new("video/VP8"), id, "show")
}

async fn server(webrtc: WebRtc, show: &Show) -> Server {
    let show = show.clone();
    Server::of_peers::<Guest>(move |rooms: Rooms| PeerOptions::new(show, rooms).webrtc(webrtc))
        .await
}

/// Returns a client whose peer connection has a data channel alone.
async fn viewer(server: &Server) -> RtcClient {
    let mut viewer = RtcClient::join(server).await;
    viewer.open("chat").await;
    viewer
}

/// Lets a client send this camera.
async fn camera(client: &mut RtcClient, name: &str) -> SenderId {
    let sender = client.connection.send(AddTrack(vp8(name))).await.unwrap().unwrap();
    client.offer().await;
    client.until("connected", |client| client.in_state("connected")).await;
    sender
}

/// Lets a client show a text until all of these see it.
async fn shows(
    client: &mut RtcClient,
    sender: SenderId,
    viewers: &mut [&mut RtcClient],
    text: &str,
) {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let showing = async {
        while !viewers.iter().all(|viewer| viewer.sees(text)) {
            pace.tick().await;
            client.show(sender, text).await;
            client.take().await;
            for viewer in &mut *viewers {
                viewer.take().await;
            }
        }
    };
    if tokio::time::timeout(Duration::from_secs(60), showing).await.is_err() {
        let told = viewers.iter().map(|viewer| (&viewer.heard, &viewer.told));
        panic!("{text}: {:#?}", told.collect::<Vec<_>>());
    }
}

/// Returns the transceiver in which a client receives the server's track.
fn receiver(client: &RtcClient) -> Option<TransceiverId> {
    client.told.iter().rev().find_map(|event| match event {
        ConnectionEvent::TrackAdded { transceiver, track, .. } if track == "screen" => {
            Some(*transceiver)
        }
        _ => None,
    })
}

fn asked(client: &RtcClient) -> usize {
    let told = client.told.iter();
    told.filter(|event| matches!(event, ConnectionEvent::KeyframeRequested { .. })).count()
}

#[actix::test]
async fn a_client_is_seen_by_all_by_those_that_were_there_and_by_those_that_come() {
    let show = Show::default();
    let server = server(webrtc().await, &show).await;
    let mut first = viewer(&server).await;
    let mut publisher = RtcClient::join(&server).await;
    let sender = camera(&mut publisher, "camera").await;

    shows(&mut publisher, sender, &mut [&mut first], "hello").await;
    let mut second = viewer(&server).await;
    shows(&mut publisher, sender, &mut [&mut first, &mut second], "to both").await;
    // It has a track of the server, too, in the section of its own camera or in another one.
    let mut itself = publisher;
    itself.until("its own picture", |client| client.sees("to both")).await;

    let offers = [&first, &second].map(|client| client.events("webrtc:offer").count());
    assert_eq!(offers, [1, 1]);
    assert_eq!(show.stage().told, ["added camera"]);
    let dropped = show.stage().camera.as_ref().map(ClientTrack::dropped);
    assert_eq!(dropped, Some(0));
}

#[actix::test]
async fn a_viewers_request_for_a_key_frame_reaches_the_camera() {
    let show = Show::default();
    let server = server(webrtc().await, &show).await;
    let mut first = viewer(&server).await;
    let mut publisher = RtcClient::join(&server).await;
    let sender = camera(&mut publisher, "camera").await;
    shows(&mut publisher, sender, &mut [&mut first], "hello").await;
    let transceiver = receiver(&first).expect("a track");

    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for time in 1..=3 {
        let request = RequestKeyframe { transceiver, rid: None, kind: KeyframeRequestKind::Pli };
        let before = asked(&publisher);
        let asking = async {
            while asked(&publisher) == before {
                first.connection.send(request).await.unwrap().unwrap();
                first.take().await;
                publisher.take().await;
                pace.tick().await;
            }
        };
        let asked = tokio::time::timeout(Duration::from_secs(60), asking).await;
        assert!(asked.is_ok(), "{time}: {:#?}", publisher.told);
    }
}

#[actix::test]
async fn tracks_go_on_when_connections_are_replaced() {
    let show = Show::default();
    let server = server(webrtc().await, &show).await;
    let mut first = viewer(&server).await;
    let mut publisher = RtcClient::join(&server).await;
    let sender = camera(&mut publisher, "camera").await;
    shows(&mut publisher, sender, &mut [&mut first], "hello").await;

    first.renew().await;
    first.open("chat").await;
    shows(&mut publisher, sender, &mut [&mut first], "again").await;
    assert_eq!(first.events("webrtc:offer").count(), 1);

    publisher.renew().await;
    let sender = camera(&mut publisher, "second").await;
    shows(&mut publisher, sender, &mut [&mut first], "from another").await;
    assert_eq!(show.stage().told, ["added camera", "removed camera", "added second"]);
}

#[actix::test]
async fn a_track_ends_with_the_clients_offer_and_with_its_connection() {
    let show = Show::default();
    let server = server(webrtc().await, &show).await;
    let mut publisher = RtcClient::join(&server).await;
    let sender = camera(&mut publisher, "camera").await;
    show.told("added camera", 1).await;

    publisher.connection.send(RemoveTrack(sender)).await.unwrap().unwrap();
    publisher.offer().await;
    publisher.until("the answer", |client| client.events("webrtc:answer").count() == 2).await;
    show.told("removed camera", 1).await;

    publisher.connection.send(AddTrack(vp8("another"))).await.unwrap().unwrap();
    publisher.offer().await;
    publisher.until("the answer", |client| client.events("webrtc:answer").count() == 3).await;
    show.told("added another", 1).await;
    publisher.ws.send(json!({ "event": "webrtc:close" })).await;
    show.told("removed another", 1).await;
}

#[actix::test]
async fn tracks_go_on_when_a_peer_crashes_and_end_with_a_server_peer_that_is_killed() {
    let show = Show::default();
    let server = server(webrtc().await, &show).await;
    let mut first = viewer(&server).await;
    let mut publisher = RtcClient::join(&server).await;
    let sender = camera(&mut publisher, "camera").await;
    shows(&mut publisher, sender, &mut [&mut first], "hello").await;

    // Both peers are restarted; their connections stay.
    publisher.ws.send(json!({ "event": "explode_peer", "to": "all" })).await;
    show.told("added camera", 2).await;
    first.ws.send(json!({ "event": "explode_peer", "to": "all" })).await;
    first.until("restart", |client| client.events("error").next().is_some()).await;
    shows(&mut publisher, sender, &mut [&mut first], "after the crash").await;

    let node = server.rooms.lookup("demo").unwrap().supervisor().unwrap();
    node.inject(&format!("webrtc:{}", publisher.ws.id), Fault::Kill).await.unwrap();
    show.told("removed camera", 1).await;
    publisher.renew().await;
    let sender = camera(&mut publisher, "third").await;
    shows(&mut publisher, sender, &mut [&mut first], "after the kill").await;
}

#[actix::test]
async fn a_track_ends_with_its_last_handle_and_another_takes_its_name() {
    let show = Show::default();
    let server = server(webrtc().await, &show).await;
    let mut first = viewer(&server).await;
    first.until("the track", |client| receiver(client).is_some()).await;
    let transceiver = receiver(&first).unwrap();

    show.stage().screens.clear();

    let ended = |event: &ConnectionEvent| match event {
        ConnectionEvent::TrackRemoved { transceiver: ended } => *ended == transceiver,
        _ => false,
    };
    first.until("its end", |client| client.told.iter().any(ended)).await;
    let [client] = &server.rooms.lookup("demo").unwrap().clients()[..] else { panic!("one") };
    let again = client.add_track(vp8("screen")).expect("it is free");
    let other = |client: &RtcClient| receiver(client).is_some_and(|now| now != transceiver);
    first.until("another", other).await;
    assert_eq!(again.track().id, "screen");
}

#[actix::test]
async fn what_cannot_be_sent_is_refused_for_its_reason() {
    let show = Show::default();
    let server = server(webrtc().await, &show).await;
    let client = RtcClient::join(&server).await;
    crate::common::eventually("its track", || show.stage().screens.len() == 1).await;
    let [peer] = &server.rooms.lookup("demo").unwrap().clients()[..] else { panic!("one") };
    let add = |id: &str| peer.add_track(vp8(id));
    let sample = || Sample::new([0_u8; 3], Duration::ZERO);

    let waits = show.stage().screens[0].clone();
    assert_eq!(waits.write(sample()), Err(WriteTrackError::NotConnected));
    assert_eq!(add("screen").unwrap_err(), AddServerTrackError::AlreadyAdded);
    let text = LocalTrack::new(RtpCodecCapability::new("text/plain"), "text", "show");
    let invalid = AddServerTrackError::InvalidTrack("text/plain".to_owned());
    assert_eq!(peer.add_track(text).unwrap_err(), invalid);
    let kept: Vec<_> = (1..ServerTrack::MOST).map(|at| add(&at.to_string()).unwrap()).collect();
    assert_eq!(add("one more").unwrap_err(), AddServerTrackError::TooMany);
    drop(kept);
    add("one more").expect("there is room");
    drop(client);

    for (webrtc, error) in [
        (Some(webrtc().await.media()), AddServerTrackError::MediaRoom),
        (None, AddServerTrackError::Disabled),
    ] {
        let given = Show::default();
        let server = Server::of_peers::<Guest>(move |rooms| {
            let options = PeerOptions::new(given, rooms);
            webrtc.into_iter().fold(options, PeerOptions::webrtc)
        });
        let server = server.await;
        let _client = RtcClient::join(&server).await;
        let [peer] = &server.rooms.lookup("demo").unwrap().clients()[..] else { panic!("one") };
        assert_eq!(peer.add_track(vp8("screen")).unwrap_err(), error);
    }
}

#[actix::test]
async fn a_track_of_a_codec_that_the_connection_does_not_have_is_refused_when_it_is_written() {
    let show = Show::default();
    let server = server(webrtc().await, &show).await;
    let client = viewer(&server).await;
    let [peer] = &server.rooms.lookup("demo").unwrap().clients()[..] else { panic!("one") };
    let odd = LocalTrack::new(RtpCodecCapability::new("video/none"), "odd", "show");

    let odd = peer.add_track(odd).expect("its client decides");

    let sample = || Sample::new([0_u8; 3], Duration::ZERO);
    let refused = || matches!(odd.write(sample()), Err(WriteTrackError::Refused(_)));
    crate::common::eventually("a refusal", refused).await;
    drop(client);
}

/// Blocks the media thread of the server, with the first frame that comes, until it is let go.
#[derive(Clone, Default)]
struct Blocker {
    blocks: Arc<AtomicBool>,
    let_go: Arc<AtomicBool>,
}

impl Interceptor for Blocker {
    fn sample_received(&self, _: &mut ReceivedSample) -> Flow {
        self.blocks.store(true, Ordering::Relaxed);
        while !self.let_go.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Flow::Pass
    }
}

#[actix::test]
async fn a_track_that_a_slow_connection_adds_too_late_is_sent_nevertheless() {
    let (show, blocker) = (Show::default(), Blocker::default());
    let registry = InterceptorRegistry::default().interceptor(blocker.clone());
    let api = Api::new(MediaEngine::default(), registry);
    let server = server(webrtc().await.api(api), &show).await;
    let mut client = RtcClient::join(&server).await;
    let sender = camera(&mut client, "camera").await;
    client.until("the track", |client| receiver(client).is_some()).await;
    let room = server.rooms.lookup("demo").unwrap();
    let [peer] = &room.clients()[..] else { panic!("one") };
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    while !blocker.blocks.load(Ordering::Relaxed) {
        pace.tick().await;
        client.show(sender, "hello").await;
    }

    let late = peer.add_track(vp8("late")).expect("there is room");
    let node = room.supervisor().expect("it runs");
    let server_peer = node.child::<ServerPeer>(&format!("webrtc:{}", client.ws.id)).unwrap();
    // It answers once it has waited for the connection as long as it does.
    server_peer.addr().expect("it runs").send(ConnectionState).await.expect("it runs");
    let sample = || Sample::new([0_u8; 3], Duration::ZERO);
    assert_eq!(late.write(sample()), Err(WriteTrackError::NotConnected));
    blocker.let_go.store(true, Ordering::Relaxed);

    crate::common::eventually("the late track", || late.write(sample()) == Ok(())).await;
    let has_late = |event: &ConnectionEvent| match event {
        ConnectionEvent::TrackAdded { track, .. } => track == "late",
        _ => false,
    };
    client.until("its offer", |client| client.told.iter().any(has_late)).await;
}
