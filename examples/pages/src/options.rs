//! Command-line options that several examples share: addresses, proxies, STUN and TURN servers.

use std::net::IpAddr;

use callboard_peer_connection::{Configuration, PeerConnectionsOptions};
use callboard_signaling::{Peer, PeerOptions, RouteGuard, TrustedProxies};
use callboard_transport::gather::IceServer;
use callboard_transport::mux::PortChoice;
use clap::Args;

/// How peer connections of the server are reached.
#[derive(Args, Clone, Debug, Default)]
pub struct Network {
    /// Announce this address in place of the interfaces' own: the public one of a machine behind a NAT that maps one to
    /// one, or of the machine that a container runs on. Once for IPv4, once for IPv6
    #[arg(long, value_name = "IP")]
    pub announce: Vec<IpAddr>,

    /// The one UDP port of all peer connections, to be published from a container [default: any free one for each core]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub udp_port: Option<u16>,

    /// STUN and TURN servers, for the server and its page.
    #[command(flatten)]
    pub servers: IceServers,
}

/// STUN and TURN servers.
#[derive(Args, Clone, Debug, Default)]
pub struct IceServers {
    /// A STUN or TURN server, such as stun:stun.example or turn:turn.example:3478,USERNAME,PASSWORD. Everybody who may
    /// see the page gets the password. More than once for more of them
    #[arg(long = "ice-server", value_name = "URL[,USERNAME,PASSWORD]", value_parser = ice_server)]
    pub list: Vec<IceServer>,
}

/// How pages and proxies reach the server.
#[derive(Args, Clone, Debug, Default)]
pub struct Web {
    /// Let pages of this origin in, such as `https://call.example`, and no others. More than once for more of
    /// them [default: pages of the host that the request names]
    #[arg(long = "origin", value_name = "ORIGIN", value_parser = origin)]
    pub origins: Vec<String>,

    /// Believe the Forwarded and X-Forwarded-For of proxies at this address or in this network. More than once for more
    #[arg(long = "trusted-proxy", value_name = "IP[/BITS]")]
    pub proxies: Vec<TrustedProxies>,
}

impl Network {
    /// Returns whether any of these options is given.
    pub fn is_given(&self) -> bool {
        !self.announce.is_empty() || self.udp_port.is_some() || !self.servers.list.is_empty()
    }

    /// Returns the options of peer connections.
    pub fn options(&self) -> PeerConnectionsOptions {
        let mut options = PeerConnectionsOptions::default();
        options.sockets.announced = self.announce.clone();
        if let Some(port) = self.udp_port {
            // Each media thread has a port of its own.
            options.media_threads = 1;
            options.sockets.port = PortChoice::Fixed(port);
        }
        options
    }

    /// Returns a configuration of peer connections that use these servers.
    pub fn configuration(&self) -> Configuration {
        Configuration { ice_servers: self.servers.list.clone(), ..Configuration::default() }
    }
}

impl Web {
    /// Applies these options to the peers of a route.
    pub fn apply<P: Peer>(&self, options: PeerOptions<P>) -> PeerOptions<P> {
        let options = options.trusted_proxies(self.trusted_proxies());
        if self.origins.is_empty() { options } else { options.origin_list(self.origins.clone()) }
    }

    /// Returns the check for routes that are for the server's own pages.
    pub fn route_guard(&self) -> RouteGuard {
        let route_guard = RouteGuard::new().trusted_proxies(self.trusted_proxies());
        if self.origins.is_empty() {
            route_guard
        } else {
            route_guard.origin_list(self.origins.clone())
        }
    }

    /// Returns all trusted proxies.
    pub fn trusted_proxies(&self) -> TrustedProxies {
        let mut all = TrustedProxies::default();
        all.extend(self.proxies.iter().cloned());
        all
    }
}

fn ice_server(text: &str) -> Result<IceServer, String> {
    let server = match *text.splitn(3, ',').collect::<Vec<_>>() {
        [url, username, password] => IceServer::turn(url, username, password),
        [url] => IceServer::new(url),
        _ => return Err("a username goes with a password".into()),
    };
    server.map_err(|error| error.to_string())
}

fn origin(text: &str) -> Result<String, String> {
    let bare = text.strip_suffix('/').unwrap_or(text);
    let host = bare.split_once("://").map(|(_, host)| host);
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', ',']) => {
            Ok(bare.to_owned())
        }
        _ => Err("an origin is a scheme and a host, such as https://call.example".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        network: Network,
        #[command(flatten)]
        web: Web,
    }

    fn parse(arguments: &str) -> Result<Cli, String> {
        let arguments = std::iter::once("example").chain(arguments.split_whitespace());
        Cli::try_parse_from(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_said_is_set() {
        let cli = parse(
            "--announce 203.0.113.7 --announce 2001:db8::7 --udp-port 40000 --ice-server stun:stun.example \
             --ice-server turn:turn.example:3478?transport=tcp,user,pass,word --origin https://call.example/ \
             --origin http://localhost:8080 --trusted-proxy 10.0.0.0/8 --trusted-proxy ::1",
        )
        .unwrap();

        let options = cli.network.options();
        assert_eq!(options.sockets.announced.len(), 2);
        assert_eq!((options.media_threads, options.sockets.port), (1, PortChoice::Fixed(40_000)));
        let turn = &cli.network.servers.list[1];
        assert_eq!(turn.credential.as_deref(), Some("pass,word"));
        assert_eq!(cli.web.origins, ["https://call.example", "http://localhost:8080"]);
        assert_eq!(cli.web.trusted_proxies(), "10.0.0.0/8,::1".parse().unwrap());

        let options = parse("").unwrap().network.options();
        assert_eq!(options.sockets.port, PortChoice::Ephemeral);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            "--announce call.example",
            "--udp-port 0",
            "--udp-port 65536",
            "--ice-server http://stun.example",
            "--ice-server turn:turn.example",
            "--ice-server turn:turn.example,user",
            "--origin call.example",
            "--origin https://call.example/room",
            "--origin https://",
            "--trusted-proxy proxy.example",
            "--trusted-proxy 10.0.0.0/40",
        ] {
            assert!(parse(arguments).is_err(), "{arguments}");
        }
    }
}
