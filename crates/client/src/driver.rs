//! Driver of a client: carries texts and time between its core and its WebSocket.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinHandle;

use crate::address::Address;
use crate::connector::Connector;
use crate::core::Output;
use crate::event::{ClientEvent, ClientState};
use crate::session::Loss;
use crate::shared::Shared;
use crate::socket::{Incoming, Socket};

/// Task of a client, from its first connection to its end.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    /// Address that the application has given.
    address: Arc<Address>,
    connector: Connector,
    max_message: usize,
    link: Link,
    /// Second WebSocket, while the client moves there.
    next: Link,
    events: mpsc::Sender<ClientEvent>,
    /// Events for which the application has no room: what one text has brought, and a few changes of the state.
    backlog: VecDeque<ClientEvent>,
    closing: Option<JoinHandle<()>>,
}

/// The WebSocket, as far as there is one.
enum Link {
    None,
    Opening(BoxFuture<'static, Result<Socket, Loss>>),
    Open(Box<Socket>),
}

/// Something that happens to the WebSocket.
enum SocketEvent {
    Opened(Box<Socket>),
    Received(Incoming),
    Sent,
    /// The second WebSocket is open.
    NextOpened(Box<Socket>),
    NextReceived(Incoming),
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        address: Arc<Address>,
        connector: Connector,
        events: mpsc::Sender<ClientEvent>,
        max_message: usize,
    ) -> Self {
        Self {
            shared,
            address,
            connector,
            max_message,
            link: Link::None,
            next: Link::None,
            events,
            backlog: VecDeque::new(),
            closing: None,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            while let Some(output) = self.shared.next_output() {
                self.carry_out(output);
            }
            self.deliver_events();
            if self.shared.core(|core| core.state()) == ClientState::Closed {
                break;
            }
            self.step().await;
        }
        if let Some(closing) = self.closing.take() {
            // It has a time limit.
            _ = closing.await;
        }
        self.shared.end();
        while let Some(event) = self.backlog.pop_front() {
            if self.events.send(event).await.is_err() {
                break;
            }
        }
    }

    /// Waits for the next thing that happens.
    async fn step(&mut self) {
        let Self { shared, link, next, events, backlog, .. } = &mut *self;
        // While the application takes no events, nothing more is read, and no time passes for the connection.
        let (is_free, timeout) = (backlog.is_empty(), shared.core(|core| core.poll_timeout()));
        let timer = async {
            match timeout {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => pending().await,
            }
        };
        let (reads, reads_next) = shared.core(|core| (core.reads(), core.reads_next()));
        let happened = tokio::select! {
            event = poll_fn(|context| link.poll(context, shared, is_free && reads)) => Some(event),
            event = poll_fn(|context| next.poll_next(context)), if reads_next => Some(event),
            () = shared.changed() => None,
            () = timer, if is_free => {
                shared.core(|core| core.handle_timeout(now()));
                None
            }
            // There is room, or the application listens no more.
            _ = events.reserve(), if !is_free => None,
        };
        if let Some(event) = happened {
            self.handle(event);
        }
    }

    fn handle(&mut self, event: SocketEvent) {
        let core = &self.shared;
        match event {
            SocketEvent::Opened(socket) => self.link = Link::Open(socket),
            SocketEvent::Received(Incoming::Text(text)) => {
                core.core(|core| core.handle_text(&text, now()));
            }
            SocketEvent::Received(Incoming::Other) => core.core(|core| core.handle_other_frame()),
            SocketEvent::Received(Incoming::Control) => {
                core.core(|core| core.handle_control_frame());
            }
            SocketEvent::Received(Incoming::Lost(loss)) => {
                core.core(|core| core.handle_loss(loss, now()));
            }
            SocketEvent::Sent => core.note_sent(),
            SocketEvent::NextOpened(socket) => self.next = Link::Open(socket),
            SocketEvent::NextReceived(Incoming::Text(text)) => {
                core.core(|core| core.handle_next_text(&text, now()));
            }
            SocketEvent::NextReceived(Incoming::Lost(loss)) => {
                core.core(|core| core.handle_next_loss(&loss, now()));
            }
            SocketEvent::NextReceived(Incoming::Other | Incoming::Control) => {}
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Open { to, resume } => self.link = self.open(to, resume),
            Output::OpenNext { to, resume } => self.next = self.open(to, resume),
            Output::DropNext { code } => {
                let next = std::mem::replace(&mut self.next, Link::None);
                self.close(next, code, Vec::new());
            }
            Output::Switch => {
                let next = std::mem::replace(&mut self.next, Link::None);
                let link = std::mem::replace(&mut self.link, next);
                self.close(link, Some(LEAVING), Vec::new());
                self.shared.note_sent();
            }
            Output::Drop { code, left } => {
                let link = std::mem::replace(&mut self.link, Link::None);
                self.close(link, code, left);
                // Texts that were dropped wait no more.
                self.shared.note_sent();
            }
            Output::Event(event) => self.backlog.push_back(event),
            Output::Admitted
            | Output::Failed(_)
            | Output::Done(..)
            | Output::Run { .. }
            | Output::Signal(_) => {
                unreachable!("done by `Shared::next_output`")
            }
        }
    }

    /// Begins to open a WebSocket.
    fn open(&self, to: Arc<Address>, resume: Option<String>) -> Link {
        let (first, connector) = (Arc::clone(&self.address), self.connector.clone());
        let max_message = self.max_message;
        let open = async move {
            if !connector.leads_to(&to, &first) {
                let why = "the application's connections lead to another server";
                return Err(Loss::Unreachable(why.to_owned()));
            }
            Socket::open(&to, resume, max_message, &connector).await
        };
        Link::Opening(open.boxed())
    }

    /// Closes a WebSocket, if it is open and there is a code.
    fn close(&mut self, link: Link, code: Option<u16>, left: Vec<String>) {
        if let (Link::Open(socket), Some(code)) = (link, code) {
            self.closing = Some(tokio::spawn(socket.close(code, left)));
        }
    }

    /// Gives the application the events that it has room for.
    fn deliver_events(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => return self.backlog.push_front(event),
                // The application listens no more.
                Err(TrySendError::Closed(_)) => self.backlog.clear(),
            }
        }
    }
}

impl Link {
    /// Returns the next thing that happens to the second WebSocket, on which nothing is sent.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<SocketEvent> {
        match self {
            Self::None => Poll::Pending,
            Self::Opening(opening) => opening.poll_unpin(context).map(|opened| match opened {
                Ok(socket) => SocketEvent::NextOpened(Box::new(socket)),
                Err(loss) => SocketEvent::NextReceived(Incoming::Lost(loss)),
            }),
            Self::Open(socket) => socket.poll_receive(context).map(SocketEvent::NextReceived),
        }
    }

    /// Returns the next thing that happens to the WebSocket. Reads only if the application has room for events.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        shared: &Shared,
        is_free: bool,
    ) -> Poll<SocketEvent> {
        match self {
            Self::None => Poll::Pending,
            Self::Opening(opening) => opening.poll_unpin(context).map(|opened| match opened {
                Ok(socket) => SocketEvent::Opened(Box::new(socket)),
                Err(loss) => SocketEvent::Received(Incoming::Lost(loss)),
            }),
            Self::Open(socket) => {
                if socket.poll_send(context, || shared.core(|core| core.poll_text())) {
                    return Poll::Ready(SocketEvent::Sent);
                }
                match is_free {
                    true => socket.poll_receive(context).map(SocketEvent::Received),
                    false => Poll::Pending,
                }
            }
        }
    }
}

/// Close code of a client that leaves.
const LEAVING: u16 = 1000;

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
