//! Keys and values of the bucket.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::directory::{Change, Key};
use crate::record::{Claim, Revision, Session};

/// Value of a record, with the version of its format.
#[derive(Serialize)]
struct Value<'a, T> {
    v: u32,
    #[serde(flatten)]
    record: &'a T,
}

/// Returns the value of a record, as JSON.
pub(super) fn encode(record: &impl Serialize) -> Bytes {
    let json = serde_json::to_vec(&Value { v: VERSION, record });
    json.expect("records have no maps with keys other than texts").into()
}

/// Returns a key of the bucket. Names of rooms may have any letters, which keys may not.
pub(super) fn key(key: &Key) -> String {
    match key {
        Key::Node(node) => format!("{NODE}{node}"),
        Key::Room(room) => format!("{ROOM}{}", URL_SAFE_NO_PAD.encode(room.as_bytes())),
    }
}

/// Returns what a key of the bucket names; none if it is not ours.
pub(super) fn parse_key(text: &str) -> Option<Key> {
    if let Some(node) = text.strip_prefix(NODE) {
        return crate::node_id::NodeId::new(node).ok().map(Key::Node);
    }
    let room = URL_SAFE_NO_PAD.decode(text.strip_prefix(ROOM)?).ok()?;
    String::from_utf8(room).ok().map(|room| Key::Room(room.into()))
}

/// Returns the change that a value of a key is; none if it cannot be read.
pub(super) fn change(key: Key, value: &[u8], revision: Revision) -> Option<Change> {
    match key {
        Key::Node(node) => {
            let session: Session = decode(value)?;
            (session.node == node).then_some(Change::Session(session, revision))
        }
        Key::Room(room) => decode::<Claim>(value).map(|claim| Change::Claim(room, claim, revision)),
    }
}

fn decode<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

const NODE: &str = "node.";
const ROOM: &str = "room.";
/// Version of the format. Later versions only add fields, which this one ignores.
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_id::{Incarnation, NodeId};
    use crate::record::{Epoch, Gone, SessionState};

    fn session() -> Session {
        let (node, process) = (NodeId::new("a1").unwrap(), uuid::Uuid::from_u128(7));
        let hold = std::time::Duration::from_secs(15);
        let (incarnation, url) = (Incarnation::new(process, 2), Some("wss://a1".to_owned()));
        let (n, state, gone) = (3, SessionState::Up, Vec::new());
        Session { node, incarnation, n, state, hold, url, zone: None, liveness: None, gone }
    }

    #[test]
    fn keys_have_letters_that_every_key_may_have_and_can_be_read() {
        let rooms = ["demo", "Küche 2", "客厅", "a.b~c@d:e+f_-", &"x".repeat(256)];
        let keys = rooms.map(|room| Key::Room(room.into())).into_iter();
        for name in keys.chain([Key::Node(NodeId::new("a1").unwrap())]) {
            let text = key(&name);
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            assert!(text.chars().all(allowed), "{text}");
            assert_eq!(parse_key(&text), Some(name));
        }
    }

    #[test]
    fn records_can_be_read_and_others_are_none() {
        let (session, node) = (session(), Key::Node(NodeId::new("a1").unwrap()));
        let value = encode(&session);
        let read = change(node.clone(), &value, Revision(9));
        assert_eq!(read, Some(Change::Session(session.clone(), Revision(9))));
        let claim = Claim::held(session.node, session.incarnation, Epoch(17));
        let read = change(Key::Room("demo".into()), &encode(&claim), Revision(9));
        assert_eq!(read, Some(Change::Claim("demo".into(), claim, Revision(9))));

        assert_eq!(change(Key::Node(NodeId::new("b2").unwrap()), &value, Revision(9)), None);
        for foreign in ["", "{}", "[1]", "{\"node\":\"a1\"}", "\u{0}"] {
            assert_eq!(change(node.clone(), foreign.as_bytes(), Revision(9)), None, "{foreign}");
        }
        for foreign in ["", "node.", "node.A", "room.*", "room.!", "other.a1", "room.gA"] {
            assert_eq!(parse_key(foreign), None, "{foreign}");
        }
    }

    /// Written by this version: later ones must still read it, and this one what they write.
    #[test]
    fn the_format_stays() {
        let incarnation = r#"{"process":"00000000-0000-0000-0000-000000000007","term":2}"#;
        let hold = r#""hold":{"secs":15,"nanos":0}"#;
        let session = format!(
            r#"{{"v":1,"node":"a1","incarnation":{incarnation},"n":3,"state":"up",{hold},"url":"wss://a1"}}"#
        );
        assert_eq!(encode(&self::session()), session);
        let found = crate::record::Session {
            liveness: Some(([192, 0, 2, 1], 7400).into()),
            gone: vec![Gone::new(&self::session())],
            url: None,
            ..self::session()
        };
        let gone = format!(r#"[{{"node":"a1","incarnation":{incarnation},"n":3}}]"#);
        let more = format!(r#""liveness":"192.0.2.1:7400","gone":{gone}"#);
        let session = session.replace(r#""url":"wss://a1""#, &more);
        assert_eq!(encode(&found), session);
        let released = r#"{"v":1,"holder":null,"epoch":17}"#;
        assert_eq!(encode(&Claim::released(Epoch(17))), released);
    }
}
