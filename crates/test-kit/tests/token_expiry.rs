//! Sessions and the JSON Web Tokens that they began with, in virtual time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::{App, HttpRequest};
use callboard_client::{Client, ClientEvent, ClientOptions, ClientState};
use callboard_room_supervisor::*;
use callboard_signaling::jwt::{JwtClaims, JwtExpiry, JwtVerifier, bearer};
use callboard_signaling::*;
use callboard_test_kit::{TestServer, single_threaded_rooms};
use serde_json::json;
use signer::Signer;
use tokio::time::Instant;

#[path = "../../signaling/tests/jwt/signer.rs"]
#[allow(dead_code, reason = "one algorithm is enough here")]
mod signer;

struct Hall;

impl Room for Hall {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

/// A peer that ends with its token, or outlives it.
struct Guest {
    claims: JwtClaims,
    ends: bool,
    _expiry: Option<JwtExpiry>,
}

impl Peer for Guest {
    /// The verifier, and whether sessions end with their tokens.
    type Options = (JwtVerifier, bool);

    fn parse_request(request: &HttpRequest) -> Result<JoinRequest, Rejection> {
        let credentials = bearer(request);
        Ok(JoinRequest { credentials, room: "hall".to_owned(), ..JoinRequest::default() })
    }

    async fn on_init(
        _: &InitContext,
        auth: &AuthData,
        (jwt, ends): &Self::Options,
    ) -> Result<PeerInit<Self>, Rejection> {
        let claims = jwt.verify(auth)?;
        Ok(claims.peer_init(Self { claims: claims.clone(), ends: *ends, _expiry: None }))
    }

    fn on_joined(&mut self, context: &PeerContext) {
        self._expiry = self.ends.then(|| self.claims.close_at_expiry(&context.client));
    }
}

/// Starts a server, and a client whose token expires in an hour.
async fn start(ends: bool) -> (TestServer, Client) {
    tokio::time::pause();
    let [signer, ..] = Signer::all();
    let rooms = single_threaded_rooms().build();
    rooms.start().await.unwrap();
    rooms.start_supervised(RoomOptions::<Hall>::new("hall", ())).await.unwrap();
    let options = PeerOptions::<Guest>::new((signer.verifier(), ends), rooms.clone());
    let signaling = Signaling::new(options.resume_grace(Duration::from_secs(60)));
    let server = TestServer::start(|| App::new().configure(signaling.at(&["/hall"]))).await;
    #[expect(clippy::disallowed_methods, reason = "a token expires by the calendar")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let token = signer.token(&json!({ "sub": "ann", "exp": now + 3_600 }));
    let options = ClientOptions::new().header("authorization", format!("Bearer {token}"));
    let client = server.client("/hall", options).await.unwrap();
    (server, client)
}

async fn resume(client: &mut Client) {
    client.cut();
    while client.next_event().await.expect("not closed") != ClientEvent::Resumed {}
}

#[actix::test]
async fn a_session_ends_with_its_token_also_one_that_was_resumed() {
    let (_server, mut client) = start(true).await;
    let began = Instant::now();
    resume(&mut client).await;

    let closed = loop {
        match client.next_event().await.expect("a state first") {
            ClientEvent::State(change) if change.state == ClientState::Closed => break change,
            _ => {}
        }
    };

    assert_eq!((closed.code, &*closed.reason), (Some(4001), "token expired"));
    let lasted = began.elapsed();
    // The hour and the leeway of 30 s, without what this machine took to connect.
    assert!((3_000..=3_635).contains(&lasted.as_secs()), "{lasted:?}");
}

#[actix::test]
async fn otherwise_a_session_outlives_its_token() {
    let (_server, mut client) = start(false).await;

    tokio::time::sleep(Duration::from_secs(7_200)).await;

    assert_eq!(client.state(), ClientState::Open);
    resume(&mut client).await;
}
