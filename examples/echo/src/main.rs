//! A peer connection on the server that sends back everything that a browser sends: messages, sound and pictures.

mod cli;
mod pages;

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use actix::prelude::*;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use callboard_signaling::{Place, Run, body_within};
use callboard_supervision::MainError;
use clap::Parser;
use tokio::sync::oneshot;

use crate::cli::Cli;
use crate::pages::Server;

#[actix_web::main]
async fn main() -> Result<ExitCode, MainError> {
    let Cli { listen, network, web, process } = Cli::parse();
    if let Some(code) = process.begin("info") {
        return Ok(code);
    }
    let connections = PeerConnections::start(network.options()).await?;
    // One answer over HTTP must contain all candidates.
    let settings = ApiSettings { inline_candidates: true, ..ApiSettings::default() };
    let api = Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings);
    let run = Run::new()?.connections(&connections);
    let configuration = network.configuration();
    let route_guard = web.route_guard();
    let server = web::Data::new(Server { connections, api, configuration });
    let http = HttpServer::new(move || {
        let app = App::new().app_data(server.clone()).configure(pages::configure);
        app.wrap(from_fn(route_guard.middleware()))
            .wrap(from_fn(body_within(example_pages::BODY_TIME)))
    })
    .bind(&listen)
    .map_err(|error| example_pages::cannot_listen(listen, &error))?;
    http.addrs().iter().for_each(|address| println!("listening on http://{address}"));
    run.serve(http).await?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the server's answer to a browser's offer.
async fn answer(
    server: &Server,
    place: Place,
    offer: SessionDescription,
) -> Result<SessionDescription, Box<dyn std::error::Error>> {
    let (gathered, all_gathered) = oneshot::channel();
    let gathered = Some(gathered);
    let echo = Echo { connection: None, senders: HashMap::new(), gathered, _place: place };
    let echo = echo.start();
    let owner = echo.clone().recipient();
    let configuration = server.configuration.clone();
    let connection = server.connections.open(&server.api, configuration, owner).await?;
    let answered = async {
        connection.send(SetRemoteDescription(offer)).await??;
        // Media that arrives on a section is sent back on it.
        let mut senders = HashMap::new();
        for (at, transceiver) in connection.send(GetTransceivers).await?.iter().enumerate() {
            let codec = RtpCodecCapability::new(transceiver.kind.name());
            let track = LocalTrack::new(codec, format!("echo-{at}"), format!("echo-{at}"));
            senders.insert(transceiver.id, connection.send(AddTrack(track)).await??);
        }
        echo.send(Begin(connection.clone(), senders)).await?;
        connection.send(SetLocalDescription(None)).await??;
        let sections = connection.send(GetAnsweredSections).await?;
        if sections.taken == 0 {
            return Err(format!("nothing in the offer can be used: {sections}").into());
        }
        // A STUN or TURN server that does not answer costs only its candidates.
        _ = tokio::time::timeout(Duration::from_secs(2), all_gathered).await;
        Ok(connection.send(LocalDescription).await?.ok_or("there is no answer")?)
    }
    .await;
    if answered.is_err() {
        connection.close().await;
    }
    answered
}

/// Actor that receives the events of one connection, and sends its data back.
struct Echo {
    connection: Option<PeerConnectionHandle>,
    senders: HashMap<TransceiverId, SenderId>,
    gathered: Option<oneshot::Sender<()>>,
    /// Place among the connections of its address; given back when the connection has ended.
    _place: Place,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Begin(PeerConnectionHandle, HashMap<TransceiverId, SenderId>);

impl Actor for Echo {
    type Context = Context<Self>;
}

impl Handler<Begin> for Echo {
    type Result = ();

    fn handle(&mut self, Begin(connection, senders): Begin, _: &mut Context<Self>) {
        (self.connection, self.senders) = (Some(connection), senders);
    }
}

impl Handler<PeerConnectionEvent> for Echo {
    type Result = ();

    fn handle(&mut self, told: PeerConnectionEvent, ctx: &mut Context<Self>) {
        let connection = match (&self.connection, &told.event) {
            (_, ConnectionEvent::Closed(_)) => return ctx.stop(),
            (None, _) => return,
            (Some(connection), _) => connection,
        };
        // Data for which a connection has no room is lost here; an application would wait, or close.
        _ = match told.event {
            ConnectionEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                return if let Some(gathered) = self.gathered.take() {
                    _ = gathered.send(());
                };
            }
            ConnectionEvent::ConnectionStateChange(state) => {
                return log::info!("{}: {state}", connection.id());
            }
            ConnectionEvent::DataChannelMessage { channel, message } => {
                connection.try_send(SendData { channel, message })
            }
            ConnectionEvent::Sample(sample) => {
                let Some(sender) = self.senders.get(&sample.transceiver) else { return };
                let mut back = Sample::new(sample.data, Duration::ZERO);
                back.timestamp = Some(sample.timestamp);
                connection.try_send(WriteSample { sender: *sender, sample: back })
            }
            // The browser cannot show what comes back: it must send a key frame, which is then sent back.
            ConnectionEvent::KeyframeRequested { transceiver, rid, kind } => {
                connection.try_send(RequestKeyframe { transceiver, rid, kind })
            }
            _ => return,
        };
    }
}
