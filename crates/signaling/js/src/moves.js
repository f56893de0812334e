// Move of the client to another address: a second WebSocket, opened while the first one lasts.

import { CallboardError } from "./errors.js";
import { parse } from "./frames.js";

/** @import { WebSocketLike } from "./types.js" */

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
export class Move {
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
export function readOrder(data, { present, first }) {
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
export const MOST_MOVES = 8;
/** In ms. */
export const MOVE_TIME = 60_000;
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
