//! Configuration: users and rooms, from a TOML file.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;
use serde_json::{Map, Value};
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;
use toml::Spanned;

/// The guide's configuration, for a server that is started without a file.
pub(crate) const BUILT_IN: &str = include_str!("../mesh-call.toml");

/// Users and rooms; every name is present and unique.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) users: Vec<User>,
    pub(crate) rooms: Vec<RoomConfig>,
}

/// User with a password.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct User {
    pub(crate) username: String,
    pub(crate) password: String,
}

/// Room that is open as long as the server runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RoomConfig {
    pub(crate) name: String,
    /// Most peers in it at once. A mesh costs each of them one connection per other: keep it small.
    pub(crate) max_peers: NonZeroU32,
}

/// Reason why there is no configuration.
#[derive(Debug, Error)]
pub(crate) enum ReadConfigError {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{origin}:{line}: {what}")]
    Invalid { origin: String, line: usize, what: String },
}

impl Config {
    /// Reads the file, or returns the built-in configuration.
    ///
    /// # Errors
    /// [`ReadConfigError`]: the file cannot be read, or has an invalid value; then with the line.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, ReadConfigError> {
        let Some(path) = path else { return Self::parse(BUILT_IN, "built-in") };
        let text = fs::read_to_string(path)
            .map_err(|error| ReadConfigError::File { path: path.to_owned(), error })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Parses `text`, which came from `origin` (named in errors).
    ///
    /// # Errors
    /// [`ReadConfigError::Invalid`].
    pub(crate) fn parse(text: &str, origin: &str) -> Result<Self, ReadConfigError> {
        let invalid = |at: Range<usize>, what: String| ReadConfigError::Invalid {
            origin: origin.to_owned(),
            line: line_of(text, at.start),
            what,
        };
        let file: File = toml::from_str(text).map_err(|error| {
            invalid(error.span().unwrap_or_default(), one_line(error.message()))
        })?;

        let mut users = Vec::new();
        let mut seen = HashSet::new();
        for FileUser { username, password } in file.users {
            let (at, username) = (username.span(), username.into_inner());
            if username.is_empty() {
                return Err(invalid(at, "a user needs a name: `username` is empty".into()));
            }
            if !seen.insert(username.clone()) {
                return Err(invalid(at, format!("user {username:?} is there twice")));
            }
            if password.get_ref().is_empty() {
                let what = format!("user {username:?} needs a password: `password` is empty");
                return Err(invalid(password.span(), what));
            }
            users.push(User { username, password: password.into_inner() });
        }

        let mut rooms = Vec::new();
        let mut seen = HashSet::new();
        for FileRoom { name, max_peers } in file.rooms {
            let (at, name) = (name.span(), name.into_inner());
            if let Err(what) = check_room_name(&name) {
                return Err(invalid(at, what));
            }
            if !seen.insert(name.clone()) {
                return Err(invalid(at, format!("room {name:?} is there twice")));
            }
            let max_peers = NonZeroU32::new(*max_peers.get_ref()).ok_or_else(|| {
                let what = format!("room {name:?} admits no peer: `max_peers` is 0");
                invalid(max_peers.span(), what)
            })?;
            rooms.push(RoomConfig { name, max_peers });
        }
        if rooms.is_empty() {
            return Err(invalid(0..0, "there is no room: add a [[rooms]]".into()));
        }
        Ok(Self { users, rooms })
    }

    /// Returns whether a room of this name is configured.
    pub(crate) fn has_room(&self, name: &str) -> bool {
        self.rooms.iter().any(|room| room.name == name)
    }

    /// Returns whether these are the credentials of a user. Takes equally long for a wrong name and a wrong password.
    pub(crate) fn admits(&self, credentials: &Map<String, Value>) -> bool {
        let text = |key| credentials.get(key).and_then(Value::as_str);
        let (Some(username), Some(password)) = (text("username"), text("password")) else {
            return false;
        };
        let mut admitted = Choice::from(0);
        for user in &self.users {
            admitted |= user.username.as_bytes().ct_eq(username.as_bytes())
                & user.password.as_bytes().ct_eq(password.as_bytes());
        }
        admitted.into()
    }
}

/// Checks a room's name: it is one segment of a URL, so it must survive there.
fn check_room_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a room needs a name: `name` is empty".into());
    }
    if name.len() > LONGEST_ROOM_NAME {
        return Err(format!("room {name:?} has more than {LONGEST_ROOM_NAME} bytes in its name"));
    }
    if !callboard_signaling::is_room_name(name) {
        return Err(format!(
            "room {name:?} can have letters, digits, spaces and _-.~@:+ in its name"
        ));
    }
    Ok(())
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join(", ")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    users: Vec<FileUser>,
    #[serde(default)]
    rooms: Vec<FileRoom>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileUser {
    username: Spanned<String>,
    password: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRoom {
    name: Spanned<String>,
    max_peers: Spanned<u32>,
}

/// Longest name of a room: it fits a line of the page, and is more than anyone types.
const LONGEST_ROOM_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complaint(text: &str) -> String {
        Config::parse(text, "rooms.toml").unwrap_err().to_string()
    }

    #[test]
    fn what_is_built_in_is_the_guides() {
        let config = Config::parse(BUILT_IN, "built-in").unwrap();

        let rooms: Vec<_> =
            config.rooms.iter().map(|room| (room.name.as_str(), room.max_peers.get())).collect();
        assert_eq!(rooms, [("room", 2), ("other", 4)]);
        let user = User { username: "USERNAME".into(), password: "PASSWORD".into() };
        assert_eq!(config.users, [user]);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let said = complaint("[[rooms]]\nname = \"a\"\nmax_peers = 2\nmax_pears = 3\n");

        assert!(said.starts_with("rooms.toml:4: unknown field `max_pears`"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }

    #[test]
    fn a_room_named_twice_is_an_error_at_the_second() {
        let said = complaint(
            "[[rooms]]\nname = \"a\"\nmax_peers = 2\n[[rooms]]\nname = \"a\"\nmax_peers = 2",
        );

        assert_eq!(said, "rooms.toml:5: room \"a\" is there twice");
    }

    #[test]
    fn a_room_without_places_is_an_error() {
        let said = complaint("[[rooms]]\nname = \"a\"\nmax_peers = 0\n");

        assert_eq!(said, "rooms.toml:3: room \"a\" admits no peer: `max_peers` is 0");
    }

    #[test]
    fn names_that_no_address_can_hold_are_errors() {
        for name in ["", "a/b", ".hidden", "a!b", "..", "a\\nb", &"x".repeat(65)] {
            let said = complaint(&format!("[[rooms]]\nname = \"{name}\"\nmax_peers = 1\n"));

            assert!(said.starts_with("rooms.toml:2: "), "{name:?}: {said}");
        }
    }

    #[test]
    fn users_without_a_name_or_a_password_or_twice_are_errors() {
        let user = |name: &str, password: &str| {
            format!("[[users]]\nusername = \"{name}\"\npassword = \"{password}\"\n")
        };

        assert!(complaint(&user("", "p")).starts_with("rooms.toml:2: "));
        assert!(complaint(&user("u", "")).starts_with("rooms.toml:3: "));
        assert!(complaint(&(user("u", "p") + &user("u", "q"))).starts_with("rooms.toml:5: "));
    }

    #[test]
    fn negative_numbers_missing_keys_no_rooms_and_what_is_not_toml_are_errors() {
        assert!(
            complaint("[[rooms]]\nname = \"a\"\nmax_peers = -1\n").starts_with("rooms.toml:3:")
        );
        assert!(complaint("[[rooms]]\nname = \"a\"\n").contains("max_peers"));
        assert!(complaint("").contains("no room"));
        assert!(complaint("\nnot toml").starts_with("rooms.toml:2: "));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let said = Config::read(Some(Path::new("/nowhere/rooms.toml"))).unwrap_err().to_string();

        assert!(said.starts_with("/nowhere/rooms.toml: "), "{said}");
    }

    #[test]
    fn only_a_users_own_name_and_password_are_admitted() {
        let users = "[[users]]\nusername=\"a\"\npassword=\"1\"\n[[users]]\nusername=\"b\"\npassword=\"2\"\n";
        let config =
            Config::parse(&format!("{users}[[rooms]]\nname=\"r\"\nmax_peers=1"), "").unwrap();
        let admits = |credentials: Value| config.admits(credentials.as_object().unwrap());

        assert!(admits(json!({"username": "a", "password": "1"})));
        assert!(admits(json!({"username": "b", "password": "2", "more": [1]})));
        assert!(!admits(json!({"username": "a", "password": "2"})));
        assert!(!admits(json!({"username": "a", "password": ""})));
        assert!(!admits(json!({"username": "a", "password": 1})));
        assert!(!admits(json!({"username": "a"})));
        assert!(!admits(json!({})));
    }
}
