//! Clients that talk with each other: a room, a call, or one connection with its echo.

use std::io;

use futures_util::future::select_all;

use super::super::kibibyte;
use super::Axis;
use super::call::Call;
use crate::client::{Client, To};
use crate::protocol::Endpoint;
use crate::webrtc::{Peer, Wish};

pub(super) enum Unit {
    Room(Vec<Client>),
    Connection(Box<Peer>),
    Call(Call),
}

impl Unit {
    /// Opens one of the units that there are at a size.
    pub(super) async fn open(
        server: Endpoint,
        axis: Axis,
        number: usize,
        size: usize,
    ) -> io::Result<Self> {
        match axis {
            Axis::Connections => {
                return Ok(Self::Connection(Box::new(Peer::connect(server, Wish::Echo).await?)));
            }
            Axis::Viewers => {
                return Ok(Self::Call(Call::open(server, &format!("viewers-{size}"), size).await?));
            }
            Axis::Calls => {
                return Ok(Self::Call(Call::open(server, &format!("call-{number}"), 2).await?));
            }
            Axis::Peers | Axis::Rooms => {}
        }
        let mut members = Vec::new();
        for _ in 0..axis.members() * axis.clients() {
            members.push(Client::join(server, &format!("room-{number}")).await?);
        }
        Ok(Self::Room(members))
    }

    /// Lets each client say something to all others, one after the other; returns the number of messages.
    pub(super) async fn play(&mut self) -> io::Result<u64> {
        match self {
            Self::Room(members) => {
                for _ in 0..members.len() {
                    members.rotate_left(1);
                    let Some((speaker, others)) = members.split_first_mut() else { break };
                    let text = speaker.message("say", &kibibyte(), To::All)?;
                    speaker.send(text).await?;
                    for other in others {
                        other.until("say").await?;
                    }
                }
                Ok(members.len() as u64)
            }
            Self::Connection(peer) => {
                peer.send(kibibyte().as_bytes())?;
                peer.next().await?;
                Ok(1)
            }
            Self::Call(call) => call.play().await,
        }
    }

    /// Reads what the server sends while no unit plays. Cancelling loses nothing.
    pub(super) async fn listen(&mut self) -> io::Result<()> {
        let heard = match self {
            Self::Room(members) => {
                let next = members.iter_mut().map(|member| Box::pin(member.next()));
                select_all(next).await.0.map(drop)
            }
            Self::Connection(peer) => peer.next().await.map(drop),
            Self::Call(call) => call.listen().await,
        };
        match heard {
            // A server without pings is silent.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(()),
            heard => heard,
        }
    }
}
