//! Benchmark of messages: to a plain actix actor (the baseline), to a supervised one, and through its name.

use actix::prelude::*;
use callboard_supervision::{ChildRef, ChildSpec, Flags, SupervisorRef, SupervisorSpec};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

struct Counter(u64);

impl Actor for Counter {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "u64")]
struct Add(u64);

impl Handler<Add> for Counter {
    type Result = u64;
    fn handle(&mut self, Add(more): Add, _: &mut Self::Context) -> u64 {
        self.0 += more;
        self.0
    }
}

/// Number of messages in one iteration.
const BATCH: u64 = 1000;

fn messages(criterion: &mut Criterion) {
    let system = System::new();
    let (plain, supervised, named, _root) = system.block_on(actors());

    let mut group = criterion.benchmark_group("round trip");
    group.throughput(Throughput::Elements(BATCH));
    let rounds = async |addr: &Addr<Counter>| {
        for _ in 0..BATCH {
            addr.send(Add(1)).await.expect("it runs");
        }
    };
    group.bench_function("plain", |bencher| bencher.iter(|| system.block_on(rounds(&plain))));
    group.bench_function("supervised", |bencher| {
        bencher.iter(|| system.block_on(rounds(&supervised)))
    });
    group.bench_function("by name", |bencher| {
        bencher.iter(|| {
            system.block_on(async {
                for _ in 0..BATCH {
                    named.send(Add(1)).await.expect("it runs");
                }
            });
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("one way");
    group.throughput(Throughput::Elements(BATCH));
    let throw = async |addr: &Addr<Counter>| {
        for _ in 1..BATCH {
            addr.do_send(Add(1));
        }
        addr.send(Add(1)).await.expect("it runs");
    };
    group.bench_function("plain", |bencher| bencher.iter(|| system.block_on(throw(&plain))));
    group.bench_function("supervised", |bencher| {
        bencher.iter(|| system.block_on(throw(&supervised)))
    });
    group.bench_function("by name", |bencher| {
        bencher.iter(|| {
            system.block_on(async {
                for _ in 1..BATCH {
                    named.do_send(Add(1)).expect("it runs");
                }
                named.send(Add(1)).await.expect("it runs");
            });
        });
    });
    group.finish();
}

async fn actors() -> (Addr<Counter>, Addr<Counter>, ChildRef<Counter>, SupervisorRef) {
    let spec =
        SupervisorSpec::new(Flags::one_for_one()).child(ChildSpec::new("counter", || Counter(0)));
    let root = spec.start().await.expect("nothing to go wrong");
    let named = root.child::<Counter>("counter").expect("a counter");
    let supervised = named.addr().expect("it runs");
    (Counter(0).start(), supervised, named, root)
}

criterion_group!(benches, messages);
criterion_main!(benches);
