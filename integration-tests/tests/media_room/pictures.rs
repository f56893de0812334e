//! What comes of the pictures of a sender of ours in browsers.

use callboard_peer_connection::VideoOrientation;
use integration_tests::{CallPage, Kind, in_network_namespace};
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
