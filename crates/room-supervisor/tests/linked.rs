//! Tests of rooms that are linked to an owner.

mod common;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message as ActixMessage};
use callboard_room_supervisor::*;
use callboard_supervision::{Exit, ExitReason, monitor, spawn};
use common::Client;
use tokio::sync::oneshot;

struct Fragile;

impl Room for Fragile {
    type Options = ();

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }

    fn on_forward(&mut self, message: RoomMessage, _: &RoomContext) -> Option<RoomMessage> {
        assert_ne!(message.event, "explode");
        Some(message)
    }
}

struct Owner;

impl Actor for Owner {
    type Context = Context<Self>;
}

#[derive(ActixMessage)]
#[rtype(result = "()")]
struct End(ExitReason);

impl Handler<End> for Owner {
    type Result = ();
    fn handle(&mut self, End(reason): End, ctx: &mut Self::Context) {
        ctx.exit(reason);
    }
}

/// Actor that passes on the end of the actor that it monitors.
struct Watch(Option<oneshot::Sender<ExitReason>>);

impl Actor for Watch {
    type Context = Context<Self>;
}

impl Handler<callboard_supervision::Down> for Watch {
    type Result = ();
    fn handle(&mut self, down: callboard_supervision::Down, _: &mut Self::Context) {
        if let Some(watch) = self.0.take() {
            _ = watch.send(down.reason);
        }
    }
}

#[actix::test]
async fn a_linked_room_ends_with_its_owner_however_it_ends() {
    for reason in [ExitReason::Normal, ExitReason::Error("oh".into())] {
        let registry = Arc::new(LocalRegistry::default());
        let owner = spawn(Owner);
        let options = RoomOptions::<Fragile>::new("mine", ());
        let room = start_linked(options, registry.clone(), &owner).await.unwrap();
        let mut client = Client::joined(&room).await;

        owner.send(End(reason)).await.unwrap();

        client.expect("error").await;
        client.expect_close(CloseFrame::GOING_AWAY).await;
    }
}

#[actix::test]
async fn an_owner_whose_room_is_given_up_ends_with_an_error() {
    let registry = Arc::new(LocalRegistry::default());
    let owner = spawn(Owner);
    let options = RoomOptions::<Fragile>::new("mine", ()).intensity(0, Duration::from_secs(1));
    let room = start_linked(options, registry.clone(), &owner).await.unwrap();
    let (sender, ended) = oneshot::channel();
    monitor(&owner, Watch(Some(sender)).start().recipient());

    let explode = RoomMessage::new("explode", &()).unwrap().to(To::All);
    assert_eq!(room.forward_message(explode).await, Err(ForwardError::RoomUnavailable));

    assert!(matches!(ended.await.unwrap(), ExitReason::Error(why) if why.contains("was given up")));
    assert!(registry.names().is_empty());
}

#[actix::test]
async fn an_owner_outlives_a_room_that_is_stopped_in_good_order() {
    let registry = Arc::new(LocalRegistry::default());
    let owner = spawn(Owner);
    let room = start_linked(RoomOptions::<Fragile>::new("mine", ()), registry.clone(), &owner)
        .await
        .unwrap();
    let again =
        start_linked(RoomOptions::<Fragile>::new("mine", ()), registry.clone(), &owner).await;
    assert_eq!(again.unwrap_err(), StartRoomError::AlreadyStarted);

    room.stop("done").await;

    start_linked(RoomOptions::<Fragile>::new("mine", ()), registry, &owner).await.unwrap();
    assert!(owner.connected());
}
