// Recent exits of actors, and their restarts.

import { milliseconds } from "./view.js";

export class Exits {
  /** @type {Map<string, { at: number, heard: number, words: string, back: number | null }>} by path */
  #exits = new Map();
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
    for (const path of this.#exits.keys()) {
      const seen = before.get(path);
      if (seen && !this.#seen.has(path)) this.#seen.set(path, seen);
    }
  }

  happened({ path, what, reason, at_ms: at }) {
    const exit = this.#exits.get(path);
    if (what === "down" || what === "abandoned") {
      const words = `${reason?.kind ?? what}${reason?.text ? `: ${reason.text}` : ""}`;
      this.#exits.set(path, { at, heard: performance.now(), words, back: null });
    } else if (what === "started" && exit && exit.back === null) {
      exit.back = at;
      exit.heard = performance.now();
    }
  }

  /** Notes a restart whose event was missed while the stream was down. */
  #mayBeBack({ path, status, uptime_ms: uptime }) {
    const exit = this.#exits.get(path);
    if (!exit || exit.back !== null || status !== "running" || uptime == null) return;
    const since = performance.now() - exit.heard - uptime;
    if (since >= 0) Object.assign(exit, { back: exit.at + since, heard: performance.now() });
  }

  /** Returns the children of this node that have ended, and were there a moment ago. */
  goneBelow({ path }) {
    const gone = [];
    for (const ended of this.#exits.keys()) {
      const seen = this.#seen.get(ended);
      if (seen && seen.above === path && !this.#present.has(ended)) gone.push({ ...seen.node, gone: true, children: [], depth: 0, uptime_ms: null });
    }
    return gone;
  }

  newsOf(path) {
    const exit = this.#exits.get(path);
    if (!exit || performance.now() - exit.heard > SHOWN) return { words: "", down: false, back: false };
    if (exit.back === null) return { words: `down at ${clock(exit.at)}, ${exit.words}`, down: true, back: false };
    return { words: `back at ${clock(exit.back)}, after ${milliseconds(exit.back - exit.at)} (${exit.words})`, down: false, back: true };
  }

  #forget() {
    for (const [path, { heard }] of this.#exits) if (performance.now() - heard > SHOWN) this.#exits.delete(path);
  }
}

const clock = (at) => new Date(at).toLocaleTimeString();
/** Time in ms for which news are shown. */
const SHOWN = 8_000;
