// Signaling: opens the WebSocket to the room, keeps it open, and reports its status. Knows nothing of WebRTC.

import { connect } from "/callboard.js";

/**
 * Events (each a CustomEvent with its values in `detail`):
 *   message       {event, data, from}: sent by the room, once it has admitted us
 *   status        {status, ...}: "connecting" | "joined" | "reconnecting" {reason, seconds, closed}
 *                 | "full" | "refused" {reason} | "no-credentials" | "wrong-credentials" | "not-found"
 * After the last four nothing more happens until `open()` is called again.
 */
export class Signaling extends EventTarget {
  /** @type {RTCIceServer[]} STUN and TURN servers, once we have joined */
  iceServers = [];
  #room;
  #client = null;
  #retry = null;
  #attempt = 0;
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
    const client = this.#client;
    this.#client = null;
    client?.close();
  }

  /** Sends a message; returns whether it went out. A message that cannot be sent now is of no use later. */
  send(event, data, to) {
    if (this.#client?.state !== "open") return false;
    this.#client.send(event, data, to);
    return true;
  }

  async #connect() {
    const run = this.#run;
    this.#tell("status", { status: "connecting" });
    // A browser hides the status of a refused upgrade, so ask first.
    const answer = await this.#check();
    if (run !== this.#run) return;
    switch (answer) {
      case 200: return this.#join(run);
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
      if (response.ok) this.iceServers = (await response.json()).ice_servers;
      return response.status;
    } catch {
      return 0;
    }
  }

  async #join(run) {
    let client;
    try {
      // Here every attempt checks first and is shown with a countdown, so the client makes none of its own.
      client = await connect(`/socket/${encodeURIComponent(this.#room)}`, { attempts: 0 });
    } catch (error) {
      if (run !== this.#run) return;
      return error.code === "could_not_join_room" ? this.#tell("status", refusal(error.details)) : this.#reconnect(LOST);
    }
    // The user may have pressed Leave meanwhile.
    if (run !== this.#run) return client.close();
    this.#client = client;
    this.#attempt = 0;

    let roomClosed = false;
    const message = (event, data) => this.#tell("message", { event, data, from: null });
    client.on("joined", (peer) => message("joined", { peer_id: peer }));
    client.on("left", (peer) => message("left", { peer_id: peer }));
    client.on("room_restarted", () => message("room_restarted", { peers: [...client.peers, client.peerId] }));
    client.on("message", (detail) => this.#tell("message", detail));
    client.on("error", (error) => {
      roomClosed ||= error.code === "room_closed";
      message("error", { description: error.message });
    });
    client.on("state", (state, { code }) => {
      if (state !== "closed" || this.#client !== client) return;
      this.#client = null;
      this.#reconnect(CLOSE_REASONS[code] ?? (roomClosed ? "The room was closed." : LOST), roomClosed);
    });
    this.#tell("status", { status: "joined" });
    message("authenticated", { peer_id: client.peerId, peers: [...client.peers.keys()] });
  }

  #reconnect(reason, closed = false) {
    const longest = Math.min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** this.#attempt);
    // Half fixed, half random: after a restart of the server the clients do not all come back at the same moment.
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

function refusal(details) {
  if (details === "room_is_full") return { status: "full" };
  return { status: "refused", reason: typeof details === "string" ? details : JSON.stringify(details) };
}

const LOST = "The connection to the server was lost.";
const CLOSE_REASONS = {
  1008: "The server closed the connection: too many messages.",
  1009: "The server closed the connection: a message was too large.",
  1011: "The server had a fault.",
  1013: "The connection was too slow.",
};
const CHECK_MILLISECONDS = 8000;
const FIRST_WAIT_SECONDS = 0.5;
const LONGEST_WAIT_SECONDS = 10;
