// The socket to the room: opens it, keeps it open, says what became of it. Knows nothing of WebRTC.

/**
 * Events (all CustomEvent, told in `detail`):
 *   message       {event, data, from}: what the room sent, once it has let us in
 *   status        {status, ...}: "connecting" | "joined" | "reconnecting" {reason, seconds, closed}
 *                 | "full" | "refused" {reason} | "no-credentials" | "wrong-credentials" | "not-found"
 * After the last four nothing more happens until `open()` is called again.
 */
export class Signaling extends EventTarget {
  #room;
  #socket = null;
  #retry = null;
  #attempt = 0;
  #heartbeat = null;
  #run = 0;

  constructor(room) {
    super();
    this.#room = room;
  }

  open() {
    this.close();
    this.#attempt = 0;
    this.#connect();
  }

  close() {
    this.#run += 1;
    clearTimeout(this.#retry);
    clearInterval(this.#heartbeat);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
  }

  /** Whether the message went out; one that cannot be sent now is of no use later. */
  send(event, data, to) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify({ event, data, to }));
    return true;
  }

  async #connect() {
    const run = this.#run;
    this.#tell("status", { status: "connecting" });
    // A browser hides the status of a refused upgrade, so ask first.
    const answer = await this.#check();
    if (run !== this.#run) return;
    switch (answer) {
      case 200: return this.#openSocket();
      case 400: return this.#tell("status", { status: "no-credentials" });
      case 401: return this.#tell("status", { status: "wrong-credentials" });
      case 404: return this.#tell("status", { status: "not-found" });
      case 0: return this.#reconnect("The server is gone.");
      default: return this.#reconnect("The server is busy.");
    }
  }

  async #check() {
    try {
      const limit = AbortSignal.timeout(CHECK_MILLISECONDS);
      const response = await fetch(`/check/${encodeURIComponent(this.#room)}`, { cache: "no-store", signal: limit });
      return response.status;
    } catch {
      return 0;
    }
  }

  #openSocket() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/socket/${encodeURIComponent(this.#room)}`);
    this.#socket = socket;
    let reason = "The connection to the server was lost.";
    let closed = false;
    let final = null;
    let joined = false;
    let asked = false;

    const ended = (why) => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      clearInterval(this.#heartbeat);
      socket.close();
      if (final) this.#tell("status", final);
      else this.#reconnect(why ?? reason, closed);
    };

    socket.onmessage = ({ data: text }) => {
      if (this.#socket !== socket) return;
      asked = false;
      const message = parse(text);
      if (!message) return;
      if (message.event === "error" && message.data?.description === "Could not join room") {
        const details = message.data.details;
        final = details === "room_is_full"
          ? { status: "full" }
          : { status: "refused", reason: typeof details === "string" ? details : JSON.stringify(details) };
        return ended();
      }
      if (message.event === "error" && message.data?.description === "Room closed") {
        reason = "The room was closed.";
        closed = true;
      }
      if (message.event === "authenticated") {
        joined = true;
        this.#attempt = 0;
        this.#tell("status", { status: "joined" });
      }
      if (joined) this.#tell("message", message);
    };
    socket.onclose = ({ code }) => ended(CLOSE_REASONS[code]);

    // The browser answers the server's pings by itself and tells us nothing, so a dead path shows only if we ask too.
    clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(() => {
      if (asked || socket.readyState !== WebSocket.OPEN) return ended("The server does not answer.");
      asked = true;
      socket.send("ping");
    }, HEARTBEAT_MILLISECONDS);
  }

  #reconnect(reason, closed = false) {
    const longest = Math.min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** this.#attempt);
    // Half fixed, half by chance: after a restart of the server not everyone comes back in the same moment.
    const wait = longest * (0.5 + Math.random() / 2);
    this.#attempt += 1;
    const until = performance.now() + wait * 1000;
    const run = this.#run;

    const tick = () => {
      if (run !== this.#run) return;
      const left = until - performance.now();
      if (left <= 0) return this.#connect();
      this.#tell("status", { status: "reconnecting", reason, closed, seconds: Math.ceil(left / 1000) });
      this.#retry = setTimeout(tick, Math.min(left, 1000));
    };
    tick();
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** The message, or null for `pong` and whatever else is not one. */
function parse(text) {
  if (typeof text !== "string" || text === "pong") return null;
  try {
    const message = JSON.parse(text);
    return typeof message?.event === "string" ? message : null;
  } catch {
    return null;
  }
}

const CLOSE_REASONS = {
  1008: "The server closed the connection: too many messages.",
  1009: "The server closed the connection: a message was too large.",
  1011: "The server had a fault.",
  1013: "The connection was too slow.",
};
const CHECK_MILLISECONDS = 8000;
const HEARTBEAT_MILLISECONDS = 15000;
const FIRST_WAIT_SECONDS = 0.5;
const LONGEST_WAIT_SECONDS = 10;
