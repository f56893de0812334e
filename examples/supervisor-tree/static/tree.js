// The server's supervision tree: receives it over a WebSocket, and injects faults into it.

import { losing } from "./facts.js";
import { Recoveries } from "./recoveries.js";
import { TreeView } from "./tree_view.js";
import { element, say } from "./view.js";

/**
 * @param {{
 *   own: () => string, flows: () => { messages: any[], media: any[] }, unplug: () => void,
 *   hold: (token: string | null) => Promise<any>,
 * }} page
 */
export function startTree(page) {
  new Tree(page).open();
}

class Tree {
  #delay = FIRST_DELAY;
  #page;
  #view;
  #recoveries;
  /** Whether the next new handshake is held for us. */
  #holding = false;

  constructor(page) {
    const { own, flows } = page;
    this.#page = page;
    this.#view = new TreeView(own, (node, fault) => this.#inject(node, fault), { unplug: true });
    this.#recoveries = new Recoveries(flows, (id, measured) => this.#post(`recoveries/${id}`, measured));
    element("token-form").addEventListener("submit", (event) => this.#tokenGiven(event));
  }

  async open() {
    const refusal = await this.#load();
    if (refusal !== null) return this.#refused(refusal);
    const url = new URL("/tree/stream", location.href);
    url.protocol = url.protocol.replace(/^http/, "ws");
    if (token()) url.searchParams.set("token", token());
    const stream = new WebSocket(url);
    stream.onopen = () => {
      this.#delay = FIRST_DELAY;
      // What has happened since it was loaded, before the stream told of it.
      this.#load();
    };
    stream.onmessage = ({ data }) => this.#heard(JSON.parse(data));
    stream.onclose = () => {
      // It may have begun meanwhile.
      this.#holding = false;
      this.#again("The tree cannot be seen now. Looking again…");
    };
  }

  /** Loads the recoveries so far; returns null, or why not: a status, or 0 without an answer. */
  async #load() {
    try {
      const response = await fetch("/tree/recoveries", { headers: headers() });
      if (!response.ok) return response.status;
      const { recoveries } = await response.json();
      this.#recoveries.reset(recoveries);
      element("token-form").hidden = true;
      return null;
    } catch {
      return 0;
    }
  }

  #refused(status) {
    if (status === 401) {
      element("token-form").hidden = false;
      return say(element("tree-note"), token() ? "That is not the token." : "");
    }
    if (status === 403) return say(element("tree-note"), "Only the machine on which the server runs may see the tree and inject faults.");
    if (status === 404) return say(element("tree-note"), "This server does not show what runs on it.");
    this.#again("The server does not answer. Looking again…");
  }

  #again(why) {
    say(element("tree-note"), why);
    this.#view.stale();
    setTimeout(() => this.open(), this.#delay);
    this.#delay = Math.min(LONGEST_DELAY, this.#delay * 2);
  }

  #heard(message) {
    switch (message.kind) {
      case "tree":
        say(element("tree-note"), "");
        return this.#view.show(message.tree);
      case "event":
        if (message.what === "started" && message.path.includes("/handshakes/")) this.#handshakeBegan(message.path);
        return this.#view.happened(message);
      case "recovery":
        return this.#recoveries.heard(message.recovery);
    }
  }

  async #inject(node, fault) {
    const { path } = node;
    let refusal;
    switch (fault) {
      case "unplug":
        this.#recoveries.unplugged();
        return this.#page.unplug();
      case "lose":
        refusal = await this.#post("fault", { path, fault, ratio: losing.has(path) ? 0 : LOSS });
        if (refusal === null && !losing.delete(path)) losing.add(path);
        break;
      case "fail_handshake":
        refusal = await this.#failHandshake(node);
        break;
      default:
        refusal = await this.#measured(path, fault);
    }
    this.#said(node.details.name ?? node.id, refusal);
  }

  /** Shows why a fault was not injected, if it was not. */
  #said(name, refusal) {
    say(element("tree-note"), refusal === null ? "" : `${name}: ${refusal}`);
  }

  /**
   * Fails a handshake. Normally a handshake is over too soon: the next one is held, after this connection was killed.
   */
  async #failHandshake(node) {
    if (node.path.includes("/handshakes/") || node.details.state !== "connected") return this.#fail(node.path);
    try {
      await this.#page.hold(token() || null);
    } catch (error) {
      return error.message;
    }
    this.#holding = true;
    return this.#post("fault", { path: node.path, fault: "kill" });
  }

  #handshakeBegan(path) {
    if (!this.#holding) return;
    this.#holding = false;
    // Delayed, so that the user sees it.
    setTimeout(async () => this.#said(path, await this.#fail(path)), SEEN);
  }

  #fail(path) {
    return this.#measured(path, "fail_handshake");
  }

  /** Injects a fault, and measures how long the call takes to recover from it. Returns null, or what is wrong. */
  async #measured(path, fault) {
    const refused = this.#recoveries.injected(path, fault);
    const refusal = await this.#post("fault", { path, fault });
    if (refusal !== null) refused();
    return refusal;
  }

  /** Sends a request; returns null, or what is wrong. */
  async #post(what, body) {
    try {
      const response = await fetch(`/tree/${what}`, {
        method: "POST", headers: { ...headers(), "Content-Type": "application/json" }, body: JSON.stringify(body),
      });
      if (response.ok) return null;
      const { detail, error } = await response.json();
      return detail ?? error;
    } catch (error) {
      return error.message;
    }
  }

  #tokenGiven(event) {
    event.preventDefault();
    sessionStorage.setItem("token", element("token").value);
    element("token").value = "";
    this.open();
  }
}

const token = () => sessionStorage.getItem("token") ?? "";
const headers = () => (token() ? { Authorization: `Bearer ${token()}` } : {});
/** Fraction of the datagrams that a connection loses when it is told to. */
const LOSS = 0.2;
/** Time in ms for which a handshake is held before it fails. */
const SEEN = 600;
const FIRST_DELAY = 100;
const LONGEST_DELAY = 2_000;
