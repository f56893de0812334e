//! The prelude beside actix's: both are imported whole, and each name is used.
#![cfg(feature = "signaling")]

use actix::prelude::*;
use actix_web::{App, HttpRequest, HttpServer};
use callboard::prelude::*;

/// An actor, which needs actix's prelude.
struct Listener(Option<PeerRef>);

impl Actor for Listener {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "bool")]
struct IsThere;

impl Handler<IsThere> for Listener {
    type Result = bool;

    fn handle(&mut self, _: IsThere, _: &mut Context<Self>) -> bool {
        self.0.is_some()
    }
}

struct Hall;

impl Room for Hall {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }

    fn on_joined(&mut self, peer: PeerId, room: &RoomContext) {
        Listener(RoomPeers::peer(room, peer)).start();
    }

    fn on_forward(&mut self, message: RoomMessage, _: &RoomContext) -> Option<RoomMessage> {
        Some(message.to(To::All))
    }
}

struct Guest;

impl Peer for Guest {
    type Options = ();

    fn parse_request(_: &HttpRequest) -> Result<JoinRequest, Rejection> {
        Ok(JoinRequest { room: "hall".to_owned(), ..JoinRequest::default() })
    }

    async fn on_init(_: &InitContext, _: &AuthData, (): &()) -> Result<PeerInit<Self>, Rejection> {
        Ok(Self.into())
    }

    fn on_receive(&mut self, message: RoomMessage, _: &PeerContext) -> Option<RoomMessage> {
        Some(message)
    }
}

#[actix::test]
async fn a_server_with_both_preludes_opens_its_room() {
    let hall = || vec![RoomOptions::<Hall>::new("hall", ()).into()];
    let rooms = Rooms::builder().open_at_start(hall).build();
    let signaling = Signaling::new(PeerOptions::<Guest>::new((), rooms.clone()));
    let app = move || App::new().configure(signaling.at(&["/{room}"]));
    let server = tune(HttpServer::new(app).workers(1)).bind(("127.0.0.1", 0)).unwrap();
    // Serves until it is dropped.
    let opened = async {
        while rooms.lookup("hall").is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = run(rooms.clone(), server) => panic!("{ended:?}"),
        () = opened => {}
    }

    assert!(!Listener(None).start().send(IsThere).await.unwrap());
}

#[test]
fn the_prelude_has_no_more_than_twenty_names_and_all_are_used_here() {
    let (prelude, test) = (include_str!("../src/prelude.rs"), include_str!("prelude.rs"));
    let lists = prelude.split('{').skip(1).filter_map(|list| Some(list.split_once('}')?.0));
    let names: Vec<&str> = lists.flat_map(|list| list.split(',')).map(str::trim).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();

    assert!((15..=20).contains(&names.len()), "{names:?}");
    for name in names {
        let is_word = |text: &str| !text.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let uses = test.match_indices(name);
        let used = |(at, name): (usize, &str)| {
            is_word(&test[at + name.len()..])
                && !test[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
        };
        assert!(uses.filter(|found| used(*found)).count() > 0, "{name}");
    }
}
