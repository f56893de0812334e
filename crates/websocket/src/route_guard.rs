//! Middleware for an application's own routes: host and origin checks, rate limit, and a limit on places per address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;
use log::Level;
use serde_json::json;
use tokio::time::Instant;

use crate::admission::{Admission, ConnectionCount, TooMany, subscriber};
use crate::origin::{Hosts, Origins, origin_list};
use crate::proxies::{TrustedProxies, peer_address};
use crate::refusal_log::RefusalLog;
use crate::token_buckets::Buckets;
use crate::upgrade::whole_seconds;

/// Middleware for an application's own routes, such as one that takes an offer and opens a peer connection: it lets
/// only the application's own pages and programs through, and limits each address.
///
/// * A server that is reached by a loopback address must be called `localhost` or by a loopback address, unless
///   [`hosts`](Self::hosts) says otherwise; a page of another site whose name an attacker resolves to this server (DNS
///   rebinding) calls it by that name. Others get 403 `forbidden_host`.
/// * A page of another site gets 403 `forbidden_origin`.
/// * Requests that may change something (all but `GET`, `HEAD` and `OPTIONS`) are counted per address: those over the
///   rate get 429 `too_many_requests` with `Retry-After`; if too many still hold their [`Place`], 429
///   `too_many_connections`, or 503 `overloaded` over all addresses.
///
/// Cheap to clone. All clones count together, so create it before the app, which is created in each worker.
///
/// ```no_run
/// use actix_web::{App, HttpServer, middleware::from_fn, web};
/// use callboard_websocket::{RouteGuard, Place};
///
/// async fn offer(place: web::ReqData<Place>) -> &'static str {
///     let place = place.into_inner(); // kept with the connection until that ends
/// #   drop(place);
///     "answer"
/// }
///
/// let route_guard = RouteGuard::new();
/// let app = move || {
///     App::new().route("/offer", web::post().to(offer)).wrap(from_fn(route_guard.middleware()))
/// };
/// # _ = callboard_websocket::tune(HttpServer::new(app));
/// ```
#[derive(Clone, Debug)]
pub struct RouteGuard {
    origins: Origins,
    hosts: Hosts,
    proxies: TrustedProxies,
    in_all: usize,
    from_there: usize,
    often: Arc<Buckets<IpAddr>>,
    held: Arc<ConnectionCount>,
    refusals: Arc<RefusalLog>,
}

/// One of the places that an address has ([`RouteGuard::held_per_address`]), taken until the last clone is dropped. A
/// handler gets it as `ReqData<Place>`.
#[derive(Clone, Debug)]
pub struct Place(#[expect(dead_code, reason = "counts until it is dropped")] Arc<Admission>);

impl Default for RouteGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl RouteGuard {
    /// Creates a middleware with the default options.
    pub fn new() -> Self {
        Self {
            origins: Origins::SameHost,
            hosts: Hosts::Default,
            proxies: TrustedProxies::default(),
            in_all: 4_096,
            from_there: 64,
            often: Arc::new(Buckets::new(32, Duration::from_secs(2))),
            held: Arc::default(),
            refusals: Arc::default(),
        }
    }

    /// Sets the pages whose requests are answered; a program sends no origin, and passes. The hosts in a list are also
    /// names by which the server may be called. Default: [`Origins::SameHost`].
    pub fn origins(self, origins: Origins) -> Self {
        Self { origins, ..self }
    }

    /// Sets an allow-list of origins, such as `https://example.org`.
    pub fn origin_list<S: Into<String>>(self, list: impl IntoIterator<Item = S>) -> Self {
        self.origins(origin_list(list))
    }

    /// Sets the names by which the server may be called (`Host`), such as `call.example`, with one port or with any;
    /// others get 403. Default: all; over a loopback address only loopback names.
    pub fn hosts<S: AsRef<str>>(self, list: impl IntoIterator<Item = S>) -> Self {
        Self { hosts: Hosts::list(list), ..self }
    }

    /// Sets the reverse proxies that are trusted to report their clients' addresses. Default: none.
    pub fn trusted_proxies(self, proxies: TrustedProxies) -> Self {
        Self { proxies, ..self }
    }

    /// Sets the rate limit of requests that may change something, per address: `burst` at once, then one per `every`.
    /// Default: 32, 2 s.
    pub fn rate_per_address(self, burst: u32, every: Duration) -> Self {
        Self { often: Arc::new(Buckets::new(burst, every)), ..self }
    }

    /// Sets how many places an address may hold. Default: 64.
    pub fn held_per_address(self, places: usize) -> Self {
        Self { from_there: places, ..self }
    }

    /// Sets how many places all addresses may hold together. Default: 4,096.
    pub fn held_in_all(self, places: usize) -> Self {
        Self { in_all: places, ..self }
    }

    /// Returns the middleware, for [`from_fn`](actix_web::middleware::from_fn).
    pub fn middleware<B: MessageBody + 'static>(
        &self,
    ) -> impl Fn(
        ServiceRequest,
        Next<B>,
    ) -> LocalBoxFuture<'static, Result<ServiceResponse<BoxBody>, Error>>
    + use<B> {
        let this = self.clone();
        move |request, next| {
            let checked = this.check(request.request());
            if let Err(refused) = &checked {
                this.tell(request.request(), refused);
            }
            Box::pin(async move {
                match checked {
                    Ok(place) => {
                        if let Some(place) = place {
                            request.extensions_mut().insert(place);
                        }
                        Ok(next.call(request).await?.map_into_boxed_body())
                    }
                    Err(refused) => Ok(request.into_response(refused.respond())),
                }
            })
        }
    }

    fn check(&self, request: &HttpRequest) -> Result<Option<Place>, Refused> {
        let address = self
            .proxies
            .client(request)
            .map_err(|error| Refused::new(400, "bad_forwarded", error.to_string()))?;
        self.hosts
            .check_strictly(request, &self.origins, &self.proxies)
            .map_err(|error| Refused::new(403, "forbidden_host", error.to_string()))?;
        self.origins
            .check(request)
            .map_err(|error| Refused::new(403, "forbidden_origin", error.to_string()))?;
        if request.method().is_safe() {
            return Ok(None);
        }
        self.often.take(subscriber(address), Instant::now().into_std()).map_err(|wait| {
            Refused {
                retry_after: Some(wait),
                ..Refused::new(429, "too_many_requests", "of this address".to_owned())
            }
        })?;
        let admitted = self.held.admit(address, self.in_all, self.from_there);
        let place = admitted.map_err(|too_many| match too_many {
            TooMany::InAll => Refused::new(503, "overloaded", "try again later".to_owned()),
            TooMany::FromThere => {
                Refused::new(429, "too_many_connections", "of this address".to_owned())
            }
        })?;
        Ok(Some(Place(Arc::new(place))))
    }

    fn tell(&self, request: &HttpRequest, refused: &Refused) {
        let address = self.proxies.client(request).unwrap_or_else(|_| peer_address(request));
        let (error, detail) = (refused.error, Some(&*refused.detail));
        self.refusals.refused(Level::Info, address, request.path(), error, detail);
    }
}

/// A refused request.
#[derive(Debug)]
struct Refused {
    status: u16,
    error: &'static str,
    detail: String,
    retry_after: Option<Duration>,
}

impl Refused {
    fn new(status: u16, error: &'static str, detail: String) -> Self {
        Self { status, error, detail, retry_after: None }
    }

    fn respond(self) -> HttpResponse {
        let Self { status, error, detail, retry_after } = self;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
        let mut response = HttpResponse::build(status);
        if let Some(wait) = retry_after {
            response.insert_header((RETRY_AFTER, whole_seconds(wait)));
        }
        response.json(json!({ "error": error, "detail": detail }))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;
    use actix_web::http::header::{HOST, ORIGIN};
    use actix_web::test::TestRequest;

    use super::*;

    fn ask(rules: &RouteGuard, method: Method, peer: &str, host: &str, origin: &str) -> Asked {
        let request = TestRequest::default().method(method).append_header((HOST, host));
        let mut request = request.peer_addr(format!("{peer}:5").parse().expect("an address"));
        if !origin.is_empty() {
            request = request.append_header((ORIGIN, origin));
        }
        rules.check(&request.to_http_request()).map_err(|refused| refused.error)
    }

    type Asked = Result<Option<Place>, &'static str>;

    #[test]
    fn only_own_pages_and_programs_are_answered() {
        let own = RouteGuard::new();
        let listed = RouteGuard::new().origin_list(["https://call.example"]);
        let named = RouteGuard::new().hosts(["call.example"]);
        let behind = RouteGuard::new().trusted_proxies("127.0.0.1".parse().unwrap());
        let here = "127.0.0.1";
        for (rules, peer, host, origin, refused) in [
            (&own, here, "localhost:8080", "http://localhost:8080", None),
            (&own, here, "127.0.0.1:8080", "", None),
            (&own, here, "[::1]", "http://[::1]", None),
            (&own, here, "evil.com", "http://evil.com", Some("forbidden_host")),
            // The same as evil.com's page sends it to its own server: without an origin.
            (&own, here, "evil.com", "", Some("forbidden_host")),
            (&own, here, "localhost.", "", Some("forbidden_host")),
            (&own, here, "127.0.0.1:80@evil.com", "", Some("forbidden_host")),
            (&own, here, "", "", Some("forbidden_host")),
            (&own, here, "localhost", "http://evil.com", Some("forbidden_origin")),
            (&own, here, "localhost", "null", Some("forbidden_origin")),
            (&own, here, "localhost:8080", "http://localhost:8081", Some("forbidden_origin")),
            (&own, "192.0.2.1", "call.example", "https://call.example", None),
            (&own, "192.0.2.1", "call.example", "https://evil.com", Some("forbidden_origin")),
            (&listed, here, "call.example", "https://call.example", None),
            (&listed, here, "call.example", "", None),
            (&listed, here, "localhost", "", None),
            (&listed, here, "evil.com", "", Some("forbidden_host")),
            (&listed, here, "evil.com", "http://evil.com", Some("forbidden_host")),
            (&listed, here, "localhost", "http://localhost", Some("forbidden_origin")),
            (&named, here, "call.example:8443", "", None),
            (&named, here, "localhost", "", Some("forbidden_host")),
            (&named, "192.0.2.1", "evil.com", "", Some("forbidden_host")),
            (&behind, here, "call.example", "https://call.example", None),
            (&behind, "127.0.0.2", "call.example", "", Some("forbidden_host")),
        ] {
            for method in [Method::GET, Method::POST] {
                let asked = ask(rules, method, peer, host, origin);
                assert_eq!(asked.err(), refused, "{peer} {host} {origin}");
            }
        }
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let rules = RouteGuard::new().held_per_address(2).held_in_all(3);
        let rules = rules.rate_per_address(5, Duration::from_secs(3_600));
        let post = |peer| ask(&rules, Method::POST, peer, "a.example", "");

        let one = post("192.0.2.1").unwrap();
        let _two = post("192.0.2.1").unwrap();
        assert_eq!(post("192.0.2.1").unwrap_err(), "too_many_connections");
        let _three = post("192.0.2.2").unwrap();
        assert_eq!(post("192.0.2.2").unwrap_err(), "overloaded");
        let clone = one.clone();
        drop(one);
        assert!(post("192.0.2.1").is_err(), "its clone holds the place");
        drop(clone);
        assert!(post("192.0.2.1").is_ok());
        assert_eq!(post("192.0.2.1").unwrap_err(), "too_many_requests");
        assert!(ask(&rules, Method::GET, "192.0.2.1", "a.example", "").is_ok());
        assert!(post("192.0.2.2").is_ok(), "another has its own");
    }
}
