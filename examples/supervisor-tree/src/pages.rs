//! What a browser gets: the page, its scripts and its style.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ContentType, HOST, HeaderMap, LOCATION,
};
use actix_web::middleware::DefaultHeaders;
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_signaling::is_room_name;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// The routes of the pages. `/{room}` takes what nothing before it took.
pub(crate) fn configure(app: &mut web::ServiceConfig) {
    app.route("/", web::get().to(start))
        .route("/", web::head().to(start))
        .route("/static/{file}", web::get().to(asset))
        .route("/static/{file}", web::head().to(asset))
        .route("/{room}", web::get().to(room))
        .route("/{room}", web::head().to(room));
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

/// The demo, or the room that a form asks for.
async fn start(query: Option<web::Query<GoTo>>) -> HttpResponse {
    let asked = query.map(|query| query.into_inner().room).filter(|room| !room.is_empty());
    let room = asked.as_deref().unwrap_or("demo");
    HttpResponse::SeeOther()
        .insert_header((LOCATION, format!("/{}", utf8_percent_encode(room, SEGMENT))))
        .finish()
}

async fn room(request: HttpRequest, room: web::Path<String>) -> HttpResponse {
    if is_room_name(&room) {
        page(&request, StatusCode::OK, PAGE)
    } else {
        page(&request, StatusCode::NOT_FOUND, NOT_FOUND)
    }
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

const PAGE: &str = include_str!("../static/index.html");
const NOT_FOUND: &str = include_str!("../static/not_found.html");

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const ASSETS: [(&str, &str, &str); 18] = [
    ("cable.js", SCRIPT, include_str!("../static/cable.js")),
    ("call.js", SCRIPT, include_str!("../static/call.js")),
    ("chat.js", SCRIPT, include_str!("../static/chat.js")),
    ("deaths.js", SCRIPT, include_str!("../static/deaths.js")),
    ("facts.js", SCRIPT, include_str!("../static/facts.js")),
    ("flow.js", SCRIPT, include_str!("../static/flow.js")),
    ("page.js", SCRIPT, include_str!("../static/page.js")),
    ("pointers.js", SCRIPT, include_str!("../static/pointers.js")),
    ("recoveries.js", SCRIPT, include_str!("../static/recoveries.js")),
    ("rpc.js", SCRIPT, include_str!("../static/rpc.js")),
    ("tree.js", SCRIPT, include_str!("../static/tree.js")),
    ("tree_view.js", SCRIPT, include_str!("../static/tree_view.js")),
    ("view.js", SCRIPT, include_str!("../static/view.js")),
    // The mesh is mesh-call's.
    ("media.js", SCRIPT, include_str!("../../mesh-call/static/media.js")),
    ("mesh.js", SCRIPT, include_str!("../../mesh-call/static/mesh.js")),
    ("style.css", STYLE, include_str!("../static/style.css")),
    ("tree.css", STYLE, include_str!("../static/tree.css")),
    ("icon.svg", "image/svg+xml", include_str!("../../mesh-call/static/icon.svg")),
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

        assert!(policy("[::1]:8080").contains("'self' ws://[::1]:8080 wss://[::1]:8080;"));
        assert!(policy("a.example; script-src *").contains("connect-src 'self'; form-action"));
        assert!(super::policy(&HeaderMap::new()).contains("connect-src 'self'; form-action"));
    }

    #[test]
    fn every_file_that_a_page_or_a_script_asks_for_is_served() {
        for (name, _, text) in ASSETS.iter().chain(&[("", "", PAGE), ("", "", NOT_FOUND)]) {
            for asked in text.split('"').filter_map(|word| {
                word.strip_prefix("/static/").or_else(|| word.strip_prefix("./"))
            }) {
                assert!(ASSETS.iter().any(|(name, ..)| *name == asked), "{name} asks for {asked}");
            }
        }
    }
}
