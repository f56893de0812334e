//! The HTTP server as a supervised actor: it stops when the server ends, and stops the server when it is stopped.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use callboard_signaling::{
    Signaling, TrustedProxies, body_within, client_script, connections_ended, tune,
};
use callboard_supervision::{Backoff, ChildSpec, Exit, ExitReason, Shutdown, StartError};
use callboard_transport::gather::IceServer;
use rustls::ServerConfig;

use crate::config::Config;
use crate::pages::{self, Guard};
use crate::peer::Caller;

/// Contents and address of the site.
pub(crate) struct Site {
    pub(crate) listen: SocketAddr,
    /// Socket that the process has inherited, in place of that address. It stays open while the site is restarted.
    pub(crate) inherited: Option<TcpListener>,
    pub(crate) tls: Option<ServerConfig>,
    pub(crate) config: Arc<Config>,
    pub(crate) ice_servers: Arc<Vec<IceServer>>,
    pub(crate) signaling: Signaling<Caller>,
    pub(crate) proxies: TrustedProxies,
    /// Longest time for open connections to finish.
    pub(crate) drain: Duration,
    /// Whether the address has been printed.
    pub(crate) told: bool,
}

impl Site {
    /// Returns the site as a child: it listens when it has started. A restart listens at the same address.
    pub(crate) fn child_spec(mut self) -> ChildSpec {
        let shutdown = Shutdown::Timeout(self.drain + GRACE);
        let spec = ChildSpec::try_new("http", move || {
            let opened = self.open().map_err(|error| StartError::failed(error.to_string()));
            std::future::ready(opened)
        });
        spec.shutdown(shutdown).backoff(Backoff::default())
    }

    fn open(&mut self) -> io::Result<Http> {
        let (config, signaling) =
            (web::Data::from(Arc::clone(&self.config)), self.signaling.clone());
        let ice_servers = web::Data::from(Arc::clone(&self.ice_servers));
        let (guesses, proxies) = (self.signaling.guesses(), self.proxies.clone());
        let guard = web::Data::new(Guard { guesses, proxies });
        let app = move || {
            App::new()
                .app_data(web::Data::clone(&guard))
                .app_data(web::Data::clone(&config))
                .app_data(web::Data::clone(&ice_servers))
                .wrap(from_fn(body_within(example_pages::BODY_TIME)))
                .wrap(example_pages::security_headers())
                .configure(signaling.at(&["/socket/{room}", "/webrtc/{room}"]))
                .configure(client_script("/callboard.js"))
                .configure(pages::configure)
                .default_service(web::to(pages::not_found))
        };
        let server =
            tune(HttpServer::new(app)).disable_signals().shutdown_timeout(self.drain.as_secs());
        let inherited = self.inherited.as_ref().map(TcpListener::try_clone).transpose()?;
        let (scheme, bound) = match (&self.tls, inherited) {
            (Some(tls), Some(socket)) => ("https", server.listen_rustls_0_23(socket, tls.clone())),
            (Some(tls), None) => ("https", server.bind_rustls_0_23(self.listen, tls.clone())),
            (None, Some(socket)) => ("http", server.listen(socket)),
            (None, None) => ("http", server.bind(self.listen)),
        };
        let server = bound.map_err(|error| example_pages::cannot_listen(self.listen, &error))?;
        self.listen = server.addrs().first().copied().unwrap_or(self.listen);
        let line = format!("listening on {scheme}://{}", self.listen);
        if std::mem::replace(&mut self.told, true) {
            log::info!("{line} again")
        } else {
            tell(&line)?
        }
        let server = server.run();
        let (handle, address) = (server.handle(), self.listen);
        Ok(Http { handle, address, server: Some(server), ended: false })
    }
}

/// One instance of the HTTP server.
struct Http {
    handle: ServerHandle,
    address: SocketAddr,
    server: Option<Server>,
    ended: bool,
}

impl Actor for Http {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(server) = self.server.take() else { return };
        ctx.spawn(server.into_actor(self).map(|ended, this, ctx| {
            this.ended = true;
            ctx.exit(match ended {
                Ok(()) => ExitReason::SHUTDOWN,
                Err(error) => ExitReason::Error(error.to_string()),
            });
        }));
    }

    /// Stops accepting connections, and lets the open ones finish.
    fn stopping(&mut self, ctx: &mut Self::Context) -> Running {
        if self.ended {
            return Running::Stop;
        }
        ctx.spawn(self.handle.stop(true).into_actor(self));
        let addresses = [self.address];
        let all_ended = async move { connections_ended(&addresses).await };
        // The server itself checks only once a second; it ends with this actor.
        ctx.spawn(all_ended.into_actor(self).map(|(), this, ctx| {
            this.ended = true;
            ctx.exit(ExitReason::SHUTDOWN);
        }));
        Running::Continue
    }
}

/// Prints the first line of output: scripts that start the server wait for it.
fn tell(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

/// Extra time in which the server cuts off connections that have not finished.
const GRACE: Duration = Duration::from_millis(500);
