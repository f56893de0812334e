// Attempts to open the WebSocket again: which failures count, and when it is enough.

import { ANSWER_TIME, MEMORY, REPEATS } from "./bounds.js";
import { Tally, backoff } from "./retries.js";

/** Attempts that have failed, by cause. */
export class Attempts {
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
export async function httpStatus(socket, asking) {
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
export const UNREACHABLE = -1;
/**
 * Delays before joining a room again that has not admitted the client, in longest delays: its old peer there may have
 * to time out.
 */
const AFTER_NO = [1.5, 6];
