//! Wire over NATS, without JetStream.

use std::fmt;

use async_nats::{Client, ConnectOptions, Message};
use bytes::Bytes;
use futures_util::future::{FutureExt, join};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::task::unconstrained;

use super::{NatsError, NatsOptions, connect};
use crate::node_id::NodeId;
use crate::wire::{Arrival, Wire};

/// Wire over NATS, without JetStream: each datagram is published once, on `cb.CLUSTER.line.FROM.TO`, or on
/// `cb.CLUSTER.all.FROM` if it is for all nodes. NATS drops what a reader or a lost connection does not take. The parts
/// of a subject are names of nodes and of the cluster, which have no dots: no client can name one.
///
/// It has a connection of its own, so that large frames do not hold up the renewals of a [directory](super::Nats). It
/// needs a runtime of Tokio. The server must take messages of 260 KiB: its default is 1 MiB.
#[derive(Clone)]
pub struct NatsWire {
    client: Client,
    cluster: String,
}

impl NatsWire {
    /// Connects to servers as [`Nats::connect`](super::Nats::connect) does.
    ///
    /// # Errors
    /// [`NatsError`]
    pub async fn connect(servers: &str, options: NatsOptions) -> Result<Self, NatsError> {
        let connecting = ConnectOptions::new()
            .name("callboard-wire")
            .subscription_capacity(ARRIVALS)
            .client_capacity(DEPARTURES)
            .event_callback(|event| async move { log::info!("NATS, wire: {event}") });
        let client = connect(servers, &options, connecting).await?;
        Ok(Self { client, cluster: options.cluster })
    }

    fn publish(&self, subject: String, datagram: Bytes) {
        // It is taken at once, or lost. Not by chance of the task that it is called in: hence unconstrained.
        let published = unconstrained(self.client.publish(subject, datagram)).now_or_never();
        if !matches!(published, Some(Ok(()))) {
            log::debug!("NATS does not take a datagram: it is lost");
        }
    }
}

impl fmt::Debug for NatsWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsWire").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Wire for NatsWire {
    fn arrivals(&self, here: &NodeId) -> BoxStream<'static, Arrival> {
        let subjects =
            [format!("cb.{}.line.*.{here}", self.cluster), format!("cb.{}.all.*", self.cluster)];
        let client = self.client.clone();
        let subscribing = async move {
            let [line, all] = subjects.map(|subject| client.subscribe(subject));
            match join(line, all).await {
                (Ok(line), Ok(all)) => stream::select(line, all).boxed(),
                (Err(error), _) | (_, Err(error)) => {
                    log::warn!("NATS does not subscribe: {error}");
                    stream::empty().boxed()
                }
            }
        };
        subscribing.flatten_stream().filter_map(|message| async { arrival(message) }).boxed()
    }

    fn send(&self, from: &NodeId, to: &NodeId, datagram: Bytes) {
        self.publish(format!("cb.{}.line.{from}.{to}", self.cluster), datagram);
    }

    fn broadcast(&self, from: &NodeId, datagram: Bytes) {
        self.publish(format!("cb.{}.all.{from}", self.cluster), datagram);
    }
}

/// Returns what has arrived, if the subject says which node has sent it.
fn arrival(Message { subject, payload: datagram, .. }: Message) -> Option<Arrival> {
    let from = NodeId::new(subject.split('.').nth(3)?).ok()?;
    Some(Arrival { from, datagram })
}

/// Number of datagrams that wait for a node, of each kind of subject: more are lost.
const ARRIVALS: usize = 8_192;
/// Number of datagrams that wait for the connection: more are lost.
const DEPARTURES: usize = 4_096;
