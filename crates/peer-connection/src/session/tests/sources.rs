//! Tests of sources of RTP that a peer names or sends: the engine has streams for a limited number.

use super::SECOND;
use super::media::{frame, video};
use super::simulated_pair::Pair;
use crate::media::*;
use crate::sdp::Sdp;
use crate::*;

/// Returns an offer of this many sections of video, each with sources of its own from `first` on.
fn offer(sections: usize, sources: u32, first: u32) -> SessionDescription {
    let mids: Vec<String> = (0..sections).map(|at| at.to_string()).collect();
    let fingerprint = ["AB"; 32].join(":");
    let mut text = format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\na=fingerprint:sha-256 {fingerprint}\r\n",
        mids.join(" ")
    );
    for (at, mid) in (0..).zip(&mids) {
        text += &format!(
            "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:{mid}\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n\
             a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
        );
        let first = first + at * sources;
        for source in (first..first + sources).step_by(2) {
            text += &format!(
                "a=ssrc-group:FID {source} {0}\r\na=ssrc:{source} cname:c\r\na=ssrc:{0} cname:c\r\n",
                source + 1
            );
        }
    }
    SessionDescription::offer(text)
}

fn answer(pair: &mut Pair, offer: SessionDescription) {
    pair.b.session.set_remote_description(pair.now, offer).unwrap();
    pair.b.session.set_local_description(pair.now, None).unwrap();
}

/// Returns how many of these sources have a stream.
fn streams(pair: &mut Pair, sources: std::ops::Range<u32>) -> usize {
    sources.filter(|source| pair.b.session.engine.has_stream_of(*source)).count()
}

#[test]
fn each_section_of_a_large_offer_has_its_stream() {
    let mut pair = Pair::new();
    answer(&mut pair, offer(64, 2, 1));
    assert_eq!(streams(&mut pair, 0..1_000), 64);
}

#[test]
fn offers_that_name_ever_new_sources_make_no_more_streams_than_there_may_be() {
    let mut pair = Pair::new();
    for round in 0..3 {
        answer(&mut pair, offer(8, 250, 1 + 10_000 * round));
    }
    assert!((200..=512).contains(&streams(&mut pair, 0..40_000)));

    // A silent source makes room.
    pair.now += 61 * SECOND;
    answer(&mut pair, offer(8, 2, 50_000));
    assert_eq!(streams(&mut pair, 50_000..51_000), 8);
    assert!(streams(&mut pair, 0..60_000) <= 512);
}

/// Returns a packet of this source that names its section and an encoding, and that cannot be authenticated.
fn forged(source: u32, payload_type: u8, ids: (u8, u8), (mid, rid): (&str, &str)) -> Vec<u8> {
    let mut extensions = Vec::new();
    for (id, value) in [(ids.0, mid), (ids.1, rid)] {
        extensions.push(id << 4 | (value.len() as u8 - 1));
        extensions.extend(value.as_bytes());
    }
    extensions.resize(extensions.len().next_multiple_of(4), 0);
    let mut packet = vec![0x90, payload_type, 0, 1, 0, 0, 0, 1];
    packet.extend(source.to_be_bytes());
    packet.extend([0xbe, 0xde, 0, extensions.len() as u8 / 4]);
    packet.extend(extensions);
    packet.extend([7; 40]);
    packet
}

#[test]
fn packets_of_ever_new_sources_make_no_more_streams_than_there_may_be() {
    let mut pair = Pair::new();
    let now = pair.now;
    let sender = pair.a.session.add_track(now, video("camera")).unwrap();
    pair.negotiate();
    pair.connect();
    let transceiver = pair.b.session.transceivers()[0].clone();
    let (mid, payload_type) = (transceiver.mid.unwrap(), transceiver.codecs[0].0);
    let description = Sdp::parse(&pair.b.session.jsep().current_local().unwrap().description().sdp);
    let id = |name: &str| {
        let mut all = description.media()[0].attributes("extmap");
        let found = all.find(|one| one.ends_with(name)).unwrap();
        found.split(' ').next().unwrap().parse::<u8>().unwrap()
    };
    let ids = (id("sdes:mid"), id("sdes:rtp-stream-id"));

    let (from, to) = (pair.a.address, pair.b.address);
    for source in 0..2_000 {
        let packet = forged(source, payload_type, ids, (&mid, &format!("r{source}")));
        pair.b.session.handle_datagram(pair.now, pair.now, from, to, false, &packet);
    }
    let forged = streams(&mut pair, 0..2_000);
    assert!((100..=512).contains(&forged), "{forged}");
    assert!(pair.b.session.counters().datagrams_refused > 1_000);

    // The peer's real source was known before.
    let now = pair.now;
    pair.a.session.write_sample(now, sender, Sample::new(frame(3_000), SECOND / 30)).unwrap();
    pair.a.session.flush(now);
    pair.pass(SECOND);
    assert_eq!(pair.b.samples().len(), 1);
}
