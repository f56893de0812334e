//! Signaling routes for an actix-web app.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Payload, ServiceConfig};
use callboard_room_supervisor::PeerKeeper;
use callboard_websocket::{BODY_TIME, Guesses, no_body_within};

use crate::counters::Counters;
use crate::options::PeerOptions;
use crate::peer::Peer;
use crate::route::{self, UpgradeRoute};

/// The WebSocket routes of one kind of peer, for mounting into any actix-web app.
///
/// Clone it into each worker's app: limits and counters apply to the whole server.
pub struct Signaling<P: Peer> {
    route: Arc<UpgradeRoute<P>>,
}

impl<P: Peer> Signaling<P> {
    /// Creates routes with these options. Where their rooms were [handed
    /// over](callboard_room_supervisor::RoomsBuilder::hand_over_file) by an earlier process, the clients of the same
    /// routes there may come back: a process creates its routes in the same order each time.
    pub fn new(options: PeerOptions<P>) -> Self {
        let route = Arc::new(UpgradeRoute::new(options));
        let keeper: Arc<dyn PeerKeeper> = Arc::clone(&route) as _;
        let inherited = route.rooms().register_keeper(Arc::downgrade(&keeper));
        route.restore(inherited);
        Self { route }
    }

    /// Mounts the routes: `App::new().configure(signaling.at(&["/socket/{room}"]))`.
    ///
    /// The paths may hold any parameters that [`Peer::parse_request`] reads.
    pub fn at(&self, paths: &[&str]) -> impl FnOnce(&mut ServiceConfig) + use<P> + 'static {
        let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        let shared = Arc::clone(&self.route);
        move |config| {
            for path in paths {
                let shared = Arc::clone(&shared);
                let answer = move |request: HttpRequest, payload: Payload| {
                    let shared = Arc::clone(&shared);
                    async move { route::answer(&shared, request, payload).await }
                };
                let route = web::get().to(answer).wrap(from_fn(no_body_within(BODY_TIME)));
                config.route(&path, route);
            }
        }
    }

    /// Returns the rate limiter of wrong credentials on these routes ([`PeerOptions::guesses_per_address`]), for other
    /// routes that ask for the same credentials.
    pub fn guesses(&self) -> Guesses {
        self.route.guesses.clone()
    }

    /// Returns the counters of what has happened on these routes.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.route.counters)
    }
}

impl<P: Peer> Clone for Signaling<P> {
    fn clone(&self) -> Self {
        Self { route: Arc::clone(&self.route) }
    }
}
