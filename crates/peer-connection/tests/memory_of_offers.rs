//! Offers of many sections are dear, and leave nothing behind. A test of its own, since it weighs its process.

mod peers;

use std::path::PathBuf;

use callboard_peer_connection::messages::*;
use callboard_peer_connection::sdp::Sdp;
use callboard_peer_connection::*;
use peers::*;

/// An offer of so many sections of video, each as Chromium writes it.
fn offer(sections: usize) -> String {
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

/// Connections that have answered and never see a peer.
async fn answered(home: &PeerConnections, count: usize, offer: &str) -> Vec<Peer> {
    let api = Api::default();
    let mut peers = Vec::new();
    for _ in 0..count {
        let peer = Peer::open(home, &api).await;
        peer.send(SetRemoteDescription(SessionDescription::offer(offer))).await.unwrap();
        peer.send(SetLocalDescription(None)).await.unwrap();
        assert_eq!(peer.send(GetAnsweredSections).await.taken, 64);
        peers.push(peer);
    }
    peers
}

async fn close(peers: Vec<Peer>) {
    for peer in &peers {
        peer.connection.close().await;
    }
    for peer in &peers {
        peer.gone().await;
    }
}

#[actix::test]
async fn what_connections_of_many_sections_have_taken_serves_the_next() {
    let home = home().await;
    let offer = offer(64);
    // What a process makes once for all.
    close(answered(&home, 2, &offer).await).await;
    let before = resident();

    let mut peaks = Vec::new();
    for _ in 0..3 {
        let peers = answered(&home, CONNECTIONS, &offer).await;
        peaks.push(resident());
        close(peers).await;
    }

    // The allocator may keep it, but what is closed has given it back: the next ones need no more.
    let grown = peaks[0].saturating_sub(before);
    println!("{} bytes for each; {before} before, {peaks:?} with all", grown / CONNECTIONS);
    let more = peaks[2].saturating_sub(peaks[0]);
    assert!(more < grown / 4, "{more} bytes more, where {grown} were enough");
    home.stop().await;
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

const CONNECTIONS: usize = 10;
