// Arithmetic of repeated failures: how often, and how long to wait.

/** Counter of events that must not happen too often. */
export class Tally {
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
export function backoff(failed, { firstDelay, longestDelay }) {
  return Math.random() * Math.min(longestDelay, firstDelay * 2 ** failed);
}
