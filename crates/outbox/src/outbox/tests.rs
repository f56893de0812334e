//! Tests of the outbox: order, limits, closing, the sockets that take frames out.

use super::*;

/// Socket that counts how often it is told.
#[derive(Default)]
struct Wire(usize);

impl Actor for Wire {
    type Context = Context<Self>;
}

impl Handler<OutboxReady> for Wire {
    type Result = ();
    fn handle(&mut self, _: OutboxReady, _: &mut Self::Context) {
        self.0 += 1;
    }
}

#[derive(Message)]
#[rtype(result = "usize")]
struct Told;

impl Handler<Told> for Wire {
    type Result = usize;
    fn handle(&mut self, _: Told, _: &mut Self::Context) -> usize {
        self.0
    }
}

impl Handler<OutboxClosed> for Wire {
    type Result = ();
    fn handle(&mut self, _: OutboxClosed, _: &mut Self::Context) {
        self.0 += 1;
    }
}

#[actix::test]
async fn the_last_watcher_is_told_once_of_the_close_also_when_that_was_before() {
    let (first, last) = (Wire::default().start(), Wire::default().start());
    let outbox = Outbox::new(LIMITS);

    outbox.watch(first.clone().recipient());
    outbox.watch(last.clone().recipient());
    assert_eq!(last.send(Told).await.unwrap(), 0);
    outbox.close(CloseFrame::NORMAL);
    outbox.close(CloseFrame::FAILED);
    assert_eq!(last.send(Told).await.unwrap(), 1);

    outbox.watch(last.clone().recipient());
    assert_eq!(last.send(Told).await.unwrap(), 2);
    assert_eq!(first.send(Told).await.unwrap(), 0, "it was replaced");
}

const LIMITS: OutboxLimits = OutboxLimits { messages: 2, bytes: 10 };

fn frame(text: &'static str) -> Option<Deliver> {
    Some(Deliver::Frame(text.into()))
}

#[actix::test]
async fn one_frame_too_many_closes_the_connection_and_what_was_taken_makes_room() {
    let wire = Wire::default().start();
    let outbox = Outbox::new(LIMITS);
    let socket = outbox.attach(wire.clone().recipient(), None);

    assert_eq!(outbox.push("four".into()), Ok(()));
    assert_eq!(outbox.push("four".into()), Ok(()));
    assert_eq!(outbox.next(socket), frame("four"));
    assert_eq!(outbox.push("sixsix".into()), Ok(()));
    assert_eq!(outbox.backlog(), (2, 10));
    assert_eq!(outbox.push("x".into()), Err(OutboxClosedError));
    outbox.close(CloseFrame::NORMAL);

    assert_eq!(outbox.next(socket), frame("four"));
    assert_eq!(outbox.next(socket), frame("sixsix"));
    assert_eq!(outbox.next(socket), Some(Deliver::Close(CloseFrame::TOO_SLOW)));
    assert_eq!(outbox.next(socket), None);
    assert_eq!(wire.send(Told).await.unwrap(), 1, "it never found nothing before the end");
}

#[actix::test]
async fn of_what_is_put_in_a_socket_is_told_once_and_when_it_was_promised() {
    let wire = Wire::default().start();
    let outbox = Outbox::new(LIMITS);
    let socket = outbox.attach(wire.clone().recipient(), None);

    assert_eq!(outbox.put("a".into()), Ok(true));
    assert_eq!(outbox.put("b".into()), Ok(false), "it is promised");
    assert_eq!(wire.send(Told).await.unwrap(), 0);
    outbox.tell();
    outbox.tell();

    assert_eq!(wire.send(Told).await.unwrap(), 1);
    assert_eq!(outbox.next(socket), frame("a"));
    assert_eq!(outbox.put("c".into()), Ok(false), "it is still at it");
    assert_eq!((outbox.next(socket), outbox.next(socket)), (frame("b"), frame("c")));
    assert_eq!(outbox.next(socket), None);
    assert_eq!(outbox.put("d".into()), Ok(true));
}

#[actix::test]
async fn what_a_socket_has_not_taken_waits_for_the_next_one() {
    let (old, new) = (Wire::default().start(), Wire::default().start());
    let outbox = Outbox::new(LIMITS);
    let first = outbox.attach(old.clone().recipient(), None);
    outbox.push("a".into()).unwrap();
    outbox.push("b".into()).unwrap();
    assert_eq!(outbox.next(first), frame("a"));

    outbox.detach(first);
    outbox.push("c".into()).unwrap();
    assert_eq!(outbox.next(first), None, "it has ended");
    // A socket that is lost before it has taken anything.
    let lost = outbox.attach(old.clone().recipient(), Some("stale".into()));
    outbox.detach(lost);
    let second = outbox.attach(new.clone().recipient(), Some("resumed".into()));
    outbox.detach(first);

    assert_eq!(outbox.next(first), None);
    for text in ["resumed", "b", "c"] {
        assert_eq!(outbox.next(second), frame(text));
    }
    assert_eq!(outbox.next(second), None);
    assert_eq!(outbox.backlog(), (0, 0));
    assert_eq!((old.send(Told).await.unwrap(), new.send(Told).await.unwrap()), (2, 1));
}

#[test]
fn without_a_socket_the_bounds_are_the_same() {
    let outbox = Outbox::new(LIMITS);

    outbox.push("a".into()).unwrap();
    outbox.push("b".into()).unwrap();

    assert_eq!(outbox.push("c".into()), Err(OutboxClosedError));
    assert_eq!(outbox.closing(), Some(&CloseFrame::TOO_SLOW));
    assert_eq!(outbox.backlog(), (0, 0), "no socket takes it");
}

#[actix::test]
async fn what_waits_is_kept_for_another_process_without_the_first_frame_of_a_socket() {
    let (old, new) = (Wire::default().start(), Wire::default().start());
    let outbox = Outbox::new(LIMITS);
    outbox.push("a".into()).unwrap();
    outbox.push("b".into()).unwrap();
    outbox.attach(old.recipient(), Some("resumed".into()));

    let kept = outbox.waiting();
    let again = Outbox::holding(outbox.limits(), kept);
    let socket = again.attach(new.recipient(), Some("resumed".into()));

    for text in ["resumed", "a", "b"] {
        assert_eq!(again.next(socket), frame(text));
    }
    assert_eq!((again.next(socket), again.backlog()), (None, (0, 0)));
}

#[test]
fn who_asks_late_learns_of_the_close_once() {
    let closes = std::sync::Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let closes = std::sync::Arc::clone(&closes);
        move |close: CloseFrame| closes.lock().unwrap().push((name, close.code))
    };
    let (late, early) = (Outbox::new(LIMITS), Outbox::new(LIMITS));

    late.close(CloseFrame::NORMAL);
    late.when_closed(note("late"));
    late.close(CloseFrame::FAILED);
    early.when_closed(note("early"));
    early.when_closed(note("second"));
    early.close(CloseFrame::FAILED);

    assert_eq!(*closes.lock().unwrap(), [("late", 1000), ("early", 1011)]);
}

#[actix::test]
async fn what_another_process_had_taken_comes_back_before_what_has_come_since() {
    let (old, new) = (Wire::default().start(), Wire::default().start());
    let outbox = Outbox::new(LIMITS);
    let before = outbox.attach(old.recipient(), Some("resumed".into()));
    outbox.detach(before);
    outbox.push("c".into()).unwrap();

    outbox.put_back(["a".into(), "b".into()]);
    let socket = outbox.attach(new.recipient(), Some("resumed".into()));

    assert_eq!(outbox.next(before), None);
    for text in ["resumed", "a", "b", "c"] {
        assert_eq!(outbox.next(socket), frame(text));
    }
    assert_eq!((outbox.next(socket), outbox.backlog()), (None, (0, 0)));
}

#[actix::test]
async fn a_socket_of_many_clients_is_told_once_until_it_looks() {
    let wire = Wire::default().start();
    let shared = SharedSocket::new(wire.clone().recipient());
    let outboxes = [(); 3].map(|()| Outbox::new(LIMITS));
    let sockets = outboxes.each_ref().map(|outbox| outbox.attach_shared(&shared));

    outboxes[0].push("a".into()).unwrap();
    assert_eq!(outboxes[1].put("b".into()), Ok(true));
    outboxes[1].tell();
    assert_eq!(wire.send(Told).await.unwrap(), 1);

    shared.looks();
    outboxes[2].push("c".into()).unwrap();
    for (outbox, (socket, text)) in outboxes.iter().zip(sockets.into_iter().zip(["a", "b", "c"])) {
        assert_eq!((outbox.next(socket), outbox.next(socket)), (frame(text), None));
    }
    outboxes[0].close(CloseFrame::NORMAL);
    assert_eq!(wire.send(Told).await.unwrap(), 2, "it has not looked since it was told");

    shared.looks();
    assert_eq!(outboxes[0].next(sockets[0]), Some(Deliver::Close(CloseFrame::NORMAL)));
    outboxes[1].push("d".into()).unwrap();
    assert_eq!(wire.send(Told).await.unwrap(), 3);
}
