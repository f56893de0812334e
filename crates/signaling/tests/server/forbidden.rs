//! Refused clients: names, pages, addresses behind proxies, guesses.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::Server;

#[actix::test]
async fn a_page_whose_name_was_made_to_lead_here_opens_no_websocket() {
    for server in Server::start_both(|options| options).await {
        let port = server.address.rsplit_once(':').unwrap().1.to_owned();
        for (host, origin, status) in [
            (server.address.clone(), format!("http://{}", server.address), 101),
            (format!("localhost:{port}"), format!("http://localhost:{port}"), 101),
            (format!("LOCALHOST:{port}"), format!("http://localhost:{port}"), 101),
            ("evil.com".into(), "http://evil.com".into(), 403),
            (format!("evil.com:{port}"), format!("http://evil.com:{port}"), 403),
            ("localhost.".into(), "http://localhost.".into(), 403),
            ("[::1].evil.com".into(), "http://[::1].evil.com".into(), 403),
            ("localhost:evil.com".into(), "http://localhost:evil.com".into(), 403),
            ("127.0.0.1:80@evil.com".into(), "http://127.0.0.1:80@evil.com".into(), 403),
            ("0x7f.1".into(), "http://0x7f.1".into(), 403),
            (format!("localhost:{port}"), "http://evil.com".into(), 403),
            (format!("localhost:{port}\r\nHost: evil.com"), "http://evil.com".into(), 400),
        ] {
            let headers = format!("Host: {host}\r\nOrigin: {origin}\r\n");
            let (got, body) = server.ask("/socket/demo", &headers).await;
            assert_eq!(got, status, "{host} {origin}: {body}");
        }
        // Without a `Host`, with the one in the target, and with both.
        let ask = async |target: &str, headers: &str| server.ask(target, headers).await.0;
        let target = format!("http://localhost:{port}/socket/demo");
        let origin = format!("Origin: http://localhost:{port}\r\n");
        assert_eq!(ask("/socket/demo", &origin).await, 400);
        assert_eq!(ask(&target, &format!("Host: localhost:{port}\r\n{origin}")).await, 101);
        let evil = "Host: localhost\r\nOrigin: http://evil.com\r\n";
        assert_eq!(ask("http://evil.com/socket/demo", evil).await, 403);
        // Not a page: a program that calls the server by any name.
        assert_eq!(ask("/socket/demo", "Host: call.example\r\n").await, 101);
    }
}

#[actix::test]
async fn a_refusal_says_what_was_expected() {
    let server = Server::start(|options| options).await;
    let headers = "Host: 127.0.0.1:80\r\nOrigin: https://call.example\r\n";
    let detail = "the page's origin is https://call.example; expected https://127.0.0.1:80, for that is the Host of the request";
    let expected = json!({ "error": "forbidden_origin", "detail": detail });
    assert_eq!(server.ask("/socket/demo", headers).await, (403, expected));

    let headers = "Host: evil.com\r\nOrigin: http://evil.com\r\n";
    let (status, body) = server.ask("/socket/demo", headers).await;
    assert_eq!((status, &body["error"]), (403, &json!("forbidden_host")));
    assert!(body["detail"].as_str().unwrap().contains("expected localhost"), "{body}");

    let server = Server::start(|options| options.hosts(["call.example"])).await;
    assert_eq!(server.ask("/socket/demo", "Host: Call.Example:8080\r\n").await.0, 101);
    assert_eq!(server.ask("/socket/demo", "Host: localhost\r\n").await.0, 403);
}

#[actix::test]
async fn behind_a_trusted_proxy_each_client_counts_by_its_own_address() {
    for server in Server::start_both(|options| {
        options.trusted_proxies("127.0.0.1".parse().unwrap()).max_connections_per_address(1)
    })
    .await
    {
        let one = server.connect(&[("x-forwarded-for", "127.0.0.1, 192.0.2.1")]).await.unwrap();
        let two = server.connect(&[("forwarded", "for=\"[2001:db8::1]:80\"")]).await.unwrap();

        let same =
            server.refusal("/socket/demo", &[("x-forwarded-for", "6.6.6.6, 192.0.2.1")]).await;
        assert_eq!(same.0, 429, "what a client says of itself is not believed");
        let same = server.refusal("/socket/demo", &[("forwarded", "for=\"[2001:db8::2]\"")]).await;
        assert_eq!(same.0, 429, "a subscriber has a whole /64");
        let both = [("x-forwarded-for", "192.0.2.9"), ("forwarded", "for=192.0.2.8")];
        assert_eq!(server.refusal("/socket/demo", &both).await.0, 400);
        // At the proxy, the server is known by its names.
        let headers =
            "Host: call.example\r\nOrigin: https://call.example\r\nX-Forwarded-For: 192.0.2.7\r\n";
        assert_eq!(server.ask("/socket/demo", headers).await.0, 101);
        drop((one, two));
    }
    let server = Server::start(|options| options.max_connections_per_address(1)).await;
    let _one = server.connect(&[("x-forwarded-for", "192.0.2.1")]).await.unwrap();
    assert_eq!(server.refusal("/socket/demo", &[("x-forwarded-for", "192.0.2.2")]).await.0, 429);
}

#[actix::test]
async fn a_client_that_guesses_tokens_has_to_wait_and_no_other() {
    for server in Server::start_both(|options| {
        let proxies = "127.0.0.1".parse().unwrap();
        let options = options.resume_grace(Duration::from_secs(60)).trusted_proxies(proxies);
        options.guesses_per_address(4, Duration::from_secs(3_600))
    })
    .await
    {
        for header in ["192.0.2.1", "192.0.2.2"] {
            let from = ("x-forwarded-for", header);
            for guess in 0..2 {
                let path = format!("/socket/demo?resume={guess}");
                assert_eq!(server.refusal(&path, &[from]).await.0, 410);
                assert_eq!(
                    server.refusal("/socket/demo", &[from, ("name", "impostor")]).await.0,
                    401
                );
            }
            for (path, name) in [
                ("/socket/demo?resume=5", "a"),
                ("/socket/demo", "impostor"),
                ("/socket/demo", "a"),
            ] {
                let (status, body) = server.refusal(path, &[from, ("name", name)]).await;
                assert_eq!((status, &body["error"]), (429, &json!("too_many_attempts")), "{path}");
            }
        }
        server.connect(&[("x-forwarded-for", "192.0.2.3")]).await.expect("another one is let in");
        let answer =
            server.answer("/socket/demo", "Host: a\r\nX-Forwarded-For: 192.0.2.1\r\n").await;
        let (_, wait) = answer.split_once("retry-after: ").expect("when to try again");
        let wait: u64 = wait.split("\r\n").next().unwrap().parse().expect("seconds");
        // An hour after the first guess.
        assert!((3_000..=3_600).contains(&wait), "{answer}");
    }
}

impl Server {
    /// Sends an upgrade request; returns the status and the body.
    async fn ask(&self, target: &str, headers: &str) -> (u16, Value) {
        let answer = self.answer(target, headers).await;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (answer[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }

    async fn answer(&self, target: &str, headers: &str) -> String {
        let mut tcp = TcpStream::connect(&self.address).await.unwrap();
        let asks = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let request = format!("GET {target} HTTP/1.1\r\n{headers}{asks}\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let whole = |answer: &[u8]| {
            let text = String::from_utf8_lossy(answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            body.len() >= length.map_or(0, |length| length.parse().unwrap())
        };
        let reading =
            async { while !whole(&answer) && tcp.read_buf(&mut answer).await.unwrap() > 0 {} };
        tokio::time::timeout(Duration::from_secs(30), reading).await.expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }
}
