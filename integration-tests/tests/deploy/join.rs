//! Clients of the room that the nodes of `cluster-example` share.

use callboard_client::{Client, ClientOptions};
use integration_tests::{Moment, PATIENCE, until};

/// Joins the room at the node with this port, as soon as the room is to be had.
pub(crate) async fn join(port: u16) -> Client {
    let url = format!("ws://127.0.0.1:{port}/socket/demo");
    until("a place in the room", PATIENCE, async || {
        match Client::connect(&url, ClientOptions::new()).await {
            Ok(client) => Moment::Now(client),
            Err(error) => Moment::NotYet(error.to_string()),
        }
    })
    .await
}
