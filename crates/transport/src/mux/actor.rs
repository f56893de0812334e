//! Actor that reads the sockets of a mux.

use std::io::{self, ErrorKind, IoSliceMut};

use actix::prelude::*;
use callboard_supervision::{Exit, ExitReason};
use quinn_udp::{RecvMeta, UdpSockRef};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::socket::Bound;
use super::{DropReason, MuxHandle};

/// Actor that reads the sockets of a [`MuxHandle`] on its thread, and routes the datagrams to their connections.
///
/// Run one for each handle, as a permanent child of a supervisor. After a restart, the new instance continues where the
/// last one stopped.
#[derive(Debug)]
pub struct UdpMux {
    handle: MuxHandle,
}

impl UdpMux {
    /// Creates the actor that reads these sockets.
    pub fn new(handle: MuxHandle) -> Self {
        Self { handle }
    }
}

impl Actor for UdpMux {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let sockets = &self.handle.shared.sockets;
        for v6 in [false, true] {
            let Some(bound) = (if v6 { &sockets.v6 } else { &sockets.v4 }) else { continue };
            // The reader has a descriptor of its own: if it is killed, the sockets stay as they are.
            let reader = bound.socket.try_clone().and_then(UdpSocket::from_std);
            match reader {
                Ok(reader) => {
                    let handle = self.handle.clone();
                    let reading = read(reader, handle, v6).into_actor(self);
                    ctx.spawn(
                        reading.map(|error, _, ctx| ctx.exit(ExitReason::Error(error.to_string()))),
                    );
                }
                Err(error) => panic!("cannot read a UDP socket: {error}"),
            }
        }
    }
}

/// Reads until an error makes that impossible, and returns the error.
async fn read(reader: UdpSocket, handle: MuxHandle, v6: bool) -> io::Error {
    let sockets = &handle.shared.sockets;
    let Some(bound) = (if v6 { &sockets.v6 } else { &sockets.v4 }) else {
        return io::ErrorKind::NotFound.into();
    };
    let mut slots = Slots::new();
    loop {
        if let Err(error) = reader.readable().await {
            return error;
        }
        for _ in 0..BATCHES_IN_A_ROW {
            match reader.try_io(Interest::READABLE, || slots.receive(bound)) {
                Ok(received) => slots.deliver(received, &handle),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // This error is usually about a datagram that was sent earlier: nothing is wrong with this socket.
                Err(error) => {
                    log::debug!("a UDP socket reports {error}");
                    handle.shared.counting.dropped(DropReason::SystemError);
                }
            }
        }
        // Other connections of this thread get their turn.
        tokio::task::yield_now().await;
    }
}

/// Buffers for the datagrams that one call reads.
struct Slots {
    memory: Vec<u8>,
    size: usize,
    meta: [RecvMeta; SLOTS],
}

impl Slots {
    fn new() -> Self {
        let size = LONGEST_DATAGRAM;
        Self { memory: vec![0; size * SLOTS], size, meta: [RecvMeta::default(); SLOTS] }
    }

    fn receive(&mut self, bound: &Bound) -> io::Result<usize> {
        let mut chunks = self.memory.chunks_exact_mut(self.size);
        let mut slices: [IoSliceMut<'_>; SLOTS] = std::array::from_fn(|_| {
            IoSliceMut::new(chunks.next().expect("there is memory for each slot"))
        });
        bound.state.recv(UdpSockRef::from(&bound.socket), &mut slices, &mut self.meta)
    }

    fn deliver(&self, received: usize, handle: &MuxHandle) {
        for (meta, memory) in
            self.meta.iter().zip(self.memory.chunks_exact(self.size)).take(received)
        {
            handle.deliver(meta.addr, meta.dst_ip, &memory[..meta.len], meta.stride);
        }
    }
}

/// Datagrams (or batches of them from one sender) that one call reads.
const SLOTS: usize = 16;
/// Largest datagram that UDP can carry, in bytes.
const LONGEST_DATAGRAM: usize = 65_536;
/// Calls in a row until other tasks of the thread get their turn.
const BATCHES_IN_A_ROW: usize = 8;
