//! Our DTLS handshakes against OpenSSL's, in both roles.

#[path = "../../crates/ice-handshake/tests/forgery/mod.rs"]
mod forgery;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;
use forgery::{Forged, Forger};
use integration_tests::{Namespace, PATIENCE, in_network_namespace, program};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UdpSocket;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep_until, timeout};

#[test]
fn openssl_and_we_agree_on_keys_and_exchange_data() {
    in_network_namespace(async || {
        for (flag, version) in versions().await {
            for ours in [None, Some(version)] {
                for role in ROLES {
                    for (profiles, expected) in PROFILES {
                        let mut pair = Pair::new(flag, role, profiles).await;
                        pair.start(|dtls| match ours {
                            Some(version) => dtls.version(version),
                            None => dtls,
                        })
                        .await;

                        pair.connect().await;

                        let data = pair.ours.data();
                        assert_eq!(data.version, version, "{ours:?} {role:?}");
                        assert_eq!(data.srtp.as_ref().map(|keys| keys.profile), Some(expected));
                        let certificate = Fingerprint::of(&pair.certificate);
                        assert_eq!(data.peer_fingerprint.as_ref(), Some(&certificate));
                        pair.assert_same_keys().await;
                        pair.assert_data_flows().await;
                    }
                }
            }
        }
    });
}

#[test]
fn openssl_says_goodbye_and_so_do_we() {
    in_network_namespace(async || {
        for role in ROLES {
            let mut pair = connected(role).await;
            let mut out = SessionOutput::default();
            pair.ours.session.as_mut().unwrap().close(&mut out);
            assert!(!out.transmit.is_empty(), "a close_notify");
            pair.ours.transmit(out.transmit).await;
            let ended = timeout(PATIENCE, pair.openssl.child.wait()).await;
            assert!(ended.is_ok(), "{role:?}: OpenSSL goes on after a close_notify");
            if role == Role::Client {
                pair.ours.until("the close_notify that answers ours", |ours| ours.closed).await;
            }
        }

        // Only OpenSSL's client says goodbye before it ends; its server closes the socket.
        let mut pair = connected(Role::Server).await;
        pair.openssl.say("Q").await;
        pair.ours.until("a close_notify of OpenSSL's client", |ours| ours.closed).await;
    });
}

#[test]
fn openssl_with_another_certificate_is_refused() {
    in_network_namespace(async || {
        for role in ROLES {
            let mut pair = Pair::new("-dtls1_2", role, GCM_FIRST).await;
            let other = Certificate::generate().unwrap().fingerprint();
            pair.ours.start(Dtls::generate().unwrap().fingerprints([other]), role).await;

            pair.ours.until("a refusal", |ours| ours.outcome.is_some()).await;

            let outcome = pair.ours.outcome.as_ref().unwrap();
            let found = match outcome {
                Err(HandshakeError::FingerprintMismatch { found }) => found,
                other => panic!("{role:?}: {other:?}"),
            };
            assert_eq!(found, &Fingerprint::of(&pair.certificate).to_string());
            assert!(pair.ours.session.is_none());
            let ended = timeout(PATIENCE, pair.openssl.child.wait()).await;
            assert!(ended.is_ok(), "OpenSSL was not told");
        }
    });
}

#[test]
fn openssl_and_we_connect_when_one_datagram_in_ten_is_lost() {
    in_network_namespace(async || {
        for role in ROLES {
            for seed in 0..4 {
                let mut pair = Pair::new("-dtls1_2", role, GCM_FIRST).await;
                (pair.ours.random, pair.ours.loss) = (fastrand::Rng::with_seed(seed), 10);
                pair.start(|dtls| dtls).await;

                pair.connect().await;
                pair.assert_same_keys().await;

                pair.ours.loss = 0;
                pair.assert_data_flows().await;
            }
        }
    });
}

#[test]
fn openssl_and_we_connect_while_somebody_sends_different_datagrams_in_its_name() {
    in_network_namespace(async || {
        for role in ROLES {
            let kinds: &[Forged] = match role {
                Role::Client => &Forged::TO_CLIENTS,
                Role::Server => &Forged::TO_SERVERS,
            };
            for &kind in kinds {
                let mut pair = Pair::new("-dtls1_2", role, GCM_FIRST).await;
                let hello = Dtls::generate().unwrap().version(Version::Dtls12).start(Role::Client);
                let hello = match { hello }.connection_ready(now()) {
                    Step::Packets(packets) => packets[0].to_vec(),
                    step => panic!("no hello: {step:?}"),
                };
                let forger = Forger::new(kind as u64, role, hello, &pair.certificate);
                pair.ours.forger = Some((forger, kind));
                pair.start(|dtls| dtls).await;
                let began = now();

                pair.connect().await;

                println!("{role:?}, {kind:?}: {:?}", began.elapsed());
                pair.assert_same_keys().await;
                pair.assert_data_flows().await;
            }
        }
    });
}

/// Returns the versions of DTLS that this OpenSSL speaks.
async fn versions() -> Vec<(&'static str, Version)> {
    let output = Command::new(openssl()).args(["s_client", "-help"]).output().await;
    let output = output.expect("openssl starts");
    let help = [output.stdout, output.stderr].concat();
    let help = String::from_utf8_lossy(&help).into_owned();
    let mut versions = vec![("-dtls1_2", Version::Dtls12), ("-dtls1_3", Version::Dtls13)];
    versions.retain(|(flag, version)| {
        let spoken = help.contains(flag);
        if !spoken {
            println!("this OpenSSL has no {flag}: nothing is tested against it in {version:?}");
        }
        spoken
    });
    assert!(!versions.is_empty(), "{help}");
    versions
}

async fn connected(role: Role) -> Pair {
    let mut pair = Pair::new("-dtls1_2", role, GCM_FIRST).await;
    pair.start(|dtls| dtls).await;
    pair.connect().await;
    pair
}

/// OpenSSL and our handshake.
struct Pair {
    ours: Ours,
    openssl: OpenSsl,
    /// OpenSSL's certificate, DER.
    certificate: Vec<u8>,
    role: Role,
}

impl Pair {
    /// Starts OpenSSL and our side; `role` is ours.
    async fn new(version: &str, role: Role, profiles: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let params = rcgen::CertificateParams::new(vec!["openssl".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("cert.pem"), certificate.pem()).unwrap();
        fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();

        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let where_to = match role {
            Role::Client => {
                // Without `-listen` it does not answer a ClientHello that is repeated because there was no answer.
                let arguments = ["s_server", "-listen", "-naccept", "1", "-accept", "127.0.0.1:0"];
                arguments.map(str::to_owned).to_vec()
            }
            Role::Server => {
                let address = socket.local_addr().unwrap();
                vec!["s_client".to_owned(), "-connect".to_owned(), address.to_string()]
            }
        };
        let length = if profiles == GCM_FIRST { "56" } else { "60" };
        let namespace = Namespace::current();
        let mut child = Command::from(namespace.command(openssl()))
            .args(where_to)
            .args([version, "-use_srtp", profiles, "-verify", "1"])
            .args(["-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", length])
            .args(["-cert", "cert.pem", "-key", "key.pem"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("nsenter and setpriv, which come with util-linux, start");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stdin = child.stdin.take().unwrap();
        let mut openssl = OpenSsl { child, stdin, lines, _kept: (folder, namespace) };
        let peer = match role {
            Role::Client => {
                let accepts = openssl.line(|line| Some(line.strip_prefix("ACCEPT ")?.parse().ok()));
                Some(accepts.await.expect("the address of s_server"))
            }
            Role::Server => None,
        };
        let ours = Ours::new(socket, peer);
        Self { ours, openssl, certificate: certificate.der().to_vec(), role }
    }

    async fn start(&mut self, options: impl FnOnce(Dtls) -> Dtls) {
        let fingerprint = Fingerprint::of(&self.certificate);
        let dtls = Dtls::generate().unwrap().fingerprints([fingerprint]);
        self.ours.start(options(dtls), self.role).await;
    }

    async fn connect(&mut self) {
        self.ours.until("the handshake", |ours| ours.outcome.is_some()).await;
        self.ours.data();
    }

    async fn assert_same_keys(&mut self) {
        let exported = self.ours.data().srtp.as_ref().expect("SRTP keys").exported.clone();
        let exported: String = exported.iter().map(|byte| format!("{byte:02X}")).collect();
        let printed =
            self.openssl.line(|line| Some(line.trim().strip_prefix("Keying material: ")?.into()));
        let printed: String = self.ours.meanwhile(printed).await;
        assert_eq!(printed, exported);
    }

    async fn assert_data_flows(&mut self) {
        let mut out = SessionOutput::default();
        let session = self.ours.session.as_mut().expect("a session");
        session.send(now(), b"a word of ours\n", &mut out);
        self.ours.transmit(out.transmit).await;
        let heard = self.openssl.line(|line| line.contains("a word of ours").then_some(()));
        self.ours.meanwhile(heard).await;

        self.openssl.say("a word of OpenSSL").await;
        self.ours
            .until("a word of OpenSSL", |ours| {
                ours.payloads.iter().any(|payload| payload == &b"a word of OpenSSL\n"[..])
            })
            .await;
    }
}

/// Running program `openssl`.
struct OpenSsl {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// The certificate and the key, and the network that it enters.
    _kept: (TempDir, Namespace),
}

impl OpenSsl {
    async fn say(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.expect("OpenSSL runs");
    }

    /// Waits for a line in which `find` finds a value.
    async fn line<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> T {
        let mut written = String::new();
        let found = timeout(PATIENCE, async {
            while let Some(line) = self.lines.next_line().await.expect("text") {
                if let Some(found) = find(&line) {
                    return Some(found);
                }
                written += &line;
                written += "\n";
            }
            None
        });
        match found.await {
            Ok(Some(found)) => found,
            other => panic!(
                "OpenSSL has {} without the line awaited:\n{written}",
                if other.is_ok() { "ended" } else { "stalled" }
            ),
        }
    }
}

/// Our side, driven in real time.
struct Ours {
    socket: UdpSocket,
    peer: Option<SocketAddr>,
    handshake: Option<Box<dyn Handshake>>,
    session: Option<Box<dyn Session>>,
    outcome: Option<Result<HandshakeData, HandshakeError>>,
    payloads: Vec<Bytes>,
    closed: bool,
    random: fastrand::Rng,
    /// Percentage of datagrams that are lost, in each direction.
    loss: u32,
    /// Forger that sends some datagrams of a kind in OpenSSL's name before each of its own.
    forger: Option<(Forger, Forged)>,
}

impl Ours {
    fn new(socket: UdpSocket, peer: Option<SocketAddr>) -> Self {
        Self {
            socket,
            peer,
            handshake: None,
            session: None,
            outcome: None,
            payloads: Vec::new(),
            closed: false,
            random: fastrand::Rng::with_seed(0),
            loss: 0,
            forger: None,
        }
    }

    async fn start(&mut self, dtls: Dtls, role: Role) {
        let step = self.handshake.insert(dtls.start(role)).connection_ready(now());
        let packets = self.take(step);
        self.transmit(packets).await;
    }

    fn data(&self) -> &DtlsData {
        match &self.outcome {
            Some(Ok(HandshakeData::Dtls(data))) => data,
            other => panic!("no DTLS data: {other:?}"),
        }
    }

    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let served = timeout(PATIENCE, async {
            while !done(self) {
                self.serve_once().await;
            }
        });
        if served.await.is_err() {
            panic!("waited in vain for {what}; there was {:?}", self.outcome);
        }
    }

    /// Serves our side until the other future is done.
    async fn meanwhile<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                it = &mut other => return it,
                () = self.serve_once() => {}
            }
        }
    }

    /// Handles one datagram or one time-out. Cancelling it loses at most a datagram, as the network may.
    async fn serve_once(&mut self) {
        let due = match (&self.handshake, &self.session) {
            (Some(handshake), _) => handshake.poll_timeout(),
            (None, Some(session)) => session.poll_timeout(),
            _ => None,
        };
        let sleep = async {
            match due {
                Some(due) => sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let mut buffer = [0; 2048];
        let received = tokio::select! {
            () = sleep => None,
            received = self.socket.recv_from(&mut buffer) => received.ok(),
        };
        let now = now();
        let packets = match received {
            Some(_) if self.random.u32(0..100) < self.loss => Vec::new(),
            Some((length, from)) => {
                self.peer = Some(from);
                let mut packets = Vec::new();
                while packets.len() < FORGED
                    && self.handshake.is_some()
                    && let Some((forger, kind)) = &mut self.forger
                {
                    packets.push(forger.forge(*kind));
                }
                packets = packets.into_iter().flat_map(|forged| self.hear(now, forged)).collect();
                packets.extend(self.hear(now, Bytes::copy_from_slice(&buffer[..length])));
                packets
            }
            None => self.handle_timeout(now),
        };
        self.transmit(packets).await;
    }

    fn hear(&mut self, now: Instant, datagram: Bytes) -> Vec<Bytes> {
        if let Some(handshake) = &mut self.handshake {
            let step = handshake.recv_from_peer(now, &datagram);
            return self.take(step);
        }
        let mut out = SessionOutput::default();
        if let Some(session) = &mut self.session {
            session.receive(now, datagram, &mut out);
        }
        self.absorb(out)
    }

    fn handle_timeout(&mut self, now: Instant) -> Vec<Bytes> {
        if let Some(handshake) = &mut self.handshake {
            let step = handshake.handle_timeout(now);
            return self.take(step);
        }
        let mut out = SessionOutput::default();
        if let Some(session) = &mut self.session {
            session.handle_timeout(now, &mut out);
        }
        self.absorb(out)
    }

    fn absorb(&mut self, out: SessionOutput) -> Vec<Bytes> {
        self.payloads.extend(out.payloads);
        self.closed |= out.closed;
        out.transmit
    }

    fn take(&mut self, step: Step) -> Vec<Bytes> {
        let (outcome, packets) = match step {
            Step::Ok => return Vec::new(),
            Step::Packets(packets) => return packets,
            Step::Finished(data) => (Ok(data), Vec::new()),
            Step::FinishedWithPackets(data, packets) => (Ok(data), packets),
            Step::Failed(error) => (Err(error), Vec::new()),
            Step::FailedWithPackets(error, packets) => (Err(error), packets),
            Step::Closed => (Err(HandshakeError::ClosedByPeer), Vec::new()),
        };
        let handshake = self.handshake.take().expect("it has just answered");
        self.session = outcome.is_ok().then(|| handshake.into_session());
        self.outcome = Some(outcome);
        packets
    }

    async fn transmit(&mut self, packets: Vec<Bytes>) {
        for packet in packets {
            if let Some(peer) = self.peer
                && self.random.u32(0..100) >= self.loss
            {
                self.socket.send_to(&packet, peer).await.expect("a datagram on loopback");
            }
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn openssl() -> PathBuf {
    program::of_the_machine("openssl", "openssl")
}

const ROLES: [Role; 2] = [Role::Client, Role::Server];

const GCM_FIRST: &str = "SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80";

/// Profiles that OpenSSL offers or takes, each with the one that is agreed on.
const PROFILES: [(&str, SrtpProfile); 2] =
    [(GCM_FIRST, SrtpProfile::Aes128Gcm), ("SRTP_AES128_CM_SHA1_80", SrtpProfile::Aes128CmSha1_80)];
/// Forged datagrams before each of OpenSSL's.
const FORGED: usize = 12;
