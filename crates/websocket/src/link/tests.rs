//! Tests of the socket link with actors behind it.

use super::*;
use callboard_outbox::OutboxReady;

use crate::tcp_connection::TcpConnection;

/// A socket that receives everything and does nothing.
struct Socket;

impl Actor for Socket {
    type Context = Context<Self>;
}

impl Handler<OutboxReady> for Socket {
    type Result = ();
    fn handle(&mut self, _: OutboxReady, _: &mut Self::Context) {}
}

impl Handler<ToSocket> for Socket {
    type Result = ();
    fn handle(&mut self, _: ToSocket, _: &mut Self::Context) {}
}

fn new_socket() -> NewSocket {
    let socket = Socket.start();
    let (outbox_ready, control) = (socket.clone().recipient(), socket.recipient());
    NewSocket { outbox_ready, control, tcp: TcpConnection::new(None) }
}

fn link(tokens: &Arc<ResumeTokens>) -> (Arc<SocketLink>, SocketNumber, TokenDigest) {
    let options = LinkOptions {
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        outbox: OutboxLimits::default(),
        resume_grace: Duration::from_secs(30),
        close_grace: Duration::from_secs(5),
        max_frame: 1024,
        requested: Instant::now(),
    };
    let (link, socket) =
        SocketLink::new(options, (), new_socket(), Arc::clone(tokens), Arc::default());
    let token = TokenDigest::of(&link.offer_resumption().unwrap().token);
    (link, socket, token)
}

fn resume(link: &SocketLink, token: TokenDigest) -> Result<SocketNumber, ResumeError> {
    let connections = Arc::<crate::admission::ConnectionCount>::default();
    let admit = |old| connections.readmit(old, std::net::Ipv4Addr::LOCALHOST.into(), 9, 9);
    link.resume(token, new_socket(), admit).map(|(number, _)| number)
}

#[actix::test]
async fn a_token_is_good_once_and_gone_with_its_peer() {
    let tokens = Arc::<ResumeTokens>::default();
    let (link, first, token) = link(&tokens);
    link.socket_ended(first, SocketEnd::Lost, None);

    let second = resume(&link, token).unwrap();

    assert!(second > first);
    assert_eq!(resume(&link, token), Err(ResumeError::CannotResume));
    link.heard(first);
    assert!(tokens.find(token).is_some(), "this says nothing of the new socket");
    link.heard(second);
    assert!(tokens.find(token).is_none());
    assert_eq!(tokens.count(), 1, "the new one");
    link.socket_ended(second, SocketEnd::Lost, None);
    assert_eq!(resume(&link, token), Err(ResumeError::CannotResume));
    drop(link);
    assert_eq!(tokens.count(), 0);
}

#[actix::test]
async fn a_client_that_has_not_read_its_new_token_comes_back_with_the_old_one() {
    let tokens = Arc::<ResumeTokens>::default();
    let (link, mut socket, token) = link(&tokens);
    for _ in 0..3 {
        link.socket_ended(socket, SocketEnd::Lost, None);
        socket = resume(&link, token).unwrap();
        assert_eq!(resume(&link, token), Err(ResumeError::CannotResume), "a second socket");
        assert_eq!(tokens.count(), 2, "this one and the newest");
    }

    // The client has read the newest token, which is not known here, and is closed for good.
    link.outbox().close(CloseFrame { code: 4001, reason: "kicked out".into() });
    assert_eq!(tokens.closed(token).map(|close| close.code), Some(4001));
    drop(link);
    assert_eq!(tokens.count(), 0);
}

#[actix::test]
async fn of_many_threads_with_one_token_one_wins() {
    let tokens = Arc::<ResumeTokens>::default();
    let (link, first, token) = link(&tokens);
    link.socket_ended(first, SocketEnd::Lost, None);
    let barrier = std::sync::Barrier::new(8);
    let plugs: Vec<NewSocket> = (0..8).map(|_| new_socket()).collect();

    let won = std::thread::scope(|scope| {
        let threads: Vec<_> = plugs
            .into_iter()
            .map(|socket| {
                let (barrier, link) = (&barrier, &link);
                scope.spawn(move || {
                    let connections = Arc::<crate::admission::ConnectionCount>::default();
                    let here = std::net::Ipv4Addr::LOCALHOST.into();
                    barrier.wait();
                    link.resume(token, socket, |old| connections.readmit(old, here, 9, 9)).is_ok()
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|&won| won).count()
    });

    assert_eq!(won, 1);
}

#[actix::test]
async fn a_closed_or_expired_peer_cannot_be_resumed() {
    let tokens = Arc::<ResumeTokens>::default();
    let (closed, socket, token) = link(&tokens);
    closed.socket_ended(socket, SocketEnd::Lost, None);
    closed.outbox().close(CloseFrame::NORMAL);
    assert_eq!(resume(&closed, token), Err(ResumeError::CannotResume));

    tokio::time::pause();
    let (expired, socket, token) = link(&tokens);
    expired.socket_ended(socket, SocketEnd::Lost, None);
    tokio::time::advance(Duration::from_secs(29)).await;
    assert!(!expired.give_up());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(resume(&expired, token), Err(ResumeError::CannotResume), "before it is told");
    assert!(expired.give_up());
}

#[actix::test]
async fn a_lost_connection_keeps_its_place_until_its_client_takes_it() {
    let connections = Arc::<crate::admission::ConnectionCount>::default();
    let here = std::net::Ipv4Addr::LOCALHOST.into();
    let (link, socket, token) = link(&Arc::default());

    link.socket_ended(socket, SocketEnd::Lost, None);
    link.socket_ended(socket, SocketEnd::Lost, Some(connections.admit(here, 1, 1).unwrap()));

    assert_eq!(connections.admit(here, 1, 1).unwrap_err(), TooMany::InAll);
    let resumed =
        link.resume(token, new_socket(), |old| connections.readmit(old, here, 1, 1)).unwrap();
    assert_eq!(connections.admit(here, 1, 1).unwrap_err(), TooMany::InAll);
    drop(resumed);
    assert!(connections.admit(here, 1, 1).is_ok());
}

#[actix::test]
async fn another_process_takes_a_session_once_and_what_waits_stays_in_the_outbox() {
    let tokens = Arc::<ResumeTokens>::default();
    let (link, socket, token) = link(&tokens);
    link.outbox().push("a".into()).unwrap();
    assert!(link.take(TokenDigest::of("another")).is_none());

    let (resumption, grace) = link.take(token).unwrap();

    assert_eq!(grace, Duration::from_secs(30));
    assert!(link.take(token).is_none());
    assert_eq!(resume(&link, token), Err(ResumeError::CannotResume));
    assert_eq!(link.outbox().next(socket), None, "the socket before takes no more");
    assert_eq!((link.outbox().waiting(), link.outbox().is_closed()), (vec!["a".into()], false));
    link.socket_ended(socket, SocketEnd::Closed, None);
    drop(link);
    assert_eq!(tokens.count(), 0);

    // There it is good once.
    let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
    let options = LinkOptions {
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        outbox: OutboxLimits::default(),
        resume_grace: grace,
        close_grace: Duration::from_secs(5),
        max_frame: 1024,
        requested: Instant::now(),
    };
    let until = Instant::now() + grace;
    let place = ((outbox, None), (resumption, until));
    let there =
        SocketLink::restored(options, (), place.0, place.1, Arc::clone(&tokens), Arc::default());
    assert!(Arc::ptr_eq(&tokens.find(token).unwrap(), &there));
    resume(&there, token).unwrap();
    assert_eq!(resume(&there, token), Err(ResumeError::CannotResume));
}

#[test]
fn tokens_of_a_node_of_a_cluster_name_it_to_the_other_nodes_alone() {
    let tokens = TokenTable::<()>::of_node("secret-a1");
    let (token, digest) = tokens.issue(Weak::new());
    assert_eq!(crate::prefix_of_token(&token), Some(&*crate::token_prefix("secret-a1")));
    assert_ne!(crate::token_prefix("secret-a1"), crate::token_prefix("secret-a2"));
    assert_eq!((TokenDigest::of(&token), token.contains("secret")), (digest, false));

    let (token, _) = TokenTable::<()>::default().issue(Weak::new());
    assert_eq!(crate::prefix_of_token(&token), None, "of one server, tokens are as they were");
}
