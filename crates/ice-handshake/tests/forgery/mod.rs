//! Forged datagrams of a sender that knows a peer's address, the protocol and all certificates, but cannot read what is
//! sent to the peer: each of a kind, with different content.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part of it")]

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;

/// Kind of a forged datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forged {
    /// A ClientHello like that of the peer's stack, of another client.
    Hello,
    /// The hello of advisory ES2023-01: well-formed, with only a cipher suite that no implementation accepts.
    UnacceptableHello,
    /// A hello that shows some cookie.
    CookieHello,
    /// The last piece of a ClientHello, cut like the peer's own.
    HelloPiece,
    /// The first piece of such a ClientHello.
    HelloHead,
    /// A certificate of the forger.
    Certificate,
    /// The peer's own certificate, followed by another.
    CertificateChain,
    ClientKeyExchange,
    CertificateVerify,
    /// Certificate, ClientKeyExchange, CertificateVerify, ChangeCipherSpec and a Finished.
    ClientFlight,
    HelloVerifyRequest,
    /// A HelloRetryRequest with a cookie.
    HelloRetryRequest,
    /// A HelloRetryRequest for another key share.
    OtherShare,
    ServerHello12,
    ServerHello13,
    /// A ServerHello of DTLS 1.3, followed by records that look encrypted.
    ServerFlight13,
    ServerKeyExchange,
    CertificateRequest,
    ServerHelloDone,
    NewSessionTicket,
    /// ServerHello, Certificate, ServerKeyExchange, CertificateRequest and ServerHelloDone.
    ServerFlight12,
    /// A piece of a certificate, with the message numbers of the peer's.
    CertificatePiece,
    ChangeCipherSpec,
    Alert,
    /// A Finished in the clear.
    Finished,
    /// A HelloRequest of DTLS 1.2.
    HelloRequest,
    /// An acknowledgement in the clear (RFC 9147 §7).
    Ack,
    /// A record of DTLS 1.2's epoch 1.
    Encrypted12,
    /// A record of DTLS 1.3's epoch 2.
    Encrypted13,
    /// One of each other kind in turn.
    Mixed,
}

impl Forged {
    pub const TO_SERVERS: [Self; 18] = [
        Self::Hello,
        Self::UnacceptableHello,
        Self::CookieHello,
        Self::HelloPiece,
        Self::HelloHead,
        Self::Certificate,
        Self::CertificateChain,
        Self::ClientKeyExchange,
        Self::CertificateVerify,
        Self::ClientFlight,
        Self::CertificatePiece,
        Self::ChangeCipherSpec,
        Self::Alert,
        Self::Finished,
        Self::Ack,
        Self::Encrypted12,
        Self::Encrypted13,
        Self::Mixed,
    ];
    pub const TO_CLIENTS: [Self; 22] = [
        Self::HelloVerifyRequest,
        Self::HelloRetryRequest,
        Self::OtherShare,
        Self::ServerHello12,
        Self::ServerHello13,
        Self::ServerFlight13,
        Self::Certificate,
        Self::CertificateChain,
        Self::ServerKeyExchange,
        Self::CertificateRequest,
        Self::ServerHelloDone,
        Self::NewSessionTicket,
        Self::ServerFlight12,
        Self::CertificatePiece,
        Self::ChangeCipherSpec,
        Self::Alert,
        Self::Finished,
        Self::HelloRequest,
        Self::Ack,
        Self::Encrypted12,
        Self::Encrypted13,
        Self::Mixed,
    ];
}

/// Generator of forged datagrams, no two alike.
pub struct Forger {
    random: fastrand::Rng,
    /// Hello of the peer's stack, with record and message headers.
    hello: Vec<u8>,
    /// Certificates of the forger.
    certificates: Vec<Vec<u8>>,
    peer_certificate: Vec<u8>,
    /// Role of the side to which it sends.
    target: Role,
}

impl Forger {
    pub fn new(seed: u64, target: Role, hello: Vec<u8>, peer_certificate: &[u8]) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            hello,
            certificates: vec![Certificate::generate().unwrap().certificate().to_vec()],
            peer_certificate: peer_certificate.to_vec(),
            target,
        }
    }

    pub fn forge(&mut self, forged: Forged) -> Bytes {
        // Servers count from 0, or from 1 after a request.
        let first = self.random.u16(0..2);
        let datagram = match forged {
            Forged::Hello => self.hello(),
            Forged::UnacceptableHello => self.unacceptable_hello(),
            Forged::CookieHello => self.cookie_hello(),
            Forged::HelloPiece => self.hello_piece(false),
            Forged::HelloHead => self.hello_piece(true),
            Forged::Certificate => self.certificate(first + 1),
            Forged::CertificateChain => self.certificate_chain(first + 1),
            Forged::ClientKeyExchange => self.client_key_exchange(first + 2),
            Forged::CertificateVerify => self.certificate_verify(first + 3),
            Forged::ClientFlight => [
                self.certificate(2),
                self.client_key_exchange(3),
                self.certificate_verify(4),
                self.change_cipher_spec(),
                self.encrypted12(),
            ]
            .concat(),
            Forged::HelloVerifyRequest => {
                let body = [&[0xfe, 0xff, 20][..], &self.bytes(20)].concat();
                self.in_the_clear(3, 0, &body)
            }
            Forged::HelloRetryRequest => {
                let cookie = self.bytes(32);
                let extension = [&[0, 0x2c, 0, 34, 0, 32][..], &cookie].concat();
                self.retry_request(&extension)
            }
            Forged::OtherShare => {
                let group = [0x17, 0x18, 0x19, 0x1d][self.random.usize(0..4)];
                let cookie = self.bytes(16);
                let extension =
                    [&[0, 0x33, 0, 2, 0, group, 0, 0x2c, 0, 18, 0, 16][..], &cookie].concat();
                self.retry_request(&extension)
            }
            Forged::ServerHello12 => self.server_hello12(first),
            Forged::ServerHello13 => self.server_hello13(first),
            Forged::ServerFlight13 => [
                self.server_hello13(first),
                self.encrypted13(60),
                self.encrypted13(400),
                self.encrypted13(90),
            ]
            .concat(),
            Forged::ServerKeyExchange => self.server_key_exchange(first + 2),
            Forged::CertificateRequest => self.certificate_request(first + 3),
            Forged::ServerHelloDone => self.in_the_clear(14, first + 3, &[]),
            Forged::NewSessionTicket => {
                let body = [&[0, 0, 1, 0, 0, 16][..], &self.bytes(16)].concat();
                self.in_the_clear(4, first + 5, &body)
            }
            Forged::ServerFlight12 => [
                self.server_hello12(first),
                self.certificate(first + 1),
                self.server_key_exchange(first + 2),
                self.certificate_request(first + 3),
                self.in_the_clear(14, first + 4, &[]),
            ]
            .concat(),
            Forged::CertificatePiece => {
                let body = self.bytes(150);
                let length = self.peer_certificate.len() + 6;
                let at = [0, 150, length.saturating_sub(150)][self.random.usize(0..3)];
                self.fragment(11, first + 1, length, at, &body)
            }
            Forged::ChangeCipherSpec => self.change_cipher_spec(),
            Forged::Alert => {
                let what = self.random.u8(..);
                self.record(21, 0, &[2, what])
            }
            Forged::Finished => {
                let (sequence, body) = (self.random.u16(0..6), self.bytes(12));
                self.in_the_clear(20, sequence, &body)
            }
            Forged::HelloRequest => self.in_the_clear(0, first, &[]),
            Forged::Ack => {
                let mut body = vec![0, 16, 0, 0, 0, 0, 0, 0, 0, 0];
                body.extend(self.random.u64(0..6).to_be_bytes());
                self.record(26, 0, &body)
            }
            Forged::Encrypted12 => self.encrypted12(),
            Forged::Encrypted13 => self.encrypted13(60),
            Forged::Mixed => {
                let kinds: &[Forged] = match self.target {
                    Role::Client => &Forged::TO_CLIENTS,
                    Role::Server => &Forged::TO_SERVERS,
                };
                let kind = kinds[self.random.usize(0..kinds.len() - 1)];
                return self.forge(kind);
            }
        };
        datagram.into()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.random.u8(..)).collect()
    }

    fn record(&mut self, kind: u8, epoch: u8, content: &[u8]) -> Vec<u8> {
        let number = self.random.u16(..).to_be_bytes();
        let mut record = vec![kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0];
        record.extend(number);
        record.extend((content.len() as u16).to_be_bytes());
        record.extend(content);
        record
    }

    fn in_the_clear(&mut self, kind: u8, sequence: u16, body: &[u8]) -> Vec<u8> {
        self.fragment(kind, sequence, body.len(), 0, body)
    }

    fn fragment(
        &mut self,
        kind: u8,
        sequence: u16,
        length: usize,
        offset: usize,
        body: &[u8],
    ) -> Vec<u8> {
        let content = message(kind, sequence, length, offset, body);
        self.record(22, 0, &content)
    }

    fn hello(&mut self) -> Vec<u8> {
        let mut hello = self.hello.clone();
        let random = self.bytes(28);
        hello[25 + 6..25 + 34].copy_from_slice(&random);
        hello
    }

    fn unacceptable_hello(&mut self) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend(self.bytes(32));
        body.extend([0, 0, 0, 2, 0, 0, 1, 0]);
        let extensions = 137 - 25 - body.len() - 2;
        body.extend((extensions as u16).to_be_bytes());
        body.extend([0, 21]);
        body.extend((extensions as u16 - 4).to_be_bytes());
        body.resize(137 - 25, 0);
        self.in_the_clear(1, 0, &body)
    }

    /// Returns a hello with a cookie in the field of DTLS 1.2 (RFC 6347 §4.2.1).
    fn cookie_hello(&mut self) -> Vec<u8> {
        let hello = self.hello();
        let mut body = hello[25..].to_vec();
        let session = usize::from(body[34]);
        let cookie = self.bytes(32);
        body.splice(35 + session..36 + session, [&[32][..], &cookie].concat());
        self.in_the_clear(1, 1, &body)
    }

    fn hello_piece(&mut self, head: bool) -> Vec<u8> {
        let hello = self.hello();
        let body = &hello[25..];
        let at = body.len().div_ceil(2);
        let sequence = self.random.u16(0..2);
        if head {
            return self.fragment(1, sequence, body.len(), 0, &body[..at]);
        }
        let mut rest = body[at..].to_vec();
        for _ in 0..4 {
            let place = self.random.usize(0..rest.len());
            rest[place] = self.random.u8(..);
        }
        self.fragment(1, sequence, body.len(), at, &rest)
    }

    fn certificate(&mut self, sequence: u16) -> Vec<u8> {
        let mut der = self.certificates[0].clone();
        // A byte of the name or the signature: the DER stays well-formed.
        let place = der.len() - 1 - self.random.usize(0..24);
        der[place] = self.random.u8(..);
        let noise = self.bytes(8);
        let end = der.len();
        der[end - 8..].copy_from_slice(&noise);
        self.certificates_of(sequence, &[&der])
    }

    fn certificate_chain(&mut self, sequence: u16) -> Vec<u8> {
        let (leaf, next) = (self.peer_certificate.clone(), self.bytes(40));
        self.certificates_of(sequence, &[&leaf, &next])
    }

    fn certificates_of(&mut self, sequence: u16, chain: &[&[u8]]) -> Vec<u8> {
        let length = |length: usize| (length as u32).to_be_bytes()[1..].to_vec();
        let list: Vec<u8> =
            chain.iter().flat_map(|der| [length(der.len()), der.to_vec()].concat()).collect();
        let body = [length(list.len()), list].concat();
        self.in_the_clear(11, sequence, &body)
    }

    fn client_key_exchange(&mut self, sequence: u16) -> Vec<u8> {
        let body = [&[32][..], &self.bytes(32)].concat();
        self.in_the_clear(16, sequence, &body)
    }

    fn certificate_verify(&mut self, sequence: u16) -> Vec<u8> {
        let body = self.signature();
        self.in_the_clear(15, sequence, &body)
    }

    /// Returns a value in the form of an ECDSA signature with SHA-256.
    fn signature(&mut self) -> Vec<u8> {
        let mut number = || {
            let mut number = self.bytes(32);
            number[0] = number[0] & 0x7f | 1;
            [&[2, 32][..], &number].concat()
        };
        let der = [&[0x30, 68][..], &number(), &number()].concat();
        [&[4, 3, 0, der.len() as u8][..], &der].concat()
    }

    fn server_hello12(&mut self, sequence: u16) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend(self.bytes(32));
        // No session; ECDHE_ECDSA_AES128_GCM_SHA256; no compression; extended master secret, use_srtp.
        body.extend([0, 0xc0, 0x2b, 0, 0, 13, 0, 0x17, 0, 0, 0, 0x0e, 0, 5, 0, 2, 0, 8, 0]);
        self.in_the_clear(2, sequence, &body)
    }

    fn server_hello13(&mut self, sequence: u16) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend(self.bytes(32));
        body.extend([0, 0x13, 0x01, 0, 0, 46, 0, 0x2b, 0, 2, 0xfe, 0xfc]);
        body.extend([0, 0x33, 0, 36, 0, 0x1d, 0, 32]);
        body.extend(self.bytes(32));
        self.in_the_clear(2, sequence, &body)
    }

    fn retry_request(&mut self, extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([
            0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65,
            0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2,
            0xc8, 0xa8, 0x33, 0x9c,
        ]);
        body.extend([0, 0x13, 0x01, 0]);
        body.extend((extensions.len() as u16 + 6).to_be_bytes());
        body.extend([0, 0x2b, 0, 2, 0xfe, 0xfc]);
        body.extend(extensions);
        self.in_the_clear(2, 0, &body)
    }

    fn server_key_exchange(&mut self, sequence: u16) -> Vec<u8> {
        let share = self.bytes(32);
        let body = [&[3, 0, 0x1d, 32][..], &share, &self.signature()].concat();
        self.in_the_clear(12, sequence, &body)
    }

    fn certificate_request(&mut self, sequence: u16) -> Vec<u8> {
        let name = self.bytes(10);
        let body = [&[1, 64, 0, 2, 4, 3, 0, 12, 0, 10][..], &name].concat();
        self.in_the_clear(13, sequence, &body)
    }

    fn change_cipher_spec(&mut self) -> Vec<u8> {
        self.record(20, 0, &[1])
    }

    fn encrypted12(&mut self) -> Vec<u8> {
        let content = self.bytes(40);
        self.record(22, 1, &content)
    }

    fn encrypted13(&mut self, length: usize) -> Vec<u8> {
        let content = self.bytes(length);
        let number = self.bytes(2);
        let mut record = vec![0b0010_1110, number[0], number[1]];
        record.extend((length as u16).to_be_bytes());
        record.extend(content);
        record
    }
}

/// Returns a handshake message or a piece of one, without its record.
fn message(kind: u8, sequence: u16, length: usize, offset: usize, body: &[u8]) -> Vec<u8> {
    let bytes = |number: usize| (number as u32).to_be_bytes()[1..].to_vec();
    let mut message = vec![kind];
    message.extend(bytes(length));
    message.extend(sequence.to_be_bytes());
    message.extend(bytes(offset));
    message.extend(bytes(body.len()));
    message.extend(body);
    message
}
