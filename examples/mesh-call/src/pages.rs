//! HTTP routes: the page of the call, its scripts and style, and a check whether a client may join.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_signaling::{Guesses, TrustedProxies};
use callboard_transport::gather::IceServer;
use example_pages::{Asset, GoTo, page};
use serde_json::json;

use crate::config::Config;
use crate::credentials::credentials_of;

/// Limit on password guesses; the same as for WebSockets.
pub(crate) struct Guard {
    pub(crate) guesses: Guesses,
    pub(crate) proxies: TrustedProxies,
}

/// Adds the routes of the pages; needs `web::Data` of `Config` and `Guard`, and the STUN and TURN servers. `/{room}`
/// takes all requests that no route before it took.
pub(crate) fn configure(app: &mut web::ServiceConfig) {
    app.route("/", web::get().to(start))
        .route("/", web::head().to(start))
        .route("/static/{file}", web::get().to(asset))
        .route("/static/{file}", web::head().to(asset))
        .route("/check/{room}", web::get().to(check))
        .route("/{room}", web::get().to(call))
        .route("/{room}", web::head().to(call));
}

/// Answers requests that no route takes.
pub(crate) async fn not_found(request: HttpRequest) -> HttpResponse {
    example_pages::not_found(&request)
}

async fn start(request: HttpRequest, query: Option<web::Query<GoTo>>) -> HttpResponse {
    match query.map(|query| query.into_inner().room) {
        Some(room) if !room.is_empty() => GoTo::room(&room),
        _ => page(&request, StatusCode::OK, START),
    }
}

async fn call(
    request: HttpRequest,
    room: web::Path<String>,
    config: web::Data<Config>,
) -> HttpResponse {
    if config.has_room(&room) {
        page(&request, StatusCode::OK, CALL)
    } else {
        example_pages::not_found(&request)
    }
}

/// Answers whether a socket to this room would be admitted: a browser hides the status of a refused upgrade from the
/// page. The statuses and their order are those of the upgrade, so a stranger learns no room's name; a client that
/// would be admitted gets the STUN and TURN servers.
async fn check(
    request: HttpRequest,
    room: web::Path<String>,
    config: web::Data<Config>,
    servers: web::Data<Vec<IceServer>>,
    guard: web::Data<Guard>,
) -> HttpResponse {
    let address = guard.proxies.client_address(&request);
    if let Err(wait) = guard.guesses.check(address) {
        return HttpResponse::TooManyRequests()
            .insert_header((RETRY_AFTER, wait.as_secs() + 1))
            .json(json!({"error": "too_many_attempts"}));
    }
    let (status, body) = match credentials_of(request.headers()) {
        Err(error) => {
            (StatusCode::BAD_REQUEST, json!({"error": "bad_request", "detail": error.to_string()}))
        }
        Ok(credentials) if !config.admits(&credentials) => {
            guard.guesses.wrong(address);
            (StatusCode::UNAUTHORIZED, json!({"error": "wrong_credentials"}))
        }
        Ok(_) if !config.has_room(&room) => {
            (StatusCode::NOT_FOUND, json!({"error": "no_such_room"}))
        }
        Ok(_) => {
            let body = json!({"room": room.as_str(), "ice_servers": &***servers});
            (StatusCode::OK, body)
        }
    };
    HttpResponse::build(status).insert_header((CACHE_CONTROL, "no-store")).json(body)
}

async fn asset(request: HttpRequest, file: web::Path<String>) -> HttpResponse {
    example_pages::asset(&request, &ASSETS, &file)
}

const START: &str = include_str!("../static/start.html");
const CALL: &str = include_str!("../static/index.html");

const ASSETS: [Asset; 7] = [
    Asset::script("call.js", include_str!("../static/call.js")),
    Asset::script("mesh.js", include_str!("../static/mesh.js")),
    Asset::script("signaling.js", include_str!("../static/signaling.js")),
    Asset::script("view.js", include_str!("../static/view.js")),
    Asset::style("style.css", include_str!("../static/style.css")),
    example_pages::MEDIA,
    example_pages::ICON,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_a_page_or_a_script_asks_for_is_served() {
        assert_eq!(example_pages::missing(&ASSETS, &[CALL, START]), [""; 0]);
    }
}
