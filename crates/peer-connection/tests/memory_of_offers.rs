//! Tests of the memory that offers keep in a connection, and that nothing is left of closed connections. They count
//! live bytes, without those that the allocator keeps for itself. They have a file of their own, since they measure the
//! memory of their process.

mod peers;

use std::path::PathBuf;
use std::time::Duration;

use callboard_peer_connection::messages::*;
use callboard_peer_connection::sdp::Sdp;
use callboard_peer_connection::*;
use peak_alloc::PeakAlloc;
use peers::*;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;
/// Lock that runs the tests of this process one after the other.
static SCALES: Mutex<()> = Mutex::const_new(());

/// Returns an offer of this many sections of video, each as Chromium writes it.
fn chromium(sections: usize) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sdp");
    let text = std::fs::read_to_string(folder.join("chromium-offer-video.sdp")).unwrap();
    let mut sdp = Sdp::parse(&text);
    let section = sdp.media()[0].clone();
    let mids: Vec<String> = (0..sections).map(|at| at.to_string()).collect();
    *sdp.media_mut() = mids
        .iter()
        .map(|mid| {
            let mut section = section.clone();
            section.set_attribute("mid", mid);
            section.remove_attributes("ssrc");
            section.remove_attributes("ssrc-group");
            section
        })
        .collect();
    sdp.set_bundle(&mids.iter().map(String::as_str).collect::<Vec<_>>());
    sdp.to_string()
}

/// Returns an offer with this many more lines in each section, within the size limit.
fn swollen(sections: usize, lines: usize, line: impl Fn(usize) -> String) -> String {
    let mids: Vec<String> = (0..sections).map(|at| at.to_string()).collect();
    let fingerprint = ["AB"; 32].join(":");
    let mut text = format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\na=fingerprint:sha-256 {fingerprint}\r\n",
        mids.join(" ")
    );
    for mid in mids {
        text += "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\na=rtcp-mux\r\na=sendrecv\r\n";
        text += &format!("a=mid:{mid}\r\n");
        for at in 0..lines {
            let line = line(at + lines * mid.parse::<usize>().unwrap());
            if text.len() + line.len() < (1 << 20) - 16_384 {
                text += &format!("{line}\r\n");
            }
        }
    }
    text
}

/// Returns a connection that has answered and never sees a peer.
async fn answered(pool: &PeerConnections, offer: &str) -> Peer {
    let peer = Peer::open(pool, &Api::default()).await;
    peer.send(SetRemoteDescription(SessionDescription::offer(offer))).await.unwrap();
    peer.send(SetLocalDescription(None)).await.unwrap();
    peer
}

async fn close(peer: Peer) {
    peer.connection.close().await;
    peer.gone().await;
}

/// Returns the live bytes, once they are below this bound: other threads soon drop what they hold.
async fn settled(bound: usize) -> usize {
    let below = async {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        while HEAP.current_usage() > bound {
            looks.tick().await;
        }
    };
    _ = timeout(PATIENCE, below).await;
    HEAP.current_usage()
}

#[actix::test]
async fn nothing_is_left_of_connections_with_dear_offers() {
    let _alone = SCALES.lock().await;
    let pool = pool().await;
    let offer = chromium(64);
    // What a process allocates only once.
    for _ in 0..3 {
        close(answered(&pool, &offer).await).await;
    }
    let before = HEAP.current_usage();

    let began = Instant::now();
    let (mut count, mut heaviest) = (0, 0);
    while count < MOST && (count < FEWEST || began.elapsed() < ENOUGH) {
        let empty = HEAP.current_usage();
        let peer = answered(&pool, &offer).await;
        assert_eq!(peer.send(GetAnsweredSections).await.taken, 64);
        heaviest = heaviest.max(HEAP.current_usage().saturating_sub(empty));
        close(peer).await;
        count += 1;
    }

    // Queues and tables of the process grow by steps; this is a sixth of a connection's memory.
    let after = settled(before + NOISE).await;
    println!("{before} bytes before, {after} after {count} connections of {heaviest}");
    assert!(heaviest > 4 * NOISE, "{heaviest}");
    assert!(after < before + NOISE, "{before} bytes before, {after} after {count} connections");
    pool.stop().await;
}

#[actix::test]
async fn what_an_offer_has_a_connection_keep_is_bounded() {
    let _alone = SCALES.lock().await;
    let pool = pool().await;
    let offers = [
        ("Chromium's", chromium(64)),
        ("lines that mean nothing", swollen(64, 480, |at| format!("a=x:{at:027}"))),
        ("lines of one letter", swollen(64, 480, |_| "a".to_owned())),
        ("long lines", swollen(1, 480, |at| format!("a=x:{at:02000}"))),
        (
            "candidates",
            swollen(64, 480, |at| {
                format!("a=candidate:1 1 udp {at} 10.0.{}.1 9 typ host", at % 256)
            }),
        ),
        ("sources", swollen(64, 256, |at| format!("a=ssrc:{} cname:abcdefghijkl", at + 1))),
        (
            "header extensions",
            swollen(64, 480, |at| format!("a=extmap:{} urn:x:{at:020}", at % 256)),
        ),
        ("parameters", swollen(1, 16, |at| format!("a=fmtp:96 x={at:060000}"))),
        ("streams", swollen(1, 8, |at| format!("a=msid:{at:060000} {at:060000}"))),
    ];
    let mut wrong = Vec::new();
    for (name, offer) in &offers {
        // The first connection allocates what is allocated only once.
        close(answered(&pool, offer).await).await;
        let empty = HEAP.current_usage();
        let peer = answered(&pool, offer).await;
        let kept = HEAP.current_usage().saturating_sub(empty);
        println!("{name}: {} bytes, kept {kept}", offer.len());
        if kept > BOUND.0 * offer.len() + BOUND.1 {
            wrong.push((name, offer.len(), kept));
        }
        close(peer).await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    pool.stop().await;
}

/// Bound of a connection's memory: twice the text (it, and what later descriptions are compared with), and what the
/// engine needs for 64 sections with 512 sources, in bytes.
const BOUND: (usize, usize) = (2, 3 << 19);
/// Tolerance in bytes.
const NOISE: usize = 128 << 10;
/// Fewest connections: as many as there is time for.
const FEWEST: usize = 8;
const MOST: usize = 600;
const ENOUGH: Duration = Duration::from_secs(15);
