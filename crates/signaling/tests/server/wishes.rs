//! What clients wish to receive of a room's media.

use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use serde_json::{Value, json};

use super::media::{Viewer, server, shows};
use crate::common::Server;
use crate::common::away::GRACE;
use crate::common::rtc::{RtcClient, webrtc};

/// Returns the state of the only slot, as the server has said last.
fn state(client: &RtcClient) -> Option<String> {
    let told = client.events("media:slots").last()?;
    let slot = told["slots"].as_object()?.values().next()?;
    slot["state"].as_str().map(str::to_owned)
}

fn wish(data: Value) -> Value {
    json!({ "event": "media:wish", "data": data })
}

#[actix::test]
async fn clients_get_what_they_wish() {
    let (server, _webrtc) = server().await;
    let mut one = Viewer::join(&server, 0).await;
    let mut two = Viewer::join(&server, 1).await;
    shows(&mut one, &mut two, "all of it").await;
    two.client.until("flowing", |client| state(client).as_deref() == Some("flowing")).await;
    let slot = two.slots().into_iter().next().unwrap().1;
    assert_eq!((&slot["height"], &slot["layer"]), (&180.into(), &Value::Null));
    assert_eq!((&slot["peer"], &slot["kind"]), (&one.client.ws.id.clone().into(), &"video".into()));

    two.client.ws.send(wish(json!({ "default": { "pause": true } }))).await;
    two.client.until("paused", |client| state(client).as_deref() == Some("paused")).await;
    // It is remembered for the client's next connection.
    two.client.renew().await;
    two.sender = Viewer::add_sections(&two.client, 1).await;
    two.client.offer().await;
    two.client.until("connected", |client| client.in_state("connected")).await;
    two.client.until("paused again", |client| state(client).as_deref() == Some("paused")).await;
    let tracks = json!({ slot["track"].as_str().unwrap(): { "height": 720 } });
    two.client.ws.send(wish(json!({ "default": { "pause": true }, "tracks": tracks }))).await;
    shows(&mut one, &mut two, "this one").await;

    // What cannot be read changes nothing.
    let many = vec![slot["track"].clone(); 257];
    for (bad, detail) in [
        (json!({ "default": { "pause": 1 } }), "invalid type: integer `1`, expected a boolean"),
        (json!({ "order": many }), "wishes for more than 256 tracks"),
    ] {
        let before = two.client.events("error").count();
        two.client.ws.send(wish(bad)).await;
        two.client.until("an error", |client| client.events("error").count() > before).await;
        let error = two.client.events("error").last().unwrap();
        assert_eq!(error["details"]["error"], "bad_wish");
        assert!(error["details"]["detail"].as_str().unwrap().starts_with(detail), "{error}");
    }
    shows(&mut one, &mut two, "still this one").await;
}

/// What a viewer wishes is known to the server after its connection was lost: what follows from it is told once more,
/// and its sender is told again which layers are wanted.
#[actix::test]
async fn wishes_hold_for_one_that_comes_back_and_what_follows_from_them_is_told_again() {
    let given = webrtc().await.media();
    let server = Server::start(move |options| options.resume_grace(GRACE).webrtc(given)).await;
    let mut one = RtcClient::join(&server).await;
    let track = LocalTrack::new(RtpCodecCapability::new("video/VP8"), "camera", "camera");
    let camera = AddTransceiver {
        track: Some(track),
        send_encodings: ["q", "h", "f"].map(|rid| rid.parse().unwrap()).to_vec(),
        ..AddTransceiver::new(TrackKind::Video)
    };
    one.connection.send(camera).await.unwrap().unwrap();
    one.offer().await;
    let layers = |client: &RtcClient| client.events("media:layers").last().cloned();
    one.until("its layers", |client| layers(client).is_some()).await;
    let told = layers(&one);
    let mut two = Viewer::join(&server, 1).await;
    two.client.ws.send(wish(json!({ "default": { "pause": true } }))).await;
    let is_paused = |client: &RtcClient| state(client).as_deref() == Some("paused");
    two.client.until("paused", is_paused).await;

    for client in [&mut one, &mut two.client] {
        let token = client.token.clone().expect("there is a grace");
        client.cut().await;
        let (ws, _) = server.resume(&token).await;
        client.come_back(ws);
        // As if all that was lost with its connection.
        client.heard.clear();
    }

    two.client.until("still paused", is_paused).await;
    one.until("its layers once more", |client| layers(client).is_some()).await;
    assert_eq!(layers(&one), told);
    two.client.ws.send(wish(json!({ "default": { "height": 90 } }))).await;
    let waits = |client: &RtcClient| state(client).as_deref() == Some("waiting");
    two.client.until("another wish", waits).await;
}
