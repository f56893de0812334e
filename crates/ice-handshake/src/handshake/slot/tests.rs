//! Tests of the slot with a real supervisor: what comes early, every end, and ends that compete.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use callboard_supervision::{ArbiterPool, Flags, Placement, SupervisorSpec};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::super::*;
use super::*;

/// Handshake that reports its calls, and takes its steps from the datagrams that it gets.
struct Scripted {
    calls: UnboundedSender<String>,
    /// Blocks the thread in `connection_ready` until its other end is dropped.
    block: Option<mpsc::Receiver<()>>,
}

impl Handshake for Scripted {
    fn set_remote_init_data(&mut self, data: InitData) {
        _ = self.calls.send(format!("init data {data:?}"));
    }

    fn set_round_trip_time(&mut self, time: Duration) {
        _ = self.calls.send(format!("round trip {time:?}"));
    }

    fn connection_ready(&mut self, _: Instant) -> Step {
        _ = self.calls.send("ready".to_owned());
        if let Some(block) = self.block.take() {
            _ = block.recv();
            return Step::Finished(HandshakeData::None);
        }
        Step::Ok
    }

    fn recv_from_peer(&mut self, _: Instant, datagram: &[u8]) -> Step {
        let said = String::from_utf8_lossy(datagram).into_owned();
        _ = self.calls.send(said.clone());
        match said.as_str() {
            "ask" => Step::Packets(vec![Bytes::from_static(b"answer")]),
            "finish" => Step::Finished(HandshakeData::None),
            "fail" => Step::Failed(HandshakeError::custom("no")),
            "close" => Step::Closed,
            "panic" => panic!("on purpose"),
            _ => Step::Ok,
        }
    }

    fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
        !datagram.starts_with(b"media")
    }

    fn close(&mut self) -> Vec<Bytes> {
        _ = self.calls.send("closed".to_owned());
        Vec::new()
    }
}

/// Owner that passes on the events that it gets, and runs the closures that it is sent.
struct Owner {
    slot: HandshakeSlot,
    told: UnboundedSender<HandshakeOutput>,
}

impl Actor for Owner {
    type Context = Context<Self>;
}

impl HandshakeOwner for Owner {
    fn handshake_slot(&mut self) -> &mut HandshakeSlot {
        &mut self.slot
    }

    fn handle_handshake(&mut self, output: HandshakeOutput, _: &mut Context<Self>) {
        _ = self.told.send(output);
    }
}

impl Handler<HandshakeEvent> for Owner {
    type Result = ();

    fn handle(&mut self, event: HandshakeEvent, ctx: &mut Context<Self>) {
        HandshakeSlot::handle_event(self, event, ctx);
    }
}

impl Handler<Down> for Owner {
    type Result = ();

    fn handle(&mut self, down: Down, ctx: &mut Context<Self>) {
        HandshakeSlot::handle_down(self, down, ctx);
    }
}

type Call = Box<dyn FnOnce(&mut HandshakeSlot, &mut Context<Owner>) + Send>;

#[derive(Message)]
#[rtype(result = "()")]
struct Do(Call);

impl Handler<Do> for Owner {
    type Result = ();

    fn handle(&mut self, Do(call): Do, ctx: &mut Context<Self>) {
        call(&mut self.slot, ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Quit;

impl Handler<Quit> for Owner {
    type Result = ();

    fn handle(&mut self, _: Quit, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

struct Fixture {
    supervisor: SupervisorRef,
    owner: Addr<Owner>,
    told: UnboundedReceiver<HandshakeOutput>,
    calls: UnboundedReceiver<String>,
    spec: HandshakeSpec,
}

impl Fixture {
    async fn new() -> Self {
        Self::blocked_by(None).await
    }

    async fn blocked_by(block: Option<mpsc::Receiver<()>>) -> Self {
        let (call, calls) = unbounded_channel();
        let block = std::sync::Mutex::new(block);
        let factory = move |_: &ComponentInfo| Scripted {
            calls: call.clone(),
            block: block.lock().unwrap().take(),
        };
        let spec = HandshakeSpec::new(ComponentInfo::new(ComponentId(1), true), Arc::new(factory));
        let supervisor = SupervisorSpec::dynamic(Flags::one_for_one()).start().await.unwrap();
        let (tell, told) = unbounded_channel();
        let owner = Owner { slot: HandshakeSlot::default(), told: tell }.start();
        Self { supervisor, owner, told, calls, spec }
    }

    async fn with(
        &self,
        call: impl FnOnce(&mut HandshakeSlot, &mut Context<Owner>) + Send + 'static,
    ) {
        self.owner.send(Do(Box::new(call))).await.unwrap();
    }

    async fn start(&self) {
        let (supervisor, spec) = (self.supervisor.clone(), self.spec.clone());
        self.with(move |slot, ctx| slot.start(&supervisor, "it".to_owned(), spec, ctx)).await;
    }

    async fn ready(&self) {
        self.with(|slot, ctx| slot.connection_ready(Some(MILLISECOND), ctx)).await;
    }

    async fn say(&self, datagram: &'static str) {
        self.with(move |slot, _| slot.datagram(Bytes::from_static(datagram.as_bytes()))).await;
    }

    async fn told(&mut self) -> HandshakeOutput {
        in_time(self.told.recv()).await.expect("the owner lives")
    }

    async fn call(&mut self) -> String {
        in_time(self.calls.recv()).await.expect("the handshake lives")
    }

    async fn init_data(&mut self) {
        let told = self.told().await;
        assert!(matches!(told, HandshakeOutput::InitData { .. }), "{told:?}");
    }

    async fn failed(&mut self) -> HandshakeError {
        match self.told().await {
            HandshakeOutput::Failed(error) => error,
            other => panic!("{other:?} for a failure"),
        }
    }

    /// Waits until no handshake runs. All its events are at the owner by then, and the owner has handled them.
    async fn over(&mut self) {
        self.gone().await;
        self.with(|_, _| {}).await;
    }

    /// Waits until no handshake runs.
    async fn gone(&self) {
        in_time(async {
            while self.supervisor.count_children().await.unwrap().active > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it comes in time")
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[actix::test]
async fn what_comes_before_the_handshake_runs_reaches_it_in_order_and_within_bounds() {
    let mut fixture = Fixture::new().await;
    fixture.with(|slot, _| slot.set_remote_init_data(InitData::None)).await;
    for _ in 0..EARLY {
        fixture.say("early").await;
    }
    fixture.say("one too many").await;
    fixture.ready().await;
    fixture.start().await;
    fixture.init_data().await;

    fixture.say("late").await;

    for expected in ["init data None", "round trip 1ms", "ready"] {
        assert_eq!(fixture.call().await, expected);
    }
    for _ in 0..EARLY {
        assert_eq!(fixture.call().await, "early");
    }
    assert_eq!(fixture.call().await, "late");
}

#[actix::test]
async fn a_second_start_and_a_second_readiness_do_nothing() {
    let mut fixture = Fixture::new().await;
    fixture.start().await;
    fixture.start().await;
    fixture.init_data().await;

    fixture.ready().await;
    fixture.ready().await;
    fixture.say("then").await;

    assert_eq!(fixture.call().await, "round trip 1ms");
    assert_eq!(fixture.call().await, "ready");
    assert_eq!(fixture.call().await, "then");
    assert_eq!(fixture.supervisor.count_children().await.unwrap().active, 1);
}

#[actix::test]
async fn a_finish_brings_all_datagrams_that_belong_to_the_session() {
    let mut fixture = Fixture::new().await;
    fixture.start().await;
    fixture.ready().await;
    fixture.init_data().await;
    // In one call: the owner cannot read the report of the finish before it has passed on all of them.
    let all = ["ask", "media 1", "finish", "2", "3"];
    fixture
        .with(move |slot, _| {
            all.map(|one| slot.datagram(Bytes::from_static(one.as_bytes()))).into_iter().collect()
        })
        .await;
    let answer = fixture.told().await;
    assert!(matches!(answer, HandshakeOutput::Transmit { .. }), "{answer:?}");

    let HandshakeOutput::Finished(finished) = fixture.told().await else { panic!("not finished") };

    assert_eq!(finished.kept, ["media 1", "2", "3"]);
    fixture.over().await;
    assert!(fixture.told.try_recv().is_err(), "one end is told");
}

#[actix::test]
async fn each_end_is_told_once() {
    for (datagram, expected) in [
        ("fail", HandshakeError::custom("no")),
        ("close", HandshakeError::ClosedByPeer),
        ("panic", HandshakeError::ActorEnded(ExitReason::Panic("on purpose".to_owned()))),
    ] {
        let mut fixture = Fixture::new().await;
        fixture.start().await;
        fixture.ready().await;
        fixture.init_data().await;

        fixture.say(datagram).await;

        assert_eq!(fixture.failed().await, expected);
        fixture.over().await;
        assert!(fixture.told.try_recv().is_err(), "one end is told");
    }
}

#[actix::test]
async fn a_handshake_that_cannot_be_started_has_empty_init_data_and_fails() {
    let (mut first, mut second) = (Fixture::new().await, Fixture::new().await);
    first.start().await;
    first.init_data().await;
    // The same id under the same supervisor.
    second.supervisor = first.supervisor.clone();

    second.start().await;

    let told = second.told().await;
    assert!(matches!(told, HandshakeOutput::InitData { data: InitData::None, .. }), "{told:?}");
    assert!(matches!(second.failed().await, HandshakeError::Custom(_)));
    first.say("still here").await;
    assert_eq!(first.call().await, "still here");
}

#[actix::test]
async fn a_blocked_handshake_fails_in_time_and_its_late_finish_is_not_told() {
    let (unblock, block) = mpsc::channel();
    let mut fixture = Fixture::blocked_by(Some(block)).await;
    fixture.spec.deadline = 20 * MILLISECOND;
    fixture.spec.placement = Placement::Pool(ArbiterPool::new(1));
    fixture.start().await;
    fixture.init_data().await;

    fixture.ready().await;

    assert_eq!(fixture.failed().await, HandshakeError::DeadlineExceeded(20 * MILLISECOND));
    drop(unblock);
    fixture.over().await;
    assert!(fixture.told.try_recv().is_err(), "one end is told");
}

#[actix::test]
async fn a_close_ends_the_handshake_and_is_not_told() {
    let mut fixture = Fixture::new().await;
    fixture.start().await;
    fixture.init_data().await;

    fixture.with(|slot, _| slot.close()).await;

    assert_eq!(fixture.call().await, "closed");
    fixture.over().await;
    assert!(fixture.told.try_recv().is_err());
}

#[actix::test]
async fn a_close_while_it_is_being_started_ends_it_too() {
    let mut fixture = Fixture::new().await;
    let (supervisor, spec) = (fixture.supervisor.clone(), fixture.spec.clone());

    fixture
        .with(move |slot, ctx| {
            slot.start(&supervisor, "it".to_owned(), spec, ctx);
            slot.close();
        })
        .await;

    assert_eq!(fixture.call().await, "closed");
    fixture.over().await;
}

#[actix::test]
async fn an_owner_that_ends_while_it_starts_a_handshake_leaves_none_behind() {
    let mut fixture = Fixture::new().await;
    // On another thread, it is still being made when its owner ends.
    fixture.spec.placement = Placement::Pool(ArbiterPool::new(1));
    fixture.start().await;

    fixture.owner.do_send(Quit);

    assert_eq!(fixture.call().await, "closed");
    fixture.gone().await;
}
