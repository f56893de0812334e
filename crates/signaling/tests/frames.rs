//! Frames that break the WebSocket protocol (RFC 6455), on both servers, before and after joining.

mod common;

use std::time::Duration;

use callboard_signaling::{Count, Rate};
use common::Server;
use common::away::counted;
use common::raw::{RawClient, cpu_time, frame, header, request, resident};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

/// The whole process is measured: one test at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn servers() -> [Server; 2] {
    Server::start_both(|options| options).await
}

/// Connects a client that has joined, or one whose join the room leaves undecided.
async fn client(server: &Server, joined: bool) -> RawClient {
    let (path, name) =
        if joined { ("/socket/demo", "somebody") } else { ("/socket/other", "undecided") };
    let mut client = RawClient::open(&server.address, path, name, b"").await;
    if joined {
        assert!(client.text().await.contains("authenticated"));
    }
    client
}

/// Name, frames, and the expected close code.
type Violation = (&'static str, Vec<u8>, u16);

fn violations() -> Vec<Violation> {
    let start = || frame(0x01, b"a");
    let close = |code: u16| frame(0x88, &code.to_be_bytes());
    let mut all = vec![
        ("RSV1", frame(0xc1, b"ping"), 1002),
        ("RSV2", frame(0xa1, b"ping"), 1002),
        ("RSV3", frame(0x91, b"ping"), 1002),
        ("all RSV, on a ping", frame(0xf9, b""), 1002),
        ("unmasked text", b"\x81\x04ping".to_vec(), 1002),
        ("unmasked ping", b"\x89\x00".to_vec(), 1002),
        ("long ping", frame(0x89, &[0; 126]), 1002),
        ("long close", frame(0x88, &[0; 126]), 1002),
        ("long pong of 64 KiB", frame(0x8a, &[0; 65_536]), 1002),
        ("fragmented ping", frame(0x09, b""), 1002),
        ("fragmented close", frame(0x08, b""), 1002),
        ("continuation of nothing", frame(0x80, b"a"), 1002),
        ("unfinished continuation of nothing", frame(0x00, b"a"), 1002),
        ("text in a message", [start(), frame(0x81, b"b")].concat(), 1002),
        ("binary in a message", [start(), frame(0x02, b"b")].concat(), 1002),
        ("16 bits for 125", b"\x81\xfe\x00\x7d\0\0\0\0".to_vec(), 1002),
        ("64 bits for 65,535", b"\x81\xff\0\0\0\0\0\0\xff\xff\0\0\0\0".to_vec(), 1002),
        ("2^63 bytes", b"\x81\xff\x80\0\0\0\0\0\0\0\0\0\0\0".to_vec(), 1002),
        ("2^64 - 1 bytes", b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec(), 1002),
        ("close of one byte", frame(0x88, b"\x03"), 1002),
        (
            "text that is not UTF-8",
            frame(0x81, b"{\"event\":\"a\",\"to\":\"all\",\"data\":\"\xff\"}"),
            1007,
        ),
        ("text with a surrogate", frame(0x81, b"\xed\xa0\x80"), 1007),
        ("text that ends in a code point", frame(0x81, b"\xe2\x82"), 1007),
        ("fragment that is not UTF-8", frame(0x01, b"a\xff"), 1007),
        (
            "message that ends in a code point",
            [frame(0x01, b"\xe2"), frame(0x80, b"\x82")].concat(),
            1007,
        ),
        ("reason that is not UTF-8", frame(0x88, b"\x03\xe8\xff"), 1007),
        ("text of limit + 1", header(0x81, 65_537), 1009),
        ("binary of limit + 1", header(0x82, 65_537), 1009),
        ("2^32 bytes", header(0x81, 1 << 32), 1009),
        ("2^40 bytes", header(0x81, 1 << 40), 1009),
        ("2^63 - 1 bytes", header(0x82, (1 << 63) - 1), 1009),
        (
            "fragments of limit + 1",
            [frame(0x01, &[b'x'; 40_000]), header(0x80, 25_537)].concat(),
            1009,
        ),
        (
            "fragments and a ping between them",
            [start(), frame(0x89, b"p"), header(0x00, 65_536)].concat(),
            1009,
        ),
    ];
    all.extend((3..8).map(|opcode| ("reserved data opcode", frame(0x80 | opcode, b""), 1002)));
    all.extend((11..16).map(|opcode| ("reserved control opcode", frame(0x80 | opcode, b""), 1002)));
    let codes = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    all.extend(codes.map(|code| ("reserved close code", close(code), 1002)));
    all
}

#[actix::test]
async fn every_violation_is_closed_with_its_code_at_once_and_costs_no_cpu() {
    let _alone = ALONE.lock().await;
    let mut ended = Vec::new();
    // None of their limits ends a connection before the test does.
    let servers = Server::start_both(|options| options.close_grace(20 * AT_ONCE)).await;
    for server in servers {
        for joined in [true, false] {
            let at_once =
                violations().into_iter().map(|violation| violate(&server, joined, violation));
            ended.extend(join_all(at_once).await);
        }
        counted(&server, Count::Ended, server.counters.get(Count::Opened)).await;
    }

    // CPU time that they use while nothing happens.
    let before = cpu_time();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent = cpu_time() - before;
    assert!(spent < Duration::from_millis(500), "{spent:?} in 2 s for {} clients", ended.len());
}

/// Longest time: on a busy machine; and a small part of each limit of the server.
const AT_ONCE: Duration = Duration::from_secs(30);

/// Sends one to the server, which must end the connection with its code. Returns the client, still open on its side.
async fn violate(server: &Server, joined: bool, (name, bytes, code): Violation) -> RawClient {
    let mut client = client(server, joined).await;
    let began = Instant::now();

    client.write(&bytes).await;

    let (closed, last) = client.close_code().await;
    let took = began.elapsed();
    assert!(took < AT_ONCE, "{name}, joined: {joined}: {took:?}");
    assert_eq!(closed, code, "{name}, joined: {joined}");
    assert_eq!(last.contains("Message too large"), code == 1009, "{name}: {last}");
    client
}

#[actix::test]
async fn what_came_before_a_violation_is_delivered() {
    let _alone = ALONE.lock().await;
    for server in servers().await {
        let (mut other, _) = server.join().await;
        let mut client = client(&server, true).await;
        other.expect("joined").await;

        let said = json!({ "event": "last words", "to": "all" }).to_string();
        client.write(&[frame(0x81, said.as_bytes()), frame(0xc1, b"more")].concat()).await;

        assert_eq!(client.close_code().await.0, 1002);
        other.expect("last words").await;
        other.expect("left").await;
    }
}

#[actix::test]
async fn good_frames_cut_anyhow_are_answered() {
    let _alone = ALONE.lock().await;
    for server in servers().await {
        let mut client = client(&server, true).await;
        let echo = json!({ "event": "echo", "data": "ä€😀", "to": "all" });
        let said =
            [frame(0x81, b"ping"), frame(0x89, b"?"), frame(0x01, b"pi"), frame(0x80, b"ng")];

        for byte in said.concat() {
            assert!(client.write(&[byte]).await);
        }
        for _ in 0..2 {
            assert_eq!(client.text().await, "pong");
        }
        // In frames of one byte, also within code points.
        let (mut listener, _) = server.join().await;
        assert!(client.text().await.contains("joined"));
        let text = echo.to_string();
        let (last, others) = text.as_bytes().split_last().unwrap();
        let mut fragments = vec![frame(0x01, b"")];
        fragments.extend(others.iter().map(|byte| frame(0x00, &[*byte])));
        fragments.push(frame(0x80, &[*last]));
        assert!(client.write(&fragments.concat()).await);
        assert_eq!(listener.expect("echo").await, "ä€😀");

        assert!(client.write(&frame(0x88, b"\x03\xe8")).await);
        assert_eq!(client.close_code().await.0, 1000);
    }
}

#[actix::test]
async fn a_frame_that_never_ends_takes_no_memory() {
    let _alone = ALONE.lock().await;
    let some = vec![b'x'; 1 << 20];
    for server in servers().await {
        for joined in [true, false] {
            for length in [65_537, 1 << 24, 1 << 40, (1 << 63) - 1] {
                let mut endless = client(&server, joined).await;
                let before = resident();

                // The header byte by byte, then as much as the server reads until the connection ends.
                for byte in header(0x81, length) {
                    endless.write(&[byte]).await;
                }
                let mut sent = 0;
                while endless.write(&some).await {
                    sent += 1;
                    let grown = resident().saturating_sub(before);
                    assert!(grown < 4 << 20, "grew by {grown} bytes for {sent} MiB of {length}");
                }
            }
        }
    }
}

#[actix::test]
async fn a_frame_as_large_as_the_limit_is_taken_and_one_byte_more_is_not() {
    let _alone = ALONE.lock().await;
    for size in [100, 1_000, 65_536, 1 << 20] {
        for server in Server::start_both(|options| options.max_message(size)).await {
            let mut client = client(&server, true).await;
            let text = |fill| json!({ "event": "x", "to": [], "data": fill }).to_string();
            let message = text("x".repeat(size - text(String::new()).len()));
            assert_eq!(message.len(), size);

            assert!(client.write(&frame(0x81, message.as_bytes())).await);

            assert!(client.text().await.contains("Invalid message"), "it addresses nobody");
            assert!(client.write(&header(0x81, size as u64 + 1)).await);
            let (code, last) = client.close_code().await;
            assert_eq!((code, last.contains(&format!("{{\"max_bytes\":{size}}}"))), (1009, true));
        }
    }
}

#[actix::test]
async fn empty_fragments_and_pings_count_against_the_rate() {
    let _alone = ALONE.lock().await;
    let flood = |first: u8, next: u8, payload: &[u8]| {
        let next = frame(next, payload);
        [frame(first, payload), next.repeat(100_000)].concat()
    };
    let floods = [
        ("empty fragments", flood(0x01, 0x00, b"")),
        ("fragments of a byte", flood(0x02, 0x00, b"x")),
        ("pings", flood(0x89, 0x89, b"")),
        ("pongs", flood(0x8a, 0x8a, b"x")),
        ("empty binary messages", flood(0x82, 0x82, b"")),
    ];
    for server in servers().await {
        for joined in [true, false] {
            for (name, flood) in &floods {
                let mut client = client(&server, joined).await;
                // The server need not read all of it.
                client.write(flood).await;
                assert_eq!(client.close_code().await.0, 1008, "{name}, joined: {joined}");
            }
        }
    }
}

#[actix::test]
async fn a_large_frame_counts_against_the_rate_before_it_ends() {
    let _alone = ALONE.lock().await;
    let rate = Rate { burst_bytes: 1 << 20, bytes_per_second: 1 << 10, ..Rate::default() };
    for server in Server::start_both(|options| options.max_message(1 << 30).rate(rate)).await {
        for joined in [true, false] {
            let mut client = client(&server, joined).await;

            client.write(&header(0x81, 1 << 30)).await;
            client.write(&vec![b'x'; 8 << 20]).await;

            assert_eq!(client.close_code().await.0, 1008, "joined: {joined}");
        }
    }
}

#[actix::test]
async fn endless_fragments_of_one_message_take_no_more_memory_than_it_may() {
    const MAX: usize = 256 << 10;
    let _alone = ALONE.lock().await;
    for server in Server::start_both(|options| options.max_message(MAX).rate(Rate::UNLIMITED)).await
    {
        for joined in [true, false] {
            for size in [0, 1, 100, 16 << 10] {
                let mut client = client(&server, joined).await;
                let fragment = frame(0x00, &vec![b'x'; size]);
                let some = fragment.repeat((64 << 10) / fragment.len() + 1);
                let before = resident();

                assert!(client.write(&frame(0x01, b"x")).await);
                // Until the connection ends; or as many empty ones as would show up if each took a few bytes.
                let (mut sent, most) = (0, if size == 0 { 2 << 20 } else { usize::MAX });
                while sent < most && client.write(&some).await {
                    sent += some.len();
                    let grown = resident().saturating_sub(before);
                    assert!(grown < 4 << 20, "grew by {grown} bytes for {sent}, {size} each");
                }

                if size == 0 && joined {
                    // All of them are within the message's limit.
                    assert!(client.write(&header(0x80, MAX as u64)).await);
                    let (code, last) = client.close_code().await;
                    assert_eq!((code, last.contains("Message too large")), (1009, true));
                }
            }
        }
    }
}

#[actix::test]
async fn what_waits_for_a_peer_is_bounded_in_bytes() {
    let _alone = ALONE.lock().await;
    for server in
        Server::start_both(|options| options.max_message(1 << 20).rate(Rate::UNLIMITED)).await
    {
        let mut early = client(&server, false).await;
        let message = frame(0x81, &vec![b'x'; 300_000]);

        early.write(&message.repeat(4)).await;

        assert_eq!(early.close_code().await.0, 1008);
    }
}

#[actix::test]
async fn what_comes_before_a_client_is_accepted_is_not_read() {
    const CLIENTS: usize = 16;
    let _alone = ALONE.lock().await;
    // actix-http reads ahead into two buffers of 128 KiB, which may be twice as large.
    for (server, most) in servers().await.into_iter().zip([640 << 10, 64 << 10]) {
        let request = request(&server.address, "/socket/demo", "name: endless\r\n");
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(RawClient::send(&server.address, request.as_bytes()).await);
        }
        let much = vec![b'x'; 32 << 20];
        let (before, began) = (resident(), cpu_time());

        let floods = clients.iter_mut().map(|client| client.write(&much));
        let floods = join_all(floods);
        let taken = tokio::time::timeout(Duration::from_secs(2), floods).await;

        assert!(taken.is_err(), "the clients wait");
        let grown = resident().saturating_sub(before);
        assert!(grown < CLIENTS * most, "grew by {grown} bytes");
        assert!(cpu_time() - began < Duration::from_secs(1), "{:?}", cpu_time() - began);
    }
}

#[actix::test]
async fn only_version_13_and_good_keys_open_a_websocket() {
    let _alone = ALONE.lock().await;
    for server in servers().await {
        let address = &server.address;
        let cases = [
            ("sec-websocket-version: 13\r\n", "", 426),
            ("version: 13", "version: 8", 426),
            ("version: 13", "version: 7", 426),
            ("version: 13", "version: thirteen", 426),
            (
                "sec-websocket-version: 13\r\n",
                "sec-websocket-version: 13\r\nsec-websocket-version: 8\r\n",
                426,
            ),
            ("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "13", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWFi", 400),
            (
                "sec-websocket-key:",
                "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-key:",
                400,
            ),
        ];
        for (old, new, status) in cases {
            let request = request(address, "/socket/demo", "").replace(old, new);
            let mut client = RawClient::send(address, request.as_bytes()).await;

            let head = client.head().await.to_ascii_lowercase();

            assert!(head.starts_with(&format!("http/1.1 {status} ")), "{new}: {head}");
            assert_eq!(head.contains("sec-websocket-version: 13"), status == 426, "{new}: {head}");
        }
    }
}
