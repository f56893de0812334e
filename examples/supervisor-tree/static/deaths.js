// Actors that ended lately, and when they were restarted.

import { milliseconds } from "./view.js";

export class Deaths {
  /** @type {Map<string, { at: number, heard: number, words: string, back: number | null }>} by path */
  #deaths = new Map();
  /** The last node of each actor, and the path of its parent. @type {Map<string, { node: any, above: string }>} */
  #seen = new Map();
  #present = new Set();

  /** Takes the current tree. */
  learn(tree) {
    const before = this.#seen;
    this.#seen = new Map();
    this.#present = new Set();
    const visit = (node, above) => {
      this.#seen.set(node.path, { node, above });
      this.#present.add(node.path);
      this.#mayBeBack(node);
      for (const child of node.children) visit(child, node.path);
    };
    visit(tree, "");
    this.#forget();
    for (const path of this.#deaths.keys()) {
      const seen = before.get(path);
      if (seen && !this.#seen.has(path)) this.#seen.set(path, seen);
    }
  }

  happened({ path, what, reason, at_ms: at }) {
    const death = this.#deaths.get(path);
    if (what === "down" || what === "abandoned") {
      const words = `${reason?.kind ?? what}${reason?.text ? `: ${reason.text}` : ""}`;
      this.#deaths.set(path, { at, heard: performance.now(), words, back: null });
    } else if (what === "started" && death && death.back === null) {
      death.back = at;
      death.heard = performance.now();
    }
  }

  /** Notes a restart whose event was missed while the stream was down. */
  #mayBeBack({ path, status, uptime_ms: uptime }) {
    const death = this.#deaths.get(path);
    if (!death || death.back !== null || status !== "running" || uptime == null) return;
    const since = performance.now() - death.heard - uptime;
    if (since >= 0) Object.assign(death, { back: death.at + since, heard: performance.now() });
  }

  /** Returns the children of this node that have ended, and were there a moment ago. */
  goneBelow({ path }) {
    const gone = [];
    for (const dead of this.#deaths.keys()) {
      const seen = this.#seen.get(dead);
      if (seen && seen.above === path && !this.#present.has(dead)) gone.push({ ...seen.node, gone: true, children: [], depth: 0, uptime_ms: null });
    }
    return gone;
  }

  newsOf(path) {
    const death = this.#deaths.get(path);
    if (!death || performance.now() - death.heard > SHOWN) return { words: "", down: false, back: false };
    if (death.back === null) return { words: `down at ${clock(death.at)}, ${death.words}`, down: true, back: false };
    return { words: `back at ${clock(death.back)}, after ${milliseconds(death.back - death.at)} (${death.words})`, down: false, back: true };
  }

  #forget() {
    for (const [path, { heard }] of this.#deaths) if (performance.now() - heard > SHOWN) this.#deaths.delete(path);
  }
}

const clock = (at) => new Date(at).toLocaleTimeString();
/** Time in ms for which news are shown. */
const SHOWN = 8_000;
