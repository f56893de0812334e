use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use actix_web::{App, HttpResponse, HttpServer, web};
use callboard::prelude::*;
use callboard::signaling::{ClientTrack, Run, ServerTrack, TrackEvent, WebRtc, client_script};
use callboard::supervision::MainError;
use callboard::webrtc::{
    LocalTrack, PeerConnections, PeerConnectionsOptions, ReceivedSample, RtpCodecCapability,
};

/// What everyone sees: the camera that was turned on last.
#[derive(Default)]
struct Stage {
    camera: Option<ClientTrack>,
    screens: HashMap<PeerId, ServerTrack>,
}

struct Guest {
    stage: Arc<Mutex<Stage>>,
}

impl Guest {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().expect("nothing panics with it")
    }
}

impl Peer for Guest {
    type Options = Arc<Mutex<Stage>>;

    async fn on_init(
        _: &InitContext,
        _: &AuthData,
        stage: &Arc<Mutex<Stage>>,
    ) -> Result<PeerInit<Self>, Rejection> {
        Ok(Self { stage: stage.clone() }.into())
    }

    fn on_joined(&mut self, context: &PeerContext) {
        let picture = LocalTrack::new(RtpCodecCapability::new("video/VP8"), "picture", "show");
        if let Ok(screen) = context.client.add_track(picture) {
            self.stage().screens.insert(context.peer_id, screen);
        }
    }

    fn on_track(&mut self, event: TrackEvent<'_>, _: &PeerContext) {
        if let TrackEvent::Added(camera) = event {
            self.stage().camera = Some(camera.clone());
        }
    }

    fn on_sample(&mut self, track: &ClientTrack, sample: &ReceivedSample, _: &PeerContext) {
        let stage = self.stage();
        if stage.camera.as_ref().is_some_and(|camera| camera.id() == track.id()) {
            for screen in stage.screens.values() {
                // What one has no room for is lost to it, and to no other.
                _ = screen.forward(sample);
            }
        }
    }

    fn on_keyframe_request(&mut self, _: &ServerTrack, _: &PeerContext) {
        if let Some(camera) = &self.stage().camera {
            camera.request_keyframe();
        }
    }

    fn on_terminate(&mut self, context: &PeerContext) {
        self.stage().screens.remove(&context.peer_id);
    }
}

struct Show;

impl Room for Show {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

async fn page() -> HttpResponse {
    let page = include_str!("page.html");
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page)
}

#[actix_web::main]
async fn main() -> Result<(), MainError> {
    let show = || vec![RoomOptions::<Show>::new("show", ()).max_peers(20).into()];
    let rooms = Rooms::builder().open_at_start(show).build();
    let tree = rooms.start().await?;
    let connections = PeerConnections::start(PeerConnectionsOptions::default()).await?;
    let options = PeerOptions::<Guest>::new(Arc::default(), rooms.clone());
    let signaling = Signaling::new(options.webrtc(WebRtc::new(connections.clone())));
    let app = move || {
        App::new()
            .route("/", web::get().to(page))
            .configure(client_script("/callboard.js"))
            .configure(signaling.at(&["/socket/{room}"]))
    };
    let listen = "127.0.0.1:8080";
    let bound = tune(HttpServer::new(app)).bind(listen);
    let server = bound.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("listening on http://{}", server.addrs()[0]);
    Ok(Run::new()?.rooms(&rooms).connections(&connections).tree(&tree).serve(server).await?)
}
