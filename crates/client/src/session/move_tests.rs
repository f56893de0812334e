//! Tests of moves: tables, without a clock.

use serde_json::json;

use super::tests::{Table, ended, gave_up, opened, table};
use super::*;
use crate::error::MoveFailure;

/// Lets the server send the client to this address.
fn order(table: &mut Table, url: &str, token: Option<&str>) -> Vec<SessionOutput> {
    let resume = token.map(|token| json!({ "token": token, "grace_ms": 30_000 }));
    table.session.handle_order(&json!({ "url": url, "resume": resume }), table.now);
    table.outputs()
}

fn address_of(outputs: &[SessionOutput]) -> Option<String> {
    outputs.iter().find_map(|output| match output {
        SessionOutput::Open { to, .. } | SessionOutput::OpenNext { to, .. } => {
            Some(to.url().to_owned())
        }
        _ => None,
    })
}

#[test]
fn a_member_drains_its_connection_before_its_session_moves() {
    let mut table = table(ClientOptions::new());
    table.join(Some("old"));
    table.session.arrive(false, false);

    assert_eq!(order(&mut table, "ws://b", Some("new")), [SessionOutput::Drain]);
    assert!(table.session.is_holding());
    table.session.handle_drained(table.now);
    let outputs = table.outputs();
    assert!(matches!(&*outputs, [SessionOutput::OpenNext { to, resume: Some(token) }]
        if to.url() == "ws://b/room" && token == "new"));
    table.session.joined_next(table.now);
    assert_eq!(table.outputs(), []);
    // The server has taken the session away from the first connection.
    let taken = Loss::Ended { code: 1000, reason: "resumed elsewhere".into() };
    assert_eq!(table.lose(taken), [SessionOutput::Switch(table.now)]);
    assert!(!table.session.arrived());
    let moved = table.session.arrive(true, false).moved;
    assert_eq!(moved, Some(("ws://a/room".to_owned(), "ws://b/room".to_owned())));
    assert!(!table.session.is_holding());
}

#[test]
fn a_move_waits_for_no_answer_for_ever() {
    let mut table = table(ClientOptions::new());
    table.join(None);
    table.session.arrive(false, false);
    order(&mut table, "ws://b", Some("new"));
    let began = table.now;

    assert_eq!(address_of(&table.wait()).as_deref(), Some("ws://b/room"), "no pong");
    assert_eq!(table.now - began, Duration::from_secs(1));
    let outputs = table.wait();
    assert!(matches!(*outputs, [SessionOutput::DropNext { .. }, SessionOutput::MoveFailed(_)]));
    assert_eq!(table.now - began, Duration::from_secs(11));

    order(&mut table, "ws://b", None);
    table.session.joined_next(table.now);
    let joined = table.now;
    assert_eq!(table.wait(), [SessionOutput::Switch(table.now)], "the first one says no more");
    assert_eq!(table.now - joined, Duration::from_millis(500));
}

#[test]
fn a_first_connection_that_is_lost_during_a_move_is_missed_only_if_the_move_fails() {
    for arrives in [true, false] {
        let mut table = table(ClientOptions::new());
        table.join(Some("old"));
        order(&mut table, "ws://b", Some("new"));

        let outputs = table.lose(ended(1006));
        assert!(matches!(*outputs, [SessionOutput::Drop { .. }, SessionOutput::OpenNext { .. }]));
        assert_eq!(table.state(), ClientState::Open);
        if arrives {
            table.session.joined_next(table.now);
            assert_eq!(table.outputs(), [SessionOutput::Switch(table.now)]);
        } else {
            table.session.handle_next_loss(&ended(1006), table.now);
            table.outputs();
            assert_eq!(table.state(), ClientState::Waiting);
            let outputs = table.wait();
            assert_eq!(address_of(&outputs).as_deref(), Some("ws://a/room"));
            assert_eq!(opened(&outputs).as_deref(), Some("new"), "the newest token");
        }
    }
}

#[test]
fn a_client_that_is_closed_for_good_does_not_move() {
    let mut table = table(ClientOptions::new());
    table.join(Some("old"));
    order(&mut table, "ws://b", None);

    let outputs = table.lose(ended(4001));

    assert!(outputs.contains(&SessionOutput::DropNext { code: Some(UNANSWERED) }));
    assert_eq!(table.state(), ClientState::Closed);
    assert_eq!(table.session.poll_timeout(), None);
}

#[test]
fn servers_that_send_clients_in_a_circle_are_given_up() {
    let mut joining = table(ClientOptions::new());
    joining.outputs();
    for number in 0..8 {
        let outputs = order(&mut joining, ["ws://b", "ws://a"][number % 2], None);
        assert!(matches!(*outputs, [SessionOutput::Drop { .. }, SessionOutput::Open { .. }]));
    }
    let outputs = order(&mut joining, "ws://b", None);
    let failed = SessionOutput::Failed(ConnectError::Moved(MoveFailure::TooOften));
    assert!(outputs.contains(&failed), "{outputs:?}");

    let mut table = table(ClientOptions::new().refusals(3));
    table.join(None);
    table.lose(ended(1006));
    for attempt in 1..=3 {
        assert_eq!(address_of(&table.wait()).as_deref(), Some("ws://a/room"));
        let mut outputs = Vec::new();
        for _ in 0..9 {
            outputs = order(&mut table, "ws://b", None);
        }
        assert_eq!(gave_up(&outputs).is_some(), attempt == 3, "{outputs:?}");
    }

    // A member stays.
    let mut member = self::table(ClientOptions::new());
    member.join(None);
    for _ in 0..8 {
        order(&mut member, "ws://b", None);
        member.session.handle_next_loss(&ended(1006), member.now);
        member.outputs();
    }
    let stays = [SessionOutput::MoveFailed(MoveFailure::TooOften)];
    assert_eq!(order(&mut member, "ws://b", None), stays);
    assert_eq!(member.state(), ClientState::Open);
    let elsewhere = order(&mut member, "ftp://b", None);
    assert_eq!(elsewhere, [SessionOutput::MoveFailed(MoveFailure::Address)]);
}
