//! The server's address, and the upgrade request that goes there.

use tokio_tungstenite::tungstenite::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::Uri;

use crate::ClientOptions;
use crate::error::ConnectError;

/// Address of a room's WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) is_secure: bool,
    /// With `ws:` or `wss:`, and without a fragment.
    url: String,
    headers: Vec<(String, String)>,
    protocols: Vec<String>,
}

impl Address {
    /// Parses the address of a WebSocket; it may have `http:` instead of `ws:`.
    pub(crate) fn parse(url: &str, options: &ClientOptions) -> Result<Self, ConnectError> {
        let wrong = |why: &str| ConnectError::Address(format!("{url}: {why}"));
        let url_alone = url.split('#').next().unwrap_or_default();
        let (scheme, rest) =
            url_alone.split_once("://").ok_or_else(|| wrong("no scheme, such as ws:"))?;
        let is_secure = match scheme {
            "ws" | "http" => false,
            "wss" | "https" if cfg!(feature = "tls") => true,
            "wss" | "https" => return Err(wrong("TLS needs the feature `tls`")),
            _ => return Err(wrong("neither ws: nor wss:")),
        };
        let url = format!("{}://{rest}", if is_secure { "wss" } else { "ws" });
        let uri: Uri = url.parse().map_err(|error| wrong(&format!("{error}")))?;
        let host = uri.host().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let port = match authority.rsplit_once(host).map(|(_, port)| port) {
            None | Some("") => Some(if is_secure { 443 } else { 80 }),
            Some(port) => port.strip_prefix(':').and_then(|port| port.parse().ok()),
        };
        let port = port.ok_or_else(|| wrong("no port"))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(wrong("no host"));
        }
        let (headers, protocols) = (options.headers.clone(), options.protocols.clone());
        let address = Self { host, port, is_secure, url, headers, protocols };
        // A bad header is the caller's error, and not the network's.
        address.check_headers().map_err(|why| wrong(&why))?;
        Ok(address)
    }

    /// Returns the address to which a server sends this client: one over TLS if this one is. The path and the query are
    /// those of this address, unless the other one has its own; headers and protocols stay. None if the client may not
    /// go there.
    pub(crate) fn moved_to(&self, url: &str) -> Option<Self> {
        let options = ClientOptions {
            headers: self.headers.clone(),
            protocols: self.protocols.clone(),
            ..ClientOptions::default()
        };
        let mut to = Self::parse(url, &options).ok()?;
        let (base, query) = split_query(&to.url);
        let (authority, path) = split_path(base);
        let (own_base, own_query) = split_query(&self.url);
        let path = if matches!(path, "" | "/") { split_path(own_base).1 } else { path };
        let query = if query.is_empty() { own_query } else { query };
        let has_credentials = authority.contains('@');
        to.url = format!("{authority}{path}{query}");
        let is_good = url.len() <= MAX_URL && !has_credentials && (to.is_secure || !self.is_secure);
        is_good.then_some(to)
    }

    /// Returns the address as the application knows it, without a token.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Creates the upgrade request, with the token of a session to resume.
    pub(crate) fn request(&self, resume: Option<&str>) -> Result<ClientRequestBuilder, String> {
        let url = match resume {
            Some(token) => {
                let mark = if self.url.contains('?') { '&' } else { '?' };
                format!("{}{mark}resume={token}", self.url)
            }
            None => self.url.clone(),
        };
        let uri = url.parse::<Uri>().map_err(|error| error.to_string())?;
        let request = ClientRequestBuilder::new(uri);
        let request = self
            .headers
            .iter()
            .fold(request, |request, (name, value)| request.with_header(name, value));
        Ok(self
            .protocols
            .iter()
            .fold(request, |request, protocol| request.with_sub_protocol(protocol)))
    }

    fn check_headers(&self) -> Result<(), String> {
        use tokio_tungstenite::tungstenite::client::IntoClientRequest;
        let request = self.request(None)?;
        request.into_client_request().map(|_| ()).map_err(|error| error.to_string())
    }
}

/// Splits an address before its query, which keeps its question mark.
fn split_query(url: &str) -> (&str, &str) {
    url.split_at(url.find('?').unwrap_or(url.len()))
}

/// Splits an address without a query before its path.
fn split_path(url: &str) -> (&str, &str) {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let path = url[authority..].find('/').map_or(url.len(), |at| authority + at);
    url.split_at(path)
}

/// Length limit of an address that a server sends, in bytes.
const MAX_URL: usize = 2_048;

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;

    use super::*;

    fn parse(url: &str) -> Result<Address, ConnectError> {
        Address::parse(url, &ClientOptions::new())
    }

    #[test]
    fn an_address_says_where_to_connect_to() {
        let at = |url| {
            let address = parse(url).unwrap();
            (address.host, address.port, address.is_secure)
        };
        assert_eq!(at("ws://localhost:8080/room"), ("localhost".to_owned(), 8080, false));
        assert_eq!(at("http://[::1]/room"), ("::1".to_owned(), 80, false));
        #[cfg(feature = "tls")]
        assert_eq!(at("https://call.example?a=b"), ("call.example".to_owned(), 443, true));
        for wrong in ["", "localhost", "ftp://localhost", "ws://", "ws://a b", "ws://localhost:x"] {
            assert!(matches!(parse(wrong), Err(ConnectError::Address(_))), "{wrong}");
        }
        for (name, value) in [("a b", "c"), ("a", "b\nc")] {
            let options = ClientOptions::new().header(name, value);
            let wrong = Address::parse("ws://localhost", &options);
            assert!(matches!(wrong, Err(ConnectError::Address(_))), "{name}");
        }
    }

    #[test]
    fn the_request_has_the_token_the_headers_and_the_protocols() {
        let options = ClientOptions::new().header("name", "me").protocol("a").protocol("b");
        let request = |url, token| {
            let address = Address::parse(url, &options).unwrap();
            address.request(token).unwrap().into_client_request().unwrap()
        };

        assert_eq!(request("ws://h/r#x", None).uri(), "ws://h/r");
        assert_eq!(request("http://h/r#x", Some("T-1")).uri(), "ws://h/r?resume=T-1");
        let both = request("ws://h/r?a=b", Some("T-1"));
        assert_eq!(both.uri(), "ws://h/r?a=b&resume=T-1");
        assert_eq!(both.headers()["name"], "me");
        assert_eq!(both.headers()["sec-websocket-protocol"], "a, b");
    }
    #[test]
    fn a_server_sends_a_client_where_it_may_go_and_with_what_it_has() {
        let options = ClientOptions::new().header("name", "me");
        let to = |from: &str, url: &str| {
            let moved = Address::parse(from, &options).unwrap().moved_to(url)?;
            let request = moved.request(None).unwrap().into_client_request().unwrap();
            assert_eq!(request.headers()["name"], "me");
            Some(moved.url)
        };
        let here = "ws://a/socket/r?name=x";

        assert_eq!(to(here, "ws://b").unwrap(), "ws://b/socket/r?name=x");
        assert_eq!(to(here, "http://b:81/").unwrap(), "ws://b:81/socket/r?name=x");
        assert_eq!(to(here, "ws://b/other").unwrap(), "ws://b/other?name=x");
        assert_eq!(to(here, "ws://b/other?token=1#x").unwrap(), "ws://b/other?token=1");
        assert_eq!(to("ws://a", "ws://b").unwrap(), "ws://b");
        for wrong in ["", "b", "/socket", "ftp://b", "ws://", "ws://u:p@b", "ws://b:x"] {
            assert_eq!(to(here, wrong), None, "{wrong}");
        }
        assert_eq!(to(here, &format!("ws://b/{}", "x".repeat(MAX_URL))), None);
        #[cfg(feature = "tls")]
        {
            assert_eq!(to("wss://a/r", "ws://b"), None, "in the clear");
            assert_eq!(to("wss://a/r", "https://b").unwrap(), "wss://b/r");
            assert_eq!(to("ws://a/r", "wss://b").unwrap(), "wss://b/r");
        }
    }
}
