//! The HTTP server as a supervised actor: it stops when the server ends, and takes the server with it when it fails.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use callboard_admin::Admin;
use callboard_signaling::{
    RouteGuard, Signaling, body_within, client_script, connections_ended, tune,
};
use callboard_supervision::{
    Backoff, ChildSpec, Exit, ExitReason, Shutdown, StartError, has_panicked,
};
use callboard_transport::gather::IceServer;
use tokio::task::JoinHandle;

use crate::guest::Guest;
use crate::pages;

/// Where a site listens.
#[derive(Clone)]
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    /// Socket that the process has inherited. It stays open while the site is restarted.
    inherited: Option<Arc<TcpListener>>,
}

impl Listen {
    /// Listens on the socket, if the process has inherited one, or else at the address, if that is free.
    pub(crate) fn new(address: SocketAddr, inherited: Option<TcpListener>) -> io::Result<Self> {
        let address = match &inherited {
            Some(socket) => socket.local_addr()?,
            None => example_pages::check_listen(address).map(|()| address)?,
        };
        Ok(Self { address, inherited: inherited.map(Arc::new) })
    }
}

/// Contents and address of the site.
#[derive(Clone)]
pub(crate) struct Site {
    listen: Listen,
    signaling: Signaling<Guest>,
    admin: Admin,
    ice_servers: Arc<Vec<IceServer>>,
    route_guard: RouteGuard,
    kept: Arc<Mutex<Kept>>,
    leaving: Arc<AtomicBool>,
}

/// State that is kept from one instance to the next.
#[derive(Default)]
struct Kept {
    /// Address that it listens on.
    address: Option<SocketAddr>,
    /// Server of the instance before, whose port is needed again.
    before: Option<JoinHandle<()>>,
    /// Handle of the server that runs.
    handle: Option<ServerHandle>,
}

impl Site {
    pub(crate) fn new(
        listen: Listen,
        signaling: Signaling<Guest>,
        admin: Admin,
        ice_servers: Vec<IceServer>,
        route_guard: RouteGuard,
    ) -> Self {
        let (ice_servers, kept, leaving) = (Arc::new(ice_servers), Arc::default(), Arc::default());
        Self { listen, signaling, admin, ice_servers, route_guard, kept, leaving }
    }

    /// Returns the address that it listens on, once it does.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.kept().address
    }

    /// Prepares for the end of the process: no more connections are accepted, and clients that still read may finish. A
    /// restart cuts them off, for they come back by themselves.
    pub(crate) fn leave(&self) {
        if let Some(handle) = &self.kept().handle {
            drop(handle.pause());
        }
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Returns the site as a child: it listens when it has started. A restart listens at the same address.
    pub(crate) fn child_spec(&self) -> ChildSpec {
        let site = self.clone();
        let spec = ChildSpec::try_new("http", move || {
            let site = site.clone();
            async move {
                let before = site.kept().before.take();
                if let Some(before) = before {
                    // The server before was told to end.
                    _ = before.await;
                }
                site.open().map_err(|error| StartError::failed(error.to_string()))
            }
        });
        // A user who injects a fault waits for the restart.
        let backoff = Backoff::default().max(Duration::from_secs(1));
        spec.shutdown(Shutdown::Timeout(DRAIN + GRACE)).backoff(backoff)
    }

    fn open(&self) -> io::Result<Http> {
        let (signaling, admin) = (self.signaling.clone(), self.admin.clone());
        let ice_servers = web::Data::from(Arc::clone(&self.ice_servers));
        let route_guard = self.route_guard.clone();
        let app = move || {
            App::new()
                .app_data(web::Data::clone(&ice_servers))
                .wrap(from_fn(body_within(example_pages::BODY_TIME)))
                .wrap(example_pages::security_headers())
                .configure(signaling.at(&["/socket/{room}"]))
                .configure(client_script("/callboard.js"))
                .configure(admin.at(""))
                .configure(pages::configure(&route_guard))
                .default_service(web::to(pages::not_found))
        };
        let known = self.kept().address;
        let server = tune(HttpServer::new(app)).disable_signals();
        let server = server.shutdown_timeout(DRAIN.as_secs()).workers(WORKERS);
        let listen = known.unwrap_or(self.listen.address);
        let bound = match &self.listen.inherited {
            Some(socket) => server.listen(socket.try_clone()?),
            None => server.bind(listen),
        };
        let server = bound.map_err(|error| example_pages::cannot_listen(listen, &error))?;
        let address = server.addrs().first().copied().unwrap_or(listen);
        let line = format!("listening on http://{address}/");
        if known.is_some() {
            log::info!("{line} again")
        } else {
            tell(&line)?
        }
        let server = server.run();
        let handle = server.handle();
        // A task of its own: the end of the actor must not leave the port taken.
        let (ended, end) = tokio::sync::oneshot::channel();
        let (all_ended, drop_it) = tokio::sync::oneshot::channel();
        let running = actix::spawn(async move {
            let end_of_it = tokio::select! {
                end = server => end,
                Ok(()) = drop_it => Ok(()),
            };
            _ = ended.send(end_of_it);
        });
        let mut kept = self.kept();
        (kept.address, kept.before) = (Some(address), Some(running));
        kept.handle = Some(handle.clone());
        let leaving = Arc::clone(&self.leaving);
        let all_ended = Some(all_ended);
        Ok(Http { handle, address, end: Some(end), all_ended, asked: false, leaving })
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One instance of the HTTP server.
struct Http {
    handle: ServerHandle,
    address: SocketAddr,
    end: Option<tokio::sync::oneshot::Receiver<io::Result<()>>>,
    /// Notifies the server that all its connections have ended, so that it need not check again.
    all_ended: Option<tokio::sync::oneshot::Sender<()>>,
    asked: bool,
    leaving: Arc<AtomicBool>,
}

impl Actor for Http {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(end) = self.end.take() else { return };
        ctx.spawn(end.into_actor(self).map(|ended, this, ctx| {
            ctx.exit(match ended {
                Ok(Ok(())) if this.asked => ExitReason::SHUTDOWN,
                Ok(Ok(())) | Err(_) => ExitReason::Error("the server has ended".to_owned()),
                Ok(Err(error)) => ExitReason::Error(error.to_string()),
            });
        }));
    }

    /// Stops accepting connections, and lets the open ones finish if the process ends. When asked
    /// again, it stops at once.
    fn stopping(&mut self, ctx: &mut Self::Context) -> Running {
        // An actor that has panicked is not waited for.
        if std::mem::replace(&mut self.asked, true) || has_panicked() {
            return Running::Stop;
        }
        let graceful = self.leaving.load(Ordering::Relaxed);
        ctx.spawn(self.handle.stop(graceful).into_actor(self));
        let addresses = [self.address];
        let all_ended = async move { connections_ended(&addresses).await };
        ctx.spawn(all_ended.into_actor(self).map(|(), this, _| {
            // Only once.
            this.all_ended.take().map(|it| it.send(()));
        }));
        Running::Continue
    }
}

impl Drop for Http {
    /// Ends the server, however the actor ended. A server that has ended does not receive this.
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

/// Prints the first line of output: scripts that start the server wait for it.
fn tell(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

/// Longest time for open connections to finish. Rooms are closed before the site, so there should be none.
pub(crate) const DRAIN: Duration = Duration::from_secs(1);
/// Extra time in which the server cuts off connections that have not finished.
const GRACE: Duration = Duration::from_millis(500);
/// Worker threads for HTTP and WebSockets.
const WORKERS: usize = 2;
