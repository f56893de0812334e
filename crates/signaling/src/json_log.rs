//! Log lines as JSON, one object a line, with the ids of room, peer and connection as fields.

use std::fmt;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use callboard_supervision::{LogSubject, log_subject};
use log::Record;
use serde::Serialize;

use crate::counters::{PEER, ROOM};

/// Writes a log record as one line of JSON: a format for any logger that lets its program choose one.
///
/// The fields are `time` (RFC 3339, UTC, in milliseconds), `level`, `target` and `message`; and, of the lines that a
/// supervised actor writes and those about its end, `actor` (its path in the tree) with the ids that follow from it:
/// `room`, `peer`, `connection`. So lines of your own, in the callbacks of a room or a peer, have them too. Key-values
/// of
/// `log`'s feature `kv` are not written.
///
/// ```
/// env_logger::builder().format(callboard_signaling::json_log_line).init();
/// log::warn!("the quiz is over");
/// // {"time":"2026-03-01T12:00:00.000Z","level":"WARN","target":"quiz","message":"the quiz is over"}
/// ```
///
/// # Errors
/// The line cannot be written.
#[allow(clippy::disallowed_methods, reason = "a log line has the time of the wall clock")]
pub fn json_log_line(out: &mut impl Write, record: &Record<'_>) -> io::Result<()> {
    write_line(out, SystemTime::now(), record, log_subject().as_ref())
}

fn write_line(
    out: &mut impl Write,
    now: SystemTime,
    record: &Record<'_>,
    subject: Option<&LogSubject>,
) -> io::Result<()> {
    let actor = subject.map(|subject| subject.path.to_string());
    let ids = subject.map(|subject| Ids::of(subject.type_name, subject.path.names()));
    let line = Line {
        time: Rfc3339(now),
        level: record.level().as_str(),
        target: record.target(),
        message: record.args(),
        actor: actor.as_deref(),
        ids: ids.unwrap_or_default(),
    };
    // In one piece, since several threads may write.
    let mut bytes = serde_json::to_vec(&line)?;
    bytes.push(b'\n');
    out.write_all(&bytes)
}

#[derive(Serialize)]
struct Line<'a> {
    time: Rfc3339,
    level: &'static str,
    target: &'a str,
    message: &'a fmt::Arguments<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
    #[serde(flatten)]
    ids: Ids<'a>,
}

/// Ids that the path of an actor contains.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Ids<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<&'a str>,
}

impl<'a> Ids<'a> {
    /// Returns the ids of an actor of this type whose path has these names.
    fn of(type_name: &str, names: impl DoubleEndedIterator<Item = &'a str>) -> Self {
        let mut names = names.rev();
        let (name, above) = (names.next(), names.next());
        if type_name == ROOM {
            Self { room: above, ..Self::default() }
        } else if type_name.starts_with(PEER) {
            Self { room: above, peer: name, ..Self::default() }
        } else if type_name == SERVER_PEER {
            let peer = name.map(|name| name.strip_prefix("webrtc:").unwrap_or(name));
            Self { room: above, peer, ..Self::default() }
        } else if type_name == CONNECTION || type_name == HANDSHAKE {
            Self { connection: name, ..Self::default() }
        } else {
            Self::default()
        }
    }
}

/// Time as RFC 3339 writes it, in UTC and with milliseconds.
#[derive(Clone, Copy)]
struct Rfc3339(SystemTime);

impl Serialize for Rfc3339 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A clock before 1970 is not set.
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, millis) = (since.as_secs(), since.subsec_millis());
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Returns year, month and day of a day that is counted from 1 January 1970.
fn date(day: u64) -> (u64, u64, u64) {
    // Years begin in March, so that the leap day is the last; 400 of them have always as many days.
    let day = day + DAYS_UNTIL_1970;
    let (era, day) = (day / DAYS_OF_400_YEARS, day % DAYS_OF_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// Days from 1 March of the year 0 until 1 January 1970.
const DAYS_UNTIL_1970: u64 = 719_468;
const DAYS_OF_400_YEARS: u64 = 146_097;

/// Types of the actors whose paths contain ids.
const SERVER_PEER: &str = "callboard_signaling::server_peer::actor::ServerPeer";
const CONNECTION: &str = "callboard_peer_connection::actor::PeerConnection";
const HANDSHAKE: &str = "callboard_ice_handshake::handshake::actor::HandshakeActor";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use log::Level;
    use serde_json::{Value, json};

    use super::*;

    fn line(message: &str) -> Value {
        let (mut out, args) = (Vec::new(), format_args!("{message}"));
        let record = Record::builder().level(Level::Warn).target("quiz").args(args).build();
        let now = UNIX_EPOCH + Duration::from_millis(1_772_366_400_007);
        write_line(&mut out, now, &record, None).unwrap();
        let (end, text) = out.split_last().unwrap();
        assert!(*end == b'\n' && !text.contains(&b'\n'));
        serde_json::from_slice(text).unwrap()
    }

    #[test]
    fn a_line_outside_actors_has_time_level_target_and_message() {
        let time = "2026-03-01T12:00:00.007Z";
        let wanted = |message: &str| json!({ "time": time, "level": "WARN", "target": "quiz", "message": message });
        for message in ["over", "", "two\nlines", "\"quoted\" \u{1b}[31m", "ünï\u{2028}"] {
            assert_eq!(line(message), wanted(message));
        }
    }

    #[test]
    fn the_ids_are_those_of_the_path() {
        let ids = |type_name: &str, path: &'static str| {
            serde_json::to_value(Ids::of(type_name, path.split('/'))).unwrap()
        };
        assert_eq!(ids(ROOM, "server/rooms/demo/room"), json!({ "room": "demo" }));
        let peer = format!("{PEER}quiz::Player>");
        assert_eq!(ids(&peer, "server/rooms/demo/8c1c"), json!({ "room": "demo", "peer": "8c1c" }));
        let both = json!({ "room": "demo", "peer": "8c1c" });
        assert_eq!(ids(SERVER_PEER, "server/rooms/demo/webrtc:8c1c"), both);
        for type_name in [CONNECTION, HANDSHAKE] {
            assert_eq!(ids(type_name, "server/webrtc/x/51f0"), json!({ "connection": "51f0" }));
        }
        assert_eq!(ids("mail::Sender", "server/mail"), json!({}));
        assert_eq!(ids(ROOM, "room"), json!({}));
    }

    /// The names are written as texts, since one crate cannot name the private types of another.
    #[cfg(feature = "webrtc")]
    #[test]
    fn the_types_have_these_names() {
        use std::any::type_name;
        assert_eq!(type_name::<crate::server_peer::ServerPeer>(), SERVER_PEER);
        assert_eq!(type_name::<callboard_peer_connection::PeerConnection>(), CONNECTION);
    }

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        let at = |seconds| Rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00.000Z");
        assert_eq!(at(4_107_542_399), "2100-02-28T23:59:59.000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000Z");
        assert_eq!(at(253_402_300_799), "9999-12-31T23:59:59.000Z");
        // Each day is the one after the day before.
        let mut before = date(0);
        for day in 1..200_000 {
            let (year, month, day) = date(day);
            let next = match before {
                (y, m, d) if (year, month) == (y, m) => day == d + 1,
                (y, m, d) if year == y => month == m + 1 && day == 1 && d >= 28,
                (y, 12, 31) => (year, month, day) == (y + 1, 1, 1),
                _ => false,
            };
            assert!(next, "{year}-{month}-{day} after {before:?}");
            before = (year, month, day);
        }
    }
}
