//! Batches of outgoing datagrams for GSO.

use std::cell::Cell;
use std::net::SocketAddr;

use callboard_transport::gather::Transport;
use callboard_transport::mux::Transmit;

/// Datagrams to one address, sent in one call.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    source: Option<(SocketAddr, SocketAddr)>,
    contents: Vec<u8>,
    segment: usize,
    count: usize,
    /// Whether the last datagram was shorter: none can follow it.
    full: bool,
}

impl Batch {
    pub(crate) fn add(&mut self, transport: &Transport, transmit: Transmit<Vec<u8>>) {
        let Transmit { source, destination, contents } = transmit;
        let fits = self.source == Some((source, destination))
            && !self.full
            && self.count < SEGMENTS
            && contents.len() <= self.segment
            && self.contents.len() + contents.len() <= LARGEST_BATCH;
        if !fits {
            self.flush(transport);
            self.source = Some((source, destination));
            self.segment = contents.len();
        }
        self.full = contents.len() < self.segment;
        // A single datagram is not copied.
        if self.count == 0 {
            self.contents = contents;
        } else {
            if self.count == 1 {
                let mut buffer = BUFFER.take();
                buffer.extend_from_slice(&self.contents);
                self.contents = buffer;
            }
            self.contents.extend_from_slice(&contents);
        }
        self.count += 1;
    }

    pub(crate) fn flush(&mut self, transport: &Transport) {
        if let Some((source, destination)) = self.source.take() {
            // A batch that the system does not take is lost, as on the network.
            let transmit = Transmit { source, destination, contents: &self.contents[..] };
            _ = transport.send_segments(transmit, self.segment);
        }
        let mut buffer = std::mem::take(&mut self.contents);
        if self.count > 1 {
            buffer.clear();
            BUFFER.set(buffer);
        }
        self.count = 0;
        self.full = false;
    }
}

thread_local! {
    /// Buffer in which several datagrams of one connection are put together; the connections of a thread share it.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Most datagrams that `UDP_SEGMENT` takes in one call.
const SEGMENTS: usize = 64;
/// The largest UDP payload.
const LARGEST_BATCH: usize = 65_507;
