// The supervision trees of all nodes, or of this page's, and faults in them.

import { TreeView } from "./tree_view.js";
import { element, say } from "./view.js";

/**
 * @param {{ own: () => string, isAway: () => boolean, hasFaults: () => boolean, silent: (nodes: Set<string>) => void }} page
 *   `own`: our peer's id; `isAway`: whether our node cannot be asked now; `hasFaults`: whether the page itself offers
 *   faults of whole nodes; `silent`: is told which nodes do not answer
 */
export function startTrees(page) {
  return new Trees(page).look();
}

class Trees {
  #page;
  #view;
  #timer = 0;
  /** Why the last order was refused. */
  #refused = "";

  constructor(page) {
    this.#page = page;
    this.#view = new TreeView(page.own, (node, fault) => this.#inject(node, fault));
    element("tree-all").addEventListener("change", () => this.look());
    document.addEventListener("visibilitychange", () => this.look());
  }

  /** Looks now, and again and again while the page can be seen. */
  async look() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (document.hidden) return;
    // A browser writes each request that finds no server into its console.
    if (this.#page.isAway()) this.#cannot("this page's node is away");
    else await this.#load(element("tree-all").checked);
    // Unless it has been asked to look meanwhile.
    if (this.#timer === 0) this.#timer = setTimeout(() => this.look(), EVERY);
  }

  /** @param {boolean} all */
  async #load(all) {
    try {
      const response = await fetch(all ? "/tree?nodes=all" : "/tree", { signal: AbortSignal.timeout(ANSWER_TIME) });
      if (!response.ok) throw new Error((await response.json()).detail);
      const tree = await response.json();
      if (all !== element("tree-all").checked) return;
      say(element("tree-note"), this.#refused);
      this.#page.silent(new Set(all ? tree.children.filter(({ status }) => status === "silent").map(({ id }) => id) : []));
      this.#view.show(all ? this.#placed(tree) : tree);
    } catch (error) {
      this.#cannot(error.name === "TimeoutError" ? "this page's node does not answer" : error.message);
    }
  }

  /** @param {string} why */
  #cannot(why) {
    say(element("tree-note"), `The trees cannot be seen now: ${why}.`);
    this.#view.stale();
  }

  async #inject({ path, at = { path }, id }, fault) {
    this.#refused = "";
    say(element("tree-note"), "");
    try {
      const headers = { "Content-Type": "application/json" };
      const response = await fetch("/tree/fault", { method: "POST", headers, body: JSON.stringify({ ...at, fault }) });
      if (!response.ok) throw new Error((await response.json()).detail);
    } catch (error) {
      this.#refused = `${id}: ${error.message}`;
    }
    this.look();
  }

  /** Says of each actor at which node it is; its path, with that of the node in front, is then its own among all. */
  #placed(cluster) {
    const within = (node, actor) => ({
      ...actor, path: `${node}/${actor.path}`, at: { node, path: actor.path }, children: actor.children.map((child) => within(node, child)),
    });
    const children = cluster.children.map((node) => {
      // Faults of a node as a whole name no path. There is one set of buttons for them.
      const { faults, ...details } = node.details;
      return {
        ...node, at: { node: node.id, path: "" }, children: node.children.map((tree) => within(node.id, tree)),
        details: this.#page.hasFaults() ? details : { ...details, faults },
      };
    });
    return { ...cluster, children };
  }
}

/** Time in ms between two looks. */
const EVERY = 1_000;
/** Longest time in ms that the node has for an answer. */
const ANSWER_TIME = 3_000;
