//! Entry points of the fuzz targets: two connections, without sockets, in simulated time.

use std::time::Duration;

use crate::session::simulated_pair::Pair;
use crate::*;

/// Runs offers, answers, candidates and what an application does between them, in an order that the bytes choose; and a
/// description that the bytes have changed.
pub fn descriptions(bytes: &[u8]) {
    let mut pair = Pair::new();
    let mut made: Vec<SessionDescription> = Vec::new();
    let mut bytes = bytes.iter().copied();
    while let Some(step) = bytes.next() {
        let now = pair.now;
        let of_a = step & 0x80 == 0;
        let peer = if of_a { &mut pair.a } else { &mut pair.b };
        let session = &mut peer.session;
        let transceiver = session.transceivers().first().map(|one| (one.id, one.sender));
        match step & 0x1f {
            0 => made.extend(session.create_offer(step & 0x20 > 0)),
            1 => made.extend(session.create_answer(now)),
            2 => _ = session.set_local_description(now, None),
            3 => _ = session.set_local_description(now, Some(SessionDescription::rollback())),
            4 => _ = session.set_remote_description(now, SessionDescription::rollback()),
            5..=8 => {
                let at = usize::from(bytes.next().unwrap_or_default());
                if let Some(description) = made.get(at % made.len().max(1)).cloned() {
                    _ = match step & 1 {
                        0 => session.set_local_description(now, Some(description)),
                        _ => session.set_remote_description(now, description),
                    };
                }
            }
            9 => {
                let options = DataChannelOptions {
                    negotiated: (step & 0x20 > 0)
                        .then(|| u16::from(bytes.next().unwrap_or_default()) * 4),
                    ..DataChannelOptions::default()
                };
                _ = session.create_data_channel(now, "x".to_owned(), options);
            }
            10 | 11 => {
                let codec = if step & 1 > 0 { "audio/opus" } else { "video" };
                let track = LocalTrack::new(RtpCodecCapability::new(codec), format!("{step}"), "s");
                _ = session.add_track(now, track);
            }
            12 => {
                if let Some((id, _)) = transceiver {
                    _ = session.change(now, |all| all.stop(id));
                }
            }
            13 => {
                if let Some((_, sender)) = transceiver {
                    _ = session.change(now, |all| all.remove_track(sender));
                }
            }
            14 => {
                if let Some((id, _)) = transceiver {
                    let direction = Direction::new(step & 0x20 > 0, step & 0x40 > 0);
                    _ = session
                        .change(now, |all| all.usable(id).map(|one| one.direction = direction));
                }
            }
            15 => session.restart_ice(now),
            16 => pair.pass(Duration::from_millis(u64::from(bytes.next().unwrap_or_default()))),
            17 => pair.pass(Duration::from_secs(u64::from(bytes.next().unwrap_or_default() % 8))),
            18..=20 => {
                // A description that was created, with one line removed, doubled, cut or moved.
                let (at, line) =
                    (bytes.next().unwrap_or_default(), bytes.next().unwrap_or_default());
                if let Some(description) = made.get(usize::from(at) % made.len().max(1)) {
                    let mut lines: Vec<&str> = description.sdp.split_inclusive('\n').collect();
                    let line = usize::from(line) % lines.len().max(1);
                    if lines.is_empty() {
                        continue;
                    }
                    match step & 0x60 {
                        0 => _ = lines.remove(line),
                        0x20 => lines.insert(line, lines[line]),
                        0x40 => lines.swap(line, 0),
                        _ => lines[line] = &lines[line][..lines[line].len() / 2],
                    }
                    made.push(SessionDescription { kind: description.kind, sdp: lines.concat() });
                }
            }
            21 => {
                for description in &mut made {
                    description.kind = match description.kind {
                        SdpType::Answer => SdpType::ProvisionalAnswer,
                        SdpType::ProvisionalAnswer => SdpType::Answer,
                        other => other,
                    };
                }
            }
            22 => _ = session.stats(now),
            23 => {
                let candidate = IceCandidate {
                    candidate: "candidate:1 1 udp 1 10.0.0.1 1111 typ host".to_owned(),
                    sdp_m_line_index: Some(u16::from(step >> 5)),
                    ..IceCandidate::default()
                };
                _ = session.add_ice_candidate(now, Some(candidate));
            }
            _ => pair.settle(),
        }
        if made.len() > 64 {
            made.remove(0);
        }
    }
    pair.pass(Duration::from_secs(1));
}

/// Sets the text as an offer of the peer.
pub fn offer(text: &str) {
    let mut pair = Pair::new();
    let now = pair.now;
    if pair.b.session.set_remote_description(now, SessionDescription::offer(text)).is_ok() {
        _ = pair.b.session.set_local_description(now, None);
        if let Ok(offer) = pair.b.session.create_offer(false) {
            _ = pair.b.session.set_local_description(now, Some(offer));
        }
        pair.pass(Duration::from_millis(100));
    }
}

/// Sends datagrams to a connected connection, each behind its length.
pub fn datagrams(mut bytes: &[u8]) {
    let mut pair = Pair::new();
    let now = pair.now;
    let track = LocalTrack::new(RtpCodecCapability::new("video/VP8"), "v", "s");
    _ = pair.a.session.add_track(now, track);
    pair.channel("x", DataChannelOptions::default());
    pair.negotiate();
    pair.until(Duration::from_secs(5), Pair::connected);
    while let Some((&length, rest)) = bytes.split_first() {
        let (datagram, rest) = rest.split_at(rest.len().min(usize::from(length) * 4));
        bytes = rest;
        let (now, from, to) = (pair.now, pair.b.address, pair.a.address);
        let stun = datagram.first().is_some_and(|first| *first < 4);
        pair.a.session.handle_datagram(now, now, from, to, stun, datagram);
    }
    pair.pass(Duration::from_millis(100));
}
