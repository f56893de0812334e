//! A peer that sets SCTP up as str0m does, and then says by DTLS whatever it is told to.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::crypto::dtls::*;
use str0m::crypto::{CryptoError, CryptoProvider};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

/// Both ways of the application data of DTLS.
#[derive(Debug, Default)]
struct Tap {
    /// To be said.
    raw: VecDeque<Vec<u8>>,
    /// str0m's own SCTP is not let out any more.
    mute: bool,
    tag: u32,
    next_tsn: u32,
    /// The last SACK: the TSN, and the window.
    sack: (u32, u32),
    /// Heartbeats that were answered.
    beats: u32,
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
                    3 => tap.sack = (be32(chunk, 4), be32(chunk, 8)),
                    5 => tap.beats = tap.beats.wrapping_add(1),
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
        {
            let mut tap = self.tap.lock().unwrap();
            if tap.mute {
                return Ok(data.len());
            }
            if be32(data, 4) != 0 {
                tap.tag = be32(data, 4);
            }
            for chunk in chunks(data).filter(|chunk| chunk[0] == 0) {
                tap.next_tsn = be32(chunk, 4).wrapping_add(1);
            }
        }
        self.inner.send_application_data(data)
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
    rtc: Rtc,
    socket: UdpSocket,
    tap: Arc<Mutex<Tap>>,
    pending: Option<SdpPendingOffer>,
    open: bool,
    over: bool,
    /// Heartbeats in a row that were not answered.
    unanswered: u32,
}

impl Attacker {
    /// It, and its offer of a data channel on stream 0 or 1.
    pub(crate) fn new() -> (Self, String) {
        let tap: Arc<Mutex<Tap>> = Arc::default();
        TAP.set(Arc::clone(&tap));
        let provider =
            CryptoProvider { dtls_provider: &Provider, ..str0m::crypto::from_feature_flags() };
        let mut rtc =
            RtcConfig::new().set_crypto_provider(Arc::new(provider)).build(Instant::now());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        let mut api = rtc.sdp_api();
        api.add_channel("x".into());
        let (offer, pending) = api.apply().unwrap();
        let pending = Some(pending);
        let attacker = Self { rtc, socket, tap, pending, open: false, over: false, unanswered: 0 };
        (attacker, offer.to_sdp_string())
    }

    /// Takes the answer, and goes on until the channel is open.
    pub(crate) fn connect(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        self.rtc.sdp_api().accept_answer(self.pending.take().unwrap(), answer).unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while !self.open || self.sack().0.wrapping_add(1) != self.next_tsn() {
            assert!(Instant::now() < end, "it connects in time");
            self.turn();
        }
        self.tap.lock().unwrap().mute = true;
    }

    pub(crate) fn next_tsn(&self) -> u32 {
        self.tap.lock().unwrap().next_tsn
    }

    /// The other side has said goodbye.
    pub(crate) fn is_over(&self) -> bool {
        self.over
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

    /// Hears what the other side says, for 2 ms at least and until it answers a heartbeat: on a busy machine it would
    /// lose what it is sent faster than it takes it, the checks of consent with it.
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
        // One that answers none any more is not waited for again.
        self.unanswered = if self.beats() == beats { self.unanswered + 1 } else { 0 };
    }

    fn beats(&self) -> u32 {
        self.tap.lock().unwrap().beats
    }

    /// Goes on until this is so, or for half a second.
    pub(crate) fn settle(&mut self, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_millis(500);
        while !done(self) && Instant::now() < end {
            self.turn();
        }
    }

    /// Goes on until this is so.
    pub(crate) fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !done(self) {
            assert!(Instant::now() < end, "in time");
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.drain();
        let mut buffer = [0; 2_000];
        self.socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let now = Instant::now();
        let input = match self.socket.recv_from(&mut buffer) {
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
        // After the goodbye there is nothing more to hear.
        _ = self.rtc.handle_input(input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Ok(output) = self.rtc.poll_output() {
            match output {
                Output::Timeout(_) => break,
                Output::Transmit(transmit) => {
                    _ = self.socket.send_to(&transmit.contents, transmit.destination);
                }
                Output::Event(Event::ChannelOpen(..)) => self.open = true,
                Output::Event(Event::Closed) => self.over = true,
                Output::Event(_) => {}
            }
        }
    }
}

/// DATA (RFC 9260 §3.3.1) by its flags: 1 ends, 2 begins, 4 unordered.
pub(crate) fn data(flags: u8, tsn: u32, stream: u16, ssn: u16, payload: &[u8]) -> Vec<u8> {
    message(53, flags, tsn, stream, ssn, payload)
}

/// The same of another payload protocol: 50 is DCEP (RFC 8832).
pub(crate) fn message(
    protocol: u32,
    flags: u8,
    tsn: u32,
    stream: u16,
    ssn: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    value.extend(stream.to_be_bytes());
    value.extend(ssn.to_be_bytes());
    value.extend(protocol.to_be_bytes());
    value.extend(payload);
    chunk(0, flags, &value)
}

/// HEARTBEAT of this size (RFC 9260 §3.3.5).
pub(crate) fn heartbeat(size: u16) -> Vec<u8> {
    let mut value = vec![0, 1];
    value.extend((size + 4).to_be_bytes());
    value.resize(usize::from(size) + 4, 7);
    chunk(4, 0, &value)
}

/// FORWARD-TSN (RFC 3758 §3.2).
pub(crate) fn forward_tsn(tsn: u32, skipped: &[(u16, u16)]) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    for (stream, ssn) in skipped {
        value.extend(stream.to_be_bytes());
        value.extend(ssn.to_be_bytes());
    }
    chunk(192, 0, &value)
}

/// INIT (RFC 9260 §3.3.2) in a packet of its own.
pub(crate) fn init(tag: u32) -> Vec<u8> {
    let mut value = tag.to_be_bytes().to_vec();
    value.extend([0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    value.extend(tag.to_be_bytes());
    packet(0, &[chunk(1, 0, &value)])
}

pub(crate) fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut chunk = vec![kind, flags];
    chunk.extend((value.len() as u16 + 4).to_be_bytes());
    chunk.extend(value);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

fn packet(tag: u32, chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = vec![0x13, 0x88, 0x13, 0x88];
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    chunks.iter().for_each(|chunk| packet.extend(chunk));
    let sum = crc32c(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { 0x82f6_3b78 ^ (sum >> 1) } else { sum >> 1 }
        })
    };
    !bytes.iter().fold(u32::MAX, byte)
}

fn chunks(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = packet.get(12..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
        let chunk = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(chunk)
    })
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}
