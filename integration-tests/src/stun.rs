//! One STUN exchange, with which a test bed checks itself. Written by hand, so that it depends
//! on no library under test.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Asks a STUN server once under which address it sees the socket (IPv4 only). Returns none when the
/// answer does not come in time.
///
/// # Errors
///
/// When the socket fails, as it does after an ICMP message "port unreachable".
pub async fn mapped_address(
    socket: &UdpSocket,
    server: SocketAddr,
    within: Duration,
) -> io::Result<Option<SocketAddr>> {
    // RFC 8489 §5: type, length, magic cookie, transaction id. The port makes the id differ between sockets.
    let mut request = [0; 20];
    request[..2].copy_from_slice(&BINDING_REQUEST);
    request[4..8].copy_from_slice(&MAGIC_COOKIE);
    request[18..].copy_from_slice(&socket.local_addr()?.port().to_be_bytes());
    socket.send_to(&request, server).await?;

    let mut buffer = [0; 1500];
    let answer = timeout(within, async {
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await?;
            if from == server && buffer[4..20] == request[4..20] {
                return Ok::<_, io::Error>(length);
            }
        }
    });
    match answer.await {
        Ok(length) => Ok(xor_mapped_address(&buffer[..length?])),
        Err(_) => Ok(None),
    }
}

fn xor_mapped_address(message: &[u8]) -> Option<SocketAddr> {
    let mut rest = message.strip_prefix(&BINDING_SUCCESS)?.get(18..)?;
    loop {
        let [kind, length] = [rest.get(..2)?, rest.get(2..4)?].map(|it| [it[0], it[1]]);
        let length = usize::from(u16::from_be_bytes(length));
        let value = rest.get(4..4 + length)?;
        if kind == XOR_MAPPED_ADDRESS && value.len() == 8 {
            let xor = |index: usize| value[index] ^ MAGIC_COOKIE[(index - 4) % 4];
            let port = u16::from_be_bytes([value[2] ^ MAGIC_COOKIE[0], value[3] ^ MAGIC_COOKIE[1]]);
            let address = Ipv4Addr::new(xor(4), xor(5), xor(6), xor(7));
            return Some(SocketAddrV4::new(address, port).into());
        }
        rest = rest.get(4 + length.next_multiple_of(4)..)?;
    }
}

const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
