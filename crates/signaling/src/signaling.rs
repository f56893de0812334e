//! Signaling routes for an actix-web app.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Payload, ServiceConfig};

use crate::body::{BODY_TIME, no_body_within};
use crate::buckets::Guesses;
use crate::counters::Counters;
use crate::options::PeerOptions;
use crate::peer::Peer;
use crate::route::{self, Door};

/// The WebSocket routes of one kind of peer, for mounting into any actix-web app.
///
/// Clone it into each worker's app: limits and counters apply to the whole server.
pub struct Signaling<P: Peer> {
    door: Arc<Door<P>>,
}

impl<P: Peer> Signaling<P> {
    /// Creates routes with these options.
    pub fn new(options: PeerOptions<P>) -> Self {
        Self { door: Arc::new(Door::new(options)) }
    }

    /// Mounts the routes: `App::new().configure(signaling.at(&["/socket/{room}"]))`.
    ///
    /// The paths may hold any parameters that [`Peer::parse_request`] reads.
    pub fn at(&self, paths: &[&str]) -> impl FnOnce(&mut ServiceConfig) + use<P> + 'static {
        let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        let door = Arc::clone(&self.door);
        move |config| {
            for path in paths {
                let door = Arc::clone(&door);
                let enter = move |request: HttpRequest, payload: Payload| {
                    let door = Arc::clone(&door);
                    async move { route::enter(&door, request, payload).await }
                };
                let route = web::get().to(enter).wrap(from_fn(no_body_within(BODY_TIME)));
                config.route(&path, route);
            }
        }
    }

    /// Returns the rate limiter of wrong credentials on these routes ([`PeerOptions::guesses_per_address`]), for other
    /// routes that ask for the same credentials.
    pub fn guesses(&self) -> Guesses {
        self.door.guesses.clone()
    }

    /// Returns the counters of what has happened on these routes.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.door.counters)
    }
}

impl<P: Peer> Clone for Signaling<P> {
    fn clone(&self) -> Self {
        Self { door: Arc::clone(&self.door) }
    }
}
