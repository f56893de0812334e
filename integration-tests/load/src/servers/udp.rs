//! Lowest baseline below connections: datagrams without any protocol, sent back or forwarded by one thread.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;

/// First byte of a datagram that the server sends back.
pub(crate) const ECHO: u8 = b'E';
/// First byte of a datagram that the server sends to all subscribers.
pub(crate) const PUBLISH: u8 = b'P';
/// First byte of a subscription; the server sends it back.
pub(crate) const SUBSCRIBE: u8 = b'S';

pub(super) fn serve() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let options = socket2::SockRef::from(&socket);
        options.set_recv_buffer_size(2 << 20)?;
        options.set_send_buffer_size(2 << 20)?;
        super::announce(socket.local_addr()?);
        tokio::select! {
            ended = carry(&socket) => ended,
            () = super::parent_gone() => Ok(()),
        }
    })
}

async fn carry(socket: &UdpSocket) -> io::Result<()> {
    let mut subscribers: Vec<SocketAddr> = Vec::new();
    let mut buffer = vec![0; 2_000];
    loop {
        socket.readable().await?;
        while let Ok((length, source)) = socket.try_recv_from(&mut buffer) {
            let datagram = &buffer[..length];
            // Datagrams for which the socket has no room are lost.
            match datagram.first() {
                Some(&PUBLISH) => subscribers
                    .iter()
                    .for_each(|subscriber| _ = socket.try_send_to(datagram, *subscriber)),
                Some(&SUBSCRIBE) => {
                    subscribers.push(source);
                    _ = socket.try_send_to(datagram, source);
                }
                Some(_) => _ = socket.try_send_to(datagram, source),
                None => {}
            }
        }
    }
}
