//! Baseline below Callboard's connections: bare str0m, one thread, one socket, a loop; offers come over HTTP.

mod baseline;
mod gso;

use std::io;

use actix_web::http::header::ContentType;
use actix_web::{App, HttpResponse, HttpServer, web};
use tokio::sync::{mpsc, oneshot};

use self::baseline::{Baseline, Offer, Role};

/// Serves; `gso` sends the datagrams of a burst to one client in one call, `estimate` estimates their bandwidth.
pub(super) fn serve(gso: bool, estimate: bool) -> io::Result<()> {
    let (offer, offers) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let run = |runtime: tokio::runtime::Runtime| {
            runtime.block_on(async { Baseline::bind(gso, estimate).await?.run(offers).await })
        };
        if let Err(error) = runtime.and_then(run) {
            // Requests that wait for an answer get none.
            eprintln!("the loop has ended: {error}");
        }
    });
    actix_web::rt::System::new().block_on(async {
        let server = HttpServer::new(move || {
            let app = App::new().app_data(web::Data::new(offer.clone()));
            let roles = [
                ("/echo", Role::Echo),
                ("/publish", Role::Publish),
                ("/subscribe", Role::Subscribe),
                ("/join", Role::Join),
            ];
            roles.into_iter().fold(app, |app, (path, role)| {
                let answer = move |offers, room: Option<web::Path<String>>, sdp| {
                    answer(offers, role, room.map(web::Path::into_inner).unwrap_or_default(), sdp)
                };
                app.route(path, web::post().to(answer))
                    .route(&format!("{path}/{{room}}"), web::post().to(answer))
            })
        });
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0))?;
        super::announce(server.addrs()[0]);
        tokio::select! {
            ended = server.run() => ended,
            () = super::parent_gone() => Ok(()),
        }
    })
}

async fn answer(
    offers: web::Data<mpsc::UnboundedSender<Offer>>,
    role: Role,
    room: String,
    sdp: String,
) -> HttpResponse {
    let (answer, answered) = oneshot::channel();
    _ = offers.send(Offer { role, room, sdp, answer });
    match answered.await {
        Ok(Ok(answer)) => {
            HttpResponse::Created().content_type(ContentType::plaintext()).body(answer)
        }
        Ok(Err(error)) => HttpResponse::BadRequest().body(error),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}
