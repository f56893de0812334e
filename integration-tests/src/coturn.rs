//! Real STUN and TURN server: coturn, from Debian's package of that name.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::namespace::Namespace;
use crate::wait::{Moment, until};
use crate::{program, stun};

/// Running `turnserver`, killed when dropped. A failing test shows its output.
///
/// It serves STUN and TURN over UDP and TCP on one port, and over TLS (and DTLS) on another.
#[derive(Debug)]
pub struct Coturn {
    options: CoturnOptions,
    ports: Ports,
    /// Folder of the certificate, the key, the log and the database.
    folder: TempDir,
    /// The process; none while it is killed.
    child: Option<Child>,
}

/// Options of [`Coturn`]. The default is on the loopback address of the test's own network, with the user [`USER`].
#[derive(Debug, Clone)]
pub struct CoturnOptions {
    /// The network that it listens in. Default: that of the thread that makes the options.
    pub namespace: Namespace,
    /// The address that it listens and relays on, in that network. Default: 127.0.0.1.
    pub address: Ipv4Addr,
    /// Credentials that may allocate. Default: [`USER`] with [`PASSWORD`].
    pub access: Access,
    /// More arguments of `turnserver`, such as `--max-allocate-lifetime=10`. Default: none.
    pub arguments: Vec<String>,
}

impl Default for CoturnOptions {
    fn default() -> Self {
        Self {
            namespace: Namespace::current(),
            address: Ipv4Addr::LOCALHOST,
            access: Access::User { name: USER.to_owned(), password: PASSWORD.to_owned() },
            arguments: Vec::new(),
        }
    }
}

/// Credentials that may allocate.
#[derive(Debug, Clone)]
pub enum Access {
    /// One user, with a long-term password.
    User {
        /// The user's name.
        name: String,
        /// The password.
        password: String,
    },
    /// Any user name that contains an expiry, with its HMAC by this secret as the password (`use-auth-secret`).
    Secret(String),
}

impl Coturn {
    /// Starts coturn on free ports and waits until it answers a STUN binding request.
    ///
    /// # Panics
    ///
    /// When coturn is not installed or does not answer, with its output.
    pub async fn start(options: CoturnOptions) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        write_certificate(folder.path(), options.address);
        let ports = options.namespace.run(|| Ports::free(options.address));
        let mut coturn = Self { options, ports, folder, child: None };
        coturn.restart().await;
        coturn
    }

    /// Starts it again, on the same ports and with the same certificate; kills it first if it runs.
    ///
    /// # Panics
    ///
    /// When it does not answer, with its output.
    pub async fn restart(&mut self) {
        self.kill().await;
        self.child = Some(self.spawn());
        until("coturn's answer", START_TIME, async || {
            // A new socket for each attempt: an ICMP message for the last one says nothing about this one.
            let socket = self.options.namespace.udp_socket((self.options.address, 0));
            match stun::mapped_address(&socket, self.address(), ANSWER_TIME).await {
                Ok(Some(_)) => Moment::Now(()),
                other => Moment::NotYet(format!("{other:?}; coturn wrote: {}", self.written())),
            }
        })
        .await;
    }

    /// Kills it at once (SIGKILL): its allocations are lost, and clients are not told. Does nothing
    /// if it is killed already.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("coturn can be killed");
        }
    }

    /// Returns the address of STUN and TURN over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        (self.options.address, self.ports.plain).into()
    }

    /// Returns the address of TURN over TLS.
    pub fn tls_address(&self) -> SocketAddr {
        (self.options.address, self.ports.tls).into()
    }

    /// Returns `stun:ADDRESS:PORT`.
    pub fn stun_url(&self) -> String {
        format!("stun:{}", self.address())
    }

    /// Returns `turn:ADDRESS:PORT?transport=…`, with `udp` or `tcp`.
    pub fn turn_url(&self, transport: &str) -> String {
        format!("turn:{}?transport={transport}", self.address())
    }

    /// Returns `turns:ADDRESS:PORT?transport=tcp`.
    pub fn turns_url(&self) -> String {
        format!("turns:{}?transport=tcp", self.tls_address())
    }

    /// Returns the path of its self-signed certificate (PEM), whose names are `localhost` and its address.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join(CERTIFICATE)
    }

    /// Returns its output since its first start.
    pub fn written(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }

    fn spawn(&self) -> Child {
        let file = |name| self.folder.path().join(name).display().to_string();
        let log = std::fs::File::options().append(true).create(true).open(file(LOG));
        let log = log.expect("a log in the temporary folder");
        let CoturnOptions { namespace, address, access, arguments } = &self.options;
        let program = program::of_the_machine("turnserver", "coturn");
        let mut command = Command::from(namespace.command(program));
        command
            // No configuration file, no administration port, nothing outside the folder.
            .args(["-n", "--no-cli", "--verbose", "--log-file=stdout", "--simple-log"])
            .arg(format!("--userdb={}", file("users")))
            .arg(format!("--pidfile={}", file("pid")))
            .arg(format!("--listening-ip={address}"))
            .arg(format!("--relay-ip={address}"))
            .arg(format!("--listening-port={}", self.ports.plain))
            .arg(format!("--tls-listening-port={}", self.ports.tls))
            .arg(format!("--cert={}", file(CERTIFICATE)))
            .arg(format!("--pkey={}", file(KEY)))
            .arg(format!("--realm={REALM}"))
            .args(["--fingerprint", "--relay-threads=1"]);
        match access {
            Access::User { name, password } => {
                command.args(["--lt-cred-mech", &format!("--user={name}:{password}")])
            }
            Access::Secret(secret) => {
                command.args(["--use-auth-secret", &format!("--static-auth-secret={secret}")])
            }
        };
        if address.is_loopback() {
            command.arg("--allow-loopback-peers");
        }
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("one more handle of the log"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("nsenter and setpriv, which come with util-linux, start")
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        if thread::panicking() {
            let written = self.written();
            let lines: Vec<_> = written.lines().collect();
            let tail = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            println!("---- coturn wrote at last:\n{}", tail.join("\n"));
        }
    }
}

#[derive(Debug)]
struct Ports {
    plain: u16,
    tls: u16,
}

impl Ports {
    /// Finds two ports that are free for UDP and TCP. The test has the network to itself, so they stay free.
    fn free(address: Ipv4Addr) -> Self {
        let (_held, plain) = both(address);
        let (_held_too, tls) = both(address);
        Self { plain, tls }
    }
}

fn both(address: Ipv4Addr) -> ((UdpSocket, TcpListener), u16) {
    for _ in 0..100 {
        let udp = UdpSocket::bind((address, 0)).expect("a socket on coturn's address");
        let port = udp.local_addr().expect("a bound socket").port();
        if let Ok(tcp) = TcpListener::bind((address, port)) {
            return ((udp, tcp), port);
        }
    }
    panic!("no port on {address} is free for both UDP and TCP");
}

fn write_certificate(folder: &Path, address: Ipv4Addr) {
    let names = vec!["localhost".to_owned(), address.to_string()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    for (name, pem) in [(CERTIFICATE, made.cert.pem()), (KEY, made.signing_key.serialize_pem())] {
        std::fs::write(folder.join(name), pem).expect("a file in the temporary folder");
    }
}

/// The user that the default options admit.
pub const USER: &str = "alice";

/// The password of [`USER`].
pub const PASSWORD: &str = "open sesame";

/// The realm of its challenges.
pub const REALM: &str = "callboard.test";

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
const LOG: &str = "log";

/// Longest time from its start until it answers.
const START_TIME: Duration = crate::PATIENCE;

/// Longest time of one answer on one machine.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// Number of lines of its log that a failing test shows.
const SHOWN_LINES: usize = 60;
