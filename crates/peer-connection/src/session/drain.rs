//! Outputs of the engine, and when it has them.

use std::time::{Duration, Instant};

use callboard_transport::mux::Transmit;

use super::{HandshakeProgress, Session, SessionOutput};
use crate::engine::{EngineError, EngineOutput};

impl Session {
    /// Lets out what was written.
    pub(crate) fn flush(&mut self, now: Instant) {
        let packets = std::mem::take(&mut self.packets_wait);
        if packets == 0 || self.broken.is_some() {
            // Messages go at once.
            return self.after(now, Ok(()));
        }
        self.rest.stir(now);
        match self.let_out(now, packets) {
            Ok(true) => {}
            Ok(false) => self.after(now, Ok(())),
            Err(error) => self.after(now, Err(error)),
        }
    }

    /// Gives the engine the time, and lets out this many packets. Returns whether it has nothing more to do until the
    /// time that it has told last: to ask it again whenever a packet is written would go through all of its parts once
    /// more for nothing.
    fn let_out(&mut self, now: Instant, packets: usize) -> Result<bool, EngineError> {
        let mut is_quiet = self.quiet_until.is_some_and(|until| now < until);
        let (mut left, mut time) = (packets, now);
        self.engine.handle_timeout(now)?;
        while left > 0 {
            match self.engine.poll_output()? {
                EngineOutput::Transmit(transmit) => {
                    if !is_rtp(&transmit.contents) {
                        is_quiet = false;
                    } else {
                        left -= 1;
                        if self.is_paced() {
                            time += PACKET;
                            self.engine.handle_timeout(time)?;
                        }
                    }
                    self.transmit(now, transmit);
                }
                EngineOutput::Event(event) => {
                    is_quiet = false;
                    self.handle_engine_event(now, event);
                }
                // The pacer keeps some, or some were left out.
                EngineOutput::Timeout(_) => return Ok(false),
            }
        }
        Ok(is_quiet && !self.is_paced())
    }

    /// Returns whether the engine has a pacer: it lets one packet out each time that it is given a later time, and what
    /// it does next depends on what was sent.
    fn is_paced(&self) -> bool {
        self.api.registry.bandwidth_estimation.is_some()
    }

    /// Takes all outputs of the engine.
    pub(super) fn drain(&mut self, now: Instant) -> Result<(), EngineError> {
        let mut rounds = if self.is_paced() { ROUNDS } else { 0 };
        self.quiet_until = None;
        loop {
            match self.engine.poll_output()? {
                EngineOutput::Transmit(transmit) => self.transmit(now, transmit),
                EngineOutput::Event(event) => self.handle_engine_event(now, event),
                EngineOutput::Timeout(at) => {
                    self.engine_timeout = Some(self.engine_wake_up(now, at));
                    let mut events = Vec::new();
                    let written = self.channels.flush(&mut self.engine, &mut events)?;
                    self.output.extend(events.into_iter().map(SessionOutput::Event));
                    if written {
                        continue;
                    }
                    // The pacer lets one packet out each time that it is given a later time.
                    if at > now + LEAD || rounds == 0 {
                        self.quiet_until = Some(at);
                        break;
                    }
                    rounds -= 1;
                    self.engine.handle_timeout(at.max(now))?;
                }
            }
        }
        self.tell_receptions();
        if let HandshakeProgress::Started { .. } = self.handshake {
            let received = self.engine.bridge().take_received();
            self.output.extend(received.into_iter().map(SessionOutput::Handshake));
        }
        let over = self.engine_ended || !self.engine.is_alive();
        let by_peer = self.engine.sctp().violation().is_none();
        if over && by_peer && !self.is_closed() && self.broken.is_none() {
            self.end(self.why_closed_by_peer(now));
        }
        Ok(())
    }

    /// Sends a datagram of the engine, and those that follow it.
    fn transmit(&mut self, now: Instant, transmit: Transmit<Vec<u8>>) {
        let Transmit { source, destination, contents } = transmit;
        if self.handshake != HandshakeProgress::Over {
            self.round_trip.sent(now, &contents);
        }
        let followers =
            if is_dtls(&contents) { self.engine.bridge().take_followers() } else { Vec::new() };
        for contents in std::iter::once(contents).chain(followers) {
            self.rest.sent(now, &contents);
            self.counters.datagrams_sent += 1;
            self.counters.bytes_sent += contents.len() as u64;
            let transmit = Transmit { source, destination, contents };
            self.output.push_back(SessionOutput::Transmit(transmit));
        }
    }
}

/// Returns whether a datagram is one of DTLS (RFC 7983 §7).
pub(super) fn is_dtls(datagram: &[u8]) -> bool {
    matches!(datagram, [20..=63, ..])
}

/// Returns whether a datagram is one of RTP (RFC 7983 §7), and not of RTCP (RFC 5761 §4).
fn is_rtp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, 0..=191 | 224.., ..])
}

/// Most times that the engine is given at once: one for each packet that is let out together with others.
const ROUNDS: usize = 256;
/// By how much the engine's time goes on for each packet that its pacer lets out.
const PACKET: Duration = Duration::from_micros(1);
/// Longest lead of the engine's time over the clock.
const LEAD: Duration = Duration::from_micros(ROUNDS as u64);
