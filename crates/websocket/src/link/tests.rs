use super::*;

/// A socket that receives everything and does nothing.
struct Socket;

impl Actor for Socket {
    type Context = Context<Self>;
}

impl Handler<MailWaiting> for Socket {
    type Result = ();
    fn handle(&mut self, _: MailWaiting, _: &mut Self::Context) {}
}

impl Handler<ToSocket> for Socket {
    type Result = ();
    fn handle(&mut self, _: ToSocket, _: &mut Self::Context) {}
}

fn plug() -> Plug {
    let socket = Socket.start();
    let (mail, control) = (socket.clone().recipient(), socket.recipient());
    Plug { mail, control, cable: Cable::new(None) }
}

fn attachment(tokens: &Arc<Tokens>) -> (Arc<Attachment>, SocketNumber, Digest) {
    let terms = Terms {
        peer_id: PeerId::random(),
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        outbox: OutboxLimits::default(),
        resume_grace: Duration::from_secs(30),
        close_grace: Duration::from_secs(5),
        max_message: 1024,
        requested: Instant::now(),
    };
    let (attachment, socket) = Attachment::new(terms, plug(), Arc::clone(tokens), Arc::default());
    let token = Digest::of(attachment.welcome()["resume"]["token"].as_str().unwrap());
    (attachment, socket, token)
}

fn resume(attachment: &Attachment, token: Digest) -> Result<SocketNumber, ResumeError> {
    let connections = Arc::<crate::limits::Connections>::default();
    let admit = |old| connections.readmit(old, std::net::Ipv4Addr::LOCALHOST.into(), 9, 9);
    attachment.resume(token, plug(), admit).map(|(number, _)| number)
}

#[actix::test]
async fn a_token_is_good_once_and_gone_with_its_peer() {
    let tokens = Arc::<Tokens>::default();
    let (attachment, first, token) = attachment(&tokens);
    attachment.ended(first, End::Lost, None);

    let second = resume(&attachment, token).unwrap();

    assert!(second > first);
    assert_eq!(resume(&attachment, token), Err(ResumeError::CannotResume));
    attachment.heard(first);
    assert!(tokens.find(token).is_some(), "this says nothing of the new socket");
    attachment.heard(second);
    assert!(tokens.find(token).is_none());
    assert_eq!(tokens.count(), 1, "the new one");
    attachment.ended(second, End::Lost, None);
    assert_eq!(resume(&attachment, token), Err(ResumeError::CannotResume));
    drop(attachment);
    assert_eq!(tokens.count(), 0);
}

#[actix::test]
async fn a_client_that_has_not_read_its_new_token_comes_back_with_the_old_one() {
    let tokens = Arc::<Tokens>::default();
    let (attachment, mut socket, token) = attachment(&tokens);
    for _ in 0..3 {
        attachment.ended(socket, End::Lost, None);
        socket = resume(&attachment, token).unwrap();
        assert_eq!(resume(&attachment, token), Err(ResumeError::CannotResume), "a second socket");
        assert_eq!(tokens.count(), 2, "this one and the newest");
    }

    // The client has read the newest token, which nobody knows here, and is closed for good.
    attachment.outbox.close(CloseFrame { code: 4001, reason: "kicked out" });
    assert_eq!(tokens.closed(token).map(|close| close.code), Some(4001));
    drop(attachment);
    assert_eq!(tokens.count(), 0);
}

#[actix::test]
async fn of_many_threads_with_one_token_one_wins() {
    let tokens = Arc::<Tokens>::default();
    let (attachment, first, token) = attachment(&tokens);
    attachment.ended(first, End::Lost, None);
    let barrier = std::sync::Barrier::new(8);
    let plugs: Vec<Plug> = (0..8).map(|_| plug()).collect();

    let won = std::thread::scope(|scope| {
        let threads: Vec<_> = plugs
            .into_iter()
            .map(|plug| {
                let (barrier, attachment) = (&barrier, &attachment);
                scope.spawn(move || {
                    let connections = Arc::<crate::limits::Connections>::default();
                    let here = std::net::Ipv4Addr::LOCALHOST.into();
                    barrier.wait();
                    attachment
                        .resume(token, plug, |old| connections.readmit(old, here, 9, 9))
                        .is_ok()
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|&won| won).count()
    });

    assert_eq!(won, 1);
}

#[actix::test]
async fn a_closed_or_expired_peer_cannot_be_resumed() {
    let tokens = Arc::<Tokens>::default();
    let (closed, socket, token) = attachment(&tokens);
    closed.ended(socket, End::Lost, None);
    closed.outbox.close(CloseFrame::NORMAL);
    assert_eq!(resume(&closed, token), Err(ResumeError::CannotResume));

    tokio::time::pause();
    let (expired, socket, token) = attachment(&tokens);
    expired.ended(socket, End::Lost, None);
    tokio::time::advance(Duration::from_secs(29)).await;
    assert!(!expired.give_up());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(resume(&expired, token), Err(ResumeError::CannotResume), "before it is told");
    assert!(expired.give_up());
}

#[actix::test]
async fn a_lost_connection_keeps_its_place_until_its_client_takes_it() {
    let connections = Arc::<crate::limits::Connections>::default();
    let here = std::net::Ipv4Addr::LOCALHOST.into();
    let (attachment, socket, token) = attachment(&Arc::default());

    attachment.ended(socket, End::Lost, None);
    attachment.ended(socket, End::Lost, Some(connections.admit(here, 1, 1).unwrap()));

    assert_eq!(connections.admit(here, 1, 1).unwrap_err(), TooMany::InAll);
    let resumed =
        attachment.resume(token, plug(), |old| connections.readmit(old, here, 1, 1)).unwrap();
    assert_eq!(connections.admit(here, 1, 1).unwrap_err(), TooMany::InAll);
    drop(resumed);
    assert!(connections.admit(here, 1, 1).is_ok());
}
