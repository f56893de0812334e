//! HTTP servers that are about to run: recommended settings of `HttpServer`, and the start of either kind.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_http::{Request, Response};
use actix_server::{Server, ServerBuilder};
use actix_service::IntoServiceFactory;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Service, ServiceFactory};
use actix_web::{Error, HttpServer};

use crate::tcp_connection::on_connect;

/// Tunes a server for signaling; call it before `bind`.
///
/// * `TCP_NODELAY`: without it small messages wait for each other (a broadcast to 100 clients: p99 of 47 ms instead of
///   2–4 ms).
/// * Connections can be cut when their client does not take the close frame ([`on_connect`]). A server that needs its
///   own `on_connect` must call this one from it.
pub fn tune<F, I, S, B>(server: HttpServer<F, I, S, B>) -> HttpServer<F, I, S, B>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    server.tcp_nodelay(true).on_connect(on_connect)
}

/// An HTTP server that is bound and not yet running: [`HttpServer`], or [`ServerBuilder`] with
/// [`http_service`](crate::http_service).
pub trait Serve: sealed::Sealed {
    /// Starts it without handlers of signals. Its connections have `grace` to finish when it is stopped.
    #[doc(hidden)]
    fn start(self, grace: Duration) -> io::Result<Server>;

    /// Returns the addresses that it is bound to; nothing if they are not known.
    #[doc(hidden)]
    fn addresses(&self) -> Vec<SocketAddr>;
}

mod sealed {
    pub trait Sealed {}
}

impl<F, I, S, B> sealed::Sealed for HttpServer<F, I, S, B>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig>,
    S::Error: Into<Error>,
    S::InitError: Debug,
    S::Response: Into<Response<B>>,
    B: MessageBody,
{
}

impl<F, I, S, B> Serve for HttpServer<F, I, S, B>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    fn start(self, grace: Duration) -> io::Result<Server> {
        if self.addrs().is_empty() {
            let nowhere = "the HTTP server is bound to no address";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, nowhere));
        }
        Ok(self.disable_signals().shutdown_timeout(whole_seconds(grace)).run())
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.addrs()
    }
}

impl sealed::Sealed for ServerBuilder {}

impl Serve for ServerBuilder {
    fn start(self, grace: Duration) -> io::Result<Server> {
        Ok(self.disable_signals().shutdown_timeout(whole_seconds(grace)).run())
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        Vec::new()
    }
}

/// Rounds a grace to what a server accepts: it checks once a second whether its connections have finished.
fn whole_seconds(grace: Duration) -> u64 {
    grace.as_secs().max(1)
}
