//! Datagrams of one length to one client, sent in one system call (`UDP_SEGMENT`).

use std::io;
use std::net::SocketAddr;

use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use tokio::net::UdpSocket;

/// Datagrams that wait to be sent together.
pub(super) struct Gso {
    state: UdpSocketState,
    destination: Option<SocketAddr>,
    contents: Vec<u8>,
    segment: usize,
    count: usize,
}

impl Gso {
    pub(super) fn new(socket: &UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(socket))?;
        let contents = Vec::with_capacity(LARGEST_BATCH);
        Ok(Self { state, destination: None, contents, segment: 0, count: 0 })
    }

    pub(super) fn add(&mut self, socket: &UdpSocket, datagram: &[u8], destination: SocketAddr) {
        let fits = self.destination == Some(destination)
            && datagram.len() == self.segment
            && self.count < self.state.max_gso_segments()
            && self.contents.len() + datagram.len() <= LARGEST_BATCH;
        if !fits {
            self.flush(socket);
            self.destination = Some(destination);
            self.segment = datagram.len();
        }
        self.contents.extend_from_slice(datagram);
        self.count += 1;
    }

    pub(super) fn flush(&mut self, socket: &UdpSocket) {
        if let Some(destination) = self.destination.take() {
            let segment_size = (self.count > 1).then_some(self.segment);
            let contents = &self.contents;
            let transmit =
                Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
            // Datagrams for which the socket has no room are lost.
            _ = self.state.try_send(UdpSockRef::from(socket), &transmit);
        }
        self.contents.clear();
        self.count = 0;
    }
}

/// The largest UDP payload.
const LARGEST_BATCH: usize = 65_507;
