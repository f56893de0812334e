//! Tests of the socket link's core: tables, and random orders of sockets, tokens and ends.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const GRACE: Duration = Duration::from_secs(30);
const NORMAL: CloseFrame = CloseFrame { code: 1000, reason: Cow::Borrowed("bye") };
const SILENT: CloseFrame = CloseFrame { code: 1001, reason: Cow::Borrowed("silent") };

fn token(number: usize) -> TokenDigest {
    TokenDigest::of(&number.to_string())
}

/// Link with a first socket and a first token.
fn link(grace: Duration) -> (LinkState, SocketNumber, TokenDigest) {
    let first = SocketNumber::default().next();
    let mut link = LinkState::new(first, grace);
    assert_eq!(link.issued(token(0)), []);
    (link, first, token(0))
}

fn lost(now: Instant, socket: SocketNumber) -> Vec<Effect> {
    let away = Effect::Tell(Presence::Away(now + GRACE));
    vec![Effect::Cut(socket), Effect::Detach(socket), away]
}

fn gone(socket: SocketNumber) -> Vec<Effect> {
    vec![Effect::Detach(socket), Effect::Cut(socket), Effect::Tell(Presence::Gone)]
}

#[test]
fn what_the_end_of_a_socket_means() {
    let now = Instant::now();
    for (grace, end, closed, waits) in [
        (GRACE, SocketEnd::Lost, false, true),
        (GRACE, SocketEnd::Lost, true, false),
        (GRACE, SocketEnd::Closed, false, false),
        (Duration::ZERO, SocketEnd::Lost, false, false),
    ] {
        let (mut link, socket, token) = link(grace);
        assert_eq!(link.socket_ended(now, socket.next(), (end, closed)), [], "another socket");

        let effects = link.socket_ended(now, socket, (end, closed));

        assert_eq!(effects, if waits { lost(now, socket) } else { gone(socket) });
        assert_eq!(link.socket_ended(now, socket, (end, closed)), [], "it is told twice");
        assert_eq!(link.may_resume(now, token, false), waits);
        assert!(!link.may_resume(now + grace, token, false), "too late");
        assert_eq!(link.give_up(now), !waits);
        assert!(link.give_up(now + grace));
        assert!(!link.may_resume(now, token, false), "it was given up");
    }
}

#[test]
fn a_client_that_comes_back_replaces_its_socket_and_uses_its_token_up() {
    let now = Instant::now();
    for is_lost in [true, false] {
        let (mut link, first, used) = link(GRACE);
        let mut expected = Vec::new();
        if is_lost {
            link.socket_ended(now, first, (SocketEnd::Lost, false));
        } else {
            expected = vec![Effect::Close(RESUMED_ELSEWHERE), Effect::Cut(first)];
        }
        assert!(link.may_resume(now, used, false));
        assert!(!link.may_resume(now, used, true), "the outbox is closed");
        assert!(!link.may_resume(now, token(9), false), "another token");

        let second = first.next();
        assert_eq!(link.resume(used), expected);
        assert_eq!(link.issued(token(1)), [], "the used one is valid until the client is heard");
        assert_eq!(link.attached(second), [Effect::Tell(Presence::Here(second))]);

        assert!(!link.may_resume(now, used, false), "its socket is there");
        assert!(link.may_resume(now, token(1), false));
        assert_eq!(link.heard(first), [], "the replaced socket");
        assert_eq!(link.heard(second), [Effect::Revoke(used)]);
        assert_eq!(link.heard(second), []);
        assert_eq!(link.socket_ended(now, first, (SocketEnd::Closed, false)), []);
        assert_eq!(link.place(), Place::Here(second));
    }
}

#[test]
fn a_client_that_is_lost_before_it_has_read_a_new_token_comes_back_with_the_one_before() {
    let now = Instant::now();
    let (mut link, first, known) = link(GRACE);
    assert_eq!(link.issued(token(1)), []);
    link.socket_ended(now, first, (SocketEnd::Lost, false));

    assert!(link.may_resume(now, known, false));
    assert!(link.may_resume(now, token(1), false));
    assert_eq!(link.issued(token(2)), [Effect::Revoke(token(1))], "two at most");
    assert!(link.may_resume(now, known, false));
}

#[test]
fn what_the_close_of_the_outbox_means() {
    let now = Instant::now();
    for (close, for_good) in [(NORMAL, true), (SILENT, false)] {
        for away in [false, true] {
            let (mut link, socket, token) = link(GRACE);
            if away {
                link.socket_ended(now, socket, (SocketEnd::Lost, false));
            }

            let effects = link.outbox_closed(now, close.clone());

            let remember = Effect::Remember(token, close.clone(), now + GRACE);
            let then = if away { Effect::Tell(Presence::Gone) } else { Effect::Cut(socket) };
            let expected: Vec<_> = for_good.then_some(remember).into_iter().chain([then]).collect();
            assert_eq!(effects, expected);
            assert!(!link.may_resume(now, token, true));
        }
    }
}

#[test]
fn a_client_that_does_not_answer_is_detached_if_it_can_come_back() {
    let now = Instant::now();
    let (mut kept, socket, _) = link(GRACE);
    assert_eq!(kept.detach(now, socket.next(), (SILENT, false)), None, "another socket");
    assert_eq!(kept.detach(now, socket, (SILENT, true)), None, "the outbox is closed");
    let mut expected = vec![Effect::Close(SILENT)];
    expected.extend(lost(now, socket));
    assert_eq!(kept.detach(now, socket, (SILENT, false)), Some(expected));

    let (mut ended, socket, _) = link(Duration::ZERO);
    assert_eq!(ended.detach(now, socket, (SILENT, false)), None);
}

/// Something that happens to a link; numbers are of sockets and tokens, counted back from the newest.
#[derive(Clone, Copy, Debug)]
enum Event {
    Ended(usize, bool),
    Detach(usize),
    Heard(usize),
    Resume(usize),
    Issue,
    OwnerStarted,
    OwnerEnded,
    OutboxClosed(bool),
    GiveUp,
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..3usize, any::<bool>()).prop_map(|(socket, closed)| Event::Ended(socket, closed)),
        1 => (0..2usize).prop_map(Event::Detach),
        3 => (0..2usize).prop_map(Event::Heard),
        6 => (0..4usize).prop_map(Event::Resume),
        1 => Just(Event::Issue),
        1 => Just(Event::OwnerStarted),
        1 => Just(Event::OwnerEnded),
        1 => any::<bool>().prop_map(Event::OutboxClosed),
        1 => Just(Event::GiveUp),
        2 => (0..40u64).prop_map(Event::Wait),
    ]
}

/// What others have seen of a link.
#[derive(Default)]
struct Seen {
    /// Sockets, oldest first.
    sockets: Vec<SocketNumber>,
    /// Tokens, oldest first.
    tokens: Vec<TokenDigest>,
    revoked: HashSet<TokenDigest>,
    detached: HashSet<SocketNumber>,
    /// Tokens that have opened a socket which was heard after it.
    spent: HashSet<TokenDigest>,
    /// Token by which each socket was opened.
    opened_by: Vec<Option<TokenDigest>>,
    is_gone: bool,
    closed: bool,
    told: Option<Presence>,
}

impl Seen {
    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Detach(socket) => {
                    assert!(self.detached.insert(socket), "{socket:?} is detached twice");
                }
                Effect::Revoke(token) => {
                    assert!(self.revoked.insert(token), "a token is revoked twice");
                }
                Effect::Tell(presence) => {
                    assert!(!self.is_gone, "{presence:?} after the client was gone");
                    assert_ne!(Some(&presence), self.told.as_ref(), "it is told twice");
                    self.is_gone = presence == Presence::Gone;
                    self.told = Some(presence);
                }
                Effect::Close(_) | Effect::Cut(_) | Effect::Remember(..) => {}
            }
        }
    }
}

proptest! {
    #[test]
    fn in_any_order_of_events_a_token_opens_one_socket_and_a_client_goes_once(
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut now = Instant::now();
        let (mut link, first, first_token) = link(GRACE);
        let mut seen = Seen {
            sockets: vec![first],
            tokens: vec![first_token],
            opened_by: vec![None],
            ..Seen::default()
        };
        let mut issued = 1;
        for event in events {
            let back = |from: &[SocketNumber], at: usize| from.iter().rev().nth(at).copied();
            let effects = match event {
                Event::Ended(at, on_purpose) => {
                    let end = if on_purpose { SocketEnd::Closed } else { SocketEnd::Lost };
                    back(&seen.sockets, at)
                        .map(|socket| link.socket_ended(now, socket, (end, seen.closed)))
                }
                Event::Detach(at) => back(&seen.sockets, at)
                    .and_then(|socket| link.detach(now, socket, (SILENT, seen.closed))),
                Event::Heard(at) => back(&seen.sockets, at).map(|socket| {
                    if link.place() == Place::Here(socket) {
                        seen.spent.extend(seen.opened_by.iter().flatten());
                    }
                    link.heard(socket)
                }),
                Event::Resume(at) => {
                    let Some(token) = seen.tokens.iter().rev().nth(at).copied() else { continue };
                    if !link.may_resume(now, token, seen.closed) {
                        continue;
                    }
                    prop_assert!(!seen.is_gone && !seen.closed);
                    prop_assert!(!seen.spent.contains(&token), "a spent token");
                    prop_assert!(!seen.revoked.contains(&token), "a revoked token");
                    let opened = seen.opened_by.iter().rposition(|by| *by == Some(token));
                    if let (Some(opened), Place::Here(socket)) = (opened, link.place()) {
                        prop_assert!(seen.sockets[opened] != socket, "its socket is there");
                    }
                    seen.carry_out(link.resume(token));
                    let newest = self::token(issued);
                    issued += 1;
                    seen.carry_out(link.issued(newest));
                    seen.tokens.push(newest);
                    let socket = seen.sockets.last().unwrap().next();
                    seen.sockets.push(socket);
                    seen.opened_by.push(Some(token));
                    Some(link.attached(socket))
                }
                Event::Issue => {
                    let newest = self::token(issued);
                    issued += 1;
                    seen.tokens.push(newest);
                    Some(link.issued(newest))
                }
                Event::OwnerStarted => {
                    let told = link.owner_started();
                    prop_assert!(!seen.is_gone || told == Presence::Gone);
                    None
                }
                Event::OwnerEnded => {
                    link.owner_ended();
                    prop_assert!(seen.tokens.iter().all(|token| !link.may_resume(now, *token, false)));
                    None
                }
                Event::OutboxClosed(for_good) if !seen.closed => {
                    seen.closed = true;
                    Some(link.outbox_closed(now, if for_good { NORMAL } else { SILENT }))
                }
                Event::OutboxClosed(_) => None,
                Event::GiveUp => {
                    let is_here = matches!(link.place(), Place::Here(_));
                    prop_assert!(!(link.give_up(now) && is_here), "the client is here");
                    None
                }
                Event::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    None
                }
            };
            seen.carry_out(effects.unwrap_or_default());
            // The table of tokens knows what the link does, and nothing else.
            let known: HashSet<_> = link.tokens().collect();
            let valid: HashSet<_> =
                seen.tokens.iter().copied().filter(|token| !seen.revoked.contains(token)).collect();
            prop_assert_eq!(known, valid);
        }
    }
}

#[test]
fn a_session_that_another_process_has_taken_is_over_here() {
    let now = Instant::now();
    let (mut link, socket, first) = link(GRACE);
    assert!(link.may_resume(now, first, false));

    let close = Effect::Close(RESUMED_ELSEWHERE);
    let expected = [close, Effect::Detach(socket), Effect::Cut(socket), Effect::Revoke(first)];
    assert_eq!(link.taken(), expected);

    assert!(!link.may_resume(now, first, false));
    assert_eq!(
        link.socket_ended(now, socket, (SocketEnd::Closed, false)),
        [],
        "it is over already"
    );
    assert_eq!(link.outbox_closed(now, NORMAL), []);
    assert_eq!((link.place(), link.resumption(now)), (Place::Gone, None));
}
