// Messages that wait for a connection, and the size that the server takes.

import { MEMORY } from "./bounds.js";
import { queueFull, tooLarge } from "./errors.js";
import { isLarger } from "./frames.js";

/** Messages that wait for a connection. */
export class Backlog {
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
