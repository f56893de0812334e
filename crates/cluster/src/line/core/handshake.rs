//! Opening of a line: each side draws an id, and waits until the other shows that it knows it.

use std::time::Duration;

use uuid::Uuid;

use super::{Line, Output, SILENCE};
use crate::boot_time::BootTime;
use crate::line::datagram::{Hello, Kind};

/// Attempt to open a line.
#[derive(Debug)]
pub(super) struct Handshake {
    mine: u64,
    theirs: Option<(u64, Uuid)>,
    /// It was begun here.
    pub(super) active: bool,
    tries: u32,
    pub(super) next: BootTime,
    pub(super) until: BootTime,
}

impl Line {
    pub(super) fn handle_hello(&mut self, now: BootTime, from: u64, to: u64, hello: Hello) {
        if hello.protocol.0 > PROTOCOL.1 || hello.protocol.1 < PROTOCOL.0 {
            log::warn!("a node speaks versions {:?} of the protocol of lines", hello.protocol);
            return;
        }
        if let Some(attempt) = self.handshake.take_if(|attempt| attempt.mine == to) {
            self.begin(now, attempt.mine, from, hello.process);
            self.send_ack(now, 0);
            return;
        }
        if let Some(up) = self.up.as_mut().filter(|up| up.theirs == from) {
            if to == up.mine {
                up.heard = now;
                self.send_ack(now, 0);
            } else if to == 0 {
                self.send_hello(from);
            } else {
                self.end(now, from, to);
            }
            return;
        }
        if to != 0 {
            // It answers an attempt of before, perhaps of another process.
            return self.end(now, from, to);
        }
        if self.handshake.is_none() {
            self.begin_handshake(now, false);
        }
        if let Some(attempt) = &mut self.handshake {
            attempt.theirs = Some((from, hello.process));
        }
        self.send_handshake();
    }

    pub(super) fn handle_close(&mut self, now: BootTime, from: u64, to: u64) {
        if self.up.as_ref().is_some_and(|up| (up.theirs, up.mine) == (from, to)) {
            self.lose(now, false);
            return;
        }
        let meant = |attempt: &Handshake| {
            attempt.mine == to && attempt.theirs.is_some_and(|(theirs, _)| theirs == from)
        };
        if let Some(attempt) = self.handshake.as_mut().filter(|attempt| meant(attempt)) {
            attempt.theirs = None;
            if !attempt.active {
                self.handshake = None;
            }
        }
    }

    /// Has the line up if this datagram shows that the other side knows this side's id.
    pub(super) fn confirm(&mut self, now: BootTime, from: u64, to: u64) {
        let shown = |attempt: &mut Handshake| {
            attempt.mine == to && attempt.theirs.is_some_and(|(theirs, _)| theirs == from)
        };
        if let Some(attempt) = self.handshake.take_if(shown)
            && let Some((theirs, process)) = attempt.theirs
        {
            self.begin(now, attempt.mine, theirs, process);
        }
    }

    /// Answers a datagram of a line that this process has given up. To one of another process it says nothing: that
    /// may live.
    pub(super) fn refuse(&mut self, now: BootTime, from: u64, to: u64) {
        let awaited = self.handshake.as_ref().is_some_and(|attempt| attempt.mine == to);
        if self.ids.are_mine(to) && !awaited {
            self.end(now, from, to);
        }
    }

    /// Tells the other side that there is no such line.
    fn end(&mut self, now: BootTime, from: u64, to: u64) {
        if now >= self.no_close_before {
            self.no_close_before = now + CLOSE_PAUSE;
            self.push(to, from, Kind::Close);
        }
    }

    /// Says hello again on the line that is up.
    fn send_hello(&mut self, to: u64) {
        let Some(up) = &self.up else { return };
        let (mine, have) = (up.mine, up.receiving.have());
        self.push(mine, to, self.hello(have));
    }

    pub(super) fn begin_handshake(&mut self, now: BootTime, active: bool) {
        let (mine, until) = (self.ids.draw(), now + SILENCE);
        // An answer is sent at once.
        let next = if active { now } else { now + FIRST_PAUSE };
        self.handshake = Some(Handshake { mine, theirs: None, active, tries: 0, next, until });
    }

    pub(super) fn tend_handshake(&mut self, now: BootTime) {
        let Some(attempt) = &mut self.handshake else { return };
        if attempt.until <= now {
            if attempt.active {
                self.outputs.push_back(Output::Unreachable);
            }
            if self.keepers == 0 || self.up.is_some() {
                self.handshake = None;
                return;
            }
            (attempt.active, attempt.until) = (true, now + SILENCE);
        }
        if attempt.next <= now {
            let pause = FIRST_PAUSE * 2_u32.pow(attempt.tries.min(MOST_DOUBLINGS));
            attempt.tries += 1;
            attempt.next = now + pause.min(LONGEST_PAUSE);
            self.send_handshake();
        }
    }

    fn send_handshake(&mut self) {
        let Some(attempt) = &self.handshake else { return };
        let (mine, theirs) = (attempt.mine, attempt.theirs.map_or(0, |(theirs, _)| theirs));
        self.push(mine, theirs, self.hello(0));
    }

    fn hello(&self, have: u64) -> Kind {
        Kind::Hello(Hello { process: self.ids.process(), protocol: PROTOCOL, have })
    }
}

/// Versions of the protocol that this process speaks, lowest and highest.
const PROTOCOL: (u8, u8) = (1, 1);
/// Pauses between two hellos: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const MOST_DOUBLINGS: u32 = 3;
/// Shortest time between two answers to lines that were given up.
const CLOSE_PAUSE: Duration = Duration::from_millis(100);
