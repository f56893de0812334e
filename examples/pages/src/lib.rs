//! Shared parts of the examples: their command lines and processes, their HTTP answers, camera and microphone of pages.
#![allow(clippy::exhaustive_enums, reason = "only the examples beside it use it")]

pub mod bots;
pub mod options;
pub mod process;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use std::{fmt, io};

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ContentType, HOST, HeaderMap, LOCATION,
};
use actix_web::middleware::DefaultHeaders;
use actix_web::{HttpRequest, HttpResponse};
use callboard_transport::gather::IceServer;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// Longest time for the body of a request.
pub const BODY_TIME: Duration = Duration::from_secs(10);

/// Returns why a server cannot listen there, with the address.
pub fn cannot_listen(listen: impl fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {listen}: {error}"))
}

/// Checks that a server can listen there. Called before any actor starts, it keeps the error out of their log lines.
///
/// # Errors
/// [`cannot_listen`]
pub fn check_listen(listen: SocketAddr) -> io::Result<()> {
    TcpListener::bind(listen).map(drop).map_err(|error| cannot_listen(listen, &error))
}

/// Static file of a page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its name under `/static/`.
    pub name: &'static str,
    /// Its media type.
    pub kind: &'static str,
    /// Its content.
    pub text: &'static str,
}

impl Asset {
    /// Creates a JavaScript module.
    pub const fn script(name: &'static str, text: &'static str) -> Self {
        Self { name, kind: "text/javascript; charset=utf-8", text }
    }

    /// Creates a style sheet.
    pub const fn style(name: &'static str, text: &'static str) -> Self {
        Self { name, kind: "text/css; charset=utf-8", text }
    }
}

/// Camera and microphone of this browser.
pub const MEDIA: Asset = Asset::script("media.js", include_str!("../static/media.js"));
/// The STUN and TURN servers of the site, where it answers `/ice-servers`.
pub const ICE_SERVERS: Asset =
    Asset::script("ice_servers.js", include_str!("../static/ice_servers.js"));
/// A supervision tree in a page: its modules, and its style.
pub const TREE: [Asset; 5] = [
    Asset::script("exits.js", include_str!("../static/exits.js")),
    Asset::script("facts.js", include_str!("../static/facts.js")),
    Asset::script("tree_view.js", include_str!("../static/tree_view.js")),
    Asset::script("view.js", include_str!("../static/view.js")),
    Asset::style("tree.css", include_str!("../static/tree.css")),
];
/// Icon of all pages.
pub const ICON: Asset =
    Asset { name: "icon.svg", kind: "image/svg+xml", text: include_str!("../static/icon.svg") };

/// Query of a form that asks for a room.
#[derive(Debug, Deserialize)]
pub struct GoTo {
    /// The room's name as it was typed.
    pub room: String,
}

impl GoTo {
    /// Redirects to the page of this room.
    pub fn room(room: &str) -> HttpResponse {
        HttpResponse::SeeOther()
            .insert_header((LOCATION, format!("/{}", utf8_percent_encode(room, SEGMENT))))
            .finish()
    }
}

/// Returns headers that every answer has, unless it sets its own.
pub fn security_headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
        .add(("X-Content-Type-Options", "nosniff"))
        .add(("X-Frame-Options", "DENY"))
        .add(("Referrer-Policy", "no-referrer"))
        .add(("Cross-Origin-Opener-Policy", "same-origin"))
        .add(("Cross-Origin-Resource-Policy", "same-origin"))
        .add(("Permissions-Policy", "camera=(self), microphone=(self), geolocation=()"))
}

/// Answers with a page, which may load files of its own server.
pub fn page(request: &HttpRequest, status: StatusCode, text: &'static str) -> HttpResponse {
    page_of_nodes(request, status, text, &[])
}

/// Answers with a page, which may load files of its own server, and open WebSockets to the hosts of these origins as
/// well: the other nodes of a cluster.
pub fn page_of_nodes(
    request: &HttpRequest,
    status: StatusCode,
    text: &'static str,
    origins: &[String],
) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header(ContentType::html())
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, policy(request.headers(), origins)))
        .body(text)
}

/// Answers with STUN and TURN servers in the form that `RTCPeerConnection` takes.
pub fn ice_servers(list: &[IceServer]) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(list)
}

/// Answers that there is no such page.
pub fn not_found(request: &HttpRequest) -> HttpResponse {
    page(request, StatusCode::NOT_FOUND, include_str!("../static/not_found.html"))
}

/// Answers with the asset of this name, or that there is none.
pub fn asset(request: &HttpRequest, assets: &[Asset], name: &str) -> HttpResponse {
    match assets.iter().find(|asset| asset.name == name) {
        Some(asset) => HttpResponse::Ok()
            .content_type(asset.kind)
            .insert_header((CACHE_CONTROL, "no-cache"))
            .body(asset.text),
        None => not_found(request),
    }
}

/// Returns the names that these pages and assets ask for and that are none of these assets.
pub fn missing<'a>(assets: &'a [Asset], pages: &[&'a str]) -> Vec<&'a str> {
    let texts = assets.iter().map(|asset| asset.text).chain(pages.iter().copied());
    let words = texts.flat_map(|text| text.split('"'));
    words
        .filter_map(|word| word.strip_prefix("/static/").or_else(|| word.strip_prefix("./")))
        .filter(|asked| !assets.iter().any(|asset| asset.name == *asked))
        .collect()
}

/// Returns the content security policy: our own scripts and styles, none inline. Not every browser counts the socket of
/// the same host as `'self'`.
fn policy(headers: &HeaderMap, origins: &[String]) -> String {
    let own = headers.get(HOST).and_then(|host| host.to_str().ok());
    let others = origins.iter().filter_map(|origin| Some(origin.split_once("://")?.1));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let hosts = own.into_iter().chain(others.filter(|other| own != Some(other)));
    let hosts = hosts.filter(|host| !host.is_empty() && host.bytes().all(plain));
    let sockets: String = hosts.map(|host| format!(" ws://{host} wss://{host}")).collect();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; \
         connect-src 'self'{sockets}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

/// Characters that need no encoding in a segment of a path (RFC 3986 §2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn a_host_that_could_change_the_policy_is_left_out_of_it() {
        let policy = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            super::policy(&headers, &[])
        };

        assert!(
            policy("[::1]:8080").contains("connect-src 'self' ws://[::1]:8080 wss://[::1]:8080;")
        );
        assert!(policy("a.example; script-src *").contains("connect-src 'self'; form-action"));
        assert!(super::policy(&HeaderMap::new(), &[]).contains("connect-src 'self'; form-action"));
    }

    #[test]
    fn a_page_of_a_node_may_open_websockets_to_the_others() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("127.0.0.1:1"));
        let origins = ["http://127.0.0.1:1", "https://b.example", "http://a b", "file"];
        let policy = super::policy(&headers, &origins.map(str::to_owned));

        let sockets = "ws://127.0.0.1:1 wss://127.0.0.1:1 ws://b.example wss://b.example";
        assert!(policy.contains(&format!("connect-src 'self' {sockets}; form-action")), "{policy}");
    }

    #[test]
    fn what_a_page_or_a_script_asks_for_and_is_not_there_is_found() {
        let page = r#"<script src="/static/media.js"></script><link href="/static/none.css">"#;
        let script = Asset::script("a.js", r#"import "./b.js"; import "./media.js";"#);
        assert_eq!(missing(&[MEDIA, script], &[page]), ["b.js", "none.css"]);
    }
}
