//! An actix program without WebRTC: two supervised actors, and a server that shows their tree.
use actix::prelude::*;
use actix_web::{App, HttpServer};
use callboard_admin::Admin;
use callboard_supervision::{ChildSpec, Flags, MainError, SupervisorSpec};
use callboard_websocket::tune;

/// An actor that an application would have.
struct Worker;

impl Actor for Worker {
    type Context = Context<Self>;
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    env_logger::init();
    let tree = SupervisorSpec::new(Flags::default())
        .child(ChildSpec::new("mail", || Worker))
        .child(ChildSpec::new("bills", || Worker))
        .start_as("server")
        .await?;
    let admin = Admin::builder(tree.clone()).build();
    let app = move || App::new().configure(admin.at("/admin"));
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8082".to_owned());
    let bound = tune(HttpServer::new(app)).bind(&listen);
    let server = bound.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("listening on http://{}", server.addrs()[0]);
    server.run().await?;
    tree.stop().await;
    Ok(())
}
