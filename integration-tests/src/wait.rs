//! Waiting for conditions.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// Result of one check of a condition.
#[derive(Debug)]
pub enum Moment<T> {
    /// It holds.
    Now(T),
    /// It does not hold yet; the text describes the state found instead, for the message of a wait that fails.
    NotYet(String),
}

/// Checks again and again until the condition holds, for at most `within`, and returns its value.
///
/// # Panics
///
/// When time is up, with the condition's description and the state at the last check.
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

/// Time between two checks: short beside what a browser takes for anything, long beside the cost of a check.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
