//! Actor that counts messages, a plain actix actor or a supervised child, and a sender that is controlled over TCP.

use std::io;

use actix::prelude::*;
use callboard_supervision::{ChildSpec, Flags, SupervisorSpec};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

struct Counter(u64);

impl Actor for Counter {
    type Context = Context<Self>;
}

/// Adds to the count; its answer is the sum.
#[derive(Message)]
#[rtype(result = "u64")]
struct Add(u64);

impl Handler<Add> for Counter {
    type Result = u64;

    fn handle(&mut self, Add(more): Add, _: &mut Self::Context) -> u64 {
        self.0 += more;
        self.0
    }
}

pub(super) fn serve(supervised: bool) -> io::Result<()> {
    System::new().block_on(async {
        let child = ChildSpec::new("counter", || Counter(0));
        let spec = SupervisorSpec::new(Flags::one_for_one()).child(child);
        // Both processes run both actors; one of them stays idle.
        let root = spec.start().await.map_err(io::Error::other)?;
        let child = root.child::<Counter>("counter").ok().and_then(|child| child.addr());
        let (plain, child) = (Counter(0).start(), child.ok_or(io::ErrorKind::NotFound)?);
        let counter = if supervised { child } else { plain };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        super::announce(listener.local_addr()?);
        let answer = async {
            loop {
                let (tcp, _) = listener.accept().await?;
                execute(tcp, &counter).await?;
            }
        };
        tokio::select! {
            ended = answer => ended,
            () = super::parent_gone() => Ok(()),
        }
    })
}

/// Reads lines such as `send 1000`, and answers each with the count when it is done.
async fn execute(tcp: TcpStream, counter: &Addr<Counter>) -> io::Result<()> {
    let mut tcp = BufReader::new(tcp);
    let mut line = String::new();
    while tcp.read_line(&mut line).await? > 0 {
        let (how, messages) = line.trim().split_once(' ').ok_or(io::ErrorKind::InvalidData)?;
        let messages: u64 = messages.parse().map_err(io::Error::other)?;
        let count = match how {
            "send" => send(counter, messages).await,
            "do_send" => do_send(counter, messages).await,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let count = count.map_err(io::Error::other)?;
        tcp.write_all(format!("{count}\n").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

/// Sends messages one by one, each when the last is answered.
async fn send(counter: &Addr<Counter>, messages: u64) -> Result<u64, MailboxError> {
    let mut count = 0;
    for _ in 0..messages {
        count = counter.send(Add(1)).await?;
    }
    Ok(count)
}

/// Sends messages in batches; only the last of each is answered.
async fn do_send(counter: &Addr<Counter>, messages: u64) -> Result<u64, MailboxError> {
    let (mut left, mut count) = (messages, 0);
    while left > 0 {
        let batch = left.min(BATCH);
        (1..batch).for_each(|_| counter.do_send(Add(1)));
        count = counter.send(Add(1)).await?;
        left -= batch;
    }
    Ok(count)
}

/// Most messages that wait in the mailbox.
const BATCH: u64 = 1_000;
