//! State machine that runs one handshake: its readiness, its deadline, and the datagrams that are not for it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_supervision::Core;

use super::{
    Finished, Handshake, HandshakeData, HandshakeError, HandshakeOutput, Init, InitData,
    PlainSession, Session, Step,
};

/// State machine that runs one [`Handshake`].
pub(super) struct HandshakeCore {
    /// `None` once it is complete, has failed or was closed.
    handshake: Option<Box<dyn Handshake>>,
    deadline: Duration,
    /// Whether the component is ready; below it, the time by which the handshake must be complete from then on.
    ready: bool,
    complete_by: Option<Instant>,
    /// Result of a handshake that is complete before the component is ready.
    finished: Option<HandshakeData>,
    /// Number of datagrams processed.
    consumed: u64,
    /// Datagrams for the session.
    kept: Vec<Bytes>,
    output: VecDeque<HandshakeOutput>,
}

impl Core for HandshakeCore {
    type Output = HandshakeOutput;

    fn poll_output(&mut self) -> Option<HandshakeOutput> {
        self.output.pop_front()
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        let handshake = self.handshake.as_ref()?;
        // A handshake that is complete has nothing more to do.
        let own = handshake.poll_timeout().filter(|_| self.finished.is_none());
        [own, self.complete_by].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.complete_by.is_some_and(|due| due <= now)
            && let Some(mut handshake) = self.handshake.take()
        {
            // The peer may have a longer deadline, or none.
            self.transmit(handshake.close());
            return self
                .end(HandshakeOutput::Failed(HandshakeError::DeadlineExceeded(self.deadline)));
        }
        self.step(|handshake| handshake.handle_timeout(now));
    }
}

impl HandshakeCore {
    /// Creates a core for this handshake, which must be complete within this time once the component is ready.
    pub(super) fn new(handshake: Box<dyn Handshake>, deadline: Duration) -> Self {
        Self {
            handshake: Some(handshake),
            deadline,
            ready: false,
            complete_by: None,
            finished: None,
            consumed: 0,
            kept: Vec::new(),
            output: VecDeque::new(),
        }
    }

    pub(super) fn init(&mut self) {
        let Some(handshake) = &mut self.handshake else { return };
        let (data, finished) = match handshake.init() {
            Init::Ok(data) => (data, false),
            Init::Finished(data) => (data, true),
        };
        if finished {
            self.handshake = Some(Box::new(Done));
            self.finished = Some(HandshakeData::None);
        }
        self.output.push_back(HandshakeOutput::InitData { data, finished });
    }

    /// Handles that the component can send and receive; the deadline runs from the first time.
    pub(super) fn connection_ready(&mut self, now: Instant, round_trip_time: Option<Duration>) {
        if std::mem::replace(&mut self.ready, true) {
            return;
        }
        self.complete_by = now.checked_add(self.deadline);
        if let Some(data) = self.finished.take() {
            return self.finish(data);
        }
        self.step(|handshake| {
            if let Some(time) = round_trip_time {
                handshake.set_round_trip_time(time);
            }
            handshake.connection_ready(now)
        });
    }

    pub(super) fn handle_datagram(&mut self, now: Instant, datagram: Bytes) {
        let Some(handshake) = &self.handshake else { return };
        self.consumed += 1;
        if self.finished.is_some() || !handshake.is_handshake_packet(&datagram) {
            if self.kept.len() < KEPT {
                self.kept.push(datagram);
            }
            return;
        }
        self.step(|handshake| handshake.recv_from_peer(now, &datagram));
    }

    pub(super) fn set_remote_init_data(&mut self, data: InitData) {
        if let Some(handshake) = &mut self.handshake {
            handshake.set_remote_init_data(data);
        }
    }

    pub(super) fn close(&mut self) {
        if let Some(mut handshake) = self.handshake.take() {
            self.transmit(handshake.close());
            self.end(HandshakeOutput::Closed);
        }
    }

    /// Lets the handshake do something, unless it is complete or over, and does what its step says.
    fn step(&mut self, call: impl FnOnce(&mut dyn Handshake) -> Step) {
        if self.finished.is_some() {
            return;
        }
        let Some(handshake) = &mut self.handshake else { return };
        match call(&mut **handshake) {
            Step::Ok => {}
            Step::Packets(packets) => self.transmit(packets),
            Step::Finished(data) => self.finish(data),
            Step::FinishedWithPackets(data, packets) => {
                self.transmit(packets);
                self.finish(data);
            }
            Step::Failed(error) => self.end(HandshakeOutput::Failed(error)),
            Step::FailedWithPackets(error, packets) => {
                self.transmit(packets);
                self.end(HandshakeOutput::Failed(error));
            }
            Step::Closed if self.ready => {
                self.end(HandshakeOutput::Failed(HandshakeError::ClosedByPeer))
            }
            Step::Closed => self.end(HandshakeOutput::Closed),
        }
    }

    fn transmit(&mut self, packets: Vec<Bytes>) {
        if !packets.is_empty() {
            let consumed = self.consumed;
            self.output.push_back(HandshakeOutput::Transmit { packets, consumed });
        }
    }

    fn finish(&mut self, data: HandshakeData) {
        if !self.ready {
            self.finished = Some(data);
            return;
        }
        let Some(handshake) = self.handshake.take() else { return };
        let (consumed, kept) = (self.consumed, std::mem::take(&mut self.kept));
        let finished = Finished { data, session: handshake.into_session(), consumed, kept };
        self.end(HandshakeOutput::Finished(finished));
    }

    fn end(&mut self, output: HandshakeOutput) {
        self.handshake = None;
        self.output.push_back(output);
    }
}

/// Placeholder for a handshake that was finished at its start: none of its functions may be called again.
struct Done;

impl Handshake for Done {
    fn connection_ready(&mut self, _: Instant) -> Step {
        Step::Ok
    }

    fn recv_from_peer(&mut self, _: Instant, _: &[u8]) -> Step {
        Step::Ok
    }

    fn into_session(self: Box<Self>) -> Box<dyn Session> {
        Box::new(PlainSession::default())
    }
}

/// Datagrams kept for the session: early media of a peer that was ready first.
const KEPT: usize = 64;

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a core is told a time from which tests count")]
mod tests {
    use super::*;

    /// Handshake that repeats "hello" every second, and is complete when it is answered.
    struct Greeting(Option<Instant>);

    impl Greeting {
        fn hello(&mut self, now: Instant) -> Step {
            self.0 = Some(now + SECOND);
            Step::Packets(vec![Bytes::from_static(b"hello")])
        }
    }

    impl Handshake for Greeting {
        fn connection_ready(&mut self, now: Instant) -> Step {
            self.hello(now)
        }

        fn recv_from_peer(&mut self, _: Instant, datagram: &[u8]) -> Step {
            match datagram {
                b"bye" => Step::Closed,
                _ => Step::Finished(HandshakeData::None),
            }
        }

        fn is_handshake_packet(&self, datagram: &[u8]) -> bool {
            !datagram.starts_with(b"media")
        }

        fn handle_timeout(&mut self, now: Instant) -> Step {
            self.hello(now)
        }

        fn poll_timeout(&self) -> Option<Instant> {
            self.0
        }

        fn close(&mut self) -> Vec<Bytes> {
            vec![Bytes::from_static(b"goodbye")]
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn core() -> HandshakeCore {
        let mut core = HandshakeCore::new(Box::new(Greeting(None)), 3 * SECOND);
        core.init();
        assert!(matches!(
            core.poll_output(),
            Some(HandshakeOutput::InitData { finished: false, .. })
        ));
        core
    }

    /// Runs the core until nothing is due any more; returns its outputs with their times since `began`.
    fn run(core: &mut HandshakeCore, began: Instant) -> Vec<(Duration, HandshakeOutput)> {
        let mut outputs = Vec::new();
        let mut now = began;
        loop {
            outputs.extend(std::iter::from_fn(|| core.poll_output()).map(|one| (now - began, one)));
            let Some(due) = core.poll_timeout() else { return outputs };
            now = due;
            core.handle_timeout(now);
        }
    }

    #[test]
    fn it_fails_at_its_deadline_and_tells_the_peer() {
        let (mut core, began) = (core(), Instant::now());
        core.connection_ready(began, None);

        let outputs = run(&mut core, began);

        let sent = |packet: &'static [u8]| move |(_, output): &(_, HandshakeOutput)| matches!(output, HandshakeOutput::Transmit { packets, .. } if *packets == [packet]);
        let hellos: Vec<_> =
            outputs.iter().filter(|one| sent(b"hello")(one)).map(|(at, _)| *at).collect();
        assert_eq!(hellos, [Duration::ZERO, SECOND, 2 * SECOND]);
        let [.., goodbye, (at, HandshakeOutput::Failed(error))] = &outputs[..] else {
            panic!("{outputs:?}")
        };
        assert!(sent(b"goodbye")(goodbye));
        assert_eq!((*at, error), (3 * SECOND, &HandshakeError::DeadlineExceeded(3 * SECOND)));
    }

    #[test]
    fn without_a_ready_component_it_waits_and_a_finish_is_told_later() {
        let (mut core, began) = (core(), Instant::now());
        assert_eq!(core.poll_timeout(), None);
        core.handle_datagram(began, Bytes::from_static(b"media"));
        core.handle_datagram(began, Bytes::from_static(b"answer"));
        core.handle_datagram(began, Bytes::from_static(b"behind"));
        assert!(core.poll_output().is_none());
        assert_eq!(core.poll_timeout(), None);

        core.connection_ready(began, None);

        let Some(HandshakeOutput::Finished(finished)) = core.poll_output() else {
            panic!("not finished")
        };
        assert_eq!(
            (finished.consumed, &finished.kept[..]),
            (3, &["media", "behind"].map(Bytes::from)[..])
        );
        assert_eq!(core.poll_timeout(), None);
        core.close();
        assert!(core.poll_output().is_none(), "it is over");
    }

    #[test]
    fn the_peers_close_is_a_failure_once_the_component_is_ready() {
        for ready in [false, true] {
            let (mut core, now) = (core(), Instant::now());
            if ready {
                core.connection_ready(now, None);
                core.poll_output();
            }

            core.handle_datagram(now, Bytes::from_static(b"bye"));

            match (ready, core.poll_output()) {
                (false, Some(HandshakeOutput::Closed)) => {}
                (true, Some(HandshakeOutput::Failed(HandshakeError::ClosedByPeer))) => {}
                (_, other) => panic!("{ready}: {other:?}"),
            }
        }
    }

    #[test]
    fn no_more_than_its_share_is_kept_for_the_session() {
        let (mut core, now) = (core(), Instant::now());
        for _ in 0..1_000 {
            core.handle_datagram(now, Bytes::from_static(b"media"));
        }
        assert_eq!(core.kept.len(), KEPT);
    }
}
