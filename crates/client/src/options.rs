//! Options of a client.

use std::time::Duration;

/// Options of a client, with the defaults of `callboard.js`.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) protocols: Vec<String>,
    pub(crate) first_delay: Duration,
    pub(crate) longest_delay: Duration,
    pub(crate) attempts: Option<u32>,
    pub(crate) refusals: u32,
    pub(crate) queue: usize,
    pub(crate) events: usize,
    pub(crate) join_timeout: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) max_message: usize,
    #[cfg(feature = "tls")]
    pub(crate) trusted: Vec<u8>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            headers: Vec::new(),
            protocols: Vec::new(),
            first_delay: Duration::from_millis(250),
            longest_delay: Duration::from_secs(10),
            attempts: None,
            refusals: 20,
            queue: 256,
            events: 1_024,
            join_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
            call_timeout: Duration::from_secs(10),
            max_message: 4 << 20,
            #[cfg(feature = "tls")]
            trusted: Vec::new(),
        }
    }
}

impl ClientOptions {
    /// Creates the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header to each upgrade request, such as `authorization` or `cookie`. Default: none.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Offers a subprotocol, after those that were offered before. Default: none.
    pub fn protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocols.push(protocol.into());
        self
    }

    /// Sets the longest wait before the first attempt to reconnect; it doubles with each. Default: 250 ms.
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// Sets the longest wait before any attempt. Default: 10 s.
    pub fn longest_delay(mut self, delay: Duration) -> Self {
        self.longest_delay = delay;
        self
    }

    /// Sets how many attempts in a row may fail before the client gives up. Default: no limit, because trying costs
    /// nothing while there is no network or no server.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// Sets how many attempts in a row the server may refuse before the client gives up. Default: 20.
    pub fn refusals(mut self, refusals: u32) -> Self {
        self.refusals = refusals;
        self
    }

    /// Sets how many messages are kept while there is no connection. Default: 256. While there is one, 1 MiB may wait.
    pub fn queue(mut self, messages: usize) -> Self {
        self.queue = messages;
        self
    }

    /// Sets how many events wait for the application. When there are more, nothing more is read: a server closes
    /// clients that do not read for too long. Default: 1,024.
    pub fn events(mut self, events: usize) -> Self {
        self.events = events.max(1);
        self
    }

    /// Sets the longest time from opening the WebSocket to having joined the room. Default: 10 s.
    pub fn join_timeout(mut self, timeout: Duration) -> Self {
        self.join_timeout = timeout;
        self
    }

    /// Sets the interval of the client's pings to the server. A server that has sent nothing from one to the next
    /// counts as lost. Default: 15 s.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// Sets the time limit of calls. Default: 10 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Sets the size limit of one message of the server, in bytes. A larger one ends the connection, which is then
    /// reopened without it. Default: 4 MiB.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Trusts these certificates (PEM) as well as the system's, for `wss:`. Default: none.
    #[cfg(feature = "tls")]
    pub fn trust(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.trusted.extend_from_slice(pem.as_ref());
        self.trusted.push(b'\n');
        self
    }
}
