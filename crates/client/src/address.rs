//! The server's address, and the upgrade request that goes there.

use tokio_tungstenite::tungstenite::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::Uri;

use crate::ClientOptions;
use crate::error::ConnectError;

/// Address of a room's WebSocket.
#[derive(Clone, Debug)]
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
}
