//! Tests of the messages: golden frames, and what is read again.

use serde_json::{from_value, json, to_value};

use super::*;

/// As the first version wrote them: later ones must read them, and write the same.
#[test]
fn messages_are_as_they_were_in_the_first_version() {
    let peer: PeerId = "6f1e2b0a-3c7d-4f10-9b51-0a4de8f1c001".parse().unwrap();
    let tag = Tag { place: 5, peer, number: 3 };
    let process = "6f1e2b0a-3c7d-4f10-9b51-0a4de8f1c001";
    let given = json!({
        "epoch": 8, "revision": 9, "incarnation": { "process": process, "term": 1 },
    });
    let to_home = [
        (ToHome::Open { room: "demo".into() }, json!({ "open": { "room": "demo" } })),
        (
            ToHome::Join { seat: 1, peer, texts: vec![2, 4], messages: 8, bytes: 9, again: false },
            json!({ "join": { "seat": 1, "peer": peer, "texts": [2, 4], "messages": 8, "bytes": 9 } }),
        ),
        (ToHome::Leave { seat: 1 }, json!({ "leave": { "seat": 1 } })),
        (ToHome::Detach { seat: 1 }, json!({ "detach": { "seat": 1 } })),
        (ToHome::Adopt { seat: 1, peer }, json!({ "adopt": { "seat": 1, "peer": peer } })),
        (
            ToHome::Take { keeper: 0, token: "digest".into() },
            json!({ "take": { "keeper": 0, "token": "digest" } }),
        ),
        (
            ToHome::Offer(Offer {
                seat: 1,
                peer,
                texts: vec![2, 4],
                messages: 8,
                bytes: 9,
                seen: 5,
                view: Some(vec![peer]),
            }),
            json!({ "offer": {
                "seat": 1, "peer": peer, "texts": [2, 4], "messages": 8, "bytes": 9, "seen": 5, "view": [peer],
            } }),
        ),
        (
            ToHome::Offered { tags: vec![tag], edges: Vec::new(), left: Vec::new() },
            json!({ "offered": { "tags": [{ "place": 5, "peer": peer, "number": 3 }] } }),
        ),
        (
            ToHome::Offered {
                tags: Vec::new(),
                edges: vec![NodeId::new("b2").unwrap()],
                left: vec![peer],
            },
            json!({ "offered": { "tags": [], "edges": ["b2"], "left": [peer] } }),
        ),
        (
            ToHome::Forward {
                seat: 1,
                number: 3,
                event: "offer".into(),
                to: Some(Addressees::All),
                took: 0,
            },
            json!({ "forward": { "seat": 1, "number": 3, "event": "offer", "to": "all" } }),
        ),
        (
            ToHome::Forward { seat: 1, number: 3, event: "hello".into(), to: None, took: 2 },
            json!({ "forward": { "seat": 1, "number": 3, "event": "hello", "to": null, "took": 2 } }),
        ),
        (
            ToHome::Send { event: "news".into(), to: Some(Addressees::Peers(vec![peer])) },
            json!({ "send": { "event": "news", "to": { "peers": [peer] } } }),
        ),
        (
            ToHome::Kick { peer, code: 4000, reason: "no shouting".into() },
            json!({ "kick": { "peer": peer, "code": 4000, "reason": "no shouting" } }),
        ),
        (ToHome::Stop, json!("stop")),
        (ToHome::Took { batches: 2, lists: vec![] }, json!({ "took": { "batches": 2 } })),
        (
            ToHome::Took { batches: 0, lists: vec![1] },
            json!({ "took": { "batches": 0, "lists": [1] } }),
        ),
        (
            ToHome::Prepare { room: "demo".into(), epoch: Epoch(7), version: 1 },
            json!({ "prepare": { "room": "demo", "epoch": 7, "version": 1 } }),
        ),
        (
            ToHome::HandOver { members: vec![peer], nodes: vec![NodeId::new("b2").unwrap()] },
            json!({ "hand_over": { "members": [peer], "nodes": ["b2"] } }),
        ),
        (ToHome::Given(from_value(given.clone()).unwrap()), json!({ "given": given })),
        (ToHome::Close, json!("close")),
    ];
    for (message, golden) in to_home {
        assert_eq!(to_value(&message).unwrap(), golden);
        assert_eq!(from_value::<ToHome>(golden).unwrap(), message);
    }
    let batch = Batch {
        came: vec![(peer, 14)],
        gone: vec![peer],
        texts: vec![5],
        frames: vec![(vec![1, 2], vec![0])],
        closed: vec![(1, 1000, String::new())],
        joined: vec![
            (1, None),
            (2, Some(Refusal::RoomCrashed)),
            (3, Some(Refusal::DoorShut { retry_after_ms: 5 })),
        ],
        handled: vec![(1, 2)],
        detached: vec![4],
        tags: vec![(0, tag)],
        settled: 4,
        edges: vec![NodeId::new("b2").unwrap()],
        epoch: Some(Epoch(9)),
        moved: Some(NodeId::new("c3").unwrap()),
    };
    let golden = json!({ "batch": {
        "came": [[peer, 14]], "gone": [peer], "texts": [5], "frames": [[[1, 2], [0]]],
        "closed": [[1, 1000, ""]],
        "joined": [[1, null], [2, "room_crashed"], [3, { "door_shut": { "retry_after_ms": 5 } }]],
        "handled": [[1, 2]],
        "detached": [4],
        "tags": [[0, { "place": 5, "peer": peer, "number": 3 }]],
        "settled": 4,
        "edges": ["b2"],
        "epoch": 9,
        "moved": "c3",
    } });
    let (known, kept, waiting) = (vec![2, 4, 2, 2], 2, vec![1]);
    let taken = Taken {
        room: "demo".into(),
        peer,
        grace_ms: 5,
        messages: 8,
        bytes: 9,
        known,
        kept,
        waiting,
        progress: Progress { seen: 7, number: 3 },
    };
    let golden_taken = json!({ "taken": {
        "room": "demo", "peer": peer, "grace_ms": 5, "messages": 8, "bytes": 9, "known": [2, 4, 2, 2], "kept": 2,
        "waiting": [1], "progress": { "seen": 7, "number": 3 },
    } });
    let payload = Bytes::from_static(b"{}null{}{}[]x");
    let (auth, data, texts) = taken.read(payload.clone()).unwrap();
    assert_eq!((auth.peer_id, data, texts), (peer, json!([]), vec!["x".into()]));
    assert!(taken.read(payload.slice(1..)).is_none());
    let to_edge = [
        (ToEdge::Taken(taken), golden_taken),
        (ToEdge::Opened { epoch: Epoch(7) }, json!({ "opened": { "epoch": 7 } })),
        (ToEdge::Ready, json!("ready")),
        (ToEdge::Unwilling("it is full".into()), json!({ "unwilling": "it is full" })),
        (ToEdge::Ended, json!("ended")),
        (ToEdge::Gone, json!("gone")),
        (ToEdge::Batch(batch), golden),
        (ToEdge::Batch(Batch::default()), json!({ "batch": {} })),
    ];
    for (message, golden) in to_edge {
        assert_eq!(to_value(&message).unwrap(), golden);
        assert_eq!(from_value::<ToEdge>(golden).unwrap(), message);
    }
}

#[test]
fn errors_of_a_join_cross() {
    let rejection = Rejection::with_details("banned", json!({ "days": 3 }));
    let retry_after = std::time::Duration::from_secs(3);
    for error in [
        JoinError::Rejected(rejection),
        JoinError::TimedOut,
        JoinError::RoomCrashed,
        JoinError::RoomUnavailable,
        JoinError::PeerIdTaken,
        JoinError::DoorShut { retry_after },
    ] {
        assert_eq!(JoinError::from(Refusal::from(error.clone())), error);
    }
}

#[test]
fn texts_that_are_not_in_the_payload_are_refused() {
    let batch = |texts: &[usize]| Batch { texts: texts.to_vec(), ..Batch::default() };
    let payload = Bytes::from_static("aü".as_bytes());
    assert_eq!(batch(&[1, 2]).read_payload(payload.clone()).unwrap().1, ["a", "ü"]);
    assert!(batch(&[1, 3]).read_payload(payload.clone()).is_err());
    assert!(batch(&[2, 1]).read_payload(payload).is_err(), "no UTF-8");
}

/// As deep as a client's JSON can be where it is read.
#[test]
fn what_is_known_of_a_peer_crosses_however_deep_it_is() {
    let deep: Value =
        serde_json::from_str(&format!("{}{}", "[".repeat(127), "]".repeat(127))).unwrap();
    let fields = Map::from_iter([("name".to_owned(), json!("Ann"))]);
    let nested = Map::from_iter([("deep".to_owned(), deep[0].clone())]);
    let auth = AuthData {
        credentials: nested.clone(),
        metadata: deep,
        public: nested.into(),
        ..AuthData::new(PeerId::random())
    };
    let joining = Joining::new(&auth, &fields);
    let payload = Bytes::from(joining.payload().concat());

    let read = Joining::read(auth.peer_id, &joining.lengths(), payload.clone());

    let (read, welcome) = read.unwrap();
    assert_eq!((&read.credentials, &read.metadata), (&auth.credentials, &auth.metadata));
    assert_eq!(json(&read.public), json(&auth.public));
    assert_eq!(welcome, fields);
    assert!(Joining::read(auth.peer_id, &[1, 1, 1, 1], payload.clone()).is_none());
    assert!(Joining::read(auth.peer_id, &[1], payload).is_none());
}
