// Pointers of all members over the pictures, by way of the server; they also measure the round-trip time,
// and whether messages flow.

import { Flow, GAP } from "./flow.js";
import { element, make, say } from "./view.js";

export class Pointers {
  /** Latest round-trip time to the server, in ms. @type {number | null} */
  rtt = null;
  #send;
  #stage = element("stage");
  /** Position of our pointer, as fractions of the stage. @type {{ x: number, y: number } | null} */
  #at = null;
  #last = 0;
  /** Time of our first message since the server's last answer. @type {number | null} */
  #asked = null;
  #pace = { every: 100, moving: 40, on: false };
  #echoes = new Flow(PAUSE);
  /** @type {Map<string, { name: string, flow: Flow, mark: any, hidden: boolean }>} */
  #others = new Map();

  /** @param {(text: string) => void} send throws when it cannot be sent */
  constructor(send) {
    this.#send = send;
    this.#stage.addEventListener("pointermove", (event) => this.#moved(event));
    this.#stage.addEventListener("pointerleave", () => { this.#at = null; this.#tell(0); });
    setInterval(() => this.#tell(this.#pace.every), 50);
  }

  /**
   * Sets the interval of messages: the WebSocket takes less than a data channel, and a full room less of each.
   *
   * @param {boolean} direct
   * @param {number} others
   * @param {boolean} on
   */
  pace(direct, others, on) {
    const crowd = Math.max(1, others / 8);
    this.#pace = { every: 100 * crowd, moving: direct ? 40 * crowd : 100 * crowd, on };
    if (!on) this.#asked = null;
  }

  heard({ from, name, x, y, echo, hidden }) {
    if (typeof echo === "number") {
      this.rtt = performance.now() - echo;
      this.#asked = null;
      return this.#echoes.mark(echo);
    }
    if (typeof from !== "string" || typeof name !== "string") return;
    const other = this.#other(from);
    other.name = name;
    other.hidden = hidden === true;
    other.flow.mark();
    this.#place(other.mark, name, x, y);
  }

  /** @param {string} peer */
  forget(peer) {
    this.#others.get(peer)?.mark.remove();
    this.#others.delete(peer);
  }

  /** @param {string} peer */
  nameOf(peer) {
    return this.#others.get(peer)?.name ?? `Guest ${peer.slice(0, 4)}`;
  }

  /**
   * Returns whether messages arrive: from this peer, or, without one, our own back from the server.
   *
   * @param {string} [peer]
   */
  alive(peer) {
    return (peer ? this.#others.get(peer)?.flow : this.#echoes)?.alive ?? false;
  }

  /** Whether the server does not answer our messages. */
  get unanswered() {
    return this.#asked !== null && performance.now() - this.#asked > GAP;
  }

  /**
   * Returns whether the page of this peer is in a hidden tab, in which the browser slows down timers.
   *
   * @param {string} peer
   */
  isHidden(peer) {
    return this.#others.get(peer)?.hidden ?? false;
  }

  /**
   * Returns the flows that must all run for messages to flow: our own to the server and back, and
   * those of each visible page.
   *
   * @param {string[]} present
   */
  flows(present) {
    const shown = present.filter((peer) => !this.isHidden(peer));
    return { messages: [this.#echoes, ...shown.map((peer) => this.#other(peer).flow)] };
  }

  #other(peer) {
    let other = this.#others.get(peer);
    if (!other) {
      other = { name: `Guest ${peer.slice(0, 4)}`, flow: new Flow(PAUSE), hidden: false, mark: make("span", { className: "pointer", hidden: true, dataset: { peer } }) };
      this.#stage.append(other.mark);
      this.#others.set(peer, other);
    }
    return other;
  }

  #place(mark, name, x, y) {
    const shown = typeof x === "number" && typeof y === "number" && x >= 0 && x <= 1 && y >= 0 && y <= 1;
    mark.hidden = !shown;
    if (!shown) return;
    say(mark, name);
    mark.style.setProperty("left", `${x * 100}%`);
    mark.style.setProperty("top", `${y * 100}%`);
  }

  #moved({ clientX, clientY }) {
    const { left, top, width, height } = this.#stage.getBoundingClientRect();
    this.#at = { x: (clientX - left) / width, y: (clientY - top) / height };
    this.#tell(this.#pace.moving);
  }

  /** @param {number} every not more often than this, in ms */
  #tell(every) {
    const now = performance.now();
    if (!this.#pace.on || now - this.#last < every) return;
    this.#last = now;
    try {
      this.#send(JSON.stringify({ t: now, ...this.#at, ...(document.hidden && { hidden: true }) }));
      this.#asked ??= now;
    } catch {
      // It waits for a connection: the next message will do.
    }
  }
}

/** Time in ms without a message that counts as a pause: of those every 100 ms more than one is missing. */
const PAUSE = 250;
