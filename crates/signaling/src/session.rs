//! Rate limit, message size and liveness check of one connection: no actix, no clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use callboard_room_supervisor::{CloseFrame, Description, MessageLimits, RoomMessage};
use callboard_supervision::Core;
use callboard_websocket::{Rate, RateMeter, RateVerdict};
use serde_json::{Value, json};

use crate::client_text::ClientText;
#[cfg(feature = "rpc")]
use crate::client_text::RpcText;
use crate::control_event::ControlEvent;

/// Rules of all connections of a route.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) limits: MessageLimits,
    pub(crate) rate: Rate,
    pub(crate) heartbeat: Option<Duration>,
}

impl Default for Rules {
    fn default() -> Self {
        let heartbeat = Some(Duration::from_secs(15));
        Self { limits: MessageLimits::default(), rate: Rate::default(), heartbeat }
    }
}

/// Rules of one connection, and the state of its client.
#[derive(Debug)]
pub(crate) struct Session {
    rules: Arc<Rules>,
    meter: RateMeter,
    idle_timeout: Duration,
    /// Size limit of messages that are not for the server itself, in bytes.
    max_message: usize,
    /// Time of the last input from the client.
    heard: Instant,
    /// Number of pings since the last input from the client.
    pings: u32,
    /// Time at which the client was last told that its room is busy.
    told_busy: Option<Instant>,
    awaits: Awaits,
    due: Option<Due>,
}

/// What a session waits for.
#[derive(Debug)]
enum Awaits {
    /// Input from the client, which has a socket; `beat` is the time of the last heartbeat.
    Input { beat: Instant },
    /// The client's return with a new socket, until then.
    Return(Instant),
    /// A decision of the peer: the client was silent or away for too long.
    Nothing,
}

/// Action that is due because time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Ask the client's socket for an answer.
    Ping,
    /// Give up the client's socket, which was silent for too long.
    GiveUpSocket,
    /// Give up the client, which was away for too long.
    GiveUpClient,
}

/// Action to take.
#[derive(Debug)]
pub(crate) enum Act<'a> {
    Nothing,
    /// Forward this message of the client.
    Forward(RoomMessage),
    /// Handle this event for the client's server peer.
    Control(ControlEvent<'a>),
    /// Handle this text for the call table.
    #[cfg(feature = "rpc")]
    Rpc(RpcText<'a>),
    /// Nothing: the message was dropped, and the client has been warned.
    Dropped,
    /// Send the client an error.
    Tell(Description, Value),
    /// Send the client an error, and close.
    Part(Description, Value, CloseFrame),
}

impl Session {
    pub(crate) fn new(
        now: Instant,
        rules: Arc<Rules>,
        idle_timeout: Duration,
        max_message: usize,
    ) -> Self {
        let (meter, told_busy) = Default::default();
        let (heard, pings) = (now, 0);
        let (awaits, due) = (Awaits::Input { beat: now }, None);
        Self { rules, meter, idle_timeout, max_message, heard, pings, told_busy, awaits, due }
    }

    /// Returns the longest silence, and the size limit of messages to others in bytes.
    pub(crate) fn limits(&self) -> (Duration, usize) {
        (self.idle_timeout, self.max_message)
    }

    /// Handles a text message; `counted` of its bytes were handled as frames.
    pub(crate) fn handle_text<'a>(
        &mut self,
        now: Instant,
        text: &'a str,
        counted: usize,
    ) -> Act<'a> {
        match self.handle_frame(now, text.len().saturating_sub(counted)) {
            Act::Nothing => self.read(text),
            act => act,
        }
    }

    fn read<'a>(&self, text: &'a str) -> Act<'a> {
        match ClientText::parse(text, &self.rules.limits, self.max_message) {
            ClientText::Message(message) => Act::Forward(message),
            ClientText::Control(event) => Act::Control(event),
            #[cfg(feature = "rpc")]
            ClientText::Rpc(text) => Act::Rpc(text),
            ClientText::Malformed(why) => {
                Act::Tell(Description::InvalidMessage, why.to_string().into())
            }
            ClientText::TooLarge => {
                let details = json!({ "max_bytes": self.max_message });
                Act::Part(Description::MessageTooLarge, details, CloseFrame::TOO_LARGE)
            }
        }
    }

    /// Handles input that is not a message.
    pub(crate) fn handle_frame(&mut self, now: Instant, bytes: usize) -> Act<'static> {
        self.heard = now;
        self.pings = 0;
        match self.meter.count(&self.rules.rate, now, bytes) {
            RateVerdict::Pass => Act::Nothing,
            RateVerdict::Tell => Act::Tell(Description::TooManyMessages, self.rate_details()),
            RateVerdict::Drop => Act::Dropped,
            RateVerdict::Close => {
                let details = self.rate_details();
                Act::Part(Description::TooManyMessages, details, CloseFrame::TOO_MANY)
            }
        }
    }

    /// Returns what a client needs to know to slow down.
    fn rate_details(&self) -> Value {
        json!({
            "messages_per_second": self.rules.rate.messages_per_second,
            "bytes_per_second": self.rules.rate.bytes_per_second,
            "dropped": self.meter.dropped(),
        })
    }

    /// Returns whether to tell the client that its room is busy: not once per lost message.
    pub(crate) fn tells_busy(&mut self, now: Instant) -> bool {
        let told = self.told_busy.is_some_and(|at| now.saturating_duration_since(at) < BUSY);
        if !told {
            self.told_busy = Some(now);
        }
        !told
    }

    /// Handles the client's arrival with a socket, the first or another one.
    pub(crate) fn handle_return(&mut self, now: Instant) {
        self.heard = now;
        self.pings = 0;
        self.awaits = Awaits::Input { beat: now };
    }

    /// Handles the loss of the client's socket: the client may come back until then.
    pub(crate) fn handle_away(&mut self, until: Instant) {
        self.awaits = Awaits::Return(until);
    }

    fn check_liveness(&mut self, now: Instant, beat: Instant) -> Option<Due> {
        if now.saturating_duration_since(self.heard) >= self.idle_timeout {
            return Some(Due::GiveUpSocket);
        }
        let heartbeat = self.rules.heartbeat?;
        if now.saturating_duration_since(self.heard.max(beat)) < heartbeat {
            return None;
        }
        self.awaits = Awaits::Input { beat: now };
        if self.pings >= MAX_PINGS {
            return Some(Due::GiveUpSocket);
        }
        self.pings += 1;
        Some(Due::Ping)
    }
}

impl Core for Session {
    type Output = Due;

    fn poll_output(&mut self) -> Option<Due> {
        self.due.take()
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        match self.awaits {
            Awaits::Input { beat } => {
                let idle = self.heard + self.idle_timeout;
                let heartbeat = self.rules.heartbeat.map(|it| self.heard.max(beat) + it);
                Some(heartbeat.map_or(idle, |heartbeat| idle.min(heartbeat)))
            }
            Awaits::Return(until) => Some(until),
            Awaits::Nothing => None,
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.due = match self.awaits {
            Awaits::Input { beat } => self.check_liveness(now, beat),
            Awaits::Return(until) => (now >= until).then_some(Due::GiveUpClient),
            Awaits::Nothing => None,
        };
        if self.due.is_some_and(|due| due != Due::Ping) {
            self.awaits = Awaits::Nothing;
        }
    }
}

/// Interval between two errors that say that the room is busy.
const BUSY: Duration = Duration::from_secs(1);
/// Number of pings in a row that may go unanswered.
const MAX_PINGS: u32 = 2;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from")]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_secs(10);

    fn session(now: Instant) -> Session {
        session_with(now, Some(BEAT))
    }

    fn session_with(now: Instant, heartbeat: Option<Duration>) -> Session {
        let rate = Rate { burst_messages: 3, ..Rate::default() };
        let rules = Rules { limits: MessageLimits::default(), rate, heartbeat };
        Session::new(now, Arc::new(rules), Duration::from_secs(60), 100)
    }

    fn due(session: &mut Session, at: Instant) -> Option<Due> {
        session.handle_timeout(at);
        session.poll_output()
    }

    #[test]
    fn a_client_that_answers_no_ping_is_closed_after_the_second() {
        let start = Instant::now();
        let mut session = session(start);

        assert_eq!(session.poll_timeout(), Some(start + BEAT));
        assert_eq!(due(&mut session, start + BEAT), Some(Due::Ping));
        assert_eq!(due(&mut session, start + BEAT), None, "early");
        assert_eq!(due(&mut session, start + 2 * BEAT), Some(Due::Ping));
        assert_eq!(due(&mut session, start + 3 * BEAT), Some(Due::GiveUpSocket));
        assert_eq!(session.poll_timeout(), None, "once");
    }

    #[test]
    fn each_message_of_the_client_puts_the_ping_off() {
        let start = Instant::now();
        let mut session = session(start);

        session.handle_frame(start + BEAT / 2, 0);

        assert_eq!(due(&mut session, start + BEAT), None);
        assert_eq!(session.poll_timeout(), Some(start + BEAT / 2 + BEAT));
    }

    #[test]
    fn a_silent_client_is_closed_without_a_heartbeat_as_well() {
        let start = Instant::now();
        let mut session = session_with(start, None);

        assert_eq!(due(&mut session, start + Duration::from_secs(59)), None);
        assert_eq!(due(&mut session, start + Duration::from_secs(60)), Some(Due::GiveUpSocket));
    }

    #[test]
    fn a_client_that_is_away_is_given_up_once_at_the_end_of_its_grace_period() {
        let start = Instant::now();
        let mut session = session(start);
        let until = start + 6 * BEAT;

        session.handle_away(until);

        assert_eq!(session.poll_timeout(), Some(until));
        assert_eq!(due(&mut session, start + 3 * BEAT), None, "it has no socket to ping");
        assert_eq!(due(&mut session, until), Some(Due::GiveUpClient));
        assert_eq!(session.poll_timeout(), None);
        assert_eq!(due(&mut session, until + BEAT), None);
    }

    #[test]
    fn a_client_that_has_come_back_starts_anew() {
        let start = Instant::now();
        let mut session = session(start);
        assert_eq!(due(&mut session, start + BEAT), Some(Due::Ping));
        session.handle_away(start + 6 * BEAT);

        session.handle_return(start + 5 * BEAT);

        assert_eq!(session.poll_timeout(), Some(start + 6 * BEAT));
        for beats in 6..8 {
            assert_eq!(due(&mut session, start + beats * BEAT), Some(Due::Ping));
        }
        assert_eq!(due(&mut session, start + 8 * BEAT), Some(Due::GiveUpSocket));
    }

    #[test]
    fn garbage_is_answered_and_then_counts_against_the_rate() {
        let start = Instant::now();
        let mut session = session(start);

        for _ in 0..3 {
            assert!(matches!(
                session.handle_text(start, "{", 0),
                Act::Tell(Description::InvalidMessage, _)
            ));
        }
        for dropped in 1..=3 {
            let Act::Tell(Description::TooManyMessages, details) =
                session.handle_text(start, "{", 0)
            else {
                panic!("not told")
            };
            assert_eq!(details["dropped"], dropped);
        }
        let Act::Part(description, _, close) = session.handle_text(start, "{", 0) else {
            panic!("not closed")
        };
        assert_eq!((description, close), (Description::TooManyMessages, CloseFrame::TOO_MANY));
    }

    #[test]
    fn what_is_large_closes_unless_it_is_for_the_server() {
        let start = Instant::now();
        let mut session = session(start);
        let fill = "x".repeat(100);

        let text = format!(r#"{{"event":"chat","data":"{fill}","to":"all"}}"#);
        let Act::Part(description, details, close) = session.handle_text(start, &text, 0) else {
            panic!("not closed")
        };
        assert_eq!((description, close), (Description::MessageTooLarge, CloseFrame::TOO_LARGE));
        assert_eq!(details, json!({ "max_bytes": 100 }));
        let offer = format!(r#"{{"data":{{"sdp":"{fill}"}},"event":"webrtc:offer"}}"#);
        let Act::Control(event) = session.handle_text(start, &offer, 0) else { panic!("closed") };
        assert_eq!((event.name, event.data), ("webrtc:offer", &offer[8..offer.len() - 24]));
    }

    #[test]
    fn a_client_is_told_once_in_a_second_that_its_room_is_busy() {
        let start = Instant::now();
        let mut session = session(start);

        let told: Vec<_> = [0, 10, 999, 1_000, 1_500]
            .map(|milliseconds| session.tells_busy(start + Duration::from_millis(milliseconds)))
            .into();

        assert_eq!(told, [true, false, false, true, false]);
    }
}
