//! Test of a supervisor from outside: restarts, and the addresses of the instances.

use actix::prelude::*;
use callboard_supervision::*;

struct Counter(u64);

impl Actor for Counter {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "u64")]
struct Increment;

impl Handler<Increment> for Counter {
    type Result = u64;
    fn handle(&mut self, _: Increment, _: &mut Self::Context) -> u64 {
        self.0 += 1;
        self.0
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Crash;

impl Handler<Crash> for Counter {
    type Result = ();
    fn handle(&mut self, _: Crash, _: &mut Self::Context) {
        panic!("told to");
    }
}

#[actix::test]
async fn a_member_that_panics_is_restarted_under_a_new_address() {
    let supervisor = SupervisorSpec::new(Flags::one_for_one())
        .child(ChildSpec::new("counter", || Counter(0)))
        .start()
        .await
        .unwrap();
    let counter = supervisor.child::<Counter>("counter").unwrap();
    let mut events = supervisor.events();
    let old = counter.addr().unwrap();
    assert_eq!(counter.send(Increment).await, Ok(1));

    assert_eq!(counter.send(Crash).await, Err(CallError::Ended));

    // Logging the panic may block the thread for so long that the watchdog reports it.
    let mut next = async || loop {
        match events.recv().await.unwrap().what {
            Lifecycle::Blocked(_) => {}
            what => return what,
        }
    };
    assert_eq!(next().await, Lifecycle::Down(ExitReason::Panic("told to".into())));
    assert_eq!(next().await, Lifecycle::Started);
    assert_eq!(counter.send(Increment).await, Ok(1));
    assert_ne!(counter.addr().unwrap(), old);
    println!("{}", supervisor.snapshot());
    assert_eq!(supervisor.stop().await, ExitReason::SHUTDOWN);
    assert!(!counter.is_running());
}
