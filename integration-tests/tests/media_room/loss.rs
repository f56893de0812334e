//! Pictures and sound over a path that loses packets.

use integration_tests::{
    CallPage, Kind, Moment, Namespace, PATIENCE, Server, alone_in_network_namespace, until,
};
use serde_json::Value;

use crate::ours::Ours;
use crate::pictures::UNLIMITED;
use crate::sender::{Manner, Sender, notes};
use crate::{holds, keep_connection, sees};

/// Each datagram of any member, in either direction, is lost with a probability of 5 %: of what one sends to another, 1
/// of 10. What is lost of a picture is sent again (RFC 4585 §6.2.1, RFC 4588), and what is lost of sound is concealed.
#[test]
fn pictures_and_sound_go_on_where_5_of_100_packets_are_lost() {
    alone_in_network_namespace(async || {
        let server = Server::of("media-room", &UNLIMITED).await;
        let ours = Ours::start().await;
        let manner = Manner { packets: 4, sounds: notes(), ..Manner::default() };
        let camera = Sender::join(&ours, &server, ("demo", "Camera"), manner).await;
        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo?synthetic").await;
        let bob = CallPage::open("Bob", Kind::Firefox, &server, "demo?synthetic").await;
        let pages = [&ann, &bob];
        for page in pages {
            keep_connection(page).await;
            holds(page.browser(), WATCHES, vec![]).await;
        }

        Namespace::current().nft(LOSS);
        // On a machine that is busy at times, each page sees well at some time.
        let (mut blind, mut all_seen) = (pages.to_vec(), Vec::new());
        for _ in 0..TIMES {
            for page in &blind {
                page.browser().evaluate(BEGINS, vec![]).await;
            }
            let before = camera.frames();
            until("120 frames", PATIENCE, async || match camera.frames() - before {
                120.. => Moment::Now(()),
                sent => Moment::NotYet(format!("{sent} frames")),
            })
            .await;
            let mut still_blind = Vec::new();
            for page in blind {
                let sent = camera.frames() - before;
                let seen = page.browser().evaluate(SINCE, vec![]).await;
                println!("of {sent} frames: {seen}");
                if !goes_on(sent, &seen) {
                    still_blind.push(page);
                }
                all_seen.push(seen);
            }
            blind = still_blind;
            if blind.is_empty() {
                break;
            }
        }
        assert!(blind.is_empty(), "{} pages never see well: {all_seen:?}", blind.len());

        // And those that browsers send.
        for page in pages {
            sees(page, 2).await;
        }
        for page in [ann, bob] {
            page.close().await;
        }
    });
}

/// Returns whether pictures and sound went on at a page where packets were lost and sent again, while so many frames
/// were sent.
fn goes_on(sent: u64, seen: &Value) -> bool {
    let of = |what: &str| seen[what].as_u64().unwrap_or_else(|| panic!("{what}: {seen}"));
    // Firefox does not say what was sent again.
    let is_mended = of("asked") >= 5 && seen["again"].as_u64().is_none_or(|again| again >= 5);
    // Decoders that miss a packet for good ask for a key frame after 3 s. Of sound, 20 ms are concealed for each packet
    // that is lost, and some more where a busy machine holds packets up.
    is_mended
        && of("frames") * 10 >= sent * 8
        && of("longest") < 2_500
        && of("samples") > 48_000
        && of("concealed") * 10 <= of("samples") * 4
}

/// Times that a page is watched at most.
const TIMES: usize = 6;

/// Drops 5 of 100 datagrams as they come in, in either direction.
const LOSS: &str = "table inet lossy {
    chain arriving {
        type filter hook input priority 0;
        meta l4proto udp numgen random mod 100 < 5 drop
    }
}";

/// Begins to watch the camera. Tells whether it has begun: not before its picture is shown.
const WATCHES: &str = "
    const { id } = window.callState.peers.find(({ name }) => name.startsWith('Camera')) ?? {};
    const video = document.querySelector(`video[data-peer='${id}']`);
    if (!video?.videoWidth || video.srcObject.getTracks().length !== 2) return false;
    window.seen = { longest: 0, last: performance.now() };
    const shown = (now) => {
        const { seen } = window;
        [seen.longest, seen.last] = [Math.max(seen.longest, now - seen.last), now];
        video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
    window.count = async () => {
        const all = [...(await window.connection.getStats()).values()].filter(({ type }) => type === 'inbound-rtp');
        const of = ([track]) => all.find(({ trackIdentifier }) => trackIdentifier === track.id);
        const [seen, heard] = [of(video.srcObject.getVideoTracks()), of(video.srcObject.getAudioTracks())];
        return {
            frames: seen.framesDecoded, asked: seen.nackCount, again: seen.retransmittedPacketsReceived,
            samples: heard.totalSamplesReceived, concealed: heard.concealedSamples,
        };
    };
    return true;";

/// Begins to count.
const BEGINS: &str = "
    window.before = await window.count();
    window.seen.longest = 0;
    window.seen.last = performance.now();";

/// Returns what was counted since then, and the longest time in ms between two frames.
const SINCE: &str = "
    const { longest, last } = window.seen;
    const now = await window.count();
    const since = Object.keys(now).map((what) => [what, now[what] - window.before[what]]);
    return { longest: Math.round(Math.max(longest, performance.now() - last)), ...Object.fromEntries(since) }";
