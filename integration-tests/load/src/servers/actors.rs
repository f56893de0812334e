//! Baseline below Callboard: bare actix-web-actors, one actor for each socket, and a table of rooms under a lock.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::*;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actix_web_actors::ws;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

#[derive(Message, Clone)]
#[rtype(result = "()")]
struct Frame(ByteString);

type Members = HashMap<Uuid, Recipient<Frame>>;
type Rooms = Arc<Mutex<HashMap<String, Members>>>;

struct Socket {
    id: Uuid,
    room: String,
    rooms: Rooms,
}

#[derive(Deserialize, Serialize)]
struct Message<'a> {
    event: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(skip_deserializing)]
    from: Option<Uuid>,
    #[serde(borrow)]
    to: &'a RawValue,
}

impl Socket {
    fn members<T>(&self, act: impl FnOnce(&mut Members) -> T) -> T {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        act(rooms.entry(self.room.clone()).or_default())
    }

    fn forward(&self, text: &str) {
        let Ok(message) = serde_json::from_str::<Message<'_>>(text) else { return };
        let message = Message { from: Some(self.id), ..message };
        let Ok(frame) = serde_json::to_string(&message) else { return };
        let (frame, to) = (Frame(frame.into()), message.to);
        self.members(|members| {
            if to.get() == "\"all\"" {
                let others = members.iter().filter(|(id, _)| **id != self.id);
                others.for_each(|(_, member)| member.do_send(frame.clone()));
            } else {
                let to: Vec<Uuid> = serde_json::from_str(to.get()).unwrap_or_default();
                to.iter()
                    .filter_map(|id| members.get(id))
                    .for_each(|member| member.do_send(frame.clone()));
            }
        });
    }

    fn announce(&self, members: &Members, event: &str) {
        let frame =
            json!({ "event": event, "data": { "peer_id": self.id }, "from": null, "to": "all" });
        let frame = Frame(frame.to_string().into());
        members.values().for_each(|member| member.do_send(frame.clone()));
    }
}

impl Actor for Socket {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let itself = ctx.address().recipient();
        self.members(|members| {
            self.announce(members, "joined");
            let peers: Vec<_> = members.keys().collect();
            let data = json!({ "peer_id": self.id, "peers": peers });
            ctx.text(
                json!({ "event": "authenticated", "data": data, "from": null, "to": [self.id] })
                    .to_string(),
            );
            members.insert(self.id, itself);
        });
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.members(|members| {
            members.remove(&self.id);
            self.announce(members, "left");
        });
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Socket {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, ctx: &mut Self::Context) {
        match message {
            Ok(ws::Message::Text(text)) => self.forward(&text),
            Ok(ws::Message::Ping(bytes)) => ctx.pong(&bytes),
            Ok(ws::Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            Ok(_) => {}
            Err(_) => ctx.stop(),
        }
    }
}

impl Handler<Frame> for Socket {
    type Result = ();

    fn handle(&mut self, Frame(text): Frame, ctx: &mut Self::Context) {
        ctx.text(text);
    }
}

async fn enter(
    request: HttpRequest,
    payload: web::Payload,
    rooms: web::Data<Rooms>,
) -> Result<HttpResponse, actix_web::Error> {
    let room = request.match_info().query("room").to_owned();
    let rooms = Arc::clone(rooms.get_ref());
    ws::WsResponseBuilder::new(Socket { id: Uuid::new_v4(), room, rooms }, &request, payload)
        .start()
}

pub(super) fn serve() -> io::Result<()> {
    actix_web::rt::System::new().block_on(async {
        let rooms = web::Data::new(Rooms::default());
        let server = HttpServer::new(move || {
            App::new().app_data(rooms.clone()).route("/socket/{room}", web::get().to(enter))
        });
        // As in Callboard.
        let server = callboard_signaling::tune(server).disable_signals().bind(("127.0.0.1", 0))?;
        super::announce(server.addrs()[0]);
        tokio::select! {
            ended = server.run() => ended,
            () = super::parent_gone() => Ok(()),
        }
    })
}
