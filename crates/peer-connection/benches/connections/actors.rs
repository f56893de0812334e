//! Peer connections, in the way that applications use them.

use std::sync::{Arc, Mutex};

use actix::prelude::*;
use callboard_ice_handshake::handshake::{Certificate, SrtpProfile, Version};
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use callboard_transport::mux::{InterfaceFilter, UdpMuxOptions};
use tokio::sync::mpsc;

use super::*;

/// Threads of the owners of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owners {
    /// Each owner runs on its connection's media thread.
    Near,
    /// All owners run on the thread of the application.
    Far,
}

/// Pool with two media threads for each connection at a time.
pub(super) struct Pool {
    connections: PeerConnections,
    /// Template for messages, and template for packets.
    apis: [Api; 2],
    certificate: Certificate,
    threads: Vec<ArbiterHandle>,
}

impl Pool {
    pub(super) async fn start(pairs: usize) -> Self {
        // It is called on the thread of the connection that gathers.
        let asked = Arc::new(Mutex::new(None));
        let notes = Arc::clone(&asked);
        let interfaces = InterfaceFilter::with_loopback().only(move |_, ip| {
            *notes.lock().unwrap() = Arbiter::try_current();
            ip.is_loopback() && ip.is_ipv4()
        });
        let sockets = UdpMuxOptions { interfaces, ..UdpMuxOptions::default() };
        let options = PeerConnectionsOptions {
            media_threads: 2 * pairs,
            sockets,
            ..PeerConnectionsOptions::default()
        };
        let mut pool = Self {
            connections: PeerConnections::start(options).await.unwrap(),
            apis: [MediaMode::Samples, MediaMode::Rtp].map(api),
            certificate: Certificate::generate().unwrap(),
            threads: Vec::new(),
        };
        for thread in 0..2 * pairs {
            let mut side = Side::open(&pool, thread, Job::Messages, Owners::Far).await;
            side.create_channel().await;
            side.send(SetLocalDescription(None)).await.unwrap();
            soon(side.until(|event| matches!(event, ConnectionEvent::IceCandidate(_)))).await;
            pool.threads.extend(asked.lock().unwrap().take());
            side.connection.close().await;
        }
        assert_eq!(pool.threads.len(), 2 * pairs);
        pool
    }

    async fn pair(&self, at: usize, job: Job, owners: Owners) -> [Side; 2] {
        let mut one = Side::open(self, 2 * at, job, owners).await;
        let other = Side::open(self, 2 * at + 1, job, owners).await;
        if job == Job::Packets {
            let track = LocalTrack::new(RtpCodecCapability::new("video/VP8"), "video", "stream");
            one.sender = Some(one.send(AddTrack(track)).await.unwrap());
        }
        one.create_channel().await;
        [one, other]
    }

    pub(super) async fn rate(&self, job: Job, owners: Owners) -> f64 {
        let mut pair = self.pair(0, job, owners).await;
        meet(&mut pair).await;
        let (meter, mut told) = Meter::new(job);
        let works = Work::pair(job, meter);
        for (side, work) in pair.iter_mut().zip(works).rev() {
            let line = side.line().await;
            side.owner.send(Begin { work, line }).await.unwrap();
        }
        let rate = soon(told.recv()).await.expect("it is told");
        close(pair).await;
        rate
    }

    pub(super) async fn connect_time(&self) -> f64 {
        let mut pair = self.pair(0, Job::Messages, Owners::Far).await;
        let began = Instant::now();
        meet(&mut pair).await;
        let took = began.elapsed().as_secs_f64();
        close(pair).await;
        took
    }

    pub(super) async fn stop(&self) {
        self.connections.stop().await;
    }
}

/// Returns by how much a connection makes this process grow.
pub(super) async fn memory() -> f64 {
    let pool = Pool::start(AT_ONCE).await;
    let connect = async |at, count| {
        let mut pairs = Vec::new();
        for _ in 0..count {
            let mut pair = pool.pair(at, Job::Messages, Owners::Far).await;
            meet(&mut pair).await;
            let [one, other] = pair;
            pairs.push([one.rest().await, other.rest().await]);
        }
        pairs
    };
    let all = async |count| {
        futures_util::future::join_all((0..AT_ONCE).map(|at| connect(at, count))).await
    };
    // The first connections are not counted.
    let first = all(1).await;
    let before = resident();
    let pairs = all(PAIRS / AT_ONCE).await;
    tokio::time::sleep(REST).await;
    let grown = resident() - before;
    drop((first, pairs));
    grown / (2 * PAIRS) as f64
}

/// Returns a template that negotiates the same as the bare `Rtc`s.
fn api(media_mode: MediaMode) -> Api {
    let settings = ApiSettings {
        media_mode,
        dtls_version: Some(Version::Dtls12),
        srtp_profiles: Some(vec![SrtpProfile::Aes256Gcm]),
        ..ApiSettings::default()
    };
    Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings)
}

async fn close(pair: [Side; 2]) {
    for side in pair {
        side.connection.close().await;
    }
}

/// One side of a connection.
struct Side {
    connection: PeerConnectionHandle,
    owner: Addr<Owner>,
    told: mpsc::UnboundedReceiver<ConnectionEvent>,
    channel: Option<DataChannelId>,
    sender: Option<SenderId>,
}

impl Side {
    async fn open(pool: &Pool, thread: usize, job: Job, owners: Owners) -> Self {
        let api = &pool.apis[usize::from(job == Job::Packets)];
        let certificate = Some(pool.certificate.clone());
        let configuration = Configuration { certificate, ..Configuration::default() };
        let (tell, told) = mpsc::unbounded_channel();
        let owner = Owner { tell: Some(tell), work: Work::Nothing, line: None };
        let owner = match owners {
            Owners::Near => Owner::start_in_arbiter(&pool.threads[thread], |_| owner),
            Owners::Far => owner.start(),
        };
        let opened =
            pool.connections.open_on(thread, api, configuration, owner.clone().recipient());
        let connection = opened.await.unwrap();
        Self { connection, owner, told, channel: None, sender: None }
    }

    async fn send<M>(&self, message: M) -> M::Result
    where
        M: Message + Send + 'static,
        M::Result: Send,
        PeerConnection: Handler<M>,
        Context<PeerConnection>: actix::dev::ToEnvelope<PeerConnection, M>,
    {
        self.connection.send(message).await.expect("it runs")
    }

    /// Returns the connection and its owner, without the benchmark's own queue of events.
    async fn rest(self) -> (PeerConnectionHandle, Addr<Owner>) {
        self.owner.send(Rest).await.unwrap();
        (self.connection, self.owner)
    }

    async fn create_channel(&mut self) {
        self.channel = Some(self.send(CreateDataChannel::new("bench")).await.unwrap());
    }

    async fn until(&mut self, what: impl Fn(&ConnectionEvent) -> bool) {
        while !what(&self.told.recv().await.expect("it runs")) {}
    }

    async fn line(&self) -> Wire {
        let mut payload_type = 0;
        if self.sender.is_some() {
            payload_type = self.send(GetTransceivers).await[0].codecs[0].0;
        }
        Wire {
            connection: self.connection.address().expect("it runs"),
            channel: self.channel.expect("it is open"),
            sender: self.sender,
            payload_type,
            packets: 0,
        }
    }
}

/// Negotiates, from the offer until both sides have the channel.
async fn meet([one, other]: &mut [Side; 2]) {
    let offer = one.send(CreateOffer::default()).await.unwrap();
    one.send(SetLocalDescription(Some(offer.clone()))).await.unwrap();
    other.send(SetRemoteDescription(offer)).await.unwrap();
    let answer = other.send(CreateAnswer::default()).await.unwrap();
    other.send(SetLocalDescription(Some(answer.clone()))).await.unwrap();
    one.send(SetRemoteDescription(answer)).await.unwrap();
    soon(async {
        let mut open = 0;
        while open < 2 {
            let (event, from_one) = tokio::select! {
                event = one.told.recv() => (event, true),
                event = other.told.recv() => (event, false),
            };
            let from = if from_one { &mut *one } else { &mut *other };
            match event.expect("it runs") {
                ConnectionEvent::IceCandidate(candidate @ Some(_)) => {
                    let to = if from_one { &*other } else { &*one };
                    to.send(AddIceCandidate(candidate)).await.unwrap();
                }
                ConnectionEvent::DataChannelOpened(_) => open += 1,
                ConnectionEvent::DataChannelAdded(info) => {
                    from.channel = Some(info.id);
                    open += 1;
                }
                _ => {}
            }
        }
    })
    .await;
}

/// Owner that does the work of one side, and passes all other events on.
struct Owner {
    /// Queue of those events, as long as they are wanted.
    tell: Option<mpsc::UnboundedSender<ConnectionEvent>>,
    work: Work,
    line: Option<Wire>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Begin {
    work: Work,
    line: Wire,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Rest;

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<Begin> for Owner {
    type Result = ();

    fn handle(&mut self, Begin { work, mut line }: Begin, _: &mut Context<Self>) {
        self.work = work;
        self.work.begin(&mut line);
        self.line = Some(line);
    }
}

impl Handler<Rest> for Owner {
    type Result = ();

    fn handle(&mut self, _: Rest, _: &mut Context<Self>) {
        self.tell = None;
    }
}

impl Handler<PeerConnectionEvent> for Owner {
    type Result = ();

    fn handle(&mut self, event: PeerConnectionEvent, _: &mut Context<Self>) {
        match (event.event, &mut self.line) {
            (ConnectionEvent::DataChannelMessage { message, .. }, Some(line)) => {
                self.work.hear_message(message, line)
            }
            (ConnectionEvent::Packet(_), Some(line)) => self.work.hear_packet(line),
            (event, _) => {
                if let Some(tell) = &self.tell {
                    _ = tell.send(event);
                }
            }
        }
    }
}

/// Sending half of an owner: no more than a window is ever under way.
struct Wire {
    connection: Addr<PeerConnection>,
    channel: DataChannelId,
    sender: Option<SenderId>,
    payload_type: u8,
    packets: u64,
}

impl Line for Wire {
    type Message = DataChannelMessage;

    fn send(&mut self, message: DataChannelMessage) {
        self.connection.do_send(SendData { channel: self.channel, message });
    }

    fn send_fixed(&mut self, message: &'static [u8]) {
        self.send(DataChannelMessage::Binary(Bytes::from_static(message)));
    }

    fn send_packets(&mut self, count: usize) {
        let Some(sender) = self.sender else { return };
        for _ in 0..count {
            self.packets += 1;
            let packet = RtpPacket {
                transceiver: TransceiverId(uuid::Uuid::nil()),
                rid: None,
                payload_type: self.payload_type,
                sequence_number: self.packets,
                timestamp: self.packets as u32 * 90,
                marker: true,
                at: Instant::now(),
                captured: None,
                payload: PACKET.into(),
                audio_level: None,
                extensions: Default::default(),
                vp8: None,
            };
            self.connection.do_send(WriteRtp { sender, packet });
        }
    }
}
