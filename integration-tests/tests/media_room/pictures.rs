//! What comes of the pictures of a sender of ours in browsers: turned ones, and those of a stream whose numbers have
//! wrapped.

use callboard_peer_connection::VideoOrientation;
use integration_tests::{CallPage, Kind, Moment, PATIENCE, Server, in_network_namespace, until};
use serde_json::json;

use crate::ours::Ours;
use crate::sender::{Manner, Sender};
use crate::{holds, sees, server};

/// Firefox does not offer the extension (urn:3gpp:video-orientation), so it gets none, and shows what was coded.
#[test]
fn a_picture_is_turned_as_its_sender_says() {
    in_network_namespace(async || {
        let server = server().await;
        let ours = Ours::start().await;
        let size =
            "const { videoWidth, videoHeight } = document.querySelector('video[data-peer]') ?? {};
             return videoWidth === arguments[0] && videoHeight === arguments[1]
                 || JSON.stringify([videoWidth, videoHeight])";
        for (name, orientation, turned) in [
            ("quarter", Some(VideoOrientation::Quarter), true),
            ("half", Some(VideoOrientation::Half), false),
            ("plain", None, false),
        ] {
            let manner = Manner { orientation, ..Manner::default() };
            let sender = Sender::join(&ours, &server, (name, "Phone"), manner).await;
            for kind in [Kind::Chromium, Kind::Firefox] {
                let page = CallPage::open(name, kind, &server, name).await;
                sees(&page, 1).await;
                let (width, height) = match turned && kind == Kind::Chromium {
                    true => (180, 320),
                    false => (320, 180),
                };
                holds(page.browser(), size, vec![json!(width), json!(height)]).await;
                page.close().await;
            }
            drop(sender);
        }
    });
}

/// A viewer that comes after 70,000 packets does not know how often the numbers of 16 bits have wrapped on the way to
/// the server (RFC 3711 §3.3.1).
#[test]
fn a_viewer_sees_the_picture_also_when_it_comes_after_its_numbers_have_wrapped() {
    in_network_namespace(async || {
        let server = Server::of("media-room", &UNLIMITED).await;
        let ours = Ours::start().await;
        let manner = Manner { crumbs: 70_000, rate: 40, ..Manner::default() };
        let sender = Sender::join(&ours, &server, ("demo", "Camera"), manner).await;
        until("numbers that have wrapped", PATIENCE, async || match sender.number() {
            number if number > 70_000 => Moment::Now(()),
            number => Moment::NotYet(format!("{number} is next")),
        })
        .await;

        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo?synthetic").await;
        sees(&ann, 1).await;
        let bob = CallPage::open("Bob", Kind::Firefox, &server, "demo?synthetic").await;
        sees(&bob, 2).await;
        for page in [ann, bob] {
            page.close().await;
        }
    });
}

/// Arguments of a server that sends all to every viewer: on a busy machine estimates of bandwidth would be low.
pub(crate) const UNLIMITED: [&str; 4] = ["--listen", "127.0.0.1:0", "--first-estimate", "0"];
