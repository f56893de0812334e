//! Two ICE components on this machine that talk over any handshake: one line selects it.
//!
//! `cargo run -p custom-handshake -- psk`, or `dtls`, `plain`, `pinning`, `chaos`, `recorder`; without a word, all.
//! With `browser`, it serves a page whose connection to this server has its certificate pinned; `browser --help` lists
//! its options.

mod browser;
mod chaos;
mod pinning;
mod recorder;

use std::process::ExitCode;
use std::sync::Arc;

use actix::prelude::*;
use bytes::Bytes;
use callboard_ice_handshake::endpoint::*;
use callboard_ice_handshake::handshake::*;
use callboard_supervision::MainError;
use callboard_transport::mux::InterfaceFilter;
use clap::Parser;
use example_pages::process::{LogFormat, log_by_default};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

use crate::chaos::chaos;
use crate::pinning::pinning;
use crate::recorder::recorder;

type Error = Box<dyn std::error::Error>;
/// Handshakes of the two sides.
type Pair = (Arc<dyn HandshakeFactory>, Arc<dyn HandshakeFactory>);

/// Returns the handshakes that a word selects.
fn handshakes(word: &str) -> Result<Pair, Error> {
    let secret = b"correct horse battery staple";
    Ok(match word {
        "psk" => {
            (Arc::new(Psk::server([("robot", secret)])?), Arc::new(Psk::client("robot", secret)?))
        }
        "dtls" => (Arc::new(Dtls::generate()?), Arc::new(Dtls::generate()?)),
        "plain" => (Arc::new(Plain), Arc::new(Plain)),
        "pinning" => {
            let (ours, theirs) = (Certificate::generate()?, Certificate::generate()?);
            let pinned = pinning(Dtls::new(ours), theirs.fingerprint());
            (Arc::new(pinned), Arc::new(Dtls::new(theirs)))
        }
        "chaos" => (Arc::new(chaos(Dtls::generate()?)), Arc::new(chaos(Dtls::generate()?))),
        "recorder" => (Arc::new(recorder(Dtls::generate()?)), Arc::new(Dtls::generate()?)),
        other => {
            return Err(format!(
                "{other:?}? Say psk, dtls, plain, pinning, chaos, recorder or browser"
            )
            .into());
        }
    })
}

#[actix::main]
async fn main() -> Result<ExitCode, MainError> {
    let _panics = callboard_supervision::install_panic_hook();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some("browser") = words.first().map(String::as_str) {
        let cli = browser::Cli::parse_from(words);
        if let Some(code) = cli.process.begin("error") {
            return Ok(code);
        }
        browser::serve(cli).await?;
        return Ok(ExitCode::SUCCESS);
    }
    log_by_default("error", LogFormat::Text);
    let all =
        || ["psk", "dtls", "plain", "pinning", "chaos", "recorder"].map(str::to_owned).to_vec();
    for word in if words.is_empty() { all() } else { words } {
        let (ours, theirs) = handshakes(&word)?;
        let began = Instant::now();
        let said = talk(ours, theirs).await?;
        println!("{word}: {said:?} after {:?}", began.elapsed());
    }
    Ok(ExitCode::SUCCESS)
}

/// One side and its events.
struct Side {
    endpoint: IceEndpoint,
    told: UnboundedReceiver<EndpointEvent>,
}

impl Side {
    async fn start(controlling: bool, handshake: Arc<dyn HandshakeFactory>) -> Result<Self, Error> {
        let mut options = EndpointOptions::new(handshake);
        options.controlling = controlling;
        // Both sides are on this machine.
        options.sockets.interfaces = InterfaceFilter::with_loopback();
        let (tell, told) = unbounded_channel();
        let endpoint = IceEndpoint::start(options, Owner(tell).start().recipient()).await?;
        endpoint.send(GatherCandidates).await?;
        Ok(Self { endpoint, told })
    }
}

struct Owner(tokio::sync::mpsc::UnboundedSender<EndpointEvent>);

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<EndpointEvent> for Owner {
    type Result = ();

    fn handle(&mut self, event: EndpointEvent, _: &mut Context<Self>) {
        _ = self.0.send(event);
    }
}

/// Connects two sides and has one say hello; returns what the other receives.
async fn talk(
    ours: Arc<dyn HandshakeFactory>,
    theirs: Arc<dyn HandshakeFactory>,
) -> Result<String, Error> {
    let (mut a, mut b) = (Side::start(true, ours).await?, Side::start(false, theirs).await?);
    let component = ComponentId(1);
    let mut finished = 0;
    loop {
        let (event, other) = tokio::select! {
            Some(event) = a.told.recv() => (event, &b.endpoint),
            Some(event) = b.told.recv() => (event, &a.endpoint),
        };
        // Signaling: the events of one side go to the other. Any transport would do; here none is needed.
        match event {
            EndpointEvent::HandshakeInitData { component, data } => {
                other.send(SetRemoteHandshakeInitData { component: Some(component), data }).await?;
            }
            EndpointEvent::LocalCredentials(credentials) => {
                other.send(SetRemoteCredentials(credentials)).await??
            }
            EndpointEvent::NewCandidate { component, candidate } => {
                other.send(SetRemoteCandidate { component, candidate }).await??;
            }
            EndpointEvent::HandshakeFinished { .. } => {
                finished += 1;
                if finished == 2 {
                    let payload = Bytes::from_static(b"hello from the other side");
                    a.endpoint.send(SendPayload { component, payload }).await??;
                }
            }
            EndpointEvent::Payload { payload, .. } => {
                a.endpoint.stop().await;
                b.endpoint.stop().await;
                return Ok(String::from_utf8_lossy(&payload).into_owned());
            }
            EndpointEvent::ComponentFailed { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
}
