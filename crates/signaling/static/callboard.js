// @ts-check
/**
 * Callboard's client for browsers: a room, a peer connection to the server, and calls in both directions, all over one
 * connection that is reopened automatically. It needs no build step, and nothing but a browser of 2022 or later. The
 * README of the crate describes the protocol.
 *
 * ```js
 * import { connect } from "/callboard.js";
 *
 * const client = await connect("/socket/lobby");
 * client.on("joined", (peer, { name }) => console.log(name, "came:", client.peers.size, "others are here"));
 * client.on("chat", (text, from) => console.log(from, "says", text));
 * client.send("chat", "Hello, everyone");
 *
 * client.openPeerConnection({ channels: { cursor: { ordered: false, maxRetransmits: 0 } } });
 * client.on("data", ({ channel, data }) => console.log(channel, data));
 * client.sendData("cursor", "12 34");
 *
 * client.register("local_time", () => new Date().toString());
 * console.log(await client.call("chess", "move", ["e2", "e4"]));
 * ```
 */

/**
 * @typedef {object} ConnectOptions
 * @property {string | string[]} [protocols] WebSocket subprotocols to offer
 * @property {number} [firstDelay] longest wait before the first attempt to reconnect, in ms; doubles with each.
 *   Default: 250
 * @property {number} [longestDelay] longest wait before any attempt, in ms; Firefox adds its own for WebSockets.
 *   Default: 10,000
 * @property {number} [attempts] attempts in a row that may fail before the client gives up. Default: no limit, because
 *   trying costs nothing while there is no network or no server
 * @property {number} [refusals] attempts in a row that a reachable server may refuse before the client gives up.
 *   Default: 20
 * @property {number} [queue] messages kept while there is no connection. Default: 256
 * @property {number} [joinTimeout] longest time from opening the WebSocket to having joined the room, in ms. Default:
 *   10,000
 * @property {number} [heartbeat] interval of the client's pings to the server, in ms. Default: 15,000
 */
/**
 * @typedef {object} PeerConnectionOptions
 * @property {MediaStream | ((connection: RTCPeerConnection) => void)} [media] media to send: a stream, with all its
 *   tracks except those whose transceiver the page has stopped, or a function that sets up each new peer connection (a
 *   lost one is replaced by a new one)
 * @property {Record<string, RTCDataChannelInit>} [channels] data channels beside `events`, by label
 * @property {RTCIceServer[]} [iceServers] STUN and TURN servers
 */
/**
 * @typedef {object} Message a message of the application
 * @property {string} event
 * @property {any} data
 * @property {string | null} from the sender's peer id, verified by the server; null: the server itself
 * @property {"all" | string[]} to
 */
/**
 * @typedef {Readonly<Record<string, any>>} PeerMetadata public metadata of a peer, as the application on the server has
 * set it; empty if it has set none
 */
/** @typedef {"connecting" | "open" | "waiting" | "closed"} State of the connection to the server */
/** @typedef {{ reason: string, code?: number, delay?: number }} StateDetail `code`: close code of the WebSocket */
/**
 * @typedef {object} ClientEvents arguments of listeners, by event
 * @property {[peer: string, metadata: PeerMetadata]} joined
 * @property {[peer: string]} left
 * @property {[]} room_restarted the room failed and was restarted; `joined` and `left` have already reported what has
 *   changed
 * @property {[]} resumed the WebSocket was lost and reopened; nothing else has changed
 * @property {[peerId: string, previous: string]} rejoined the connection was lost; the client has joined again, as a
 *   new peer
 * @property {[message: Message]} message any message of the application, also one named like an event here
 * @property {[error: CallboardError]} error an error that the server reports; also `gave_up` and `webrtc_gave_up`:
 *   something has failed repeatedly in the same way, and is not tried any more; `details` say what
 * @property {[state: State, detail: StateDetail]} state
 * @property {[state: RTCPeerConnectionState, detail?: { reason: string }]} webrtc state of the peer connection, also of
 *   each new one; with the reason why the last one is replaced, if the server has given one
 * @property {[event: RTCTrackEvent]} track
 * @property {[label: string]} channel_open
 * @property {[label: string]} channel_closed
 * @property {[message: { channel: string, data: string | ArrayBuffer }]} data
 */

/**
 * Joins a room. Connections that are lost later are reopened, but if this first one fails, the caller gets the error at
 * once.
 *
 * @param {string | URL} url of the room's WebSocket; may be relative, and may have `http:` instead of `ws:`
 * @param {ConnectOptions} [options]
 * @returns {Promise<Client>} resolves when the room has admitted the client
 * @throws {CallboardError} `could_not_join_room`: the room has rejected the client; `details` say why. `refused`: there
 *   is no WebSocket; browsers do not show the HTTP status to a page, so the cause may be 401 or 404 as well as an
 *   unreachable server. `timeout`: there was no answer.
 */
export async function connect(url, options = {}) {
  return Client.join(url, options);
}

/**
 * Error with a `code`: one of those documented below, or that of a server's error: its description as in
 * `no_such_peer`.
 */
export class CallboardError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {any} [details]
   */
  constructor(code, message, details) {
    super(message);
    this.name = new.target.name;
    this.code = code;
    this.details = details;
  }
}

/**
 * Error of a call that the other side has answered with an error, which is in `error`, such as `unknown_function`. Its
 * `code` is `hook_error`. For `invalid_args`, `details` hold the index of the `argument`, from 0, and in `detail` what
 * was expected; for the function's own errors, what it has given.
 */
export class HookError extends CallboardError {
  /**
   * @param {string} error
   * @param {{ argument?: any, detail?: any, details?: any }} [frame]
   */
  constructor(error, { argument, detail, details = { argument, detail } } = {}) {
    super("hook_error", typeof detail === "string" ? `${error}: ${detail}` : error, details);
    this.error = error;
  }
}

/** A member of a room. Created by {@link connect}. */
export class Client {
  /** Number of frames and messages that were not understood, and were ignored. */
  malformed = 0;
  /** @type {string} */
  #peerId = "";
  /** @type {Map<string, PeerMetadata>} */
  #peers = new Map();
  /** @type {Map<string, Set<(...told: any[]) => void>>} */
  #listeners = new Map();
  /** @type {Map<string, RTCDataChannelInit>} */
  #labels = new Map([[EVENTS, {}]]);
  /** @type {PeerConnection | null} */
  #peerConnection = null;
  /** Stops listening to changes of the network and the page. */
  #awake = new AbortController();
  #calls = new Calls({
    post: (text) => this.#peerConnection?.post(text) || this.#socket.post(text),
    failed: (error) => this.#emit("error", error),
  });
  #options;
  #socket;

  /**
   * Implements {@link connect}.
   *
   * @param {string | URL} url
   * @param {ConnectOptions} options
   * @returns {Promise<Client>}
   */
  static async join(url, options) {
    const client = new Client(url, options);
    await client.#socket.first;
    return client;
  }

  /**
   * @param {string | URL} url
   * @param {ConnectOptions} options
   */
  constructor(url, options) {
    this.#options = { ...DEFAULTS, ...options };
    this.#socket = new Socket(url, this.#options, {
      state: (state, detail) => this.#stateChanged(state, detail),
      joined: (data) => this.#joined(data),
      received: (frame) => this.#received(frame),
      failed: (error) => this.#emit("error", error),
    });
    whenAwake(this.#awake.signal, (network) => {
      this.#socket.wake();
      if (network) this.#peerConnection?.networkChanged();
    });
  }

  /** Id of this peer in the room. Changes with `rejoined`. */
  get peerId() {
    return this.#peerId;
  }

  /**
   * The other members of the room: their public metadata by their ids.
   *
   * @returns {ReadonlyMap<string, PeerMetadata>}
   */
  get peers() {
    return this.#peers;
  }

  /** @returns {State} */
  get state() {
    return this.#socket.state;
  }

  /**
   * Adds a listener to one of {@link ClientEvents}, or to a message of the application by its name.
   *
   * @template {keyof ClientEvents} Name
   * @overload
   * @param {Name} event
   * @param {(...told: ClientEvents[Name]) => void} listener
   * @returns {() => void} stops listening
   */
  /**
   * @overload
   * @param {string} event
   * @param {(data: any, from: string | null, message: Message) => void} listener
   * @returns {() => void} stops listening
   */
  /**
   * @param {string} event
   * @param {(...told: any[]) => void} listener
   * @returns {() => void}
   */
  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * Sends a message through the room. While there is no connection, the message is queued.
   *
   * @param {string} event
   * @param {any} [data] any JSON
   * @param {string | string[]} [to] all other members, one peer, or several
   * @returns {void}
   * @throws {CallboardError} `queue_full`: too many messages are queued. `too_large`: the server has closed a
   *   connection over a smaller one. `closed`
   */
  send(event, data = null, to = "all") {
    this.#socket.send(JSON.stringify({ event, data, to: to === "all" || Array.isArray(to) ? to : [to] }));
  }

  /**
   * Opens a peer connection to the server. It is reopened automatically whenever it is lost, until it is closed.
   *
   * @param {PeerConnectionOptions} [options]
   * @returns {PeerConnection}
   * @throws {CallboardError} `already_open`: a client has one peer connection at a time. `closed`
   */
  openPeerConnection({ media, channels = {}, iceServers = [] } = {}) {
    if (this.state === "closed") throw closed();
    if (this.#peerConnection && !this.#peerConnection.closed) throw new CallboardError("already_open", "close the other first");
    const labels = new Map([...this.#labels, ...Object.entries(channels)]);
    this.#peerConnection = new PeerConnection({ media, iceServers, ...this.#options }, labels, {
      tell: (event, data) => this.#socket.post(JSON.stringify({ event, data })),
      reachable: () => this.state === "open",
      emit: (event, ...told) => this.#emit(event, ...told),
      data: (channel, data) => this.#data(channel, data),
    });
    // Channels whose options the browser refuses are not created again.
    this.#labels = labels;
    return this.#peerConnection;
  }

  /**
   * Adds a data channel to the peer connection, and to each that replaces it.
   *
   * @param {string} label
   * @param {RTCDataChannelInit} [init]
   * @returns {() => void} closes it
   * @throws {CallboardError} `channel_exists`
   */
  channel(label, init = {}) {
    if (this.#labels.has(label)) throw new CallboardError("channel_exists", `there is a channel ${label}`);
    this.#peerConnection?.addChannel(label, init);
    this.#labels.set(label, init);
    return () => {
      this.#labels.delete(label);
      this.#peerConnection?.removeChannel(label);
    };
  }

  /**
   * Sends to the peer's code on the server: over the data channel with this label if it is open, else over the
   * WebSocket. When one takes over from the other, messages may overtake each other.
   *
   * @param {string} label
   * @param {string} text
   * @returns {void}
   * @throws {CallboardError} `queue_full`: the other side reads too slowly, or too many messages are queued.
   *   `too_large`: the data channel takes no message as large as this. `closed`
   */
  sendData(label, text) {
    const channel = this.#peerConnection?.openChannel(label);
    if (!channel) return this.#socket.send(JSON.stringify({ event: "webrtc:send", data: { channel: label, data: text } }));
    if (channel.bufferedAmount > MAX_BUFFERED) throw queueFull();
    try {
      channel.send(text);
    } catch (error) {
      throw error instanceof TypeError ? tooLarge(this.#peerConnection?.connection.sctp?.maxMessageSize) : queueFull();
    }
  }

  /**
   * Calls a function of the server: over the data channel `events` if it is open, else over the WebSocket.
   *
   * A call is sent once and never again, because the server may have run it. If its data channel is lost, the answer
   * comes over the WebSocket; if that is lost, after the session was resumed. If the session cannot be resumed, or
   * nothing can be sent in the first place, the call fails with `disconnected`.
   *
   * @param {string} plugin
   * @param {string} fn
   * @param {any[]} [args]
   * @param {{ timeout?: number, signal?: AbortSignal }} [options] `timeout` in ms: 10,000
   * @returns {Promise<any>}
   * @throws {HookError} the server's error
   * @throws {CallboardError} `timeout`, `disconnected`, `closed`; if the signal is aborted, its reason. After a timeout
   *   or an abort the server is told to cancel the call.
   */
  async call(plugin, fn, args = [], { timeout = 10_000, signal } = {}) {
    if (this.state === "closed") throw closed();
    return this.#calls.call({ plugin, fn, args }, timeout, signal);
  }

  /**
   * Registers a function that the server may call. Its result is the answer, and an exception becomes an error's text.
   *
   * @param {string} fn
   * @param {(...args: any[]) => any} handler may be async
   * @returns {() => void} removes it
   */
  register(fn, handler) {
    return this.#calls.register(fn, handler);
  }

  /** Leaves the room for good. No listener is called after the `state` that reports it. */
  close() {
    this.#socket.close();
  }

  /**
   * @param {State} state
   * @param {StateDetail} detail
   */
  #stateChanged(state, detail) {
    if (state === "waiting") this.#peerConnection?.socketLost(FAULTS.has(detail.code ?? 0));
    if (state === "closed") {
      this.#awake.abort();
      this.#calls.lost(closed());
      this.#peerConnection?.close();
    } else if (state === "waiting" && !this.#socket.resumable) {
      this.#calls.lost(disconnected());
    }
    this.#emit("state", state, detail);
    if (state === "closed") this.#listeners.clear();
  }

  /**
   * Handles joining: for the first time, again with the same id, or as a new peer.
   *
   * @param {{ peer_id: string, peers?: string[], metadata?: Record<string, PeerMetadata> }} data
   */
  #joined({ peer_id: peerId, peers, metadata }) {
    const previous = this.#peerId;
    this.#peerId = peerId;
    if (previous === peerId) {
      this.#peerConnection?.settle();
      return this.#emit("resumed");
    }
    const present = new Map((Array.isArray(peers) ? peers : []).map((peer) => [peer, object(metadata?.[peer])]));
    if (!previous) return void (this.#peers = present);
    this.#calls.lost(disconnected());
    if (!this.#peerConnection?.closed) this.#peerConnection?.renew();
    this.#presentAre(present);
    this.#emit("rejoined", peerId, previous);
  }

  /**
   * Handles any frame but those of joining.
   *
   * @param {any} frame usually an object; undefined if it is not JSON
   */
  #received(frame) {
    if (this.#calls.handle(frame)) return;
    if (typeof frame?.event !== "string") return void (this.malformed += 1);
    const { event, data = null, from = null, to = "all" } = frame;
    if (from === null && Object.hasOwn(this.#handlers, event)) return this.#handled(event, data);
    const message = { event, data, from, to };
    this.#emit("message", message);
    if (!EVENT_NAMES.has(event)) this.#emit(event, data, from, message);
  }

  /**
   * @param {string} event
   * @param {any} data
   */
  #handled(event, data) {
    try {
      this.#handlers[event](data);
    } catch {
      // The data does not have the form that the event requires.
      this.malformed += 1;
    }
  }

  /** @type {Record<string, (data: any) => void>} handlers of the server's events */
  #handlers = {
    authenticated: misplaced,
    resumed: misplaced,
    joined: ({ peer_id: peer, metadata }) => this.#presentAre(new Map(this.#peers).set(text(peer), object(metadata))),
    left: ({ peer_id: peer }) => this.#presentAre(new Map([...this.#peers].filter(([present]) => present !== text(peer)))),
    room_restarted: ({ peers }) => {
      this.#presentAre(new Map(peers.map(text).map((peer) => [peer, this.#peers.get(peer) ?? object()])));
      this.#emit("room_restarted");
    },
    error: ({ description, details }) => {
      this.#emit("error", serverError(text(description), details));
      if (description === "WebRTC failed") this.#peerConnection?.handleRefusal(details);
    },
    "webrtc:offer": (offer) => this.#peerConnection?.handleOffer({ type: "offer", sdp: text(offer.sdp) }),
    "webrtc:answer": (answer) => this.#peerConnection?.handleAnswer({ type: "answer", sdp: text(answer.sdp) }),
    "webrtc:ice": (candidate) => this.#peerConnection?.handleCandidate(candidate),
    "webrtc:state": ({ state, reason }) => {
      if (state === "rate_limited") {
        this.#peerConnection?.handleWarning();
        return this.#emit("error", serverError("Rate limited", state));
      }
      this.#peerConnection?.handleState(text(state), reason);
    },
    "webrtc:data": ({ channel, data }) => this.#data(text(channel), text(data)),
    // The client's ends of the channels report that.
    "webrtc:channel_open": () => {},
    "webrtc:channel_closed": () => {},
  };

  /** @param {Map<string, PeerMetadata>} present */
  #presentAre(present) {
    const others = new Map([...present].filter(([peer]) => peer !== this.#peerId));
    const gone = [...this.#peers.keys()].filter((peer) => !others.has(peer));
    const come = [...others].filter(([peer]) => !this.#peers.has(peer));
    for (const peer of gone) this.#peers.delete(peer);
    for (const [peer, metadata] of come) this.#peers.set(peer, metadata);
    for (const peer of gone) this.#emit("left", peer);
    for (const [peer, metadata] of come) this.#emit("joined", peer, metadata);
  }

  /**
   * @param {string} channel
   * @param {string | ArrayBuffer} data
   */
  #data(channel, data) {
    if (channel === EVENTS && this.#calls.handle(parse(data))) return;
    this.#emit("data", { channel, data });
  }

  /**
   * Calls the listeners of an event. If one throws, the others are still called.
   *
   * @param {string} event
   * @param {...any} told
   */
  #emit(event, ...told) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      harmless(() => listener(...told));
    }
  }
}

/** WebSocket that is opened, reopened when it is lost, and that tracks whether the client has joined. */
class Socket {
  /** @type {State} */
  state = "connecting";
  /** Settles with the first attempt. @type {Promise<void>} */
  first;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {{ token: string, milliseconds: number } | null} resume token of this connection, and its grace period */
  #resume = null;
  /** Time at which the open connection was opened, or the one to be resumed was lost. */
  #since = 0;
  /** Failed attempts in a row. */
  #failed = 0;
  /** Those of them that found no server or were refused by one, since the server was last asked for its status. */
  #unopened = 0;
  /** Whether the server was reachable when it was last asked, after too many attempts that may have been refused. */
  #doubted = false;
  /** Number of times in a row that the room has not admitted the client again. */
  #turnedAway = 0;
  /** Causes for which connections have ended, by close code. @type {Map<number, Tally>} */
  #deaths = new Map();
  /**
   * Size in bytes of the largest message that the server takes, known for a while once a connection has ended over a
   * larger one: the server may be another one by then.
   */
  #largest = { bytes: Infinity, until: Infinity };
  /** @type {string[]} */
  #waiting = [];
  /** @type {CallboardError | null} the server's error before it closed the connection */
  #farewell = null;
  #asked = false;
  /** Whether the server has opened the connection, so that it has not refused it. */
  #opened = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Runs while the server must prove that it is reachable. @type {ReturnType<typeof setTimeout> | undefined} */
  #probe;
  /** Aborts the request for the HTTP status of a refusal. @type {AbortController | undefined} */
  #asking;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #heartbeat;
  #url;
  #options;
  #events;
  /** @type {{ resolve: () => void, reject: (error: CallboardError) => void } | null} */
  #joining = null;

  /**
   * @param {string | URL} url
   * @param {Required<ConnectOptions>} options
   * @param {{
   *   state: (state: State, detail: StateDetail) => void,
   *   joined: (data: any) => void,
   *   received: (frame: any) => void,
   *   failed: (error: CallboardError) => void,
   * }} events
   */
  constructor(url, options, events) {
    this.#url = new URL(url, document.baseURI);
    this.#url.protocol = this.#url.protocol.replace(/^http/, "ws");
    this.#options = options;
    this.#events = events;
    this.first = new Promise((resolve, reject) => (this.#joining = { resolve, reject }));
    this.#open();
  }

  /** Whether the lost connection can be resumed: then nothing is lost yet. */
  get resumable() {
    return this.#resume !== null;
  }

  /**
   * Sends a text now, or queues it.
   *
   * @param {string} text
   * @throws {CallboardError} `queue_full`, `too_large`, `closed`
   */
  send(text) {
    if (this.state === "closed") throw closed();
    if (performance.now() >= this.#largest.until) this.#largest = { bytes: Infinity, until: Infinity };
    if (isLarger(text, this.#largest.bytes)) throw tooLarge(this.#largest.bytes);
    if (this.post(text)) return;
    if (this.#takes() || this.#waiting.length >= this.#options.queue) throw queueFull();
    this.#waiting.push(text);
  }

  /**
   * Sends a text now or not at all.
   *
   * @param {string} text
   * @returns {boolean} whether it was sent
   */
  post(text) {
    const socket = this.#takes();
    if (!socket || socket.bufferedAmount > MAX_BUFFERED) return false;
    socket.send(text);
    return true;
  }

  close() {
    if (this.state === "closed") return;
    this.#end("closed by this page", undefined, closed());
  }

  /**
   * Reacts to a possible change of the network: reconnects at once, or checks whether the server is still reachable.
   */
  wake() {
    if (this.#is("waiting")) {
      clearTimeout(this.#timer);
      return this.#open();
    }
    const socket = this.#socket;
    if (!socket || this.#joining || this.#probe !== undefined) return;
    if (this.#is("open") && socket.readyState === WebSocket.OPEN) socket.send("ping");
    this.#probe = setTimeout(() => this.#unanswered(socket), PROBE_TIME);
  }

  /** @param {WebSocket} socket */
  #unanswered(socket) {
    return this.#lost(socket, UNANSWERED, "the server does not answer", true);
  }

  /** Returns the socket if it can take messages now, else null. */
  #takes() {
    return this.state === "open" && this.#socket?.readyState === WebSocket.OPEN ? this.#socket : null;
  }

  #open() {
    const url = new URL(this.#url);
    if (this.#resume) url.searchParams.set("resume", this.#resume.token);
    const socket = new WebSocket(url, this.#options.protocols);
    this.#socket = socket;
    this.#farewell = null;
    this.#asked = this.#opened = false;
    socket.onopen = () => (this.#opened = true);
    socket.onmessage = ({ data }) => this.#socket === socket && this.#received(data);
    socket.onclose = ({ code, reason }) => this.#lost(socket, code, reason);
    const tooLong = "the server does not let us in";
    this.#timer = setTimeout(() => this.#lost(socket, UNANSWERED, tooLong, true), this.#options.joinTimeout);
    this.#heartbeat = setInterval(() => {
      // The browser answers the server's pings silently, so a dead path shows only if the client pings too.
      if (this.#asked) return void this.#unanswered(socket);
      if (socket.readyState !== WebSocket.OPEN) return;
      this.#asked = true;
      socket.send("ping");
    }, this.#options.heartbeat);
    this.#tell("connecting", { reason: "" });
  }

  /** @param {unknown} data */
  #received(data) {
    this.#asked = false;
    clearTimeout(this.#probe);
    this.#probe = undefined;
    if (data === "pong") return;
    const frame = parse(data);
    const ours = frame?.from == null;
    if (ours && this.state !== "open" && (frame?.event === "authenticated" || frame?.event === "resumed")) {
      if (typeof frame.data?.peer_id === "string") return this.#joined(frame.data);
    }
    if (ours && frame?.event === "error" && FAREWELLS.has(frame.data?.description)) {
      this.#farewell = serverError(frame.data.description, frame.data.details);
    }
    this.#events.received(frame);
  }

  /** @param {any} data */
  #joined(data) {
    clearTimeout(this.#timer);
    const { token, grace_ms: milliseconds } = data.resume ?? {};
    this.#resume = typeof token === "string" ? { token, milliseconds: Number(milliseconds) || 0 } : null;
    this.#since = performance.now();
    this.#unopened = this.#turnedAway = 0;
    this.#doubted = false;
    this.state = "open";
    // Each is sent once: if it ends the connection, it is gone.
    for (const text of this.#waiting.splice(0)) this.#socket?.send(text);
    this.#joining?.resolve();
    this.#joining = null;
    this.#events.joined(data);
    // A listener to this finds everything up to date, unless another listener has closed the client.
    if (this.#is("open")) this.#tell("open", { reason: "" });
  }

  /**
   * @param {WebSocket} socket
   * @param {number} code
   * @param {string} reason
   * @param {boolean} [ours] whether this client has closed it
   */
  async #lost(socket, code, reason, ours = false) {
    if (this.#socket !== socket) return;
    this.#drop(UNANSWERED);
    const [open, now] = [this.state === "open", performance.now()];
    const turnedAway = this.#farewell?.code === "could_not_join_room";
    if (this.#joining) {
      const refused = new CallboardError("refused", "no WebSocket: refused by the server, or there is no server", { code, reason });
      const error = ours ? new CallboardError("timeout", reason) : refused;
      return this.#end(error.message, code, this.#farewell ?? error);
    }
    if (!ours && !turnedAway && isForGood(code)) return this.#end(this.#farewell?.message || reason || "closed by the server", code);
    if (this.#farewell?.code === "message_too_large") {
      this.#largest = { bytes: Math.min(this.#largest.bytes, Number(this.#farewell.details?.max_bytes) || Infinity), until: now + MEMORY };
    }
    if (!ours && FAULTS.has(code) && this.#hasDied(code)) return this.#giveUp("the connection died of the same again and again", code, reason);
    if (turnedAway && (this.#turnedAway += 1) > REPEATS) return this.#giveUp("the room does not let us in again", code, reason);
    // A browser closes a page's connections before it tells the page that it leaves it.
    const leaving = !ours && code === GOING_AWAY && reason === "";
    if (open && (this.#farewell || leaving || !RESUMABLE.has(code))) this.#resume = null;
    if (open && now - this.#since >= STABLE) this.#failed = 0;
    if (open) this.#since = now;
    else if (this.#resume && (now - this.#since >= this.#resume.milliseconds || (!ours && !this.#opened && (await this.#status()) !== UNREACHABLE))) {
      // It was refused, not unreachable: the peer has ended.
      this.#resume = null;
    }
    if (this.#is("closed")) return;
    if (!open && !ours && !turnedAway && (await this.#isRefused())) return this.#giveUp("the server refuses us again and again", code, reason);
    if (this.#is("closed")) return;
    if (this.#failed >= this.#options.attempts) return this.#end("too many attempts", code);

    // The member that keeps the client out may be its own earlier peer, from before the connection was lost.
    const delay = Math.max(
      turnedAway ? this.#options.longestDelay * AFTER_NO[this.#turnedAway - 1] : backoff(this.#failed, this.#options),
      leaving ? LEAVING_TIME : 0,
    );
    this.#failed += 1;
    this.#timer = setTimeout(() => this.#open(), delay);
    this.#tell("waiting", { reason: this.#farewell?.message ?? reason, code, delay });
  }

  /**
   * @param {number} code
   * @returns {boolean} whether connections have ended with this code too often
   */
  #hasDied(code) {
    const tally = this.#deaths.get(code) ?? new Tally(REPEATS, MEMORY);
    this.#deaths.set(code, tally);
    return tally.add();
  }

  /** Returns whether a reachable server has refused too many attempts in a row. Asks it once in a while. */
  async #isRefused() {
    const { refusals } = this.#options;
    this.#unopened += 1;
    if (this.#unopened < refusals - 1) return false;
    const status = await this.#status();
    // The status of a server of another origin cannot be seen; overload, or a proxy without a server, does not count.
    const refuses = !this.#is("closed") && status >= 400 && status < 500 && status !== 408 && status !== 429;
    // The attempts so far may have found no server, which is back now: it must refuse another one.
    const refused = refuses && (this.#doubted || refusals <= 1);
    this.#doubted = refuses;
    this.#unopened = refuses ? refusals - 2 : 0;
    return refused;
  }

  /**
   * Asks for the HTTP status of a request without an upgrade: of a WebSocket the browser tells only that it failed.
   *
   * @returns {Promise<number>} the HTTP status; 0 if it cannot be seen, {@link UNREACHABLE} if there is no answer
   */
  async #status() {
    const url = new URL(this.#url);
    url.protocol = url.protocol.replace(/^ws/, "http");
    const asking = new AbortController();
    this.#asking = asking;
    const timer = setTimeout(() => asking.abort(), ANSWER_TIME);
    try {
      // The server rejects this request, which asks for no WebSocket. Another origin's answer cannot be read, but is
      // enough.
      const { status } = await fetch(url, { mode: "no-cors", cache: "no-store", signal: asking.signal });
      return status;
    } catch {
      return UNREACHABLE;
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Gives up, and tells the page why.
   *
   * @param {string} why
   * @param {number} code
   * @param {string} reason
   */
  #giveUp(why, code, reason) {
    const said = this.#farewell && { error: this.#farewell.code, details: this.#farewell.details };
    this.#events.failed(new CallboardError("gave_up", why, { code, reason, ...said }));
    if (!this.#is("closed")) this.#end(why, code);
  }

  /**
   * @param {string} reason
   * @param {number} [code]
   * @param {CallboardError} [error] for the caller that waits to join
   */
  #end(reason, code, error = closed()) {
    this.#drop(1000);
    this.#waiting = [];
    this.#joining?.reject(error);
    this.#joining = null;
    this.#tell("closed", { reason, code });
  }

  /**
   * Closes and forgets the socket.
   *
   * @param {number} code if it is still open
   */
  #drop(code) {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#timer);
    clearTimeout(this.#probe);
    this.#probe = undefined;
    clearInterval(this.#heartbeat);
    this.#asking?.abort();
    socket?.close(code);
  }

  /**
   * @param {State} state
   * @param {StateDetail} detail
   */
  #tell(state, detail) {
    this.state = state;
    this.#events.state(state, detail);
  }

  /** @param {State} state */
  #is(state) {
    return this.state === state;
  }
}

/** Calls in both directions, over the data channel or the WebSocket, whichever is open. */
class Calls {
  #next = 1;
  /** @type {Map<number, { resolve: (data: any) => void, reject: (error: any) => void }>} */
  #pending = new Map();
  /** @type {Map<string, (...args: any[]) => any>} */
  #functions = new Map();
  /** Number of running calls by the server. */
  #running = 0;
  #host;

  /**
   * @param {object} host
   * @param {(text: string) => boolean} host.post sends over the way that is open now; false: none is
   * @param {(error: CallboardError) => void} host.failed gets errors that belong to no particular call
   */
  constructor(host) {
    this.#host = host;
  }

  /**
   * @param {{ plugin: string, fn: string, args: any[] }} call
   * @param {number} timeout
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   */
  async call(call, timeout, signal) {
    signal?.throwIfAborted();
    const id = this.#next++;
    if (!this.#host.post(JSON.stringify({ type: "call_hook", id, ...call }))) throw disconnected();
    const over = new AbortController();
    try {
      return await new Promise((resolve, reject) => {
        this.#pending.set(id, { resolve, reject });
        /** @param {any} error */
        const cancel = (error) => {
          reject(error);
          this.#host.post(JSON.stringify({ type: "cancel_hook", id }));
        };
        const timer = setTimeout(() => cancel(new CallboardError("timeout", `${call.plugin}.${call.fn}`)), timeout);
        over.signal.addEventListener("abort", () => clearTimeout(timer));
        signal?.addEventListener("abort", () => cancel(signal.reason), { signal: over.signal });
      });
    } finally {
      this.#pending.delete(id);
      over.abort();
    }
  }

  /**
   * @param {string} fn
   * @param {(...args: any[]) => any} handler
   */
  register(fn, handler) {
    this.#functions.set(fn, handler);
    return () => void (this.#functions.get(fn) === handler && this.#functions.delete(fn));
  }

  /**
   * @param {any} frame
   * @returns {boolean} whether it is a frame of RPC
   */
  handle(frame) {
    switch (frame?.type) {
      case "call_hook":
        this.#answer(frame);
        return true;
      case "hook_reply":
        this.#pending.get(frame.id)?.resolve(frame.data ?? null);
        return true;
      case "hook_error":
        this.#refused(frame.id, new HookError(String(frame.error), frame));
        return true;
      case "cancel_hook":
        // The server no longer waits. The function runs on, and its answer is ignored.
        return true;
      default:
        return false;
    }
  }

  /**
   * @param {any} id none if the server could not even read the frame
   * @param {HookError} error
   */
  #refused(id, error) {
    if (id == null) this.#host.failed(error);
    else this.#pending.get(id)?.reject(error);
  }

  /**
   * Fails all pending calls, which will not be answered any more.
   *
   * @param {CallboardError} error
   */
  lost(error) {
    for (const call of this.#pending.values()) call.reject(error);
  }

  /** @param {{ id?: any, fn?: any, args?: any }} call by the server */
  async #answer({ id, fn, args = [] }) {
    /** @param {any} answer */
    const post = (answer) => {
      const text = JSON.stringify({ ...answer, id });
      this.#host.post(isLarger(text, MAX_ANSWER) ? JSON.stringify({ type: "hook_error", error: "too_large", id }) : text);
    };
    /** @param {string} error */
    const refuse = (error) => post({ type: "hook_error", error });
    const handler = this.#functions.get(fn);
    if (!handler) return refuse("unknown_function");
    if (!Array.isArray(args)) return refuse("invalid_args");
    if (this.#running >= MAX_RUNNING) return refuse("overloaded");
    this.#running += 1;
    try {
      post({ type: "hook_reply", data: (await handler(...args)) ?? null });
    } catch (error) {
      // Also if the result cannot be written as JSON.
      refuse(words(error));
    } finally {
      this.#running -= 1;
    }
  }
}

/** Peer connection to the server, and each that replaces it. Created by {@link Client#openPeerConnection}. */
export class PeerConnection {
  /** The browser's current peer connection: another one after a loss for good. @type {RTCPeerConnection} */
  connection;
  /** Whether it was closed for good. */
  closed = false;
  #options;
  #labels;
  #host;
  /** @type {Map<string, RTCDataChannel>} the current channels, open or not */
  #channels = new Map();
  /** Transceivers that send the tracks of `media`. @type {Map<MediaStreamTrack, RTCRtpTransceiver>} */
  #sending = new Map();
  /** Tracks that the page has stopped sending: a new connection does not send them. @type {Set<MediaStreamTrack>} */
  #stopped = new Set();
  /** Whether an offer is due that could not be sent to the server. */
  #owed = false;
  /** Whether a round is being started, by this client or by the server. */
  #offering = false;
  /** Whether an offer of this connection was sent to the server. */
  #offered = false;
  /** Descriptions of the server are set one after the other. */
  #descriptions = Promise.resolve();
  /** Whether the server has answered this connection: its earlier messages are about the previous one. */
  #answered = false;
  #restarted = false;
  /** Candidates that arrived before their description. @type {any[]} */
  #early = [];
  /** Connections in a row that failed. */
  #failed = 0;
  /** Connections that replaced a lost one. */
  #reopened = new Tally(MAX_REOPENED, MEMORY);
  /** Failures that the same offer would repeat, by cause: how often in a row. @type {Map<string, number>} */
  #same = new Map();
  /** Whether the server has warned about the rate of this connection. */
  #warned = false;
  /** Connections that the server has closed after a warning. */
  #flooded = new Tally(REPEATS, MEMORY);
  /** Evidence that an unanswered offer makes the socket fail: lost sockets, weighted. */
  #suspicion = 0;
  /** Set while no connection is tried; `network`: whether its change may help. @type {{ network: boolean } | null} */
  #resting = null;
  #connectedAt = Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #answerTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #stateTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #reopening;

  /**
   * @param {Required<ConnectOptions> & { media?: PeerConnectionOptions["media"], iceServers: RTCIceServer[] }} options
   * @param {Map<string, RTCDataChannelInit>} labels of the channels to create
   * @param {{
   *   tell: (event: string, data: any) => boolean,
   *   reachable: () => boolean,
   *   emit: (event: string, ...told: any[]) => void,
   *   data: (channel: string, data: string | ArrayBuffer) => void,
   * }} host
   */
  constructor(options, labels, host) {
    this.#options = options;
    this.#labels = labels;
    this.#host = host;
    this.connection = this.#open();
  }

  /** @returns {RTCPeerConnectionState} */
  get state() {
    if (this.#resting) return "failed";
    return this.#reopening === undefined ? this.connection.connectionState : "new";
  }

  /**
   * Sends a frame of RPC, if its channel is open and takes it.
   *
   * @param {string} text
   * @returns {boolean} whether it was sent
   */
  post(text) {
    const channel = this.openChannel(EVENTS);
    if (!channel || channel.bufferedAmount > MAX_BUFFERED) return false;
    try {
      channel.send(text);
      return true;
    } catch {
      // It is larger than the channel accepts.
      return false;
    }
  }

  /** Closes the connection for good, here and on the server. */
  close() {
    if (this.closed) return;
    this.closed = true;
    this.#dispose();
    this.#host.tell("webrtc:close", {});
    this.#host.emit("webrtc", "closed");
  }

  /**
   * @param {string} label
   * @returns {RTCDataChannel | undefined}
   */
  openChannel(label) {
    const channel = this.#channels.get(label);
    return channel?.readyState === "open" ? channel : undefined;
  }

  /**
   * @param {string} label
   * @param {RTCDataChannelInit} init
   */
  addChannel(label, init) {
    if (this.connection.signalingState === "closed") return;
    this.#adopt(this.connection.createDataChannel(label, init), this.connection);
  }

  /** @param {string} label */
  removeChannel(label) {
    this.#channels.get(label)?.close();
  }

  /** Tries again, after `webrtc_gave_up`. */
  retry() {
    if (this.closed || !this.#resting) return;
    this.#resting = null;
    this.#failed = this.#suspicion = 0;
    this.#same.clear();
    this.#reopened.clear();
    this.#flooded.clear();
    this.renew();
  }

  /** Starts a new connection at once, because the server does not know the old one. */
  renew() {
    if (this.#resting) return;
    if (this.#reopening === undefined) this.#host.emit("webrtc", "new");
    if (this.closed) return;
    this.#dispose();
    try {
      this.connection = this.#open();
    } catch (error) {
      // The browser has reached its limit of connections.
      this.#host.emit("error", new CallboardError("no_offer", String(error)));
      this.#reopen("no_offer");
    }
  }

  /**
   * Handles the loss of the socket. It may have failed because of this client's offer, and would fail with the next one
   * too.
   *
   * @param {boolean} fault whether the server has closed it over something that was sent
   */
  socketLost(fault) {
    if (this.closed || this.#resting || this.#answerTimer === undefined) return;
    this.#suspicion += fault ? 3 : 1;
    if (this.#suspicion > 5) this.#rest("the connection to the server is lost whenever this is offered", false);
  }

  /** Handles a possible change of the network: the old path may be dead. */
  networkChanged() {
    if (this.closed) return;
    if (this.#resting?.network) return this.retry();
    if (!this.#answered || this.#restarted || this.#reopening !== undefined) return;
    // A connection that still counts as connected reports it if it finds no other path.
    if (this.connection.connectionState === "connected") this.connection.restartIce();
    else this.#restart();
  }

  /** Handles a warning of the server about the rate. */
  handleWarning() {
    this.#warned = true;
  }

  /** Sends an offer that is due, once it can be sent. */
  settle() {
    if (this.#owed && this.connection.signalingState === "stable") this.#offer(this.connection);
  }

  /** @param {RTCSessionDescriptionInit} answer */
  handleAnswer(answer) {
    const { connection } = this;
    this.#descriptions = this.#descriptions.then(() => this.#takeAnswer(answer, connection));
  }

  /** @param {RTCSessionDescriptionInit} offer */
  handleOffer(offer) {
    const { connection } = this;
    this.#descriptions = this.#descriptions.then(() => this.#takeOffer(offer, connection));
  }

  /**
   * @param {RTCSessionDescriptionInit} answer
   * @param {RTCPeerConnection} connection
   */
  async #takeAnswer(answer, connection) {
    if (connection !== this.connection || this.closed || connection.signalingState !== "have-local-offer") return;
    this.#stopWaiting();
    try {
      await connection.setRemoteDescription(answer);
    } catch (error) {
      if (connection !== this.connection || this.closed) return;
      this.#host.emit("error", new CallboardError("bad_answer", String(error)));
      return this.#reopen("bad_answer");
    }
    if (connection !== this.connection || this.closed) return;
    this.#answered = true;
    this.#suspicion = 0;
    this.#same.clear();
    if (connection.connectionState === "new") this.#within(CONNECT_TIME, () => this.#giveUp());
    for (const candidate of this.#early.splice(0)) this.handleCandidate(candidate);
    this.settle();
  }

  /**
   * Handles an offer of the server. If both sides offer, the server's offer is dropped, and the server offers again
   * later.
   *
   * @param {RTCSessionDescriptionInit} offer
   * @param {RTCPeerConnection} connection
   */
  async #takeOffer(offer, connection) {
    if (connection !== this.connection || this.closed || !this.#answered) return;
    if (this.#offering || connection.signalingState !== "stable") return;
    this.#offering = true;
    try {
      await connection.setRemoteDescription(offer);
      await connection.setLocalDescription();
    } catch (error) {
      if (connection !== this.connection || this.closed) return;
      this.#host.emit("error", new CallboardError("bad_offer", String(error)));
      return this.#reopen("bad_offer");
    }
    if (connection !== this.connection || this.closed) return;
    this.#offering = false;
    const { type, sdp } = connection.localDescription ?? {};
    if (!this.#host.tell("webrtc:answer", { type, sdp })) return this.#reopen();
    this.settle();
  }

  /** @param {RTCIceCandidateInit | null} candidate */
  handleCandidate(candidate) {
    if (this.#answered) {
      // A candidate that does not fit belongs to the previous connection, or to the time before an ICE restart.
      this.connection.addIceCandidate(candidate ?? undefined).catch(() => {});
    } else if (this.#early.length < MAX_EARLY) {
      this.#early.push(candidate);
    }
  }

  /**
   * @param {string} state of the server's side
   * @param {string} [reason] if it has ended, and neither side has just closed it
   */
  handleState(state, reason) {
    if (!this.#answered || (state !== "failed" && state !== "closed")) return;
    if (this.#warned && this.#flooded.add()) return this.#rest("more was sent than the server takes, again and again", false);
    this.#reopen(undefined, reason);
  }

  /** @param {{ event?: string, error?: string } | null} details */
  handleRefusal(details) {
    if (this.closed) return;
    const { event, error } = details ?? {};
    if (error === "webrtc_disabled") return this.close();
    const offered = event === "webrtc:offer" && this.connection.signalingState === "have-local-offer";
    // The next offer would fail in the same way.
    if (offered) this.#reopen(error === "bad_description" ? error : undefined);
    else if (error === "no_webrtc_session" && this.#answered) this.#reopen();
    // Only this client takes the round for completed. After a timeout it has not answered.
    else if (event === "webrtc:answer" && error !== "timeout" && this.#answered) this.#reopen();
  }

  #open() {
    const connection = new RTCPeerConnection({ iceServers: this.#options.iceServers, bundlePolicy: "max-bundle" });
    this.#answered = this.#restarted = this.#owed = this.#offering = this.#offered = this.#warned = false;
    this.#early = [];
    // The last description of a closed connection may stay pending for ever.
    this.#descriptions = Promise.resolve();
    this.#connectedAt = Infinity;
    // If both sides offer, the server gives way; the browser asks again after a round, so rounds do not overlap.
    connection.onnegotiationneeded = () => this.#offer(connection);
    connection.onicecandidate = ({ candidate }) => this.#found(candidate);
    connection.onconnectionstatechange = () => this.#stateChanged(connection);
    connection.ondatachannel = ({ channel }) => this.#adopt(channel, connection);
    connection.ontrack = (event) => this.#host.emit("track", event);
    try {
      for (const [label, init] of this.#labels) this.#adopt(connection.createDataChannel(label, init), connection);
    } catch (error) {
      connection.close();
      throw error;
    }
    const { media } = this.#options;
    if (typeof media === "function") harmless(() => media(connection));
    return connection;
  }

  /**
   * Adds the tracks of `media` to the next offer.
   *
   * @param {RTCPeerConnection} connection
   * @returns {boolean} whether there are any
   */
  #addTracks(connection) {
    const { media } = this.#options;
    if (!media || typeof media === "function") return false;
    for (const track of media.getTracks()) {
      if (this.#stopped.has(track)) continue;
      const sender = connection.addTrack(track, media);
      const transceiver = connection.getTransceivers().find((one) => one.sender === sender);
      if (transceiver) this.#sending.set(track, transceiver);
    }
    return this.#sending.size > 0;
  }

  /**
   * @param {RTCDataChannel} channel
   * @param {RTCPeerConnection} connection
   */
  #adopt(channel, connection) {
    const { label } = channel;
    channel.binaryType = "arraybuffer";
    this.#channels.set(label, channel);
    let open = false;
    channel.onopen = () => {
      open = true;
      this.#host.emit("channel_open", label);
    };
    channel.onclose = () => {
      if (this.#channels.get(label) === channel) this.#channels.delete(label);
      if (open) this.#host.emit("channel_closed", label);
      open = false;
    };
    channel.onmessage = ({ data }) => connection === this.connection && this.#host.data(label, data);
  }

  /** @param {RTCPeerConnection} connection */
  async #offer(connection) {
    if (connection !== this.connection) return;
    this.#owed = true;
    if (this.#offering || !this.#host.reachable()) return;
    this.#offering = true;
    try {
      await connection.setLocalDescription();
      // So the data section comes first, and carries the transport for all. If it were one that can be stopped, that
      // would take the transport away.
      const isFirst = connection === this.connection && !this.#offered;
      if (isFirst && this.#addTracks(connection)) await connection.setLocalDescription();
    } catch (error) {
      if (connection !== this.connection || this.closed) return;
      this.#host.emit("error", new CallboardError("no_offer", String(error)));
      return this.#reopen("no_offer");
    }
    if (connection !== this.connection || this.closed) return;
    this.#offering = false;
    this.#owed = false;
    const { type, sdp } = connection.localDescription ?? {};
    if (!this.#host.tell("webrtc:offer", { type, sdp })) return this.#reopen();
    if (!this.#offered && connection.iceGatheringState === "complete") this.#host.tell("webrtc:ice", null);
    this.#offered = true;
    this.#answerTimer = setTimeout(() => this.#reopen(), ANSWER_TIME);
  }

  /** Notes that no offer is unanswered any more. */
  #stopWaiting() {
    clearTimeout(this.#answerTimer);
    this.#answerTimer = undefined;
  }

  /** @param {RTCIceCandidate | null} candidate */
  #found(candidate) {
    // Some browsers mark the end with an empty candidate, all mark it with null.
    if (candidate && !candidate.candidate) return;
    // An offer holds all candidates that were found before it.
    if (!this.#offered) return;
    if (!this.#host.tell("webrtc:ice", candidate?.toJSON() ?? null)) this.#owed = true;
  }

  /** @param {RTCPeerConnection} connection */
  #stateChanged(connection) {
    const { connectionState: state, iceConnectionState: ice } = connection;
    this.#host.emit("webrtc", state);
    // A listener may have closed it.
    if (connection !== this.connection || this.closed) return;
    switch (state) {
      case "connecting":
        if (this.#stateTimer === undefined) this.#within(CONNECT_TIME, () => this.#giveUp());
        break;
      case "connected":
        this.#within(0, null);
        this.#restarted = false;
        this.#connectedAt = performance.now();
        break;
      case "disconnected":
        this.#within(DISCONNECTED_TIME, () => this.#restart());
        break;
      case "failed":
        // If ICE is not the cause, a restart does not help.
        if (ice === "failed" && !this.#restarted) this.#restart();
        else this.#reopen();
        break;
    }
  }

  #restart() {
    this.#restarted = true;
    this.connection.restartIce();
    this.#within(CONNECT_TIME, () => this.#giveUp());
  }

  #giveUp() {
    if (this.#host.reachable()) this.#reopen();
    else this.#within(CONNECT_TIME, () => this.#giveUp());
  }

  /**
   * @param {number} milliseconds
   * @param {(() => void) | null} then
   */
  #within(milliseconds, then) {
    clearTimeout(this.#stateTimer);
    this.#stateTimer = then ? setTimeout(then, milliseconds) : undefined;
  }

  /**
   * Starts a new connection after a delay, unless that has been done too often.
   *
   * @param {string} [same] failure that the same offer would repeat
   * @param {string} [reason] given by the server
   */
  #reopen(same, reason) {
    if (this.closed || this.#resting || this.#reopening !== undefined) return;
    const times = same ? (this.#same.get(same) ?? 0) + 1 : 0;
    if (same) this.#same.set(same, times);
    if (times > REPEATS) return this.#rest(`${same}, again and again`, false);
    if (this.#reopened.add()) return this.#rest("no connection lasts", true);
    if (performance.now() - this.#connectedAt >= STABLE) this.#failed = 0;
    this.#dispose();
    // An offer of another connection tells the server that this one is over.
    this.#reopening = setTimeout(() => this.renew(), backoff(this.#failed, this.#options));
    this.#failed += 1;
    this.#host.emit("webrtc", "new", ...(reason ? [{ reason }] : []));
  }

  /**
   * Gives up, until the page calls `retry` or, if that may help, the network changes.
   *
   * @param {string} cause
   * @param {boolean} network
   */
  #rest(cause, network) {
    this.#dispose();
    this.#resting = { network };
    this.#host.emit("webrtc", "failed");
    this.#host.emit("error", new CallboardError("webrtc_gave_up", `no peer connection to the server: ${cause}`, { cause }));
  }

  #dispose() {
    this.#stopWaiting();
    clearTimeout(this.#reopening);
    this.#reopening = undefined;
    this.#within(0, null);
    const { connection } = this;
    for (const [track, { direction }] of this.#sending) if (direction === "stopped") this.#stopped.add(track);
    this.#sending.clear();
    connection.onnegotiationneeded = connection.onicecandidate = connection.onconnectionstatechange = null;
    connection.ondatachannel = connection.ontrack = null;
    connection.close();
    for (const channel of [...this.#channels.values()]) {
      // Closing a connection fires no close events of its channels.
      channel.onclose?.(new Event("close"));
      channel.onopen = channel.onclose = channel.onmessage = null;
    }
  }
}

/** Counter of events that must not happen too often. */
class Tally {
  /** @type {number[]} */
  #times = [];
  #most;
  #within;

  /**
   * @param {number} most
   * @param {number} within milliseconds
   */
  constructor(most, within) {
    this.#most = most;
    this.#within = within;
  }

  /**
   * Counts an event.
   *
   * @returns {boolean} whether it has happened too often
   */
  add() {
    const now = performance.now();
    this.#times = [...this.#times.filter((time) => now - time < this.#within), now];
    return this.#times.length > this.#most;
  }

  clear() {
    this.#times = [];
  }
}

/**
 * Reports changes that connections notice only after a while: the network is back or another one, the page is visible
 * again, the computer has slept.
 *
 * @param {AbortSignal} signal ends it
 * @param {(network: boolean) => void} changed gets whether it is about the network
 */
function whenAwake(signal, changed) {
  addEventListener("online", () => changed(true), { signal });
  addEventListener("pageshow", ({ persisted }) => persisted && changed(true), { signal });
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && changed(false), { signal });
  // Not available in every browser; it also reports mere changes of speed.
  const network = /** @type {any} */ (navigator).connection;
  let kind = network?.type;
  network?.addEventListener?.(
    "change",
    () => {
      const another = network.type !== kind;
      kind = network.type;
      changed(another);
    },
    { signal },
  );
  let looked = Date.now();
  const looking = setInterval(() => {
    const [now, before] = [Date.now(), looked];
    looked = now;
    if (now - before > LOOK + SLEPT) changed(true);
  }, LOOK);
  signal.addEventListener("abort", () => clearInterval(looking));
}

/**
 * Runs the page's own code: its exceptions are reported to the page, and stop nothing here.
 *
 * @param {() => void} run
 */
function harmless(run) {
  try {
    run();
  } catch (error) {
    reportError(error);
  }
}

/**
 * Returns the text of anything that was thrown.
 *
 * @param {unknown} error
 * @returns {string}
 */
function words(error) {
  try {
    return String(error instanceof Error ? error.message : error);
  } catch {
    return "error";
  }
}

/**
 * Parses JSON; undefined if it is not JSON.
 *
 * @param {unknown} text
 * @returns {any}
 */
function parse(text) {
  try {
    return typeof text === "string" ? JSON.parse(text) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {unknown} value
 * @returns {string}
 * @throws {TypeError} if it is not a string
 */
function text(value) {
  if (typeof value !== "string") throw new TypeError("no string");
  return value;
}

/**
 * @param {unknown} [value]
 * @returns {PeerMetadata} empty if it is no object
 */
function object(value) {
  return Object.freeze(value && typeof value === "object" && !Array.isArray(value) ? value : {});
}

/**
 * @returns {never}
 * @throws {TypeError}
 */
function misplaced() {
  throw new TypeError("not now");
}

/**
 * Returns whether the client must not come back: the peer was stopped, the room closed, or the application has said so.
 *
 * @param {number} code close code of the WebSocket
 */
function isForGood(code) {
  return code === 1000 || (code >= 4000 && code <= 4999);
}

/**
 * @param {string} text
 * @param {number} bytes
 */
function isLarger(text, bytes) {
  // A UTF-16 code unit takes at most three bytes, and usually one.
  return text.length * 3 > bytes && new TextEncoder().encode(text).length > bytes;
}

/**
 * Computes a delay with full jitter, so that clients do not all reconnect at the same moment after a restart of the
 * server.
 *
 * @param {number} failed attempts before this one
 * @param {{ firstDelay: number, longestDelay: number }} delays
 * @returns {number} milliseconds
 */
function backoff(failed, { firstDelay, longestDelay }) {
  return Math.random() * Math.min(longestDelay, firstDelay * 2 ** failed);
}

/**
 * @param {string} description
 * @param {any} details
 * @returns {CallboardError}
 */
function serverError(description, details = null) {
  return new CallboardError(description.toLowerCase().replaceAll(" ", "_"), description, details);
}

function closed() {
  return new CallboardError("closed", "the client was closed");
}

function disconnected() {
  return new CallboardError("disconnected", "the connection was lost; the call may have run or not");
}

/** @param {number | undefined} bytes size of the largest accepted message */
function tooLarge(bytes) {
  return new CallboardError("too_large", "the server takes no message as large as this", { max_bytes: bytes });
}

function queueFull() {
  return new CallboardError("queue_full", "too much waits to be sent");
}

/** Label of the data channel for calls, which every peer connection has. */
const EVENTS = "events";
/** Names of the client's own events: messages of the application with these names reach only listeners of `message`. */
const EVENT_NAMES = new Set([
  ..."joined left room_restarted resumed rejoined message error state".split(" "),
  ..."webrtc track channel_open channel_closed data".split(" "),
]);
/** Errors after which the server closes the connection, so that they say more than its close code. */
const FAREWELLS = new Set(["Could not join room", "Room closed", "Message too large"]);
const DEFAULTS = {
  /** @type {string[] | string} */
  protocols: [],
  firstDelay: 250,
  longestDelay: 10_000,
  attempts: Infinity,
  refusals: 20,
  queue: 256,
  joinTimeout: 10_000,
  heartbeat: 15_000,
};
/** This client's close code for a server that does not answer ("Timeout"); the server does not take it for leaving. */
const UNANSWERED = 3008;
/** Close code of a server that shuts down, with a reason, and of this page's browser ("Going away"), without one. */
const GOING_AWAY = 1001;
/** Delay before a page reconnects that its browser may be leaving, in ms: for the server, its peer has left. */
const LEAVING_TIME = 2_000;
/** Close codes of a connection that can be resumed: there was none, or one side did not hear from the other. */
const RESUMABLE = new Set([1006, GOING_AWAY, UNANSWERED]);
/** Close codes for an error of this client, or of the server over something that the client sent and may send again. */
const FAULTS = new Set([1002, 1003, 1007, 1008, 1009, 1010, 1011, 1013]);
/** Number of retries of something that fails in the same way. */
const REPEATS = 2;
/** How long a failure is remembered, in ms. */
const MEMORY = 600_000;
/** Number of times that a lost peer connection is replaced within that time. */
const MAX_REOPENED = 12;
/**
 * Delays before joining a room again that has not admitted the client, in longest delays: its old peer there may have
 * to time out.
 */
const AFTER_NO = [1.5, 6];
/** How long the server may take to answer after a possible change of the network, in ms. */
const PROBE_TIME = 3_000;
/** Value that is not an HTTP status: no answer. */
const UNREACHABLE = -1;
/** Interval of looks at the clock, and its lead after the computer has slept, in ms. */
const [LOOK, SLEPT] = [5_000, 10_000];
/** Size limit of an answer to a call by the server, in bytes. */
const MAX_ANSWER = 65_536;
/** Time after which a connection does not count as failed, in ms. */
const STABLE = 5_000;
/** Time limit of an answer to an offer, in ms. */
const ANSWER_TIME = 10_000;
/** Time limit of ICE and DTLS, in ms. */
const CONNECT_TIME = 15_000;
/** Time that a connection may be disconnected before ICE is restarted, in ms: a short gap heals by itself. */
const DISCONNECTED_TIME = 3_000;
/** Bytes that may wait in the browser for one socket or channel. */
const MAX_BUFFERED = 1 << 20;
/** Number of candidates that may wait for a description. */
const MAX_EARLY = 64;
/** Number of calls by the server that may run at the same time. */
const MAX_RUNNING = 64;
