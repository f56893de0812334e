//! Baseline: str0m by itself, as its examples use it: a socket, a thread, a loop.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use callboard_ice_handshake::handshake::Certificate;
use str0m::change::{SdpAnswer, SdpOffer};
use str0m::channel::ChannelId;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::sync::mpsc;

use super::*;

/// Creates an `Rtc` with the settings of a peer connection, but with str0m's own handshake.
fn rtc(job: Job, certificate: &Certificate) -> Rtc {
    let mut config = RtcConfig::new()
        .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
        .set_dtls_cert(certificate.to_dtls_cert())
        .set_fingerprint_verification(false)
        .set_rtp_mode(job == Job::Packets)
        .set_stats_interval(Some(Duration::from_secs(1)))
        .set_rtcp_report_interval_audio(Duration::from_secs(5))
        .set_rtcp_report_interval_video(Duration::from_secs(1))
        .set_sctp_max_message_size(256 << 10)
        .set_sctp_max_buffered_amount(256 << 10)
        .clear_codecs()
        .enable_opus(true, false)
        .enable_g722(true, false)
        .enable_pcmu(true, false)
        .enable_pcma(true, false)
        .enable_vp8(true)
        .enable_vp9(true)
        .enable_h264(true)
        .enable_av1(true);
    config.set_max_stun_rto(Duration::from_secs(1));
    config.set_max_stun_retransmits(15);
    config.build(Instant::now())
}

/// Two `Rtc`s that have each other's descriptions and candidates.
struct Pair {
    sides: [Rtc; 2],
    mid: Option<Mid>,
}

impl Pair {
    fn new(job: Job) -> Self {
        // The actors share one certificate as well.
        static CERTIFICATE: LazyLock<Certificate> =
            LazyLock::new(|| Certificate::generate().unwrap());
        let sides = [0, 1].map(|_| rtc(job, &CERTIFICATE));
        Self { sides, mid: None }
    }

    fn negotiate(&mut self, job: Job, addresses: [SocketAddr; 2]) {
        let [one, other] = &mut self.sides;
        let candidates = addresses.map(|address| Candidate::host(address, "udp").unwrap());
        let mut changes = one.sdp_api();
        if job == Job::Packets {
            let media = changes.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
            self.mid = Some(media);
        }
        changes.add_channel("bench".to_owned());
        let (offer, pending) = changes.apply().expect("there is something new");
        let offer = SdpOffer::from_sdp_string(&offer.to_sdp_string()).unwrap();
        let answer = other.sdp_api().accept_offer(offer).unwrap();
        let answer = SdpAnswer::from_sdp_string(&answer.to_sdp_string()).unwrap();
        one.sdp_api().accept_answer(pending, answer).unwrap();
        for (at, candidate) in candidates.iter().enumerate() {
            self.sides[at].add_local_candidate(candidate.clone());
            self.sides[1 - at].add_remote_candidate(candidate.clone());
        }
    }
}

/// Two `Rtc`s that run until they are told to stop.
struct Running {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    opened: mpsc::UnboundedReceiver<()>,
}

impl Running {
    fn start(pair: Pair, sockets: [UdpSocket; 2], works: [Work; 2]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (open, opened) = mpsc::unbounded_channel();
        let (mid, sides) = (pair.mid, pair.sides.into_iter().zip(sockets).zip(works));
        let threads = sides.map(|((rtc, socket), work)| {
            let wire = Wire { rtc, channel: None, mid, due: 0, packets: 0 };
            let (open, stop) = (open.clone(), Arc::clone(&stop));
            std::thread::spawn(move || run(wire, &socket, work, &open, &stop))
        });
        Self { threads: threads.collect(), stop, opened }
    }

    async fn both_open(&mut self) {
        for _ in 0..2 {
            soon(self.opened.recv()).await.expect("it runs");
        }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("it went well");
        }
    }
}

fn sockets() -> ([UdpSocket; 2], [SocketAddr; 2]) {
    let sockets = [0, 1].map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let addresses = [0, 1].map(|at: usize| sockets[at].local_addr().unwrap());
    (sockets, addresses)
}

pub(super) async fn rate(job: Job) -> f64 {
    let (meter, mut told) = Meter::new(job);
    let (sockets, addresses) = sockets();
    let mut pair = Pair::new(job);
    pair.negotiate(job, addresses);
    let mut running = Running::start(pair, sockets, Work::pair(job, meter));
    running.both_open().await;
    let rate = soon(told.recv()).await.expect("it is told");
    running.stop();
    rate
}

pub(super) async fn connect_time() -> f64 {
    let (sockets, addresses) = sockets();
    let mut pair = Pair::new(Job::Messages);
    let began = Instant::now();
    pair.negotiate(Job::Messages, addresses);
    let mut running = Running::start(pair, sockets, [Work::Nothing, Work::Nothing]);
    running.both_open().await;
    let took = began.elapsed().as_secs_f64();
    running.stop();
    took
}

/// Returns by how much an `Rtc` makes this process grow; their datagrams are passed directly.
pub(super) fn memory() -> f64 {
    let mut pairs = Vec::new();
    let mut before = 0.0;
    for at in 0..AT_ONCE + PAIRS {
        let mut pair = Pair::new(Job::Messages);
        let addresses = [1, 2].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        pair.negotiate(Job::Messages, addresses);
        carry(&mut pair.sides, addresses);
        pairs.push(pair);
        // The first ones are not counted.
        if at + 1 == AT_ONCE {
            before = resident();
        }
    }
    (resident() - before) / (2 * PAIRS) as f64
}

/// Carries datagrams until both sides have the channel, and then for a while.
fn carry(sides: &mut [Rtc; 2], addresses: [SocketAddr; 2]) {
    let mut now = Instant::now();
    let mut open = 0;
    let mut rested = Duration::ZERO;
    while rested < REST {
        now += STEP;
        if open == 2 {
            rested += STEP;
        }
        for at in [0, 1] {
            sides[at].handle_input(Input::Timeout(now)).unwrap();
            loop {
                match sides[at].poll_output().unwrap() {
                    Output::Timeout(_) => break,
                    Output::Event(Event::ChannelOpen(..)) => open += 1,
                    Output::Event(_) => {}
                    Output::Transmit(transmit) => {
                        let receive = Receive {
                            proto: Protocol::Udp,
                            source: addresses[at],
                            destination: addresses[1 - at],
                            contents: (&*transmit.contents).try_into().unwrap(),
                        };
                        sides[1 - at].handle_input(Input::Receive(now, receive)).unwrap();
                    }
                }
            }
        }
    }
}

/// Runs the loop of str0m's examples.
fn run(
    mut wire: Wire,
    socket: &UdpSocket,
    mut work: Work,
    open: &mpsc::UnboundedSender<()>,
    stop: &AtomicBool,
) {
    let destination = socket.local_addr().unwrap();
    let mut buffer = vec![0; 2_000];
    while !stop.load(Ordering::Relaxed) {
        let due = match wire.rtc.poll_output().unwrap() {
            Output::Timeout(due) => due,
            Output::Transmit(transmit) => {
                socket.send_to(&transmit.contents, transmit.destination).unwrap();
                continue;
            }
            Output::Event(event) => {
                match event {
                    Event::ChannelOpen(channel, _) => {
                        wire.channel = Some(channel);
                        _ = open.send(());
                        work.begin(&mut wire);
                    }
                    Event::ChannelData(data) => work.hear_message(Cow::Owned(data.data), &mut wire),
                    Event::RtpPacket(_) => work.hear_packet(&mut wire),
                    _ => {}
                }
                continue;
            }
        };
        // Media is written one by one.
        if wire.write_packet() {
            continue;
        }
        let now = Instant::now();
        let wait = due.saturating_duration_since(now).min(LONGEST_WAIT);
        if wait.is_zero() {
            wire.rtc.handle_input(Input::Timeout(now)).unwrap();
            continue;
        }
        socket.set_read_timeout(Some(wait)).unwrap();
        let input = match socket.recv_from(&mut buffer) {
            Ok((length, source)) => {
                let contents = buffer[..length].try_into().unwrap();
                let receive = Receive { proto: Protocol::Udp, source, destination, contents };
                Input::Receive(Instant::now(), receive)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Input::Timeout(Instant::now())
            }
            Err(error) => panic!("{error}"),
        };
        wire.rtc.handle_input(input).unwrap();
    }
}

/// Sending half of one side.
struct Wire {
    rtc: Rtc,
    channel: Option<ChannelId>,
    mid: Option<Mid>,
    due: usize,
    packets: u64,
}

impl Wire {
    /// Writes one of the packets that are due, if there are any; poll before the next one.
    fn write_packet(&mut self) -> bool {
        let (Some(mid), true) = (self.mid, self.due > 0) else { return false };
        self.due -= 1;
        self.packets += 1;
        let pt = self.rtc.media(mid).expect("it was negotiated").remote_pts()[0];
        let now = Instant::now();
        let time = self.packets as u32 * 90;
        let write = RtpWrite::new(pt, self.packets.into(), time, now, PACKET);
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, None).expect("it was negotiated");
        stream.write_rtp(write.marker(true).nackable(true));
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        true
    }
}

impl Line for Wire {
    type Message = Cow<'static, [u8]>;

    fn send(&mut self, message: Self::Message) {
        let mut channel = self.rtc.channel(self.channel.expect("it is open")).expect("it is open");
        assert!(channel.write(true, &message).unwrap(), "there is room for a window");
    }

    fn send_fixed(&mut self, message: &'static [u8]) {
        self.send(Cow::Borrowed(message));
    }

    fn send_packets(&mut self, count: usize) {
        self.due += count;
    }
}

/// Simulated time of each step.
const STEP: Duration = Duration::from_millis(1);
/// Longest wait, so that a stop is noticed.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
