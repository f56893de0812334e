//! Streams of the other members, through the server.

use integration_tests::{Kind, Moment, PATIENCE, in_network_namespace, until};
use serde_json::{Value, json};

use crate::page::Page;
use crate::server::{Server, Setup};

/// Opens a page that publishes its camera and microphone, and receives. It shows each of the others.
pub(crate) async fn joined(kind: Kind, port: u16) -> Page {
    joined_with(kind, port, "media").await
}

/// Likewise, with this `media` of its peer connection.
async fn joined_with(kind: Kind, port: u16, media: &str) -> Page {
    let page = arrived(kind, port).await;
    page.run(&format!(
        "window.media = await navigator.mediaDevices.getUserMedia({{ audio: true, video: true }});
         window.peer = ann.openPeerConnection({{ media: {media}, receive: {{ audio: 2, video: 2 }} }});"
    ))
    .await;
    page
}

/// Opens a page that shows each of the others, and has no peer connection yet.
pub(crate) async fn arrived(kind: Kind, port: u16) -> Page {
    let page = Page::open(kind, port).await;
    page.run(
        "window.shown = new Map();
         window.show = (client) => client.on('stream', (peer, stream) => {
             const video = shown.get(peer) ?? document.body.appendChild(document.createElement('video'));
             video.muted = video.autoplay = true;
             if (video.srcObject !== stream) video.srcObject = stream;
             if (stream) shown.set(peer, video);
             else { video.remove(); shown.delete(peer); }
         });
         // Frames that were decoded of each of them, and the widths at which they are shown.
         window.frames = () => Promise.all([...shown].map(async ([id, video]) => {
             const stats = await peer.connection.getStats(video.srcObject.getVideoTracks()[0] ?? null);
             const received = [...stats.values()].find(({ type }) => type === 'inbound-rtp');
             return { id, width: video.videoWidth, frames: received?.framesDecoded ?? 0, time: video.currentTime };
         }));
         const kindsOf = ([, { srcObject }]) => srcObject.getTracks().map(({ kind }) => kind).sort();
         window.kinds = () => [...shown].map(kindsOf);
         window.ann = await connect('/socket/lobby');
         [window.errors, window.streams] = [heard(ann, 'error'), heard(ann, 'stream')];
         window.tracks = heard(ann, 'tracks');
         show(ann);",
    )
    .await;
    page
}

/// Waits until the page shows so many others, each with a picture that goes on from now.
pub(crate) async fn sees(page: &Page, others: usize) {
    page.run("window.earlier = await frames()").await;
    until("pictures of all others that go on", PATIENCE, async || {
        let told = page
            .run(
                "const now = await frames();
                 const goes_on = ({ id, width, frames, time }) => {
                     const before = earlier.find((one) => one.id === id) ?? { frames: 0, time: 0 };
                     return width > 0 && frames > before.frames && time > before.time;
                 };
                 return { moving: now.filter(goes_on).length, shown: now.length, now, earlier, tracks: tracks.at(-1) }",
            )
            .await;
        match told["moving"] == others && told["shown"] == others {
            true => Moment::Now(()),
            false => Moment::NotYet(told.to_string()),
        }
    })
    .await;
}

pub(crate) fn media() -> Setup {
    Setup { media: true, ..Setup::default() }
}

fn nothing() -> Value {
    json!([])
}

#[test]
fn others_are_heard_and_seen_in_one_stream_each() {
    in_network_namespace(async || {
        let server = Server::start(media()).await;
        let one = joined(Kind::Chromium, server.port).await;
        let two = joined(Kind::Firefox, server.port).await;
        let three = joined(Kind::Chromium, server.port).await;
        for page in [&one, &two, &three] {
            sees(page, 2).await;
            page.becomes("kinds().every((kinds) => kinds.join() === 'audio,video')").await;
            let told = page
                .run(
                    "return {
                         names: [...shown.keys()].sort().join() === [...ann.peers.keys()].sort().join(),
                         published: tracks.at(-1)[0].length, errors,
                         // What may be stopped does not carry the transport.
                         first: /^m=(\\w+)/m.exec(peer.connection.localDescription.sdp)[1],
                         same: streams.every(([peer, stream]) =>
                             stream === null || stream === shown.get(peer).srcObject),
                     }",
                )
                .await;
            let expected = json!({
                "names": true, "published": 4, "errors": [], "first": "application", "same": true
            });
            assert_eq!(told, expected);
        }

        // One that leaves is gone at once, although its sound and its picture end one after the other.
        for page in [&one, &two] {
            page.run(
                "window.after = null; ann.on('left', () => { window.after = streams.length; })",
            )
            .await;
        }
        three.run("ann.close()").await;
        for page in [&one, &two] {
            page.becomes("after !== null && tracks.at(-1)[0].length === 2").await;
            let told =
                page.run("return streams.slice(after - 1).map(([, stream]) => stream)").await;
            assert_eq!(told, json!([null]));
            page.becomes("shown.size === 1").await;
            sees(page, 1).await;
        }
        for page in [one, two, three] {
            page.close().await;
        }
    });
}

#[test]
fn streams_come_back_with_another_connection() {
    in_network_namespace(async || {
        let server = Server::start(media()).await;
        let one = joined(Kind::Firefox, server.port).await;
        let two = joined(Kind::Chromium, server.port).await;
        for (page, other) in [(&one, &two), (&two, &one)] {
            sees(page, 1).await;
            sees(other, 1).await;
            for page in [page, other] {
                page.run("window.told = streams.length").await;
            }
            page.run("window.before = peer.connection; await ann.call('test', 'kill_connection');")
                .await;
            page.becomes("peer.connection !== before && peer.state === 'connected'").await;
            for page in [page, other] {
                // What flowed is over, and another stream begins.
                page.becomes(
                    "streams.length > told && streams.slice(told).some(([, stream]) => stream)",
                )
                .await;
                sees(page, 1).await;
                let own = page.run("return streams.some(([peer]) => peer === ann.peerId)").await;
                assert_eq!(own, json!(false));
            }
        }
        for page in [one, two] {
            assert_eq!(page.run("return errors").await, nothing());
            page.close().await;
        }
    });
}

#[test]
fn faults_of_the_media_room_change_no_stream() {
    in_network_namespace(async || {
        let server = Server::start(media()).await;
        let one = joined(Kind::Chromium, server.port).await;
        let two = joined(Kind::Firefox, server.port).await;
        for (page, other) in [(&one, &two), (&two, &one)] {
            sees(page, 1).await;
            page.becomes("kinds().every((kinds) => kinds.join() === 'audio,video')").await;
            page.run("window.told = streams.length").await;
            for what in ["stage", "publisher", "subscriber"] {
                page.run(&format!("await ann.call('test', 'break_media', ['{what}'])")).await;
                sees(page, 1).await;
                sees(other, 1).await;
            }
            assert_eq!(page.run("return streams.slice(told)").await, nothing());
        }
        for page in [one, two] {
            assert_eq!(page.run("return errors").await, nothing());
            page.close().await;
        }
    });
}

#[test]
fn media_that_was_given_up_begins_again() {
    in_network_namespace(async || {
        let server = Server::start(media()).await;
        let one = joined(Kind::Chromium, server.port).await;
        let two = joined(Kind::Firefox, server.port).await;
        sees(&one, 1).await;
        sees(&two, 1).await;

        let told = one
            .run(
                "window.before = peer.connection;
                 const failed = next(ann, 'error');
                 while (errors.length === 0) {
                     // While it is being restarted, there is none.
                     await ann.call('test', 'break_media', ['subscriber']).catch(() => {});
                     await new Promise((later) => setTimeout(later, 20));
                 }
                 const [{ code }] = await failed;
                 return { code, shown: shown.size };",
            )
            .await;
        assert_eq!(told, json!({ "code": "media_failed", "shown": 0 }));
        sees(&one, 1).await;
        sees(&two, 1).await;
        let told = one.run("return [peer.connection === before, errors.length]").await;
        assert_eq!(told, json!([true, 1]));
        one.close().await;
        two.close().await;
    });
}

#[test]
fn sections_are_added_where_others_publish_more() {
    in_network_namespace(async || {
        let server = Server::start(media()).await;
        for kind in [Kind::Chromium, Kind::Firefox] {
            let page = joined(kind, server.port).await;
            let told = page
                .run(
                    "window.ben = await connect('/socket/lobby');
                     window.of_ben = [];
                     const viewing = ben.openPeerConnection({ receive: { video: 1 } });
                     const isVideo = ({ receiver }) => receiver.track.kind === 'video';
                     const sections = () => viewing.connection.getTransceivers().filter(isVideo);
                     ben.on('stream', (peer, stream) => (of_ben = stream?.getTracks() ?? []));
                     await until(() => of_ben.length === 1);
                     const before = sections().length;
                     // Three more, of one who has published one.
                     const another = () => peer.connection.addTrack(media.getVideoTracks()[0].clone());
                     for (let more = 0; more < 3; more += 1) another();
                     await until(() => of_ben.length === 4);
                     return { before, after: sections().length, kinds: of_ben.map(({ kind }) => kind) };",
                )
                .await;
            assert_eq!(
                told,
                json!({ "before": 1, "after": 4, "kinds": ["video", "video", "video", "video"] })
            );
            page.close().await;
        }
    });
}

/// Where a viewer can begin is another thing in each codec.
#[test]
fn pictures_in_vp9_and_av1_are_seen_by_those_who_come_later() {
    in_network_namespace(async || {
        let server = Server::start(media()).await;
        let sends = |codec: &str| {
            format!(
                "(connection) => {{
                     const [video] = media.getVideoTracks();
                     const {{ codecs }} = RTCRtpReceiver.getCapabilities('video');
                     const only = codecs.filter(({{ mimeType }}) => mimeType === 'video/{codec}');
                     connection.addTransceiver(video, {{ direction: 'sendonly', streams: [media] }})
                         .setCodecPreferences(only);
                 }}"
            )
        };
        let one = joined_with(Kind::Chromium, server.port, &sends("VP9")).await;
        one.becomes("peer.state === 'connected'").await;
        let two = joined_with(Kind::Chromium, server.port, &sends("AV1")).await;
        let three = joined(Kind::Chromium, server.port).await;
        for (page, codecs) in [(&one, "AV1,VP8"), (&two, "VP8,VP9"), (&three, "AV1,VP9")] {
            sees(page, 2).await;
            let told = page
                .run(
                    "const stats = await peer.connection.getStats();
                     const received = [...stats.values()].filter(({ type, kind, framesDecoded }) =>
                         type === 'inbound-rtp' && kind === 'video' && framesDecoded > 0);
                     const names = received.map(({ codecId }) => stats.get(codecId).mimeType.slice(6));
                     return { names: names.sort().join(), errors };",
                )
                .await;
            assert_eq!(told, json!({ "names": codecs, "errors": [] }));
        }
        for page in [one, two, three] {
            page.close().await;
        }
    });
}
