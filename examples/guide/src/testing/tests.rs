#[cfg(test)]
mod tests {
    use std::time::Duration;

    use callboard_client::{ClientEvent, ClientOptions, ClientState, Recipients};
    use callboard_test_kit::{FakePeer, TestServer, single_threaded_rooms};

    use super::*;

    /// Returns running rooms, among them the lobby. All is on the thread of the test.
    async fn rooms() -> Rooms {
        let rooms = single_threaded_rooms().build();
        rooms.start().await.unwrap();
        rooms.start_supervised(RoomOptions::<Lobby>::new("lobby", ())).await.unwrap();
        rooms
    }

    async fn server() -> TestServer {
        let signaling = Signaling::new(PeerOptions::<Guest>::new((), rooms().await));
        TestServer::start(|| App::new().configure(signaling.at(&["/socket/{room}"]))).await
    }

    #[actix_web::test]
    async fn the_room_counts_its_members() {
        let room = rooms().await.lookup("lobby").unwrap();
        let mut ann = FakePeer::join(&room).await.unwrap();
        assert_eq!(ann.expect("count").await, 1);

        let bob = FakePeer::join(&room).await.unwrap();
        ann.expect("joined").await;
        assert_eq!(ann.expect("count").await, 2);

        drop(bob);
        // `on_leave` runs before the others are told.
        assert_eq!(ann.expect("count").await, 1);
        ann.expect("left").await;
    }

    #[actix_web::test]
    async fn nothing_but_chat_reaches_the_others() {
        let server = server().await;
        let mut ann = server.client("/socket/lobby", ClientOptions::new()).await.unwrap();
        let bob = server.client("/socket/lobby", ClientOptions::new()).await.unwrap();

        bob.send(Recipients::All, "shout", "HELLO").unwrap();
        bob.send(Recipients::All, "chat", "hello").unwrap();

        let message = loop {
            match ann.next_event().await.unwrap() {
                // The count is the server's.
                ClientEvent::Message(message) if message.from.is_some() => break message,
                _ => {}
            }
        };
        assert_eq!((&*message.event, message.data), ("chat", "hello".into()));
    }

    #[actix_web::test]
    async fn a_silent_client_stays() {
        // From now on time passes only when nothing is left to do, and then at once.
        tokio::time::pause();
        let server = server().await;
        let client = server.client("/socket/lobby", ClientOptions::new()).await.unwrap();

        tokio::time::sleep(Duration::from_secs(60 * 60)).await;

        assert_eq!(client.state(), ClientState::Open);
    }
}
