//! DTLS of str0m, as a handshake.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part of it")]
#![allow(clippy::disallowed_methods, reason = "virtual time begins now")]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;

/// Handshake that str0m runs: unchanged dimpl, without a cookie, ended by the first error, as an `Rtc` is.
pub struct Stock {
    dtls: dimpl::Dtls,
    timeout: Option<Instant>,
    /// Payloads received, until a session returns them.
    payloads: Vec<Bytes>,
}

impl Stock {
    #[expect(clippy::new_ret_no_self, reason = "what it makes is a handshake, for any test")]
    pub fn new(role: Role, version: Option<Version>) -> Box<dyn Handshake> {
        Self::with(role, version, &Certificate::generate().unwrap(), false)
    }

    /// Creates one with this certificate; as a server, it may ask for a cookie.
    pub fn with(
        role: Role,
        version: Option<Version>,
        certificate: &Certificate,
        cookie: bool,
    ) -> Box<dyn Handshake> {
        let config = Arc::new(dimpl::Config::builder().use_server_cookie(cookie).build().unwrap());
        let certificate = certificate.to_dtls_cert();
        let now = Instant::now();
        let mut dtls = match version {
            Some(Version::Dtls12) => dimpl::Dtls::new_12(config, certificate, now),
            Some(Version::Dtls13) => dimpl::Dtls::new_13(config, certificate, now),
            None => dimpl::Dtls::new_auto(config, certificate, now),
        };
        dtls.set_active(role == Role::Client);
        Box::new(Self { dtls, timeout: None, payloads: Vec::new() })
    }

    fn step(&mut self, result: Result<(), dimpl::Error>) -> Step {
        if let Err(error) = result {
            self.timeout = None;
            return Step::Failed(HandshakeError::custom(error.to_string()));
        }
        let (mut packets, mut connected, mut buffer) = (Vec::new(), false, vec![0; 4_096]);
        loop {
            match self.dtls.poll_output(&mut buffer) {
                dimpl::Output::Packet(packet) => packets.push(Bytes::copy_from_slice(packet)),
                dimpl::Output::Connected => connected = true,
                dimpl::Output::ApplicationData(data) => {
                    self.payloads.push(Bytes::copy_from_slice(data));
                }
                dimpl::Output::Timeout(at) => {
                    self.timeout = Some(at);
                    break;
                }
                _ => {}
            }
        }
        if connected {
            Step::FinishedWithPackets(HandshakeData::None, packets)
        } else {
            Step::packets(packets)
        }
    }
}

impl Handshake for Stock {
    fn connection_ready(&mut self, now: Instant) -> Step {
        let result = self.dtls.handle_timeout(now);
        self.step(result)
    }

    fn recv_from_peer(&mut self, now: Instant, datagram: &[u8]) -> Step {
        let result = self.dtls.handle_timeout(now).and_then(|()| self.dtls.handle_packet(datagram));
        self.step(result)
    }

    fn handle_timeout(&mut self, now: Instant) -> Step {
        let result = self.dtls.handle_timeout(now);
        self.step(result)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.timeout
    }

    fn into_session(self: Box<Self>) -> Box<dyn Session> {
        self
    }
}

/// The peer may ask for its last flight again.
impl Session for Stock {
    fn send(&mut self, now: Instant, payload: &[u8], out: &mut SessionOutput) {
        let sent = self.dtls.handle_timeout(now);
        let sent = sent.and_then(|()| self.dtls.send_application_data(payload));
        let step = self.step(sent.map(|_| ()));
        give(step, out);
    }

    fn receive(&mut self, now: Instant, datagram: Bytes, out: &mut SessionOutput) {
        let step = self.recv_from_peer(now, &datagram);
        give(step, out);
        out.payloads.append(&mut self.payloads);
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut SessionOutput) {
        let step = Handshake::handle_timeout(self, now);
        give(step, out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.timeout
    }
}

fn give(step: Step, out: &mut SessionOutput) {
    if let Step::Packets(packets) = step {
        out.transmit.extend(packets);
    }
}
