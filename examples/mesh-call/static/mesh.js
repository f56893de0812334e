// The mesh: one RTCPeerConnection per other peer. Peers that are already in the room offer to a newcomer; the newcomer
// waits. "Perfect negotiation" covers every other case in which both sides offer at once.

/**
 * Events (CustomEvent): `changed` whenever a snapshot would differ, `track` {peer, stream}, `channel` {peer, open},
 * `text` {peer, text}: a message on the data channel.
 */
export class Mesh extends EventTarget {
  #own;
  #local;
  #send;
  #iceServers;
  #peers = new Map();

  /** @param {(event: string, data: any, to: string[]) => boolean} send puts a message on the signaling socket */
  constructor({ own, local, send, iceServers = [] }) {
    super();
    this.#iceServers = iceServers;
    this.#own = own;
    this.#local = local;
    this.#send = send;
  }

  get peers() {
    return [...this.#peers.values()].map((link) => link.snapshot());
  }

  /** Notes a peer that was here before us, and waits for its offer. */
  expect(peer) {
    this.#link(peer);
  }

  /** Notes a peer that came after us, and offers to it. */
  welcome(peer) {
    this.#link(peer).begin();
  }

  forget(peer) {
    this.#peers.get(peer)?.close();
    if (this.#peers.delete(peer)) this.#tell("changed");
  }

  /** Keeps connections to the peers that are still in the room, drops the others, and calls the missing ones. */
  settle(present) {
    const others = present.filter((peer) => peer !== this.#own);
    for (const peer of this.#peers.keys()) {
      if (!others.includes(peer)) this.forget(peer);
    }
    for (const peer of others) {
      if (this.#peers.has(peer)) continue;
      // Both sides get the same list at the same time: one of the two must begin.
      if (this.#own > peer) this.welcome(peer);
      else this.expect(peer);
    }
  }

  handle({ event, data, from }) {
    if (typeof from !== "string" || from === this.#own) return;
    if (event === "offer" || event === "answer") {
      // An offer from an unknown peer comes from one whose `joined` we did not get; an answer would make no sense.
      if (event === "answer" && !this.#peers.has(from)) return;
      this.#link(from).handleDescription({ type: event, sdp: data?.sdp });
    } else if (event === "candidate") {
      this.#peers.get(from)?.handleCandidate(data);
    }
  }

  /** Sends to all peers; returns to how many. */
  broadcast(text) {
    return [...this.#peers.values()].filter((link) => link.say(text)).length;
  }

  say(peer, text) {
    return this.#peers.get(peer)?.say(text) ?? false;
  }

  close() {
    for (const peer of [...this.#peers.keys()]) this.forget(peer);
  }

  #link(peer) {
    let link = this.#peers.get(peer);
    if (!link) {
      link = new Link({
        peer,
        polite: this.#own < peer,
        local: this.#local,
        send: (event, data) => this.#send(event, data, [peer]),
        tell: (type, detail) => this.#tell(type, { peer, ...detail }),
        iceServers: this.#iceServers,
      });
      this.#peers.set(peer, link);
      this.#tell("changed");
    }
    return link;
  }

  #tell(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Peer connection to one other peer. */
class Link {
  #peer;
  #polite;
  #local;
  #send;
  #tell;
  #connection;
  #channel;
  #begun = false;
  #makingOffer = false;
  #ignoringOffer = false;
  #saidEnd = false;
  #early = [];
  #work = Promise.resolve();
  #restarts = 0;

  constructor({ peer, polite, local, send, tell, iceServers }) {
    this.#peer = peer;
    this.#polite = polite;
    this.#local = local;
    this.#send = send;
    this.#tell = tell;

    const connection = new RTCPeerConnection({ bundlePolicy: "max-bundle", iceServers });
    this.#connection = connection;
    connection.onnegotiationneeded = () => this.#offer();
    connection.onicecandidate = ({ candidate }) => this.#sendCandidate(candidate);
    connection.onicegatheringstatechange = () => {
      if (connection.iceGatheringState === "gathering") this.#saidEnd = false;
    };
    connection.onconnectionstatechange = () => this.#stateChanged();
    connection.ontrack = ({ track, streams }) => tell("track", { stream: streams[0] ?? new MediaStream([track]) });
  }

  snapshot() {
    return {
      id: this.#peer,
      connection: this.#connection.connectionState,
      signaling: this.#connection.signalingState,
      channel: this.#channel?.readyState ?? "none",
    };
  }

  begin() {
    if (this.#begun) return;
    this.#begun = true;
    // Negotiated by both sides beforehand, so it makes no difference which of them offers.
    this.#channel = this.#connection.createDataChannel("chat", { negotiated: true, id: 0 });
    this.#channel.onopen = () => this.#tell("channel", { open: true });
    this.#channel.onclose = () => this.#tell("channel", { open: false });
    this.#channel.onmessage = ({ data }) => {
      if (typeof data === "string") this.#tell("text", { text: data });
    };
    for (const track of this.#local.getTracks()) this.#connection.addTrack(track, this.#local);
  }

  handleDescription(description) {
    this.begin();
    this.#then(async () => {
      const connection = this.#connection;
      const glare = description.type === "offer" && (this.#makingOffer || connection.signalingState !== "stable");
      this.#ignoringOffer = !this.#polite && glare;
      if (this.#ignoringOffer) return;
      if (description.type === "answer" && connection.signalingState !== "have-local-offer") return;
      await connection.setRemoteDescription(description);
      if (description.type === "offer") {
        await connection.setLocalDescription();
        this.#send("answer", connection.localDescription);
      }
      for (const candidate of this.#early.splice(0)) await this.#addCandidate(candidate);
    });
  }

  handleCandidate(candidate) {
    this.#then(async () => {
      if (this.#connection.remoteDescription) return this.#addCandidate(candidate);
      if (this.#early.length < EARLY_CANDIDATES) this.#early.push(candidate);
    });
  }

  say(text) {
    if (this.#channel?.readyState !== "open" || this.#channel.bufferedAmount > BUFFERED_BYTES) return false;
    this.#channel.send(text);
    return true;
  }

  close() {
    this.#connection.onconnectionstatechange = null;
    this.#channel?.close();
    this.#connection.close();
  }

  async #offer() {
    const connection = this.#connection;
    this.#makingOffer = true;
    try {
      await connection.setLocalDescription();
      if (connection.localDescription?.type === "offer") this.#send("offer", connection.localDescription);
    } catch (error) {
      if (connection.signalingState !== "closed") console.warn("could not offer to", this.#peer, error);
    } finally {
      this.#makingOffer = false;
    }
  }

  #sendCandidate(candidate) {
    if (candidate?.candidate) return void this.#send("candidate", candidate);
    // Some browsers signal the end of candidates with an empty one, all signal it with null: pass it on once.
    if (this.#saidEnd) return;
    this.#saidEnd = true;
    const mid = this.#connection.getTransceivers()[0]?.mid ?? "0";
    this.#send("candidate", candidate ?? { candidate: "", sdpMid: mid, sdpMLineIndex: 0 });
  }

  async #addCandidate(candidate) {
    try {
      await this.#connection.addIceCandidate(candidate ?? undefined);
    } catch (error) {
      if (!this.#ignoringOffer) throw error;
    }
  }

  #stateChanged() {
    const state = this.#connection.connectionState;
    if (state === "connected") this.#restarts = 0;
    if (state === "failed" && !this.#polite && this.#restarts < ICE_RESTARTS) {
      this.#restarts += 1;
      this.#connection.restartIce();
    }
    this.#tell("changed");
  }

  /**
   * Runs one step after the other, in the order of arrival; a bad message from the other side spoils only its own step.
   */
  #then(step) {
    this.#work = this.#work.then(step).catch((error) => {
      if (this.#connection.signalingState !== "closed") console.warn("from", this.#peer, error);
    });
  }
}

const EARLY_CANDIDATES = 64;
const BUFFERED_BYTES = 1 << 20;
const ICE_RESTARTS = 3;
