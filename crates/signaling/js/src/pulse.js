// Signs of life of the server, on one WebSocket after the other.

/** @import { WebSocketLike } from "./types.js" */

/** Pings to the server, and the time that it takes to say anything. */
export class Pulse {
  /** Whether a regular ping is unanswered. */
  #asked = false;
  /** Runs while the server must prove that it is reachable. @type {ReturnType<typeof setTimeout> | undefined} */
  #probe;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #heartbeat;
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
    this.#heartbeat = setInterval(() => {
      // The browser answers the server's pings silently, so a dead path shows only if the client pings too.
      if (this.#asked) return this.#unanswered(socket);
      if (socket.readyState !== OPEN) return;
      this.#asked = true;
      socket.send("ping");
    }, this.#interval);
  }

  /** Notes that the server has said something. */
  heard() {
    this.#asked = false;
    clearTimeout(this.#probe);
    this.#probe = undefined;
  }

  /**
   * Gives the server a short time to say something, unless it has been given that already.
   *
   * @param {WebSocketLike} socket
   * @param {boolean} joined whether the server answers pings
   */
  probe(socket, joined) {
    if (this.#probe !== undefined) return;
    if (joined && socket.readyState === OPEN) socket.send("ping");
    this.#probe = setTimeout(() => this.#unanswered(socket), PROBE_TIME);
  }

  stop() {
    clearTimeout(this.#probe);
    this.#probe = undefined;
    clearInterval(this.#heartbeat);
  }
}

/** State of a WebSocket that is open. */
export const OPEN = 1;
/** How long the server may take to answer after a possible change of the network, in ms. */
const PROBE_TIME = 3_000;
