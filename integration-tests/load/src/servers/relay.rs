//! Lowest baseline: a hand-written relay, one task for each socket and a table of rooms under a lock.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message as Frame, Utf8Bytes};
use uuid::Uuid;

type Members = HashMap<Uuid, UnboundedSender<Utf8Bytes>>;
type Rooms = Arc<Mutex<HashMap<String, Members>>>;

#[derive(Deserialize)]
struct Message<'a> {
    event: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    to: &'a RawValue,
}

pub(super) fn serve() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        super::announce(listener.local_addr()?);
        let rooms = Rooms::default();
        let accept = async {
            loop {
                let (tcp, _) = listener.accept().await?;
                let rooms = Arc::clone(&rooms);
                tokio::spawn(async move { _ = member(tcp, &rooms).await });
            }
        };
        tokio::select! {
            ended = accept => ended,
            () = super::parent_gone() => Ok(()),
        }
    })
}

fn lock(rooms: &Rooms) -> MutexGuard<'_, HashMap<String, Members>> {
    rooms.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn member(
    tcp: TcpStream,
    rooms: &Rooms,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tcp.set_nodelay(true)?;
    let mut room = String::new();
    #[expect(clippy::result_large_err, reason = "the library asks for this type")]
    let note = |request: &Request, response: Response| {
        room = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        Ok(response)
    };
    let config = WebSocketConfig::default().read_buffer_size(4_096).write_buffer_size(0);
    let mut socket =
        tokio_tungstenite::accept_hdr_async_with_config(tcp, note, Some(config)).await?;
    let id = Uuid::new_v4();
    let (tell, mut told) = unbounded_channel();
    let welcome = {
        let mut rooms = lock(rooms);
        let members = rooms.entry(room.clone()).or_default();
        announce(members, id, "joined");
        let peers: Vec<_> = members.keys().copied().collect();
        members.insert(id, tell);
        let data = json!({ "peer_id": id, "peers": peers });
        json!({ "event": "authenticated", "data": data, "from": null, "to": [id] }).to_string()
    };
    let talking = async {
        socket.send(Frame::text(welcome)).await?;
        loop {
            tokio::select! {
                frame = socket.next() => match frame {
                    Some(Ok(Frame::Text(text))) => forward(rooms, &room, id, &text),
                    Some(Ok(Frame::Close(_))) | None => break,
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error),
                },
                Some(text) = told.recv() => socket.send(Frame::Text(text)).await?,
            }
        }
        Ok(())
    };
    let talked = talking.await;
    let mut rooms = lock(rooms);
    if let Some(members) = rooms.get_mut(&room) {
        members.remove(&id);
        announce(members, id, "left");
    }
    Ok(talked?)
}

fn announce(members: &Members, id: Uuid, event: &str) {
    let text =
        json!({ "event": event, "data": { "peer_id": id }, "from": null, "to": "all" }).to_string();
    let text = Utf8Bytes::from(text);
    members.values().for_each(|member| _ = member.send(text.clone()));
}

fn forward(rooms: &Rooms, room: &str, from: Uuid, text: &str) {
    let Ok(Message { event, data, to }) = serde_json::from_str(text) else { return };
    // Written by hand, like the rest: the parts are JSON already.
    let frame =
        format!(r#"{{"event":"{event}","data":{},"from":"{from}","to":{}}}"#, data.get(), to.get());
    let frame = Utf8Bytes::from(frame);
    let rooms = lock(rooms);
    let Some(members) = rooms.get(room) else { return };
    if to.get() == "\"all\"" {
        let others = members.iter().filter(|(id, _)| **id != from);
        others.for_each(|(_, member)| _ = member.send(frame.clone()));
    } else {
        let to: Vec<Uuid> = serde_json::from_str(to.get()).unwrap_or_default();
        to.iter()
            .filter_map(|id| members.get(id))
            .for_each(|member| _ = member.send(frame.clone()));
    }
}
