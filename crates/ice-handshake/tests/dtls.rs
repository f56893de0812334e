//! Tests of our DTLS handshakes against each other, over a simulated wire in virtual time.

mod wire;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use callboard_ice_handshake::handshake::*;
use wire::*;

#[test]
fn both_sides_agree_on_version_and_keys() {
    for (client_version, server_version, expected) in [
        (Some(Version::Dtls12), Some(Version::Dtls12), Version::Dtls12),
        (Some(Version::Dtls13), Some(Version::Dtls13), Version::Dtls13),
        (None, None, Version::Dtls13),
        (None, Some(Version::Dtls12), Version::Dtls12),
        (Some(Version::Dtls12), None, Version::Dtls12),
        (None, Some(Version::Dtls13), Version::Dtls13),
        (Some(Version::Dtls13), None, Version::Dtls13),
    ] {
        let (mut client, mut server) = acquainted(None);
        if let Some(version) = client_version {
            client = client.version(version);
        }
        if let Some(version) = server_version {
            server = server.version(version);
        }
        let mut pair = Pair::new(&client, &server).ready();

        let took = pair.run();

        assert_eq!(pair.client.data().version, expected, "{client_version:?} {server_version:?}");
        assert_eq!(pair.server.data().version, expected);
        assert_eq!(
            pair.client.data().peer_certificate.as_deref(),
            Some(server.certificate().certificate())
        );
        assert_eq!(
            pair.server.data().peer_certificate.as_deref(),
            Some(client.certificate().certificate())
        );
        assert!(took < Duration::from_millis(200), "no retransmission on a good path: {took:?}");
        pair.assert_connected();
    }
}

#[test]
fn without_a_cookie_a_round_trip_less() {
    for version in VERSIONS {
        let (client, server) = acquainted(version);
        let with = Pair::new(&client, &server).ready().run();
        let mut pair = Pair::new(&client, &server.cookie(false)).ready();
        let without = pair.run();

        // In addition, the half round trip and 2 ms for which a client holds back a request that might be forged.
        assert_eq!(with - without, 3 * DELAY + Duration::from_millis(2), "{version:?}");
        pair.assert_connected();
    }
}

#[test]
fn gcm_is_preferred_by_a_server_in_both_versions_and_any_profile_can_be_had() {
    use SrtpProfile::*;
    let orders: [(&[SrtpProfile], &[SrtpProfile], Option<SrtpProfile>); 7] = [
        (&SrtpProfile::ALL, &SrtpProfile::ALL, Some(Aes128Gcm)),
        // The profiles that Chromium offers as a client.
        (&[Aes128CmSha1_80, Aes256Gcm, Aes128Gcm], &SrtpProfile::ALL, Some(Aes128Gcm)),
        (&[Aes128CmSha1_80, Aes256Gcm, Aes128Gcm], &[Aes256Gcm, Aes128Gcm], Some(Aes256Gcm)),
        (&[Aes128CmSha1_80], &SrtpProfile::ALL, Some(Aes128CmSha1_80)),
        (&SrtpProfile::ALL, &[Aes128CmSha1_80], Some(Aes128CmSha1_80)),
        (&[Aes128CmSha1_80], &[Aes128Gcm], None),
        (&[], &SrtpProfile::ALL, None),
    ];
    for version in VERSIONS {
        for (offered, preferred, expected) in orders {
            let (client, server) = acquainted(version);
            let (client, server) = (client.srtp_profiles(offered), server.srtp_profiles(preferred));
            let mut pair = Pair::new(&client, &server).ready();

            pair.run();

            let found = pair.server.data().srtp.as_ref().map(|keys| keys.profile);
            assert_eq!(found, expected, "{version:?} {offered:?} {preferred:?}");
            pair.assert_connected();
        }
    }
}

#[test]
fn handshakes_finish_under_loss() {
    for version in VERSIONS {
        for (loss, limit) in [(10, 5), (30, 15)] {
            let mut late = 0;
            for seed in 0..30 {
                let (client, server) = acquainted(version);
                let mut pair = Pair::new(&client, &server);
                pair.random = fastrand::Rng::with_seed(seed);
                pair.loss = loss;
                let mut pair = pair.ready();

                let took = pair.run();

                assert!(
                    pair.client.outcome.is_some() && pair.server.outcome.is_some(),
                    "{version:?} {loss} % {seed}, after {took:?}: {:?} until {:?}, {:?} until {:?}",
                    pair.client.outcome,
                    pair.client.due(),
                    pair.server.outcome,
                    pair.server.due()
                );
                late += u32::from(took > Duration::from_secs(limit));
                pair.assert_connected();
            }
            assert!(
                late == 0,
                "{version:?}: {late} of 30 took longer than {limit} s at {loss} % loss"
            );
        }
    }
}

#[test]
fn a_pre_shared_key_needs_no_certificates() {
    let secret = b"correct horse battery staple";
    let client = Psk::client("robot", secret).unwrap();
    let server =
        Psk::server([("robot", secret), ("other", b"something else altogether   ")]).unwrap();
    let info = |controlling| ComponentInfo::new(ComponentId(1), controlling);
    let mut pair =
        Pair::of(client.new_handshake(&info(false)), server.new_handshake(&info(true))).ready();

    pair.run();

    assert!(pair.client.data().peer_certificate.is_none());
    pair.assert_connected();
}

#[test]
fn a_wrong_pre_shared_key_does_not_connect() {
    let client = Psk::client("robot", b"correct horse battery staple").unwrap();
    let server = Psk::server([("robot", b"incorrect horse battery staple")]).unwrap();
    let info = |controlling| ComponentInfo::new(ComponentId(1), controlling);
    let mut pair =
        Pair::of(client.new_handshake(&info(false)), server.new_handshake(&info(true))).ready();

    pair.run();

    assert!(
        !matches!(pair.client.outcome, Some(Ok(_))) && !matches!(pair.server.outcome, Some(Ok(_)))
    );
    assert_eq!(Psk::client("robot", b"short").err(), Some(PskError::TooShort("robot".to_owned())));
}

#[test]
fn t6_a_certificate_must_have_an_announced_fingerprint() {
    for version in VERSIONS {
        let right = |dtls: &Dtls| dtls.certificate().fingerprint().to_string();
        let changed = |text: String| {
            let last = if text.ends_with('0') { '1' } else { '0' };
            format!("{}{last}", &text[..text.len() - 1])
        };
        let connects = |announce: &dyn Fn(String) -> Vec<String>| {
            let (client, server) = (Dtls::generate().unwrap(), Dtls::generate().unwrap());
            let parse = |texts: Vec<String>| {
                texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Fingerprint>>()
            };
            let (of_client, of_server) =
                (parse(announce(right(&client))), parse(announce(right(&server))));
            let with = |dtls: Dtls| match version {
                Some(version) => dtls.version(version),
                None => dtls,
            };
            let (client, server) =
                (with(client).fingerprints(of_server), with(server).fingerprints(of_client));
            let mut pair = Pair::new(&client, &server).ready();
            let took = pair.run();
            assert!(took < Duration::from_secs(1), "{took:?}");
            pair
        };

        connects(&|right| vec![right]).assert_connected();
        connects(&|right| vec![right.to_lowercase()]).assert_connected();
        connects(&|right| vec![changed(right.clone()), right]).assert_connected();
        let mismatch = connects(&|right| vec![changed(right)]);
        assert!(matches!(mismatch.client.failure(), HandshakeError::FingerprintMismatch { .. }));
        assert!(matches!(
            mismatch.server.failure(),
            HandshakeError::FingerprintMismatch { .. } | HandshakeError::ClosedByPeer
        ));
        assert!(mismatch.client.payloads.is_empty() && mismatch.server.payloads.is_empty());
        let missing = connects(&|_| vec![]);
        assert_eq!(missing.client.failure(), &HandshakeError::NoFingerprint);
        let sha1_only = connects(&|_| vec![format!("sha-1 {}", vec!["00"; 20].join(":"))]);
        assert_eq!(sha1_only.client.failure(), &HandshakeError::NoFingerprint);
    }
}

#[test]
fn the_last_flight_is_repeated_when_it_was_lost() {
    for version in VERSIONS {
        let (client, server) = acquainted(version);
        let mut pair = Pair::new(&client, &server).ready();
        // Run until one side is done; its last packets never arrive.
        while pair.client.outcome.is_none() && pair.server.outcome.is_none() {
            assert!(pair.step());
        }
        pair.client.inbox.clear();
        pair.server.inbox.clear();

        pair.run();

        pair.assert_connected();
    }
}

#[test]
fn no_two_records_have_the_same_number() {
    for version in VERSIONS {
        for seed in 0..20 {
            let (client, server) = acquainted(version);
            let mut pair = Pair::new(&client, &server);
            pair.random = fastrand::Rng::with_seed(seed);
            pair.loss = 40;
            let mut pair = pair.ready();
            pair.run();
            for (whose, seen) in [("server's", &pair.client.seen), ("client's", &pair.server.seen)]
            {
                let mut numbers = HashSet::new();
                for datagram in seen {
                    let mut rest = &datagram[..];
                    // The numbers of protected records of DTLS 1.3 are encrypted.
                    while rest.len() >= 13 && rest[0] < 32 {
                        let number = rest[3..11].to_vec();
                        let what = format!("{version:?}, {seed}: the {whose} record {number:?}");
                        assert!(numbers.insert(number), "{what}");
                        rest = &rest[13 + usize::from(u16::from_be_bytes([rest[11], rest[12]]))..];
                    }
                }
            }
        }
    }
}

/// A browser's hello does not fit into a datagram; what it offers may be in either piece.
#[test]
fn a_hello_in_pieces_is_answered_like_a_whole_one() {
    for size in [150, 300, 500, 700, 900, 1_000] {
        let (client, server) = acquainted(None);
        let offer = [SrtpProfile::Aes128CmSha1_80, SrtpProfile::Aes256Gcm, SrtpProfile::Aes128Gcm];
        let mut pair = Pair::new(&client.srtp_profiles(&offer), &server);
        pair.pieces = Some(size);
        let mut pair = pair.ready();

        pair.run();

        let data = pair.server.data();
        assert_eq!(data.version, Version::Dtls13, "{size}");
        assert_eq!(data.srtp.as_ref().map(|keys| keys.profile), Some(SrtpProfile::Aes128Gcm));
        pair.assert_connected();
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "virtual time begins now")]
fn hellos_by_the_hundred_in_one_datagram_are_answered_once() {
    let hello = |number: u16| {
        // A random, no session, no cookie, one cipher suite, no compression.
        let mut body = vec![0xfe, 0xfd];
        body.extend(number.to_be_bytes());
        body.extend([7; 30]);
        body.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
        let length = body.len() as u8;
        let mut datagram = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, length + 12];
        datagram.extend([1, 0, 0, length, 0, 0, 0, 0, 0, 0, 0, length]);
        datagram.extend(body);
        datagram
    };
    let whole: Vec<u8> = (0..900).flat_map(hello).collect();
    let pieces = |number| in_pieces(hello(number).into(), Some(30)).concat();
    let pieces: Vec<u8> = (0..400).flat_map(pieces).collect();
    for datagram in [whole, pieces] {
        let (_, server) = acquainted(None);
        let mut server = server.start(Role::Server);

        let step = server.recv_from_peer(Instant::now(), &datagram);

        assert!(matches!(&step, Step::Packets(packets) if packets.len() == 1), "{step:?}");
    }
}

/// In DTLS 1.3 the last flight is the client's, which is connected when it has sent it: only the client repeats it.
#[test]
fn a_last_flight_that_is_lost_for_seconds_is_repeated_soon_after() {
    for version in VERSIONS {
        let (client, server) = acquainted(version);
        let mut pair = Pair::new(&client, &server).ready();
        let gone = pair.now + Duration::from_millis(3_900);
        let done = |pair: &Pair| pair.client.outcome.is_some() && pair.server.outcome.is_some();
        while !done(&pair) && pair.now < gone + Duration::from_secs(20) {
            assert!(pair.step(), "{version:?}: nothing is awaited");
            if pair.client.outcome.is_some() && pair.now < gone {
                pair.server.inbox.clear();
            }
        }

        let took = pair.now.saturating_duration_since(gone);
        assert!(took < Duration::from_secs(1), "{version:?}: {took:?} later");
        pair.assert_connected();
        // The flight is acknowledged, and then no longer repeated.
        let seen = pair.server.seen.len();
        while pair.client.due().is_some_and(|due| due < gone + Duration::from_secs(60)) {
            pair.step();
        }
        assert!(pair.server.seen.len() <= seen + 2, "{version:?}");
    }
}

/// A server that has received the first of its datagrams waits for the others, and repeats nothing meanwhile.
#[test]
fn a_last_flight_of_which_only_the_beginning_comes_is_waited_for() {
    for come in 1..=3 {
        let (client, server) = acquainted(Some(Version::Dtls13));
        let mut pair = Pair::new(&client.mtu(256), &server).ready();
        while pair.client.outcome.is_none() {
            assert!(pair.step());
        }
        let packets = pair.client.handle_timeout(pair.now);
        pair.send_to_server(packets);
        assert_eq!(pair.server.inbox.len(), 3, "it is sent in three pieces");
        pair.server.inbox.truncate(come);
        pair.settle();
        // Later datagrams are lost as well, for longer than a server waits before it repeats something.
        let gone = pair.now + Duration::from_millis(2_500);
        while pair.server.outcome.is_none() && pair.now < gone + Duration::from_secs(20) {
            if pair.now < gone {
                pair.server.inbox.clear();
            }
            assert!(pair.step(), "{come}: nothing is awaited");
        }

        let took = pair.now.saturating_duration_since(gone);
        assert!(took < Duration::from_secs(1), "{come}: {took:?} later");
        pair.assert_connected();
    }
}

/// A retransmission goes out together with the hello that has the cookie.
#[test]
fn hellos_in_one_datagram_are_answered() {
    for version in VERSIONS {
        let (client, server) = acquainted(version);
        let mut pair = Pair::new(&client, &server);
        pair.together = Some(Vec::new());
        let mut pair = pair.ready();

        let took = pair.run();

        assert!(took < Duration::from_millis(200), "{version:?}: {took:?}");
        pair.assert_connected();
    }
}
