// WebSocket to the room, and each that replaces it: opening, joining, resuming and losing it.

import { Attempts, UNREACHABLE, httpStatus } from "./attempts.js";
import { Backlog } from "./backlog.js";
import { MAX_BUFFERED, STABLE } from "./bounds.js";
import { CallboardError, closed, queueFull, serverError } from "./errors.js";
import { parse } from "./frames.js";
import { absolute } from "./page.js";
import { OPEN, Pulse } from "./pulse.js";

/** @import { Options, State, StateDetail, WebSocketLike } from "./types.js" */

/** WebSocket that is opened, reopened when it is lost, and that tracks whether the client has joined. */
export class Socket {
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
  #attempts;
  #backlog;
  #pulse;
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
   *   joined: (data: any) => void,
   *   received: (frame: any) => void,
   *   failed: (error: CallboardError) => void,
   * }} events
   */
  constructor(url, options, events) {
    this.#url = absolute(url);
    this.#url.protocol = this.#url.protocol.replace(/^http/, "ws");
    this.#options = options;
    this.#events = events;
    this.#attempts = new Attempts(options);
    this.#backlog = new Backlog(options.queue);
    this.#pulse = new Pulse(options.heartbeat, (socket) => void this.#lost(socket, UNANSWERED, "the server does not answer", true));
    this.first = new Promise((resolve, reject) => (this.#joining = { resolve, reject }));
    this.#open();
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
    if (this.post(text)) return;
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

  #open() {
    const url = new URL(this.#url);
    if (this.#resume) url.searchParams.set("resume", this.#resume.token);
    /** @type {WebSocketLike} */
    const socket = new (this.#options.WebSocket ?? WebSocket)(url, this.#options.protocols);
    this.#socket = socket;
    this.#farewell = null;
    this.#opened = false;
    socket.onopen = () => (this.#opened = true);
    socket.onmessage = ({ data }) => this.#socket === socket && this.#received(data);
    // An error is followed by a close event, which says more; some classes throw an error that nobody listens to.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => this.#lost(socket, code, reason);
    const tooLong = "the server does not let us in";
    this.#timer = setTimeout(() => this.#lost(socket, UNANSWERED, tooLong, true), this.#options.joinTimeout);
    this.#pulse.start(socket);
    this.#tell("connecting", { reason: "" });
  }

  /** @param {unknown} data */
  #received(data) {
    this.#pulse.heard();
    if (data === "pong") return;
    const frame = parse(data);
    const ours = frame?.from == null;
    if (ours && this.state !== "open" && (frame?.event === "authenticated" || frame?.event === "resumed")) {
      if (typeof frame.data?.peer_id === "string") return this.#joined(frame.data);
    }
    if (ours && frame?.event === "error" && FAREWELLS.has(frame.data?.description)) {
      this.#farewell = serverError(frame.data.description, frame.data.details);
    }
    this.#events.received(frame);
  }

  /** @param {any} data */
  #joined(data) {
    clearTimeout(this.#timer);
    const { token, grace_ms: milliseconds } = data.resume ?? {};
    this.#resume = typeof token === "string" ? { token, milliseconds: Number(milliseconds) || 0 } : null;
    this.#since = performance.now();
    this.#attempts.succeed();
    this.state = "open";
    // Each is sent once: if it ends the connection, it is gone.
    for (const text of this.#backlog.take()) this.#socket?.send(text);
    this.#joining?.resolve();
    this.#joining = null;
    this.#events.joined(data);
    // A listener to this finds everything up to date, unless another listener has closed the client.
    if (this.#is("open")) this.#tell("open", { reason: "" });
  }

  /**
   * @param {WebSocketLike} socket
   * @param {number} code
   * @param {string} reason
   * @param {boolean} [ours] whether this client has closed it
   */
  async #lost(socket, code, reason, ours = false) {
    if (this.#socket !== socket) return;
    this.#drop(UNANSWERED);
    const [open, now] = [this.state === "open", performance.now()];
    const turnedAway = this.#farewell?.code === "could_not_join_room";
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
    const refused = !open && !ours && !turnedAway && (await this.#attempts.refuse(() => this.#status()));
    if (this.#is("closed")) return;
    if (refused) return this.#giveUp("the server refuses us again and again", code, reason);
    if (this.#attempts.areUsedUp) return this.#end("too many attempts", code);

    const delay = this.#attempts.delay(turnedAway, leaving ? LEAVING_TIME : 0);
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
    this.#drop(1000);
    this.#backlog.take();
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
/** This client's close code for a server that does not answer ("Timeout"); the server does not take it for leaving. */
const UNANSWERED = 3008;
/** Close code of a server that shuts down, with a reason, and of this page's browser ("Going away"), without one. */
const GOING_AWAY = 1001;
/** Delay before a page reconnects that its browser may be leaving, in ms: for the server, its peer has left. */
const LEAVING_TIME = 2_000;
/** Close codes of a connection that can be resumed: there was none, or one side did not hear from the other. */
const RESUMABLE = new Set([1006, GOING_AWAY, UNANSWERED]);
/** Close codes for an error of this client, or of the server over something that the client sent and may send again. */
export const FAULTS = new Set([1002, 1003, 1007, 1008, 1009, 1010, 1011, 1013]);
