//! What a browser gets: the page of the call, its scripts and style, and a word on whether it may come in.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ContentType, HOST, HeaderMap, LOCATION,
};
use actix_web::middleware::DefaultHeaders;
use actix_web::{HttpRequest, HttpResponse, web};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;

use crate::config::Config;
use crate::credentials::credentials_of;

/// The routes of the pages; needs `web::Data<Config>`. `/{room}` takes what nothing before it took.
pub(crate) fn configure(app: &mut web::ServiceConfig) {
    app.route("/", web::get().to(start))
        .route("/", web::head().to(start))
        .route("/static/{file}", web::get().to(asset))
        .route("/static/{file}", web::head().to(asset))
        .route("/check/{room}", web::get().to(check))
        .route("/{room}", web::get().to(call))
        .route("/{room}", web::head().to(call));
}

/// For whatever no route takes.
pub(crate) async fn not_found(request: HttpRequest) -> HttpResponse {
    page(&request, StatusCode::NOT_FOUND, NOT_FOUND)
}

/// Headers that every answer has, unless it brings its own.
pub(crate) fn security_headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
        .add(("X-Content-Type-Options", "nosniff"))
        .add(("X-Frame-Options", "DENY"))
        .add(("Referrer-Policy", "no-referrer"))
        .add(("Cross-Origin-Opener-Policy", "same-origin"))
        .add(("Cross-Origin-Resource-Policy", "same-origin"))
        .add(("Permissions-Policy", "camera=(self), microphone=(self), geolocation=()"))
}

async fn start(request: HttpRequest, query: Option<web::Query<GoTo>>) -> HttpResponse {
    match query.map(|query| query.into_inner().room) {
        Some(room) if !room.is_empty() => HttpResponse::SeeOther()
            .insert_header((LOCATION, format!("/{}", utf8_percent_encode(&room, SEGMENT))))
            .finish(),
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
        page(&request, StatusCode::NOT_FOUND, NOT_FOUND)
    }
}

/// Whether a socket to this room would be let in: a browser hides the status of a refused upgrade from the page.
/// The same statuses in the same order as there, so a stranger learns no room's name.
async fn check(
    request: HttpRequest,
    room: web::Path<String>,
    config: web::Data<Config>,
) -> HttpResponse {
    let (status, body) = match credentials_of(request.headers()) {
        Err(error) => {
            (StatusCode::BAD_REQUEST, json!({"error": "bad_request", "detail": error.to_string()}))
        }
        Ok(credentials) if !config.admits(&credentials) => {
            (StatusCode::UNAUTHORIZED, json!({"error": "wrong_credentials"}))
        }
        Ok(_) if !config.has_room(&room) => {
            (StatusCode::NOT_FOUND, json!({"error": "no_such_room"}))
        }
        Ok(_) => (StatusCode::OK, json!({"room": room.as_str()})),
    };
    HttpResponse::build(status).insert_header((CACHE_CONTROL, "no-store")).json(body)
}

async fn asset(request: HttpRequest, file: web::Path<String>) -> HttpResponse {
    match ASSETS.iter().find(|(name, ..)| *name == file.as_str()) {
        Some((_, kind, text)) => HttpResponse::Ok()
            .content_type(*kind)
            .insert_header((CACHE_CONTROL, "no-cache"))
            .body(*text),
        None => not_found(request).await,
    }
}

fn page(request: &HttpRequest, status: StatusCode, text: &'static str) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header(ContentType::html())
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, policy(request.headers())))
        .body(text)
}

/// Our own scripts and styles, none in the page itself. Not every browser counts the socket of the same host as `'self'`.
fn policy(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let sockets = if !host.is_empty() && host.bytes().all(plain) {
        format!(" ws://{host} wss://{host}")
    } else {
        String::new()
    };
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; \
         connect-src 'self'{sockets}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

#[derive(Deserialize)]
struct GoTo {
    room: String,
}

/// What stands for itself in a segment of a path (RFC 3986 §2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const START: &str = include_str!("../static/start.html");
const CALL: &str = include_str!("../static/index.html");
const NOT_FOUND: &str = include_str!("../static/not_found.html");

const SCRIPT: &str = "text/javascript; charset=utf-8";
const ASSETS: [(&str, &str, &str); 7] = [
    ("call.js", SCRIPT, include_str!("../static/call.js")),
    ("media.js", SCRIPT, include_str!("../static/media.js")),
    ("mesh.js", SCRIPT, include_str!("../static/mesh.js")),
    ("signaling.js", SCRIPT, include_str!("../static/signaling.js")),
    ("view.js", SCRIPT, include_str!("../static/view.js")),
    ("style.css", "text/css; charset=utf-8", include_str!("../static/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("../static/icon.svg")),
];

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn a_host_that_could_change_the_policy_is_left_out_of_it() {
        let policy = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            super::policy(&headers)
        };

        assert!(
            policy("[::1]:8080").contains("connect-src 'self' ws://[::1]:8080 wss://[::1]:8080;")
        );
        assert!(policy("a.example; script-src *").contains("connect-src 'self'; form-action"));
        assert!(super::policy(&HeaderMap::new()).contains("connect-src 'self'; form-action"));
    }

    #[test]
    fn every_file_that_a_page_or_a_script_asks_for_is_served() {
        for (name, _, text) in ASSETS.iter().chain(&[("", "", CALL), ("", "", START)]) {
            for asked in text.split('"').filter_map(|word| {
                word.strip_prefix("/static/").or_else(|| word.strip_prefix("./"))
            }) {
                assert!(ASSETS.iter().any(|(name, ..)| *name == asked), "{name} asks for {asked}");
            }
        }
    }
}
