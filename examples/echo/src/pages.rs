//! HTTP routes: the page, its STUN and TURN servers, and the answer to its offer.

use actix_web::{HttpResponse, web};
use callboard_peer_connection::{Api, Configuration, PeerConnections, SessionDescription};
use callboard_signaling::Place;

use crate::answer;

/// State of all routes.
pub(crate) struct Server {
    pub(crate) connections: PeerConnections,
    pub(crate) api: Api,
    pub(crate) configuration: Configuration,
}

/// Adds the routes of the page; needs the [`Server`].
pub(crate) fn configure(app: &mut web::ServiceConfig) {
    app.route("/", web::get().to(page))
        .route("/ice-servers", web::get().to(ice_servers))
        .route("/offer", web::post().to(offer));
}

async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .body(include_str!("../static/index.html"))
}

async fn ice_servers(server: web::Data<Server>) -> HttpResponse {
    example_pages::ice_servers(&server.configuration.ice_servers)
}

async fn offer(
    server: web::Data<Server>,
    place: web::ReqData<Place>,
    offer: web::Json<SessionDescription>,
) -> HttpResponse {
    match answer(&server, place.into_inner(), offer.into_inner()).await {
        Ok(answer) => HttpResponse::Ok().json(answer),
        Err(error) => HttpResponse::BadRequest().body(error.to_string()),
    }
}
