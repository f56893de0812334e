//! Sound in step with the picture, as browsers play what comes through the room.

use std::time::Duration;

use integration_tests::recording::encoded;
use integration_tests::{
    CallPage, Kind, Moment, PATIENCE, Server, alone_in_network_namespace, until,
};
use tokio::time::Instant;

use crate::ours::Ours;
use crate::pictures::UNLIMITED;
use crate::sender::{Film, Manner, SILENCE, Sender};
use crate::{holds, keep_connection};

/// A sender shows a flash and sounds a beep at the same instant, once in a second. Its pictures come to the server
/// later than its sound. Browsers play both in step all the same: by the times of capture in the server's reports (RFC
/// 3550 §6.4.1), not by those of arrival.
#[test]
fn a_flash_and_a_beep_of_one_instant_are_played_together_though_pictures_come_late() {
    alone_in_network_namespace(async || {
        let (bars, tone) = (encoded("bars").await, encoded("libopus").await);
        // Key frames of the numbers 0 and 31: all bars are black, or white.
        let (black, white) = (&bars[0], &bars[310]);
        let film: Film =
            (0..20).map(|frame| if frame < 5 { white } else { black }.clone()).collect();
        let beep =
            (0..50).map(|packet| if packet < 12 { tone[20].clone() } else { SILENCE.to_vec() });
        let manner =
            Manner { film, sounds: beep.collect(), rate: 20, late: LATE, ..Manner::default() };
        let server = Server::of("media-room", &UNLIMITED).await;
        let ann = CallPage::open("Ann", Kind::Chromium, &server, "demo?synthetic").await;
        let bob = CallPage::open("Bob", Kind::Firefox, &server, "demo?synthetic").await;
        for page in [&ann, &bob] {
            page.browser().click("#camera").await;
            keep_connection(page).await;
        }
        let ours = Ours::start().await;
        let _sender = Sender::join(&ours, &server, ("demo", "Clapper"), manner).await;
        for page in [&ann, &bob] {
            holds(page.browser(), LISTENS, vec![]).await;
        }

        // Browsers move sound and picture into step over some seconds, once they have heard of their sender's clocks;
        // and over more of them where a busy machine holds packets up.
        let mut begun = [Instant::now(); 2];
        let apart = until("sound and picture in step", 3 * PATIENCE, async || {
            let mut apart = [None; 2];
            for (place, page) in [&ann, &bob].into_iter().enumerate() {
                apart[place] = page.browser().evaluate(APART, vec![]).await.as_f64();
                if apart[place].is_none_or(|apart| apart.abs() >= MOST_APART) {
                    begun[place] = Instant::now();
                }
            }
            let apart = format!("{apart:.0?} ms apart");
            match begun.iter().all(|begun| begun.elapsed() >= SETTLED) {
                true => Moment::Now(apart),
                false => Moment::NotYet(apart),
            }
        })
        .await;
        println!("{apart}");
        for page in [ann, bob] {
            page.close().await;
        }
    });
}

/// Time that pictures take longer than sound on their way to the server.
const LATE: Duration = Duration::from_millis(400);
/// Time after which they stay in step. Without such reports browsers would move them until they are that far apart, an
/// eighth of the way in each second; if sound was even later at first, they would be in step for a moment.
const SETTLED: Duration = Duration::from_secs(3);
/// Difference of sound and picture, in ms, from which on they are not in step.
const MOST_APART: f64 = 60.0;

/// Begins to note when frames are shown and sounds are played, and which are of a flash or beep. Tells whether it has
/// begun: not before there are a picture and sound.
const LISTENS: &str = "
    const { id } = window.callState.peers.find(({ name }) => name.startsWith('Clapper')) ?? {};
    const video = document.querySelector(`video[data-peer='${id}']`);
    if (video?.srcObject?.getTracks().length !== 2) return false;
    const of = (receiver) => video.srcObject.getAudioTracks().includes(receiver.track);
    const receiver = window.connection.getReceivers().find(of);
    // Each: when it was shown or played, its own time in ms, and whether it is of a flash or beep.
    const seen = [], heard = [];
    window.noted = { seen, heard };
    const canvas = Object.assign(document.createElement('canvas'), { width: 4, height: 4 });
    const pen = canvas.getContext('2d', { willReadFrequently: true });
    const shown = (_, { expectedDisplayTime, rtpTimestamp }) => {
        video.requestVideoFrameCallback(shown);
        pen.drawImage(video, 0, 0, 4, 4);
        seen.push([expectedDisplayTime, rtpTimestamp / 90, pen.getImageData(1, 1, 1, 1).data[0] > 128]);
    };
    video.requestVideoFrameCallback(shown);
    setInterval(() => {
        const [source] = receiver.getSynchronizationSources();
        if (!source) return;
        const now = performance.now();
        heard.push([now, source.rtpTimestamp / 48, source.audioLevel > 0.01]);
    }, 10);
    return true;";

/// Returns by how much flashes are shown later than beeps are played, in ms; nothing while that is not known.
const APART: &str = "
    const middle = (all) => all.sort((a, b) => a - b)[all.length >> 1];
    // In each second the same happens, so all counts as from -500 to 500.
    const around = (time) => ((time % 1000) + 1500) % 1000 - 500;
    // Its own time at which a flash or a beep begins. The first frame of one may have been left out, of all may not.
    const begin = (noted) => {
        const those = noted.filter(([, , is]) => is).map(([, time]) => time);
        return those[0] + Math.min(...those.map((time) => around(time - those[0])));
    };
    // How much later than its own time all is shown or played.
    const lag = (noted) => {
        const latest = noted.filter(([at]) => at > performance.now() - 2000).map(([at, time]) => at - time);
        return latest.length < 10 ? NaN : latest[0] + middle(latest.map((lag) => lag - latest[0]));
    };
    const [seen, heard] = [window.noted.seen, window.noted.heard].map((noted) => lag(noted) + begin(noted));
    const apart = around(seen - heard);
    return Number.isNaN(apart) ? null : apart;";
