//! Media of a room through the server: clients that hear and see each other.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use callboard_media_rooms::{MediaPolicy, ParticipantInfo, TrackInfo};
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use callboard_signaling::WebRtc;
use callboard_supervision::Fault;
use serde_json::{Value, json};

use crate::common::Server;
use crate::common::away::GRACE;
use crate::common::rtc::{RtcClient, webrtc};

pub(crate) async fn server() -> (Server, WebRtc) {
    serve(webrtc().await.media()).await
}

async fn serve(webrtc: WebRtc) -> (Server, WebRtc) {
    let given = webrtc.clone();
    (Server::start(move |options| options.webrtc(given)).await, webrtc)
}

/// Client that sends a picture, and receives in so many sections.
pub(crate) struct Viewer {
    pub(crate) client: RtcClient,
    pub(crate) sender: SenderId,
}

impl Viewer {
    pub(crate) async fn join(server: &Server, slots: usize) -> Self {
        let mut client = RtcClient::join(server).await;
        let sender = Self::add_sections(&client, slots).await;
        client.offer().await;
        client.until("connected", |client| client.in_state("connected")).await;
        Self { client, sender }
    }

    pub(crate) async fn add_sections(client: &RtcClient, slots: usize) -> SenderId {
        let track = LocalTrack::new(RtpCodecCapability::new("video/VP8"), "camera", "camera");
        let camera = AddTransceiver {
            direction: Direction::SendOnly,
            track: Some(track),
            ..AddTransceiver::new(TrackKind::Video)
        };
        client.connection.send(camera).await.unwrap().unwrap();
        for _ in 0..slots {
            let slot = AddTransceiver::receive(TrackKind::Video);
            client.connection.send(slot).await.unwrap().unwrap();
        }
        client.connection.send(GetTransceivers).await.unwrap()[0].sender
    }

    async fn show(&self, text: &str) {
        self.client.show(self.sender, text).await;
    }

    fn sees(&self, text: &str) -> bool {
        self.client.sees(text)
    }

    /// Returns what the slots carry, as the server has said.
    pub(crate) fn slots(&self) -> serde_json::Map<String, Value> {
        let mut slots = serde_json::Map::new();
        for told in self.client.events("media:slots") {
            slots.extend(told["slots"].as_object().unwrap().clone());
        }
        slots
    }
}

/// Returns whether a slot of the client has become empty.
fn is_gone(client: &RtcClient) -> bool {
    let mut told = client.events("media:slots");
    told.any(|told| told["slots"].as_object().unwrap().values().any(Value::is_null))
}

/// Lets one show a text until another sees it.
pub(crate) async fn shows(one: &mut Viewer, other: &mut Viewer, text: &str) {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let showing = async {
        while !other.sees(text) {
            pace.tick().await;
            one.show(text).await;
            other.client.take().await;
            one.client.take().await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(60), showing).await.is_err() {
        panic!("{text}: {:#?} {:#?}", other.client.heard, other.client.told);
    }
}

#[actix::test]
async fn the_bandwidth_to_clients_is_estimated_unless_the_application_does_not_wish_it() {
    let of_the_api = Api::default().bandwidth_estimation(Some(2_000_000));
    for (webrtc, first) in [
        (webrtc().await.media(), Some(1_000_000)),
        (webrtc().await.media().first_estimate(Some(500_000)), Some(500_000)),
        (webrtc().await.media().api(of_the_api).first_estimate(None), Some(2_000_000)),
        (webrtc().await.media().first_estimate(None), None),
        (webrtc().await.media().first_estimate(Some(0)), None),
        (webrtc().await, None),
    ] {
        let (server, webrtc) = serve(webrtc).await;
        let mut viewer = Viewer::join(&server, 1).await;
        let id = webrtc.sessions()[0].connection.expect("it is connected");
        let connection = webrtc.connections().get(id).expect("it is open");

        let (minimum, desired) = (0, 0);
        let is_estimated = connection.send(SetBitrate { minimum, desired }).await.unwrap();

        assert_eq!(is_estimated, first.is_some());
        let told = async {
            while connection.send(GetBandwidthEstimate).await.unwrap() != first {
                viewer.client.take().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), told).await.expect("the first estimate");
    }
}

#[actix::test]
async fn clients_of_a_room_see_each_other_through_the_server() {
    let (server, webrtc) = server().await;
    let mut one = Viewer::join(&server, 2).await;
    let mut two = Viewer::join(&server, 2).await;

    shows(&mut one, &mut two, "one to two").await;
    shows(&mut two, &mut one, "two to one").await;

    one.client.until("slots", |_| true).await;
    let slots = one.slots();
    assert_eq!(slots.len(), 1, "{slots:?}");
    let (_, bound) = slots.iter().next().unwrap();
    assert_eq!(
        (&bound["peer"], &bound["kind"]),
        (&two.client.ws.id.clone().into(), &"video".into())
    );
    let added: Vec<_> = one.client.events("media:tracks").collect();
    assert_eq!(added.len(), 1, "{added:?}");
    assert_eq!(added[0]["added"][0]["track"], bound["track"]);
    assert_eq!(webrtc.sessions().len(), 2);
    for client in [&one.client, &two.client] {
        assert_eq!(client.events("webrtc:offer").count(), 0, "the server never offers");
        assert_eq!(client.events("error").count(), 0);
    }

    // A third comes, and one who leaves is gone from the slots of the others.
    let mut three = Viewer::join(&server, 2).await;
    shows(&mut three, &mut one, "three to one").await;
    let id = three.client.ws.id.clone();
    drop(three);
    one.client.until("an empty slot", is_gone).await;
    assert!(one.slots().values().all(|slot| slot["peer"] != id.as_str()), "{:?}", one.slots());
    shows(&mut two, &mut one, "two goes on").await;
}

#[actix::test]
async fn media_goes_on_when_its_room_fails_and_when_its_actors_do() {
    let (server, _webrtc) = server().await;
    let mut one = Viewer::join(&server, 1).await;
    let mut two = Viewer::join(&server, 1).await;
    shows(&mut one, &mut two, "before").await;
    let rooms = server.rooms.list();
    let mut rooms = rooms.iter().filter_map(|room| room.supervisor());
    let room = rooms.find(|room| room.supervisor("media").is_ok()).expect("a room with media");
    let media = room.supervisor("media").unwrap();
    media.inject("stage", Fault::Panic("a fault".into())).await.unwrap();
    shows(&mut one, &mut two, "after the stage").await;
    // The room's actor; its peers and their media are not asked.
    room.inject("room", Fault::Panic("a fault".into())).await.unwrap();
    shows(&mut one, &mut two, "after the room").await;
    let snapshot = media.snapshot();
    for participant in snapshot.children.iter().filter(|child| &*child.id != "stage") {
        let actors = media.supervisor(&participant.id).unwrap();
        actors.inject("subscriber", Fault::Panic("a fault".into())).await.unwrap();
        actors.inject("publisher", Fault::Kill).await.unwrap();
    }
    shows(&mut one, &mut two, "after its actors").await;
    shows(&mut two, &mut one, "both ways").await;
}

#[actix::test]
async fn a_client_that_connects_anew_is_seen_anew() {
    let (server, _webrtc) = server().await;
    let mut one = Viewer::join(&server, 1).await;
    let mut two = Viewer::join(&server, 1).await;
    shows(&mut one, &mut two, "before").await;

    one.client.renew().await;
    one.sender = Viewer::add_sections(&one.client, 1).await;
    one.client.offer().await;
    one.client.until("connected", |client| client.in_state("connected")).await;

    shows(&mut one, &mut two, "after").await;
    shows(&mut two, &mut one, "both ways").await;
    let own = one.client.ws.id.as_str();
    let told = one.client.events("media:tracks");
    let added: Vec<_> = told.filter_map(|told| told["added"].as_array()).flatten().collect();
    assert!(added.iter().all(|track| track["peer"] != own), "it was told of itself: {added:?}");
}

#[actix::test]
async fn more_sections_are_a_later_offer_of_the_client() {
    let (server, _webrtc) = server().await;
    let mut one = Viewer::join(&server, 0).await;
    let mut two = Viewer::join(&server, 0).await;
    one.client.until("news", |client| client.events("media:tracks").next().is_some()).await;
    assert!(one.slots().is_empty());

    let slot = AddTransceiver::receive(TrackKind::Video);
    one.client.connection.send(slot).await.unwrap().unwrap();
    one.client.offer().await;

    shows(&mut two, &mut one, "later").await;
    one.client.until("its slot", |client| client.events("media:slots").next().is_some()).await;
    assert_eq!(one.slots().len(), 1);
    assert_eq!(one.client.events("webrtc:offer").count(), 0, "the server never offers");
}

/// Peers that may publish.
#[derive(Clone, Default)]
struct Allowed(Arc<Mutex<Vec<String>>>);

impl MediaPolicy for Allowed {
    fn may_publish(&self, publisher: &ParticipantInfo, _: &TrackInfo) -> bool {
        self.0.lock().unwrap().iter().any(|allowed| **allowed == *publisher.name)
    }
}

#[actix::test]
async fn the_policy_of_the_application_decides_who_publishes() {
    let allowed = Allowed::default();
    let (server, webrtc) = serve(webrtc().await.media_with(allowed.clone())).await;
    let mut one = Viewer::join(&server, 1).await;
    let mut two = Viewer::join(&server, 1).await;
    for viewer in [&mut one, &mut two] {
        let refused = |client: &RtcClient| client.events("media:refused").next().is_some();
        viewer.client.until("a refusal", refused).await;
        let told = viewer.client.events("media:refused").next().unwrap();
        let camera = viewer.client.connection.send(GetTransceivers).await.unwrap().remove(0);
        let section = (&told["mid"], &told["kind"]);
        assert_eq!(section, (&camera.mid.into(), &"video".into()));
    }
    assert_eq!(two.client.events("media:tracks").count(), 0);

    let room = server.rooms.list().into_iter().find_map(|room| webrtc.media_room(&room)).unwrap();
    allowed.0.lock().unwrap().push(one.client.ws.id.clone());
    room.review();
    shows(&mut one, &mut two, "now it may").await;

    allowed.0.lock().unwrap().clear();
    room.review();
    two.client.until("an empty slot", is_gone).await;
    assert_eq!(one.client.events("media:slots").count(), 0, "the other one may still not");
}

/// Says what the client's camera shows, before the offer.
async fn join_described(server: &Server, track: Value) -> (Viewer, String) {
    let mut client = RtcClient::join(server).await;
    let sender = Viewer::add_sections(&client, 1).await;
    let offer = client.local_description().await;
    let camera = client.connection.send(GetTransceivers).await.unwrap().remove(0);
    let mid = camera.mid.unwrap();
    let mut track = track;
    track["mid"] = mid.clone().into();
    client.ws.send(json!({ "event": "media:publish", "data": { "tracks": [track] } })).await;
    client.ws.send(json!({ "event": "webrtc:offer", "data": offer })).await;
    client.until("connected", |client| client.in_state("connected")).await;
    (Viewer { client, sender }, mid)
}

/// Returns the last that a client was told of any track as this: `added` or `changed`.
fn told_of(client: &RtcClient, what: &str) -> Value {
    let told = client.events("media:tracks").filter_map(|told| told.get(what)?.get(0).cloned());
    told.last().unwrap_or_default()
}

#[actix::test]
async fn a_client_says_what_its_tracks_show_and_mutes_them() {
    let (server, _webrtc) = server().await;
    let mut two = Viewer::join(&server, 1).await;
    let (mut one, mid) =
        join_described(&server, json!({ "source": "screen", "metadata": { "title": "Plan" } }))
            .await;
    shows(&mut one, &mut two, "before").await;
    let added = told_of(&two.client, "added");
    let said = (&added["source"], &added["metadata"], &added["muted"]);
    assert_eq!(said, (&json!("screen"), &json!({ "title": "Plan" }), &json!(false)));

    // Those that come later are told as well, and what was muted is not forwarded until that is over.
    for muted in [true, false] {
        let mute = json!({ "event": "media:mute", "data": { "mid": mid, "muted": muted } });
        one.client.ws.send(mute).await;
        for viewer in [&mut two, &mut one] {
            let is_told = |client: &RtcClient| told_of(client, "changed")["muted"] == muted;
            viewer.client.until("a changed track", is_told).await;
        }
        assert_eq!(told_of(&two.client, "changed")["track"], added["track"]);
        if muted {
            for _ in 0..20 {
                one.show("in secret").await;
            }
            let mut three = Viewer::join(&server, 1).await;
            let is_told = |client: &RtcClient| told_of(client, "added")["muted"] == true;
            three.client.until("a muted track", is_told).await;
        }
    }
    shows(&mut one, &mut two, "after").await;
    assert!(!two.sees("in secret"));
}

#[actix::test]
async fn a_client_is_told_when_the_application_mutes_its_track() {
    let (server, webrtc) = server().await;
    let mut two = Viewer::join(&server, 1).await;
    let (mut one, mid) = join_described(&server, json!({ "source": "camera" })).await;
    shows(&mut one, &mut two, "before").await;
    let track = told_of(&two.client, "added")["track"].clone();
    let room = server.rooms.list().into_iter().find_map(|room| webrtc.media_room(&room)).unwrap();
    let of_one = room.tracks().into_iter().find(|it| it.id.to_string() == track).unwrap().id;

    for muted in [true, false] {
        assert!(room.mute(of_one, muted));
        let is_told = |client: &RtcClient| client.events("media:muted").last().is_some();
        one.client.until("its own track", is_told).await;
        let is_told = |client: &RtcClient| told_of(client, "changed")["muted"] == muted;
        two.client.until("a changed track", is_told).await;
    }

    let told = |muted| json!({ "track": track, "mid": mid, "muted": muted });
    one.client.until("both", |client| client.events("media:muted").count() == 2).await;
    let heard: Vec<_> = one.client.events("media:muted").cloned().collect();
    assert_eq!(heard, [told(true), told(false)]);
    assert_eq!(two.client.events("media:muted").count(), 0, "it is none of its own");
}

#[actix::test]
async fn a_track_may_be_muted_from_the_beginning() {
    let (server, _webrtc) = server().await;
    let mut two = Viewer::join(&server, 1).await;
    let (mut one, mid) =
        join_described(&server, json!({ "source": "camera", "muted": true })).await;
    let is_told = |client: &RtcClient| told_of(client, "added")["muted"] == true;
    two.client.until("a muted track", is_told).await;
    for _ in 0..20 {
        one.show("in secret").await;
    }
    // An offer does not end that.
    one.client.connection.send(AddTransceiver::receive(TrackKind::Video)).await.unwrap().unwrap();
    one.client.offer().await;
    one.client.until("an answer", |client| client.events("webrtc:answer").count() == 2).await;

    let mute = json!({ "event": "media:mute", "data": { "mid": mid, "muted": false } });
    one.client.ws.send(mute).await;
    shows(&mut one, &mut two, "after").await;
    assert!(!two.sees("in secret"));
    assert_eq!(told_of(&two.client, "changed")["muted"], false);
}

#[actix::test]
async fn what_cannot_be_published_or_muted_is_refused() {
    let (server, _webrtc) = server().await;
    let mut one = Viewer::join(&server, 1).await;
    for (event, data, error) in [
        ("media:publish", json!({ "tracks": [{ "source": "camera" }] }), "bad_tracks"),
        ("media:publish", json!({ "tracks": "all" }), "bad_tracks"),
        ("media:mute", json!({ "mid": "nothing", "muted": true }), "no_such_track"),
        ("media:mute", json!({ "mid": "nothing" }), "bad_mute"),
    ] {
        let before = one.client.events("error").count();
        one.client.ws.send(json!({ "event": event, "data": data })).await;
        one.client.until("an error", |client| client.events("error").count() > before).await;
        let told = one.client.events("error").last().unwrap();
        let said = (&told["details"]["event"], &told["details"]["error"]);
        assert_eq!(said, (&json!(event), &json!(error)), "{told:#}");
    }

    // Too often.
    let camera = one.client.connection.send(GetTransceivers).await.unwrap().remove(0).mid;
    let mute = |muted| json!({ "event": "media:mute", "data": { "mid": camera, "muted": muted } });
    for at in 0..200 {
        one.client.ws.send(mute(at % 2 == 0)).await;
    }
    let limited = |client: &RtcClient| {
        client.events("error").any(|told| told["details"]["error"] == "rate_limited")
    };
    one.client.until("a limit", limited).await;
}

#[actix::test]
async fn without_a_media_room_nothing_is_published() {
    let webrtc = webrtc().await;
    let (server, _webrtc) = serve(webrtc).await;
    let mut client = RtcClient::join(&server).await;
    client.ws.send(json!({ "event": "media:publish", "data": { "tracks": [] } })).await;
    client.until("an error", |client| client.events("error").next().is_some()).await;
    let told = client.events("error").next().unwrap();
    assert_eq!(told["details"]["error"], "media_disabled");
}

#[actix::test]
async fn one_that_comes_back_is_told_once_more_what_there_is_and_what_flows() {
    let given = webrtc().await.media();
    let server = Server::start(move |options| options.resume_grace(GRACE).webrtc(given)).await;
    let mut one = Viewer::join(&server, 2).await;
    let mut two = Viewer::join(&server, 0).await;
    shows(&mut two, &mut one, "before").await;
    let flows = |client: &RtcClient| {
        let slots = client.events("media:slots").map(|told| told["slots"].as_object().unwrap());
        slots.flat_map(|slots| slots.values()).any(|slot| slot["state"] == "flowing")
    };
    one.client.until("it flows", flows).await;
    let token = one.client.token.clone().expect("there is a grace");

    one.client.cut().await;
    let (ws, _) = server.resume(&token).await;
    one.client.come_back(ws);
    // As if all that was lost with its connection.
    one.client.heard.clear();

    one.client.until("it flows", flows).await;
    let tracks = one.client.events("media:tracks").next().expect("it is told")["all"].clone();
    let peers: Vec<_> = tracks.as_array().unwrap().iter().map(|track| &track["peer"]).collect();
    assert_eq!(peers, [two.client.ws.id.as_str()]);
    let slots = one.slots();
    assert_eq!((slots.len(), slots.values().filter(|it| it.is_null()).count()), (2, 1));
    let muted: Vec<_> = one.client.events("media:muted").map(|told| &told["muted"]).collect();
    assert_eq!(muted, [false]);
}
