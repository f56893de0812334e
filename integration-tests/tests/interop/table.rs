//! Peer connection of ours and one of another implementation, with the signaling between them.

use std::collections::HashMap;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::prelude::*;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use integration_tests::{PATIENCE, Peer, PeerKind};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::ours::Ours;

/// Two peer connections, ours and theirs, and their signaling.
pub(crate) struct Table<'a> {
    pub(crate) ours: PeerConnectionHandle,
    events: mpsc::UnboundedReceiver<ConnectionEvent>,
    pub(crate) theirs: &'a mut Peer,
    pub(crate) we_offer: bool,
    /// Events of our side so far.
    pub(crate) we_told: Vec<ConnectionEvent>,
    pub(crate) they_told: Vec<Value>,
    /// Number of frames received, which are sent back.
    pub(crate) frames: HashMap<TrackKind, usize>,
    pub(crate) senders: HashMap<TrackKind, SenderId>,
    video: Option<TransceiverId>,
    /// Whether we are the polite side of perfect negotiation (W3C §10.7), if it is on.
    pub(crate) polite: Option<bool>,
}

/// Event of one of the two.
enum Event {
    ByUs(ConnectionEvent),
    ByThem(Value),
}

pub(crate) type Outcome<T> = Result<T, String>;

impl<'a> Table<'a> {
    pub(crate) async fn lay(ours: &Ours, api: &Api, theirs: &'a mut Peer, we_offer: bool) -> Self {
        let (ours, events) = ours.open(api).await;
        theirs.forget();
        theirs.command(json!({ "do": "new" })).await.expect("a new connection of theirs");
        Self {
            ours,
            events,
            theirs,
            we_offer,
            we_told: Vec::new(),
            they_told: Vec::new(),
            frames: HashMap::new(),
            senders: HashMap::new(),
            video: None,
            polite: None,
        }
    }

    pub(crate) async fn clear(self) {
        self.ours.close().await;
    }

    pub(crate) async fn tell<M>(&self, message: M) -> Outcome<M::Result>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        PeerConnection: Handler<M>,
        Context<PeerConnection>: ToEnvelope<PeerConnection, M>,
    {
        self.ours.send(message).await.map_err(text)
    }

    pub(crate) async fn command(&mut self, command: Value) -> Outcome<Value> {
        let result = self.theirs.command(command).await;
        result.map_err(|error| format!("{error}; {}", self.told()))
    }

    /// Negotiates, with the offer from the side that was chosen for this table.
    pub(crate) async fn negotiate(&mut self) -> Outcome<()> {
        self.negotiate_by(self.we_offer, false).await
    }

    pub(crate) async fn negotiate_by(&mut self, us: bool, restart: bool) -> Outcome<()> {
        if us {
            let offer = self
                .tell(CreateOffer { ice_restart: restart, ..CreateOffer::default() })
                .await?
                .map_err(text)?;
            self.tell(SetLocalDescription(Some(offer.clone()))).await?.map_err(text)?;
            self.command(json!({ "do": "remote", "description": offer })).await?;
            let answer = self.command(json!({ "do": "answer" })).await?;
            self.tell(SetRemoteDescription(description(answer)?)).await?.map_err(text)
        } else {
            let offer = self.command(json!({ "do": "offer", "restart": restart })).await?;
            self.tell(SetRemoteDescription(description(offer)?)).await?.map_err(text)?;
            self.answer().await
        }
    }

    pub(crate) async fn answer(&mut self) -> Outcome<()> {
        let answer = self.tell(CreateAnswer::default()).await?.map_err(text)?;
        self.tell(SetLocalDescription(Some(answer.clone()))).await?.map_err(text)?;
        self.command(json!({ "do": "remote", "description": answer })).await.map(drop)
    }

    /// Carries the signaling between them until this is so.
    pub(crate) async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Outcome<()> {
        let carry = async {
            while !done(self) {
                let event = self.next().await?;
                self.carry(event).await?;
            }
            Ok(())
        };
        match tokio::time::timeout(PATIENCE, carry).await {
            Ok(result) => result,
            Err(_) => Err(format!("no {what} within {PATIENCE:?}; {}", self.told())),
        }
    }

    /// Carries the signaling of this period. Only waiting for an event is cancelled, never handling one: half of a
    /// negotiation would be lost for good.
    pub(crate) async fn carry_for(&mut self, time: Duration) -> Outcome<()> {
        let deadline = tokio::time::Instant::now() + time;
        while let Ok(event) = tokio::time::timeout_at(deadline, self.next()).await {
            self.carry(event?).await?;
        }
        Ok(())
    }

    /// Returns the next event of either side. Cancelling loses nothing.
    async fn next(&mut self) -> Outcome<Event> {
        tokio::select! {
            // When our side has ended there are no more events.
            Some(event) = self.events.recv() => Ok(Event::ByUs(event)),
            event = self.theirs.event() => match event {
                Some(event) => Ok(Event::ByThem(event)),
                None => Err("they have ended".to_owned()),
            },
        }
    }

    async fn carry(&mut self, event: Event) -> Outcome<()> {
        match event {
            Event::ByUs(event) => self.hear_us(event).await,
            Event::ByThem(event) => self.hear_them(event).await,
        }
    }

    async fn hear_us(&mut self, event: ConnectionEvent) -> Outcome<()> {
        match &event {
            ConnectionEvent::IceCandidate(Some(candidate)) => {
                let name = if self.polite.is_some() { "signal" } else { "candidate" };
                self.command(json!({ "do": name, "candidate": candidate })).await?;
            }
            ConnectionEvent::Sample(sample) => return self.send_back(sample).await,
            ConnectionEvent::Packet(packet) => self.write_back(packet).await?,
            ConnectionEvent::KeyframeRequested { .. } => {
                if let Some(transceiver) = self.video {
                    let kind = KeyframeRequestKind::Pli;
                    // There may be no video yet.
                    _ = self.tell(RequestKeyframe { transceiver, rid: None, kind }).await?;
                }
            }
            ConnectionEvent::TrackAdded { transceiver, kind: TrackKind::Video, .. } => {
                self.video = Some(*transceiver);
            }
            ConnectionEvent::NegotiationNeeded if self.polite.is_some() => {
                let stable = self.tell(GetSignalingState).await? == SignalingState::Stable;
                if stable {
                    self.tell(SetLocalDescription(None)).await?.map_err(text)?;
                    self.signal().await?;
                }
            }
            _ => {}
        }
        self.we_told.push(event);
        Ok(())
    }

    async fn signal(&mut self) -> Outcome<()> {
        let description = self.tell(LocalDescription).await?;
        self.command(json!({ "do": "signal", "description": description })).await.map(drop)
    }

    async fn hear_them(&mut self, event: Value) -> Outcome<()> {
        match event["event"].as_str() {
            Some("candidate") => {
                let candidate = serde_json::from_value(event["candidate"].clone()).map_err(text)?;
                let added = self.tell(AddIceCandidate(candidate)).await?;
                // Candidates of an offer that was ignored belong to no description.
                if self.polite.is_none() {
                    added.map_err(text)?;
                }
            }
            Some("description") => {
                let description = description(event["description"].clone())?;
                let offer = description.kind == SdpType::Offer;
                let stable = self.tell(GetSignalingState).await? == SignalingState::Stable;
                if offer && !stable && self.polite == Some(false) {
                    self.they_told
                        .push(json!({ "event": "description", "type": "offer", "ignored": true }));
                    return Ok(());
                }
                self.tell(SetRemoteDescription(description)).await?.map_err(text)?;
                if offer {
                    self.tell(SetLocalDescription(None)).await?.map_err(text)?;
                    self.signal().await?;
                }
            }
            _ => {}
        }
        self.they_told.push(event);
        Ok(())
    }

    /// Sends a sample back: the peer can decode what it has encoded.
    async fn send_back(&mut self, sample: &ReceivedSample) -> Outcome<()> {
        let kind = if Some(sample.transceiver) == self.video {
            TrackKind::Video
        } else {
            TrackKind::Audio
        };
        *self.frames.entry(kind).or_default() += 1;
        if let Some(sender) = self.senders.get(&kind) {
            let mut back =
                Sample::new(std::sync::Arc::clone(&sample.data), Duration::from_millis(20));
            back.timestamp = Some(sample.timestamp);
            match self.tell(WriteSample { sender: *sender, sample: back }).await? {
                // The other side may not want it any more.
                Ok(()) | Err(callboard_peer_connection::error::WriteError::NotSending) => {}
                Err(error) => return Err(format!("a frame was not sent: {error}")),
            }
        }
        Ok(())
    }

    /// Sends a packet back as it came.
    async fn write_back(&mut self, packet: &RtpPacket) -> Outcome<()> {
        let kind = match self.video == Some(packet.transceiver) {
            true => TrackKind::Video,
            false => TrackKind::Audio,
        };
        *self.frames.entry(kind).or_default() += 1;
        let Some(&sender) = self.senders.get(&kind) else { return Ok(()) };
        self.tell(WriteRtp { sender, packet: packet.clone() }).await?.map_err(text)
    }

    /// Returns the reasons with which our side was closed, one for each event.
    pub(crate) async fn closed_by(&mut self) -> Vec<CloseReason> {
        while let Ok(Some(event)) =
            tokio::time::timeout(Duration::from_secs(1), self.events.recv()).await
        {
            self.we_told.push(event);
        }
        let reason = |event: &ConnectionEvent| match event {
            ConnectionEvent::Closed(reason) => Some(reason.clone()),
            _ => None,
        };
        self.we_told.iter().filter_map(reason).collect()
    }

    pub(crate) async fn add_track(&mut self, kind: TrackKind) -> Outcome<()> {
        let codec = match kind {
            TrackKind::Audio => "audio/opus",
            TrackKind::Video => "video/VP8",
        };
        let track = LocalTrack::new(RtpCodecCapability::new(codec), format!("our {kind}"), "ours");
        let sender = self.tell(AddTrack(track)).await?.map_err(text)?;
        self.senders.insert(kind, sender);
        Ok(())
    }

    /// Carries the signaling until no negotiation is under way and they have this many tracks of ours.
    pub(crate) async fn at_rest_with(&mut self, tracks: usize) -> Outcome<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let stable = self.tell(GetSignalingState).await? == SignalingState::Stable
                && self.command(json!({ "do": "state" })).await?["signaling"] == "stable";
            let theirs = match self.theirs.kind() {
                // It reports a track when its first packet comes; here none is sent.
                PeerKind::WebrtcRs => {
                    let transceivers = self.tell(GetTransceivers).await?;
                    transceivers
                        .iter()
                        .filter(|one| one.current_direction.is_some_and(Direction::sends))
                        .count()
                }
                _ => self.they_say("track"),
            };
            if stable && theirs >= tracks {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                return Err(format!(
                    "{theirs} of {tracks} tracks, stable: {stable}; {}",
                    self.told()
                ));
            }
            // The next events may change it; not all signalling states are reported.
            self.carry_for(Duration::from_millis(50)).await?;
        }
    }

    pub(crate) fn our_state(&self) -> Option<PeerConnectionState> {
        self.we_told.iter().rev().find_map(|event| match event {
            ConnectionEvent::ConnectionStateChange(state) => Some(*state),
            _ => None,
        })
    }

    pub(crate) fn connected(&self) -> bool {
        let theirs = self.they_told.iter().rev().find(|event| event["event"] == "connection");
        self.our_state() == Some(PeerConnectionState::Connected)
            && theirs.is_some_and(|event| event["state"] == "connected")
    }

    pub(crate) async fn connect(&mut self) -> Outcome<()> {
        self.until("connection", Self::connected).await
    }

    /// Returns our channel that is open.
    pub(crate) fn our_channel(&self) -> Option<DataChannelId> {
        self.we_told.iter().find_map(|event| match event {
            ConnectionEvent::DataChannelOpened(id) => Some(*id),
            ConnectionEvent::DataChannelAdded(info) => Some(info.id),
            _ => None,
        })
    }

    pub(crate) fn they_say(&self, event: &str) -> usize {
        self.they_told.iter().filter(|told| told["event"] == event).count()
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = &DataChannelMessage> {
        self.we_told.iter().filter_map(|event| match event {
            ConnectionEvent::DataChannelMessage { message, .. } => Some(message),
            _ => None,
        })
    }

    /// Returns the events so far, shortened.
    pub(crate) fn told(&self) -> String {
        let ours: Vec<String> = self
            .we_told
            .iter()
            .filter(|event| !matches!(event, ConnectionEvent::DataChannelMessage { .. }))
            .map(|event| format!("{event:?}").chars().take(120).collect())
            .collect();
        let theirs: Vec<String> = self
            .they_told
            .iter()
            .map(|event| match event["description"]["type"].as_str() {
                Some(kind) => format!("description: {kind}"),
                None => event.to_string().chars().take(160).collect(),
            })
            .collect();
        format!("we told {:#?}, they told {:#?}", ours, theirs)
    }
}

pub(crate) fn description(value: Value) -> Outcome<SessionDescription> {
    serde_json::from_value(value).map_err(text)
}

pub(crate) fn text(error: impl ToString) -> String {
    error.to_string()
}
