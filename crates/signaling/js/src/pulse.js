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
export const OPEN = 1;
/** How long the server may take to answer after a possible change of the network, in ms. */
const PROBE_TIME = 3_000;
/** How long the server may take to say that it has read everything, in ms. */
const BARRIER_TIME = 1_000;
