//! Waiting for conditions.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// What a look at a condition told.
#[derive(Debug)]
pub enum Moment<T> {
    /// It holds.
    Now(T),
    /// It does not hold yet; here is what there was instead, for the message of a wait that fails.
    NotYet(String),
}

/// Looks again and again until the condition holds, for at most `within`.
///
/// # Panics
///
/// When time is up, with what was awaited and what there was at the last look.
pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Moment<T>) -> T {
    let deadline = Instant::now() + within;
    let mut ticks = interval(BETWEEN_LOOKS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match look().await {
            Moment::Now(value) => return value,
            Moment::NotYet(instead) if Instant::now() >= deadline => {
                panic!("waited {within:?} for {what}; at last there was {instead}")
            }
            Moment::NotYet(_) => {}
        }
    }
}

/// Short beside what a browser takes for anything, long beside what a look costs.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
