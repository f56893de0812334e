//! Benchmark of ten thousand children of a dynamic supervisor: time to start and to stop them, and memory while they
//! run and afterwards.

#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::time::Instant;

use actix::prelude::*;
use callboard_supervision::{ChildSpec, Flags, Restart, SupervisorSpec};

struct Idle;

impl Actor for Idle {
    type Context = Context<Self>;
}

const CHILDREN: usize = 10_000;
const ROUNDS: usize = 6;

fn main() {
    println!("{CHILDREN} children in each round; memory is what the process holds (RSS)");
    println!("round | start µs/child | stop µs/child | KiB/child | MiB before | MiB after");
    System::new().block_on(async {
        for round in 1..=ROUNDS {
            let before = resident();
            let root = SupervisorSpec::dynamic(Flags::one_for_one()).start().await.expect("a root");
            let began = Instant::now();
            for number in 0..CHILDREN {
                let spec = ChildSpec::new(number.to_string(), || Idle).restart(Restart::Temporary);
                root.start_child(spec).await.expect("a new name");
            }
            let started = began.elapsed();
            let counts = root.count_children().await.expect("the root runs");
            assert_eq!((counts.active, counts.workers), (CHILDREN, CHILDREN));
            assert_eq!(root.snapshot().running(), CHILDREN + 1);
            let with = resident();
            let began = Instant::now();
            root.stop().await;
            let stopped = began.elapsed();
            drop(root);
            let per_child = |micros: u128| micros as f64 / CHILDREN as f64;
            println!(
                "{round:5} | {:14.2} | {:13.2} | {:9.2} | {:10.1} | {:9.1}",
                per_child(started.as_micros()),
                per_child(stopped.as_micros()),
                with.saturating_sub(before) as f64 / 1024.0 / CHILDREN as f64,
                before as f64 / 1024.0 / 1024.0,
                resident() as f64 / 1024.0 / 1024.0,
            );
        }
    });
}

/// Returns the memory that the process holds, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}
