//! Tokens in the requests of clients: where they are found, and what a refusal tells.

use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::{App, HttpRequest, HttpServer};
use callboard_room_supervisor::*;
use callboard_signaling::jwt::{JwtVerifier, bearer, bearer_or_query};
use callboard_signaling::*;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::signer::Signer;

struct Hall;

impl Room for Hall {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }

    async fn on_join(&mut self, auth: &AuthData, _: &RoomContext) -> Result<(), Rejection> {
        assert_eq!(auth.public.get("sub"), Some(json!("ann")), "the room knows who it is");
        Ok(())
    }
}

struct Guest;

impl Peer for Guest {
    type Options = JwtVerifier;

    fn parse_request(request: &HttpRequest) -> Result<JoinRequest, Rejection> {
        let credentials = match request.path() {
            "/query" => bearer_or_query(request, "token"),
            _ => bearer(request),
        };
        Ok(JoinRequest { credentials, room: "hall".to_owned(), ..JoinRequest::default() })
    }

    async fn on_init(
        _: &InitContext,
        auth: &AuthData,
        jwt: &JwtVerifier,
    ) -> Result<PeerInit<Self>, Rejection> {
        Ok(jwt.verify(auth)?.peer_init(Self))
    }
}

/// Starts a server; returns its address.
async fn serve(jwt: JwtVerifier) -> String {
    let rooms = Rooms::new();
    rooms.start().await.expect("nothing to go wrong");
    rooms.start_supervised(RoomOptions::<Hall>::new("hall", ())).await.expect("a free name");
    let options = PeerOptions::<Guest>::new(jwt, rooms).protocols(&["callboard"]);
    let signaling = Signaling::new(options.guesses_per_address(8, Duration::from_secs(3_600)));
    let app = move || App::new().configure(signaling.at(&["/headers", "/query"]));
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = tune(HttpServer::new(app).workers(1).disable_signals());
    actix_web::rt::spawn(server.listen(listener).expect("a listener").run());
    address
}

/// Connects; returns the chosen subprotocol, or status and body of the refusal.
async fn connect(
    address: &str,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<Option<String>, (u16, Value)> {
    let mut request = format!("ws://{address}{path}").into_client_request().expect("an address");
    for &(name, value) in headers {
        request.headers_mut().append(name, value.parse().expect("a header value"));
    }
    match connect_async(request).await {
        Ok((mut socket, response)) => {
            let first = socket.next().await.expect("a message").expect("the connection is open");
            assert!(first.to_text().expect("text").contains("authenticated"), "{first}");
            let protocol = response.headers().get("sec-websocket-protocol");
            Ok(protocol.map(|protocol| protocol.to_str().expect("ASCII").to_owned()))
        }
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            Err((response.status().as_u16(), serde_json::from_slice(body).unwrap_or_default()))
        }
        Err(error) => panic!("{error}"),
    }
}

fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a token expires by the calendar")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Keeps what is logged, but for what the clients of this test log themselves.
struct Log;

static LOGGED: Mutex<String> = Mutex::new(String::new());

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if !record.target().starts_with("tungstenite") && !record.target().starts_with("tokio_tung")
        {
            let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
            logged.push_str(&format!("{} {}\n", record.target(), record.args()));
        }
    }

    fn flush(&self) {}
}

#[actix_web::test]
async fn a_token_is_read_where_clients_can_put_it_and_shown_nowhere() {
    log::set_logger(&Log).expect("the first logger");
    log::set_max_level(log::LevelFilter::Trace);
    let [signer, ..] = Signer::all();
    let address = serve(signer.verifier()).await;
    let good = signer.token(&json!({ "sub": "ann", "exp": now() + 3_600 }));
    let old = signer.token(&json!({ "sub": "ann", "exp": now() - 3_600 }));
    let header = |token: &str| format!("Bearer {token}");
    let offer = |token: &str| format!("callboard, bearer.{token}");
    let query = |path: &str, token: &str| format!("{path}?a=b&token={token}");
    let [by_header, by_offer] = ["authorization", "sec-websocket-protocol"];

    let lower_case = format!("bearer {good}");
    assert_eq!(connect(&address, "/headers", &[(by_header, &header(&good))]).await, Ok(None));
    assert_eq!(connect(&address, "/headers", &[(by_header, &lower_case)]).await, Ok(None));
    let offered = connect(&address, "/headers", &[(by_offer, &offer(&good))]).await;
    assert_eq!(offered, Ok(Some("callboard".to_owned())), "the token is never chosen");
    assert_eq!(connect(&address, &query("/query", &good), &[]).await, Ok(None));
    let both = connect(&address, &query("/query", &old), &[(by_header, &header(&good))]).await;
    assert_eq!(both, Ok(None), "the header decides");

    let refused = |detail: &str| Err((401, json!({ "error": "unauthorized", "detail": detail })));
    let basic = format!("Basic {good}");
    for (path, headers, detail) in [
        ("/headers".to_owned(), vec![], "no token"),
        ("/headers".to_owned(), vec![(by_header, &*basic)], "no token"),
        (query("/headers", &good), vec![], "no token"),
        ("/headers".to_owned(), vec![(by_header, &*header(&old))], "token expired"),
        ("/headers".to_owned(), vec![(by_offer, &*offer(&old))], "token expired"),
        (query("/query", &old), vec![], "token expired"),
        (query("/query", "x"), vec![], "malformed token"),
        (
            "/headers".to_owned(),
            vec![(by_header, &*header(&format!("{good}x")))],
            "wrong signature",
        ),
    ] {
        assert_eq!(connect(&address, &path, &headers).await, refused(detail), "{path}");
    }
    let guessed = connect(&address, "/headers", &[(by_header, &header(&good))]).await;
    assert_eq!(guessed.map_err(|(status, _)| status), Err(429), "eight wrong ones were enough");

    let logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(logged.contains("unauthorized"), "{logged}");
    for token in [good, old] {
        for secret in token.split('.').skip(1) {
            assert!(!logged.contains(secret), "a part of a token is in the log");
        }
    }
}
