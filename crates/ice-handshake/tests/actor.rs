//! Tests of the handshake actor: every step that a handshake can return, and every way in which it can fail.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use actix::prelude::*;
use bytes::Bytes;
use callboard_ice_handshake::handshake::*;
use callboard_supervision::{
    ArbiterPool, Down, ExitReason, Flags, Placement, SupervisorRef, SupervisorSpec,
};
use tokio::sync::mpsc as channel;

/// Answers of a scripted handshake; each is given once.
#[derive(Default)]
struct Script {
    init: Option<Init>,
    ready: Option<Answer>,
    received: Vec<Answer>,
    timeout: Option<Duration>,
}

type Answer = Box<dyn FnOnce() -> Step + Send>;

fn answer(step: impl FnOnce() -> Step + Send + 'static) -> Answer {
    Box::new(step)
}

struct Scripted {
    script: Script,
    calls: channel::UnboundedSender<String>,
    wake_up: Option<Instant>,
}

impl Handshake for Scripted {
    fn init(&mut self) -> Init {
        _ = self.calls.send("init".to_owned());
        self.script.init.take().unwrap_or(Init::Ok(InitData::None))
    }

    fn set_remote_init_data(&mut self, data: InitData) {
        _ = self.calls.send(format!("remote {data:?}"));
    }

    fn connection_ready(&mut self, now: Instant) -> Step {
        _ = self.calls.send("ready".to_owned());
        self.wake_up = self.script.timeout.map(|wait| now + wait);
        self.script.ready.take().map_or(Step::Ok, |step| step())
    }

    fn recv_from_peer(&mut self, _: Instant, datagram: &[u8]) -> Step {
        _ = self.calls.send(String::from_utf8_lossy(datagram).into_owned());
        if self.script.received.is_empty() { Step::Ok } else { (self.script.received.remove(0))() }
    }

    fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
        !datagram.starts_with(b"media")
    }

    fn handle_timeout(&mut self, _: Instant) -> Step {
        self.wake_up = None;
        Step::Packets(vec![Bytes::from_static(b"again")])
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.wake_up
    }

    fn close(&mut self) -> Vec<Bytes> {
        vec![Bytes::from_static(b"goodbye")]
    }
}

/// Owner of the component, which passes on all events.
struct Owner(channel::UnboundedSender<Heard>);

enum Heard {
    Event(HandshakeOutput),
    Down(ExitReason),
}

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<HandshakeEvent> for Owner {
    type Result = ();

    fn handle(&mut self, event: HandshakeEvent, _: &mut Context<Self>) {
        assert_eq!(event.component, COMPONENT);
        _ = self.0.send(Heard::Event(event.output));
    }
}

impl Handler<Down> for Owner {
    type Result = ();

    fn handle(&mut self, down: Down, _: &mut Context<Self>) {
        _ = self.0.send(Heard::Down(down.reason));
    }
}

struct Fixture {
    supervisor: SupervisorRef,
    handshake: HandshakeHandle,
    heard: channel::UnboundedReceiver<Heard>,
    calls: channel::UnboundedReceiver<String>,
    _owner: Addr<Owner>,
}

impl Fixture {
    async fn new(script: Script) -> Self {
        Self::with(script, |spec| spec).await
    }

    async fn with(script: Script, adapt: impl FnOnce(HandshakeSpec) -> HandshakeSpec) -> Self {
        let (calls, called) = channel::unbounded_channel();
        let script = std::sync::Mutex::new(Some(script));
        let factory = move |_: &ComponentInfo| Scripted {
            script: script.lock().unwrap().take().expect("a handshake is made once"),
            calls: calls.clone(),
            wake_up: None,
        };
        let supervisor = SupervisorSpec::dynamic(Flags::one_for_one()).start().await.unwrap();
        let (tell, heard) = channel::unbounded_channel();
        let owner = Owner(tell).start();
        let spec =
            adapt(HandshakeSpec::new(ComponentInfo::new(COMPONENT, true), Arc::new(factory)));
        let handshake = start_handshake(&supervisor, "handshake", spec, &owner).await.unwrap();
        Self { supervisor, handshake, heard, calls: called, _owner: owner }
    }

    async fn hear(&mut self) -> Heard {
        let heard = tokio::time::timeout(Duration::from_secs(20), self.heard.recv()).await;
        heard.expect("something is heard in time").expect("the owner lives")
    }

    async fn event(&mut self) -> HandshakeOutput {
        match self.hear().await {
            Heard::Event(event) => event,
            Heard::Down(reason) => panic!("down: {reason}"),
        }
    }

    async fn init_data(&mut self) -> bool {
        match self.event().await {
            HandshakeOutput::InitData { finished, .. } => finished,
            other => panic!("{other:?} before the init data"),
        }
    }

    async fn packets(&mut self) -> Vec<Bytes> {
        match self.event().await {
            HandshakeOutput::Transmit { packets, .. } => packets,
            other => panic!("{other:?} for packets"),
        }
    }

    async fn finished(&mut self) -> Finished {
        match self.event().await {
            HandshakeOutput::Finished(finished) => finished,
            other => panic!("{other:?} for the finish"),
        }
    }

    async fn failed(&mut self) -> HandshakeError {
        match self.event().await {
            HandshakeOutput::Failed(error) => error,
            other => panic!("{other:?} for a failure"),
        }
    }

    /// Expects that the actor ends, and sends nothing more.
    async fn ends(&mut self, expected: ExitReason) {
        match self.hear().await {
            Heard::Down(reason) => assert_eq!(reason, expected),
            Heard::Event(event) => panic!("{event:?} after the end"),
        }
        assert_eq!(self.supervisor.count_children().await.unwrap().active, 0);
        assert!(self.heard.try_recv().is_err());
    }

    fn say(&mut self, datagram: &'static str) {
        self.handshake.datagram(Bytes::from_static(datagram.as_bytes()));
    }

    fn calls(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.calls.try_recv().ok()).collect()
    }
}

fn text(packets: &[Bytes]) -> Vec<&str> {
    packets.iter().map(|packet| std::str::from_utf8(packet).unwrap()).collect()
}

const COMPONENT: ComponentId = ComponentId(2);

#[actix::test]
async fn finished_at_init_everything_is_payload_and_no_other_function_is_called() {
    let script = Script { init: Some(Init::Finished(InitData::None)), ..Script::default() };
    let mut fixture = Fixture::new(script).await;
    assert!(fixture.init_data().await);
    fixture.say("one");
    fixture.say("media two");
    fixture.handshake.connection_ready(None);

    let mut finished = fixture.finished().await;

    let replayed: Vec<Bytes> = fixture.handshake.replay(&mut finished).collect();
    assert_eq!(text(&replayed), ["one", "media two"]);
    fixture.ends(ExitReason::Normal).await;
    assert_eq!(fixture.calls(), ["init"]);
}

#[actix::test]
async fn finished_in_connection_ready_with_and_without_packets() {
    for packets in [vec![], vec![Bytes::from_static(b"last")]] {
        let expected = packets.clone();
        let step = move || match packets.is_empty() {
            true => Step::Finished(HandshakeData::None),
            false => Step::FinishedWithPackets(HandshakeData::None, packets),
        };
        let mut fixture =
            Fixture::new(Script { ready: Some(answer(step)), ..Script::default() }).await;
        assert!(!fixture.init_data().await);

        fixture.handshake.connection_ready(None);

        if !expected.is_empty() {
            assert_eq!(fixture.packets().await, expected, "packets go before anything else");
        }
        fixture.finished().await;
        fixture.ends(ExitReason::Normal).await;
    }
}

#[actix::test]
async fn packets_in_connection_ready_and_a_finish_on_receiving() {
    let mut fixture = Fixture::new(Script {
        ready: Some(answer(|| {
            Step::Packets(vec![Bytes::from_static(b"hello"), Bytes::from_static(b"there")])
        })),
        received: vec![
            answer(|| Step::Ok),
            answer(|| Step::Packets(vec![Bytes::from_static(b"more")])),
            answer(|| {
                Step::FinishedWithPackets(HandshakeData::None, vec![Bytes::from_static(b"last")])
            }),
        ],
        ..Script::default()
    })
    .await;
    fixture.init_data().await;
    fixture.handshake.connection_ready(None);
    assert_eq!(text(&fixture.packets().await), ["hello", "there"]);
    for datagram in ["1", "2", "3"] {
        fixture.say(datagram);
    }
    assert_eq!(text(&fixture.packets().await), ["more"]);
    assert_eq!(text(&fixture.packets().await), ["last"]);

    assert_eq!(fixture.finished().await.consumed, 3);

    fixture.ends(ExitReason::Normal).await;
    assert_eq!(fixture.calls(), ["init", "ready", "1", "2", "3"]);
}

#[actix::test]
async fn a_finish_before_the_component_is_ready_is_told_once_it_is() {
    for with_packets in [false, true] {
        let step = move || match with_packets {
            true => {
                Step::FinishedWithPackets(HandshakeData::None, vec![Bytes::from_static(b"last")])
            }
            false => Step::Finished(HandshakeData::None),
        };
        let mut fixture =
            Fixture::new(Script { received: vec![answer(step)], ..Script::default() }).await;
        fixture.init_data().await;
        fixture.say("early");
        fixture.say("behind it");
        if with_packets {
            assert_eq!(text(&fixture.packets().await), ["last"], "the peer needs them at once");
        }
        // Both datagrams have been processed when this is answered.
        fixture.handshake.set_remote_init_data(InitData::None);
        while fixture.calls.recv().await.unwrap() != "remote None" {}
        assert!(fixture.heard.try_recv().is_err(), "nothing is told before the component is ready");

        fixture.handshake.connection_ready(None);
        fixture.handshake.connection_ready(None);

        let mut finished = fixture.finished().await;
        let replayed: Vec<Bytes> = fixture.handshake.replay(&mut finished).collect();
        assert_eq!(text(&replayed), ["behind it"]);
        fixture.ends(ExitReason::Normal).await;
        assert!(!fixture.calls().contains(&"ready".to_owned()));
    }
}

#[actix::test]
async fn datagrams_that_are_not_for_the_handshake_or_come_behind_it_are_the_sessions() {
    let mut fixture = Fixture::new(Script {
        received: vec![answer(|| Step::Ok), answer(|| Step::Finished(HandshakeData::None))],
        ..Script::default()
    })
    .await;
    fixture.init_data().await;
    fixture.handshake.connection_ready(None);
    for datagram in ["1", "media a", "2", "media b", "3"] {
        fixture.say(datagram);
    }

    let mut finished = fixture.finished().await;

    let mut output = SessionOutput::default();
    let replay: Vec<Bytes> = fixture.handshake.replay(&mut finished).collect();
    for datagram in replay {
        finished.session.receive(tokio::time::Instant::now().into_std(), datagram, &mut output);
    }
    assert_eq!(text(&output.payloads), ["media a", "media b", "3"]);
}

#[actix::test]
async fn datagrams_that_come_when_it_has_ended_and_its_owner_is_behind_are_the_sessions() {
    let step = || Step::Finished(HandshakeData::None);
    let mut fixture =
        Fixture::new(Script { received: vec![answer(step)], ..Script::default() }).await;
    fixture.init_data().await;
    fixture.handshake.connection_ready(None);
    fixture.say("last");
    let mut finished = fixture.finished().await;
    fixture.ends(ExitReason::Normal).await;

    // The actor's event has not been read yet.
    fixture.say("first of the session");
    fixture.say("second");

    let replayed: Vec<Bytes> = fixture.handshake.replay(&mut finished).collect();
    assert_eq!(text(&replayed), ["first of the session", "second"]);
}

#[actix::test]
async fn time_and_remote_init_data_reach_the_handshake() {
    let mut fixture =
        Fixture::new(Script { timeout: Some(Duration::from_millis(5)), ..Script::default() }).await;
    fixture.init_data().await;
    fixture.handshake.set_remote_init_data(InitData::Fingerprints(vec![]));

    fixture.handshake.connection_ready(None);

    assert_eq!(text(&fixture.packets().await), ["again"]);
    assert_eq!(fixture.calls(), ["init", "remote []", "ready"]);
}

#[actix::test]
async fn a_failure_is_told_with_its_reason_and_its_last_words() {
    let step = || {
        Step::FailedWithPackets(HandshakeError::custom("no"), vec![Bytes::from_static(b"alert")])
    };
    let mut fixture = Fixture::new(Script { ready: Some(answer(step)), ..Script::default() }).await;
    fixture.init_data().await;

    fixture.handshake.connection_ready(None);

    assert_eq!(text(&fixture.packets().await), ["alert"]);
    assert_eq!(fixture.failed().await, HandshakeError::custom("no"));
    fixture.ends(ExitReason::Normal).await;
}

#[actix::test]
async fn a_close_says_goodbye() {
    let mut fixture = Fixture::new(Script::default()).await;
    fixture.init_data().await;

    fixture.handshake.close();

    assert_eq!(text(&fixture.packets().await), ["goodbye"]);
    assert!(matches!(fixture.event().await, HandshakeOutput::Closed));
    fixture.ends(ExitReason::Normal).await;
}

#[actix::test]
async fn the_peers_close_fails_a_handshake_under_way() {
    let mut fixture =
        Fixture::new(Script { received: vec![answer(|| Step::Closed)], ..Script::default() }).await;
    fixture.init_data().await;
    fixture.handshake.connection_ready(None);

    fixture.say("bye");

    assert_eq!(fixture.failed().await, HandshakeError::ClosedByPeer);
    fixture.ends(ExitReason::Normal).await;
}

#[actix::test]
async fn one_that_never_finishes_fails_at_its_deadline() {
    let deadline = Duration::from_millis(50);
    let mut fixture =
        Fixture::with(Script::default(), |spec| HandshakeSpec { deadline, ..spec }).await;
    fixture.init_data().await;

    fixture.handshake.connection_ready(None);

    assert_eq!(fixture.packets().await, [&b"goodbye"[..]]);
    assert_eq!(fixture.failed().await, HandshakeError::DeadlineExceeded(deadline));
    fixture.ends(ExitReason::Normal).await;
}

#[actix::test]
async fn f4_a_panic_is_one_down_and_no_other_handshake_notices() {
    let panics = || Script { ready: Some(answer(|| panic!("on purpose"))), ..Script::default() };
    let mut bystander = Fixture::new(Script {
        ready: Some(answer(|| Step::Finished(HandshakeData::None))),
        ..Script::default()
    })
    .await;
    let mut fixture = Fixture::new(panics()).await;
    fixture.init_data().await;

    fixture.handshake.connection_ready(None);

    fixture.ends(ExitReason::Panic("on purpose".to_owned())).await;
    fixture.say("into the void");
    fixture.handshake.close();
    bystander.init_data().await;
    bystander.handshake.connection_ready(None);
    bystander.finished().await;
}

#[actix::test]
async fn f4_a_blocked_thread_is_replaced_and_others_go_on() {
    let pool = ArbiterPool::new(1);
    let (unblock, blocked) = mpsc::channel::<()>();
    let script = Script {
        ready: Some(answer(move || {
            _ = blocked.recv();
            Step::Ok
        })),
        ..Script::default()
    };
    let on_pool = |spec| HandshakeSpec { placement: Placement::Pool(pool.clone()), ..spec };
    let mut fixture = Fixture::with(script, on_pool).await;
    fixture.init_data().await;
    fixture.handshake.connection_ready(None);
    assert_eq!(fixture.calls.recv().await.as_deref(), Some("init"));
    assert_eq!(fixture.calls.recv().await.as_deref(), Some("ready"));
    for _ in 0..1_000 {
        fixture.say("flood");
    }
    assert!(
        fixture.handshake.lost() >= 900,
        "what a blocked handshake cannot take is dropped, not queued"
    );

    // The owner gives up on the handshake: it cannot be stopped, so its thread is abandoned as well.
    fixture.supervisor.terminate_child("handshake").await.unwrap();

    let next =
        Script { ready: Some(answer(|| Step::Finished(HandshakeData::None))), ..Script::default() };
    let mut other = Fixture::with(next, on_pool).await;
    other.init_data().await;
    other.handshake.connection_ready(None);
    other.finished().await;
    assert_eq!(pool.replaced(), 1);
    drop(unblock);
}
