//! Tests of the program from outside: what it serves, what it refuses, and how it ends.

mod common;

use std::io::Write;

use common::{ANY_PORT, Program, run};

const RIGHT: &str = r#"Cookie: credentials={"username":"USERNAME","password":"PASSWORD"}"#;

#[tokio::test]
async fn pages_are_served_with_headers_that_keep_strangers_out() {
    let program = Program::start(&ANY_PORT).await;

    for (path, status, text) in [
        ("/", 200, "<form"),
        ("/room", 200, "id=\"status\""),
        ("/other", 200, "id=\"status\""),
        ("/nowhere", 404, "no such room"),
        ("/a/b", 404, "no such room"),
        ("/static/call.js", 200, "import"),
        ("/static/../Cargo.toml", 404, ""),
        ("/static/nothing.js", 404, ""),
    ] {
        let (got, answer) = program.get(path, "").await;
        assert_eq!(got, status, "{path}");
        assert!(answer.contains(text), "{path}: {answer}");
        let answer = answer.to_lowercase();
        assert!(answer.contains("x-content-type-options: nosniff"), "{path}");
        assert!(answer.contains("content-security-policy: default-src 'none'"), "{path}");
        assert!(!answer.contains("unsafe-inline"), "{path}");
    }
}

#[tokio::test]
async fn credentials_are_asked_for_before_anything_is_told() {
    let program = Program::start(&ANY_PORT).await;
    let encoded = "Cookie: credentials=%7B%22username%22%3A%22USERNAME%22%2C%22password%22%3A%22PASSWORD%22%7D";
    let wrong = RIGHT.replace("PASSWORD", "password");

    for (room, cookie, check, socket) in [
        ("room", "", 400, 400),
        ("room", "Cookie: credentials=garbage", 400, 400),
        ("room", &wrong, 401, 401),
        ("nowhere", &wrong, 401, 401),
        ("nowhere", RIGHT, 404, 404),
        ("room", RIGHT, 200, 101),
        ("room", encoded, 200, 101),
    ] {
        let cookie = if cookie.is_empty() { String::new() } else { format!("{cookie}\r\n") };
        assert_eq!(
            program.get(&format!("/check/{room}"), &cookie).await.0,
            check,
            "{room} {cookie}"
        );
        for path in ["/socket", "/webrtc"] {
            let path = format!("{path}/{room}");
            assert_eq!(program.upgrade(&path, &cookie).await, socket, "{path} {cookie}");
        }
    }
}

#[tokio::test]
async fn pages_of_the_origins_that_are_named_open_websockets_and_no_others() {
    let named =
        [&ANY_PORT[..], &["--origin", "https://call.example", "--origin", "http://b.example"]];
    for (arguments, of_its_own, of_a_named) in
        [(ANY_PORT.to_vec(), 101, 403), (named.concat(), 403, 101)]
    {
        let program = Program::start(&arguments).await;
        let own = format!("http://{}", program.address);

        for (origin, status) in [
            (&*own, of_its_own),
            ("https://call.example", of_a_named),
            ("http://b.example", of_a_named),
            ("http://call.example", 403),
            ("https://call.example.evil.com", 403),
            ("null", 403),
        ] {
            let headers = format!("{RIGHT}\r\nOrigin: {origin}\r\n");
            let got = program.upgrade("/socket/room", &headers).await;
            assert_eq!(got, status, "{arguments:?} {origin}");
        }
    }
}

#[tokio::test]
async fn passwords_are_not_tried_one_after_the_other() {
    let program =
        Program::start(&[&ANY_PORT[..], &["--trusted-proxy", "127.0.0.1"]].concat()).await;
    let guess = RIGHT.replace("PASSWORD", "password");
    let headers = format!("{guess}\r\nX-Forwarded-For: 192.0.2.1\r\n");
    let mut statuses = Vec::new();
    // One more is admitted every second, so a slow machine takes more than 65.
    while !statuses.contains(&429) && statuses.len() < 1_000 {
        statuses.push(program.get("/check/room", &headers).await.0);
        statuses.push(program.upgrade("/socket/room", &headers).await);
    }

    assert_eq!(statuses[..64], [401; 64]);
    assert!(statuses.contains(&429), "{statuses:?}");
    let right = format!("{RIGHT}\r\nX-Forwarded-For: 192.0.2.2\r\n");
    assert_eq!(program.get("/check/room", &right).await.0, 200, "nobody else has to wait");
}

#[tokio::test]
async fn those_who_may_come_in_are_told_the_stun_and_turn_servers() {
    let turn =
        ["--ice-server", "turn:turn.example,user,secret", "--ice-server", "stun:stun.example"];
    let program = Program::start(&[&ANY_PORT[..], &turn[..]].concat()).await;

    let (status, answer) = program.get("/check/room", &format!("{RIGHT}\r\n")).await;
    assert_eq!(status, 200);
    for part in ["turn:turn.example:3478", r#""credential":"secret""#, "stun:stun.example"] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    assert!(!program.get("/check/room", "").await.1.contains("turn"));
}

#[tokio::test]
async fn a_signal_ends_it_in_good_order() {
    for signal in ["-TERM", "-INT"] {
        let mut program = Program::start(&ANY_PORT).await;

        program.signal(signal);

        assert_eq!(program.ended().await.code(), Some(0), "{signal}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_ends_it_with_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = |text: &str| {
        let path = folder.path().join("config.toml");
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (text, what) in [
        ("[[rooms]]\nname = \"a\"\nmax_peers = 0\n", "config.toml:3: room \"a\" admits no peer"),
        ("[[rooms]]\nname = \"a\"\nmax_peer = 2\n", "config.toml:3: unknown field `max_peer`"),
        (
            "[[rooms]]\nname = \"a\"\nmax_peers = 2\n[[rooms]]\nname = \"a\"\nmax_peers = 2\n",
            "config.toml:5: room \"a\" is there twice",
        ),
        ("nonsense", "config.toml:1:"),
    ] {
        let (code, said) = run(&["--config", &file(text)]).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(what), "{said}");
    }
    for (arguments, what) in [
        (&["--config", "/nowhere.toml"][..], "/nowhere.toml: No such file"),
        (&["--tls-cert", "/cert.pem"][..], "--tls-key"),
        (&["--tls-cert", "/cert.pem", "--tls-key", "/key.pem"][..], "/cert.pem"),
        (&["--listen", "somewhere"][..], "somewhere"),
    ] {
        let (code, said) = run(arguments).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(what), "{said}");
    }
    let (code, said) = run(&["--help"]).await;
    assert!(code == Some(0) && said.contains("--drain-seconds"), "{said}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_said_and_ends_it_with_code_1() {
    let program = Program::start(&ANY_PORT).await;

    let (code, said) = run(&["--listen", &program.address]).await;

    assert_eq!(code, Some(1));
    assert!(said.contains(&program.address) && said.contains("in use"), "{said}");
}

#[tokio::test]
async fn with_a_certificate_it_serves_https() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let arguments = [
        &ANY_PORT[..],
        &["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()],
    ]
    .concat();

    let mut program = Program::start(&arguments).await;

    assert_eq!(program.scheme, "https");
    program.signal("-TERM");
    assert_eq!(program.ended().await.code(), Some(0));
}
