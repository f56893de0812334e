//! Memory that a client can make the server hold before its input is checked: TLS, JSON, descriptions, hooks. The tests
//! measure the resident memory of the process, which includes the clients, or the allocated bytes.
#![cfg(all(feature = "rpc", feature = "webrtc"))]

mod common;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use callboard_room_supervisor::MessageLimits;
use callboard_signaling::rpc::{HookContext, Hooks};
use callboard_signaling::*;
use common::Server;
use common::raw::{RawClient, header, resident};
use common::rtc::webrtc;
use futures_util::future::join_all;
use peak_alloc::PeakAlloc;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;
/// The whole process is measured: one test at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Starts the same app over TLS on both servers.
fn tls_servers(folder: &std::path::Path) -> ([SocketAddr; 2], CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    let config = tls::server_config(certificate, key).unwrap();

    let app = || App::new().route("/", web::get().to(HttpResponse::Ok));
    let tuned = tune(HttpServer::new(app).workers(1).disable_signals());
    let tuned = tuned.bind_rustls_0_23(("127.0.0.1", 0), config.clone()).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addresses = [tuned.addrs()[0], listener.local_addr().unwrap()];
    actix_web::rt::spawn(tuned.run());
    let light = actix_server::Server::build().workers(1).disable_signals();
    let service = move || https_service(app, config.clone());
    actix_web::rt::spawn(light.listen("light", listener, service).unwrap().run());
    (addresses, made.cert.der().clone())
}

fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3], &length[..], payload].concat()
}

/// Returns invalid or endless handshakes, longer than the server ever reads.
fn bad_handshakes() -> Vec<(&'static str, Vec<u8>)> {
    // The start of a ClientHello of 16 MiB, of 64 KiB, and of nothing.
    let (huge, large, empty) = (&[1, 255, 255, 255][..], &[1, 0, 255, 255][..], &[1, 0, 0, 0][..]);
    let filled = |start: Vec<u8>, more: &[u8]| {
        let more = more.repeat((SENT - start.len()) / more.len());
        [start, more].concat()
    };
    let single = |first: &[u8]| -> Vec<u8> {
        first.iter().flat_map(|byte| record(HANDSHAKE, &[*byte])).collect()
    };
    let (whole, byte) = (record(HANDSHAKE, &[0; 16_384]), record(HANDSHAKE, &[0]));
    vec![
        ("a message of 16 MiB", filled(record(HANDSHAKE, huge), &whole)),
        ("the same in pieces of a byte", filled(single(huge), &byte)),
        ("64 KiB in pieces of a byte", filled(single(large), &byte)),
        ("records of nothing", filled(vec![], &record(HANDSHAKE, &[]))),
        ("hellos of nothing", filled(vec![], &record(HANDSHAKE, empty))),
        ("changes of cipher", filled(vec![], &record(20, &[1]))),
        ("warnings", filled(vec![], &record(21, &[1, 0]))),
        ("data", filled(vec![], &record(23, &[7; 16_384]))),
        ("a record of 64 KiB", filled(vec![HANDSHAKE, 3, 3, 255, 255], &[0])),
        ("no TLS", filled(vec![], b"GET / HTTP/1.1\r\nx: ")),
        ("zeros", filled(vec![], &[0])),
    ]
}

#[actix::test]
async fn a_tls_handshake_that_never_ends_takes_little_memory_and_ends() {
    const CLIENTS: usize = 16;
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let (addresses, _) = tls_servers(folder.path());
    let handshakes = bad_handshakes();
    let before = resident();
    forget_peak();
    for address in addresses {
        let address = address.to_string();
        for (name, bytes) in &handshakes {
            let clients = (0..CLIENTS).map(async |_| {
                let mut client = RawClient::send(&address, &bytes[..1]).await;
                // All, or as much as the server accepts.
                client.write(&bytes[1..]).await;
                client.ends().await
            });
            join_all(clients).await;
            // 64 MiB that were held would show.
            let most = peak().saturating_sub(before);
            assert!(
                most < CLIENTS * (256 << 10) + SLACK,
                "{CLIENTS} clients, {name}: {most} bytes"
            );
        }
    }
}

#[actix::test]
async fn a_tls_client_that_says_nothing_or_stops_in_the_middle_is_cut() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let (addresses, certificate) = tls_servers(folder.path());
    for address in addresses {
        let starts: Vec<Vec<u8>> = vec![
            vec![],
            vec![HANDSHAKE],
            record(HANDSHAKE, &[0; 16_384])[..16_388].to_vec(),
            [&[1, 0, 255, 255][..], &[0; 16_000]].concat(),
        ];
        let before = resident();
        let cut = starts.iter().cycle().take(200).map(async |start| {
            RawClient::send(&address.to_string(), start).await.ends().await;
        });
        join_all(cut).await;
        let grown = resident().saturating_sub(before);
        assert!(grown < 200 * (64 << 10), "{grown} bytes");

        // A client that completes the handshake, and then sends nothing, or an endless head.
        for said in [&b""[..], b"GET / HTTP/1.1\r\nhost: loc"] {
            let mut tls = through_tls(address, &certificate).await;
            tls.write_all(said).await.unwrap();
            // With or without a 408.
            let end = timeout(PATIENCE, tls.read_to_end(&mut Vec::new())).await;
            end.expect("it is cut").ok();
        }
        let before = resident();
        let mut tls = through_tls(address, &certificate).await;
        tls.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        let mut sent = 0;
        while sent < 64 << 20 && tls.write_all(&[b'x'; 65_536]).await.is_ok() {
            sent += 65_536;
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes of {sent}");
    }
}

async fn through_tls(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
}

type Make = Box<dyn Fn(usize) -> String>;

/// Returns messages that cannot be read, each of the requested size.
fn bad_messages() -> Vec<(&'static str, Make)> {
    fn list(element: &str, size: usize) -> String {
        let many = element.repeat((size - 100) / element.len());
        format!("[{}]", many.trim_end_matches(','))
    }
    fn deep(open: &str, close: &str, size: usize) -> String {
        let count = (size - 100) / (open.len() + close.len());
        open.repeat(count) + "0" + &close.repeat(count)
    }
    fn data(value: &str) -> String {
        format!(r#"{{"event":"x","to":"all","data":{value}}}"#)
    }
    fn to(value: &str) -> String {
        format!(r#"{{"event":"x","data":0,"to":{value}}}"#)
    }
    const ID: &str = r#""8c1c8d3e-0000-4000-8000-000000000000","#;
    vec![
        ("lists in lists", Box::new(|size| data(&deep("[", "]", size)))),
        ("objects in objects", Box::new(|size| data(&deep(r#"{"a":"#, "}", size)))),
        ("lists in lists in no message", Box::new(|size| deep("[", "]", size))),
        ("lists without end", Box::new(|size| "[".repeat(size))),
        ("100,000 ids", Box::new(|size| to(&list(ID, size)))),
        ("a wide list for ids", Box::new(|size| to(&list("0,", size)))),
        (
            "a wide list for an event",
            Box::new(|size| format!(r#"{{"event":{},"to":"all"}}"#, list("0,", size - 100))),
        ),
        ("no object", Box::new(|size| list("0,", size))),
        ("lists of nothing", Box::new(|size| list("[],", size))),
        (
            "a name that is long",
            Box::new(|size| format!(r#"{{"event":0,"{}":0,"to":"all"}}"#, "x".repeat(size - 100))),
        ),
        (
            "members without end",
            Box::new(|size| format!("{{{}", r#""event":"x","#.repeat(size / 12 - 1))),
        ),
        (
            "an event that is long and escaped",
            Box::new(|size| format!(r#"{{"event":"{}"}}"#, r"\u0041".repeat(size / 6 - 20))),
        ),
        ("no JSON", Box::new(|size| "x".repeat(size))),
    ]
}

#[actix::test]
async fn json_that_is_deep_or_wide_takes_no_more_than_it_has_bytes_and_is_invalid() {
    const SIZE: usize = 4 << 20;
    let _alone = ALONE.lock().await;
    let options = |options: PeerOptions<_>| {
        let depth = MessageLimits::default();
        options.max_message(SIZE).rate(Rate::UNLIMITED).message_limits(depth)
    };
    for server in [Server::start(options).await, Server::start_light(options).await] {
        let mut client = RawClient::open(&server.address, "/socket/demo", "somebody", b"").await;
        assert!(client.text().await.contains("authenticated"));
        for (name, make) in bad_messages() {
            let text = make(SIZE);
            assert!(text.len() <= SIZE && text.len() > SIZE / 2, "{name}: {}", text.len());
            let header = header(0x81, text.len() as u64);
            HEAP.reset_peak_usage();
            let before = HEAP.current_usage();
            for _ in 0..4 {
                assert!(client.write(&header).await && client.write(text.as_bytes()).await);
                let said: Value = serde_json::from_str(&client.text().await).unwrap();
                assert_eq!(said["data"]["description"], "Invalid message", "{name}: {said}");
            }
            let held = HEAP.peak_usage() - before;
            // A growing string has twice its size, and the old one beside it for a moment; add what the server reads at
            // once.
            assert!(held < 3 * SIZE + (1 << 20), "{name}: {held} bytes");
        }
    }
}

/// Counter of the calls that hold their arguments.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[actix::test]
async fn calls_of_hooks_hold_the_arguments_of_as_many_as_run() {
    const CALLS: usize = 400;
    let _alone = ALONE.lock().await;
    let holding = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&holding);
    let hooks = Hooks::builder().plugin("test", |test| {
        // Longer than it takes to send all calls.
        test.hook_within(
            "hold",
            Duration::from_secs(60),
            move |(value,): (Value,), _: HookContext| {
                count.fetch_add(1, Ordering::SeqCst);
                let held = Held(Arc::clone(&count));
                async move {
                    std::future::pending::<()>().await;
                    drop((value, held));
                    Ok::<_, Rejection>(())
                }
            },
        )
    });
    let hooks = hooks.build().unwrap();
    let server = Server::start(|options| options.hooks(hooks).rate(Rate::UNLIMITED)).await;
    let call = |id: usize, value: &str| {
        format!(r#"{{"type":"call_hook","id":{id},"plugin":"test","fn":"hold","args":[{value}]}}"#)
    };
    // Numbers and empty lists take more memory as values than as text, where they are two or three bytes.
    let (text, numbers, lists) = (
        format!("\"{}\"", "x".repeat(65_000)),
        format!("[{}0]", "0,".repeat(32_400)),
        format!("[{}[]]", "[],".repeat(21_600)),
    );
    let (mut bystander, _) = server.join().await;
    for (value, of_one) in [(text, 65_536), (numbers, 32 * 65_536), (lists, 32 * 65_536)] {
        let (mut client, _) = server.join().await;
        bystander.expect("joined").await;
        let before = resident();
        for id in 0..CALLS {
            client.text(&call(id, &value)).await;
        }
        // 16 run, and all others are refused.
        for _ in 16..CALLS {
            assert_eq!(client.message().await["error"], "overloaded");
        }
        let grown = resident().saturating_sub(before);
        assert_eq!(holding.load(Ordering::SeqCst), 16);
        assert!(grown < 16 * of_one + SLACK, "{CALLS} calls: {grown} bytes");

        drop(client);
        // So that the next one does not hear of it.
        bystander.expect("left").await;
        while holding.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    }
}

async fn server_for_descriptions() -> Server {
    let descriptions = DescriptionBudget { burst: 1_000_000, per_second: 1_000 };
    let limits = WebRtcLimits {
        descriptions,
        descriptions_per_address: descriptions,
        offers: Rate::UNLIMITED,
        ..WebRtcLimits::default()
    };
    let webrtc = webrtc().await.limits(limits);
    Server::start(|options| options.webrtc(webrtc).rate(Rate::UNLIMITED)).await
}

/// Creates an offer of one mebibyte, most of it this line.
fn large_offer(start: &str, line: &str, end: &str) -> String {
    // In JSON the end of a line takes two bytes more.
    let bytes = line.len() + 2 * line.matches("\r\n").count();
    let many = line.repeat(((1 << 20) - 4_000) / bytes);
    let sdp = format!("{start}{many}{end}");
    let text = json!({ "event": "webrtc:offer", "data": { "type": "offer", "sdp": sdp } });
    let text = text.to_string();
    assert!((1_000_000..=1 << 20).contains(&text.len()), "{line}: {}", text.len());
    text
}

const SESSION: &str = "v=0\r\no=- 7 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";
const SECTION: &str =
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n";
/// Lines that make an offer answerable.
const TRANSPORT: &str = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=ice-options:trickle\r\na=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\na=setup:actpass\r\na=sctp-port:5000\r\n";
/// Lines that fill most of a description.
const GARBAGE: [&str; 10] = [
    "a=x\r\n",
    "\r\n",
    "a=candidate:1 1 udp 2122260223 127.0.0.1 9 typ host\r\n",
    "a=candidate:\r\n",
    "a=group:BUNDLE 0\r\n",
    "a=fingerprint:sha-256 00:01\r\n",
    "a=rtpmap:96 VP8/90000\r\n",
    "a=extmap:1 urn:x\r\n",
    "a=ssrc:1 cname:x\r\n",
    "x\r\n",
];
/// The same within one line.
const WORDS: [(&str, &str); 6] = [
    ("a=group:BUNDLE ", "0 "),
    ("a=ice-options:", "a "),
    ("a=fmtp:96 ", "a=b;"),
    ("m=video 9 UDP/TLS/RTP/SAVPF ", "96 "),
    ("a=simulcast:send ", "a;"),
    ("a=msid:", "a "),
];

/// Returns offers that cannot be accepted.
fn bad_offers() -> impl Iterator<Item = String> {
    let both = format!("{SESSION}{SECTION}");
    let lines = GARBAGE
        .into_iter()
        .flat_map(move |line| [large_offer(SESSION, line, SECTION), large_offer(&both, line, "")]);
    let words = WORDS
        .into_iter()
        .map(|(first, more)| large_offer(&format!("{SESSION}{SECTION}{first}"), more, "\r\n"));
    lines.chain(words)
}

#[actix::test]
async fn descriptions_of_a_mebibyte_are_refused_and_what_they_took_is_given_back() {
    let _alone = ALONE.lock().await;
    let server = server_for_descriptions().await;
    let (mut client, _) = server.join().await;
    let before = resident();
    let mut settled = usize::MAX;
    for round in 0..4 {
        for text in bad_offers() {
            let start: String = text.chars().skip(text.len() / 2).take(60).collect();
            forget_peak();
            client.text(&text).await;
            let details = client.expect_error("WebRTC failed").await;
            assert_eq!(details["error"], "bad_description", "{start}: {details}");
            let peak = peak().saturating_sub(before);
            assert!(peak < 32 << 20, "{start}: {peak} bytes");
        }
        if round == 0 {
            settled = resident();
        }
    }
    let grown = resident().saturating_sub(settled);
    assert!(grown < SLACK, "{grown} bytes more after 78 others");
}

#[actix::test]
async fn a_connection_keeps_a_few_times_the_bytes_of_its_description_however_they_are_cut() {
    const CLIENTS: usize = 12;
    let _alone = ALONE.lock().await;
    let server = server_for_descriptions().await;
    let start = format!("{SESSION}{SECTION}{TRANSPORT}");
    for line in [format!("a=x:{}\r\n", "x".repeat(720)), format!("a=x:{}\r\n", "x".repeat(9_000))] {
        let text = large_offer(&start, &line, "");
        let before = resident();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let (mut client, _) = server.join().await;
            client.text(&text).await;
            loop {
                let told = client.message().await;
                assert_ne!(told["event"], "error", "{told}");
                if told["event"] == "webrtc:answer" {
                    break;
                }
            }
            clients.push(client);
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < CLIENTS * (8 << 20) + SLACK, "{CLIENTS} connections: {grown} bytes");
    }

    // One with more lines than any browser writes is not accepted: lines take many times their length.
    let (mut client, _) = server.join().await;
    client.text(&large_offer(&start, "a=x\r\n", "")).await;
    // The others, whose connections ended above, may leave only now.
    let told = loop {
        let told = client.message().await;
        if told["event"] != "left" {
            break told;
        }
    };
    let details = &told["data"]["details"];
    assert_eq!(details["error"], "bad_description", "{told}");
    assert!(details["detail"].as_str().unwrap().contains(" lines, of 1536"), "{told}");
}

/// Returns the peak memory of the process since the last reset, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kibibytes = line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number");
    kibibytes << 10
}

fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
}

/// Content type of TLS records with handshake messages (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// Bytes that each client sends that are not a handshake.
const SENT: usize = 4 << 20;
/// Allowance for other memory that the process allocates meanwhile.
const SLACK: usize = 8 << 20;
/// Time limit on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
