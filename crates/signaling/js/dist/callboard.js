// @ts-check
// Made from the modules in src/ by build.js: change those.

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

// Types that the client's API speaks of.

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
 * @property {WebSocketClass} [WebSocket] class of WebSockets, for a platform that has none. Default: that of the platform
 */
/** @typedef {new (url: URL, protocols?: string | string[]) => WebSocketLike} WebSocketClass such as that of npm's `ws` */
/**
 * @typedef {object} WebSocketLike what the client uses of a WebSocket
 * @property {number} readyState
 * @property {number} bufferedAmount
 * @property {((event: any) => any) | null} onopen
 * @property {((event: any) => any) | null} onmessage gets a text as a string
 * @property {((event: any) => any) | null} onclose
 * @property {((event: any) => any) | null} onerror
 * @property {(text: string) => void} send
 * @property {(code?: number) => void} close
 */
/** @typedef {Required<Omit<ConnectOptions, "WebSocket">> & Pick<ConnectOptions, "WebSocket">} Options with defaults */
/**
 * @typedef {object} PeerConnectionOptions
 * @property {MediaStream | ((connection: RTCPeerConnection) => void)} [media] media to send: a stream, with all its
 *   tracks except those whose transceiver the page has stopped, or a function that sets up each new peer connection (a
 *   lost one is replaced by a new one)
 * @property {{ audio?: number, video?: number }} [receive] sections to receive the others' media in, beside those of
 *   `media`, which can receive too. Each holds one track at a time; where the others publish more, sections are added, up
 *   to 25 of a kind. Default: none
 * @property {Record<string, RTCDataChannelInit>} [channels] data channels beside `events`, by label
 * @property {RTCIceServer[]} [iceServers] STUN and TURN servers
 * @property {boolean} [simulcast] whether pictures of `media` are sent in two or three sizes: each of the others
 *   gets the one that it shows; only where they are large enough. Default: where `receive` is given
 */
/**
 * @typedef {object} Wish for one track
 * @property {number} [height] height in pixels that is enough: a whole number. Default: as large as it is
 * @property {number} [fps] frames per second that are enough: a whole number. Default: all
 * @property {number} [priority] from 0 to 255: the higher comes first where bandwidth is scarce. Default: 0
 * @property {boolean} [pause] whether nothing of it is to be sent. Default: no
 */
/**
 * @typedef {object} Wishes for the others' pictures
 * @property {Wish} [default] for each track without a wish of its own
 * @property {Record<string, Wish>} [tracks] by the tracks' ids, as in `tracks` of {@link ClientEvents}; at most 256
 * @property {string[]} [order] ids of tracks, those first that come first where their priority is the same; at most 256
 */
/**
 * @typedef {object} Flow what of another's picture flows here
 * @property {string} track
 * @property {string} peer
 * @property {"flowing" | "waiting" | "paused" | "muted"} state `waiting`: for a key frame; `paused`: by a wish, or for want
 *   of bandwidth; `muted`: by the application on the server
 * @property {string | null} layer `rid` of the simulcast encoding that flows; null: none, or there is no simulcast
 * @property {number | null} height of what flows in pixels, if it is known
 */
/** @typedef {"camera" | "microphone" | "screen"} TrackSource what a track shows or plays */
/**
 * @typedef {object} PublishOptions
 * @property {TrackSource} [source] what the others are told that it shows or plays. Default: `camera` or `microphone`,
 *   by its kind
 * @property {any} [metadata] what else they are told of it: JSON of at most 1,024 bytes. Default: null
 */
/**
 * @typedef {object} PublishedTrack a track that another publishes
 * @property {string} track its id
 * @property {string} peer
 * @property {"audio" | "video"} kind
 * @property {boolean} muted whether its publisher or the server's application has muted it
 * @property {TrackSource | null} source what it shows or plays, if its publisher has said that
 * @property {any} metadata what else its publisher has said of it
 */
/**
 * @typedef {object} MutedTrack a track of the page that the application on the server has muted, or no longer
 * @property {string} mid of the section in which it is sent
 * @property {boolean} muted whether it is muted from now on: nothing of it is forwarded
 * @property {MediaStreamTrack | null} track what is sent there, if anything is
 * @property {Publication | null} publication the same, if it was published by itself
 */
/**
 * @typedef {object} TrackChanges
 * @property {PublishedTrack[]} added
 * @property {PublishedTrack[]} changed those that are described in another way than before
 * @property {PublishedTrack[]} removed
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
 * @property {[]} resumed the WebSocket was lost and reopened. What waited meanwhile comes after this; messages that the
 *   server had written into the lost one do not, but `joined` and `left` are complete
 * @property {[peerId: string, previous: string]} rejoined the connection was lost; the client has joined again, as a
 *   new peer
 * @property {[moved: { from: string, to: string }]} moved the client is connected to another address than before: the
 *   server has sent it there, without a gap, or the one to which it was sent is gone. Where its session could not be taken
 *   along, `rejoined` comes before
 * @property {[message: Message]} message any message of the application, also one named like an event here
 * @property {[error: CallboardError]} error an error that the server reports; also `gave_up` and `webrtc_gave_up`:
 *   something has failed repeatedly in the same way, and is not tried any more; `details` say what. `media_failed`: the
 *   server has given up this client's media after repeated faults; it begins again twice by itself, then after `retry`.
 *   `media_refused`: the application's policy does not let this client publish a track; `details`: its `mid` and `kind`.
 *   `move_failed`, `bad_move`, `moved_too_often`: the client stays where it is, though the server has sent it to another
 *   address
 * @property {[state: State, detail: StateDetail]} state
 * @property {[state: RTCPeerConnectionState, detail?: { reason: string }]} webrtc state of the peer connection, also of
 *   each new one; with the reason why the last one is replaced, if the server has given one
 * @property {[event: RTCTrackEvent]} track
 * @property {[peer: string, stream: MediaStream | null]} stream what another member sends through the server, audio and
 *   video in step: whenever that changes, always in the same stream; `null`: nothing any more
 * @property {[tracks: PublishedTrack[], changes: TrackChanges]} tracks all that the others publish, also what has no
 *   section yet; and what has changed
 * @property {[muted: MutedTrack]} track_muted the application on the server has muted a track of this page, or lets it be
 *   heard and seen again
 * @property {[flow: Flow]} flow whether another's picture flows, and in which layer: whenever that changes
 * @property {[peer: string | null, levels: Readonly<Record<string, number>>]} speaker the member that dominates the
 *   conversation, also while no one speaks; and those that speak, at most five, with their levels in dBov: 0 is the
 *   loudest. At most twice a second
 * @property {[label: string]} channel_open
 * @property {[label: string]} channel_closed
 * @property {[message: { channel: string, data: string | ArrayBuffer }]} data
 */

// Bounds that several parts of the client share, and the defaults of those that the page sets.

/** Number of retries of something that fails in the same way. */
const REPEATS = 2;
/** How long a failure is remembered, in ms. */
const MEMORY = 600_000;
/** Time limit of an answer of the server to an offer or a request, in ms. */
const ANSWER_TIME = 10_000;
/** Time after which a connection does not count as failed, in ms. */
const STABLE = 5_000;
/** Bytes that may wait in the browser for one socket or channel. */
const MAX_BUFFERED = 1 << 20;
/** Defaults of `ConnectOptions`. */
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

// Errors that the client throws, rejects with and reports.

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

// Frames as text, and the forms of what is in them.

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
 * @param {string} text
 * @param {number} bytes
 */
function isLarger(text, bytes) {
  // A UTF-16 code unit takes at most three bytes, and usually one.
  return text.length * 3 > bytes && new TextEncoder().encode(text).length > bytes;
}

// Calls of functions, by the client and by the server (RPC).

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

/** Label of the data channel for calls, which every peer connection has. */
const EVENTS = "events";
/** Size limit of an answer to a call by the server, in bytes. */
const MAX_ANSWER = 65_536;
/** Number of calls by the server that may run at the same time. */
const MAX_RUNNING = 64;

// Events of the server, and what each does.

/**
 * Returns what each event of the server does, by its name. It throws if the data do not have the form that the event
 * requires.
 *
 * @param {{
 *   members: Members,
 *   link: () => Link | null,
 *   emit: (event: string, ...told: any[]) => void,
 *   data: (channel: string, data: string) => void,
 * }} client
 * @returns {Record<string, (data: any) => void>}
 */
function serverEvents({ members, link, emit, data: received }) {
  /** @param {PublishedTrack} track */
  const isAnothers = ({ peer }) => peer !== members.self;
  return {
    authenticated: misplaced,
    resumed: misplaced,
    joined: (data) => members.joined(data),
    left: (data) => members.left(data),
    room_restarted: ({ peers }) => {
      members.remain(peers);
      emit("room_restarted");
    },
    room_members: (data) => members.listed(data),
    error: ({ description, details }) => {
      const isWebRtc = description === "WebRTC failed";
      if (isWebRtc && link()?.isLate(details)) return;
      emit("error", serverError(text(description), details));
      if (isWebRtc) link()?.handleRefusal(details);
    },
    "webrtc:offer": (offer) => link()?.negotiation.handleOffer({ type: "offer", sdp: text(offer.sdp) }),
    "webrtc:answer": (answer) => link()?.negotiation.handleAnswer({ type: "answer", sdp: text(answer.sdp) }),
    "webrtc:ice": (candidate) => link()?.negotiation.handleCandidate(candidate),
    "webrtc:state": ({ state, reason }) => {
      if (state === "rate_limited") {
        link()?.handleWarning();
        return emit("error", serverError("Rate limited", state));
      }
      link()?.handleState(text(state), reason);
    },
    "webrtc:data": ({ channel, data }) => received(text(channel), text(data)),
    "media:tracks": ({ added = [], changed = [], removed = [], all }) => {
      if (all) link()?.handleAllTracks(all.map(published).filter(isAnothers));
      link()?.handleTracks(added.map(published).filter(isAnothers), changed.map(change), removed.map(text));
    },
    "media:slots": ({ slots }) => {
      const bound = Object.entries(slots).map(([mid, track]) => [mid, track && published(track)]);
      // For a moment after its connection was replaced, a client may get what it has sent over the previous one.
      const others = new Map(bound.map(([mid, track]) => [mid, track && isAnothers(track) ? track : null]));
      link()?.handleSlots(others, Object.values(slots).filter((slot) => slot?.state).map(flow));
    },
    "media:layers": ({ mid, rids }) => link()?.handleLayers(text(mid), object(rids)),
    "media:speaker": ({ peer, levels }) => emit("speaker", peer, levels),
    "media:refused": ({ mid, kind }) => {
      emit("error", new CallboardError("media_refused", "the server does not let this client publish a track", { mid: text(mid), kind }));
    },
    "media:muted": ({ mid, muted }) => link()?.handleMuted(text(mid), muted === true),
    "media:failed": () => link()?.handleMediaFailed(),
    // The client's ends of the channels report that.
    "webrtc:channel_open": () => {},
    "webrtc:channel_closed": () => {},
  };
}

/** Names of the client's own events: messages of the application with these names reach only listeners of `message`. */
const EVENT_NAMES = new Set([
  ..."joined left room_restarted resumed rejoined moved message error state".split(" "),
  ..."webrtc track tracks track_muted stream flow speaker channel_open channel_closed data".split(" "),
]);

/**
 * @param {{ track: unknown, peer: unknown, kind: unknown, muted?: unknown, source?: any, metadata?: any }} told
 * @returns {PublishedTrack}
 */
function published({ track, peer, kind, muted, source = null, metadata = null }) {
  return Object.freeze({
    track: text(track), peer: text(peer), kind: kind === "audio" ? "audio" : "video", muted: muted === true, source, metadata,
  });
}

/**
 * Returns what is told of a track that has changed: all of it, or that it is muted.
 *
 * @param {any} told
 * @returns {Partial<PublishedTrack> & { track: string }}
 */
function change(told) {
  return "kind" in told ? published(told) : { track: text(told.track), muted: told.muted === true };
}

/**
 * @param {{ track: unknown, peer: unknown, state: unknown, layer: unknown, height: unknown }} told
 * @returns {Flow}
 */
function flow({ track, peer, state, layer, height }) {
  return Object.freeze({
    track: text(track),
    peer: text(peer),
    state: /** @type {Flow["state"]} */ (text(state)),
    layer: typeof layer === "string" ? layer : null,
    height: typeof height === "number" ? height : null,
  });
}

// Data channels of one browser's peer connection.

/** Data channels of one of the browser's peer connections, open or not, by label. */
class Channels {
  /** @type {Map<string, RTCDataChannel>} */
  #all = new Map();
  #connection;
  #host;

  /**
   * @param {RTCPeerConnection} connection
   * @param {{
   *   isCurrent: () => boolean,
   *   emit: (event: string, ...told: any[]) => void,
   *   data: (channel: string, data: string | ArrayBuffer) => void,
   * }} host
   */
  constructor(connection, host) {
    this.#connection = connection;
    this.#host = host;
  }

  /**
   * @param {string} label
   * @returns {RTCDataChannel | undefined}
   */
  open(label) {
    const channel = this.#all.get(label);
    return channel?.readyState === "open" ? channel : undefined;
  }

  /**
   * @param {string} label
   * @param {RTCDataChannelInit} init
   */
  create(label, init) {
    this.adopt(this.#connection.createDataChannel(label, init));
  }

  /** @param {RTCDataChannel} channel created by either side */
  adopt(channel) {
    const { label } = channel;
    channel.binaryType = "arraybuffer";
    this.#all.set(label, channel);
    let open = false;
    channel.onopen = () => {
      open = true;
      this.#host.emit("channel_open", label);
    };
    channel.onclose = () => {
      if (this.#all.get(label) === channel) this.#all.delete(label);
      if (open) this.#host.emit("channel_closed", label);
      open = false;
    };
    channel.onmessage = ({ data }) => this.#host.isCurrent() && this.#host.data(label, data);
  }

  /** @param {string} label */
  close(label) {
    this.#all.get(label)?.close();
  }

  /**
   * Sends a text, if the channel is open and takes it now.
   *
   * @param {string} label
   * @param {string} text
   * @returns {boolean} whether it was sent
   */
  post(label, text) {
    const channel = this.open(label);
    if (!channel || channel.bufferedAmount > MAX_BUFFERED) return false;
    try {
      channel.send(text);
      return true;
    } catch {
      // It is larger than the channel accepts.
      return false;
    }
  }

  /**
   * Sends a text, if the channel is open.
   *
   * @param {string} label
   * @param {string} text
   * @returns {boolean} whether it was sent
   * @throws {CallboardError} `queue_full`, `too_large`
   */
  send(label, text) {
    const channel = this.open(label);
    if (!channel) return false;
    if (channel.bufferedAmount > MAX_BUFFERED) throw queueFull();
    try {
      channel.send(text);
      return true;
    } catch (error) {
      throw error instanceof TypeError ? tooLarge(this.#connection.sctp?.maxMessageSize) : queueFull();
    }
  }

  /** Reports the channels as closed, and sends nothing over them any more. What still comes over them is received. */
  leave() {
    for (const [label, channel] of [...this.#all]) {
      channel.onclose?.(new Event("close"));
      channel.onopen = channel.onclose = null;
      channel.onmessage = ({ data }) => this.#host.data(label, data);
    }
  }

  /** Reports the channels as closed: closing a connection fires no close events of its channels. */
  dispose() {
    for (const channel of [...this.#all.values()]) {
      channel.onclose?.(new Event("close"));
      channel.onopen = channel.onclose = channel.onmessage = null;
    }
  }
}

// Page around the client: its address, its own code, and what happens to it and to its network. Workers and Node, which
// have no page, lack some of it.

/**
 * Makes an address absolute, as seen from the page.
 *
 * @param {string | URL} url
 * @returns {URL}
 */
function absolute(url) {
  return new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
}

/**
 * Reports changes that connections notice only after a while: the network is back or another one, the page is visible
 * again, the computer has slept.
 *
 * @param {AbortSignal} signal ends it
 * @param {(network: boolean) => void} changed gets whether it is about the network
 */
function whenAwake(signal, changed) {
  const { document, navigator } = globalThis;
  globalThis.addEventListener?.("online", () => changed(true), { signal });
  globalThis.addEventListener?.("pageshow", ({ persisted }) => persisted && changed(true), { signal });
  document?.addEventListener("visibilitychange", () => document.visibilityState === "visible" && changed(false), { signal });
  // Not available in every browser; it also reports mere changes of speed.
  const network = /** @type {any} */ (navigator)?.connection;
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
    if (typeof reportError === "function") reportError(error);
    else queueMicrotask(() => rethrow(error));
  }
}

/**
 * @param {unknown} error
 * @returns {never}
 */
function rethrow(error) {
  throw error;
}

/** Interval of looks at the clock, and its lead after the computer has slept, in ms. */
const [LOOK, SLEPT] = [5_000, 10_000];

// Simulcast of what the page sends: which encodings there are of a picture, and which of them are sent.

/**
 * Returns the encodings of a picture of this size, the lowest first: each half as wide as the next. Small pictures have
 * fewer, and one alone is no simulcast: none.
 *
 * @param {MediaTrackSettings} settings
 * @returns {RTCRtpEncodingParameters[]}
 */
function encodings({ width = 0, height = 0 }) {
  const pixels = width * height;
  const rids = SIZES.find(([least]) => pixels >= least)?.[1] ?? [];
  return rids.map((rid, at) => {
    const scale = 2 ** (rids.length - 1 - at);
    const maxBitrate = Math.round(HD_BITRATE * (pixels / scale ** 2 / HD) ** 0.75);
    return { rid, scaleResolutionDownBy: scale, maxBitrate };
  });
}

/**
 * Sends those encodings that the server wants, and no others.
 *
 * @param {RTCPeerConnection} connection
 * @param {string} mid
 * @param {Record<string, boolean>} rids whether each is wanted
 */
function sendWanted(connection, mid, rids) {
  const sender = connection.getTransceivers().find((one) => one.mid === mid)?.sender;
  if (!sender) return;
  const before = changing.get(sender) ?? Promise.resolve();
  // One after the other: parameters can be set once for each time that they were read.
  changing.set(sender, before.then(() => activate(sender, rids)).catch(() => {}));
}

/**
 * @param {RTCRtpSender} sender
 * @param {Record<string, boolean>} rids
 */
async function activate(sender, rids) {
  const parameters = sender.getParameters();
  const changed = parameters.encodings.filter(({ rid = "", active }) => Object.hasOwn(rids, rid) && rids[rid] !== active);
  for (const encoding of changed) encoding.active = !encoding.active;
  if (changed.length > 0) await sender.setParameters(parameters);
}

/** @type {WeakMap<RTCRtpSender, Promise<void>>} */
const changing = new WeakMap();
/** Least size in pixels for so many encodings. @type {[number, string[]][]} */
const SIZES = [
  [960 * 540, ["q", "h", "f"]],
  [480 * 270, ["h", "f"]],
];
/** Size of 720p, in pixels. */
const HD = 1280 * 720;
/** Highest bitrate of 720p, in bit/s. */
const HD_BITRATE = 1_700_000;

// Media that the page sends and wants to receive, on each peer connection that replaces another.

/** Media that the page sends, and the sections in which it receives. */
class Media {
  /** Transceivers that send the tracks of a stream. @type {Map<MediaStreamTrack, RTCRtpTransceiver>} */
  #sending = new Map();
  /** Tracks that the page has stopped sending: a new connection does not send them. @type {Set<MediaStreamTrack>} */
  #stopped = new Set();
  /** Sections to receive in, beside those in which the page sends. @type {Record<"audio" | "video", number>} */
  #receive;
  #media;
  #simulcast;

  /**
   * @param {Pick<PeerConnectionOptions, "media" | "receive">} options
   * @param {boolean} simulcast whether pictures are sent in several sizes
   */
  constructor({ media, receive }, simulcast) {
    const { audio = 0, video = 0 } = receive ?? {};
    this.#media = media;
    this.#receive = { audio, video };
    this.#simulcast = simulcast;
  }

  /**
   * Lets the page set up a new connection, if it does that itself.
   *
   * @param {RTCPeerConnection} connection
   */
  setUp(connection) {
    const media = this.#media;
    if (typeof media === "function") harmless(() => media(connection));
  }

  /**
   * Adds the tracks of a stream, and then the sections to receive in, to the next offer.
   *
   * @param {RTCPeerConnection} connection
   * @returns {boolean} whether there are any
   */
  addTracks(connection) {
    const media = this.#media;
    const tracks = media && typeof media !== "function" ? media.getTracks() : [];
    for (const track of tracks) {
      if (this.#stopped.has(track)) continue;
      this.#sending.set(track, this.#add(connection, track, /** @type {MediaStream} */ (media)));
    }
    for (const kind of KINDS) addSections(connection, kind, this.#receive[kind]);
    return this.#sending.size > 0 || KINDS.some((kind) => this.#receive[kind] > 0);
  }

  /**
   * Makes room for tracks of the others that have no section yet: as many sections again, but few enough for the server's
   * limit. Does nothing for a kind that the page does not want to receive.
   *
   * @param {RTCPeerConnection} connection
   * @param {{ published(kind: string): number }} others
   */
  makeRoom(connection, others) {
    for (const kind of KINDS) {
      const now = this.#receive[kind];
      const ours = connection.getTransceivers().filter(({ receiver }) => receiver.track.kind === kind);
      const receiving = ours.filter(({ direction }) => direction === "sendrecv" || direction === "recvonly");
      const missing = others.published(kind) - receiving.length;
      if (now === 0 || now >= MOST_SECTIONS || missing <= 0) continue;
      this.#receive[kind] = Math.min(MOST_SECTIONS, now + Math.max(now, missing));
      addSections(connection, kind, this.#receive[kind] - now);
    }
  }

  /**
   * @param {RTCPeerConnection} connection
   * @param {MediaStreamTrack} track
   * @param {MediaStream} stream
   * @returns {RTCRtpTransceiver}
   */
  #add(connection, track, stream) {
    const sendEncodings = this.#simulcast && track.kind === "video" ? encodings(track.getSettings()) : [];
    if (sendEncodings.length > 0) {
      // It only sends: what a section with encodings receives, browsers do not show. Another one receives in its place.
      addSections(connection, "video", 1);
      return connection.addTransceiver(track, { direction: "sendonly", streams: [stream], sendEncodings });
    }
    const sender = connection.addTrack(track, stream);
    return /** @type {RTCRtpTransceiver} */ (connection.getTransceivers().find((one) => one.sender === sender));
  }

  /** Notes, before a connection is closed, which tracks the page has stopped. */
  release() {
    for (const [track, { direction }] of this.#sending) if (direction === "stopped") this.#stopped.add(track);
    this.#sending.clear();
  }
}

/**
 * @param {RTCPeerConnection} connection
 * @param {"audio" | "video"} kind
 * @param {number} count
 */
function addSections(connection, kind, count) {
  for (let at = 0; at < count; at += 1) connection.addTransceiver(kind, { direction: "recvonly" });
}

/** @type {("audio" | "video")[]} */
const KINDS = ["audio", "video"];
/** Sections of a kind to which those that the page has asked for grow. */
const MOST_SECTIONS = 25;

// Offers, answers and candidates of one browser's peer connection.

/**
 * Negotiation of one of the browser's peer connections with the server. The client is the impolite side of perfect
 * negotiation: if both offer, the server gives way. The browser asks again after a round, so rounds do not overlap.
 */
class Negotiation {
  /** Whether the server has answered this connection: its earlier messages are about the previous one. */
  answered = false;
  /** Whether an offer is due that could not be sent to the server. */
  #owed = false;
  /** Whether a round is being started, by this client or by the server. */
  #offering = false;
  /** Whether an offer was sent to the server. */
  #offered = false;
  /** Descriptions of the server are set one after the other. */
  #descriptions = Promise.resolve();
  /** Candidates that arrived before their description. @type {any[]} */
  #early = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #answerTimer;
  #connection;
  #host;

  /**
   * @param {RTCPeerConnection} connection
   * @param {{
   *   isCurrent: () => boolean,
   *   isOver: () => boolean,
   *   tell: (event: string, data: any) => boolean,
   *   reachable: () => boolean,
   *   addTracks: () => boolean,
   *   offering: () => void,
   *   answered: () => void,
   *   failed: (code: string, error: unknown) => void,
   *   lost: () => void,
   * }} host `isCurrent`: whether no other connection has replaced this one; `isOver`: one has, or it was closed
   */
  constructor(connection, host) {
    this.#connection = connection;
    this.#host = host;
    connection.onnegotiationneeded = () => this.#offer();
    connection.onicecandidate = ({ candidate }) => this.#found(candidate);
  }

  /** Whether an offer is unanswered. */
  get isWaiting() {
    return this.#answerTimer !== undefined;
  }

  /** Notes that no offer is unanswered any more. */
  stopWaiting() {
    clearTimeout(this.#answerTimer);
    this.#answerTimer = undefined;
  }

  /** Sends an offer that is due, once it can be sent. */
  settle() {
    if (this.#owed && this.#connection.signalingState === "stable") this.#offer();
  }

  /** Offers once more, although nothing has changed here. */
  renew() {
    this.#owed = true;
    this.settle();
  }

  /**
   * Runs this when the descriptions that came before it are set, unless the server has not answered this connection
   * yet: then it is about the previous one.
   *
   * @param {() => void} run
   */
  afterDescriptions(run) {
    this.#descriptions = this.#descriptions.then(() => {
      if (this.answered && !this.#host.isOver()) run();
    });
  }

  /** @param {RTCSessionDescriptionInit} answer */
  handleAnswer(answer) {
    this.#descriptions = this.#descriptions.then(() => this.#takeAnswer(answer));
  }

  /** @param {RTCSessionDescriptionInit} offer */
  handleOffer(offer) {
    this.#descriptions = this.#descriptions.then(() => this.#takeOffer(offer));
  }

  /** @param {RTCIceCandidateInit | null} candidate */
  handleCandidate(candidate) {
    if (this.answered) {
      // A candidate that does not fit belongs to the previous connection, or to the time before an ICE restart.
      this.#connection.addIceCandidate(candidate ?? undefined).catch(() => {});
    } else if (this.#early.length < MAX_EARLY) {
      this.#early.push(candidate);
    }
  }

  /** @param {RTCSessionDescriptionInit} answer */
  async #takeAnswer(answer) {
    const connection = this.#connection;
    if (this.#host.isOver() || connection.signalingState !== "have-local-offer") return;
    this.stopWaiting();
    try {
      await connection.setRemoteDescription(answer);
    } catch (error) {
      if (!this.#host.isOver()) this.#host.failed("bad_answer", error);
      return;
    }
    if (this.#host.isOver()) return;
    this.answered = true;
    this.#host.answered();
    for (const candidate of this.#early.splice(0)) this.handleCandidate(candidate);
    this.settle();
  }

  /**
   * Takes an offer of the server. If both sides offer, the server's offer is dropped, and the server offers again later.
   *
   * @param {RTCSessionDescriptionInit} offer
   */
  async #takeOffer(offer) {
    const connection = this.#connection;
    if (this.#host.isOver() || !this.answered) return;
    if (this.#offering || connection.signalingState !== "stable") return;
    this.#offering = true;
    try {
      await connection.setRemoteDescription(offer);
      await connection.setLocalDescription();
    } catch (error) {
      if (!this.#host.isOver()) this.#host.failed("bad_offer", error);
      return;
    }
    if (this.#host.isOver()) return;
    this.#offering = false;
    const { type, sdp } = connection.localDescription ?? {};
    if (!this.#host.tell("webrtc:answer", { type, sdp })) return this.#host.lost();
    this.settle();
  }

  async #offer() {
    const connection = this.#connection;
    if (!this.#host.isCurrent()) return;
    this.#owed = true;
    if (this.#offering || !this.#host.reachable()) return;
    this.#offering = true;
    try {
      await connection.setLocalDescription();
      // So the data section comes first, and carries the transport for all. If it were one that can be stopped, that
      // would take the transport away.
      const isFirst = this.#host.isCurrent() && !this.#offered;
      if (isFirst && this.#host.addTracks()) await connection.setLocalDescription();
    } catch (error) {
      if (!this.#host.isOver()) this.#host.failed("no_offer", error);
      return;
    }
    if (this.#host.isOver()) return;
    this.#offering = false;
    this.#owed = false;
    const { type, sdp } = connection.localDescription ?? {};
    this.#host.offering();
    if (!this.#host.tell("webrtc:offer", { type, sdp })) return this.#host.lost();
    if (!this.#offered && connection.iceGatheringState === "complete") this.#host.tell("webrtc:ice", null);
    this.#offered = true;
    this.#answerTimer = setTimeout(() => this.#host.lost(), ANSWER_TIME);
  }

  /** @param {RTCIceCandidate | null} candidate */
  #found(candidate) {
    // Some browsers mark the end with an empty candidate, all mark it with null.
    if (candidate && !candidate.candidate) return;
    // An offer holds all candidates that were found before it.
    if (!this.#offered) return;
    if (!this.#host.tell("webrtc:ice", candidate?.toJSON() ?? null)) this.#owed = true;
  }
}

/** Number of candidates that may wait for a description. */
const MAX_EARLY = 64;

// Overlap of two peer connections: the one to the server that the client has left lasts until the next one carries media.

/** Overlap of the peer connection before with the current one, to another server. */
class Overlap {
  /** The connection before. */
  connection;
  /** Time at which the next one was connected. @type {number | null} */
  #connectedAt = null;
  #began = performance.now();
  /** Time for which it lasts after that, in ms. */
  #lingers;
  #looking;
  #host;

  /**
   * @param {RTCPeerConnection} connection the one before
   * @param {{ carries: () => Promise<boolean>, over: () => void, late: () => void }} host `carries`: shows what carries
   *   media over the next one, and says whether all does that the one before carries; `over`: the one before is not needed
   *   any more; `late`: the next one is not connected in time
   */
  constructor(connection, host) {
    this.connection = connection;
    this.#host = host;
    // Others may see this until they have moved as well.
    this.#lingers = connection.getSenders().some(({ track }) => track) ? SENDS_ON : 0;
    connection.onconnectionstatechange = () => ENDS.has(connection.connectionState) && host.over();
    this.#looking = setInterval(() => void this.#look(), LOOKS_AFTER);
  }

  /** Whether the next one is connected. */
  get isConnected() {
    return this.#connectedAt !== null;
  }

  /** Notes that the next one is connected. */
  connected() {
    this.#connectedAt ??= performance.now();
  }

  /** Ends it: closes the connection before. */
  end() {
    clearInterval(this.#looking);
    const { connection } = this;
    connection.onconnectionstatechange = connection.ondatachannel = null;
    connection.close();
  }

  async #look() {
    const all = await this.#host.carries();
    const now = performance.now();
    const isTime = now - this.#began >= LONGEST;
    if (this.#connectedAt === null) return isTime && this.#host.late();
    if (isTime || (all && now - this.#connectedAt >= this.#lingers)) this.#host.over();
  }
}

/** Longest overlap, in ms: as long as servers keep a connection whose client has moved. */
const LONGEST = 10_000;
/**
 * Time for which what is sent goes on over the connection before, in ms: servers move the clients of a room together, and
 * these show it until it comes evenly over the next one.
 */
const SENDS_ON = 4_000;
/** Time from one look at what flows to the next, in ms. */
const LOOKS_AFTER = 40;
/** States in which a connection carries nothing any more. */
const ENDS = new Set(["failed", "closed"]);

// Path to the server of one browser's peer connection: ICE, DTLS, and how long they may take.

/** Path to the server of one of the browser's peer connections. Restarts ICE before it counts the connection as lost. */
class Path {
  /** Whether ICE was restarted, and has not connected since. */
  #restarted = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #connection;
  #host;

  /**
   * @param {RTCPeerConnection} connection
   * @param {{
   *   isOver: () => boolean,
   *   reachable: () => boolean,
   *   changed: (state: RTCPeerConnectionState) => void,
   *   connected: () => void,
   *   lost: () => void,
   * }} host `isOver`: whether the connection was closed or replaced
   */
  constructor(connection, host) {
    this.#connection = connection;
    this.#host = host;
    connection.onconnectionstatechange = () => this.#changed();
  }

  /** Notes that the server has answered: the connection begins now. */
  begin() {
    if (this.#connection.connectionState === "new") this.#expect();
  }

  /** Looks for another path, because this one may be dead. */
  renew() {
    if (this.#restarted) return;
    // A connection that still counts as connected reports it if it finds no other path.
    if (this.#connection.connectionState === "connected") this.#connection.restartIce();
    else this.#restart();
  }

  /** Ends the time limits. */
  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #changed() {
    const { connectionState: state, iceConnectionState: ice } = this.#connection;
    this.#host.changed(state);
    // A listener may have closed it.
    if (this.#host.isOver()) return;
    switch (state) {
      case "connecting":
        if (this.#timer === undefined) this.#expect();
        break;
      case "connected":
        this.stop();
        this.#restarted = false;
        this.#host.connected();
        break;
      case "disconnected":
        this.#within(DISCONNECTED_TIME, () => this.#restart());
        break;
      case "failed":
        // If ICE is not the cause, a restart does not help.
        if (ice === "failed" && !this.#restarted) this.#restart();
        else this.#host.lost();
        break;
    }
  }

  #restart() {
    this.#restarted = true;
    this.#connection.restartIce();
    this.#expect();
  }

  /** Gives ICE and DTLS their time; while the server cannot be reached, some more. */
  #expect() {
    this.#within(CONNECT_TIME, () => (this.#host.reachable() ? this.#host.lost() : this.#expect()));
  }

  /**
   * @param {number} milliseconds
   * @param {() => void} then
   */
  #within(milliseconds, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, milliseconds);
  }
}

/** Time limit of ICE and DTLS, in ms. */
const CONNECT_TIME = 15_000;
/** Time that a connection may be disconnected before ICE is restarted, in ms: a short gap heals by itself. */
const DISCONNECTED_TIME = 3_000;

// Arithmetic of repeated failures: how often, and how long to wait.

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

// Losses of the peer connection: which count, and when it is enough.

/** Peer connections that were lost, by cause. When it is enough, the cause, and whether another network may help. */
class Patience {
  /** Time at which the current connection was established. */
  connectedAt = Infinity;
  /** Connections in a row that failed. */
  #failed = 0;
  /** Connections that replaced a lost one. */
  #reopened = new Tally(MAX_REOPENED, MEMORY);
  /** Failures that the same offer would repeat, by cause: how often in a row. @type {Map<string, number>} */
  #same = new Map();
  /** Connections that the server has closed after a warning. */
  #flooded = new Tally(REPEATS, MEMORY);
  /** Evidence that an unanswered offer makes the socket fail: lost sockets, weighted. */
  #suspicion = 0;

  /** Notes that the server has answered an offer. */
  answered() {
    this.#suspicion = 0;
    this.#same.clear();
  }

  /**
   * Notes that a connection is to be replaced.
   *
   * @param {string} [same] failure that the same offer would repeat
   * @returns {{ cause: string, network: boolean } | null} if that has happened too often
   */
  lose(same) {
    const times = same ? (this.#same.get(same) ?? 0) + 1 : 0;
    if (same) this.#same.set(same, times);
    if (times > REPEATS) return { cause: `${same}, again and again`, network: false };
    if (this.#reopened.add()) return { cause: "no connection lasts", network: true };
    if (performance.now() - this.connectedAt >= STABLE) this.#failed = 0;
    return null;
  }

  /**
   * Notes that the socket was lost while an offer was unanswered.
   *
   * @param {boolean} fault whether the server has closed it over something that was sent
   * @returns {{ cause: string, network: boolean } | null} if that has happened too often
   */
  suspect(fault) {
    this.#suspicion += fault ? 3 : 1;
    if (this.#suspicion <= 5) return null;
    return { cause: "the connection to the server is lost whenever this is offered", network: false };
  }

  /**
   * Notes that the server has closed a connection after a warning about its rate.
   *
   * @returns {{ cause: string, network: boolean } | null} if that has happened too often
   */
  flood() {
    return this.#flooded.add() ? { cause: "more was sent than the server takes, again and again", network: false } : null;
  }

  /**
   * Returns the delay before the next connection, and counts the last one as failed.
   *
   * @param {{ firstDelay: number, longestDelay: number }} delays
   * @returns {number} milliseconds
   */
  delay(delays) {
    const delay = backoff(this.#failed, delays);
    this.#failed += 1;
    return delay;
  }

  /** Forgets all of it, because the page wants to try again. */
  forget() {
    this.#failed = this.#suspicion = 0;
    this.#same.clear();
    this.#reopened.clear();
    this.#flooded.clear();
  }
}

/** Number of times that a lost peer connection is replaced within the time that failures are remembered. */
const MAX_REOPENED = 12;

// Tracks that the page publishes one by one, on each peer connection that replaces another.

/** A track that the page publishes. Created by {@link Client#publish}. */
export class Publication {
  /** What it shows or plays, as the others are told. @readonly @type {TrackSource} */
  source;
  /** What else the others are told of it. @readonly @type {any} */
  metadata;
  #track;
  #muted = false;
  #mutedByServer = false;
  #host;

  /**
   * @param {MediaStreamTrack} track
   * @param {{ source: TrackSource, metadata: any }} told
   * @param {{
   *   muted: (publication: Publication) => void,
   *   replace: (publication: Publication, track: MediaStreamTrack) => Promise<void>,
   *   unpublish: (publication: Publication) => void,
   * }} host
   */
  constructor(track, { source, metadata }, host) {
    this.#track = track;
    this.source = source;
    this.metadata = metadata;
    this.#host = host;
  }

  /** The track that is sent. */
  get track() {
    return this.#track;
  }

  /** Whether it is muted. */
  get muted() {
    return this.#muted;
  }

  /**
   * Whether the application on the server has muted it: nothing of it is forwarded then, whether or not the page has
   * {@link muted} it as well.
   */
  get mutedByServer() {
    return this.#mutedByServer;
  }

  /**
   * Notes whether the application on the server has muted it.
   *
   * @internal
   * @param {boolean} muted
   */
  handleMuted(muted) {
    this.#mutedByServer = muted;
  }

  /**
   * Mutes the track, or ends that. While it is muted, it is not `enabled`, the server forwards nothing of it, and the
   * others are told.
   *
   * @param {boolean} [muted]
   */
  mute(muted = true) {
    this.#muted = muted;
    this.#track.enabled = !muted;
    this.#host.muted(this);
  }

  /**
   * Sends another track of the same kind in its place, such as another camera. Nothing is told to the others.
   *
   * @param {MediaStreamTrack} track
   * @returns {Promise<void>} rejected with the browser's reason; then the track before is sent on
   */
  async replace(track) {
    track.enabled = !this.#muted;
    await this.#host.replace(this, track);
    this.#track = track;
  }

  /** Sends it no more. The track is not stopped. */
  unpublish() {
    this.#host.unpublish(this);
  }
}

/** All that the page publishes over one peer connection to the server, and over each that replaces it. */
class Publications {
  /** With the transceivers of the current connection. @type {Map<Publication, RTCRtpTransceiver | null>} */
  #published = new Map();
  /** The same over the connection before, while that lasts. @type {Map<Publication, RTCRtpTransceiver | null>} */
  #before = new Map();
  /** Current connection, from its first offer on. @type {RTCPeerConnection | null} */
  #connection = null;
  /** What the server was told of the tracks of this connection. */
  #described = "[]";
  /** Whether the server was told that they are muted. @type {Map<Publication, boolean>} */
  #told = new Map();
  /** Transceivers in which nothing is sent any more. @type {Set<RTCRtpTransceiver>} */
  #left = new Set();
  #tell;
  #simulcast;

  /**
   * @param {(event: string, data: any) => boolean} tell
   * @param {boolean} simulcast whether pictures of cameras are sent in several sizes
   */
  constructor(tell, simulcast) {
    this.#tell = tell;
    this.#simulcast = simulcast;
  }

  /**
   * Publishes a track.
   *
   * @param {MediaStreamTrack} track
   * @param {PublishOptions} options
   * @returns {Publication}
   */
  publish(track, { source = track.kind === "audio" ? "microphone" : "camera", metadata = null }) {
    if (new TextEncoder().encode(JSON.stringify(metadata)).length > LONGEST_METADATA) {
      throw new CallboardError("too_large", `metadata must be at most ${LONGEST_METADATA} bytes of JSON`);
    }
    const publication = new Publication(track, { source, metadata }, {
      muted: () => this.settle(),
      replace: (one, other) => this.#replace(one, other),
      unpublish: (one) => this.#unpublish(one),
    });
    this.#published.set(publication, this.#connection ? this.#send(this.#connection, publication) : null);
    return publication;
  }

  /**
   * Adds the tracks to the first offer of a connection.
   *
   * @param {RTCPeerConnection} connection
   * @returns {boolean} whether there are any
   */
  addTo(connection) {
    this.#connection = connection;
    for (const publication of this.#published.keys()) this.#published.set(publication, this.#send(connection, publication));
    return this.#published.size > 0;
  }

  /** Tells the server of the tracks, before the offer that carries them. */
  describe() {
    const tracks = [];
    for (const [publication, transceiver] of this.#published) {
      if (!transceiver?.mid) continue;
      const { source, metadata, muted } = publication;
      tracks.push({ mid: transceiver.mid, source, metadata, muted });
      // What the server knows already stays as it is.
      if (!this.#told.has(publication)) this.#told.set(publication, muted);
    }
    const described = JSON.stringify(tracks);
    if (described !== this.#described && this.#tell("media:publish", { tracks })) this.#described = described;
  }

  /** Tells the server what is muted, if it was not told yet. */
  settle() {
    for (const [publication, transceiver] of this.#published) {
      const { muted } = publication;
      const before = this.#told.get(publication);
      if (!transceiver?.mid || before === undefined || before === muted) continue;
      if (this.#tell("media:mute", { mid: transceiver.mid, muted })) this.#told.set(publication, muted);
    }
  }

  /**
   * Notes that the application on the server has muted what is sent in a transceiver, or ends that.
   *
   * @param {RTCRtpTransceiver | undefined} transceiver
   * @param {boolean} muted
   * @returns {Publication | null} what is sent there
   */
  handleMuted(transceiver, muted) {
    const sent = [...this.#published].find(([, one]) => one && one === transceiver);
    sent?.[0].handleMuted(muted);
    return sent?.[0] ?? null;
  }

  /**
   * Forgets the connection, which is about to be replaced.
   *
   * @param {boolean} [lasts] whether it goes on until the next one is connected
   */
  release(lasts = false) {
    this.#before = lasts ? new Map(this.#published) : new Map();
    this.#connection = null;
    // What was told of other sections must not be taken for that of the next.
    if (this.#described !== "[]") this.#described = "";
    this.#told.clear();
    this.#left.clear();
    for (const publication of this.#published.keys()) {
      // The server knows nothing of the next one.
      publication.handleMuted(false);
      this.#published.set(publication, null);
    }
  }

  /** Notes that the connection before the current one has ended. */
  releaseBefore() {
    this.#before.clear();
  }

  /** Ends all, with the last connection. */
  clear() {
    this.release();
    this.#published.clear();
  }

  /**
   * @param {Publication} publication
   * @param {MediaStreamTrack} track
   */
  async #replace(publication, track) {
    // It is about to end.
    this.#before.get(publication)?.sender.replaceTrack(track).catch(() => {});
    const transceiver = this.#published.get(publication);
    try {
      await transceiver?.sender.replaceTrack(track);
    } catch (error) {
      // A connection that was lost meanwhile has taken nothing.
      if (this.#published.get(publication) === transceiver) throw error;
    }
    const now = this.#published.get(publication);
    if (now && now !== transceiver) await now.sender.replaceTrack(track);
  }

  /** @param {Publication} publication */
  #unpublish(publication) {
    const transceiver = this.#published.get(publication);
    this.#published.delete(publication);
    this.#told.delete(publication);
    this.#before.get(publication)?.sender.replaceTrack(null).catch(() => {});
    this.#before.delete(publication);
    if (!transceiver) return;
    // Not stopped: so the next track can take its section.
    transceiver.direction = "inactive";
    transceiver.sender.replaceTrack(null).catch(() => {});
    this.#left.add(transceiver);
  }

  /**
   * Sends a track in a section that was left, if the server knows that, or else in a new one.
   *
   * @param {RTCPeerConnection} connection
   * @param {Publication} publication
   * @returns {RTCRtpTransceiver}
   */
  #send(connection, { track, source }) {
    const fits = (/** @type {RTCRtpTransceiver} */ { receiver, currentDirection }) =>
      receiver.track.kind === track.kind && currentDirection === "inactive";
    const left = [...this.#left].find(fits);
    if (!left) {
      const sendEncodings = this.#simulcast && source === "camera" ? encodings(track.getSettings()) : [];
      return connection.addTransceiver(track, { direction: "sendonly", ...(sendEncodings.length > 0 && { sendEncodings }) });
    }
    this.#left.delete(left);
    left.direction = "sendonly";
    left.sender.replaceTrack(track).catch(() => {});
    return left;
  }
}

/** Longest metadata of a track, in bytes of JSON, as on the server. */
const LONGEST_METADATA = 1_024;

// Streams of the other members: what the server says about the media of the room, put together for the page.

/**
 * Streams of the other members over one peer connection: one for each whose tracks flow in its sections. While the
 * connection before it lasts, the page sees what flows there, until the same flows here.
 */
class Streams {
  /** Tracks that the others publish, by their ids. @type {Map<string, PublishedTrack>} */
  #tracks = new Map();
  /** What flows in a section, by its `mid`. @type {Map<string, { id: string, peer: string, track: MediaStreamTrack }>} */
  #slots = new Map();
  /** Peers of which the last pictures of tracks are. @type {WeakMap<MediaStreamTrack, string>} */
  #owners = new WeakMap();
  /** Tracks that are kept black for now. @type {WeakSet<MediaStreamTrack>} */
  #black = new WeakSet();
  /** By peer. @type {Map<string, MediaStream>} */
  #streams = new Map();
  /** Those of the connection before, while that lasts. @type {Streams | null} */
  #before;
  /** Ids by which the page knows tracks that the server names otherwise. @type {Map<string, string>} */
  #names = new Map();
  /** Tracks that can be shown here. @type {WeakSet<MediaStreamTrack>} */
  #carrying = new WeakSet();
  /** Times at which the first pictures of tracks had come. @type {WeakMap<MediaStreamTrack, number>} */
  #begun = new WeakMap();
  /** Pictures of tracks that had come, and since when no further ones have. @type {WeakMap<MediaStreamTrack, { come: number, since: number }>} */
  #counts = new WeakMap();
  /** Peers that have left lately: nothing of them flows any more. @type {Set<string>} */
  #gone = new Set();
  /** Times that the server has given up this client's media. */
  #failed = new Tally(REPEATS, MEMORY);
  /** Whether media has failed, and was not begun again. */
  #rests = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #beginning;
  #connection;
  #host;

  /**
   * @param {RTCPeerConnection} connection
   * @param {{ emit: (event: string, ...told: any[]) => void, flowing: (removed?: string[]) => void, offer: () => void }} host
   *   `flowing`: told when it has changed what is published or received, and what is published no more
   * @param {Streams | null} before those of the connection that this one replaces, if that lasts for now
   */
  constructor(connection, host, before) {
    this.#connection = connection;
    this.#host = host;
    this.#before = before;
    if (before) [this.#streams, this.#gone] = [before.#streams, before.#gone];
  }

  /**
   * Returns how many tracks of this kind the others publish.
   *
   * @param {string} kind
   * @returns {number}
   */
  published(kind) {
    return [...this.#tracks.values()].filter((track) => track.kind === kind).length;
  }

  /**
   * Returns the kind of a track of another, and what comes here of it, if it has a section.
   *
   * @param {string} track its id
   * @returns {{ kind: string, received: MediaStreamTrack | null } | null}
   */
  received(track) {
    const slot = this.#slot(track);
    const earlier = slot && this.#carries(slot.track) ? null : this.#before?.received(track);
    if (earlier?.received) return earlier;
    const kind = slot?.track.kind ?? this.#tracks.get(track)?.kind ?? earlier?.kind;
    return kind ? { kind, received: slot?.track ?? null } : null;
  }

  /**
   * Returns wishes with the ids by which the server knows the tracks.
   *
   * @param {Wishes} wishes
   * @returns {Wishes}
   */
  translate(wishes) {
    if (this.#names.size === 0) return wishes;
    const theirs = new Map([...this.#names].map(([their, our]) => [our, their]));
    const their = (/** @type {string} */ id) => theirs.get(id) ?? id;
    const { tracks, order } = wishes;
    return {
      ...wishes,
      ...(tracks && { tracks: Object.fromEntries(Object.entries(tracks).map(([id, wish]) => [their(id), wish])) }),
      ...(order && { order: order.map(their) }),
    };
  }

  /**
   * Handles which tracks the others publish.
   *
   * @param {PublishedTrack[]} added
   * @param {(Partial<PublishedTrack> & { track: string })[]} changed what is told of them now
   * @param {string[]} removed
   */
  handleTracks(added, changed, removed) {
    /** @type {TrackChanges} */
    const changes = { added: added.map((track) => this.#named(track)), changed: [], removed: [] };
    const gone = removed.map((id) => this.#name(id));
    for (const id of gone) {
      const known = this.#tracks.get(id);
      if (known && this.#tracks.delete(id)) changes.removed.push(known);
    }
    for (const track of changes.added) this.#tracks.set(track.track, track);
    for (const one of changed) {
      const told = { ...one, track: this.#name(one.track) };
      const known = this.#tracks.get(told.track);
      // Its own tracks are not among them.
      if (!known) continue;
      const now = Object.freeze({ ...known, ...told });
      this.#tracks.set(told.track, now);
      changes.changed.push(now);
    }
    this.#host.flowing(gone);
    if (!this.#before) this.#host.emit("tracks", [...this.#tracks.values()], changes);
  }

  /**
   * Compares all tracks of the others with those that are known.
   *
   * @param {PublishedTrack[]} all
   */
  compare(all) {
    const known = (/** @type {PublishedTrack} */ { track }) => this.#tracks.get(this.#name(track));
    const present = new Set(all.map(({ track }) => this.#name(track)));
    return {
      added: all.filter((track) => !known(track)),
      changed: all.filter((track) => differs(known(track), track)),
      removed: [...this.#tracks.keys()].filter((id) => !present.has(id)),
    };
  }

  /**
   * Handles which tracks flow in which sections. What was said before may be said again.
   *
   * @param {Map<string, PublishedTrack | null>} slots by `mid`
   * @param {Flow[]} flows
   */
  handleSlots(slots, flows) {
    /** @type {Set<string>} */
    const changed = new Set();
    const named = [...slots].map(([mid, bound]) => /** @type {const} */ ([mid, bound && this.#named(bound)]));
    const news = named.filter(([mid, bound]) => this.#slots.get(mid)?.id !== bound?.track);
    // A track is taken from one peer before it is given to another: no peer is shown as another one.
    for (const [mid] of news) {
      const slot = this.#slots.get(mid);
      if (!slot) continue;
      this.#slots.delete(mid);
      this.#streams.get(slot.peer)?.removeTrack(slot.track);
      changed.add(slot.peer);
    }
    for (const [mid, bound] of news) {
      const track = this.#connection.getTransceivers().find((one) => one.mid === mid)?.receiver.track;
      if (!bound || !track || this.#gone.has(bound.peer)) continue;
      const { peer, track: id } = bound;
      const slot = { id, peer, track };
      this.#slots.set(mid, slot);
      if (track.kind === "video") this.#own(slot);
      if (this.#before && !this.#carries(track)) continue;
      this.#show(peer, track);
      changed.add(peer);
    }
    if (news.length > 0) this.#host.flowing();
    for (const peer of changed) this.#tell(peer);
    const bound = new Set([...this.#slots.values()].map(({ id }) => id));
    const ours = flows.map((flow) => Object.freeze({ ...flow, track: this.#name(flow.track) }));
    for (const flow of ours) if (bound.has(flow.track)) this.#host.emit("flow", flow);
  }

  /**
   * Shows what carries media by now in place of what flows over the connection before.
   *
   * @returns {Promise<boolean>} whether all does
   */
  async carry() {
    for (const slot of [...this.#slots.values()]) {
      if (!this.#carries(slot.track) && (await this.#isReady(slot))) this.#carrying.add(slot.track);
    }
    const before = this.#before;
    if (!before) return true;
    /** @type {Set<string>} */
    const changed = new Set();
    for (const { id, peer, track } of this.#slots.values()) {
      if (!this.#carries(track) || this.#streams.get(peer)?.getTracks().includes(track)) continue;
      this.#show(peer, track);
      const earlier = before.#slot(id);
      if (earlier) this.#streams.get(peer)?.removeTrack(earlier.track);
      changed.add(peer);
    }
    if (changed.size > 0) this.#host.flowing();
    for (const peer of changed) this.#tell(peer);
    return [...before.#slots.values()].every(({ id }) => {
      const slot = this.#slot(id);
      return slot && this.#carries(slot.track);
    });
  }

  /** Shows what flows here alone, because the connection before ends. */
  goOn() {
    const before = this.#before;
    if (!before) return;
    this.#before = null;
    /** @type {Set<string>} */
    const changed = new Set();
    for (const { peer, track } of before.#slots.values()) {
      const stream = this.#streams.get(peer);
      if (!stream?.getTracks().includes(track)) continue;
      stream.removeTrack(track);
      changed.add(peer);
    }
    for (const { peer, track } of this.#slots.values()) {
      if (this.#streams.get(peer)?.getTracks().includes(track)) continue;
      this.#show(peer, track);
      changed.add(peer);
    }
    clearTimeout(before.#beginning);
    this.#host.flowing();
    for (const peer of changed) this.#tell(peer);
    const [was, is] = [before.#tracks, this.#tracks];
    const changes = {
      added: [...is.values()].filter(({ track }) => !was.has(track)),
      changed: [...is.values()].filter((track) => differs(was.get(track.track), track)),
      removed: [...was.values()].filter(({ track }) => !is.has(track)),
    };
    if (Object.values(changes).some((some) => some.length > 0)) this.#host.emit("tracks", [...is.values()], changes);
  }

  /**
   * Handles that a peer has left: its stream ends at once, whenever the server says that of its tracks, one by one.
   *
   * @param {string} peer
   */
  handleLeft(peer) {
    this.#gone.add(peer);
    for (const earlier of this.#gone) if (this.#gone.size > MOST_GONE) this.#gone.delete(earlier);
    this.#end(peer);
    if (this.#before) this.#before.#end(peer);
    this.#host.flowing();
    if (this.#streams.has(peer)) this.#tell(peer);
  }

  /** Handles that the server has given up this client's media, which the next offer begins again. */
  handleFailed() {
    this.clear();
    this.#rests = true;
    if (!this.#failed.add()) this.#beginning = setTimeout(() => this.retry(), PAUSE);
    this.#host.emit("error", new CallboardError("media_failed", "the media of this client has failed on the server"));
  }

  /** Begins media that has failed again. */
  retry() {
    if (!this.#rests) return;
    this.#rests = false;
    this.#host.offer();
  }

  /** Ends all streams, with their peer connection or with the media of the room. */
  clear() {
    clearTimeout(this.#beginning);
    const peers = [...this.#streams.keys()];
    // Those that the page knows of.
    const removed = [...(this.#before ?? this).#tracks.values()];
    if (this.#before) clearTimeout(this.#before.#beginning);
    this.#before = null;
    for (const map of [this.#tracks, this.#slots, this.#streams]) map.clear();
    this.#host.flowing();
    // Later, because a listener may change the connection that is about to replace this one.
    queueMicrotask(() => {
      for (const peer of peers) this.#host.emit("stream", peer, null);
      if (removed.length > 0) this.#host.emit("tracks", [], { added: [], changed: [], removed });
    });
  }

  /** @param {string} track its id */
  #slot(track) {
    return [...this.#slots.values()].find(({ id }) => id === track);
  }

  /** @param {string} peer that sends nothing any more */
  #end(peer) {
    for (const [mid, slot] of this.#slots) {
      if (slot.peer !== peer) continue;
      this.#slots.delete(mid);
      this.#streams.get(peer)?.removeTrack(slot.track);
    }
  }

  /**
   * @param {string} peer
   * @param {MediaStreamTrack} track
   */
  #show(peer, track) {
    const stream = this.#streams.get(peer) ?? new MediaStream();
    stream.addTrack(track);
    this.#streams.set(peer, stream);
  }

  /**
   * Gives a picture to a peer. If the last one that has come is of another, it stays black until the next one is there:
   * what begins to show a track, or one that is no longer black, begins with its last picture.
   *
   * @param {{ id: string, peer: string, track: MediaStreamTrack }} slot
   */
  #own(slot) {
    const { peer, track } = slot;
    const owner = this.#owners.get(track);
    if (owner !== undefined && owner !== peer) return void this.#blacken(slot);
    this.#owners.set(track, peer);
    if (this.#black.delete(track)) track.enabled = true;
  }

  /** @param {{ id: string, peer: string, track: MediaStreamTrack }} slot */
  async #blacken(slot) {
    const { peer, track } = slot;
    const holds = () => this.#connection.signalingState !== "closed" && [...this.#slots.values()].includes(slot);
    track.enabled = false;
    this.#black.add(track);
    // A picture may be there a little before it is shown: at the second one, the first is.
    let [last, pictures, pause, due] = [this.#last(track), 0, SHORTEST_LOOK, Infinity];
    while (pictures < 2 && performance.now() < due) {
      await passes(pause);
      if (!holds()) return;
      const now = this.#last(track);
      pause = pictures > 0 ? SHORTEST_LOOK : Math.min(2 * pause, LONGEST_LOOK);
      if (now === null || now === last) continue;
      if (pictures === 0) [pause, due] = [SHORTEST_LOOK, performance.now() + LONGEST_SECOND];
      [last, pictures] = [now, pictures + 1];
    }
    this.#owners.set(track, peer);
    this.#black.delete(track);
    track.enabled = true;
  }

  /**
   * Returns the RTP time of the last picture that a track has: one that is only decoded is not there yet.
   *
   * @param {MediaStreamTrack} track
   * @returns {number | null} null if none has come for 10 s
   */
  #last(track) {
    const receiver = this.#connection.getReceivers().find((one) => one.track === track);
    return receiver?.getSynchronizationSources()[0]?.rtpTimestamp ?? null;
  }

  /** @param {MediaStreamTrack} track */
  #carries(track) {
    return this.#carrying.has(track);
  }

  /**
   * Returns whether a track can be shown: sound once it comes, and a picture once it comes evenly, which is some time after
   * the first one where a connection has yet to learn what its path carries. Until then that of the connection before is
   * shown, while it moves.
   *
   * @param {{ id: string, track: MediaStreamTrack }} slot
   */
  async #isReady({ id, track }) {
    if ((await this.#come(track)) === 0) return false;
    const before = this.#before;
    const earlier = before && track.kind === "video" && before.#slot(id);
    if (!earlier) return true;
    const begun = this.#begun.get(track) ?? performance.now();
    this.#begun.set(track, begun);
    return (await before.#stands(earlier.track)) || performance.now() - begun >= SETTLES;
  }

  /**
   * Returns whether a picture has not moved since the looks before this one.
   *
   * @param {MediaStreamTrack} track
   */
  async #stands(track) {
    const [come, now] = [await this.#come(track), performance.now()];
    const known = this.#counts.get(track);
    if (known?.come === come) return now - known.since >= STANDS;
    this.#counts.set(track, { come, since: now });
    return false;
  }

  /**
   * Returns how many pictures of a track were decoded, or how many packets of its sound have come. Nothing tells of that.
   *
   * @param {MediaStreamTrack} track
   * @returns {Promise<number>}
   */
  async #come(track) {
    const receiver = this.#connection.getReceivers().find((one) => one.track === track);
    const stats = await receiver?.getStats().catch(() => null);
    const inbound = [...(stats?.values() ?? [])].find(({ type }) => type === "inbound-rtp");
    return (track.kind === "video" ? inbound?.framesDecoded : inbound?.packetsReceived) ?? 0;
  }

  /** @param {string} id of a track, by the server */
  #name(id) {
    return this.#names.get(id) ?? id;
  }

  /**
   * Returns a track with the id by which the page knows it, also from the connection before: of the same peer, the same
   * kind and the same source.
   *
   * @param {PublishedTrack} track
   * @returns {PublishedTrack}
   */
  #named(track) {
    const { track: id, peer, kind, source } = track;
    if (!this.#names.has(id) && this.#before) {
      const taken = new Set(this.#names.values());
      const same = (/** @type {PublishedTrack} */ one) =>
        !taken.has(one.track) && one.peer === peer && one.kind === kind && one.source === source;
      const known = [...this.#before.#tracks.values()].find(same);
      if (known) this.#names.set(id, known.track);
    }
    return this.#names.has(id) ? Object.freeze({ ...track, track: this.#name(id) }) : track;
  }

  /** @param {string} peer */
  #tell(peer) {
    const stream = this.#streams.get(peer);
    const flows = stream && stream.getTracks().length > 0;
    if (!flows) this.#streams.delete(peer);
    this.#host.emit("stream", peer, flows ? stream : null);
  }
}

/**
 * @param {PublishedTrack | undefined} was
 * @param {PublishedTrack} is
 */
function differs(was, is) {
  return was !== undefined && (was.muted !== is.muted || JSON.stringify(was.metadata) !== JSON.stringify(is.metadata));
}

/**
 * @param {number} time in ms
 * @returns {Promise<void>} resolved when it has passed
 */
function passes(time) {
  return new Promise((resolve) => { setTimeout(resolve, time); });
}

/** Time before media that has failed is begun again, in ms. */
const PAUSE = 2_000;
/** Times between two looks whether a picture has come, in ms: at first, and where none comes for long. */
const SHORTEST_LOOK = 20;
const LONGEST_LOOK = 320;
/** Time in ms after which a picture is shown although no second one has come. */
const LONGEST_SECOND = 250;
/** Time from the first picture of a track until it comes evenly, in ms. */
const SETTLES = 2_000;
/** Time without a further picture after which one stands still, in ms. */
const STANDS = 200;
/** Peers that have left and are remembered at most. */
const MOST_GONE = 256;

// Link to the server: a peer connection, and each that replaces it.

/** Peer connection to the server, and each that replaces it. */
class Link {
  /** Whether it was closed for good. */
  closed = false;
  /** Tracks that the page publishes one by one. */
  publications;
  /** @type {{ connection: RTCPeerConnection, channels: Channels, negotiation: Negotiation, path: Path, streams: Streams }} */
  #current;
  /** The connection before, while it lasts. @type {Overlap | null} */
  #overlap = null;
  #media;
  #options;
  #labels;
  #host;
  #patience = new Patience();
  /** Whether the server has warned about the rate of this connection. */
  #warned = false;
  /** Sections of this connection in which the application on the server has muted what is sent. @type {Set<string>} */
  #mutedMids = new Set();
  /** Set while no connection is tried; `network`: whether its change may help. @type {{ network: boolean } | null} */
  #resting = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #reopening;

  /**
   * @param {Options & Pick<PeerConnectionOptions, "media" | "receive" | "simulcast"> & { iceServers: RTCIceServer[] }} options
   * @param {Map<string, RTCDataChannelInit>} labels of the channels to create
   * @param {{
   *   tell: (event: string, data: any) => boolean,
   *   reachable: () => boolean,
   *   emit: (event: string, ...told: any[]) => void,
   *   data: (channel: string, data: string | ArrayBuffer) => void,
   *   wishes: () => Wishes | null,
   *   flowing: (removed?: string[]) => void,
   * }} host
   */
  constructor(options, labels, host) {
    this.#options = options;
    this.#labels = labels;
    this.#host = host;
    const simulcast = options.simulcast ?? Boolean(options.receive);
    this.#media = new Media(options, simulcast);
    this.publications = new Publications(host.tell, simulcast);
    this.#current = this.#open(null);
  }

  /** The browser's current peer connection: another one after a loss for good, or after a move. */
  get connection() {
    return this.#overlap && !this.#overlap.isConnected ? this.#overlap.connection : this.#current.connection;
  }

  /** @returns {RTCPeerConnectionState} */
  get state() {
    if (this.#resting) return "failed";
    return this.#reopening === undefined ? this.connection.connectionState : "new";
  }

  get channels() {
    return this.#current.channels;
  }

  get negotiation() {
    return this.#current.negotiation;
  }

  /** Closes the connection for good, here and on the server. */
  close() {
    if (this.closed) return;
    this.closed = true;
    this.#dispose();
    this.publications.clear();
    this.#host.tell("webrtc:close", {});
    this.#host.emit("webrtc", "closed");
  }

  /** Tries again, after `webrtc_gave_up` or `media_failed`. */
  retry() {
    if (this.closed) return;
    if (!this.#resting) return this.#current.streams.retry();
    this.#resting = null;
    this.#patience.forget();
    this.renew();
  }

  /**
   * @param {string} label
   * @returns {RTCDataChannel | undefined}
   */
  openChannel(label) {
    return this.channels.open(label);
  }

  /**
   * Adds a data channel, also to those that replace this connection.
   *
   * @param {string} label
   * @param {RTCDataChannelInit} init
   */
  addChannel(label, init) {
    if (this.#current.connection.signalingState !== "closed") this.channels.create(label, init);
  }

  /** Tells the server what it could not be told while the WebSocket was lost. */
  settle() {
    this.negotiation.settle();
    this.publications.settle();
  }

  /** Starts a new connection at once, because the server does not know the old one. */
  renew() {
    if (this.#resting) return;
    if (this.#reopening === undefined) this.#host.emit("webrtc", "new");
    if (this.closed) return;
    this.#dispose();
    this.#replace(null);
  }

  /** Starts a new connection, to another server, beside the one that is there: that lasts until the new one carries media. */
  move() {
    this.#endOverlap();
    const { connection, channels, negotiation, path, streams } = this.#current;
    const isUp = connection.connectionState === "connected";
    if (this.closed || this.#resting || this.#reopening !== undefined || !isUp) return this.renew();
    negotiation.stopWaiting();
    path.stop();
    connection.onnegotiationneeded = connection.onicecandidate = connection.ontrack = null;
    this.#media.release();
    this.publications.release(true);
    // The application is at the other server by now.
    channels.leave();
    if (!this.#replace(streams)) return;
    this.#overlap = new Overlap(connection, {
      carries: () => this.#current.streams.carry(),
      over: () => this.#endOverlap(),
      late: () => this.renew(),
    });
  }

  /**
   * @param {Streams | null} before those of the connection before, if that lasts
   * @returns {boolean} whether there is another connection
   */
  #replace(before) {
    try {
      this.#current = this.#open(before);
      return true;
    } catch (error) {
      // The browser has reached its limit of connections.
      this.#failed("no_offer", error);
      return false;
    }
  }

  /** Ends the connection before, if it lasts. */
  #endOverlap() {
    const overlap = this.#overlap;
    if (!overlap) return;
    this.#overlap = null;
    this.publications.releaseBefore();
    this.#current.streams.goOn();
    overlap.end();
    if (!overlap.isConnected) this.#host.emit("webrtc", this.state);
  }

  /**
   * Handles the loss of the socket. It may have failed because of this client's offer, and would fail with the next one
   * too.
   *
   * @param {boolean} fault whether the server has closed it over something that was sent
   */
  socketLost(fault) {
    if (this.closed || this.#resting || !this.negotiation.isWaiting) return;
    const enough = this.#patience.suspect(fault);
    if (enough) this.#rest(enough);
  }

  /** Handles a possible change of the network: the old path may be dead. */
  networkChanged() {
    if (this.closed) return;
    if (this.#resting?.network) return this.retry();
    if (this.negotiation.answered && this.#reopening === undefined) this.#current.path.renew();
  }

  /** Handles a warning of the server about the rate. */
  handleWarning() {
    this.#warned = true;
  }

  /**
   * @param {string} state of the server's side
   * @param {string} [reason] if it has ended, and neither side has just closed it
   */
  handleState(state, reason) {
    if (!this.negotiation.answered || (state !== "failed" && state !== "closed")) return;
    const enough = this.#warned ? this.#patience.flood() : null;
    if (enough) return this.#rest(enough);
    this.#reopen(undefined, reason);
  }

  /**
   * Returns whether a refusal is of a candidate of the connection before this one, which was on its way when the server
   * ended that connection. It is no fault.
   *
   * @param {{ event?: string, error?: string } | null} details
   */
  isLate(details) {
    const { event, error } = details ?? {};
    const isAnswered = this.#reopening === undefined && this.negotiation.answered;
    return event === "webrtc:ice" && error === "no_webrtc_session" && !isAnswered;
  }

  /** @param {{ event?: string, error?: string } | null} details */
  handleRefusal(details) {
    if (this.closed) return;
    const { event, error } = details ?? {};
    if (error === "webrtc_disabled") return this.close();
    const { answered } = this.negotiation;
    const offered = event === "webrtc:offer" && this.#current.connection.signalingState === "have-local-offer";
    // The next offer would fail in the same way.
    if (offered) this.#reopen(error === "bad_description" ? error : undefined);
    else if (error === "no_webrtc_session" && answered) this.#reopen();
    // Only this client takes the round for completed. After a timeout it has not answered.
    else if (event === "webrtc:answer" && error !== "timeout" && answered) this.#reopen();
  }

  /**
   * Handles which tracks the others publish.
   *
   * @param {PublishedTrack[]} added
   * @param {(Partial<PublishedTrack> & { track: string })[]} changed
   * @param {string[]} removed
   */
  handleTracks(added, changed, removed) {
    const { connection, negotiation, streams } = this.#current;
    negotiation.afterDescriptions(() => {
      streams.handleTracks(added, changed, removed);
      // A listener may have closed it.
      if (this.#current.connection === connection && !this.closed) this.#media.makeRoom(connection, streams);
    });
  }

  /**
   * Handles which tracks the others publish, all of them: some changes may have been missed.
   *
   * @param {PublishedTrack[]} all
   */
  handleAllTracks(all) {
    const { negotiation, streams } = this.#current;
    negotiation.afterDescriptions(() => {
      const { added, changed, removed } = streams.compare(all);
      if (added.length + changed.length + removed.length > 0) this.handleTracks(added, changed, removed);
    });
  }

  /**
   * @param {Map<string, PublishedTrack | null>} slots what flows in which section, by its `mid`
   * @param {Flow[]} flows and in which layer
   */
  handleSlots(slots, flows) {
    const { negotiation, streams } = this.#current;
    negotiation.afterDescriptions(() => streams.handleSlots(slots, flows));
  }

  /**
   * Returns what comes here of a track that another publishes.
   *
   * @param {string} track its id
   */
  received(track) {
    return this.#current.streams.received(track);
  }

  /** @param {string} peer that is in the room no more */
  handleLeft(peer) {
    this.#current.streams.handleLeft(peer);
  }

  /**
   * @param {string} mid of the section in which they are sent
   * @param {Record<string, boolean>} rids encodings, and whether the server wants them
   */
  handleLayers(mid, rids) {
    const { connection, negotiation } = this.#current;
    negotiation.afterDescriptions(() => sendWanted(connection, mid, rids));
  }

  /**
   * Handles that the application on the server has muted a track of the page, or lets it be heard and seen again.
   *
   * @param {string} mid of the section in which it is sent
   * @param {boolean} muted
   */
  handleMuted(mid, muted) {
    const { connection, negotiation } = this.#current;
    negotiation.afterDescriptions(() => {
      // What was said before may be said again.
      if (this.#mutedMids.has(mid) === muted) return;
      if (muted) this.#mutedMids.add(mid);
      else this.#mutedMids.delete(mid);
      const transceiver = connection.getTransceivers().find((one) => one.mid === mid);
      const publication = this.publications.handleMuted(transceiver, muted);
      this.#host.emit("track_muted", Object.freeze({ mid, muted, track: transceiver?.sender.track ?? null, publication }));
    });
  }

  /** Tells the server what the page wishes, if it has an answer. */
  wish() {
    const wishes = this.negotiation.answered ? this.#host.wishes() : null;
    if (wishes) this.#host.tell("media:wish", this.#current.streams.translate(wishes));
  }

  /** Handles that the server has given up this client's media. */
  handleMediaFailed() {
    const { negotiation, streams } = this.#current;
    negotiation.afterDescriptions(() => streams.handleFailed());
  }

  /**
   * Opens the browser's peer connection that is to be the current one, and returns it with its parts.
   *
   * @param {Streams | null} before those of the connection before, if that lasts
   */
  #open(before) {
    const connection = new RTCPeerConnection({ iceServers: this.#options.iceServers, bundlePolicy: "max-bundle" });
    this.#warned = false;
    this.#mutedMids.clear();
    this.#patience.connectedAt = Infinity;
    const isCurrent = () => this.#current?.connection === connection;
    const isOver = () => !isCurrent() || this.closed;
    const lost = () => this.#reopen();
    const { tell, reachable, emit, data, flowing } = this.#host;
    const channels = new Channels(connection, { isCurrent, emit, data });
    const path = new Path(connection, {
      isOver,
      reachable,
      changed: (state) => {
        if (state === "connected") this.#overlap?.connected();
        // Until then the page has the one before.
        if (!this.#overlap || this.#overlap.isConnected) emit("webrtc", state);
      },
      connected: () => (this.#patience.connectedAt = performance.now()),
      lost,
    });
    const negotiation = new Negotiation(connection, {
      isCurrent,
      isOver,
      tell,
      reachable,
      addTracks: () => {
        const [media, published] = [this.#media.addTracks(connection), this.publications.addTo(connection)];
        return media || published;
      },
      offering: () => this.publications.describe(),
      answered: () => {
        this.#patience.answered();
        path.begin();
        this.wish();
      },
      failed: (code, error) => this.#failed(code, error),
      lost,
    });
    const streams = new Streams(connection, { emit, flowing, offer: () => negotiation.renew() }, before);
    connection.ondatachannel = ({ channel }) => channels.adopt(channel);
    connection.ontrack = (event) => emit("track", event);
    try {
      for (const [label, init] of this.#labels) channels.create(label, init);
    } catch (error) {
      connection.close();
      throw error;
    }
    this.#media.setUp(connection);
    return { connection, channels, negotiation, path, streams };
  }

  /**
   * Reports a failure of the browser that the same offer would repeat, and tries again.
   *
   * @param {string} code
   * @param {unknown} error
   */
  #failed(code, error) {
    this.#host.emit("error", new CallboardError(code, String(error)));
    this.#reopen(code);
  }

  /**
   * Starts a new connection after a delay, unless that has been done too often.
   *
   * @param {string} [same] failure that the same offer would repeat
   * @param {string} [reason] given by the server
   */
  #reopen(same, reason) {
    if (this.closed || this.#resting || this.#reopening !== undefined) return;
    const enough = this.#patience.lose(same);
    if (enough) return this.#rest(enough);
    this.#dispose();
    // An offer of another connection tells the server that this one is over.
    this.#reopening = setTimeout(() => this.renew(), this.#patience.delay(this.#options));
    this.#host.emit("webrtc", "new", ...(reason ? [{ reason }] : []));
  }

  /**
   * Gives up, until the page calls `retry` or, if that may help, the network changes.
   *
   * @param {{ cause: string, network: boolean }} enough
   */
  #rest({ cause, network }) {
    this.#dispose();
    this.#resting = { network };
    this.#host.emit("webrtc", "failed");
    this.#host.emit("error", new CallboardError("webrtc_gave_up", `no peer connection to the server: ${cause}`, { cause }));
  }

  #dispose() {
    this.#overlap?.end();
    this.#overlap = null;
    const { connection, channels, negotiation, path, streams } = this.#current;
    negotiation.stopWaiting();
    path.stop();
    streams.clear();
    clearTimeout(this.#reopening);
    this.#reopening = undefined;
    this.#media.release();
    this.publications.release();
    connection.onnegotiationneeded = connection.onicecandidate = connection.onconnectionstatechange = null;
    connection.ondatachannel = connection.ontrack = null;
    connection.close();
    channels.dispose();
  }
}

// Listeners to a client's events.

/** Listeners by the event that they listen to. */
class Listeners {
  /** @type {Map<string, Set<(...told: any[]) => void>>} */
  #all = new Map();

  /**
   * @param {string} event
   * @param {(...told: any[]) => void} listener
   * @returns {() => void} stops listening
   */
  add(event, listener) {
    const listeners = this.#all.get(event) ?? new Set();
    this.#all.set(event, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * Calls the listeners of an event. If one throws, the others are still called. May be passed on as a function.
   *
   * @param {string} event
   * @param {...any} told
   */
  emit = (event, ...told) => {
    for (const listener of [...(this.#all.get(event) ?? [])]) {
      harmless(() => listener(...told));
    }
  };

  clear() {
    this.#all.clear();
  }
}

// Members of the room, as the server reports them.

/** Members of the room: this peer and the others. Reports who comes and goes. */
class Members {
  /** Id of this peer; empty before it has joined. */
  self = "";
  /** @type {Map<string, PeerMetadata>} */
  others = new Map();
  #emit;

  /** @param {(event: string, ...told: any[]) => void} emit */
  constructor(emit) {
    this.#emit = emit;
  }

  /**
   * Returns the members that the server's answer to joining names.
   *
   * @param {{ peers?: string[], metadata?: Record<string, PeerMetadata> }} data
   * @returns {Map<string, PeerMetadata>}
   */
  static in({ peers, metadata }) {
    return new Map((Array.isArray(peers) ? peers : []).map((peer) => [peer, object(metadata?.[peer])]));
  }

  /** @param {{ peer_id: string, metadata?: unknown }} data */
  joined({ peer_id: peer, metadata }) {
    this.are(new Map(this.others).set(text(peer), object(metadata)));
  }

  /** @param {{ peer_id: string }} data */
  left({ peer_id: peer }) {
    this.are(new Map([...this.others].filter(([present]) => present !== text(peer))));
  }

  /** @param {string[]} peers members that a restarted room has kept */
  remain(peers) {
    this.are(new Map(peers.map(text).map((peer) => [peer, this.others.get(peer) ?? object()])));
  }

  /** @param {{ peers: string[], metadata?: Record<string, PeerMetadata> }} data members, after some may have been missed */
  listed({ peers, metadata }) {
    this.are(new Map(peers.map(text).map((peer) => [peer, object(metadata?.[peer])])));
  }

  /** @param {Map<string, PeerMetadata>} present */
  are(present) {
    const others = new Map([...present].filter(([peer]) => peer !== this.self));
    const gone = [...this.others.keys()].filter((peer) => !others.has(peer));
    const come = [...others].filter(([peer]) => !this.others.has(peer));
    for (const peer of gone) this.others.delete(peer);
    for (const [peer, metadata] of come) this.others.set(peer, metadata);
    for (const peer of gone) this.#emit("left", peer);
    for (const [peer, metadata] of come) this.#emit("joined", peer, metadata);
  }
}

// Peer connection to the server, as the application sees it.

/** Peer connection to the server, and each that replaces it. Created by {@link Client#openPeerConnection}. */
export class PeerConnection {
  #link;

  /**
   * @param {{
   *   readonly connection: RTCPeerConnection,
   *   readonly state: RTCPeerConnectionState,
   *   readonly closed: boolean,
   *   openChannel(label: string): RTCDataChannel | undefined,
   *   close(): void,
   *   retry(): void,
   * }} link
   */
  constructor(link) {
    this.#link = link;
  }

  /** The browser's current peer connection: another one after a loss for good. */
  get connection() {
    return this.#link.connection;
  }

  /** State of the current connection; `new` while a lost one is being replaced, `failed` after `webrtc_gave_up`. */
  get state() {
    return this.#link.state;
  }

  /** Whether it was closed for good. */
  get closed() {
    return this.#link.closed;
  }

  /**
   * Returns the data channel with this label, if it is open.
   *
   * @param {string} label
   * @returns {RTCDataChannel | undefined}
   */
  openChannel(label) {
    return this.#link.openChannel(label);
  }

  /** Closes the connection for good, here and on the server. */
  close() {
    this.#link.close();
  }

  /** Tries again, after `webrtc_gave_up` or `media_failed`. */
  retry() {
    this.#link.retry();
  }
}

// Attempts to open the WebSocket again: which failures count, and when it is enough.

/** Attempts that have failed, by cause. */
class Attempts {
  /** Failed attempts in a row. */
  failed = 0;
  /** Those of them that found no server or were refused by one, since the server was last asked for its status. */
  #unopened = 0;
  /** Whether the server was reachable when it was last asked, after too many attempts that may have been refused. */
  #doubted = false;
  /** Attempts in a row that were led around in a circle. */
  #circled = 0;
  /** Number of times in a row that the room has not admitted the client again. */
  #turnedAway = 0;
  /** Causes for which connections have ended, by close code. @type {Map<number, Tally>} */
  #deaths = new Map();
  #options;

  /** @param {{ firstDelay: number, longestDelay: number, attempts: number, refusals: number }} options */
  constructor(options) {
    this.#options = options;
  }

  /** Whether there have been as many as the page allows. */
  get areUsedUp() {
    return this.failed >= this.#options.attempts;
  }

  /** Notes that the room has admitted the client. */
  succeed() {
    this.#unopened = this.#turnedAway = this.#circled = 0;
    this.#doubted = false;
  }

  /**
   * Notes that a connection has ended over an error.
   *
   * @param {number} code close code of the WebSocket
   * @returns {boolean} whether connections have ended with this code too often
   */
  die(code) {
    const tally = this.#deaths.get(code) ?? new Tally(REPEATS, MEMORY);
    this.#deaths.set(code, tally);
    return tally.add();
  }

  /**
   * Notes that the room has not admitted the client.
   *
   * @returns {boolean} whether that has happened too often
   */
  turnAway() {
    this.#turnedAway += 1;
    return this.#turnedAway > REPEATS;
  }

  /**
   * Counts an attempt that servers have sent from one to the other.
   *
   * @returns {boolean} whether that has happened too often
   */
  circle() {
    this.#circled += 1;
    return this.#circled >= this.#options.refusals;
  }

  /**
   * Counts an attempt that has opened no WebSocket. Asks the server for its status once in a while.
   *
   * @param {() => Promise<number>} ask for the HTTP status
   * @returns {Promise<boolean>} whether a reachable server has refused too many attempts in a row
   */
  async refuse(ask) {
    const { refusals } = this.#options;
    this.#unopened += 1;
    if (this.#unopened < refusals - 1) return false;
    const status = await ask();
    // The status of a server of another origin cannot be seen; overload, or a proxy without a server, does not count.
    const refuses = status >= 400 && status < 500 && status !== 408 && status !== 429;
    // The attempts so far may have found no server, which is back now: it must refuse another one.
    const refused = refuses && (this.#doubted || refusals <= 1);
    this.#doubted = refuses;
    this.#unopened = refuses ? refusals - 2 : 0;
    return refused;
  }

  /**
   * Returns the delay before the next attempt, and counts the last one as failed.
   *
   * @param {boolean} turnedAway whether the room has not admitted the client
   * @param {number} least milliseconds
   * @returns {number} milliseconds
   */
  delay(turnedAway, least) {
    // The member that keeps the client out may be its own earlier peer, from before the connection was lost.
    const delay = turnedAway
      ? this.#options.longestDelay * AFTER_NO[this.#turnedAway - 1]
      : backoff(this.failed, this.#options);
    this.failed += 1;
    return Math.max(delay, least);
  }
}

/**
 * Asks for the HTTP status of a request without an upgrade: of a WebSocket the browser tells only that it failed.
 *
 * @param {URL} socket address of the WebSocket
 * @param {AbortController} asking aborts it
 * @returns {Promise<number>} the HTTP status; 0 if it cannot be seen, {@link UNREACHABLE} if there is no answer
 */
async function httpStatus(socket, asking) {
  const url = new URL(socket);
  url.protocol = url.protocol.replace(/^ws/, "http");
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

/** Value that is not an HTTP status: no answer. */
const UNREACHABLE = -1;
/**
 * Delays before joining a room again that has not admitted the client, in longest delays: its old peer there may have
 * to time out.
 */
const AFTER_NO = [1.5, 6];

// Messages that wait for a connection, and the size that the server takes.

/** Messages that wait for a connection. */
class Backlog {
  /** @type {{ text: string, ofSession: boolean }[]} */
  #waiting = [];
  #most;
  /**
   * Size in bytes of the largest message that the server takes, known for a while once a connection has ended over a
   * larger one: the server may be another one by then.
   */
  #largest = { bytes: Infinity, until: Infinity };

  /** @param {number} most */
  constructor(most) {
    this.#most = most;
  }

  /**
   * @param {string} text
   * @throws {CallboardError} `too_large`: the server has closed a connection over a smaller one
   */
  check(text) {
    if (performance.now() >= this.#largest.until) this.#largest = { bytes: Infinity, until: Infinity };
    if (isLarger(text, this.#largest.bytes)) throw tooLarge(this.#largest.bytes);
  }

  /**
   * @param {string} text
   * @throws {CallboardError} `queue_full`
   */
  add(text) {
    if (this.#waiting.length >= this.#most) throw queueFull();
    this.#waiting.push({ text, ofSession: false });
  }

  /**
   * Keeps a text while the client moves.
   *
   * @param {string} text
   * @param {boolean} ofSession whether it is about this session alone
   * @returns {boolean} whether there is room
   */
  hold(text, ofSession) {
    const fits = this.#waiting.length < Math.max(this.#most, MOST_HELD_TEXTS);
    if (fits) this.#waiting.push({ text, ofSession });
    return fits;
  }

  /**
   * Returns all of them, and keeps none.
   *
   * @param {boolean} sameSession whether the session goes on; else those that are about it are dropped
   */
  take(sameSession) {
    return this.#waiting.splice(0).filter(({ ofSession }) => sameSession || !ofSession).map(({ text }) => text);
  }

  /**
   * Notes that the server has closed a connection over a message that was too large.
   *
   * @param {unknown} bytes size of the largest that it takes, as it says
   */
  limit(bytes) {
    this.#largest = { bytes: Math.min(this.#largest.bytes, Number(bytes) || Infinity), until: performance.now() + MEMORY };
  }
}

/** Texts that wait while the client moves, at most, unless the page lets more wait. */
const MOST_HELD_TEXTS = 256;

// Move of the client to another address: a second WebSocket, opened while the first one lasts.

/**
 * @typedef {object} Order what the server asks for
 * @property {URL} to
 * @property {{ token: string, milliseconds: number } | null} resume the session there; null: join as a new peer
 * @property {boolean} replace whether the peer connection is to be opened anew there
 */

/**
 * A move while the client is a member. What comes over the second socket waits until all has come over the first one:
 * until the server has closed that or, where the client is a new peer, has reported the new peer there.
 */
class Move {
  /** The server's welcome over the second socket. @type {any} */
  #welcome = null;
  /** What has come over the second socket since, oldest first. @type {(() => void)[]} */
  #held = [];
  /** What has come over the first socket since a peer has joined who may be this client, oldest first. @type {(() => void)[]} */
  #kept = [];
  #defers = true;
  /** The way in which the first socket has ended. @type {{ code: number, reason: string, ours: boolean } | null} */
  #ended = null;
  /** @type {WebSocketLike | null} */
  #socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #order;
  #limit;
  #host;

  /**
   * @param {Order} order
   * @param {number} limit of the time until the client has joined, in ms
   * @param {{
   *   open: (order: Order) => WebSocketLike,
   *   moved: (data: any) => void,
   *   received: (data: unknown) => void,
   *   lost: (socket: WebSocketLike, code: number, reason: string) => void,
   *   arrived: (socket: WebSocketLike, welcome: any, order: Order) => void,
   *   failed: (error: CallboardError, ended: { code: number, reason: string, ours: boolean } | null) => void,
   * }} host `moved`: told to move on before it has arrived
   */
  constructor(order, limit, host) {
    this.#order = order;
    this.#limit = limit;
    this.#host = host;
  }

  /** Whether messages wait for the second socket: over the first one they might be lost, as the session leaves it. */
  get holds() {
    return this.#order.resume !== null;
  }

  /** Opens the second socket. */
  open() {
    let socket;
    try {
      socket = this.#host.open(this.#order);
    } catch (error) {
      // The page may not go there.
      return this.#fail(0, String(error));
    }
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#socket === socket && this.#received(data);
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => this.#socket === socket && this.#closed(socket, code, reason);
    this.#timer = setTimeout(() => this.#fail(0, "the server does not let us in"), this.#limit);
  }

  /**
   * Returns whether a frame of the first socket must wait until it is known whether the new peer of this client has joined
   * before it: then the second socket has it as well.
   *
   * @param {any} frame
   */
  defers(frame) {
    if (!this.#defers || this.#order.resume || this.#welcome || !this.#socket) return false;
    return this.#kept.length > 0 || (frame?.from == null && frame?.event === "joined");
  }

  /** @param {() => void} run handles such a frame */
  keep(run) {
    this.#kept.push(run);
    if (this.#kept.length >= MOST_HELD) this.#release();
  }

  /**
   * Returns whether a frame of the first socket is the last one that counts: the new peer has joined, whose own socket
   * has all that came later.
   *
   * @param {any} frame of the server itself
   */
  ends(frame) {
    return this.#isNewPeer && frame?.event === "joined" && frame.data?.peer_id === this.#welcome.data.peer_id;
  }

  /** Goes on with the second socket alone. */
  finish() {
    const [socket, held] = [this.#socket, this.#held];
    if (!socket) return;
    this.abandon();
    this.#host.arrived(socket, this.#welcome, this.#order);
    for (const run of held) run();
  }

  /**
   * Handles the end of the first socket.
   *
   * @param {number} code
   * @param {string} reason
   * @param {boolean} ours
   * @param {boolean} isForGood whether the client must not come back, by this code
   * @returns {boolean} whether the move goes on without it
   */
  outlives(code, reason, ours, isForGood) {
    if (this.#welcome) {
      this.finish();
      return true;
    }
    const isTaken = code === 1000 && reason === TAKEN;
    if (isForGood && !isTaken) return false;
    this.#ended = { code: isTaken ? ABNORMAL : code, reason, ours };
    return true;
  }

  /** Forgets the second socket. */
  abandon() {
    clearTimeout(this.#timer);
    this.#socket = null;
    this.#held = [];
  }

  /** Ends the move, and closes the second socket. */
  cancel() {
    const socket = this.#socket;
    this.#release();
    this.abandon();
    socket?.close(this.#welcome ? 1000 : UNUSED);
  }

  get #isNewPeer() {
    return this.#welcome?.event === "authenticated";
  }

  /** @param {unknown} data */
  #received(data) {
    if (this.#welcome) return this.#hold(() => this.#host.received(data));
    const frame = parse(data);
    if (frame?.from != null) return;
    const isWelcome = frame?.event === "authenticated" || frame?.event === "resumed";
    if (isWelcome && typeof frame.data?.peer_id === "string") {
      this.#welcome = frame;
      clearTimeout(this.#timer);
      this.#release();
      if (this.#ended) this.finish();
      else if (this.#socket) this.#timer = setTimeout(() => this.finish(), this.#order.resume ? TAKEN_WITHIN : OVERLAP);
    } else if (frame?.event === "moved") {
      this.cancel();
      this.#host.moved(frame.data);
    }
  }

  /**
   * @param {WebSocketLike} socket
   * @param {number} code
   * @param {string} reason
   */
  #closed(socket, code, reason) {
    if (this.#welcome) this.#hold(() => this.#host.lost(socket, code, reason));
    else this.#fail(code, reason);
  }

  /** Handles what has waited of the first socket, up to the arrival of the new peer. */
  #release() {
    const kept = this.#kept;
    this.#kept = [];
    this.#defers = false;
    for (const run of kept) if (this.#socket) run();
  }

  /** @param {() => void} run */
  #hold(run) {
    this.#held.push(run);
    if (this.#held.length >= MOST_HELD) this.finish();
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #fail(code, reason) {
    const { href } = this.#order.to;
    this.cancel();
    this.#host.failed(new CallboardError("move_failed", `not moved to ${href}`, { to: href, code, reason }), this.#ended);
  }
}

/**
 * Reads the server's order to move.
 *
 * @param {any} data
 * @param {{ present: URL, first: URL }} addresses of the client
 * @returns {Order | null} null if it is none that the client may follow: it must name a WebSocket, and one over TLS where
 *   the client has come over TLS
 */
function readOrder(data, { present, first }) {
  const { url, resume, webrtc } = data ?? {};
  const { token, grace_ms: milliseconds } = resume ?? {};
  try {
    const to = url === undefined ? new URL(first) : new URL(url);
    to.protocol = to.protocol.replace(/^http/, "ws");
    const isGood = to.protocol === "wss:" || (to.protocol === "ws:" && present.protocol === "ws:");
    if (!isGood || to.username || to.password) return null;
    // The room and the credentials stay the same, unless the server names others.
    if (to.pathname === "/") to.pathname = present.pathname;
    if (!to.search) to.search = present.search;
    to.hash = "";
    return {
      to,
      resume: typeof token === "string" ? { token, milliseconds: Number(milliseconds) || 0 } : null,
      replace: webrtc === "replace",
    };
  } catch {
    // It is no absolute address.
    return null;
  }
}

/** Moves that a client follows within {@link MOVE_TIME}: nodes that point at each other must not keep it busy. */
const MOST_MOVES = 8;
/** In ms. */
const MOVE_TIME = 60_000;
/** Reason with which a server closes the socket of a session that has gone on over another one. */
const TAKEN = "resumed elsewhere";
/** Close code of a connection that was lost without a close frame. */
const ABNORMAL = 1006;
/** Close code of a second socket on which nothing was begun: the server does not take it for leaving. */
const UNUSED = 3008;
/** Time that the server has to close the first socket, from which the session was taken, in ms. */
const TAKEN_WITHIN = 2_000;
/** Time in which the first socket may say that the new peer has joined, in ms: in another room it never does. */
const OVERLAP = 500;
/** Frames that wait meanwhile at most. */
const MOST_HELD = 1_024;

// Signs of life of the server, on one WebSocket after the other.

/** Pings to the server, and the time that it takes to say anything. */
class Pulse {
  /** Whether a regular ping is unanswered. */
  #asked = false;
  /** Runs while the server must prove that it is reachable. @type {ReturnType<typeof setTimeout> | undefined} */
  #probe;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #heartbeat;
  /** Pings on this socket, and answers. */
  #sent = 0;
  #answered = 0;
  /** Waits for the answer to a certain ping. @type {{ number: number, run: () => void } | null} */
  #barrier = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #waiting;
  #interval;
  #unanswered;

  /**
   * @param {number} interval milliseconds from one ping to the next
   * @param {(socket: WebSocketLike) => void} unanswered
   */
  constructor(interval, unanswered) {
    this.#interval = interval;
    this.#unanswered = unanswered;
  }

  /** @param {WebSocketLike} socket */
  start(socket) {
    this.#asked = false;
    this.#sent = this.#answered = 0;
    this.#heartbeat = setInterval(() => {
      // The browser answers the server's pings silently, so a dead path shows only if the client pings too.
      if (this.#asked) return this.#unanswered(socket);
      if (socket.readyState !== OPEN) return;
      this.#asked = true;
      this.#ping(socket);
    }, this.#interval);
  }

  /**
   * Notes that the server has said something.
   *
   * @param {boolean} isPong whether it is the answer to a ping
   */
  heard(isPong) {
    this.#asked = false;
    clearTimeout(this.#probe);
    this.#probe = undefined;
    if (!isPong) return;
    this.#answered += 1;
    if (this.#barrier && this.#answered >= this.#barrier.number) this.#pass();
  }

  /**
   * Runs this when the server has read all that was sent until now, or does not say so in time.
   *
   * @param {WebSocketLike} socket
   * @param {() => void} run
   */
  afterAll(socket, run) {
    if (socket.readyState !== OPEN) return run();
    this.#ping(socket);
    this.#barrier = { number: this.#sent, run };
    this.#waiting = setTimeout(() => this.#pass(), BARRIER_TIME);
  }

  /**
   * Gives the server a short time to say something, unless it has been given that already.
   *
   * @param {WebSocketLike} socket
   * @param {boolean} joined whether the server answers pings
   */
  probe(socket, joined) {
    if (this.#probe !== undefined) return;
    if (joined && socket.readyState === OPEN) this.#ping(socket);
    this.#probe = setTimeout(() => this.#unanswered(socket), PROBE_TIME);
  }

  stop() {
    clearTimeout(this.#probe);
    this.#probe = undefined;
    clearInterval(this.#heartbeat);
    this.#pass();
  }

  /** @param {WebSocketLike} socket */
  #ping(socket) {
    this.#sent += 1;
    socket.send("ping");
  }

  #pass() {
    clearTimeout(this.#waiting);
    const barrier = this.#barrier;
    this.#barrier = null;
    barrier?.run();
  }
}

/** State of a WebSocket that is open. */
const OPEN = 1;
/** How long the server may take to answer after a possible change of the network, in ms. */
const PROBE_TIME = 3_000;
/** How long the server may take to say that it has read everything, in ms. */
const BARRIER_TIME = 1_000;

// WebSocket to the room, and each that replaces it: opening, joining, resuming and losing it.

/** WebSocket that is opened, reopened when it is lost, and that tracks whether the client has joined. */
class Socket {
  /** @type {State} */
  state = "connecting";
  /** Settles with the first attempt. @type {Promise<void>} */
  first;
  /** @type {WebSocketLike | null} */
  #socket = null;
  /** @type {{ token: string, milliseconds: number } | null} resume token of this connection, and its grace period */
  #resume = null;
  /** Time at which the open connection was opened, or the one to be resumed was lost. */
  #since = 0;
  /** Number of refusals that are not yet the end of the session. */
  #spare = 0;
  /** @type {CallboardError | null} the server's error before it closed the connection */
  #farewell = null;
  /** Whether the server has opened the connection, so that it has not refused it. */
  #opened = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Aborts the request for the HTTP status of a refusal. @type {AbortController | undefined} */
  #asking;
  /** Second socket, while the client moves there. @type {Move | null} */
  #move = null;
  #moves = new Tally(MOST_MOVES, MOVE_TIME);
  /** Address at which the client has joined last; none before it has. @type {URL | null} */
  #joinedAt = null;
  #attempts;
  #backlog;
  #pulse;
  /** Address that the page has given. */
  #first;
  /** Address of this connection and of the next. */
  #url;
  #options;
  #events;
  /** @type {{ resolve: () => void, reject: (error: CallboardError) => void } | null} */
  #joining = null;

  /**
   * @param {string | URL} url
   * @param {Options} options
   * @param {{
   *   state: (state: State, detail: StateDetail) => void,
   *   joined: (data: any, moved: { from: URL, to: URL } | null, move: Order | null) => void,
   *   received: (frame: any) => void,
   *   failed: (error: CallboardError) => void,
   * }} events `joined`: `moved` if the address is another than before, `move` if the client has moved there while it was a
   *   member
   */
  constructor(url, options, events) {
    this.#first = this.#url = absolute(url);
    this.#url.protocol = this.#url.protocol.replace(/^http/, "ws");
    this.#options = options;
    this.#events = events;
    this.#attempts = new Attempts(options);
    this.#backlog = new Backlog(options.queue);
    this.#pulse = new Pulse(options.heartbeat, (socket) => void this.#lost(socket, UNANSWERED, "the server does not answer", true));
    this.first = new Promise((resolve, reject) => (this.#joining = { resolve, reject }));
    this.#open();
  }

  /** Address of this connection, or of the next. */
  get url() {
    return this.#url.href;
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
    this.#backlog.check(text);
    if (this.#post(text, false)) return;
    if (this.#takes()) throw queueFull();
    this.#backlog.add(text);
  }

  /**
   * Sends a text now or not at all.
   *
   * @param {string} text
   * @returns {boolean} whether it was sent
   */
  post(text) {
    return this.#post(text, true);
  }

  /**
   * @param {string} text
   * @param {boolean} ofSession whether it is about this session alone
   */
  #post(text, ofSession) {
    if (this.#move?.holds) return this.#backlog.hold(text, ofSession);
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
    if (this.#socket && !this.#joining) this.#pulse.probe(this.#socket, this.#is("open"));
  }

  /** Returns the socket if it can take messages now, else null. */
  #takes() {
    return this.state === "open" && this.#socket?.readyState === OPEN ? this.#socket : null;
  }

  /**
   * @param {URL} to
   * @param {string} [token]
   * @returns {WebSocketLike}
   */
  #create(to, token) {
    const url = new URL(to);
    if (token !== undefined) url.searchParams.set("resume", token);
    return new (this.#options.WebSocket ?? WebSocket)(url, this.#options.protocols);
  }

  /** @param {WebSocketLike} socket from now on the one that counts */
  #use(socket) {
    this.#socket = socket;
    this.#farewell = null;
    socket.onopen = () => (this.#opened = true);
    socket.onmessage = ({ data }) => this.#socket === socket && this.#received(data);
    // An error is followed by a close event, which says more; some classes throw an error if no listener takes it.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => this.#lost(socket, code, reason);
  }

  #open() {
    const socket = this.#create(this.#url, this.#resume?.token);
    this.#use(socket);
    this.#opened = false;
    const tooLong = "the server does not let us in";
    this.#timer = setTimeout(() => this.#lost(socket, UNANSWERED, tooLong, true), this.#options.joinTimeout);
    this.#pulse.start(socket);
    if (this.#joining || !this.#is("connecting")) this.#tell("connecting", { reason: "" });
  }

  /** @param {unknown} data */
  #received(data) {
    this.#pulse.heard(data === "pong");
    if (data === "pong") return;
    const frame = parse(data);
    const ours = frame?.from == null;
    if (ours && this.state !== "open" && (frame?.event === "authenticated" || frame?.event === "resumed")) {
      if (typeof frame.data?.peer_id === "string") return this.#joined(frame, null);
    }
    if (this.#move?.defers(frame)) return this.#move.keep(() => this.#received(data));
    if (ours && frame?.event === "moved") return this.#moved(frame.data);
    if (ours && this.#move?.ends(frame)) return this.#move.finish();
    const { description, details } = (ours && frame?.event === "error" && frame.data) || {};
    if (FAREWELLS.has(description) || (description === UNAVAILABLE && details?.retry_after_ms !== undefined)) {
      this.#farewell = serverError(description, details);
    }
    this.#events.received(frame);
  }

  /**
   * Follows the server's order to go on at another address.
   *
   * @param {any} data
   */
  #moved(data) {
    const order = readOrder(data, { present: this.#url, first: this.#first });
    if (this.#moves.add()) return this.#stay(new CallboardError("moved_too_often", "servers send this client from one to the other"));
    if (!order) return this.#stay(new CallboardError("bad_move", "not to be moved there", { url: data?.url }));
    if (!this.#is("open")) {
      // Nothing is lost with this connection.
      this.#drop(1000);
      this.#url = order.to;
      this.#resume = order.resume;
      return this.#open();
    }
    this.#move?.cancel();
    // The newest token is the one that counts, wherever the client goes.
    if (order.resume) this.#resume = order.resume;
    const move = new Move(order, this.#options.joinTimeout, {
      open: ({ to, resume }) => this.#create(to, resume?.token),
      moved: (another) => {
        this.#endMove();
        this.#moved(another);
      },
      received: (text) => this.#received(text),
      lost: (socket, code, reason) => this.#lost(socket, code, reason),
      arrived: (socket, welcome, { to }) => this.#arrived(socket, welcome, { ...order, to }),
      failed: (error, ended) => this.#stayed(error, ended),
    });
    this.#move = move;
    const open = () => this.#move === move && move.open();
    if (move.holds && this.#socket) this.#pulse.afterAll(this.#socket, open);
    else open();
  }

  /**
   * Does not move: a member stays where it is, and another client tries again later.
   *
   * @param {CallboardError} error
   */
  #stay(error) {
    if (this.#is("open")) return this.#events.failed(error);
    this.#farewell = error;
    if (this.#socket) this.#lost(this.#socket, CIRCLED, error.message, true);
  }

  /**
   * Goes on with the first socket, as long as it lasts, after a move that has failed.
   *
   * @param {CallboardError} error
   * @param {{ code: number, reason: string, ours: boolean } | null} ended the way in which the first socket has ended
   */
  #stayed(error, ended) {
    this.#endMove();
    this.#events.failed(error);
    if (ended && this.#socket) this.#lost(this.#socket, ended.code, ended.reason, ended.ours);
  }

  /** Ends a move that has led nowhere: what was held goes over the first socket, if that is there. */
  #endMove() {
    this.#move = null;
    const socket = this.#takes();
    if (socket) for (const text of this.#backlog.take(true)) socket.send(text);
  }

  /**
   * Goes on with the second socket.
   *
   * @param {WebSocketLike} socket
   * @param {any} welcome
   * @param {Order} order
   */
  #arrived(socket, welcome, order) {
    this.#move = null;
    this.#drop(1000);
    this.#url = order.to;
    this.#use(socket);
    this.#opened = true;
    this.#pulse.start(socket);
    this.#joined(welcome, order);
  }

  /**
   * @param {any} frame the server's welcome
   * @param {Order | null} move with which the client has come here
   */
  #joined({ event, data }, move) {
    clearTimeout(this.#timer);
    const { token, grace_ms: milliseconds } = data.resume ?? {};
    this.#resume = typeof token === "string" ? { token, milliseconds: Number(milliseconds) || 0 } : null;
    this.#since = performance.now();
    this.#attempts.succeed();
    this.state = "open";
    // Each is sent once: if it ends the connection, it is gone.
    for (const text of this.#backlog.take(event === "resumed")) this.#socket?.send(text);
    this.#joining?.resolve();
    this.#joining = null;
    const [from, to] = [this.#joinedAt, this.#url];
    this.#joinedAt = to;
    this.#events.joined(data, from && from.href !== to.href ? { from, to } : null, move);
    // A listener to this finds everything up to date, unless another listener has closed the client.
    if (!move && this.#is("open")) this.#tell("open", { reason: "" });
  }

  /**
   * @param {WebSocketLike} socket
   * @param {number} code
   * @param {string} reason
   * @param {boolean} [ours] whether this client has closed it
   */
  async #lost(socket, code, reason, ours = false) {
    if (this.#socket !== socket) return;
    if (this.#move?.outlives(code, reason, ours, !ours && isForGood(code))) return this.#pulse.stop();
    this.#move?.cancel();
    this.#move = null;
    this.#moves.clear();
    this.#drop(UNANSWERED);
    const [open, now] = [this.state === "open", performance.now()];
    // A room that can admit no one at present has not turned this client away.
    const turnedAway = this.#farewell?.code === "could_not_join_room" && !TRANSIENT.has(code);
    const wait = Math.min(Number(this.#farewell?.details?.retry_after_ms) || 0, LONGEST_WAIT);
    if (this.#joining) {
      const refused = new CallboardError("refused", "no WebSocket: refused by the server, or there is no server", { code, reason });
      const error = ours ? new CallboardError("timeout", reason) : refused;
      return this.#end(error.message, code, this.#farewell ?? error);
    }
    if (!ours && !turnedAway && isForGood(code)) return this.#end(this.#farewell?.message || reason || "closed by the server", code);
    if (this.#farewell?.code === "message_too_large") this.#backlog.limit(this.#farewell.details?.max_bytes);
    if (!ours && FAULTS.has(code) && this.#attempts.die(code)) return this.#giveUp("the connection died of the same again and again", code, reason);
    if (turnedAway && this.#attempts.turnAway()) return this.#giveUp("the room does not let us in again", code, reason);
    // A browser closes a page's connections before it tells the page that it leaves it.
    const leaving = !ours && code === GOING_AWAY && reason === "";
    if (open && (this.#farewell || leaving || !RESUMABLE.has(code))) this.#resume = null;
    // The server may be replaced by another one, and be back between an attempt and the question for its status.
    if (open) this.#spare = code === GOING_AWAY ? 1 : 0;
    if (open && now - this.#since >= STABLE) this.#attempts.failed = 0;
    if (open) this.#since = now;
    else if (this.#resume && (now - this.#since >= this.#resume.milliseconds || (!ours && !this.#opened && (await this.#isRefused())))) {
      // The peer has ended.
      this.#resume = null;
    }
    if (this.#is("closed")) return;
    const refused = !open && !ours && !turnedAway && wait === 0 && (await this.#attempts.refuse(() => this.#status()));
    if (this.#is("closed")) return;
    if (refused) return this.#giveUp("the server refuses us again and again", code, reason);
    if (code === CIRCLED && this.#attempts.circle()) return this.#giveUp("servers send us from one to the other", code, reason);
    // The server to which it was moved may be gone: the address of the page leads to another.
    if (!open) this.#url = this.#first;
    if (this.#attempts.areUsedUp) return this.#end("too many attempts", code);

    const delay = this.#attempts.delay(turnedAway, leaving ? LEAVING_TIME : wait);
    this.#timer = setTimeout(() => this.#open(), delay);
    this.#tell("waiting", { reason: this.#farewell?.message ?? reason, code, delay });
  }

  /** Returns whether a server has refused the resume token, for all that can be seen. */
  async #isRefused() {
    const status = await this.#status();
    // There is none, or a proxy without a server, or a server that is closing: it has not looked at the token.
    if (status === UNREACHABLE || status >= 500) return false;
    this.#spare -= 1;
    return this.#spare < 0;
  }

  /** Asks for the HTTP status of the room's address; see {@link httpStatus}. */
  #status() {
    this.#asking = new AbortController();
    return httpStatus(this.#url, this.#asking);
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
    this.#move?.cancel();
    this.#move = null;
    this.#drop(1000);
    this.#backlog.take(false);
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
    this.#pulse.stop();
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

/**
 * Returns whether the client must not come back: the peer was stopped, the room closed, or the application has said so.
 *
 * @param {number} code close code of the WebSocket
 */
function isForGood(code) {
  return code === 1000 || (code >= 4000 && code <= 4999);
}

/** Errors after which the server closes the connection, so that they say more than its close code. */
const FAREWELLS = new Set(["Could not join room", "Room closed", "Message too large"]);
/** Close codes of a server that can admit no one at present. */
const TRANSIENT = new Set([1012, 1013]);
/** Error of a server whose room cannot be opened now. */
const UNAVAILABLE = "Room unavailable";
/** Longest wait that a server may ask for, in ms. */
const LONGEST_WAIT = 600_000;
/** This client's close code for a server that does not answer ("Timeout"); the server does not take it for leaving. */
const UNANSWERED = 3008;
/** Close code of this client for servers that send it from one to the other, or where it may not go. */
const CIRCLED = 3009;
/** Close code of a server that shuts down, with a reason, and of this page's browser ("Going away"), without one. */
const GOING_AWAY = 1001;
/** Delay before a page reconnects that its browser may be leaving, in ms: for the server, its peer has left. */
const LEAVING_TIME = 2_000;
/** Close codes of a connection that can be resumed: there was none, or one side did not hear from the other. */
const RESUMABLE = new Set([1006, GOING_AWAY, UNANSWERED]);
/** Close codes for an error of this client, or of the server over something that the client sent and may send again. */
const FAULTS = new Set([1002, 1003, 1007, 1008, 1009, 1010, 1011, 1013]);

// Elements of the page that show tracks of the others, and what is wished for that.

/** Elements that show tracks of the others, over each peer connection that replaces another. */
class Watches {
  /** @type {Map<HTMLMediaElement, Watch>} */
  #all = new Map();
  /** Whether the page has watched anything: then the server may know of wishes. */
  #used = false;
  /** @type {ResizeObserver | undefined} */
  #sizes;
  /** @type {IntersectionObserver | undefined} */
  #sights;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #due;
  /** What was said last. */
  #said = "";
  #host;

  /**
   * @param {{
   *   received: (track: string) => { kind: string, received: MediaStreamTrack | null } | null,
   *   wish: () => void,
   * }} host `received`: what comes here of a track that another publishes, null if no one publishes it
   */
  constructor(host) {
    this.#host = host;
  }

  /**
   * @param {HTMLMediaElement} element
   * @param {string[]} tracks
   * @returns {() => void} ends it, unless it was called for the element again
   */
  watch(element, tracks) {
    const watch = this.#all.get(element) ?? this.#begin(element);
    if (watch.tracks.join() !== tracks.join()) {
      watch.tracks = [...tracks];
      watch.forget();
      this.settle();
    }
    const turn = (watch.turn = {});
    return () => {
      if (this.#all.get(element) === watch && watch.turn === turn) this.#end(element, watch);
    };
  }

  /**
   * Shows what flows now, and wishes for what is shown.
   *
   * @param {string[]} removed what the others publish no more
   */
  settle(removed = []) {
    for (const watch of this.#all.values()) watch.show(this.#host.received, removed);
    this.#changed();
  }

  /**
   * Returns all wishes, which are said then: those of the page, and those of the elements for what the page has not wished itself.
   *
   * @param {Wishes | null} page
   * @returns {Wishes | null} null if nothing was ever wished
   */
  wishes(page) {
    if (!this.#used) return page;
    const shown = this.#shown();
    this.#said = JSON.stringify(shown);
    const tracks = { ...page?.tracks };
    for (const [track, wish] of Object.entries(shown)) {
      if (track in tracks || Object.keys(tracks).length < MOST_WISHES) tracks[track] = { ...wish, ...tracks[track] };
    }
    return { ...page, tracks };
  }

  /** Ends all, with the client. */
  clear() {
    for (const [element, watch] of [...this.#all]) this.#end(element, watch);
    clearTimeout(this.#due);
  }

  /**
   * @param {HTMLMediaElement} element
   * @returns {Watch} of nothing yet
   */
  #begin(element) {
    const watch = new Watch(element);
    this.#all.set(element, watch);
    this.#used = true;
    this.#sizes ??= new ResizeObserver(() => this.#changed());
    this.#sights ??= new IntersectionObserver((seen) => {
      for (const { target, isIntersecting } of seen) {
        this.#all.get(/** @type {HTMLMediaElement} */ (target))?.see(isIntersecting, () => this.#changed());
      }
      this.#changed();
    });
    this.#sizes.observe(element);
    this.#sights.observe(element);
    const { signal } = watch.listening;
    // Of one function for all watches the first that ends would take the listener with it.
    element.ownerDocument.addEventListener("visibilitychange", () => this.#changed(), { signal });
    for (const event of CHANGES) element.addEventListener(event, this.#changed, { signal });
    return watch;
  }

  /**
   * @param {HTMLMediaElement} element
   * @param {Watch} watch
   */
  #end(element, watch) {
    this.#all.delete(element);
    watch.end();
    this.#sizes?.unobserve(element);
    this.#sights?.unobserve(element);
    this.#changed();
  }

  /** Says what is wished now, if that has changed, a moment later: much changes at once. */
  #changed = () => {
    this.#due ??= setTimeout(() => {
      for (const [element, watch] of [...this.#all]) if (watch.isOver(this.#host.received)) this.#end(element, watch);
      this.#due = undefined;
      if (JSON.stringify(this.#shown()) !== this.#said) this.#host.wish();
    }, GATHERS);
  };

  /**
   * Returns what the elements show of each picture: of one in several elements, enough for all of them.
   *
   * @returns {Record<string, Wish>}
   */
  #shown() {
    /** @type {Record<string, Wish>} */
    const shown = {};
    for (const watch of this.#all.values()) {
      const wish = watch.wish();
      for (const track of watch.tracks) {
        if (this.#host.received(track)?.kind !== "video") continue;
        const { height = 0, pause = true } = shown[track] ?? {};
        shown[track] = { height: Math.max(height, wish.height), pause: pause && wish.pause };
      }
    }
    return shown;
  }
}

/** Element that shows tracks. */
class Watch {
  /** Their ids. @type {string[]} */
  tracks = [];
  /** Who has asked for them last. */
  turn = {};
  /** Ends listening to the element and its page. */
  listening = new AbortController();
  /** Those of its tracks that were removed. @type {Set<string>} */
  #removed = new Set();
  #element;
  #stream = new MediaStream();
  /** Whether the element can be seen, as far as is known. */
  #seen = true;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #leaving;

  /** @param {HTMLMediaElement} element */
  constructor(element) {
    this.#element = element;
  }

  /**
   * @param {(track: string) => { received: MediaStreamTrack | null } | null} received
   * @param {string[]} removed
   */
  show(received, removed) {
    for (const track of removed) if (this.tracks.includes(track)) this.#removed.add(track);
    const now = this.tracks.flatMap((track) => received(track)?.received ?? []);
    for (const track of this.#stream.getTracks()) if (!now.includes(track)) this.#stream.removeTrack(track);
    for (const track of now) this.#stream.addTrack(track);
    const shown = now.length > 0 ? this.#stream : null;
    if (this.#element.srcObject !== shown) this.#element.srcObject = shown;
  }

  /** Forgets which tracks were removed, because it shows others. */
  forget() {
    this.#removed.clear();
  }

  /**
   * Returns whether no one can see it again: its element has left the page, and its tracks were removed. That they are
   * only unknown is no reason: so they are until a connection that replaces another is told of them.
   *
   * @param {(track: string) => unknown} received
   * @returns {boolean}
   */
  isOver(received) {
    return !this.#element.isConnected && this.tracks.every((track) => this.#removed.has(track) && !received(track));
  }

  /**
   * Notes whether the element can be seen: that it cannot only after a while, because a page that is scrolled shows it
   * again soon.
   *
   * @param {boolean} seen
   * @param {() => void} left
   */
  see(seen, left) {
    clearTimeout(this.#leaving);
    if (seen) this.#seen = true;
    else this.#leaving = setTimeout(() => { this.#seen = false; left(); }, LINGERS);
  }

  /**
   * Returns what is wished of its picture.
   *
   * @returns {{ height: number, pause: boolean }}
   */
  wish() {
    const element = this.#element;
    // In a window of its own it is seen wherever the page is.
    const root = /** @type {Document | ShadowRoot} */ (element.getRootNode());
    const apart = root.pictureInPictureElement === element;
    const { clientWidth: width, clientHeight: height } = element;
    const { videoWidth = 0, videoHeight = 0 } = /** @type {HTMLVideoElement} */ (element);
    // A picture that is shown whole may be lower than its element.
    const whole = videoWidth > 0 && getComputedStyle(element).objectFit === "contain";
    const shown = whole ? Math.min(height, (width * videoHeight) / videoWidth) : height;
    const pause = !apart && (!this.#seen || element.ownerDocument.visibilityState === "hidden" || height === 0);
    // In steps, so that not every pixel is another wish.
    return { height: STEP * Math.max(1, Math.ceil((shown * devicePixelRatio) / STEP)), pause };
  }

  end() {
    clearTimeout(this.#leaving);
    this.listening.abort();
    if (this.#element.srcObject === this.#stream) this.#element.srcObject = null;
  }
}

/** Events of an element after which it may show its picture in another size, or be seen where it was not. */
const CHANGES = ["resize", "enterpictureinpicture", "leavepictureinpicture"];
/** Time in which changes are put together, in ms. */
const GATHERS = 200;
/** Time after which a picture that is out of sight is wished no more, in ms. */
const LINGERS = 1_000;
/** Steps of heights, in pixels. */
const STEP = 90;
/** Tracks with a wish of their own at most, as on the server. */
const MOST_WISHES = 256;

// Member of a room: what the application uses, and the events of the server.

/** A member of a room. Created by {@link connect}. */
export class Client {
  /** Number of frames and messages that were not understood, and were ignored. */
  malformed = 0;
  #listeners = new Listeners();
  #members = new Members((event, ...told) => {
    if (event === "left") this.#link?.handleLeft(told[0]);
    this.#listeners.emit(event, ...told);
  });
  /** @type {Map<string, RTCDataChannelInit>} */
  #labels = new Map([[EVENTS, {}]]);
  /** Peer connection to the server. @type {Link | null} */
  #link = null;
  /** What the page wishes to receive, if it has said that. @type {Wishes | null} */
  #wishes = null;
  #watches = new Watches({
    received: (track) => this.#link?.received(track) ?? null,
    wish: () => this.#link?.wish(),
  });
  /** Stops listening to changes of the network and the page. */
  #awake = new AbortController();
  #calls = new Calls({
    post: (text) => this.#link?.channels.post(EVENTS, text) || this.#socket.post(text),
    failed: (error) => this.#listeners.emit("error", error),
  });
  #handlers = serverEvents({
    members: this.#members,
    link: () => this.#link,
    emit: this.#listeners.emit,
    data: (channel, data) => this.#data(channel, data),
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
      joined: (data, moved, move) => this.#joined(data, moved, move),
      received: (frame) => this.#received(frame),
      failed: (error) => this.#listeners.emit("error", error),
    });
    whenAwake(this.#awake.signal, (network) => {
      this.#socket.wake();
      if (network) this.#link?.networkChanged();
    });
  }

  /** Id of this peer in the room. Changes with `rejoined`. */
  get peerId() {
    return this.#members.self;
  }

  /**
   * The other members of the room: their public metadata by their ids.
   *
   * @returns {ReadonlyMap<string, PeerMetadata>}
   */
  get peers() {
    return this.#members.others;
  }

  /** Address of the WebSocket to which the client is connected, or will be. Changes with `moved`. */
  get url() {
    return this.#socket.url;
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
   * @template {string} Other
   * @overload
   * @param {Other extends keyof ClientEvents ? never : Other} event
   * @param {(data: any, from: string | null, message: Message) => void} listener
   * @returns {() => void} stops listening
   */
  /**
   * @param {string} event
   * @param {(...told: any[]) => void} listener
   * @returns {() => void}
   */
  on(event, listener) {
    return this.#listeners.add(event, listener);
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
  openPeerConnection({ media, receive, simulcast, channels = {}, iceServers = [] } = {}) {
    if (this.state === "closed") throw closed();
    if (this.#link && !this.#link.closed) throw new CallboardError("already_open", "close the other first");
    const labels = new Map([...this.#labels, ...Object.entries(channels)]);
    this.#link = new Link({ media, receive, simulcast, iceServers, ...this.#options }, labels, {
      tell: (event, data) => this.#socket.post(JSON.stringify({ event, data })),
      reachable: () => this.state === "open",
      emit: this.#listeners.emit,
      data: (channel, data) => this.#data(channel, data),
      wishes: () => this.#watches.wishes(this.#wishes),
      flowing: (removed) => this.#watches.settle(removed),
    });
    // Channels whose options the browser refuses are not created again.
    this.#labels = labels;
    return new PeerConnection(this.#link);
  }

  /**
   * Publishes a track to the other members, through the server: over the peer connection, which must be open, and over
   * each that replaces it.
   *
   * @param {MediaStreamTrack} track
   * @param {PublishOptions} [options]
   * @returns {Publication}
   * @throws {CallboardError} `no_peer_connection`: none is open. `too_large`: the metadata. `closed`
   */
  publish(track, options = {}) {
    if (this.state === "closed") throw closed();
    if (!this.#link || this.#link.closed) throw new CallboardError("no_peer_connection", "open the peer connection first");
    return this.#link.publications.publish(track, options);
  }

  /**
   * Says what the page wishes to receive of the others' pictures, in place of all that it has wished before; also over
   * connections that replace this one.
   *
   * @param {Wishes} wishes
   */
  wish(wishes) {
    this.#wishes = wishes;
    this.#link?.wish();
  }

  /**
   * Shows tracks of the others in an element, as long as they are there, and wishes for their pictures by the size and the
   * sight of the element: as high as it is, and nothing while it cannot be seen. Where the page wishes something else for
   * a track by {@link Client#wish}, that holds. Several elements may show one track. Called again for an element, it
   * shows other tracks in place of those.
   *
   * The element gets a stream while something of it flows (`srcObject`), and plays it if it has `autoplay`.
   *
   * @param {HTMLMediaElement} element
   * @param {string | string[]} tracks ids of tracks, as in `tracks` of {@link ClientEvents}: one, or a picture and the
   *   sound that goes with it
   * @returns {() => void} ends it, unless `watch` was called for the element again; it ends by itself when the element
   *   has left the page and the others publish none of the tracks any more
   */
  watch(element, tracks) {
    if (this.state === "closed") return () => {};
    return this.#watches.watch(element, typeof tracks === "string" ? [tracks] : tracks);
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
    this.#link?.addChannel(label, init);
    this.#labels.set(label, init);
    return () => {
      this.#labels.delete(label);
      this.#link?.channels.close(label);
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
    if (this.#link?.channels.send(label, text)) return;
    this.#socket.send(JSON.stringify({ event: "webrtc:send", data: { channel: label, data: text } }));
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
    if (state === "waiting") this.#link?.socketLost(FAULTS.has(detail.code ?? 0));
    if (state === "closed") {
      this.#awake.abort();
      this.#calls.lost(closed());
      this.#link?.close();
      this.#watches.clear();
    } else if (state === "waiting" && !this.#socket.resumable) {
      this.#calls.lost(disconnected());
    }
    this.#listeners.emit("state", state, detail);
    if (state === "closed") this.#listeners.clear();
  }

  /**
   * Handles joining: for the first time, again with the same id, or as a new peer.
   *
   * @param {{ peer_id: string, peers?: string[], metadata?: Record<string, PeerMetadata> }} data
   * @param {{ from: URL, to: URL } | null} moved from another address
   * @param {Order | null} move with which it has come, without a gap
   */
  #joined(data, moved, move) {
    const previous = this.#members.self;
    this.#members.self = data.peer_id;
    if (previous === data.peer_id) {
      if (move?.replace && !this.#link?.closed) {
        this.#link?.move();
      } else {
        this.#link?.settle();
        // It may have been lost with the socket.
        this.#link?.wish();
      }
      if (!move) this.#listeners.emit("resumed");
    } else {
      const present = Members.in(data);
      // This client's own earlier peer, which is about to leave.
      present.delete(previous);
      if (!previous) return void (this.#members.others = present);
      this.#calls.lost(disconnected());
      if (!this.#link?.closed) this.#link?.renew();
      this.#members.are(present);
      this.#listeners.emit("rejoined", data.peer_id, previous);
    }
    if (moved) this.#listeners.emit("moved", Object.freeze({ from: moved.from.href, to: moved.to.href }));
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
    this.#listeners.emit("message", message);
    if (!EVENT_NAMES.has(event)) this.#listeners.emit(event, data, from, message);
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

  /**
   * @param {string} channel
   * @param {string | ArrayBuffer} data
   */
  #data(channel, data) {
    if (channel === EVENTS && this.#calls.handle(parse(data))) return;
    this.#listeners.emit("data", { channel, data });
  }
}

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
