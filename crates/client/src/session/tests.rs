//! Tests of the session: tables, without a clock.

use serde_json::json;

use super::*;
use crate::error::UpgradeRefusal;

/// A session, and the time, which only passes when a test lets it.
pub(super) struct Table {
    pub(super) session: Session,
    pub(super) now: Instant,
}

pub(super) fn address() -> Arc<Address> {
    Arc::new(Address::parse("ws://a/room", &ClientOptions::new()).expect("an address"))
}

#[expect(clippy::disallowed_methods, reason = "a start to count from")]
pub(super) fn table(options: ClientOptions) -> Table {
    let now = Instant::now();
    Table { session: Session::new(address(), &options, fastrand::Rng::with_seed(1), now), now }
}

impl Table {
    pub(super) fn outputs(&mut self) -> Vec<SessionOutput> {
        std::iter::from_fn(|| self.session.poll_output()).collect()
    }

    /// Joins, and drops the outputs.
    pub(super) fn join(&mut self, token: Option<&str>) {
        let resume = token.map(|token| json!({ "token": token, "grace_ms": 30_000 }));
        self.session.joined(resume.as_ref(), self.now);
        self.session.announce_open();
        self.outputs();
    }

    pub(super) fn lose(&mut self, loss: Loss) -> Vec<SessionOutput> {
        self.session.handle_loss(loss, self.now);
        self.outputs()
    }

    /// Lets time pass until something is due.
    pub(super) fn wait(&mut self) -> Vec<SessionOutput> {
        self.now = self.session.poll_timeout().expect("something is due").max(self.now);
        self.session.handle_timeout(self.now);
        self.outputs()
    }

    /// Reports an error with which the server closes.
    fn closing_error(&mut self, description: &str, details: Value) {
        self.session.note_closing_error(&ServerError::new(description, details));
    }

    pub(super) fn state(&self) -> ClientState {
        self.session.state()
    }
}

pub(super) fn ended(code: u16) -> Loss {
    Loss::Ended { code, reason: String::new() }
}

fn refused(status: u16) -> Loss {
    let (error, detail, details, retry_after) = Default::default();
    Loss::Refused(UpgradeRefusal { status, error, detail, details, retry_after })
}

/// Returns the token with which a WebSocket is opened.
pub(super) fn opened(outputs: &[SessionOutput]) -> Option<String> {
    let opened = outputs.iter().find_map(|output| match output {
        SessionOutput::Open { resume, .. } => Some(resume.clone()),
        _ => None,
    });
    opened.unwrap_or_else(|| panic!("nothing is opened: {outputs:?}"))
}

fn delay(outputs: &[SessionOutput]) -> Duration {
    let delay = outputs.iter().find_map(|output| match output {
        SessionOutput::Changed(StateChange { delay, .. }) => *delay,
        _ => None,
    });
    delay.unwrap_or_else(|| panic!("it does not wait: {outputs:?}"))
}

pub(super) fn gave_up(outputs: &[SessionOutput]) -> Option<&GaveUpError> {
    outputs.iter().find_map(|output| match output {
        SessionOutput::GaveUp(error) => Some(error),
        _ => None,
    })
}

#[test]
fn a_first_attempt_that_fails_is_not_repeated() {
    let unreachable = Loss::Unreachable("no".into());
    let failures = [
        (unreachable, ConnectError::Unreachable("no".into())),
        (Loss::Unanswered("x"), ConnectError::Timeout),
        (ended(1013), ConnectError::Closed { code: 1013, reason: String::new() }),
    ];
    for (loss, error) in failures {
        let mut table = table(ClientOptions::new());
        assert_eq!(opened(&table.outputs()), None);

        let outputs = table.lose(loss);

        let drop = SessionOutput::Drop { code: None };
        assert_eq!(outputs, [drop, SessionOutput::Failed(error)]);
        assert_eq!((table.state(), table.session.poll_timeout()), (ClientState::Closed, None));
    }

    let mut table = table(ClientOptions::new());
    table.outputs();
    table.closing_error("Could not join room", json!("room_is_full"));
    let rejected = ConnectError::Rejected(json!("room_is_full"));
    assert_eq!(table.lose(ended(1000)).last(), Some(&SessionOutput::Failed(rejected)));
}

#[test]
fn joining_has_a_time_limit() {
    let mut table = table(ClientOptions::new().join_timeout(Duration::from_secs(7)));
    let begun = table.now;
    table.outputs();

    let outputs = table.wait();

    assert_eq!(table.now - begun, Duration::from_secs(7));
    assert_eq!(outputs.last(), Some(&SessionOutput::Failed(ConnectError::Timeout)));
}

#[test]
fn a_lost_connection_is_resumed_with_its_token_until_the_next_one_has_come() {
    for loss in [ended(1006), ended(1001), Loss::Unanswered("x"), Loss::Unreachable("x".into())] {
        let mut table = table(ClientOptions::new());
        table.join(Some("first"));

        table.lose(loss);
        assert!(table.session.is_resumable());
        assert_eq!(opened(&table.wait()).as_deref(), Some("first"));
        // The second connection is lost before `resumed` is read, and then there is no server for a while.
        table.lose(ended(1006));
        assert_eq!(opened(&table.wait()).as_deref(), Some("first"));
        for loss in [Loss::Unreachable("x".into()), refused(503), refused(429)] {
            table.lose(loss);
            assert_eq!(opened(&table.wait()).as_deref(), Some("first"));
        }
        table.join(Some("second"));
        table.lose(ended(1006));
        assert_eq!(opened(&table.wait()).as_deref(), Some("second"));
    }
}

#[test]
fn a_token_that_is_refused_or_late_is_not_used_again() {
    for loss in [refused(410), refused(403), refused(404), ended(1012)] {
        let mut table = table(ClientOptions::new());
        table.join(Some("token"));
        table.lose(ended(1006));
        table.wait();

        table.lose(loss);
        assert!(!table.session.is_resumable());
        assert_eq!(opened(&table.wait()), None);
        assert_eq!(table.state(), ClientState::Connecting);
    }
    let mut table = table(ClientOptions::new());
    table.join(Some("token"));
    table.lose(ended(1006));
    let lost = table.now;
    while opened(&table.wait()).is_some() {
        table.lose(Loss::Unreachable("no".into()));
    }
    assert!(table.now - lost > Duration::from_secs(30));
}

#[test]
fn a_session_ends_with_a_closing_error_or_another_close_code() {
    for code in [1005, 1008, 1012, 1013, 3000] {
        let mut table = table(ClientOptions::new());
        table.join(Some("token"));
        table.lose(ended(code));
        assert_eq!((code, opened(&table.wait())), (code, None));
    }
    let mut table = table(ClientOptions::new());
    table.join(Some("token"));
    table.closing_error("Room closed", json!("shutdown"));
    table.lose(ended(1001));
    assert_eq!(opened(&table.wait()), None);
}

#[test]
fn a_token_that_would_have_to_be_escaped_is_none() {
    for token in ["a&b", "a b", "é", "%41", &"x".repeat(2_000)] {
        let mut table = table(ClientOptions::new());
        table.join(Some(token));
        assert!(!table.session.is_resumable(), "{token}");
    }
}

#[test]
fn it_stays_away_when_it_was_closed_for_good() {
    for code in [1000, 4000, 4999] {
        let mut table = table(ClientOptions::new());
        table.join(Some("token"));

        let outputs = table.lose(Loss::Ended { code, reason: "kicked out".into() });

        let reason = "kicked out".to_owned();
        let (state, code, delay) = (ClientState::Closed, Some(code), None);
        let closed = SessionOutput::Changed(StateChange { state, reason, code, delay });
        assert_eq!(outputs.last(), Some(&closed));
        assert_eq!(table.session.poll_timeout(), None);
    }
}

#[test]
fn delays_grow_and_a_connection_that_lasts_makes_them_short_again() {
    let mut table = table(ClientOptions::new());
    table.join(None);
    let mut longest = Duration::ZERO;
    for attempt in 0..40 {
        let delay = delay(&table.lose(Loss::Unreachable("no".into())));
        let most = Duration::from_millis(250) * 2_u32.pow(attempt.min(6));
        assert!(delay <= most.min(Duration::from_secs(10)), "{attempt}: {delay:?}");
        longest = longest.max(delay);
        table.wait();
    }
    assert!(longest > Duration::from_secs(5), "{longest:?}");

    table.join(None);
    assert!(delay(&table.lose(ended(1006))) <= Duration::from_secs(10));
    table.wait();
    table.join(None);
    table.now += STABLE;
    assert!(delay(&table.lose(ended(1006))) <= Duration::from_millis(250));
}

#[test]
fn a_server_that_asks_for_time_gets_it() {
    let mut table = table(ClientOptions::new());
    table.join(None);
    let (error, detail, details) = ("too_many_rooms".into(), Value::Null, Value::Null);
    let mut refusal = UpgradeRefusal { status: 429, error, detail, details, retry_after: None };
    refusal.retry_after = Some(Duration::from_secs(60));
    assert_eq!(delay(&table.lose(Loss::Refused(refusal.clone()))), Duration::from_secs(60));
    table.wait();
    refusal.retry_after = Some(Duration::MAX);
    assert_eq!(delay(&table.lose(Loss::Refused(refusal))), MEMORY);
}

#[test]
fn it_gives_up_what_fails_again_and_again() {
    for code in FAULTS {
        let mut table = table(ClientOptions::new());
        for time in 1..=3 {
            table.join(None);
            let outputs = table.lose(ended(code));
            assert_eq!(gave_up(&outputs).is_some(), time == 3, "{code}, {time}");
            if time < 3 {
                table.wait();
            }
        }
        assert_eq!(table.state(), ClientState::Closed);
    }

    let mut table = table(ClientOptions::new().refusals(4));
    table.join(None);
    for time in 1..=4 {
        let outputs = table.lose(refused(401));
        assert_eq!(gave_up(&outputs).is_some(), time == 4);
        if time < 4 {
            table.wait();
        }
    }
}

#[test]
fn failures_are_forgotten_after_ten_minutes() {
    let mut table = table(ClientOptions::new());
    for _ in 0..10 {
        table.join(None);
        table.now += MEMORY / 2;
        assert!(gave_up(&table.lose(ended(1011))).is_none());
        table.wait();
    }
}

#[test]
fn overload_and_no_server_are_no_refusals() {
    let mut table = table(ClientOptions::new().refusals(2));
    table.join(None);
    for loss in [502, 503, 429, 408, 401, 503, 401].map(refused) {
        assert!(gave_up(&table.lose(loss)).is_none());
        table.wait();
    }
    assert!(gave_up(&table.lose(Loss::Unreachable("no".into()))).is_none());
    table.wait();
    assert!(gave_up(&table.lose(refused(401))).is_none());
}

#[test]
fn attempts_have_a_limit_if_one_is_set() {
    let mut table = table(ClientOptions::new().attempts(2));
    table.join(None);
    for _ in 0..2 {
        table.lose(Loss::Unreachable("no".into()));
        table.wait();
    }
    table.lose(Loss::Unreachable("no".into()));
    assert_eq!(table.state(), ClientState::Closed);
}

#[test]
fn a_room_that_rejects_the_client_again_is_asked_after_a_while() {
    let mut table = table(ClientOptions::new());
    table.join(None);
    table.lose(ended(1006));
    table.wait();

    for seconds in [15, 60] {
        table.closing_error("Could not join room", json!("room_is_full"));
        assert_eq!(delay(&table.lose(ended(1000))), Duration::from_secs(seconds));
        table.wait();
    }
    table.closing_error("Could not join room", json!("room_is_full"));
    let outputs = table.lose(ended(1000));

    let error = gave_up(&outputs).and_then(|error| error.error.clone()).expect("it gives up");
    assert_eq!((&*error.code, error.details), ("could_not_join_room", json!("room_is_full")));
}

#[test]
fn a_size_limit_is_remembered_for_ten_minutes() {
    let mut table = table(ClientOptions::new());
    table.join(Some("token"));
    table.closing_error("Message too large", json!({ "max_bytes": 1_000 }));
    table.lose(ended(1009));
    table.wait();
    table.join(Some("token"));
    assert_eq!(table.session.largest(table.now), Some(1_000));

    table.closing_error("Message too large", json!({ "max_bytes": 5_000 }));
    table.lose(ended(1009));
    assert_eq!(table.session.largest(table.now), Some(1_000));
    assert_eq!(table.session.largest(table.now + MEMORY), None);
    for details in [json!(null), json!({ "max_bytes": "x" }), json!({ "max_bytes": 0 }), json!(1)] {
        table.wait();
        table.now += MEMORY;
        table.join(None);
        table.closing_error("Message too large", details);
        table.lose(ended(1006));
        assert_eq!(table.session.largest(table.now), None);
    }
}

#[test]
fn a_room_that_can_admit_no_one_at_present_is_asked_again_soon() {
    let mut table = table(ClientOptions::new());
    table.join(None);
    table.lose(ended(1006));
    for _ in 0..10 {
        table.wait();
        table.closing_error("Could not join room", json!("room_unavailable"));

        let outputs = table.lose(ended(1012));

        assert_eq!(gave_up(&outputs), None);
        assert!(delay(&outputs) <= Duration::from_secs(10));
    }
}

#[test]
fn a_server_that_does_not_answer_a_ping_is_lost() {
    let mut table = table(ClientOptions::new());
    table.join(Some("token"));
    assert_eq!(table.wait(), [SessionOutput::Ping]);
    table.session.heard();
    assert_eq!(table.wait(), [SessionOutput::Ping]);

    let outputs = table.wait();

    assert_eq!(outputs.first(), Some(&SessionOutput::Drop { code: Some(3008) }));
    assert_eq!(opened(&table.wait()).as_deref(), Some("token"));
}

#[test]
fn on_a_change_of_the_network_it_hurries() {
    let mut table = table(ClientOptions::new());
    table.join(Some("token"));
    table.session.wake(table.now);
    assert_eq!(table.outputs(), [SessionOutput::Ping]);
    table.session.wake(table.now);
    assert_eq!(table.outputs(), [], "once");
    table.session.heard();
    table.session.wake(table.now);
    table.outputs();
    let asked = table.now;

    table.wait();
    assert_eq!((table.now - asked, table.state()), (PROBE_TIME, ClientState::Waiting));
    table.session.wake(table.now);
    assert_eq!(opened(&table.outputs()).as_deref(), Some("token"));
    table.session.wake(table.now);
    assert_eq!(table.outputs(), []);
}

#[test]
fn closing_ends_everything_once() {
    let mut table = table(ClientOptions::new());
    table.join(Some("token"));

    table.session.close();

    let outputs = table.outputs();
    assert_eq!(outputs.first(), Some(&SessionOutput::Drop { code: Some(1000) }));
    assert!(matches!(
        outputs.last(),
        Some(SessionOutput::Changed(StateChange { state: ClientState::Closed, .. }))
    ));
    table.session.close();
    assert_eq!(table.lose(ended(1006)), []);
    assert_eq!(table.session.poll_timeout(), None);
}
