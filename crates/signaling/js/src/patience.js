// Losses of the peer connection: which count, and when it is enough.

import { MEMORY, REPEATS, STABLE } from "./bounds.js";
import { Tally, backoff } from "./retries.js";

/** Peer connections that were lost, by cause. When it is enough, the cause, and whether another network may help. */
export class Patience {
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
