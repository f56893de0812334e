//! Stand-alone ICE endpoints on hosts of their own, and the signaling between them.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part of it")]
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use actix::prelude::*;
use callboard_ice_handshake::endpoint::*;
use callboard_ice_handshake::handshake::*;
use callboard_transport::gather::{IceServer, IceTransportPolicy};
use integration_tests::Namespace;
pub use integration_tests::PATIENCE;
use tokio::sync::{mpsc, oneshot};

/// Endpoint on a thread in a network of its own.
pub struct Host {
    pub endpoint: IceEndpoint,
    pub events: mpsc::UnboundedReceiver<EndpointEvent>,
    pub seen: Vec<EndpointEvent>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Owner(mpsc::UnboundedSender<EndpointEvent>);

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<EndpointEvent> for Owner {
    type Result = ();

    fn handle(&mut self, event: EndpointEvent, _: &mut Context<Self>) {
        _ = self.0.send(event);
    }
}

impl Host {
    pub async fn start(namespace: &Namespace, options: EndpointOptions) -> Self {
        _ = env_logger::builder().is_test(true).try_init();
        let (tell, events) = mpsc::unbounded_channel();
        let (hand_out, handed) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let namespace = namespace.clone();
        let thread = thread::spawn(move || {
            namespace.enter();
            System::new().block_on(async move {
                let owner = Owner(tell).start();
                let endpoint = IceEndpoint::start(options, owner.recipient()).await;
                let endpoint =
                    endpoint.unwrap_or_else(|error| panic!("the endpoint starts: {error}"));
                _ = hand_out.send(endpoint.clone());
                _ = ended.await;
                endpoint.stop().await;
            });
        });
        let endpoint = handed.await.expect("the endpoint starts");
        Self { endpoint, events, seen: Vec::new(), end: Some(end), thread: Some(thread) }
    }

    /// Returns the first value that `pick` finds, in past events or in the next ones.
    pub async fn until<T>(
        &mut self,
        within: Duration,
        pick: impl FnMut(&EndpointEvent) -> Option<T> + Clone,
    ) -> T {
        if let Some(found) = self.seen.iter().find_map(pick.clone()) {
            return found;
        }
        self.later(within, pick).await
    }

    pub async fn later<T>(
        &mut self,
        within: Duration,
        mut pick: impl FnMut(&EndpointEvent) -> Option<T>,
    ) -> T {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let next = tokio::time::timeout_at(deadline, self.events.recv()).await;
            let event = next
                .unwrap_or_else(|_| panic!("nothing like it within {within:?}: {:#?}", self.seen));
            let event = event.expect("the owner lives");
            self.seen.push(event.clone());
            if let Some(found) = pick(&event) {
                return found;
            }
        }
    }

    pub async fn gathered(&mut self) -> (Credentials, Vec<String>) {
        self.endpoint.send(GatherCandidates).await.unwrap();
        self.until(PATIENCE, |event| {
            matches!(event, EndpointEvent::CandidateGatheringDone).then_some(())
        })
        .await;
        let credentials = self.seen.iter().find_map(|event| match event {
            EndpointEvent::LocalCredentials(credentials) => Some(credentials.clone()),
            _ => None,
        });
        (credentials.expect("they were told"), self.candidates())
    }

    pub fn candidates(&self) -> Vec<String> {
        self.seen
            .iter()
            .filter_map(|event| match event {
                EndpointEvent::NewCandidate { candidate, .. } => Some(candidate.clone()),
                _ => None,
            })
            .collect()
    }

    /// Returns the selected pair: the local and the remote address.
    pub fn selected(&self) -> (String, String) {
        let last = self.seen.iter().rev().find_map(|event| match event {
            EndpointEvent::NewSelectedPair { local, remote, .. } => {
                Some((local.to_string(), remote.to_string()))
            }
            _ => None,
        });
        last.expect("a pair is selected")
    }

    pub fn is_connected(&self) -> bool {
        self.seen.iter().any(|event| matches!(event, EndpointEvent::HandshakeFinished { .. }))
    }

    pub async fn say(&self, payload: &str) -> Result<(), SendPayloadError> {
        let payload = bytes::Bytes::copy_from_slice(payload.as_bytes());
        self.endpoint.send(SendPayload { component: ComponentId(1), payload }).await.unwrap()
    }

    pub async fn payload(&mut self, within: Duration) -> String {
        self.later(within, |event| match event {
            EndpointEvent::Payload { payload, .. } => {
                Some(String::from_utf8_lossy(payload).into_owned())
            }
            _ => None,
        })
        .await
    }

    /// Repeats a payload until the other side receives it: some payloads are lost.
    pub async fn say_until_heard(&mut self, other: &mut Host, payload: &str, within: Duration) {
        let began = Instant::now();
        while began.elapsed() < within {
            _ = self.say(payload).await;
            let heard =
                tokio::time::timeout(Duration::from_millis(100), other.payload(within)).await;
            if heard.is_ok_and(|heard| heard == payload) {
                return;
            }
        }
        panic!("{payload:?} is not heard within {within:?}: {:#?}\n{:#?}", self.seen, other.seen);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

/// Carries the signaling between two hosts until both have finished the handshake; returns how long that took from the
/// start of gathering.
pub async fn connect(a: &mut Host, b: &mut Host, within: Duration) -> Duration {
    let took = try_connect(a, b, within).await;
    took.unwrap_or_else(|| panic!("not within {within:?}: {:#?}\n{:#?}", a.seen, b.seen))
}

/// Does the same; returns nothing if they are not connected in time.
pub async fn try_connect(a: &mut Host, b: &mut Host, within: Duration) -> Option<Duration> {
    a.endpoint.send(GatherCandidates).await.unwrap();
    b.endpoint.send(GatherCandidates).await.unwrap();
    let began = Instant::now();
    let are_connected = try_carry_until(a, b, within, |a, b| a.is_connected() && b.is_connected());
    are_connected.await.then(|| began.elapsed())
}

pub async fn carry_until(
    a: &mut Host,
    b: &mut Host,
    within: Duration,
    done: impl FnMut(&Host, &Host) -> bool,
) {
    let is_done = try_carry_until(a, b, within, done).await;
    assert!(is_done, "not within {within:?}: {:#?}\n{:#?}", a.seen, b.seen);
}

async fn try_carry_until(
    a: &mut Host,
    b: &mut Host,
    within: Duration,
    mut done: impl FnMut(&Host, &Host) -> bool,
) -> bool {
    let deadline = tokio::time::Instant::now() + within;
    while !done(a, b) {
        let (from_a, event) = tokio::select! {
            event = a.events.recv() => (true, event.expect("the owner lives")),
            event = b.events.recv() => (false, event.expect("the owner lives")),
            () = tokio::time::sleep_until(deadline) => return false,
        };
        let (from, to) = if from_a { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
        carry(&event, &to.endpoint).await;
        from.seen.push(event);
    }
    true
}

pub async fn carry(event: &EndpointEvent, to: &IceEndpoint) {
    match event.clone() {
        EndpointEvent::HandshakeInitData { component, data } => {
            to.send(SetRemoteHandshakeInitData { component: Some(component), data }).await.unwrap();
        }
        EndpointEvent::LocalCredentials(credentials) => {
            to.send(SetRemoteCredentials(credentials)).await.unwrap().unwrap();
        }
        EndpointEvent::NewCandidate { component, candidate } => {
            to.send(SetRemoteCandidate { component, candidate }).await.unwrap().unwrap();
        }
        _ => {}
    }
}

pub async fn assert_talks(a: &mut Host, b: &mut Host) {
    a.say("from a").await.unwrap();
    assert_eq!(b.payload(PATIENCE).await, "from a");
    b.say("from b").await.unwrap();
    assert_eq!(a.payload(PATIENCE).await, "from b");
}

pub fn options(
    controlling: bool,
    handshake: impl HandshakeFactory,
    servers: &[IceServer],
) -> EndpointOptions {
    let mut options = EndpointOptions::new(Arc::new(handshake));
    options.controlling = controlling;
    options.transport.servers = servers.to_vec();
    options
}

pub fn relay_only(mut options: EndpointOptions) -> EndpointOptions {
    options.transport.policy = IceTransportPolicy::Relay;
    options
}

pub fn dtls() -> Dtls {
    Dtls::generate().unwrap()
}
