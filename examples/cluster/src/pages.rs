//! HTTP routes: the page of a room, its script and its style.

use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_signaling::{RouteGuard, is_room_name};
use callboard_transport::gather::IceServer;
use example_pages::{Asset, GoTo, page_of_nodes};

/// Adds the routes of the pages. `/{room}` takes all requests that no route before it took. A page may be told to go on
/// at another node: these are the origins of all of them. Needs the STUN and TURN servers, which only requests that
/// `route_guard` lets through get.
pub(crate) fn configure(
    origins: web::Data<Vec<String>>,
    route_guard: &RouteGuard,
) -> impl FnOnce(&mut web::ServiceConfig) + use<> {
    let guarded = from_fn(route_guard.middleware());
    move |app| {
        let ice_servers = web::resource("/ice-servers").route(web::get().to(ice_servers));
        app.app_data(origins)
            .route("/", web::get().to(start))
            .service(ice_servers.wrap(guarded))
            .route("/static/{file}", web::get().to(asset))
            .route("/{room}", web::get().to(room))
            .default_service(web::to(not_found));
    }
}

/// Redirects to the room `demo`, or to the room that a form asks for.
async fn start(query: Option<web::Query<GoTo>>) -> HttpResponse {
    let asked = query.map(|query| query.into_inner().room).filter(|room| !room.is_empty());
    GoTo::room(asked.as_deref().unwrap_or("demo"))
}

async fn room(
    request: HttpRequest,
    room: web::Path<String>,
    origins: web::Data<Vec<String>>,
) -> HttpResponse {
    if is_room_name(&room) {
        page_of_nodes(&request, StatusCode::OK, PAGE, &origins)
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

async fn not_found(request: HttpRequest) -> HttpResponse {
    example_pages::not_found(&request)
}

const PAGE: &str = include_str!("../static/index.html");

const ASSETS: [Asset; 13] = [
    Asset::script("page.js", include_str!("../static/page.js")),
    Asset::script("call.js", include_str!("../static/call.js")),
    Asset::script("nodes.js", include_str!("../static/nodes.js")),
    Asset::script("trees.js", include_str!("../static/trees.js")),
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
