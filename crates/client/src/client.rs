//! A member of a room, as the application sees it.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use crate::ClientOptions;
use crate::address::Address;
use crate::connector::{Connector, Tls, Transport};
use crate::driver::Driver;
use crate::error::{CallFunctionError, ConnectError, SendMessageError};
use crate::event::{ChannelData, ClientEvent, ClientState, Recipients, RoomMember};
use crate::session::Loss;
use crate::shared::Shared;
use crate::wire::encode;

/// A member of a room, with its events. Everything else it does through its [`ClientHandle`], to which it dereferences.
///
/// The client leaves the room when it and all its handles are dropped, or when one of them
/// [closes](ClientHandle::close) it. While a handle is left, events that have not been taken are dropped with the
/// `Client`.
pub struct Client {
    handle: ClientHandle,
    events: mpsc::Receiver<ClientEvent>,
}

/// Sends and calls on behalf of a [`Client`]. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct ClientHandle {
    shared: Arc<Shared>,
    /// Dropped with the last handle.
    _alive: Arc<Alive>,
    call_timeout: Duration,
    /// Longest delay before the first attempt to reconnect, and before any.
    #[cfg(feature = "webrtc")]
    delays: (Duration, Duration),
}

/// Lets the client leave when it is dropped.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.with(|core| core.close());
    }
}

impl Client {
    /// Joins the room whose WebSocket is at this address. Connections that are lost later are reopened, but if this
    /// first one fails, the caller gets the error at once. Needs a tokio runtime with time and I/O; actix's is one.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub async fn connect(url: &str, options: ClientOptions) -> Result<Self, ConnectError> {
        let address = Address::parse(url, &options)?;
        #[cfg(feature = "tls")]
        let tls =
            Tls::new(address.is_secure, options.trusted.clone()).map_err(ConnectError::Address)?;
        #[cfg(not(feature = "tls"))]
        let tls = Tls {};
        Self::join(address, Connector::Tcp(tls), &options).await
    }

    /// Joins a room like [`connect`](Self::connect), over connections that this function opens: through a proxy, or
    /// within the process. The address is what the server is asked for.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub async fn connect_over<F, R, T>(
        url: &str,
        options: ClientOptions,
        open: F,
    ) -> Result<Self, ConnectError>
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = io::Result<T>> + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let address = Address::parse(url, &options)?;
        let open = move || {
            let opening = open();
            async move { Ok(Box::new(opening.await?) as Box<dyn Transport>) }.boxed()
        };
        Self::join(address, Connector::Custom(Arc::new(open)), &options).await
    }

    async fn join(
        address: Address,
        connector: Connector,
        options: &ClientOptions,
    ) -> Result<Self, ConnectError> {
        let (admit, admitted) = oneshot::channel();
        let address = Arc::new(address);
        let shared = Arc::new(Shared::new(Arc::clone(&address), options, admit));
        let handle = ClientHandle {
            shared: Arc::clone(&shared),
            _alive: Arc::new(Alive(Arc::clone(&shared))),
            call_timeout: options.call_timeout,
            #[cfg(feature = "webrtc")]
            delays: (options.first_delay, options.longest_delay),
        };
        let (tell, events) = mpsc::channel(options.events);
        #[cfg(feature = "webrtc")]
        shared.listen(tell.downgrade());
        tokio::spawn(Driver::new(shared, address, connector, tell, options.max_message).run());
        admitted.await.unwrap_or(Err(ConnectError::Timeout))?;
        Ok(Self { handle, events })
    }

    /// Returns the next event; none after the client was closed.
    ///
    /// Cancel safe: no event is lost.
    pub async fn next_event(&mut self) -> Option<ClientEvent> {
        self.events.recv().await
    }

    /// Returns the next event if there is one now.
    pub fn try_next_event(&mut self) -> Option<ClientEvent> {
        self.events.try_recv().ok()
    }

    /// Returns another handle of this client.
    pub fn handle(&self) -> ClientHandle {
        self.handle.clone()
    }
}

impl Deref for Client {
    type Target = ClientHandle;

    fn deref(&self) -> &ClientHandle {
        &self.handle
    }
}

impl ClientHandle {
    /// Returns the id of this peer in the room. Changes with [`ClientEvent::Rejoined`].
    pub fn peer_id(&self) -> String {
        self.shared.with(|core| core.peer_id().to_owned())
    }

    /// Returns the other members of the room.
    pub fn peers(&self) -> Vec<RoomMember> {
        self.shared.with(|core| core.members())
    }

    /// Returns the state of the connection.
    pub fn state(&self) -> ClientState {
        self.shared.with(|core| core.state())
    }

    /// Returns the number of frames and messages that were not understood, and were ignored.
    pub fn malformed(&self) -> u64 {
        self.shared.with(|core| core.malformed())
    }

    /// Sends a message through the room. While there is no connection, the message is queued. Each is sent once.
    ///
    /// # Errors
    /// [`SendMessageError`]
    pub fn send(
        &self,
        to: impl Into<Recipients>,
        event: &str,
        data: impl Serialize,
    ) -> Result<(), SendMessageError> {
        let text = encode(event, &data, Some(&to.into()))?;
        self.shared.with_now(|core, now| core.send(text, now))
    }

    /// Sends a text to the peer's code on the server, under the label of a data channel. With the feature `webrtc` it
    /// takes the data channel if that is open.
    ///
    /// # Errors
    /// [`SendMessageError`]
    #[cfg(not(feature = "webrtc"))]
    pub async fn send_data(
        &self,
        channel: &str,
        data: impl Into<ChannelData>,
    ) -> Result<(), SendMessageError> {
        self.send_data_by_websocket(channel, data.into())
    }

    /// Sends in place of a data channel.
    pub(crate) fn send_data_by_websocket(
        &self,
        channel: &str,
        data: ChannelData,
    ) -> Result<(), SendMessageError> {
        let ChannelData::Text(text) = data else { return Err(SendMessageError::NoChannel) };
        let data = serde_json::json!({ "channel": channel, "data": text });
        let text = encode("webrtc:send", &data, None)?;
        self.shared.with_now(|core, now| core.send(text, now))
    }

    #[cfg(feature = "webrtc")]
    pub(crate) fn delays(&self) -> (Duration, Duration) {
        self.delays
    }

    #[cfg(feature = "webrtc")]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits until everything that was sent before has been given to the network, or cannot be sent any more.
    pub async fn flush(&self) {
        self.shared.flushed().await;
    }

    /// Calls a function of the server, and waits for its result. `args` is a list: a tuple, a slice, a `Vec`, an array
    /// of JSON; `()` for none.
    ///
    /// A call is sent once and never again, because the server may have run it. If the connection is lost, the answer
    /// comes after the session was resumed; if it cannot be resumed, the call fails with
    /// [`Disconnected`](CallFunctionError::Disconnected). When the future is dropped, the server
    /// is sent a cancellation of the call.
    ///
    /// # Errors
    /// [`CallFunctionError`]
    pub async fn call(
        &self,
        plugin: &str,
        function: &str,
        args: impl Serialize,
    ) -> Result<Value, CallFunctionError> {
        self.call_within(self.call_timeout, plugin, function, args).await
    }

    /// Calls a function of the server with a time limit of its own.
    ///
    /// # Errors
    /// [`CallFunctionError`]
    pub async fn call_within(
        &self,
        timeout: Duration,
        plugin: &str,
        function: &str,
        args: impl Serialize,
    ) -> Result<Value, CallFunctionError> {
        let args = match serde_json::to_value(args) {
            Ok(Value::Null) => Value::Array(Vec::new()),
            Ok(args @ Value::Array(_)) => args,
            Ok(_) => return Err(CallFunctionError::Arguments("not a list".to_owned())),
            Err(error) => return Err(CallFunctionError::Arguments(error.to_string())),
        };
        let (call, outcome) = self.shared.call(plugin, function, &args)?;
        // Dropped before the outcome has come, it cancels the call.
        let _call = call;
        match tokio::time::timeout(timeout, outcome).await {
            Ok(outcome) => outcome.unwrap_or(Err(CallFunctionError::Closed)),
            Err(_) => Err(CallFunctionError::Timeout),
        }
    }

    /// Registers a function that the server may call, in place of an earlier one of this name. Its result is the
    /// answer; the text of its error is the answer's. A panic is answered with `internal`. Each call runs as a task of
    /// its own, at most 64 at a time.
    ///
    /// A handler that holds a handle of its own client keeps the client from leaving when it is dropped: close it.
    pub fn register<F, R, T, E>(&self, name: &str, handler: F)
    where
        F: Fn(Vec<Value>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
        T: Serialize,
        E: fmt::Display,
    {
        self.shared.register(name, handler);
    }

    /// Removes a function that was registered.
    pub fn unregister(&self, name: &str) {
        self.shared.unregister(name);
    }

    /// Reacts to a possible change of the network, which only the application can know of: reconnects at once, or
    /// checks within 3 s whether the server is still reachable.
    pub fn wake(&self) {
        self.shared.with_now(|core, now| core.wake(now));
    }

    /// Cuts the connection without a close frame, as a failure of the network does: fault injection, for tests and for
    /// an operator who wants to see how a room behaves. The client reconnects as after any other loss.
    pub fn cut(&self) {
        self.shared.with_now(|core, now| core.handle_loss(Loss::Cut, now));
    }

    /// Leaves the room for good: sends the messages that wait, and closes the WebSocket. Completes when the connection
    /// has ended, a second later at most if the server does not answer. The events that wait can still be taken.
    pub async fn close(&self) {
        self.shared.with(|core| core.close());
        self.shared.ended().await;
    }
}

impl fmt::Debug for ClientHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (peer_id, state) = self.shared.with(|core| (core.peer_id().to_owned(), core.state()));
        f.debug_struct("ClientHandle").field("peer_id", &peer_id).field("state", &state).finish()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}
