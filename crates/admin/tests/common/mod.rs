//! Waiting for what another node says.
#![allow(dead_code, reason = "each test file uses a part")]

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Waits until this holds.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            pause().await;
        }
    };
    timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("not yet: {what}"));
}

/// Lets time pass between two looks: trees of all nodes are asked for, and a line between nodes is told to no one.
pub(crate) async fn pause() {
    sleep(Duration::from_millis(20)).await;
}
