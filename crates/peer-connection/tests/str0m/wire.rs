//! Two bare str0m peers joined by a simulated wire, in simulated time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpApi, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig, RtcError};
use str0m_netem::{Input as NetemInput, Netem, NetemConfig, Output as NetemOutput};

/// A left and a right peer, and the datagrams under way between them.
///
/// Time passes only in [`Wire::run_for`] and [`Wire::run_until`].
pub(crate) struct Wire {
    pub(crate) left: Peer,
    pub(crate) right: Peer,
    pub(crate) now: Instant,
    start: Instant,
}

/// One `Rtc` with its events, and the datagrams on their way to it.
pub(crate) struct Peer {
    pub(crate) rtc: Rtc,
    /// Events of the peer, each with the simulated time since the wire was created.
    pub(crate) events: Vec<(Duration, Event)>,
    /// Errors of its `Rtc`, each with the simulated time.
    pub(crate) errors: Vec<(Duration, RtcError)>,
    /// Every datagram that the peer sent.
    pub(crate) sent: Vec<Datagram>,
    pub(crate) candidate: Candidate,
    /// Whether everything that is sent to this peer is lost.
    pub(crate) deaf: bool,
    deadline: Instant,
    inbound: Netem<Datagram>,
}

/// A datagram that left a peer.
#[derive(Clone)]
pub(crate) struct Datagram {
    pub(crate) proto: Protocol,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) contents: Vec<u8>,
}

impl Wire {
    /// Creates two new peers, with a host candidate each that the other does not know.
    pub(crate) fn new() -> Self {
        Self::with_configs(config(), config())
    }

    pub(crate) fn with_configs(left: RtcConfig, right: RtcConfig) -> Self {
        let start = Instant::now();
        Self {
            left: Peer::new(left, LEFT, start),
            right: Peer::new(right, RIGHT, start),
            now: start,
            start,
        }
    }

    /// Creates two peers that negotiated one data channel of the left one, and are connected.
    pub(crate) fn with_data() -> (Self, ChannelId) {
        Self::new().connected_by(|api| api.add_channel("chat".into()))
    }

    /// Lets the left peer offer what `change` asks for, and waits until both are connected.
    pub(crate) fn connected_by<T>(mut self, change: impl FnOnce(&mut SdpApi) -> T) -> (Self, T) {
        let made = self.negotiate_left(change);
        self.expect_connected();
        (self, made)
    }

    /// Runs a whole round that the left peer offers.
    pub(crate) fn negotiate_left<T>(&mut self, change: impl FnOnce(&mut SdpApi) -> T) -> T {
        negotiate(&mut self.left, &mut self.right, change)
    }

    /// Runs a whole round that the right peer offers.
    pub(crate) fn negotiate_right<T>(&mut self, change: impl FnOnce(&mut SdpApi) -> T) -> T {
        negotiate(&mut self.right, &mut self.left, change)
    }

    /// Waits until both peers are connected and their first channels, if any, are open.
    pub(crate) fn expect_connected(&mut self) {
        assert!(
            self.run_until(secs(10), |wire| wire.left.rtc.is_connected()
                && wire.right.rtc.is_connected()),
            "connected within 10 s: {:?} {:?}",
            self.left.errors,
            self.right.errors
        );
        self.run_for(secs(1));
    }

    /// Lets simulated time pass.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    /// Lets simulated time pass until `done` or for `limit`, and returns which it was.
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        // A peer sees the changes of a test since the last run through an input at once.
        self.left.deadline = self.now;
        self.right.deadline = self.now;
        loop {
            if done(self) {
                return true;
            }
            let next = self.left.next_input().min(self.right.next_input()).max(self.now);
            if next > end {
                self.now = end;
                return false;
            }
            self.now = next;
            let (now, start) = (self.now, self.start);
            if self.left.next_input() <= now {
                self.left.take_input(&mut self.right, now, start);
            } else {
                self.right.take_input(&mut self.left, now, start);
            }
        }
    }

    /// Loses everything that either peer sends from now on.
    pub(crate) fn cut(&mut self) {
        self.left.deaf = true;
        self.right.deaf = true;
    }

    /// Undoes [`Wire::cut`].
    pub(crate) fn mend(&mut self) {
        self.left.deaf = false;
        self.right.deaf = false;
    }

    /// Degrades the wire by `config`, in both directions, with different datagrams affected.
    pub(crate) fn degrade(&mut self, config: NetemConfig, seed: u64) {
        self.left.inbound.set_config(config.seed(2 * seed));
        self.right.inbound.set_config(config.seed(2 * seed + 1));
    }

    /// Returns the simulated time since the wire was created.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Returns whether a message of the left peer's channel reaches the right peer.
    pub(crate) fn carries(&mut self, channel: ChannelId, message: &[u8]) -> bool {
        let seen = self.right.messages().len();
        let taken = self
            .left
            .rtc
            .channel(channel)
            .is_some_and(|mut channel| channel.write(true, message).unwrap());
        self.run_for(secs(2));
        taken && self.right.messages()[seen..].contains(&message.to_vec())
    }
}

impl Peer {
    fn new(config: RtcConfig, address: &str, start: Instant) -> Self {
        let mut rtc = config.build(start);
        let candidate = Candidate::host(address.parse().unwrap(), "udp").unwrap();
        rtc.add_local_candidate(candidate.clone()).unwrap();
        Self {
            rtc,
            events: Vec::new(),
            errors: Vec::new(),
            sent: Vec::new(),
            candidate,
            deaf: false,
            deadline: start,
            inbound: Netem::new(NetemConfig::new().latency(LATENCY)),
        }
    }

    /// Returns an offer with what `change` asks for.
    pub(crate) fn offer<T>(
        &mut self,
        change: impl FnOnce(&mut SdpApi) -> T,
    ) -> (String, SdpPendingOffer, T) {
        let mut api = self.rtc.sdp_api();
        let made = change(&mut api);
        let (offer, pending) = api.apply().expect("a change that needs an offer");
        (offer.to_sdp_string(), pending, made)
    }

    pub(crate) fn accept_offer(&mut self, offer: &str) -> Result<String, RtcError> {
        let offer = SdpOffer::from_sdp_string(offer)?;
        Ok(self.rtc.sdp_api().accept_offer(offer)?.to_sdp_string())
    }

    pub(crate) fn accept_answer(
        &mut self,
        pending: SdpPendingOffer,
        answer: &str,
    ) -> Result<(), RtcError> {
        let answer = SdpAnswer::from_sdp_string(answer)?;
        self.rtc.sdp_api().accept_answer(pending, answer)
    }

    pub(crate) fn open_channel(&mut self, config: ChannelConfig) -> ChannelId {
        self.rtc.direct_api().create_data_channel(config)
    }

    /// Returns the local ICE username fragment.
    pub(crate) fn ufrag(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// Returns the labels of the channels that opened, in order.
    pub(crate) fn opened(&self) -> Vec<&str> {
        self.events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::ChannelOpen(_, label) => Some(label.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Returns the id under which a channel opened.
    pub(crate) fn channel(&self, wanted: &str) -> ChannelId {
        let found = self.events.iter().rev().find_map(|(_, event)| match event {
            Event::ChannelOpen(id, label) if label == wanted => Some(*id),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{wanted} has opened: {:?}", self.opened()))
    }

    /// Returns the messages that arrived on any channel, in order.
    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        self.events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::ChannelData(data) => Some(data.data.clone()),
                _ => None,
            })
            .collect()
    }

    /// Returns the ICE states that were reported, each with its time.
    pub(crate) fn ice_states(&self) -> Vec<(Duration, IceConnectionState)> {
        self.events
            .iter()
            .filter_map(|(at, event)| match event {
                Event::IceConnectionStateChange(state) => Some((*at, *state)),
                _ => None,
            })
            .collect()
    }

    /// Returns when ICE was last reported as disconnected.
    pub(crate) fn disconnected_at(&self) -> Option<Duration> {
        self.ice_states()
            .into_iter()
            .rev()
            .find(|(_, state)| *state == IceConnectionState::Disconnected)
            .map(|(at, _)| at)
    }

    pub(crate) fn told(&self, matches: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(|(_, event)| matches(event))
    }

    fn next_input(&self) -> Instant {
        self.deadline.min(self.inbound.poll_timeout())
    }

    fn take_input(&mut self, other: &mut Self, now: Instant, start: Instant) {
        let arrives = self.inbound.poll_timeout() <= now;
        let outcome = if arrives {
            self.inbound.handle_input(NetemInput::Timeout(now));
            match self.inbound.poll_output() {
                Some(NetemOutput::Packet(datagram)) if !self.deaf => self.receive(&datagram, now),
                _ => Ok(()),
            }
        } else {
            self.rtc.handle_input(Input::Timeout(now))
        };
        if let Err(error) = outcome.and_then(|()| self.drain(other, now, start)) {
            self.errors.push((now - start, error));
            // After an error str0m does not report when it wants to be woken.
            self.deadline = now + TICK;
        }
    }

    pub(crate) fn receive(&mut self, datagram: &Datagram, now: Instant) -> Result<(), RtcError> {
        let received = Receive::new(
            datagram.proto,
            datagram.source,
            datagram.destination,
            &datagram.contents,
        )?;
        self.rtc.handle_input(Input::Receive(now, received))
    }

    fn drain(&mut self, other: &mut Self, now: Instant, start: Instant) -> Result<(), RtcError> {
        loop {
            match self.rtc.poll_output()? {
                // With a deadline that has passed, the peer would take all the turns of this instant.
                Output::Timeout(deadline) => {
                    self.deadline = deadline.max(now + TICK);
                    return Ok(());
                }
                Output::Event(event) => self.events.push((now - start, event)),
                Output::Transmit(transmit) => {
                    let datagram = Datagram {
                        proto: transmit.proto,
                        source: transmit.source,
                        destination: transmit.destination,
                        contents: transmit.contents.to_vec(),
                    };
                    self.sent.push(datagram.clone());
                    if !other.deaf {
                        other.inbound.handle_input(NetemInput::Packet(now, datagram));
                    }
                }
            }
        }
    }
}

impl AsRef<[u8]> for Datagram {
    fn as_ref(&self) -> &[u8] {
        &self.contents
    }
}

/// Returns the configuration with which every peer of these tests starts.
pub(crate) fn config() -> RtcConfig {
    RtcConfig::new().set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
}

/// Runs a whole round, without letting time pass.
pub(crate) fn negotiate<T>(
    offerer: &mut Peer,
    answerer: &mut Peer,
    change: impl FnOnce(&mut SdpApi) -> T,
) -> T {
    let (offer, pending, made) = offerer.offer(change);
    let answer = answerer.accept_offer(&offer).unwrap();
    offerer.accept_answer(pending, &answer).unwrap();
    made
}

/// Adds an audio track both ways.
pub(crate) fn audio(api: &mut SdpApi) -> Mid {
    api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None)
}

/// Adds a video track both ways.
pub(crate) fn video(api: &mut SdpApi) -> Mid {
    api.add_media(MediaKind::Video, Direction::SendRecv, None, None, None)
}

/// Adds an audio track both ways, and a channel called `chat`.
pub(crate) fn audio_and_data(api: &mut SdpApi) -> (Mid, ChannelId) {
    (audio(api), api.add_channel("chat".into()))
}

/// Returns what str0m objects to in a remote description.
pub(crate) fn remote_sdp(error: RtcError) -> String {
    match error {
        RtcError::RemoteSdp(reason) => reason,
        other => panic!("an error about the remote description: {other:?}"),
    }
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Delay one way, on an undisturbed wire.
pub(crate) const LATENCY: Duration = millis(5);
/// Pause of a peer that wants to be woken at once again and again.
const TICK: Duration = millis(1);
const LEFT: &str = "192.0.2.1:1000";
const RIGHT: &str = "198.51.100.2:2000";
