//! HTTP routes: the page, its scripts and its style.

use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_signaling::{RouteGuard, is_room_name};
use callboard_transport::gather::IceServer;
use example_pages::{Asset, GoTo, page};

/// Adds the routes of the pages; needs the STUN and TURN servers, which only requests that
/// `route_guard` lets through get. `/{room}` takes all
/// requests that no route before it took.
pub(crate) fn configure(route_guard: &RouteGuard) -> impl FnOnce(&mut web::ServiceConfig) + use<> {
    let guarded = from_fn(route_guard.middleware());
    move |app| {
        let ice_servers = web::resource("/ice-servers").route(web::get().to(ice_servers));
        app.route("/", web::get().to(start))
            .route("/", web::head().to(start))
            .service(ice_servers.wrap(guarded))
            .route("/static/{file}", web::get().to(asset))
            .route("/static/{file}", web::head().to(asset))
            .route("/{room}", web::get().to(room))
            .route("/{room}", web::head().to(room));
    }
}

/// Answers requests that no route takes.
pub(crate) async fn not_found(request: HttpRequest) -> HttpResponse {
    example_pages::not_found(&request)
}

/// Redirects to the room `demo`, or to the room that a form asks for.
async fn start(query: Option<web::Query<GoTo>>) -> HttpResponse {
    let asked = query.map(|query| query.into_inner().room).filter(|room| !room.is_empty());
    GoTo::room(asked.as_deref().unwrap_or("demo"))
}

async fn room(request: HttpRequest, room: web::Path<String>) -> HttpResponse {
    if is_room_name(&room) {
        page(&request, StatusCode::OK, PAGE)
    } else {
        example_pages::not_found(&request)
    }
}

async fn ice_servers(list: web::Data<Vec<IceServer>>) -> HttpResponse {
    example_pages::ice_servers(&list)
}

async fn asset(request: HttpRequest, file: web::Path<String>) -> HttpResponse {
    example_pages::asset(&request, &ASSETS, &file)
}

const PAGE: &str = include_str!("../static/index.html");

const ASSETS: [Asset; 18] = [
    Asset::script("call.js", include_str!("../static/call.js")),
    Asset::script("chat.js", include_str!("../static/chat.js")),
    Asset::script("flow.js", include_str!("../static/flow.js")),
    Asset::script("page.js", include_str!("../static/page.js")),
    Asset::script("pointers.js", include_str!("../static/pointers.js")),
    Asset::script("recoveries.js", include_str!("../static/recoveries.js")),
    Asset::script("rpc.js", include_str!("../static/rpc.js")),
    Asset::script("tree.js", include_str!("../static/tree.js")),
    Asset::script("unplug.js", include_str!("../static/unplug.js")),
    Asset::style("style.css", include_str!("../static/style.css")),
    example_pages::TREE[0],
    example_pages::TREE[1],
    example_pages::TREE[2],
    example_pages::TREE[3],
    example_pages::TREE[4],
    example_pages::ICE_SERVERS,
    example_pages::MEDIA,
    example_pages::ICON,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_a_page_or_a_script_asks_for_is_served() {
        assert_eq!(example_pages::missing(&ASSETS, &[PAGE]), [""; 0]);
    }
}
