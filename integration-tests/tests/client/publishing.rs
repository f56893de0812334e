//! Tracks that are published one by one, muted, replaced and unpublished.

use integration_tests::{Kind, in_network_namespace};
use serde_json::json;

use crate::page::Page;
use crate::server::Server;
use crate::streams::{arrived, media, sees};

/// Opens a page that publishes a camera, a microphone and a screen.
async fn publisher(kind: Kind, port: u16) -> Page {
    let page = arrived(kind, port).await;
    page.run(
        "window.drawn = (width, height) => {
             const canvas = Object.assign(document.createElement('canvas'), { width, height });
             const pen = canvas.getContext('2d');
             setInterval(() => {
                 pen.fillStyle = `hsl(${performance.now() / 10} 50% 50%)`;
                 pen.fillRect(0, 0, width, height);
             }, 50);
             return canvas.captureStream(20).getVideoTracks()[0];
         };
         const own = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
         window.peer = ann.openPeerConnection({ receive: { audio: 1, video: 1 } });
         // The first two with the first offer, the third with the next.
         window.camera = ann.publish(own.getVideoTracks()[0], { metadata: { title: 'me' } });
         window.microphone = ann.publish(own.getAudioTracks()[0]);
         microphone.mute();
         await until(() => peer.state === 'connected');
         window.screen = ann.publish(drawn(320, 240), { source: 'screen' });",
    )
    .await;
    page
}

/// Opens a page that only receives.
async fn viewer(kind: Kind, port: u16) -> Page {
    let page = arrived(kind, port).await;
    page.run(
        "window.peer = ann.openPeerConnection({ receive: { audio: 1, video: 2 } });
         // What is published now, by source, and what has changed of it so far.
         window.now = () => Object.fromEntries((tracks.at(-1)?.[0] ?? []).map((track) => [track.source, track]));
         window.all = (what) => tracks.flatMap(([, changes]) => changes[what]);",
    )
    .await;
    page
}

#[test]
fn tracks_are_published_muted_replaced_and_unpublished_by_chromium() {
    in_network_namespace(async || publishes(Kind::Chromium, Kind::Firefox).await);
}

#[test]
fn tracks_are_published_muted_replaced_and_unpublished_by_firefox() {
    in_network_namespace(async || publishes(Kind::Firefox, Kind::Chromium).await);
}

async fn publishes(publishing: Kind, viewing: Kind) {
    let server = Server::start(media()).await;
    let two = viewer(viewing, server.port).await;
    let one = publisher(publishing, server.port).await;
    sees(&two, 1).await;
    two.becomes("Object.keys(now()).sort().join() === 'camera,microphone,screen'").await;
    let told = two
        .run(
            "const { camera, microphone, screen } = now();
             return [camera.metadata, screen.metadata, [camera, microphone, screen].map(({ muted }) => muted)]",
        )
        .await;
    assert_eq!(told, json!([{ "title": "me" }, null, [false, true, false]]));

    // A muted track is not forwarded, and comes back.
    for muted in [true, false] {
        one.run(&format!("camera.mute({muted}); microphone.mute({})", !muted)).await;
        let told = format!("now().camera.muted === {muted} && now().microphone.muted !== {muted}");
        two.becomes(&told).await;
    }
    sees(&two, 1).await;
    let told = two.run("return all('changed').map(({ source, muted }) => `${source} ${muted}`)");
    let expected = ["camera true", "microphone false", "camera false", "microphone true"];
    assert_eq!(told.await, json!(expected));

    // The application mutes all of it: its publisher is told, and what the page has muted stays so.
    one.run("window.told = heard(ann, 'track_muted'); microphone.mute()").await;
    let count = one.run("return ann.call('test', 'mute', [true])").await;
    assert_eq!(count, json!(3));
    one.becomes(
        "told.length === 3 && [camera, microphone, screen].every((one) => one.mutedByServer)",
    )
    .await;
    two.becomes("now().camera.muted && now().screen.muted").await;
    one.run("microphone.mute(false); await ann.call('test', 'mute', [false])").await;
    one.becomes("told.length === 6").await;
    let told = one
        .run(
            "const one = told[0][0];
             const known = told.every(([{ mid, track, publication }]) => mid && track === publication.track);
             return [known, told.map(([{ muted }]) => muted), camera.mutedByServer, camera.muted, typeof one.mid];",
        )
        .await;
    let muted = [true, true, true, false, false, false];
    assert_eq!(told, json!([true, muted, false, false, "string"]));
    two.becomes("!now().camera.muted && !now().microphone.muted").await;
    sees(&two, 1).await;
    one.run("microphone.mute()").await;

    // Another picture in place of the camera's, upright.
    one.run("screen.unpublish()").await;
    two.becomes("all('removed').map(({ source }) => source).join() === 'screen'").await;
    one.run("await camera.replace(drawn(240, 320))").await;
    two.becomes(
        "[...shown.values()].every(({ videoWidth, videoHeight }) => videoWidth < videoHeight)",
    )
    .await;
    sees(&two, 1).await;

    // Another screen takes the section of the first.
    one.run("window.screen = ann.publish(drawn(320, 240), { source: 'screen' })").await;
    two.becomes("now().screen?.kind === 'video'").await;
    let sections = one.run("return peer.connection.getTransceivers().length").await;
    assert_eq!(sections, json!(5));
    one.run("screen.unpublish()").await;
    two.becomes("all('removed').length === 2 && !now().screen").await;

    // Over another connection, it is as it was.
    one.run("window.before = peer.connection; await ann.call('test', 'kill_connection');").await;
    one.becomes("peer.connection !== before && peer.state === 'connected'").await;
    two.becomes(
        "all('removed').length === 4 && now().microphone?.muted && now().camera?.muted === false
             && now().camera.metadata.title === 'me' && !now().screen",
    )
    .await;
    sees(&two, 1).await;

    for page in [one, two] {
        assert_eq!(page.run("return errors").await, json!([]));
        page.close().await;
    }
}

#[test]
fn a_transceiver_that_chromium_stops_ends_its_track_alone() {
    in_network_namespace(async || stops(Kind::Chromium).await);
}

/// It describes the payload type of that section without its parameters.
#[test]
fn a_transceiver_that_firefox_stops_ends_its_track_alone() {
    in_network_namespace(async || stops(Kind::Firefox).await);
}

async fn stops(kind: Kind) {
    let server = Server::start(media()).await;
    let two = viewer(Kind::Chromium, server.port).await;
    let one = publisher(kind, server.port).await;
    two.becomes("Object.keys(now()).sort().join() === 'camera,microphone,screen'").await;
    sees(&two, 1).await;

    one.run(
        "window.before = peer.connection;
         peer.connection.getTransceivers().find(({ sender }) => sender.track === camera.track).stop();",
    )
    .await;
    two.becomes("Object.keys(now()).sort().join() === 'microphone,screen'").await;
    // A later offer goes through as well.
    one.run("ann.publish(drawn(320, 240), { source: 'camera', metadata: 'another' })").await;
    two.becomes("now().camera?.metadata === 'another'").await;
    sees(&two, 1).await;

    let told = one.run("return [errors, peer.connection === before]").await;
    assert_eq!(told, json!([[], true]));
    one.close().await;
    two.close().await;
}

#[test]
fn what_cannot_be_published_is_said() {
    in_network_namespace(async || {
        let server = Server::start(media()).await;
        let page = arrived(Kind::Chromium, server.port).await;
        let told = page
            .run(
                "const [track] = document.createElement('canvas').captureStream().getTracks();
                 const failing = async (...args) => ann.publish(...args);
                 const early = await code_of(failing(track));
                 window.peer = ann.openPeerConnection();
                 const large = await code_of(failing(track, { metadata: 'x'.repeat(2_000) }));
                 peer.close();
                 const late = await code_of(failing(track));
                 return [early, large, late];",
            )
            .await;
        assert_eq!(told, json!(["no_peer_connection", "too_large", "no_peer_connection"]));
        page.close().await;
    });
}
