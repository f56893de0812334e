//! Answer of a client to a server's flight, in DTLS 1.2: accepted when its CertificateVerify is valid.
//!
//! The CertificateVerify signs everything that came before it (RFC 5246 §7.4.8), with the server's random in it: an
//! attacker that cannot read what the server sends cannot sign it, whichever certificate it shows. So no earlier
//! message needs an engine to tell whether it is the peer's.

use bytes::Bytes;

use super::CertificateCheck;
use super::provider::verify;
use super::records::{
    CERTIFICATE, CERTIFICATE_VERIFY, CLIENT_KEY_EXCHANGE, Record, SERVER_HELLO_DONE, number,
    records, whole_message,
};
use super::unproven::{Checks, Store, UnprovenMessage, leaf};

/// Candidates for the client's answer.
pub(super) struct ClientFlight {
    /// All messages up to ServerHelloDone, as they are hashed.
    transcript: Vec<u8>,
    /// Message number of the Certificate.
    first: u16,
    store: Store,
    checks: Checks,
}

impl ClientFlight {
    /// Creates one for the answer to a flight of these packets, which answered a hello of this number and body.
    pub(super) fn new(hello: (u16, &[u8]), flight: &[Bytes]) -> Option<Self> {
        let mut transcript = whole_message(super::records::CLIENT_HELLO, hello.0, hello.1);
        let mut piece = Vec::new();
        for message in flight.iter().flat_map(|packet| records(packet)).flat_map(Record::messages) {
            if message.offset != piece.len() {
                return None;
            }
            piece.extend_from_slice(message.body);
            if piece.len() == message.length {
                transcript.extend(whole_message(message.kind, message.sequence, &piece));
                piece.clear();
            }
            if message.kind == SERVER_HELLO_DONE {
                let (store, checks) = (Store::default(), Checks::default());
                return Some(Self { transcript, first: hello.0 + 1, store, checks });
            }
        }
        None
    }

    /// Handles a datagram; returns the client's messages when they are found, each as a datagram.
    pub(super) fn handle_datagram(
        &mut self,
        datagram: &[u8],
        is_acceptable: CertificateCheck<'_>,
    ) -> Option<[Bytes; 3]> {
        let first = self.first;
        let place = |kind| match kind {
            CERTIFICATE => Some(first),
            CLIENT_KEY_EXCHANGE => Some(first + 1),
            CERTIFICATE_VERIFY => Some(first + 2),
            _ => None,
        };
        let new = self.store.add(datagram, |kind, sequence| place(kind) == Some(sequence));
        new.iter().rev().find_map(|message| self.complete(message, is_acceptable))
    }

    /// Tries the combinations of messages to which this one may belong.
    fn complete(
        &mut self,
        new: &UnprovenMessage,
        is_acceptable: CertificateCheck<'_>,
    ) -> Option<[Bytes; 3]> {
        let candidates = |kind| match kind == new.kind {
            true => vec![new.clone()],
            false => self.store.nearest(kind, new.arrival),
        };
        let verifies = candidates(CERTIFICATE_VERIFY);
        let exchanges = candidates(CLIENT_KEY_EXCHANGE);
        if verifies.is_empty() || exchanges.is_empty() {
            return None;
        }
        let certificates = self.checks.choose(candidates(CERTIFICATE), is_acceptable);
        let near = self.checks.nearest();
        for verify in verifies.iter().take(near) {
            // A CertificateVerify that came together with a key exchange belongs to it.
            let together = exchanges.iter().any(|exchange| exchange.arrival == verify.arrival);
            let belongs =
                |exchange: &&UnprovenMessage| !together || exchange.arrival == verify.arrival;
            for exchange in exchanges.iter().filter(belongs).take(near) {
                for certificate in &certificates {
                    if self.holds(certificate, exchange, verify) {
                        return Some(
                            [certificate, exchange, verify].map(UnprovenMessage::datagram),
                        );
                    }
                    self.checks.note_failure();
                }
            }
        }
        None
    }

    fn holds(
        &self,
        certificate: &UnprovenMessage,
        exchange: &UnprovenMessage,
        signature: &UnprovenMessage,
    ) -> bool {
        let (Some(leaf), Some(signed)) = (leaf(&certificate.body), number(&signature.body, 2))
        else {
            return false;
        };
        let Some(bytes) = signature.body.get(4..4 + signed) else { return false };
        let data = [&self.transcript[..], &certificate.message(), &exchange.message()].concat();
        verify(leaf, &data, [signature.body[0], signature.body[1]], bytes)
    }
}
