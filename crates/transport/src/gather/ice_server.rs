//! Configuration of STUN and TURN servers (W3C `RTCIceServer`, RFC 7064, RFC 7065).

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// STUN or TURN server, or several that share credentials.
///
/// Read from JSON in the W3C form, with `urls` as one text or a list of them (or `url`), or as a plain text:
///
/// ```
/// use callboard_transport::gather::IceServer;
///
/// let servers: Vec<IceServer> = serde_json::from_str(
///     r#"[
///         "stun:stun.example.org:3478",
///         {"urls": ["turn:turn.example.org", "turns:turn.example.org?transport=tcp"],
///          "username": "u", "credential": "c"}
///     ]"#,
/// )?;
/// assert_eq!(servers[1].urls[1].to_string(), "turns:turn.example.org:5349?transport=tcp");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct IceServer {
    /// URLs of the server.
    pub urls: Vec<IceUrl>,
    /// Username, for TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password, for TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl IceServer {
    /// Creates a server that asks for no credentials.
    ///
    /// # Errors
    /// [`IceServerError`] if the URL is not accepted, or is a TURN server's.
    pub fn new(url: &str) -> Result<Self, IceServerError> {
        Self { urls: vec![url.parse()?], username: None, credential: None }.checked()
    }

    /// Creates a TURN server.
    ///
    /// # Errors
    /// [`IceServerError`] if the URL is not accepted.
    pub fn turn(
        url: &str,
        username: impl Into<String>,
        credential: impl Into<String>,
    ) -> Result<Self, IceServerError> {
        let (username, credential) = (Some(username.into()), Some(credential.into()));
        Self { urls: vec![url.parse()?], username, credential }.checked()
    }

    fn checked(self) -> Result<Self, IceServerError> {
        if self.urls.is_empty() {
            return Err(IceServerError::NoUrl);
        }
        let turn = self.urls.iter().any(|url| url.scheme.is_turn());
        if turn && (self.username.is_none() || self.credential.is_none()) {
            return Err(IceServerError::NoCredentials);
        }
        Ok(self)
    }
}

impl FromStr for IceServer {
    type Err = IceServerError;

    fn from_str(url: &str) -> Result<Self, IceServerError> {
        Self::new(url)
    }
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for IceServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Url(String),
            Dictionary {
                urls: Option<OneOrMany>,
                /// Key in older configurations. Some of them have it beside `urls`.
                url: Option<OneOrMany>,
                username: Option<String>,
                credential: Option<String>,
            },
        }
        let (urls, username, credential) = match Form::deserialize(deserializer)? {
            Form::Url(url) => (vec![url], None, None),
            Form::Dictionary { urls, url, username, credential } => {
                let urls = match urls.or(url) {
                    Some(OneOrMany::One(url)) => vec![url],
                    Some(OneOrMany::Many(urls)) => urls,
                    None => Vec::new(),
                };
                (urls, username, credential)
            }
        };
        let urls = urls
            .iter()
            .map(|url| url.parse())
            .collect::<Result<_, _>>()
            .map_err(de::Error::custom)?;
        Self { urls, username, credential }.checked().map_err(de::Error::custom)
    }
}

/// URL of a STUN or TURN server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct IceUrl {
    /// Scheme, which says whether it is STUN or TURN, with or without TLS.
    pub scheme: Scheme,
    /// Name, or address (IPv6 without its brackets).
    pub host: String,
    /// Port. Default: 3478, with TLS 5349.
    pub port: u16,
    /// Transport protocol. Default: UDP, with TLS TCP.
    pub transport: ServerTransport,
}

/// Scheme of a server's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 7064 and RFC 7065")]
pub enum Scheme {
    /// STUN (`stun:`).
    Stun,
    /// STUN over TLS (`stuns:`).
    Stuns,
    /// TURN (`turn:`).
    Turn,
    /// TURN over TLS (`turns:`).
    Turns,
}

impl Scheme {
    /// Returns whether the server relays.
    pub fn is_turn(self) -> bool {
        matches!(self, Self::Turn | Self::Turns)
    }

    /// Returns whether the server is reached over TLS.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Stuns | Self::Turns)
    }
}

/// Transport protocol to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 7065's")]
pub enum ServerTransport {
    /// UDP (`transport=udp`).
    Udp,
    /// TCP (`transport=tcp`).
    Tcp,
}

/// Reason for which a server is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IceServerError {
    /// `urls` is empty.
    #[error("an ICE server needs a URL")]
    NoUrl,
    /// A TURN server without username and credential (W3C: `InvalidAccessError`).
    #[error("a TURN server needs a username and a credential")]
    NoCredentials,
    /// Not `stun:`, `stuns:`, `turn:` or `turns:`.
    #[error("{0:?} has none of the schemes stun, stuns, turn and turns")]
    UnknownScheme(String),
    /// There is no host in the URL, or not a valid one.
    #[error("{0:?} has no valid host")]
    BadHost(String),
    /// The port is not a number from 1 to 65535.
    #[error("{0:?} has no valid port")]
    BadPort(String),
    /// The query is other than `?transport=udp` or `?transport=tcp`, or the URL is a STUN server's and has one.
    #[error("{0:?} has an unknown query")]
    BadQuery(String),
    /// `stuns:`, or `turns:` over UDP (DTLS): not implemented.
    #[error("{0:?} is of a kind that is not supported")]
    Unsupported(String),
}

impl FromStr for IceUrl {
    type Err = IceServerError;

    fn from_str(url: &str) -> Result<Self, IceServerError> {
        let all = || url.to_owned();
        let (scheme, rest) =
            url.split_once(':').ok_or_else(|| IceServerError::UnknownScheme(all()))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "stun" => Scheme::Stun,
            "stuns" => Scheme::Stuns,
            "turn" => Scheme::Turn,
            "turns" => Scheme::Turns,
            _ => return Err(IceServerError::UnknownScheme(all())),
        };
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) =
                    bracketed.split_once(']').ok_or_else(|| IceServerError::BadHost(all()))?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| IceServerError::BadHost(all()))?;
                match port.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if port.is_empty() => (host, None),
                    None => return Err(IceServerError::BadPort(all())),
                }
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let is_name = |host: &str| {
            host.len() <= LONGEST_NAME
                && host.bytes().all(|byte| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':')
                })
        };
        if host.is_empty() || !is_name(host) {
            return Err(IceServerError::BadHost(all()));
        }
        let port = match port {
            None if scheme.is_secure() => SECURE_PORT,
            None => PORT,
            Some(port) => match port.parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(IceServerError::BadPort(all())),
            },
        };
        let transport = match query {
            None if scheme.is_secure() => ServerTransport::Tcp,
            None => ServerTransport::Udp,
            Some("transport=udp") if scheme.is_turn() => ServerTransport::Udp,
            Some("transport=tcp") if scheme.is_turn() => ServerTransport::Tcp,
            Some(_) => return Err(IceServerError::BadQuery(all())),
        };
        if scheme == Scheme::Stuns || scheme == Scheme::Turns && transport == ServerTransport::Udp {
            return Err(IceServerError::Unsupported(all()));
        }
        Ok(Self { scheme, host: host.to_owned(), port, transport })
    }
}

impl fmt::Display for IceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Stun => "stun",
            Scheme::Stuns => "stuns",
            Scheme::Turn => "turn",
            Scheme::Turns => "turns",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}:[{}]:{}", self.host, self.port)?;
        } else {
            write!(f, "{scheme}:{}:{}", self.host, self.port)?;
        }
        match self.transport {
            _ if !self.scheme.is_turn() => Ok(()),
            ServerTransport::Udp => f.write_str("?transport=udp"),
            ServerTransport::Tcp => f.write_str("?transport=tcp"),
        }
    }
}

impl Serialize for IceUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Default port (RFC 8489 §18.6, RFC 8656 §3).
const PORT: u16 = 3478;
/// Default port with TLS.
const SECURE_PORT: u16 = 5349;
/// Longest host name in bytes (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_defaults() {
        for (text, whole) in [
            ("stun:example.org", "stun:example.org:3478"),
            ("STUN:example.org:19302", "stun:example.org:19302"),
            ("turn:192.0.2.1", "turn:192.0.2.1:3478?transport=udp"),
            ("turn:[2001:db8::1]:5000?transport=tcp", "turn:[2001:db8::1]:5000?transport=tcp"),
            ("turns:example.org", "turns:example.org:5349?transport=tcp"),
        ] {
            assert_eq!(text.parse::<IceUrl>().unwrap().to_string(), whole);
        }
    }

    #[test]
    fn bad_urls_are_refused_with_the_reason() {
        let error = |text: &str| text.parse::<IceUrl>().unwrap_err();
        for text in ["", "example.org", "http:example.org", "turnx:example.org"] {
            assert!(matches!(error(text), IceServerError::UnknownScheme(_)), "{text}");
        }
        for text in [
            "stun:",
            "stun::3478",
            "stun:a b",
            "stun:[::1",
            "stun:[host]:1",
            "stun:\u{e9}.org",
            "stun:a/b",
        ] {
            assert!(matches!(error(text), IceServerError::BadHost(_)), "{text}");
        }
        for text in ["stun:h:0", "stun:h:65536", "stun:h:x", "stun:h:", "stun:[::1]1"] {
            assert!(matches!(error(text), IceServerError::BadPort(_)), "{text}");
        }
        for text in ["stun:h?transport=udp", "turn:h?transport=sctp", "turn:h?x"] {
            assert!(matches!(error(text), IceServerError::BadQuery(_)), "{text}");
        }
        for text in ["stuns:h", "turns:h?transport=udp"] {
            assert!(matches!(error(text), IceServerError::Unsupported(_)), "{text}");
        }
    }

    #[test]
    fn servers_are_read_in_every_form() {
        let one: IceServer = serde_json::from_str(r#""stun:a:1""#).unwrap();
        let dictionary: IceServer = serde_json::from_str(r#"{"urls":"stun:a:1"}"#).unwrap();
        let list: IceServer =
            serde_json::from_str(r#"{"urls":["stun:a:1"],"username":null}"#).unwrap();
        let old: IceServer = serde_json::from_str(r#"{"url":"stun:a:1"}"#).unwrap();
        let both: IceServer =
            serde_json::from_str(r#"{"urls":"stun:a:1","url":"stun:a:1"}"#).unwrap();
        assert!(one == dictionary && dictionary == list && list == old && old == both);
        assert_eq!(serde_json::to_string(&one).unwrap(), r#"{"urls":["stun:a:1"]}"#);
        let turn: IceServer =
            serde_json::from_str(r#"{"urls":["turn:a"],"username":"u","credential":"secret"}"#)
                .unwrap();
        assert!(!format!("{turn:?}").contains("secret"));
        for bad in
            [r#"{"urls":[]}"#, r#"{"urls":"turn:a"}"#, r#"{"urls":5}"#, "{}", r#""nonsense""#]
        {
            assert!(serde_json::from_str::<IceServer>(bad).is_err(), "{bad}");
        }
    }
}
