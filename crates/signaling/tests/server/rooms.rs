//! Rooms and peers, as an application reaches them: by their context, and from its own HTTP handlers.

use actix_web::web::{self, Data, Json, Path};
use actix_web::{App, HttpResponse, HttpServer};
use callboard_peer_connection::{ConnectionEvent, DataChannelMessage};
use callboard_room_supervisor::{PeerId, Rooms, To};
use callboard_signaling::RoomPeers;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::rtc::{RtcClient, webrtc};
use crate::common::{RELAYED, Server, Spread, TestRoom};

#[actix::test]
async fn public_metadata_of_a_peer_is_known_to_those_who_are_there_and_who_come() {
    let server = Server::start(|options| options).await;
    let (mut first, _) = server.join().await;

    let mut ann = server.connect(&[("name", "Ann")]).await.unwrap();

    let welcome = ann.expect("authenticated").await;
    let id = welcome["peer_id"].as_str().unwrap().to_owned();
    assert_eq!(welcome.get("metadata"), None, "the other one has none");
    let joined = first.expect("joined").await;
    assert_eq!(joined, json!({ "peer_id": id, "metadata": { "name": "Ann" } }));
    let (_third, welcome) = server.enter().await;
    assert_eq!(welcome["peers"].as_array().unwrap().len(), 2);
    assert_eq!(welcome["metadata"], json!({ id: { "name": "Ann" } }));
    let room = server.rooms.lookup("demo").unwrap();
    let names: Vec<_> =
        room.members().iter().filter_map(|member| member.public().get("name")).collect();
    assert_eq!(names, ["Ann"]);
}

#[actix::test]
async fn a_room_sends_on_the_data_channels_of_its_members() {
    let given = webrtc().await;
    let server = Server::start(move |options| options.webrtc(given)).await;
    let mut client = RtcClient::join(&server).await;
    client.open("bytes").await;
    client
        .until("channel at the server", |it| it.events("webrtc:channel_open").next().is_some())
        .await;
    let (mut without, _) = server.join().await;
    let room = server.rooms.lookup("demo").unwrap();

    server.rooms.tell::<TestRoom, _>("demo", Spread(vec![1, 2, 3])).unwrap();

    let bytes = DataChannelMessage::Binary(vec![1, 2, 3].into());
    client
        .until("bytes", |it| {
            it.told.iter().any(|event| {
                matches!(event, ConnectionEvent::DataChannelMessage { message, .. } if *message == bytes)
            })
        })
        .await;
    let empty = DataChannelMessage::Text(String::new());
    assert_eq!(room.send_data("bytes", To::All, empty), 0, "neither by channel nor by WebSocket");
    let text = DataChannelMessage::Text("hello".to_owned());
    assert_eq!(room.send_data("bytes", To::All, text), 2);
    let data = without.expect("webrtc:data").await;
    assert_eq!(data, json!({ "channel": "bytes", "data": "hello" }), "it has no channel");
    let place = DataChannelMessage::Text("1,2".to_owned());
    assert_eq!(room.send_lossy("bytes", To::All, place.clone(), 1_000), 1, "one has a channel");
    assert_eq!(
        room.send_lossy("bytes", To::All, DataChannelMessage::Text(String::new()), 1_000),
        0
    );
    client
        .until("a place", |it| {
            it.told.iter().any(|event| {
                matches!(event, ConnectionEvent::DataChannelMessage { message, .. } if *message == place)
            })
        })
        .await;
    let id: PeerId = client.ws.id.parse().unwrap();
    assert!(room.peer(id).unwrap().connection().is_some());
    assert!(room.peer(PeerId::random()).is_none());
}

#[actix::test]
async fn a_peer_has_a_peer_connection_of_its_own_configuration() {
    let given = webrtc().await;
    let server = Server::start(move |options| options.webrtc(given)).await;
    let mut client = RtcClient::join(&server).await;
    client.channel("chat").await;

    RELAYED.lock().unwrap().push(client.ws.id.clone());
    client.offer().await;

    client.until("all candidates", |it| it.events("webrtc:ice").any(Value::is_null)).await;
    assert_eq!(client.events("webrtc:ice").count(), 1, "there are no relays");
}

#[actix::test]
async fn an_http_handler_lists_rooms_and_speaks_to_rooms_and_peers() {
    let server = Server::start(|options| options).await;
    let (mut a, _) = server.join().await;
    let (mut b, _) = server.join().await;
    a.expect("joined").await;
    let api = Api::serve(server.rooms.clone());

    let (status, mut list) = api.request("GET", "/rooms", None).await;
    list.as_array_mut().unwrap().sort_by_key(|room| room["name"].to_string());
    assert_eq!((status, &list[0]), (200, &json!({ "name": "demo", "members": 2 })));
    let (status, _) = api.request("POST", "/rooms/demo", Some(json!("to the room"))).await;
    assert_eq!(status, 204);
    assert_eq!(a.expect("news").await, "to the room");
    assert_eq!(b.expect("news").await, "to the room");
    let (status, _) = api.request("POST", &format!("/peers/{}", b.id), Some(json!("to one"))).await;
    assert_eq!(status, 204);
    assert_eq!(b.expect("news").await, "to one");
    let path = format!("/peers/{}", PeerId::random());
    assert_eq!(api.request("POST", &path, Some(json!("to nobody"))).await.0, 404);
    assert_eq!(api.request("POST", "/rooms/nowhere", Some(json!("x"))).await.0, 404);

    assert_eq!(api.request("DELETE", &format!("/peers/{}", a.id), None).await.0, 204);
    a.expect_close(4001).await;
    assert_eq!(b.expect("left").await, json!({ "peer_id": a.id }));
    assert_eq!(api.request("DELETE", "/rooms/demo", None).await.0, 204);
    b.expect_error("Room closed").await;
    b.expect_close(1000).await;
    assert_eq!(api.request("DELETE", "/rooms/demo", None).await.0, 404);
}

/// An application's own HTTP routes beside the rooms.
struct Api {
    address: String,
}

impl Api {
    fn serve(rooms: Rooms) -> Self {
        let app = move || {
            App::new()
                .app_data(Data::new(rooms.clone()))
                .route("/rooms", web::get().to(list))
                .route("/rooms/{room}", web::post().to(tell_room))
                .route("/rooms/{room}", web::delete().to(close_room))
                .route("/peers/{peer}", web::post().to(tell_peer))
                .route("/peers/{peer}", web::delete().to(kick_peer))
        };
        let server = HttpServer::new(app).workers(1).disable_signals();
        let server = server.bind("127.0.0.1:0").expect("a port");
        let address = server.addrs()[0].to_string();
        actix_web::rt::spawn(server.run());
        Self { address }
    }

    /// Returns the status and the body of an answer.
    async fn request(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let mut stream = tokio::net::TcpStream::connect(&self.address).await.expect("it listens");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len(),
        );
        stream.write_all(request.as_bytes()).await.expect("open");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        (status, serde_json::from_str(body).unwrap_or_default())
    }
}

async fn list(rooms: Data<Rooms>) -> HttpResponse {
    let rooms = rooms.list();
    let rooms: Vec<_> =
        rooms.iter().map(|room| json!({ "name": room.name(), "members": room.len() })).collect();
    HttpResponse::Ok().json(rooms)
}

async fn tell_room(rooms: Data<Rooms>, room: Path<String>, news: Json<Value>) -> HttpResponse {
    done(rooms.send(&room, To::All, "news", &news.0).is_ok())
}

async fn tell_peer(rooms: Data<Rooms>, peer: Path<PeerId>, news: Json<Value>) -> HttpResponse {
    done(rooms.send_to_peer(*peer, "news", &news.0).is_ok())
}

async fn kick_peer(rooms: Data<Rooms>, peer: Path<PeerId>) -> HttpResponse {
    let room = rooms.find_peer(*peer);
    done(room.is_some_and(|room| room.kick(*peer, 4001, "by the operator").is_ok()))
}

async fn close_room(rooms: Data<Rooms>, room: Path<String>) -> HttpResponse {
    done(rooms.close(&room, "by the operator").await)
}

fn done(done: bool) -> HttpResponse {
    if done { HttpResponse::NoContent() } else { HttpResponse::NotFound() }.finish()
}
