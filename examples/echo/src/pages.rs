//! What a browser gets: the page, and the STUN and TURN servers that it is to use.

use actix_web::{HttpResponse, web};

use crate::Server;

/// The routes of the page; needs the [`Server`].
pub(crate) fn configure(app: &mut web::ServiceConfig) {
    app.route("/", web::get().to(page)).route("/ice-servers", web::get().to(ice_servers));
}

async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .body(include_str!("../static/index.html"))
}

async fn ice_servers(server: web::Data<Server>) -> HttpResponse {
    example_pages::ice_servers(&server.configuration.ice_servers)
}
