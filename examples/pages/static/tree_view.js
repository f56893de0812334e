// The tree on the page: one row for each actor that is shown. Rows are kept from one tree to the next, so that only
// rows that have changed move.

import { Exits } from "./exits.js";
import { facts, FAULTS, shortName, shortType } from "./facts.js";
import { element, make, say } from "./view.js";

export class TreeView {
  #own;
  #inject;
  #unplug;
  #list = element("tree");
  /** @type {any} */
  #tree = null;
  #received = 0;
  /** Nodes that the user has opened or closed, by path. @type {Map<string, boolean>} */
  #chosen = new Map();
  /** @type {Map<string, any>} */
  #rows = new Map();
  #exits = new Exits();
  #waiting = false;

  /**
   * @param {() => string} own our peer's id
   * @param {(node: any, fault: string) => void} inject
   * @param {{ unplug?: boolean }} [options] `unplug`: whether the page can cut its own WebSocket
   */
  constructor(own, inject, { unplug = false } = {}) {
    this.#own = own;
    this.#inject = inject;
    this.#unplug = unplug;
    element("tree-search").addEventListener("input", () => this.#soon());
    element("tree-open").addEventListener("click", () => this.#all(true));
    element("tree-close").addEventListener("click", () => this.#all(false));
    setInterval(() => this.#soon(), 1_000);
  }

  show(tree) {
    this.#tree = tree;
    this.#received = performance.now();
    this.#list.classList.remove("stale");
    this.#exits.learn(tree);
    this.#soon();
  }

  happened(event) {
    this.#exits.happened(event);
    this.#soon();
  }

  /** Marks the tree as out of date. */
  stale() {
    this.#list.classList.add("stale");
  }

  #all(open) {
    const visit = (node) => {
      if (node.children.length > 0) this.#chosen.set(node.path, open);
      node.children.forEach(visit);
    };
    if (this.#tree) visit(this.#tree);
    // With the first level closed there would be nothing to open again.
    if (!open && this.#tree) this.#chosen.set(this.#tree.path, true);
    this.#soon();
  }

  /** Draws once for all events before the next frame. */
  #soon() {
    if (this.#waiting || !this.#tree) return;
    this.#waiting = true;
    setTimeout(() => { this.#waiting = false; this.#draw(); }, 16);
  }

  #draw() {
    const wanted = element("tree-search").value.trim().toLowerCase();
    /** @type {{ node: any, depth: number, open: boolean, gone: boolean }[]} */
    const shown = [];
    let [actors, restarts] = [0, 0];
    const visit = (node, depth, above) => {
      actors += 1;
      restarts += node.restarts;
      const matches = wanted !== "" && matchesText(node, wanted);
      const children = [...node.children, ...this.#exits.goneBelow(node)];
      const at = shown.length;
      const open = wanted !== "" || (this.#chosen.get(node.path) ?? children.length <= CROWD);
      shown.push({ node, depth, open, gone: node.gone === true });
      let below = false;
      for (const child of children) {
        if (open) below = visit(child, depth + 1, above || matches) || below;
        else count(child);
      }
      const keep = wanted === "" || matches || below || above;
      if (!keep) shown.splice(at);
      return keep;
    };
    const count = (node) => {
      actors += 1;
      restarts += node.restarts;
      node.children.forEach(count);
    };
    visit(this.#tree, 0, false);
    this.#place(shown);
    say(element("tree-count"), `${actors} actors, ${restarts} ${restarts === 1 ? "restart" : "restarts"}${wanted ? `, ${shown.length} shown` : ""}`);
  }

  #place(shown) {
    const unused = new Map(this.#rows);
    let before = this.#list.firstElementChild;
    for (const item of shown) {
      const row = unused.get(item.node.path) ?? this.#newRow(item.node.path);
      unused.delete(item.node.path);
      this.#fill(row, item);
      if (row.line === before) before = before.nextElementSibling;
      else this.#list.insertBefore(row.line, before);
    }
    for (const [path, row] of unused) {
      row.line.remove();
      this.#rows.delete(path);
    }
  }

  #newRow(path) {
    const toggle = make("button", { type: "button", className: "toggle" });
    const [name, kind, state, news, note] = ["name", "quiet", "state", "news", "facts quiet"].map((className) => make("span", { className }));
    const buttons = make("span", { className: "faults" });
    const line = make("li", { dataset: { path } }, toggle, make("span", { className: "what" }, name, kind, state, news), buttons, note);
    const row = { line, toggle, name, kind, state, news, note, buttons, node: null, open: false, offered: "" };
    toggle.addEventListener("click", () => {
      this.#chosen.set(path, !row.open);
      this.#soon();
    });
    this.#rows.set(path, row);
    return row;
  }

  #fill(row, { node, depth, open, gone }) {
    Object.assign(row, { node, open });
    const { line, toggle } = row;
    const mine = this.#own() !== "" && node.id === this.#own();
    const name = node.details.name ? `${node.details.name}${mine ? " (you)" : ""}` : shortName(node.id);
    line.title = node.path;
    line.style.setProperty("--depth", String(depth));
    line.dataset.status = gone ? "gone" : node.status;
    line.dataset.type = shortType(node.type);
    line.classList.toggle("mine", mine);
    const has = node.children.length > 0;
    toggle.hidden = !has;
    if (has) {
      toggle.setAttribute("aria-expanded", String(open));
      toggle.setAttribute("aria-label", `${open ? "Close" : "Open"} ${name}: ${node.children.length} below`);
      say(toggle, open ? "▾" : "▸");
    }
    say(row.name, name);
    say(row.kind, `${shortType(node.type)}${has && !open ? ` · ${node.children.length} below` : ""}`);
    say(row.state, gone ? "gone" : node.details.state && node.status === "running" ? node.details.state : node.status);
    const news = this.#exits.newsOf(node.path);
    say(row.news, news.words);
    line.classList.toggle("down", news.down);
    line.classList.toggle("back", news.back);
    say(row.note, facts(node, performance.now() - this.#received));
    this.#offer(row, gone ? [] : FAULTS.filter(({ fits }) => fits(node, mine && this.#unplug)), name);
  }

  #offer(row, faults, name) {
    const offered = faults.map(({ fault, words }) => `${fault} ${words(row.node)}`).join();
    if (row.offered === offered + name) return;
    row.offered = offered + name;
    row.buttons.replaceChildren(...faults.map(({ fault, words, does }) => {
      const button = make("button", { type: "button", title: does, dataset: { fault } }, words(row.node));
      button.setAttribute("aria-label", `${words(row.node)}: ${name}`);
      button.addEventListener("click", () => this.#inject(row.node, fault));
      return button;
    }));
  }
}

function matchesText(node, wanted) {
  const { id, type, status, last_exit: exit, details } = node;
  return [id, shortType(type), status, exit?.kind, exit?.text, details.name, details.state].some((text) => text?.toLowerCase().includes(wanted));
}

/** Number of children above which they are shown only on request. */
const CROWD = 16;
