// WebSocket to the room, and each that replaces it: opening, joining, resuming and losing it.

import { Attempts, UNREACHABLE, httpStatus } from "./attempts.js";
import { Backlog } from "./backlog.js";
import { MAX_BUFFERED, STABLE } from "./bounds.js";
import { CallboardError, closed, queueFull, serverError } from "./errors.js";
import { parse } from "./frames.js";
import { MOST_MOVES, MOVE_TIME, Move, readOrder } from "./moves.js";
import { absolute } from "./page.js";
import { OPEN, Pulse } from "./pulse.js";
import { Tally } from "./retries.js";

/** @import { Order } from "./moves.js" */
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
  /** Second socket, while the client moves there. @type {Move | null} */
  #move = null;
  #moves = new Tally(MOST_MOVES, MOVE_TIME);
  /** Address at which the client has joined last; none before it has. @type {URL | null} */
  #joinedAt = null;
  #attempts;
  #backlog;
  #pulse;
  /** Address that the page has given. */
  #first;
  /** Address of this connection and of the next. */
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
   *   joined: (data: any, moved: { from: URL, to: URL } | null, move: Order | null) => void,
   *   received: (frame: any) => void,
   *   failed: (error: CallboardError) => void,
   * }} events `joined`: `moved` if the address is another than before, `move` if the client has moved there while it was a
   *   member
   */
  constructor(url, options, events) {
    this.#first = this.#url = absolute(url);
    this.#url.protocol = this.#url.protocol.replace(/^http/, "ws");
    this.#options = options;
    this.#events = events;
    this.#attempts = new Attempts(options);
    this.#backlog = new Backlog(options.queue);
    this.#pulse = new Pulse(options.heartbeat, (socket) => void this.#lost(socket, UNANSWERED, "the server does not answer", true));
    this.first = new Promise((resolve, reject) => (this.#joining = { resolve, reject }));
    this.#open();
  }

  /** Address of this connection, or of the next. */
  get url() {
    return this.#url.href;
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
    if (this.#post(text, false)) return;
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
    return this.#post(text, true);
  }

  /**
   * @param {string} text
   * @param {boolean} ofSession whether it is about this session alone
   */
  #post(text, ofSession) {
    if (this.#move?.holds) return this.#backlog.hold(text, ofSession);
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

  /**
   * @param {URL} to
   * @param {string} [token]
   * @returns {WebSocketLike}
   */
  #create(to, token) {
    const url = new URL(to);
    if (token !== undefined) url.searchParams.set("resume", token);
    return new (this.#options.WebSocket ?? WebSocket)(url, this.#options.protocols);
  }

  /** @param {WebSocketLike} socket from now on the one that counts */
  #use(socket) {
    this.#socket = socket;
    this.#farewell = null;
    socket.onopen = () => (this.#opened = true);
    socket.onmessage = ({ data }) => this.#socket === socket && this.#received(data);
    // An error is followed by a close event, which says more; some classes throw an error if no listener takes it.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => this.#lost(socket, code, reason);
  }

  #open() {
    const socket = this.#create(this.#url, this.#resume?.token);
    this.#use(socket);
    this.#opened = false;
    const tooLong = "the server does not let us in";
    this.#timer = setTimeout(() => this.#lost(socket, UNANSWERED, tooLong, true), this.#options.joinTimeout);
    this.#pulse.start(socket);
    if (this.#joining || !this.#is("connecting")) this.#tell("connecting", { reason: "" });
  }

  /** @param {unknown} data */
  #received(data) {
    this.#pulse.heard(data === "pong");
    if (data === "pong") return;
    const frame = parse(data);
    const ours = frame?.from == null;
    if (ours && this.state !== "open" && (frame?.event === "authenticated" || frame?.event === "resumed")) {
      if (typeof frame.data?.peer_id === "string") return this.#joined(frame, null);
    }
    if (this.#move?.defers(frame)) return this.#move.keep(() => this.#received(data));
    if (ours && frame?.event === "moved") return this.#moved(frame.data);
    if (ours && this.#move?.ends(frame)) return this.#move.finish();
    const { description, details } = (ours && frame?.event === "error" && frame.data) || {};
    if (FAREWELLS.has(description) || (description === UNAVAILABLE && details?.retry_after_ms !== undefined)) {
      this.#farewell = serverError(description, details);
    }
    this.#events.received(frame);
  }

  /**
   * Follows the server's order to go on at another address.
   *
   * @param {any} data
   */
  #moved(data) {
    const order = readOrder(data, { present: this.#url, first: this.#first });
    if (this.#moves.add()) return this.#stay(new CallboardError("moved_too_often", "servers send this client from one to the other"));
    if (!order) return this.#stay(new CallboardError("bad_move", "not to be moved there", { url: data?.url }));
    if (!this.#is("open")) {
      // Nothing is lost with this connection.
      this.#drop(1000);
      this.#url = order.to;
      this.#resume = order.resume;
      return this.#open();
    }
    this.#move?.cancel();
    // The newest token is the one that counts, wherever the client goes.
    if (order.resume) this.#resume = order.resume;
    const move = new Move(order, this.#options.joinTimeout, {
      open: ({ to, resume }) => this.#create(to, resume?.token),
      moved: (another) => {
        this.#endMove();
        this.#moved(another);
      },
      received: (text) => this.#received(text),
      lost: (socket, code, reason) => this.#lost(socket, code, reason),
      arrived: (socket, welcome, { to }) => this.#arrived(socket, welcome, { ...order, to }),
      failed: (error, ended) => this.#stayed(error, ended),
    });
    this.#move = move;
    const open = () => this.#move === move && move.open();
    if (move.holds && this.#socket) this.#pulse.afterAll(this.#socket, open);
    else open();
  }

  /**
   * Does not move: a member stays where it is, and another client tries again later.
   *
   * @param {CallboardError} error
   */
  #stay(error) {
    if (this.#is("open")) return this.#events.failed(error);
    this.#farewell = error;
    if (this.#socket) this.#lost(this.#socket, CIRCLED, error.message, true);
  }

  /**
   * Goes on with the first socket, as long as it lasts, after a move that has failed.
   *
   * @param {CallboardError} error
   * @param {{ code: number, reason: string, ours: boolean } | null} ended the way in which the first socket has ended
   */
  #stayed(error, ended) {
    this.#endMove();
    this.#events.failed(error);
    if (ended && this.#socket) this.#lost(this.#socket, ended.code, ended.reason, ended.ours);
  }

  /** Ends a move that has led nowhere: what was held goes over the first socket, if that is there. */
  #endMove() {
    this.#move = null;
    const socket = this.#takes();
    if (socket) for (const text of this.#backlog.take(true)) socket.send(text);
  }

  /**
   * Goes on with the second socket.
   *
   * @param {WebSocketLike} socket
   * @param {any} welcome
   * @param {Order} order
   */
  #arrived(socket, welcome, order) {
    this.#move = null;
    this.#drop(1000);
    this.#url = order.to;
    this.#use(socket);
    this.#opened = true;
    this.#pulse.start(socket);
    this.#joined(welcome, order);
  }

  /**
   * @param {any} frame the server's welcome
   * @param {Order | null} move with which the client has come here
   */
  #joined({ event, data }, move) {
    clearTimeout(this.#timer);
    const { token, grace_ms: milliseconds } = data.resume ?? {};
    this.#resume = typeof token === "string" ? { token, milliseconds: Number(milliseconds) || 0 } : null;
    this.#since = performance.now();
    this.#attempts.succeed();
    this.state = "open";
    // Each is sent once: if it ends the connection, it is gone.
    for (const text of this.#backlog.take(event === "resumed")) this.#socket?.send(text);
    this.#joining?.resolve();
    this.#joining = null;
    const [from, to] = [this.#joinedAt, this.#url];
    this.#joinedAt = to;
    this.#events.joined(data, from && from.href !== to.href ? { from, to } : null, move);
    // A listener to this finds everything up to date, unless another listener has closed the client.
    if (!move && this.#is("open")) this.#tell("open", { reason: "" });
  }

  /**
   * @param {WebSocketLike} socket
   * @param {number} code
   * @param {string} reason
   * @param {boolean} [ours] whether this client has closed it
   */
  async #lost(socket, code, reason, ours = false) {
    if (this.#socket !== socket) return;
    if (this.#move?.outlives(code, reason, ours, !ours && isForGood(code))) return this.#pulse.stop();
    this.#move?.cancel();
    this.#move = null;
    this.#moves.clear();
    this.#drop(UNANSWERED);
    const [open, now] = [this.state === "open", performance.now()];
    // A room that can admit no one at present has not turned this client away.
    const turnedAway = this.#farewell?.code === "could_not_join_room" && !TRANSIENT.has(code);
    const wait = Math.min(Number(this.#farewell?.details?.retry_after_ms) || 0, LONGEST_WAIT);
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
    const refused = !open && !ours && !turnedAway && wait === 0 && (await this.#attempts.refuse(() => this.#status()));
    if (this.#is("closed")) return;
    if (refused) return this.#giveUp("the server refuses us again and again", code, reason);
    if (code === CIRCLED && this.#attempts.circle()) return this.#giveUp("servers send us from one to the other", code, reason);
    // The server to which it was moved may be gone: the address of the page leads to another.
    if (!open) this.#url = this.#first;
    if (this.#attempts.areUsedUp) return this.#end("too many attempts", code);

    const delay = this.#attempts.delay(turnedAway, leaving ? LEAVING_TIME : wait);
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
    this.#move?.cancel();
    this.#move = null;
    this.#drop(1000);
    this.#backlog.take(false);
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
/** Close codes of a server that can admit no one at present. */
const TRANSIENT = new Set([1012, 1013]);
/** Error of a server whose room cannot be opened now. */
const UNAVAILABLE = "Room unavailable";
/** Longest wait that a server may ask for, in ms. */
const LONGEST_WAIT = 600_000;
/** This client's close code for a server that does not answer ("Timeout"); the server does not take it for leaving. */
const UNANSWERED = 3008;
/** Close code of this client for servers that send it from one to the other, or where it may not go. */
const CIRCLED = 3009;
/** Close code of a server that shuts down, with a reason, and of this page's browser ("Going away"), without one. */
const GOING_AWAY = 1001;
/** Delay before a page reconnects that its browser may be leaving, in ms: for the server, its peer has left. */
const LEAVING_TIME = 2_000;
/** Close codes of a connection that can be resumed: there was none, or one side did not hear from the other. */
const RESUMABLE = new Set([1006, GOING_AWAY, UNANSWERED]);
/** Close codes for an error of this client, or of the server over something that the client sent and may send again. */
export const FAULTS = new Set([1002, 1003, 1007, 1008, 1009, 1010, 1011, 1013]);
