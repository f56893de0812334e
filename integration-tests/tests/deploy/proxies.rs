//! The sites for nginx and Caddy, each as a real proxy in front of a real server.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use callboard_client::{Client, ClientOptions, ConnectError};
use integration_tests::{Moment, PATIENCE, in_network_namespace, network, program, until};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::logged::Logged;
use super::{replaced, text};

#[test]
fn nginx_passes_upgrades_on_and_says_whose_they_are() {
    in_network_namespace(async || {
        works_behind(|folder| {
            // One process, as one user, with all its files in one folder.
            let site = text("nginx.conf");
            let site = replaced(&site, "    listen [::]:443 ssl;\n", "");
            let site = with_certificate(&site, folder);
            let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {kind};\n"));
            let main = format!(
                "daemon off;\nmaster_process off;\nuser root;\npid nginx.pid;\nevents {{}}\n\
                 http {{\naccess_log off;\n{}{site}}}\n",
                paths.concat()
            );
            fs::write(folder.join("nginx.conf"), main).expect("there is room");
            let mut nginx = proxy("nginx", "nginx-light");
            nginx.arg("-p").arg(folder).args(["-c", "nginx.conf", "-e", "stderr"]);
            nginx
        })
        .await;
    });
}

#[test]
fn caddy_passes_upgrades_on_and_says_whose_they_are() {
    in_network_namespace(async || {
        works_behind(|folder| {
            let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
            let tls = format!("tls {} {}", certificate.display(), key.display());
            let site = text("Caddyfile");
            let site = replaced(&site, "call.example {\n", &format!("call.example {{\n\t{tls}\n"));
            fs::write(folder.join("Caddyfile"), format!("{{\n\tadmin off\n}}\n{site}"))
                .expect("there is room");
            let mut caddy = proxy("caddy", "caddy");
            caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(folder.join("Caddyfile"));
            caddy.env("HOME", folder).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
            caddy
        })
        .await;
    });
}

/// A server behind this proxy, and clients that go through it, or past it.
async fn works_behind(command: impl FnOnce(&Path) -> Command) {
    let folder = tempfile::tempdir().expect("a folder");
    let tls = certify(&folder);
    // It listens on all addresses, so that clients can go past the proxy too.
    let server = Logged::start(
        "supervisor-tree",
        "info",
        &["--listen", "0.0.0.0:8080", "--origin", ORIGIN, "--trusted-proxy", "127.0.0.1"],
    )
    .await;
    let _proxy: Child = command(folder.path()).spawn().expect("it starts");
    until("the proxy", PATIENCE, async || match page(&tls, "/demo").await {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => Moment::Now(()),
        other => Moment::NotYet(format!("{other:?}")),
    })
    .await;

    // A client that claims to be another one, in both ways.
    let forged = || {
        let options = ClientOptions::new().header("x-forwarded-for", "192.0.2.66");
        options.header("forwarded", "for=192.0.2.66")
    };
    let client = through(&tls, "/socket/demo", forged().header("origin", ORIGIN)).await;
    let client = client.expect("it is admitted");
    let words = client.call("demo", "echo", ["through the proxy"]).await.expect("an answer");
    assert_eq!(words, serde_json::json!(["through the proxy"]));

    let strange = forged().header("origin", "https://evil.example");
    refused(through(&tls, "/socket/demo", strange).await, 403);
    let no_name = "x".repeat(1_000);
    let past = format!("ws://{}:8080/socket/{no_name}", network::ADDRESS);
    let options = ClientOptions::new().header("x-forwarded-for", "192.0.2.77");
    refused(Client::connect(&past, options.header("origin", ORIGIN)).await, 400);

    drop(client);
    let log = server.end().await;
    let refusals: Vec<&str> = log.lines().filter(|line| line.contains("refused")).collect();
    assert_eq!(refusals.len(), 2, "{log}");
    let client = format!("\"message\":\"{}: ", network::ADDRESS);
    assert!(refusals.iter().all(|line| line.contains(&client)), "{log}");
    assert!(!log.contains("192.0.2."), "{log}");
}

#[track_caller]
fn refused(outcome: Result<Client, ConnectError>, status: u16) {
    match outcome {
        Err(ConnectError::Refused(refusal)) if refusal.status == status => {}
        other => panic!("{other:?}"),
    }
}

/// Writes a certificate and its key into the folder; returns what trusts it.
fn certify(folder: &TempDir) -> TlsConnector {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([HOST.to_owned()]).expect("a certificate");
    fs::write(folder.path().join("cert.pem"), cert.pem()).expect("there is room");
    fs::write(folder.path().join("key.pem"), signing_key.serialize_pem()).expect("there is room");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(cert)).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// Returns this site with the certificate of the test.
fn with_certificate(site: &str, folder: &Path) -> String {
    let live = "/etc/letsencrypt/live/call.example";
    let path = |file: &str| folder.join(file).to_str().expect("text").to_owned();
    let site = replaced(site, &format!("{live}/fullchain.pem"), &path("cert.pem"));
    replaced(&site, &format!("{live}/privkey.pem"), &path("key.pem"))
}

/// Returns the command of a proxy, which ends with the test.
fn proxy(name: &str, package: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program::of_the_machine(name, package));
    // Its log would be mixed with the test's output.
    command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

/// Opens a connection to the proxy from another address than the proxy's own to the server.
async fn open(tls: &TlsConnector) -> io::Result<TlsStream<TcpStream>> {
    let address: Ipv4Addr = network::ADDRESS.parse().expect("an address");
    let tcp = TcpStream::connect((address, 443)).await?;
    tls.connect(ServerName::try_from(HOST).expect("a name"), tcp).await
}

/// Joins a room through the proxy.
async fn through(
    tls: &TlsConnector,
    path: &str,
    options: ClientOptions,
) -> Result<Client, ConnectError> {
    let tls = tls.clone();
    let open = move || {
        let tls = tls.clone();
        async move { open(&tls).await }
    };
    Client::connect_over(&format!("ws://{HOST}{path}"), options, open).await
}

/// Returns the answer to a request through the proxy.
async fn page(tls: &TlsConnector, path: &str) -> io::Result<String> {
    let mut connection = open(tls).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

const HOST: &str = "call.example";
const ORIGIN: &str = "https://call.example";
