// The list of nodes: a row for each, with buttons for faults, and what a fault does that was ordered here.

import { element, make, say } from "./view.js";

/** How long faults last, in seconds, and for how long a session holds. @typedef {{ lasts: number, hold: number }} Times */

/** What is in the address of a page in the call. */
const call = new URLSearchParams([...new URLSearchParams(location.search)].filter(([key]) => key === "call" || key === "synthetic")).toString();

export class Nodes {
  #order;
  /** @type {Map<string, { row: any, link: any, marks: any, effect: any, buttons: any, made: string }>} */
  #rows = new Map();
  /** What lasts, by node. @type {Map<string, { fault: string, until: number }>} */
  #lasting = new Map();

  /** @param {(node: string, fault: string) => void} order */
  constructor(order) {
    this.#order = order;
  }

  /**
   * @param {readonly { name: string, url: string, marks: string[], here: boolean, home: boolean, isAway: boolean }[]} nodes
   * @param {Times | null} times null: no faults can be ordered
   */
  show(nodes, times) {
    const list = element("nodes");
    nodes.forEach((node, at) => {
      const shown = this.#rows.get(node.name) ?? this.#add(node.name);
      if (list.children[at] !== shown.row) list.insertBefore(shown.row, list.children[at] ?? null);
      this.#fill(shown, node, times);
    });
  }

  /**
   * Shows from now on what an order does. Returns a sentence about it.
   *
   * @param {string} node
   * @param {string} fault
   * @param {Times} times
   */
  ordered(node, fault, times) {
    const { lasts, says } = FAULTS[fault];
    if (lasts) this.#lasting.set(node, { fault, until: performance.now() + 1_000 * times.lasts });
    // A process that stood still is another one now; the way to NATS is cut as before.
    else if (this.#lasting.get(node)?.fault === "stop") this.#lasting.delete(node);
    return says(node, times);
  }

  /** @param {string} node whose last order was refused */
  refused(node) {
    this.#lasting.delete(node);
  }

  #add(node) {
    const link = make("a", { target: "_blank" }, node);
    const [marks, effect, buttons] = ["quiet", "effect", "faults"].map((className) => make("span", { className }));
    const shown = { row: make("li", { dataset: { node } }, link, marks, effect, buttons), link, marks, effect, buttons, made: "" };
    this.#rows.set(node, shown);
    return shown;
  }

  #fill(shown, { name, url, marks, here, home, isAway }, times) {
    const { row, link, effect, buttons } = shown;
    Object.assign(row.dataset, { here, home, away: isAway });
    if (url) link.href = `${url.replace(/^ws/, "http")}${location.pathname}${call && `?${call}`}`;
    say(shown.marks, marks.join(", "));
    const lasting = this.#lasting.get(name);
    const left = lasting ? Math.ceil((lasting.until - performance.now()) / 1_000) : 0;
    if (left <= 0) this.#lasting.delete(name);
    say(effect, lasting && left > 0 ? `${FAULTS[lasting.fault].lasts} ${left} s` : "");
    // A button that is pressed must not be replaced meanwhile.
    const made = JSON.stringify(times);
    if (shown.made !== made) buttons.replaceChildren(...(times ? this.#buttons(name, times) : []));
    shown.made = made;
    for (const button of buttons.children) button.disabled = left > 0 && FAULTS[button.dataset.fault].lasts !== undefined;
  }

  #buttons(node, times) {
    return Object.entries(FAULTS).map(([fault, { words, title }]) => {
      const button = make("button", { type: "button", title: title(times), dataset: { fault } }, words);
      button.setAttribute("aria-label", `${words} ${node}`);
      button.addEventListener("click", () => this.#order(node, fault));
      return button;
    });
  }
}

/** Faults by name; `lasts` is what a node does for a while. @type {Record<string, any>} */
const FAULTS = {
  kill: {
    words: "Kill", title: () => "Kill its process; it is started again in about a second",
    says: (node) => `${node} is killed, and starts again in about a second.`,
  },
  stop: {
    words: "Stop", title: ({ lasts, hold }) => `Let its process stand still for ${lasts} s; after ${hold} s the others take its rooms`,
    says: (node, { lasts, hold }) => `${node} stands still for ${lasts} s. After ${hold} s the others take its rooms.`,
    lasts: "stands still: it goes on in",
  },
  cut: {
    words: "Cut off", title: ({ lasts, hold }) => `Let nothing pass between it and NATS for ${lasts} s; after ${hold} s the others take its rooms`,
    says: (node, { lasts, hold }) => `${node} is cut off from NATS for ${lasts} s. After ${hold} s the others take its rooms.`,
    lasts: "cut off: it is back in",
  },
  drain: {
    words: "Drain", title: () => "Let its clients and rooms go on at other nodes, and start it again in a few seconds",
    says: (node) => `${node} is drained: its clients and rooms go to other nodes, and it starts again in a few seconds.`,
  },
};
