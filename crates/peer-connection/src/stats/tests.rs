//! Tests that the dictionaries have the JSON that they had when it was written by hand.

use serde_json::json;

use super::*;

const AT: f64 = 1_500.5;

fn transport() -> TransportStats {
    TransportStats {
        id: "ice_transport".to_owned(),
        timestamp: AT,
        bytes_sent: 1,
        bytes_received: 2,
        packets_sent: 3,
        packets_received: 4,
        ice_state: IceConnectionState::Completed,
        dtls_state: DtlsTransportState::Connected,
        dtls_role: Some(Role::Server).into(),
        selected_candidate_pair_changes: 1,
        local_certificate_id: "CF1".to_owned(),
        ice_local_username_fragment: Some("ufrag".to_owned()),
        tls_version: Some(Version::Dtls13.into()),
        srtp_cipher: Some(srtp_cipher(SrtpProfile::Aes128Gcm)),
        selected_candidate_pair_id: Some("CP1".to_owned()),
        remote_certificate_id: Some("CF2".to_owned()),
    }
}

fn candidate() -> IceCandidateStats {
    IceCandidateStats {
        id: "I1".to_owned(),
        timestamp: AT,
        transport_id: "ice_transport".to_owned(),
        address: "192.0.2.1".to_owned(),
        port: 5,
        protocol: "udp",
        candidate_type: CandidateType::ServerReflexive,
        priority: Some(6),
        foundation: Some("f".to_owned()),
        username_fragment: Some("ufrag".to_owned()),
        url: Some("stun:192.0.2.9:3478".to_owned()),
    }
}

fn pair() -> IceCandidatePairStats {
    IceCandidatePairStats {
        id: "CP1".to_owned(),
        timestamp: AT,
        transport_id: "ice_transport".to_owned(),
        local_candidate_id: "I1".to_owned(),
        remote_candidate_id: "R1".to_owned(),
        state: "succeeded",
        nominated: true,
        packets_sent: 1,
        packets_received: 2,
        bytes_sent: 3,
        bytes_received: 4,
        total_round_trip_time: 0.5,
        responses_received: 5,
        current_round_trip_time: Some(0.25),
        available_outgoing_bitrate: Some(300_000),
    }
}

/// The members as they were when they were written by hand, each beside W3C's specification.
#[test]
fn the_transport_and_its_candidates_have_w3cs_json() {
    let mut report = StatsReport::default();
    report.add(transport());
    report.add(Stats::LocalCandidate(candidate()));
    let (id, kind) = ("R1".to_owned(), CandidateType::PeerReflexive);
    report.add(Stats::RemoteCandidate(IceCandidateStats {
        id,
        candidate_type: kind,
        priority: None,
        foundation: None,
        username_fragment: None,
        url: None,
        ..candidate()
    }));
    report.add(pair());

    let expected = json!({
        "ice_transport": {
            "id": "ice_transport", "type": "transport", "timestamp": 1500.5, "bytesSent": 1,
            "bytesReceived": 2, "packetsSent": 3, "packetsReceived": 4,
            "iceState": "completed", "iceLocalUsernameFragment": "ufrag",
            "dtlsState": "connected", "dtlsRole": "server", "tlsVersion": "FEFC",
            "srtpCipher": "AEAD_AES_128_GCM", "selectedCandidatePairId": "CP1",
            "selectedCandidatePairChanges": 1, "localCertificateId": "CF1",
            "remoteCertificateId": "CF2",
        },
        "I1": {
            "id": "I1", "type": "local-candidate", "timestamp": 1500.5,
            "transportId": "ice_transport", "address": "192.0.2.1", "port": 5,
            "protocol": "udp", "candidateType": "srflx", "priority": 6, "foundation": "f",
            "usernameFragment": "ufrag", "url": "stun:192.0.2.9:3478",
        },
        "R1": {
            "id": "R1", "type": "remote-candidate", "timestamp": 1500.5,
            "transportId": "ice_transport", "address": "192.0.2.1", "port": 5,
            "protocol": "udp", "candidateType": "prflx",
        },
        "CP1": {
            "id": "CP1", "type": "candidate-pair", "timestamp": 1500.5,
            "transportId": "ice_transport", "localCandidateId": "I1",
            "remoteCandidateId": "R1", "state": "succeeded", "nominated": true,
            "packetsSent": 1, "packetsReceived": 2, "bytesSent": 3, "bytesReceived": 4,
            "currentRoundTripTime": 0.25, "totalRoundTripTime": 0.5, "responsesReceived": 5,
            "availableOutgoingBitrate": 300000,
        },
    });
    assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    assert_eq!(report.of::<TransportStats>().next(), Some(&transport()));
    assert_eq!(report.of::<IceCandidateStats>().count(), 2);
}

#[test]
fn before_a_handshake_the_transport_leaves_out_what_is_unknown() {
    let unknown = TransportStats {
        ice_state: IceConnectionState::New,
        dtls_state: DtlsTransportState::New,
        dtls_role: None.into(),
        selected_candidate_pair_changes: 0,
        ice_local_username_fragment: None,
        tls_version: None,
        srtp_cipher: None,
        selected_candidate_pair_id: None,
        remote_certificate_id: None,
        ..transport()
    };
    let expected = json!({
        "id": "ice_transport", "type": "transport", "timestamp": 1500.5, "bytesSent": 1,
        "bytesReceived": 2, "packetsSent": 3, "packetsReceived": 4, "iceState": "new",
        "dtlsState": "new", "dtlsRole": "unknown", "selectedCandidatePairChanges": 0,
        "localCertificateId": "CF1",
    });
    assert_eq!(serde_json::to_value(Stats::from(unknown)).unwrap(), expected);
}

#[test]
fn streams_and_codecs_have_w3cs_json() {
    let transport_id = || "ice_transport".to_owned();
    let mut report = StatsReport::default();
    report.add(CodecStats {
        id: "C96".to_owned(),
        timestamp: AT,
        transport_id: transport_id(),
        payload_type: 96,
        mime_type: "video/VP8".to_owned(),
        clock_rate: 90_000,
        channels: None,
        sdp_fmtp_line: Some("max-fr=30".to_owned()),
    });
    report.add(InboundRtpStreamStats {
        id: "IT0-hi".to_owned(),
        timestamp: AT,
        transport_id: transport_id(),
        kind: TrackKind::Video,
        packets_received: 1,
        bytes_received: 2,
        jitter: 0.5,
        mid: Some("0".to_owned()),
        rid: Some("hi".to_owned()),
        ssrc: Some(3),
        remote_id: Some("RO0-hi".to_owned()),
        nack_count: Some(4),
        pli_count: Some(5),
        fir_count: Some(6),
        frames_received: Some(7),
        key_frames_received: Some(8),
        fraction_lost: Some(0.25),
    });
    report.add(OutboundRtpStreamStats {
        id: "OT1".to_owned(),
        timestamp: AT,
        transport_id: transport_id(),
        kind: TrackKind::Audio,
        active: true,
        packets_sent: 1,
        bytes_sent: 2,
        nack_count: 3,
        mid: Some("1".to_owned()),
        rid: None,
        ssrc: Some(4),
        remote_id: None,
        pli_count: None,
        fir_count: None,
    });
    report.add(RemoteInboundRtpStreamStats {
        id: "RI1".to_owned(),
        timestamp: AT,
        transport_id: transport_id(),
        kind: TrackKind::Audio,
        local_id: "OT1".to_owned(),
        packets_lost: 1,
        jitter: 0.5,
        ssrc: Some(4),
        fraction_lost: Some(0.25),
        round_trip_time: Some(0.125),
    });
    report.add(RemoteOutboundRtpStreamStats {
        id: "RO0-hi".to_owned(),
        timestamp: AT,
        transport_id: transport_id(),
        kind: TrackKind::Video,
        local_id: "IT0-hi".to_owned(),
        packets_sent: 1,
        bytes_sent: 2,
        ssrc: Some(3),
        round_trip_time: None,
    });

    let expected = json!({
        "C96": {
            "id": "C96", "type": "codec", "timestamp": 1500.5, "transportId": "ice_transport",
            "payloadType": 96, "mimeType": "video/VP8", "clockRate": 90000,
            "sdpFmtpLine": "max-fr=30",
        },
        "IT0-hi": {
            "id": "IT0-hi", "type": "inbound-rtp", "timestamp": 1500.5,
            "transportId": "ice_transport", "kind": "video", "mid": "0", "rid": "hi",
            "ssrc": 3, "remoteId": "RO0-hi", "packetsReceived": 1, "bytesReceived": 2,
            "jitter": 0.5, "nackCount": 4, "pliCount": 5, "firCount": 6, "framesReceived": 7,
            "keyFramesReceived": 8, "fractionLost": 0.25,
        },
        "OT1": {
            "id": "OT1", "type": "outbound-rtp", "timestamp": 1500.5,
            "transportId": "ice_transport", "kind": "audio", "mid": "1", "ssrc": 4,
            "active": true, "packetsSent": 1, "bytesSent": 2, "nackCount": 3,
        },
        "RI1": {
            "id": "RI1", "type": "remote-inbound-rtp", "timestamp": 1500.5,
            "transportId": "ice_transport", "kind": "audio", "ssrc": 4, "localId": "OT1",
            "packetsLost": 1, "fractionLost": 0.25, "jitter": 0.5, "roundTripTime": 0.125,
        },
        "RO0-hi": {
            "id": "RO0-hi", "type": "remote-outbound-rtp", "timestamp": 1500.5,
            "transportId": "ice_transport", "kind": "video", "ssrc": 3, "localId": "IT0-hi",
            "packetsSent": 1, "bytesSent": 2,
        },
    });
    assert_eq!(serde_json::to_value(&report).unwrap(), expected);
}

#[test]
fn counts_certificates_and_channels_have_w3cs_json() {
    let mut report = StatsReport::default();
    report.add(PeerConnectionStats {
        id: "PeerConnection-1".to_owned(),
        timestamp: AT,
        data_channels_opened: 1,
        data_channels_closed: 2,
        data_channels_requested: 3,
        data_channels_accepted: 4,
    });
    report.add(CertificateStats {
        id: "CF1".to_owned(),
        timestamp: AT,
        fingerprint: "AB:CD".to_owned(),
        fingerprint_algorithm: "sha-256".to_owned(),
        base64_certificate: Some("AA==".to_owned()),
    });
    report.add(DataChannelStats {
        id: "D0".to_owned(),
        timestamp: AT,
        label: "chat".to_owned(),
        protocol: String::new(),
        state: DataChannelState::Open,
        messages_sent: 1,
        bytes_sent: 2,
        messages_received: 3,
        bytes_received: 4,
        data_channel_identifier: Some(5),
    });

    let expected = json!({
        "PeerConnection-1": {
            "id": "PeerConnection-1", "type": "peer-connection", "timestamp": 1500.5,
            "dataChannelsOpened": 1, "dataChannelsClosed": 2, "dataChannelsRequested": 3,
            "dataChannelsAccepted": 4,
        },
        "CF1": {
            "id": "CF1", "type": "certificate", "timestamp": 1500.5, "fingerprint": "AB:CD",
            "fingerprintAlgorithm": "sha-256", "base64Certificate": "AA==",
        },
        "D0": {
            "id": "D0", "type": "data-channel", "timestamp": 1500.5, "label": "chat",
            "protocol": "", "dataChannelIdentifier": 5, "state": "open", "messagesSent": 1,
            "bytesSent": 2, "messagesReceived": 3, "bytesReceived": 4,
        },
    });
    assert_eq!(serde_json::to_value(&report).unwrap(), expected);
}
