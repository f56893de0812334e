//! Endpoints on loopback, and the work of the application between them.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part of it")]

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use callboard_ice_handshake::endpoint::*;
use callboard_ice_handshake::handshake::*;
use callboard_transport::mux::InterfaceFilter;
use tokio::sync::mpsc;

/// Owner of an endpoint, which passes on all events.
pub struct Owner(pub mpsc::UnboundedSender<EndpointEvent>);

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<EndpointEvent> for Owner {
    type Result = ();

    fn handle(&mut self, event: EndpointEvent, _: &mut Context<Self>) {
        _ = self.0.send(event);
    }
}

/// One side: its endpoint, and the endpoint's events so far.
pub struct Side {
    pub endpoint: IceEndpoint,
    pub events: mpsc::UnboundedReceiver<EndpointEvent>,
    pub seen: Vec<EndpointEvent>,
    _owner: Addr<Owner>,
}

pub fn options(controlling: bool, handshake: impl HandshakeFactory) -> EndpointOptions {
    let mut options = EndpointOptions::new(Arc::new(handshake));
    options.controlling = controlling;
    options.sockets.interfaces =
        InterfaceFilter::with_loopback().only(|_, address| address.is_loopback());
    options.sockets.ip_families = callboard_transport::mux::IpFamilies::V4;
    options
}

impl Side {
    pub async fn start(options: EndpointOptions) -> Self {
        _ = env_logger::builder().is_test(true).try_init();
        let (tell, events) = mpsc::unbounded_channel();
        let owner = Owner(tell).start();
        let endpoint = IceEndpoint::start(options, owner.clone().recipient()).await.unwrap();
        Self { endpoint, events, seen: Vec::new(), _owner: owner }
    }

    pub async fn next(&mut self) -> EndpointEvent {
        let next = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        let event = next
            .unwrap_or_else(|_| panic!("nothing more is told after {:#?}", self.seen))
            .expect("the owner lives");
        self.seen.push(event.clone());
        event
    }

    /// Returns the first result of `pick`, of past events and those to come.
    pub async fn until<T>(&mut self, mut pick: impl FnMut(&EndpointEvent) -> Option<T>) -> T {
        if let Some(found) = self.seen.iter().find_map(&mut pick) {
            return found;
        }
        self.later(pick).await
    }

    /// Returns the first result of `pick`, of events to come.
    pub async fn later<T>(&mut self, mut pick: impl FnMut(&EndpointEvent) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(&self.next().await) {
                return found;
            }
        }
    }

    pub async fn credentials(&mut self) -> Credentials {
        self.until(|event| match event {
            EndpointEvent::LocalCredentials(credentials) => Some(credentials.clone()),
            _ => None,
        })
        .await
    }

    pub async fn finished(&mut self, component: u16) -> HandshakeData {
        self.until(|event| match event {
            EndpointEvent::HandshakeFinished { component: of, data } if of.0 == component => {
                Some(data.clone())
            }
            EndpointEvent::ComponentFailed { error, .. } => panic!("failed: {error}"),
            _ => None,
        })
        .await
    }

    pub async fn failed(&mut self) -> ComponentError {
        self.until(|event| match event {
            EndpointEvent::ComponentFailed { error, .. } => Some(error.clone()),
            _ => None,
        })
        .await
    }

    pub async fn payload(&mut self) -> (u16, Bytes) {
        self.later(|event| match event {
            EndpointEvent::Payload { component, payload } => Some((component.0, payload.clone())),
            _ => None,
        })
        .await
    }

    pub async fn say(&self, component: u16, payload: &[u8]) -> Result<(), SendPayloadError> {
        let (component, payload) = (ComponentId(component), Bytes::copy_from_slice(payload));
        self.endpoint.send(SendPayload { component, payload }).await.unwrap()
    }

    /// Returns the events since the last call, without waiting.
    pub fn drain(&mut self) -> Vec<EndpointEvent> {
        let news: Vec<EndpointEvent> = std::iter::from_fn(|| self.events.try_recv().ok()).collect();
        self.seen.extend(news.iter().cloned());
        news
    }
}

/// Carries each endpoint's events to the other, as an application does, until `done` returns true.
pub async fn carry_until(a: &mut Side, b: &mut Side, mut done: impl FnMut(&Side, &Side) -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !done(a, b) {
        let a_told = tokio::select! {
            event = a.events.recv() => { (true, event) }
            event = b.events.recv() => { (false, event) }
            () = tokio::time::sleep_until(deadline) => panic!("not done: {:#?}\n{:#?}", a.seen, b.seen),
        };
        let (from_a, event) = (a_told.0, a_told.1.expect("the owner lives"));
        let (from, to) = if from_a { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
        carry(&event, &to.endpoint).await;
        from.seen.push(event);
    }
}

/// Carries one event to the peer.
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

pub fn handshakes_finished(side: &Side) -> usize {
    side.seen
        .iter()
        .filter(|event| matches!(event, EndpointEvent::HandshakeFinished { .. }))
        .count()
}

/// Returns two sides that have gathered, connected, and completed the handshake on every component.
pub async fn connected(a: EndpointOptions, b: EndpointOptions) -> (Side, Side) {
    let components = usize::from(a.components);
    let (mut a, mut b) = (Side::start(a).await, Side::start(b).await);
    a.endpoint.send(GatherCandidates).await.unwrap();
    b.endpoint.send(GatherCandidates).await.unwrap();
    carry_until(&mut a, &mut b, |a, b| {
        handshakes_finished(a) == components && handshakes_finished(b) == components
    })
    .await;
    (a, b)
}

/// Checks that payloads go both ways on this component.
pub async fn assert_talks(a: &mut Side, b: &mut Side, component: u16) {
    a.say(component, b"from a").await.unwrap();
    assert_eq!(b.payload().await, (component, Bytes::from_static(b"from a")));
    b.say(component, b"from b").await.unwrap();
    assert_eq!(a.payload().await, (component, Bytes::from_static(b"from b")));
}

/// Time-out of every wait in these tests: each takes less on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(45);
