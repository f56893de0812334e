// The supervision trees of all nodes, or of this page's, and faults in them.

import { TreeView } from "./tree_view.js";
import { element, say } from "./view.js";

/** @param {() => string} own our peer's id */
export function startTrees(own) {
  new Trees(own).look();
}

class Trees {
  #view;
  #timer = 0;
  /** Why the last order was refused. */
  #refused = "";

  /** @param {() => string} own our peer's id */
  constructor(own) {
    this.#view = new TreeView(own, (node, fault) => this.#inject(node, fault));
    element("tree-all").addEventListener("change", () => this.look());
    document.addEventListener("visibilitychange", () => this.look());
  }

  /** Looks now, and again and again while the page can be seen. */
  async look() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (document.hidden) return;
    const all = element("tree-all").checked;
    try {
      const response = await fetch(all ? "/tree?nodes=all" : "/tree");
      if (!response.ok) throw new Error((await response.json()).detail);
      const tree = await response.json();
      if (all !== element("tree-all").checked) return;
      say(element("tree-note"), this.#refused);
      this.#view.show(all ? placed(tree) : tree);
    } catch (error) {
      say(element("tree-note"), `The trees cannot be seen now: ${error.message}`);
      this.#view.stale();
    }
    // Unless it has been asked to look meanwhile.
    if (this.#timer === 0) this.#timer = setTimeout(() => this.look(), EVERY);
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
}

/** Says of each actor at which node it is; its path, with that of the node in front, is then its own among all. */
function placed(cluster) {
  const within = (node, actor) => ({
    ...actor, path: `${node}/${actor.path}`, at: { node, path: actor.path }, children: actor.children.map((child) => within(node, child)),
  });
  // Faults of a node as a whole name no path.
  const children = cluster.children.map((node) => ({
    ...node, at: { node: node.id, path: "" }, children: node.children.map((tree) => within(node.id, tree)),
  }));
  return { ...cluster, children };
}

/** Time in ms between two looks. */
const EVERY = 1_000;
