// Member of a room: what the application uses, and the events of the server.

import { DEFAULTS } from "./bounds.js";
import { Calls, EVENTS } from "./calls.js";
import { CallboardError, closed, disconnected } from "./errors.js";
import { EVENT_NAMES, serverEvents } from "./events.js";
import { parse } from "./frames.js";
import { Link } from "./link.js";
import { Listeners } from "./listeners.js";
import { Members } from "./members.js";
import { whenAwake } from "./page.js";
import { PeerConnection } from "./peer_connection.js";
import { FAULTS, Socket } from "./socket.js";
import { Watches } from "./watches.js";

/** @import { ClientEvents, ConnectOptions, Message, PeerConnectionOptions, PeerMetadata, PublishOptions, State, StateDetail, Wishes } from "./types.js" */
/** @import { Order } from "./moves.js" */
/** @import { Publication } from "./publications.js" */

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
