//! A peer of another implementation, and a thousand forged datagrams a second in its name, no two alike.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use callboard_ice_handshake::handshake::{ComponentId, ComponentInfo};
use callboard_ice_handshake::handshake::{Dtls, HandshakeFactory, Role, Step, Version};
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use integration_tests::{Namespace, Peer, PeerKind, in_network_namespace_within};
use serde_json::json;

use crate::forgery::{Forged, Forger};
use crate::ours::Ours;
use crate::spoof::{Attacker, address_in, in_the_name};
use crate::table::{Outcome, Table, description, text};

#[test]
fn aiortc_connects_while_a_forger_sends_in_its_name() {
    in_network_namespace_within(LONGEST, async || {
        let ours = Ours::start().await;
        let mut theirs = Peer::start(PeerKind::Aiortc).await;
        for (role, kinds) in [(Role::Server, TO_SERVERS), (Role::Client, TO_CLIENTS)] {
            for kind in kinds {
                let (mut failed, mut longest) = (Vec::new(), Duration::ZERO);
                for seed in 0..SET_UPS {
                    // The peer is the DTLS client when it answers.
                    let mut table =
                        Table::lay(&ours, &Api::default(), &mut theirs, role == Role::Server).await;
                    match attacked(&mut table, role, kind, seed).await {
                        Ok(took) => longest = longest.max(took),
                        Err(error) => failed.push(error),
                    }
                    table.clear().await;
                }
                println!(
                    "we are {role:?}, {kind:?}: {} of {SET_UPS} failed, the longest took {longest:?}",
                    failed.len()
                );
                assert!(failed.is_empty(), "we are {role:?}, {kind:?}: {failed:#?}");
            }
        }
    });
}

/// Connects the two and has them talk while forged datagrams come to us. Returns how long connecting took.
async fn attacked(table: &mut Table<'_>, role: Role, kind: Forged, seed: u64) -> Outcome<Duration> {
    let attacker;
    let began;
    if table.we_offer {
        table.tell(CreateDataChannel::new("data")).await?.map_err(text)?;
        let offer = table.tell(CreateOffer::default()).await?.map_err(text)?;
        table.tell(SetLocalDescription(Some(offer.clone()))).await?.map_err(text)?;
        table.command(json!({ "do": "remote", "description": offer })).await?;
        let answer = description(table.command(json!({ "do": "answer" })).await?)?;
        attacker = start(table, &answer, role, kind, seed).await?;
        began = Instant::now();
        table.tell(SetRemoteDescription(answer)).await?.map_err(text)?;
    } else {
        table.command(json!({ "do": "channel", "label": "data" })).await?;
        let mut offer = description(table.command(json!({ "do": "offer" })).await?)?;
        // Where the peer leaves the role to us, we are the server.
        offer.sdp = offer.sdp.replace("a=setup:actpass", "a=setup:passive");
        table.tell(SetRemoteDescription(offer.clone())).await?.map_err(text)?;
        let answer = table.tell(CreateAnswer::default()).await?.map_err(text)?;
        table.tell(SetLocalDescription(Some(answer.clone()))).await?.map_err(text)?;
        attacker = start(table, &offer, role, kind, seed).await?;
        began = Instant::now();
        table.command(json!({ "do": "remote", "description": answer })).await?;
    }
    table.connect().await?;
    let took = began.elapsed();
    let ours = table.we_told.iter().find_map(|event| match event {
        ConnectionEvent::HandshakeFinished { role, .. } => Some(*role),
        _ => None,
    });
    if ours != Some(role) {
        return Err(format!("we are {ours:?} instead of {role:?}"));
    }
    table
        .until("open channel", |table| table.our_channel().is_some() && table.they_say("open") > 0)
        .await?;
    let channel = table.our_channel().ok_or("no channel")?;
    let message = DataChannelMessage::Text("while attacked".to_owned());
    table.tell(SendData { channel, message }).await?.map_err(text)?;
    table.command(json!({ "do": "expect", "label": "data", "messages": 1 })).await?;
    table.command(json!({ "do": "send", "label": "data", "text": "so do we" })).await?;
    table.until("answer", |table| table.messages().count() == 1).await?;
    if attacker.sent() == 0 {
        return Err("nothing was forged".to_owned());
    }
    Ok(took)
}

/// Starts an attacker that sends to us in the name of the peer with this description.
async fn start(
    table: &mut Table<'_>,
    theirs: &SessionDescription,
    role: Role,
    kind: Forged,
    seed: u64,
) -> Outcome<Attacker> {
    table.until("candidate of ours", |table| our_address(table).is_some()).await?;
    let target = our_address(table).ok_or("no candidate of ours")?;
    let theirs = theirs.sdp.lines().find_map(|line| line.strip_prefix("a=candidate:"));
    let name = address_in(theirs.ok_or("no candidate of theirs")?);
    // The attacker speaks only DTLS 1.2.
    let dtls = Dtls::generate().map_err(text)?.version(Version::Dtls12).role(Role::Client);
    let mut client = dtls.new_handshake(&ComponentInfo::new(ComponentId(1), true));
    let Step::Packets(hello) = client.connection_ready(Instant::now()) else {
        return Err("no hello".to_owned());
    };
    let mut forger = Forger::new(seed, role, hello[0].to_vec(), &[7; 300]);
    let datagrams = std::iter::repeat_with(move || forger.forge(kind));
    let attacker = Attacker::start(&Namespace::current(), datagrams, in_the_name(name, target));
    attacker.has_begun().await;
    Ok(attacker)
}

fn our_address(table: &Table<'_>) -> Option<SocketAddrV4> {
    table.we_told.iter().find_map(|event| match event {
        ConnectionEvent::IceCandidate(Some(candidate)) => Some(address_in(&candidate.candidate)),
        _ => None,
    })
}

const TO_SERVERS: [Forged; 3] = [Forged::Hello, Forged::Certificate, Forged::ClientFlight];
const TO_CLIENTS: [Forged; 3] =
    [Forged::HelloVerifyRequest, Forged::Certificate, Forged::ServerFlight12];
const SET_UPS: u64 = 10;
/// Longest time of all of them.
const LONGEST: Duration = Duration::from_secs(1800);
