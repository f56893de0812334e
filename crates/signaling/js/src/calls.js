// Calls of functions, by the client and by the server (RPC).

import { CallboardError, HookError, disconnected } from "./errors.js";
import { isLarger } from "./frames.js";

/** Calls in both directions, over the data channel or the WebSocket, whichever is open. */
export class Calls {
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
export const EVENTS = "events";
/** Size limit of an answer to a call by the server, in bytes. */
const MAX_ANSWER = 65_536;
/** Number of calls by the server that may run at the same time. */
const MAX_RUNNING = 64;
