// Peer connection of the browser, controlled through a WebSocket: each message is one JSON object.
//
// It reads {id, do, ...} and answers {id, ok} or {id, error}; it sends events {event, ...} by itself. The functions
// below are its commands; every other peer of the tests understands the same.
const START = Object.create(null);

class Peer {
    constructor(tell) {
        this.tell = tell;
        this.reset();
    }

    reset() {
        this.connection?.close();
        this.channels = new Map();
        this.tallies = new Map();
        this.echoes = false;
        this.perfect_mode = null;
        this.with_all_extensions = false;
        this.connection = null;
        for (const source of this.sources ?? []) source.stop();
        this.sources = [];
        this.elements = [];
        this.pending = [];
    }

    new() {
        this.reset();
        const connection = new RTCPeerConnection();
        this.connection = connection;
        const current = (handler) => (event) => { if (this.connection === connection) handler(event); };
        connection.onicecandidate = current(({ candidate }) => this.tell({ event: "candidate", candidate: candidate?.toJSON() ?? null }));
        connection.onconnectionstatechange = current(() => this.tell({ event: "connection", state: connection.connectionState }));
        connection.oniceconnectionstatechange = current(() => this.tell({ event: "ice", state: connection.iceConnectionState }));
        connection.onsignalingstatechange = current(() => this.tell({ event: "signaling", state: connection.signalingState }));
        connection.ondatachannel = current(({ channel }) => {
            this.tell({ event: "channel", label: channel.label, protocol: channel.protocol, ordered: channel.ordered, negotiated: channel.negotiated });
            this.adopt(channel);
        });
        connection.ontrack = current(({ track, streams }) => {
            // Media that is not played is not decoded.
            const element = document.createElement(track.kind);
            element.srcObject = streams[0] ?? new MediaStream([track]);
            element.muted = true;
            element.autoplay = true;
            element.playsInline = true;
            document.body.append(element);
            element.play().catch(() => {});
            this.elements.push(element);
            this.tell({ event: "track", kind: track.kind });
        });
        connection.onnegotiationneeded = current(async () => {
            if (!this.perfect_mode) return;
            try {
                this.perfect_mode.making = true;
                await connection.setLocalDescription();
                this.tell({ event: "description", description: connection.localDescription.toJSON() });
            } catch (error) {
                this.tell({ event: "trouble", text: String(error) });
            } finally {
                this.perfect_mode.making = false;
            }
        });
    }

    adopt(channel) {
        channel.binaryType = "arraybuffer";
        this.channels.set(channel.label, channel);
        const tally = { messages: 0, bytes: 0, inOrder: true, last: null, waiting: [] };
        this.tallies.set(channel.label, tally);
        const opened = () => this.tell({ event: "open", label: channel.label });
        if (channel.readyState === "open") opened(); else channel.onopen = opened;
        channel.onclose = () => this.tell({ event: "closed", label: channel.label });
        channel.onmessage = ({ data }) => {
            if (this.echoes) channel.send(data);
            if (typeof data === "string") {
                tally.bytes += new TextEncoder().encode(data).length;
                tally.last = { text: data };
            } else {
                const bytes = new Uint8Array(data);
                if (bytes.length >= 4 && new DataView(data).getUint32(0) !== tally.messages) tally.inOrder = false;
                tally.bytes += bytes.length;
                let sum = 0;
                for (const byte of bytes) sum = (sum + byte) >>> 0;
                tally.last = { bytes: bytes.length, sum };
            }
            tally.messages += 1;
            tally.waiting = tally.waiting.filter((look) => !look());
        };
    }

    async offer({ restart }) {
        await this.connection.setLocalDescription(await this.connection.createOffer({ iceRestart: restart ?? false }));
        return this.connection.localDescription.toJSON();
    }

    async answer() {
        await this.connection.setLocalDescription(await this.connection.createAnswer());
        return this.connection.localDescription.toJSON();
    }

    async remote({ description }) {
        await this.connection.setRemoteDescription(description);
        for (const candidate of this.pending.splice(0)) await this.connection.addIceCandidate(candidate);
    }

    async candidate({ candidate }) {
        if (this.connection.remoteDescription) await this.connection.addIceCandidate(candidate);
        else this.pending.push(candidate);
    }

    channel({ label, options }) {
        this.adopt(this.connection.createDataChannel(label, options ?? {}));
    }

    echo() {
        this.echoes = true;
    }

    async send({ label, text, bytes, count }) {
        const channel = this.channels.get(label);
        if (text !== undefined) return channel.send(text);
        channel.bufferedAmountLowThreshold = 256 * 1024;
        for (let number = 0; number < (count ?? 1); number += 1) {
            if (channel.bufferedAmount > 1024 * 1024) await new Promise((done) => { channel.onbufferedamountlow = done; });
            channel.send(pattern(bytes, number));
        }
    }

    received({ label }) {
        const { messages, bytes, inOrder, last } = this.tallies.get(label);
        return { messages, bytes, inOrder, last };
    }

    expect({ label, messages }) {
        const tally = this.tallies.get(label);
        return new Promise((done) => {
            const look = () => {
                const enough = tally.messages >= messages;
                if (enough) done(this.received({ label }));
                return enough;
            };
            if (!look()) tally.waiting.push(look);
        });
    }

    // Lets media that follow have the header extensions that the browser has, and does not offer by itself.
    all_extensions() {
        this.with_all_extensions = true;
    }

    // Returns whether it knows of all that it receives when that was captured.
    captured() {
        const sources = this.connection.getReceivers().map((receiver) => receiver.getSynchronizationSources());
        return sources.every((all) => all.some(({ captureTimestamp }) => captureTimestamp > 0));
    }

    async media({ kind }) {
        const stream = kind === "video" ? moving(this) : sounding(this);
        const [track] = stream.getTracks();
        const sender = this.connection.addTrack(track, stream);
        const transceiver = this.connection.getTransceivers().find((one) => one.sender === sender);
        if (this.with_all_extensions) {
            const all = transceiver.getHeaderExtensionsToNegotiate();
            // Not all of them at once: there are more than ids of the short form.
            const wanted = ["abs-capture-time", "video-layers-allocation00", "dependency-descriptor"];
            for (const one of all) if (wanted.some((name) => one.uri.includes(name))) one.direction = "sendrecv";
            transceiver.setHeaderExtensionsToNegotiate(all);
        }
        if (kind === "video") {
            const all = RTCRtpSender.getCapabilities("video").codecs;
            const first = all.filter(({ mimeType }) => mimeType === "video/VP8");
            transceiver?.setCodecPreferences?.([...first, ...all.filter(({ mimeType }) => mimeType !== "video/VP8")]);
        }
        return { sender: this.connection.getSenders().indexOf(sender) };
    }

    unmedia({ sender }) {
        this.connection.removeTrack(this.connection.getSenders()[sender]);
    }

    stop({ at }) {
        this.connection.getTransceivers()[at].stop();
    }

    async decoded({ kind }) {
        let count = 0;
        for (const report of (await this.connection.getStats()).values()) {
            if (report.type === "inbound-rtp" && report.kind === kind) {
                count += (kind === "video" ? report.framesDecoded : report.packetsReceived) ?? 0;
            }
        }
        return count;
    }

    async transport() {
        for (const report of (await this.connection.getStats()).values()) {
            if (report.type === "transport") {
                return { dtlsVersion: report.tlsVersion ?? null, srtpCipher: report.srtpCipher ?? null, state: report.dtlsState ?? null };
            }
        }
        return { dtlsVersion: null, srtpCipher: null, state: null };
    }

    perfect({ polite }) {
        this.perfect_mode = { polite, making: false, ignoring: false };
    }

    // Perfect negotiation (W3C §10.7).
    async signal({ description, candidate }) {
        const { connection, perfect_mode: mode } = this;
        if (description) {
            const collision = description.type === "offer" && (mode.making || connection.signalingState !== "stable");
            mode.ignoring = !mode.polite && collision;
            if (mode.ignoring) return;
            await connection.setRemoteDescription(description);
            for (const waiting of this.pending.splice(0)) await connection.addIceCandidate(waiting);
            if (description.type === "offer") {
                await connection.setLocalDescription();
                this.tell({ event: "description", description: connection.localDescription.toJSON() });
            }
        } else if (candidate) {
            try {
                if (connection.remoteDescription) await connection.addIceCandidate(candidate);
                else this.pending.push(candidate);
            } catch (error) {
                if (!mode.ignoring) throw error;
            }
        }
    }

    state() {
        const { connectionState, iceConnectionState, signalingState, iceGatheringState } = this.connection;
        return { connection: connectionState, ice: iceConnectionState, signaling: signalingState, gathering: iceGatheringState };
    }

    close() {
        this.connection?.close();
    }
}

function pattern(length, number) {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += 1) bytes[at] = at * 7 + number;
    if (length >= 4) new DataView(bytes.buffer).setUint32(0, number);
    return bytes;
}

// Creates a picture that changes all the time.
function moving(peer) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [160, 120];
    const context = canvas.getContext("2d");
    let frame = 0;
    const timer = setInterval(() => {
        frame += 1;
        context.fillStyle = `hsl(${(frame * 7) % 360} 80% 50%)`;
        context.fillRect(0, 0, 160, 120);
        context.fillStyle = "white";
        context.fillRect((frame * 3) % 160, 40, 20, 20);
    }, 50);
    const stream = canvas.captureStream(20);
    peer.sources.push({ stop: () => { clearInterval(timer); stream.getTracks().forEach((track) => track.stop()); } });
    return stream;
}

// Creates a tone.
function sounding(peer) {
    const context = new AudioContext();
    const oscillator = context.createOscillator();
    const out = context.createMediaStreamDestination();
    oscillator.connect(out);
    oscillator.start();
    peer.sources.push({ stop: () => context.close() });
    return out.stream;
}

START.begin = (address) => new Promise((ready, failed) => {
    const socket = new WebSocket(address);
    const tell = (what) => socket.send(JSON.stringify(what));
    const peer = new Peer(tell);
    const known = new Set(Object.getOwnPropertyNames(Peer.prototype));
    socket.onopen = () => ready();
    socket.onerror = () => failed(new Error(`no connection to ${address}`));
    socket.onmessage = async ({ data }) => {
        const { id, do: name, ...rest } = JSON.parse(data);
        try {
            if (!known.has(name)) throw new Error(`no command ${name}`);
            tell({ id, ok: (await peer[name](rest)) ?? null });
        } catch (error) {
            tell({ id, error: String(error) });
        }
    };
});

return START.begin(arguments[0]);
