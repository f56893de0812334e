//! Elements that show tracks of the others, and wish for them by their size and sight.

use integration_tests::{Kind, Moment, PATIENCE, in_network_namespace, until};
use serde_json::{Value, json};

use crate::page::Page;
use crate::server::{Server, Setup};
use crate::streams::{arrived, joined};

/// Layers by wishes alone, however busy the machine is.
fn setup() -> Setup {
    Setup { media: true, estimates: false, ..Setup::default() }
}

/// Opens a page that shows another's camera and microphone in an element of this style.
async fn viewer(kind: Kind, port: u16, style: &str) -> Page {
    let page = arrived(kind, port).await;
    page.run(&format!(
        "window.video = Object.assign(document.createElement('video'), {{ autoplay: true, muted: true, style: '{style}' }});
         document.body.prepend(video);
         [window.flow, window.camera] = [null, null];
         ann.on('flow', (now) => (window.flow = now));
         // The camera and the microphone of the other, each time that they are other tracks.
         ann.on('tracks', (all) => {{
             window.ids = all.map(({{ track }}) => track);
             window.camera = all.find(({{ kind }}) => kind === 'video')?.track;
             const before = window.end;
             window.end = ann.watch(video, ids);
             // Those that are shown in place of others are not ended with them.
             before?.();
         }});
         window.wished = [];
         const {{ send }} = WebSocket.prototype;
         WebSocket.prototype.send = function (text) {{
             if (String(text).includes('media:wish')) wished.push(JSON.parse(text).data);
             return send.call(this, text);
         }};
         window.moves = async () => {{
             const before = video.currentTime;
             await until(() => video.videoWidth > 0 && video.currentTime > before + 0.1);
             return video.srcObject.getTracks().map(({{ kind }}) => kind).sort().join();
         }};
         window.peer = ann.openPeerConnection({{ receive: {{ audio: 1, video: 1 }} }});"
    ))
    .await;
    page
}

/// Waits until the other's picture flows in this layer, or is in this state.
async fn flows(page: &Page, state: &str, layer: Option<&str>) {
    until(&format!("{state} {layer:?}"), PATIENCE, async || {
        let told = page
            .run(
                "const { clientWidth, clientHeight, videoWidth, videoHeight } = video;
                 const wishes = wished.slice(-2);
                 return { flow, camera, wishes, clientWidth, clientHeight, videoWidth, videoHeight }",
            )
            .await;
        let flow = &told["flow"];
        match flow["track"] == told["camera"]
            && flow["state"] == state
            && (layer.is_none() || flow["layer"] == json!(layer))
        {
            true => Moment::Now(()),
            false => Moment::NotYet(Value::to_string(&told)),
        }
    })
    .await;
}

const SMALL: &str = "width: 160px; height: 120px";

#[test]
fn elements_get_the_layer_that_they_need_in_chromium() {
    in_network_namespace(async || watches(Kind::Chromium, Kind::Firefox).await);
}

#[test]
fn elements_get_the_layer_that_they_need_in_firefox() {
    in_network_namespace(async || watches(Kind::Firefox, Kind::Chromium).await);
}

async fn watches(viewing: Kind, publishing: Kind) {
    let server = Server::start(setup()).await;
    let one = joined(publishing, server.port).await;
    let two = viewer(viewing, server.port, SMALL).await;
    flows(&two, "flowing", Some("h")).await;
    assert_eq!(two.run("return await moves()").await, json!("audio,video"));

    two.run("video.style = 'width: 640px; height: 480px'").await;
    flows(&two, "flowing", Some("f")).await;
    // A picture that is shown whole is lower than this element.
    two.run("video.style = 'width: 160px; height: 600px'").await;
    flows(&two, "flowing", Some("h")).await;

    // Out of sight, then back.
    two.run("video.style = 'width: 640px; height: 480px; position: absolute; top: 5000px'").await;
    flows(&two, "paused", None).await;
    two.run("video.style = 'width: 640px; height: 480px'").await;
    flows(&two, "flowing", Some("f")).await;
    assert_eq!(two.run("return await moves()").await, json!("audio,video"));

    // What the page wishes itself holds, as long as it does.
    two.run("ann.wish({ tracks: { [camera]: { height: 90 } } })").await;
    flows(&two, "flowing", Some("h")).await;
    two.run("ann.wish({})").await;
    flows(&two, "flowing", Some("f")).await;
    // The larger of two elements counts.
    two.run(&format!(
        "window.other = Object.assign(document.createElement('video'), {{ muted: true, autoplay: true }});
         document.body.prepend(other);
         other.style = video.style = '{SMALL}';
         window.endOther = ann.watch(other, camera);"
    ))
    .await;
    flows(&two, "flowing", Some("h")).await;
    two.becomes("other.videoWidth > 0").await;
    two.run("other.style = 'width: 640px; height: 480px'").await;
    flows(&two, "flowing", Some("f")).await;
    two.run("endOther(); other.remove();").await;
    flows(&two, "flowing", Some("h")).await;
    two.becomes("other.srcObject === null").await;
    one.close().await;
    two.close().await;
}

/// Pages as their browser says that they are, and elements in windows of their own: both are said by the test, because
/// browsers without a screen hide no page.
#[test]
fn what_is_shown_on_hidden_pages_is_paused_unless_it_is_in_a_window_of_its_own() {
    in_network_namespace(async || {
        let server = Server::start(setup()).await;
        let one = joined(Kind::Firefox, server.port).await;
        let two = viewer(Kind::Chromium, server.port, SMALL).await;
        flows(&two, "flowing", Some("h")).await;
        two.run(
            "window.says = (name, value) =>
                 Object.defineProperty(document, name, { configurable: true, get: () => value });
             window.turn = (now) => {
                 says('visibilityState', now);
                 document.dispatchEvent(new Event('visibilitychange'));
             };
             window.apart = (element) => {
                 says('pictureInPictureElement', element);
                 video.dispatchEvent(new Event(element ? 'enterpictureinpicture' : 'leavepictureinpicture'));
             };
             // One that was watched first, and is no more.
             window.end();
             window.first = document.createElement('video');
             const endFirst = ann.watch(first, ids);
             window.end = ann.watch(video, ids);
             endFirst();",
        )
        .await;
        flows(&two, "flowing", Some("h")).await;
        two.run("turn('hidden')").await;
        flows(&two, "paused", None).await;
        two.run("apart(video)").await;
        flows(&two, "flowing", Some("h")).await;
        two.run("apart(null)").await;
        flows(&two, "paused", None).await;
        two.run("turn('visible')").await;
        flows(&two, "flowing", Some("h")).await;
        assert_eq!(two.run("return await moves()").await, json!("audio,video"));

        // The same out of sight.
        two.run("video.style.cssText += '; position: absolute; top: 5000px'").await;
        flows(&two, "paused", None).await;
        two.run("apart(video)").await;
        flows(&two, "flowing", Some("h")).await;
        two.run("apart(null)").await;
        flows(&two, "paused", None).await;
        assert_eq!(two.run("return errors").await, json!([]));
        one.close().await;
        two.close().await;
    });
}

#[test]
fn elements_that_have_left_the_page_are_watched_until_their_tracks_are_gone() {
    in_network_namespace(async || {
        let server = Server::start(setup()).await;
        let one = joined(Kind::Chromium, server.port).await;
        let two = viewer(Kind::Chromium, server.port, SMALL).await;
        flows(&two, "flowing", Some("h")).await;
        two.run(
            "window.over = [];
             const { unobserve } = IntersectionObserver.prototype;
             IntersectionObserver.prototype.unobserve = function (element) {
                 over.push(element);
                 return unobserve.call(this, element);
             };
             window.sound = new Audio();
             window.gone = document.createElement('video');
             window.kept = document.createElement('video');
             document.body.append(gone, kept);
             for (const element of [sound, gone, kept]) {
                 Object.assign(element, { autoplay: true, muted: true });
                 ann.watch(element, ids);
             }
             gone.remove();
             // Tracks that no one knows for a while, with another connection.
             window.before = peer.connection;
             await ann.call('test', 'kill_connection');",
        )
        .await;
        two.becomes("peer.connection !== before && peer.state === 'connected'").await;
        for element in ["sound", "gone", "kept"] {
            two.becomes(&format!("{element}.srcObject?.getTracks().length === 2")).await;
        }
        let over = "return [sound, gone, kept].map((element) => over.includes(element))";
        assert_eq!(two.run(over).await, json!([false, false, false]));

        one.close().await;
        two.becomes("over.includes(sound) && over.includes(gone)").await;
        for element in ["sound", "gone", "kept"] {
            two.becomes(&format!("{element}.srcObject === null")).await;
        }
        // It may show others.
        assert_eq!(two.run(over).await, json!([true, true, false]));
        assert_eq!(two.run("return errors").await, json!([]));
        two.close().await;
    });
}

#[test]
fn elements_go_on_with_other_connections_until_they_are_ended() {
    in_network_namespace(async || {
        let server = Server::start(setup()).await;
        let one = joined(Kind::Chromium, server.port).await;
        let two = viewer(Kind::Firefox, server.port, SMALL).await;
        two.becomes("video.srcObject?.getTracks().length === 2").await;
        assert_eq!(two.run("return await moves()").await, json!("audio,video"));
        for page in [&one, &two] {
            two.run("[window.earlier, window.shown_before] = [ids, video.srcObject.getTracks()]")
                .await;
            page.run("window.before = peer.connection; await ann.call('test', 'kill_connection');")
                .await;
            page.becomes("peer.connection !== before && peer.state === 'connected'").await;
            // Those of another connection.
            two.becomes(
                "video.srcObject?.getTracks().length === 2
                     && (ids.every((id) => !earlier.includes(id))
                         || video.srcObject.getTracks().every((track) => !shown_before.includes(track)))",
            )
            .await;
            flows(&two, "flowing", Some("h")).await;
            assert_eq!(two.run("return await moves()").await, json!("audio,video"));
        }

        // Without the element's wish the highest comes.
        two.run("end()").await;
        flows(&two, "flowing", Some("f")).await;
        two.becomes("video.srcObject === null").await;
        // It can be watched again, until the client has left.
        two.run("window.end = ann.watch(video, ids)").await;
        flows(&two, "flowing", Some("h")).await;
        two.becomes("video.srcObject !== null").await;
        two.run("ann.close()").await;
        two.becomes("video.srcObject === null").await;
        two.run("end(); ann.watch(video, ids)();").await;
        for page in [one, two] {
            assert_eq!(page.run("return errors").await, json!([]));
            page.close().await;
        }
    });
}
