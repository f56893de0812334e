//! Line between this process and a process of another node, without I/O.
//!
//! Each side draws an id for each attempt to open a line, which it uses once; the pair of both ids is the line. A side
//! has the line up once it knows that the other side has learnt its id: by a hello or any other datagram to it. So what
//! comes of an earlier attempt, late or twice, opens nothing and ends nothing. A frame belongs to a pair, and what one
//! side gets of a pair is what the other has sent of it, in order, without gaps: if a side has given a line up, the
//! other has to do so, too, before there is the next.

mod handshake;
mod ids;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use self::handshake::Handshake;
pub(crate) use self::ids::Ids;
pub use self::ids::LineId;
use super::datagram::{Ack, Datagram, Frame, Kind, MAX_BODY, MAX_SERVICE};
use super::error::LineError;
use super::window::{Receiving, Sending};
use crate::boot_time::BootTime;

/// Line to another node, if it is open, and attempts to open it.
#[derive(Debug)]
pub(crate) struct Line {
    ids: Ids,
    up: Option<Up>,
    handshake: Option<Handshake>,
    /// Number of those here who want the line to stay open.
    keepers: usize,
    /// It is to be opened as soon as lines run.
    wanted: bool,
    /// Time before which no datagram of another line is answered.
    no_close_before: BootTime,
    counts: Counts,
    outputs: VecDeque<Output>,
}

/// What a line asks its actor to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Send(Bytes),
    Up(LineId, Uuid),
    Frame(LineId, Uuid, Frame),
    Down(LineId, Uuid),
    /// The node did not answer.
    Unreachable,
}

/// What has happened on the lines to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) frames_sent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) frames_received: u64,
    pub(crate) bytes_received: u64,
    pub(crate) resends: u64,
    /// Lines that were up, and have ended.
    pub(crate) downs: u64,
    /// Frames of other lines than the one that is up.
    pub(crate) stale_frames: u64,
}

#[derive(Debug)]
struct Up {
    mine: u64,
    theirs: u64,
    process: Uuid,
    sending: Sending,
    receiving: Receiving,
    heard: BootTime,
    /// Time of the last frame, of either direction.
    used: BootTime,
    /// The other side wants the line to stay open.
    kept_there: bool,
    /// Time of the last stamp that was sent.
    stamped: BootTime,
    /// Time that an answer takes.
    rtt: Option<Duration>,
}

impl Line {
    pub(crate) fn new(ids: Ids) -> Self {
        Self {
            ids,
            up: None,
            handshake: None,
            keepers: 0,
            wanted: false,
            no_close_before: BootTime::ZERO,
            counts: Counts::default(),
            outputs: VecDeque::new(),
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns the line and the process that it leads to, if it is up.
    pub(crate) fn up(&self) -> Option<(LineId, Uuid)> {
        self.up.as_ref().map(|up| (LineId(up.mine), up.process))
    }

    /// Returns the line ids of the line that is up: the other side's, this side's.
    #[cfg(test)]
    pub(super) fn pair(&self) -> Option<(u64, u64)> {
        self.up.as_ref().map(|up| (up.theirs, up.mine))
    }

    /// Returns whether there is nothing to remember but counts.
    pub(crate) fn is_idle(&self) -> bool {
        self.up.is_none() && self.handshake.is_none() && self.keepers == 0 && !self.wanted
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns the frames and bytes that are not acknowledged.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        self.up.as_ref().map_or((0, 0), |up| (up.sending.frames(), up.sending.bytes()))
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.up.as_ref().and_then(|up| up.rtt)
    }

    /// Opens a line, if there is none.
    pub(crate) fn open(&mut self, now: BootTime) {
        self.look_for_silence(now);
        if self.up.is_some() || self.handshake.as_ref().is_some_and(|attempt| attempt.active) {
            return;
        }
        let until = now + SILENCE;
        match &mut self.handshake {
            Some(attempt) => (attempt.active, attempt.until) = (true, until),
            None => self.begin_handshake(now, true),
        }
        self.tend_handshake(now);
    }

    /// Notes that the line is to be opened as soon as lines run.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// Notes that the line is to be opened and to stay open, until it is [released](Self::release).
    pub(crate) fn add_keeper(&mut self) {
        self.keepers += 1;
    }

    /// Opens a line that is to be kept open, and tells the other side.
    pub(crate) fn tend_kept(&mut self, now: BootTime) {
        self.open(now);
        if self.keepers == 1 {
            self.send_ack(now, 0);
        }
    }

    pub(crate) fn release(&mut self) {
        self.keepers = self.keepers.saturating_sub(1);
    }

    /// Sends a frame on the line that is up; on this one, if one is named.
    pub(crate) fn send(
        &mut self,
        now: BootTime,
        line: Option<LineId>,
        service: &'static str,
        body: Bytes,
    ) -> Result<(), LineError> {
        if body.len() > MAX_BODY || service.len() > MAX_SERVICE {
            return Err(LineError::TooLarge);
        }
        let other = |up: &Up| line.is_some_and(|line| line.0 != up.mine);
        let Some(up) = self.up.as_mut().filter(|up| !up.is_silent(now) && !other(up)) else {
            if line.is_none() {
                self.open(now);
            }
            return Err(LineError::Down);
        };
        let Some(number) = up.sending.next(body.len() + service.len() + HEADER) else {
            return Err(LineError::Full);
        };
        self.counts.frames_sent += 1;
        self.counts.bytes_sent += body.len() as u64;
        let (service, ack) = (Bytes::from_static(service.as_bytes()), up.receiving.have());
        let kind = Kind::Frame(Frame { number, ack, service, body });
        let datagram = Datagram { from: up.mine, to: up.theirs, kind }.encode();
        up.sending.push(now, datagram.clone());
        if up.receiving.beyond() == 0 {
            // The frame says all that an acknowledgement would.
            up.receiving.acknowledged(now);
        }
        up.used = now;
        self.outputs.push_back(Output::Send(datagram));
        Ok(())
    }

    /// Gives up the line and all attempts, and tells the other side.
    pub(crate) fn close(&mut self) {
        self.handshake = None;
        self.end_up(true);
    }

    /// Handles that the node's session is of this process now, and whether it runs.
    pub(crate) fn handle_session(&mut self, now: BootTime, process: Uuid, runs: bool) {
        self.look_for_silence(now);
        if self.up.as_ref().is_some_and(|up| (up.process == process) != runs) {
            self.lose(now, true);
        }
    }

    pub(crate) fn handle_datagram(&mut self, now: BootTime, datagram: Datagram) {
        self.look_for_silence(now);
        let Datagram { from, to, kind } = datagram;
        match kind {
            Kind::Hello(hello) => self.handle_hello(now, from, to, hello),
            Kind::Close => self.handle_close(now, from, to),
            kind => {
                self.confirm(now, from, to);
                match self.up.as_mut().filter(|up| (up.theirs, up.mine) == (from, to)) {
                    Some(up) => up.heard = now,
                    None => {
                        self.counts.stale_frames += u64::from(matches!(kind, Kind::Frame(_)));
                        return self.refuse(now, from, to);
                    }
                }
                match kind {
                    Kind::Frame(frame) => self.handle_frame(now, frame),
                    Kind::Ack(ack) => self.handle_ack(now, ack),
                    Kind::Hello(_) | Kind::Close => {}
                }
                self.tend_ack(now);
            }
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: BootTime) {
        self.look_for_silence(now);
        if let Some(up) = &mut self.up {
            let again = up.sending.resend(now);
            self.counts.resends += again.len() as u64;
            self.outputs.extend(again.into_iter().map(Output::Send));
        }
        if self.idle_ends().is_some_and(|end| end <= now) {
            self.end_up(true);
        }
        self.tend_ack(now);
        if std::mem::take(&mut self.wanted) || self.keepers > 0 {
            self.open(now);
        }
        self.tend_handshake(now);
    }

    /// Returns when something is due. It is right until the next input.
    pub(crate) fn poll_timeout(&self) -> Option<BootTime> {
        let attempt = self.handshake.as_ref().map(|attempt| attempt.next.min(attempt.until));
        let up = self.up.iter().flat_map(|up| {
            let always = [up.heard + SILENCE, up.stamped + HEARTBEAT];
            always.into_iter().chain(up.sending.due()).chain(up.receiving.due())
        });
        up.chain(attempt).chain(self.idle_ends()).min()
    }

    fn handle_frame(&mut self, now: BootTime, frame: Frame) {
        let ack = Ack { ack: frame.ack, ..Ack::default() };
        let Some(up) = &mut self.up else { return };
        up.acknowledge(now, ack, &mut self.counts, &mut self.outputs);
        up.used = now;
        for frame in up.receiving.take(now, frame) {
            self.counts.frames_received += 1;
            self.counts.bytes_received += frame.body.len() as u64;
            self.outputs.push_back(Output::Frame(LineId(up.mine), up.process, frame));
        }
    }

    fn handle_ack(&mut self, now: BootTime, ack: Ack) {
        let Some(up) = &mut self.up else { return };
        up.kept_there = ack.kept;
        if ack.echo != 0 {
            let took = micros(now).saturating_sub(ack.echo);
            up.rtt = Some(Duration::from_micros(took));
        }
        up.acknowledge(now, ack, &mut self.counts, &mut self.outputs);
        if ack.stamp != 0 {
            self.send_ack(now, ack.stamp);
        }
    }

    /// Sends an acknowledgement if one is due.
    fn tend_ack(&mut self, now: BootTime) {
        let due = |up: &Up| {
            up.receiving.due().is_some_and(|due| due <= now) || up.stamped + HEARTBEAT <= now
        };
        if self.up.as_ref().is_some_and(due) {
            self.send_ack(now, 0);
        }
    }

    fn send_ack(&mut self, now: BootTime, echo: u64) {
        let Some(up) = &mut self.up else { return };
        let stamp = if up.stamped + HEARTBEAT <= now {
            up.stamped = now;
            micros(now).max(1)
        } else {
            0
        };
        let (ack, beyond) = (up.receiving.have(), up.receiving.beyond());
        let kind = Kind::Ack(Ack { ack, beyond, kept: self.keepers > 0, stamp, echo });
        up.receiving.acknowledged(now);
        let (mine, theirs) = (up.mine, up.theirs);
        self.push(mine, theirs, kind);
    }

    fn begin(&mut self, now: BootTime, mine: u64, theirs: u64, process: Uuid) {
        self.end_up(false);
        self.up = Some(Up {
            mine,
            theirs,
            process,
            sending: Sending::default(),
            receiving: Receiving::default(),
            heard: now,
            used: now,
            // Until it says otherwise.
            kept_there: true,
            stamped: BootTime::ZERO,
            rtt: None,
        });
        self.outputs.push_back(Output::Up(LineId(mine), process));
    }

    fn look_for_silence(&mut self, now: BootTime) {
        if self.up.as_ref().is_some_and(|up| up.is_silent(now)) {
            self.lose(now, true);
        }
    }

    /// Ends the line, and opens another if one is wanted.
    fn lose(&mut self, now: BootTime, tell: bool) {
        self.end_up(tell);
        if self.keepers > 0 {
            self.open(now);
        }
    }

    fn end_up(&mut self, tell: bool) {
        let Some(up) = self.up.take() else { return };
        self.counts.downs += 1;
        if tell {
            self.push(up.mine, up.theirs, Kind::Close);
        }
        self.outputs.push_back(Output::Down(LineId(up.mine), up.process));
    }

    /// Returns when the line ends because no one uses it.
    fn idle_ends(&self) -> Option<BootTime> {
        let up = self.up.as_ref()?;
        let idle = self.keepers == 0 && !up.kept_there && up.sending.frames() == 0;
        idle.then(|| up.used + IDLE)
    }

    fn push(&mut self, from: u64, to: u64, kind: Kind) {
        self.outputs.push_back(Output::Send(Datagram { from, to, kind }.encode()));
    }
}

impl Up {
    fn is_silent(&self, now: BootTime) -> bool {
        now.since(self.heard) >= SILENCE
    }

    fn acknowledge(
        &mut self,
        now: BootTime,
        Ack { ack, beyond, .. }: Ack,
        counts: &mut Counts,
        outputs: &mut VecDeque<Output>,
    ) {
        let answer = self.rtt.map_or(FIRST_ANSWER, |rtt| 2 * rtt).max(SHORTEST_ANSWER);
        let again = self.sending.acknowledge(now, ack, beyond, answer);
        counts.resends += again.len() as u64;
        outputs.extend(again.into_iter().map(Output::Send));
    }
}

fn micros(time: BootTime) -> u64 {
    time.as_nanos() / 1_000
}

/// Bytes of a frame's datagram beside its service and body.
const HEADER: usize = 35;
/// Time without a word of the other side after which a line ends; also the time that an attempt to open one takes.
pub(super) const SILENCE: Duration = Duration::from_secs(10);
/// Time between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Time after which a line ends that no one uses or keeps.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// Time that an answer takes, as long as it is not known; and at least.
const FIRST_ANSWER: Duration = Duration::from_millis(50);
const SHORTEST_ANSWER: Duration = Duration::from_millis(20);
