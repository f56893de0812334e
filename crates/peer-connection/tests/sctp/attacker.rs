//! A peer that sets SCTP up as str0m does, and then sends the packets of a test over DTLS, or goes on as str0m.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::channel::ChannelId;
use str0m::crypto::dtls::*;
use str0m::crypto::{CryptoError, CryptoProvider};
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::packets::*;

/// Both directions of the application data of DTLS.
#[derive(Debug, Default)]
struct Tap {
    /// Packets to send.
    raw: VecDeque<Vec<u8>>,
    /// Whether str0m's own SCTP is kept from going out.
    mute: bool,
    tag: u32,
    next_tsn: u32,
    /// Number of the attacker's next reset of streams.
    next_reset: u32,
    /// Number of the other side's last reset.
    reset: u32,
    /// Whether it does not negotiate FORWARD-TSN.
    reliable: bool,
    /// TSN of the last DATA that was received.
    heard: u32,
    /// TSN and window of the last SACK.
    sack: (u32, u32),
    /// Number of heartbeats that were answered.
    beats: u32,
    /// Number of FORWARD-TSN that str0m has sent.
    forwards: u32,
}

thread_local! {
    static TAP: RefCell<Arc<Mutex<Tap>>> = RefCell::default();
}

#[derive(Debug)]
struct Provider;

impl DtlsProvider for Provider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        str0m::crypto::from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let stock = str0m::crypto::from_feature_flags().dtls_provider;
        let inner = stock.new_dtls(certificate, now, version, mtu)?;
        Ok(Box::new(Tapped { inner, tap: TAP.with_borrow(Arc::clone) }))
    }
}

#[derive(Debug)]
struct Tapped {
    inner: Box<dyn DtlsInstance>,
    tap: Arc<Mutex<Tap>>,
}

impl Tapped {
    fn say(&mut self) {
        let raw = std::mem::take(&mut self.tap.lock().unwrap().raw);
        for packet in raw {
            _ = self.inner.send_application_data(&packet);
        }
    }
}

impl DtlsInstance for Tapped {
    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.inner.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        self.say();
        let output = self.inner.poll_output(buffer);
        if let DtlsOutput::ApplicationData(data) = &output {
            let mut tap = self.tap.lock().unwrap();
            for chunk in chunks(data) {
                match chunk[0] {
                    0 => tap.heard = be32(chunk, 4),
                    3 => tap.sack = (be32(chunk, 4), be32(chunk, 8)),
                    5 => tap.beats = tap.beats.wrapping_add(1),
                    130 if be16(chunk, 4) == 13 => tap.reset = be32(chunk, 8),
                    _ => {}
                }
            }
            if tap.mute {
                return DtlsOutput::ApplicationData(&[]);
            }
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.say();
        self.inner.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        let mut data = data.to_vec();
        {
            let mut tap = self.tap.lock().unwrap();
            if tap.mute {
                return Ok(data.len());
            }
            if be32(&data, 4) != 0 {
                tap.tag = be32(&data, 4);
            }
            for chunk in chunks(&data) {
                match chunk[0] {
                    0 => tap.next_tsn = be32(chunk, 4).wrapping_add(1),
                    1 | 2 => tap.next_reset = be32(chunk, 16),
                    192 => tap.forwards += 1,
                    _ => {}
                }
            }
            if tap.reliable && matches!(data[12], 1 | 2) {
                without_forward_tsn(&mut data);
            }
        }
        self.inner.send_application_data(&data)
    }

    fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.inner.protocol_version()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.inner.close()
    }
}

/// The attacker, with its own socket.
pub(crate) struct Attacker {
    pub(crate) rtc: Rtc,
    socket: UdpSocket,
    /// Address of the other side.
    other: Option<SocketAddr>,
    other_ufrag: String,
    tap: Arc<Mutex<Tap>>,
    pending: Option<SdpPendingOffer>,
    over: bool,
    /// Number of heartbeats in a row that were not answered.
    unanswered: u32,
    /// Lost datagrams of a thousand, each way.
    pub(crate) loss: u32,
    random: fastrand::Rng,
    /// Messages of data channels that were received.
    pub(crate) heard: Vec<(ChannelId, usize)>,
    pub(crate) opened: Vec<ChannelId>,
}

impl Attacker {
    /// Creates an attacker and its offer of a data channel on stream 0 or 1, with audio if `media` is set. A `reliable`
    /// one does not negotiate FORWARD-TSN.
    pub(crate) fn new(reliable: bool, media: bool) -> (Self, String) {
        let tap = Arc::new(Mutex::new(Tap { reliable, ..Tap::default() }));
        TAP.set(Arc::clone(&tap));
        let provider =
            CryptoProvider { dtls_provider: &Provider, ..str0m::crypto::from_feature_flags() };
        // A buffer smaller than a message never takes the message.
        let config = RtcConfig::new().set_sctp_max_buffered_amount(1 << 20);
        let mut rtc = config.set_crypto_provider(Arc::new(provider)).build(Instant::now());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        let mut api = rtc.sdp_api();
        api.add_channel("x".into());
        if media {
            api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        }
        let (offer, pending) = api.apply().unwrap();
        let pending = Some(pending);
        let attacker = Self {
            rtc,
            socket,
            other: None,
            other_ufrag: String::new(),
            tap,
            pending,
            over: false,
            unanswered: 0,
            loss: 0,
            random: fastrand::Rng::with_seed(7),
            heard: Vec::new(),
            opened: Vec::new(),
        };
        (attacker, offer.to_sdp_string())
    }

    /// Takes the answer, and goes on until the channel is open.
    pub(crate) fn connect(&mut self, answer: &str) {
        let ufrag = answer.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:"));
        self.other_ufrag = ufrag.expect("it has a name").trim_end().to_owned();
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        self.rtc.sdp_api().accept_answer(self.pending.take().unwrap(), answer).unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while self.opened.is_empty() || self.sack().0.wrapping_add(1) != self.next_tsn() {
            assert!(Instant::now() < end, "it connects in time");
            self.turn();
        }
        self.tap.lock().unwrap().mute = true;
    }

    /// Goes on as str0m.
    pub(crate) fn be_honest(&mut self) {
        self.tap.lock().unwrap().mute = false;
    }

    /// Acknowledges what has come.
    pub(crate) fn acknowledge(&mut self) {
        let mut value = self.tap.lock().unwrap().heard.to_be_bytes().to_vec();
        value.extend([0, 16, 0, 0, 0, 0, 0, 0]);
        self.say(&[chunk(3, 0, &value)]);
    }

    /// Returns the number of the other side's last reset of streams; 0 if there was none.
    pub(crate) fn last_reset(&self) -> u32 {
        self.tap.lock().unwrap().reset
    }

    /// Returns how many FORWARD-TSN str0m has sent.
    pub(crate) fn forwards(&self) -> u32 {
        self.tap.lock().unwrap().forwards
    }

    pub(crate) fn next_tsn(&self) -> u32 {
        self.tap.lock().unwrap().next_tsn
    }

    /// Returns whether the other side has said goodbye.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Returns the username in its checks: both user fragments (RFC 8445 §7.2.2).
    pub(crate) fn username(&mut self) -> String {
        let own = self.rtc.direct_api().local_ice_credentials().ufrag;
        format!("{}:{own}", self.other_ufrag)
    }

    pub(crate) fn sack(&self) -> (u32, u32) {
        self.tap.lock().unwrap().sack
    }

    /// Sends a packet of these chunks.
    pub(crate) fn say(&mut self, chunks: &[Vec<u8>]) {
        let tag = self.tap.lock().unwrap().tag;
        self.say_raw(packet(tag, chunks));
    }

    pub(crate) fn say_raw(&mut self, packet: Vec<u8>) {
        self.tap.lock().unwrap().raw.push_back(packet);
        _ = self.rtc.handle_input(Input::Timeout(Instant::now()));
        self.drain();
    }

    /// Receives for 2 ms at least and until the other side answers a heartbeat: on a busy machine this peer would lose
    /// datagrams faster than it takes them, and consent checks with them.
    pub(crate) fn rest(&mut self) {
        let end = Instant::now() + Duration::from_millis(2);
        while Instant::now() < end {
            self.turn();
        }
        if self.over || self.unanswered >= 3 {
            return;
        }
        let beats = self.beats();
        self.say(&[heartbeat(8)]);
        self.settle(|attacker| attacker.over || attacker.beats() != beats);
        // A side that no longer answers heartbeats is not waited for again.
        self.unanswered = if self.beats() == beats { self.unanswered + 1 } else { 0 };
    }

    /// Returns the number of its next reset of streams, and of the other side's last one.
    pub(crate) fn resets(&mut self) -> (u32, u32) {
        let mut tap = self.tap.lock().unwrap();
        tap.next_reset = tap.next_reset.wrapping_add(1);
        (tap.next_reset.wrapping_sub(1), tap.reset)
    }

    fn beats(&self) -> u32 {
        self.tap.lock().unwrap().beats
    }

    /// Sends a datagram as it is, from its own address or from that of a stranger.
    pub(crate) fn throw(&mut self, datagram: &[u8], stranger: Option<&UdpSocket>) {
        let socket = stranger.unwrap_or(&self.socket);
        // Where the system has no room for it, it is lost.
        _ = socket.send_to(datagram, self.other.expect("it is connected"));
    }

    /// Goes on until this is true, or for half a second.
    pub(crate) fn settle(&mut self, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_millis(500);
        while !done(self) && Instant::now() < end {
            self.turn();
        }
    }

    /// Goes on until this is true.
    pub(crate) fn until(&mut self, done: impl Fn(&Self) -> bool) {
        self.until_done(|attacker| done(attacker));
    }

    /// Repeats this until it returns that it is done.
    pub(crate) fn until_done(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !done(self) {
            assert!(Instant::now() < end, "in time");
            self.turn();
        }
    }

    /// Sends a message again and again until it was heard: a datagram may be lost, or an acknowledgement still be on
    /// its way, and then its TSN is an old one.
    pub(crate) fn repeat(&mut self, message: &[u8], heard: &AtomicBool) {
        let heard = || heard.load(Ordering::Relaxed);
        self.until_done(|attacker| {
            let next = attacker.sack().0.wrapping_add(1);
            attacker.say(&[data(7, next, 0, 0, message)]);
            attacker.settle(|_| heard());
            heard()
        });
    }

    /// Receives one datagram, or waits for a millisecond.
    fn turn(&mut self) {
        self.drain();
        let mut buffer = [0; 2_000];
        self.socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let now = Instant::now();
        let input = match self.socket.recv_from(&mut buffer) {
            Ok(_) if self.is_lost() => Input::Timeout(now),
            Ok((length, source)) => Input::Receive(
                now,
                Receive {
                    proto: Protocol::Udp,
                    source,
                    destination: self.socket.local_addr().unwrap(),
                    contents: buffer[..length].try_into().unwrap(),
                },
            ),
            Err(_) => Input::Timeout(now),
        };
        // After the goodbye there is nothing more to receive.
        _ = self.rtc.handle_input(input);
        self.drain();
    }

    fn is_lost(&mut self) -> bool {
        self.random.u32(..1_000) < self.loss
    }

    fn drain(&mut self) {
        while let Ok(output) = self.rtc.poll_output() {
            match output {
                Output::Timeout(_) => break,
                Output::Transmit(_) if self.is_lost() => {}
                Output::Transmit(transmit) => {
                    self.other = Some(transmit.destination);
                    _ = self.socket.send_to(&transmit.contents, transmit.destination);
                }
                Output::Event(Event::ChannelOpen(id, _)) => self.opened.push(id),
                Output::Event(Event::ChannelData(data)) => {
                    self.heard.push((data.id, data.data.len()))
                }
                Output::Event(Event::Closed) => self.over = true,
                Output::Event(_) => {}
            }
        }
    }
}
